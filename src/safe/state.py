"""The state of a Trainer between two steps: everything that is needed to continue its run with the same bits."""

import math
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from trainer import Diverged, Trainer, lr_at

KINDS: dict[str, type] = {"steps": int, "tokens": int, "loss_steps": int, "seconds": float, "loss_sum": float}
KINDS |= {"line": dict, "model": dict, "optimizer": dict, "random": Tensor}
LINE = {"step", "epoch", "tokens", "loss", "lr", "grad_norm", "tokens_per_second"}  # of the log
LARGEST = 2**53  # up to it a float holds every whole number


def trainer_state(trainer: Trainer, processes: Any = None) -> dict[str, Any]:
    """A dict of numbers and of tensors on the host. Raises Diverged if the parameters or the loss are not finite.

    processes: those that train the model together. All of them must call this, and all or none raise. Then the
        parameters are in the state of the first one only. They are in none's if the model is divided: see `tensors_of`.
    """
    loss_sum = trainer.loss_sum.item()
    finite = torch.stack([local(p).isfinite().all() for p in trainer.model.parameters()]).all().item()
    random = random_state(trainer.device)  # dropout's
    if processes is not None:
        finite = processes.highest(int(not finite), trainer.device) == 0
        random = processes.gathered(random, trainer.device)
    if not (finite and math.isfinite(loss_sum)):
        what = "the loss" if finite else "a parameter"
        raise Diverged(
            f"step {trainer.steps_done}: {what} is not finite at the learning rate "
            f"{lr_at(trainer.tokens, trainer.config):.1e}: no parameters are written; lower the rate"
        )
    state = {
        "random": random,
        "steps": trainer.steps_done,
        "tokens": trainer.tokens,
        "seconds": trainer.seconds_so_far(),
        "loss_sum": loss_sum,
        "loss_steps": trainer.loss_steps,
        "line": trainer.line,
    }
    if processes is None or (processes.is_first and not processes.shard):
        state["model"] = on_host(trainer.model.state_dict())
        state["optimizer"] = on_host(trainer.optimizer.state_dict()["state"])
    return state


def restore_trainer(trainer: Trainer, state: dict[str, Any], processes: Any = None) -> None:
    """Make `trainer` continue from `state`, on any number of processes. Each of them does so for itself.

    A state that does not belong to such a trainer raises TypeError, ValueError or RuntimeError before anything of the
    trainer changes. It may come from anybody: a moment of another shape than its parameter makes a fused kernel write
    beyond it, which ends the process.
    """
    _check_numbers(trainer, state)
    _check_model(trainer.model, state["model"])
    _check_optimizer(trainer, state["optimizer"])
    own, saved = random_state(trainer.device), state["random"]
    if saved.dtype != own.dtype or saved.dim() not in (1, 2) or saved.shape[-1:] != own.shape or not saved.numel():
        raise ValueError(f"random is not the state of a generator on {trainer.device.type}")
    rank, count = (0, 1) if processes is None else (processes.rank, processes.count)
    saved = saved.reshape(-1, len(own))
    if len(saved) == count:
        set_random_state(trainer.device, saved[rank].clone())  # first: it checks what is in it; not within a tensor
    else:  # draws of its own for each process, and other ones than at the beginning
        torch.manual_seed((trainer.config.seed + rank + count * state["steps"]) % 2**63)
    trainer.model.load_state_dict(state["model"])
    groups = trainer.optimizer.state_dict()["param_groups"]  # the settings are this trainer's
    trainer.optimizer.load_state_dict({"state": state["optimizer"], "param_groups": groups})
    trainer.steps_done, trainer.tokens, trainer.seconds = state["steps"], state["tokens"], state["seconds"]
    trainer.loss_sum.fill_(state["loss_sum"])
    trainer.loss_steps, trainer.line = state["loss_steps"], state["line"]


def tensors_of(trainer: Trainer) -> dict[str, Tensor]:
    """The tensors of model and optimizer, each under one name. They are the trainer's own, not copies."""
    return flat(trainer.model.state_dict(), trainer.optimizer.state_dict()["state"])


def flat(model: dict[str, Tensor], optimizer: dict[int, dict[str, Tensor]]) -> dict[str, Tensor]:
    moments = {f"optimizer.{n}.{name}": value for n, parts in optimizer.items() for name, value in parts.items()}
    return {f"model.{name}": value for name, value in model.items()} | moments


def nested(tensors: dict[str, Tensor]) -> dict[str, dict]:
    """The reverse of `flat`: the parts `model` and `optimizer` of a state."""
    state: dict[str, dict] = {"model": {}, "optimizer": {}}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "model":
            state["model"][rest] = value
        else:
            number, _, part = rest.partition(".")
            state["optimizer"].setdefault(int(number), {})[part] = value
    return state


