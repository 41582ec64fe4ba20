"""The state of a Trainer between two steps: everything that is needed to continue its run with the same bits."""

import math
from typing import Any

import torch
from torch import Tensor

from trainer import Diverged, Trainer, lr_at

KINDS: dict[str, type] = {"steps": int, "tokens": int, "loss_steps": int, "seconds": float, "loss_sum": float}
KINDS |= {"line": dict}


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

    A state that does not belong to such a trainer raises LookupError, TypeError, ValueError or RuntimeError.
    """
    for name, kind in KINDS.items():
        if type(state[name]) is not kind or (kind is float and math.isnan(state[name])):
            raise TypeError(f"{name} is not {'an' if kind is int else 'a'} {kind.__name__}")
    if not 0 <= state["steps"] <= trainer.total_steps:
        raise ValueError(f"step {state['steps']} of {trainer.total_steps}")
    trainer.model.load_state_dict(state["model"])
    groups = trainer.optimizer.state_dict()["param_groups"]  # the settings are this trainer's
    trainer.optimizer.load_state_dict({"state": state["optimizer"], "param_groups": groups})
    trainer.steps_done, trainer.tokens, trainer.seconds = state["steps"], state["tokens"], state["seconds"]
    trainer.loss_sum.fill_(state["loss_sum"])
    trainer.loss_steps, trainer.line = state["loss_steps"], state["line"]
    set_random_state(trainer.device, state["random"])


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
