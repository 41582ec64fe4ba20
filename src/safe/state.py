"""The state of a Trainer between two steps: everything that is needed to continue its run with the same bits."""

import math
from typing import Any

import torch
from torch import Tensor

from trainer import Diverged, Trainer, lr_at

KINDS: dict[str, type] = {"steps": int, "tokens": int, "loss_steps": int, "seconds": float, "loss_sum": float}
KINDS |= {"line": dict, "model": dict, "optimizer": dict, "random": Tensor}
LINE = {"step", "epoch", "tokens", "loss", "lr", "grad_norm", "tokens_per_second"}  # of the log
LARGEST = 2**53  # up to it a float holds every whole number


def trainer_state(trainer: Trainer) -> dict[str, Any]:
    """A dict of numbers and of tensors on the host. Raises Diverged if the parameters or the loss are not finite."""
    loss_sum = trainer.loss_sum.item()
    finite = torch.stack([p.isfinite().all() for p in trainer.model.parameters()]).all().item()
    if not (finite and math.isfinite(loss_sum)):
        what = "the loss" if finite else "a parameter"
        raise Diverged(
            f"step {trainer.steps_done}: {what} is not finite at the learning rate "
            f"{lr_at(trainer.tokens, trainer.config):.1e}: no parameters are written; lower the rate"
        )
    return {
        "model": on_host(trainer.model.state_dict()),
        "optimizer": on_host(trainer.optimizer.state_dict()["state"]),
        "random": random_state(trainer.device),  # dropout's
        "steps": trainer.steps_done,
        "tokens": trainer.tokens,
        "seconds": trainer.seconds_so_far(),
        "loss_sum": loss_sum,
        "loss_steps": trainer.loss_steps,
        "line": trainer.line,
    }


def restore_trainer(trainer: Trainer, state: dict[str, Any]) -> None:
    """Make `trainer` continue from `state`.

    A state that does not belong to such a trainer raises TypeError, ValueError or RuntimeError before anything of the
    trainer changes. It may come from anybody: a moment of another shape than its parameter makes a fused kernel write
    beyond it, which ends the process.
    """
    _check_numbers(trainer, state)
    _check_model(trainer.model, state["model"])
    _check_optimizer(trainer, state["optimizer"])
    own = random_state(trainer.device)
    if (state["random"].dtype, state["random"].shape) != (own.dtype, own.shape):
        raise ValueError(f"random is not the state of a generator on {trainer.device.type}")
    set_random_state(trainer.device, state["random"])  # first: it checks what is in it
    trainer.model.load_state_dict(state["model"])
    groups = trainer.optimizer.state_dict()["param_groups"]  # the settings are this trainer's
    trainer.optimizer.load_state_dict({"state": state["optimizer"], "param_groups": groups})
    trainer.steps_done, trainer.tokens, trainer.seconds = state["steps"], state["tokens"], state["seconds"]
    trainer.loss_sum.fill_(state["loss_sum"])
    trainer.loss_steps, trainer.line = state["loss_steps"], state["line"]


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
            if name.endswith("_sq") and (parts[name] < 0).any():
                raise ValueError(f"{where} holds negative numbers")
        step = f"optimizer: step of parameter {number}"
        _check_tensor(step, parts["step"], torch.zeros(()))
        if not 0 <= parts["step"].item() <= trainer.total_steps:
            raise ValueError(f"{step} is not one of {trainer.total_steps}")
        for name, value in parts.items():
            if value.numel() and value.data_ptr() in seen:
                raise ValueError(f"optimizer: {name} of parameter {number} shares its memory with another")
            seen.add(value.data_ptr())


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
    if finite and not value.isfinite().all():
        raise ValueError(f"{name} holds NaN or infinite numbers")


def _short(name: Any) -> str:
    """A name from a file, for a message: without control characters and not longer than a line."""
    return repr(name)[:60] if isinstance(name, str) else f"of type {type(name).__name__}"


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