def blank_tensors(trainer: Trainer, names: Iterable[str]) -> dict[str, Tensor]:
    """Zeros, divided as the trainer's tensors are, for names of `tensors_of`. Raises ValueError for other names."""
    parameters = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    model, blank = trainer.model.state_dict(), {}
    for name in names:
        moment = re.fullmatch(r"optimizer\.(0|[1-9]\d{0,8})\.[a-z_]+", name)
        if moment and int(moment[1]) < len(parameters):
            like = torch.zeros(()) if name.endswith(".step") else parameters[int(moment[1])]
        elif name.removeprefix("model.") in model and name.startswith("model."):
            like = model[name.removeprefix("model.")]
        else:
            raise ValueError(f"unknown tensor {_short(name)}")
        blank[name] = torch.zeros_like(like, requires_grad=False)
    return blank


def _check_numbers(trainer: Trainer, state: dict[str, Any]) -> None:
    for name, kind in KINDS.items():
        if name not in state:
            raise ValueError(f"{name} is missing")
        if type(state[name]) is not kind or (kind is float and state[name] != state[name]):  # NaN
            raise TypeError(f"{name} is not {'an' if kind is int else 'a'} {kind.__name__}")
        if name != "loss_sum" and kind in (int, float) and not 0 <= state[name] <= LARGEST:
            raise ValueError(f"{name} is negative or too large")
    if state["steps"] > trainer.total_steps:
        raise ValueError(f"step {state['steps']} of {trainer.total_steps}")
    if abs(state["loss_sum"]) > torch.finfo(trainer.loss_sum.dtype).max:
        raise ValueError("loss_sum is not finite")
    line = state["line"]
    if line.keys() != LINE and (line or state["steps"] == trainer.total_steps):
        raise ValueError("line is not a line of the log")
    for name, value in line.items():
        whole = type(value) is int and abs(value) <= LARGEST
        if not whole and not (type(value) is float and math.isfinite(value)):
            raise ValueError(f"{name} in line is not a finite number")


def _check_model(model: Any, given: dict[str, Any]) -> None:
    own, parameters = model.state_dict(), {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name in own:
        if name not in given:
            raise RuntimeError(f"model: missing tensor {name}")
    for name, value in given.items():
        if name not in own:
            raise ValueError(f"model: unknown tensor {_short(name)}")
        _check_tensor(name, value, own[name], finite=name in parameters)


def _check_optimizer(trainer: Trainer, given: dict[Any, Any]) -> None:
    """Parameters that are frozen, or have had no gradient yet, have no state."""
    settings = [(p, group) for group in trainer.optimizer.param_groups for p in group["params"]]  # numbered in order
    seen = set()  # where their numbers are: two moments in one place would overwrite each other
    for number, parts in given.items():
        if type(number) is not int or not 0 <= number < len(settings):
            raise ValueError(f"optimizer: unknown parameter {_short(number)}")
        parameter, group = settings[number]
        moments = {"momentum_buffer"} if group.get("muon") else {"exp_avg", "exp_avg_sq"}
        if group.get("amsgrad"):
            moments.add("max_exp_avg_sq")
        if type(parts) is not dict or parts.keys() != moments | {"step"}:
            raise ValueError(f"optimizer: the state of parameter {number} is not {', '.join(sorted(moments))} and step")
        for name in sorted(moments):
            where = f"optimizer: {name} of parameter {number}"
            _check_tensor(where, parts[name], parameter)
            if name.endswith("_sq") and (local(parts[name]) < 0).any():
                raise ValueError(f"{where} holds negative numbers")
        step = f"optimizer: step of parameter {number}"
        _check_tensor(step, parts["step"], torch.zeros(()))
        if not 0 <= parts["step"].item() <= trainer.total_steps:
            raise ValueError(f"{step} is not one of {trainer.total_steps}")
        for name, value in parts.items():
            own = local(value)
            if own.numel() and own.data_ptr() in seen:
                raise ValueError(f"optimizer: {name} of parameter {number} shares its memory with another")
            seen.add(own.data_ptr())


def _check_tensor(name: str, value: Any, like: Tensor, finite: bool = True) -> None:
    """Raise ValueError if `value` is not a tensor that can stand where `like` stands."""
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        raise ValueError(f"{name} is not a tensor")
    if value.shape != like.shape:
        raise ValueError(f"{name} has shape {tuple(value.shape)}, not {tuple(like.shape)}")
    if value.dtype != like.dtype:
        raise ValueError(f"{name} holds {value.dtype} numbers, not {like.dtype}")
    if value.is_meta or value.is_contiguous() != like.is_contiguous():
        raise ValueError(f"{name} has its numbers in another order")
    if finite and not local(value).isfinite().all():
        raise ValueError(f"{name} holds NaN or infinite numbers")


def _short(name: Any) -> str:
    """A name from a file, for a message: without control characters and not longer than a line."""
    return repr(name)[:60] if isinstance(name, str) else f"of type {type(name).__name__}"


def local(value: Any) -> Tensor:
    """This process's part of a tensor that is divided among processes; the whole of any other."""
    return value.to_local() if hasattr(value, "to_local") else value


def on_host(value: Any) -> Any:
    """Copies on the host of the tensors in nested dicts."""
    if isinstance(value, dict):
        return {name: on_host(part) for name, part in value.items()}
    return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value


def random_state(device: torch.device) -> Tensor:
    """The state of the generator that dropout draws from on `device`."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else torch.get_rng_state()


def set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)
    else:
        torch.set_rng_state(state)
