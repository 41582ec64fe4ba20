"""Which parameters decay, and the optimizer Muon.

Muon makes the update of every matrix orthogonal, so that rare directions count as much as common ones. Adam's updates
are dominated by a few directions that all examples share; what only one document needs hardly moves the weights.
Source: Jordan et al., "Muon: An optimizer for hidden layers" (2024); with the scale of Liu et al., "Muon is scalable
for LLM training" (arXiv 2502.16982, equation 4), which fits Adam's learning rates and weight decay.
"""

from collections import defaultdict
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

Group = dict[str, Any]  # a parameter group, as torch.optim takes it


def parameter_groups(model: nn.Module, weight_decay: float, decay_gains_and_embeddings: bool = False) -> list[Group]:
    """Two AdamW groups with every parameter in exactly one: by default weights of matrix products decay, others do not.

    Vectors (biases, LayerNorm gains) and the weights of nn.Embedding are exempt, and so is what a module lists in its
    attribute `no_decay`. With `decay_gains_and_embeddings` only parameters named `bias` are, as in the course.
    """
    decay: list[Tensor] = []
    no_decay: list[Tensor] = []
    seen = set()  # a parameter that two modules share is met twice
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            exempt = parameter.dim() < 2 or isinstance(module, nn.Embedding) or name in getattr(module, "no_decay", ())
            if decay_gains_and_embeddings:
                exempt = name == "bias"
            if id(parameter) not in seen:
                (no_decay if exempt else decay).append(parameter)
            seen.add(id(parameter))
    return [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, "weight_decay": 0.0}]


def muon_groups(model: nn.Module, groups: list[Group]) -> list[Group]:
    """The groups with what decays split in two: hidden matrices, for Muon, and the others, such as `model.head`."""
    decay, no_decay = groups
    head: Any = getattr(model, "head", None) or nn.Identity()
    decaying = {id(p) for p in parameter_groups(model, 0.0)[0]["params"]} - {id(p) for p in head.parameters()}
    hidden = [p for p in decay["params"] if id(p) in decaying and p.dim() == 2]
    others = [p for p in decay["params"] if id(p) not in decaying or p.dim() != 2]
    return [{**decay, "params": hidden, "muon": True}, {**decay, "params": others}, no_decay]


def make_optimizer(model: nn.Module, config: Any, **settings: Any) -> torch.optim.Optimizer:
    """The optimizer that a TrainerConfig names. `settings` are those of torch.optim.AdamW that change no result."""
    groups = parameter_groups(model, config.weight_decay, config.decay_gains_and_embeddings)
    if config.optimizer == "muon":
        return Muon(muon_groups(model, groups), lr=config.learning_rate, betas=config.betas, **settings)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, **settings)


def orthogonalized(matrices: Tensor, steps: int = 5) -> Tensor:
    """(n, rows, cols) -> U V' of each matrix U S V', roughly: singular values end between about 0.7 and 1.2.

    Newton-Schulz iteration with the coefficients of the source. It needs products of matrices only, and few digits: a
    GPU computes it in bfloat16. Many CPUs emulate that type, which takes 20 times as long as float32.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrices.size(-2) <= matrices.size(-1)
    x = matrices if wide else matrices.mT
    x = x.bfloat16() if x.is_cuda else x.float()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        series = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # b gram + c gram gram
        x = torch.baddbmm(x, series, x, beta=a)  # a x + series x
    return (x if wide else x.mT).to(matrices.dtype)


class Muon(torch.optim.AdamW):
    """Muon for the parameter groups with `muon` True, which hold matrices; AdamW for the others.

    M <- 0.95 M + 0.05 G;   W <- (1 - lr * decay) W - lr * 0.2 sqrt(max(rows, cols)) orthogonalized(0.95 M + 0.05 G)
    """

    momentum = 0.95

    def __init__(self, groups: list[Group], **defaults: Any):
        super().__init__(groups, **defaults)
        for group in self.param_groups:
            group.setdefault("muon", False)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        all_groups = self.param_groups
        self.param_groups = [group for group in all_groups if not group["muon"]]
        super().step()
        self.param_groups = all_groups
        for group in all_groups:
            if not group["muon"]:
                continue
            by_shape = defaultdict(list)  # one batch of matrix products serves all matrices of a shape
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape[matrix.shape].append(matrix)
            for (rows, cols), matrices in by_shape.items():
                for matrix in matrices:
                    if "momentum_buffer" not in self.state[matrix]:
                        self.state[matrix]["momentum_buffer"] = torch.zeros_like(matrix)
                        self.state[matrix]["step"] = torch.zeros(())  # AdamW expects one when a state is loaded
                momenta = [self.state[matrix]["momentum_buffer"] for matrix in matrices]
                gradients = [matrix.grad for matrix in matrices]
                torch._foreach_lerp_(momenta, gradients, 1 - self.momentum)
                ahead = torch.stack(torch._foreach_lerp(gradients, momenta, self.momentum))  # (n, rows, cols)
                updates = orthogonalized(ahead) * (0.2 * max(rows, cols) ** 0.5)
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_sub_(matrices, list(updates * group["lr"]))
