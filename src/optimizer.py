"""Which parameters decay, and the optimizer Muon.

Muon makes the update of every matrix orthogonal, so that rare directions count as much as common ones. Adam's updates
are dominated by a few directions that all examples share; what only one document needs hardly moves the weights.
Source: Jordan et al., "Muon: An optimizer for hidden layers" (2024); with the scale of Liu et al., "Muon is scalable
for LLM training" (arXiv 2502.16982, equation 4), under which Adam's rates and weight decay fit.
"""

from itertools import groupby
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor


def parameter_groups(
    model: nn.Module, weight_decay: float, decay_gains_and_embeddings: bool = False
) -> list[dict[str, Any]]:
    """Two AdamW groups with every parameter in exactly one: weights of matrix products decay, nothing else does.

    Vectors (biases, LayerNorm gains) and the weights of nn.Embedding are exempt, and so is what a module lists in its
    attribute `no_decay`. With `decay_gains_and_embeddings` only parameters of the name `bias` are, as in the course.
    """
    decay, no_decay = [], []
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


def muon_groups(model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups with what decays split in two: hidden matrices, for Muon, and the others, such as `model.head`."""
    decay, no_decay = groups
    matrices = {id(p) for p in parameter_groups(model, 0.0)[0]["params"]} - {id(p) for p in model.head.parameters()}
    hidden = [p for p in decay["params"] if id(p) in matrices]
    others = [p for p in decay["params"] if id(p) not in matrices]
    return [{**decay, "params": hidden, "muon": True}, {**decay, "params": others}, no_decay]


def orthogonalized(matrices: Tensor, steps: int = 5) -> Tensor:
    """(n, rows, cols) -> U V' of each matrix U S V', roughly: singular values end between about 0.7 and 1.2.

    Newton-Schulz iteration with the coefficients of the source, in bfloat16: products of matrices only.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrices.size(-2) <= matrices.size(-1)
    x = (matrices if wide else matrices.mT).bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        series = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # b gram + c gram gram
        x = torch.baddbmm(x, series, x, beta=a)  # a x + series x
    return (x if wide else x.mT).to(matrices.dtype)


class Muon(torch.optim.AdamW):
    """AdamW for the groups of parameters with `muon` False; for the others, matrices, Muon with the group's rate.

        M <- 0.95 M + 0.05 G;   W <- (1 - lr * decay) W - lr * 0.2 sqrt(max(rows, cols)) orthogonalized(0.95 M + 0.05 G)
    """

    momentum = 0.95

    def __init__(self, groups: list[dict[str, Any]], **defaults: Any):
        super().__init__(groups, **defaults)
        for group in self.param_groups:
            group.setdefault("muon", False)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """As AdamW's; where the attribute `found_inf` is set and 1, nothing changes."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["muon"]]
        super().step()
        self.param_groups = groups
        for group in groups:
            if group["muon"]:
                shapes = sorted((p for p in group["params"] if p.grad is not None), key=lambda p: p.shape)
                for _, same in groupby(shapes, key=lambda p: p.shape):  # a batch of products for each shape
                    self._update(list(same), group["lr"], group["weight_decay"], getattr(self, "found_inf", None))

    def _update(
        self, matrices: list[Tensor], lr: Tensor | float, weight_decay: float, found_inf: Tensor | None
    ) -> None:
        gradients = torch.stack([matrix.grad for matrix in matrices])  # (n, rows, cols)
        state = self.state[matrices[0]]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradients)
            state["step"] = gradients.new_zeros(())  # not used here; AdamW asks for it when a state is loaded
        average = state["momentum_buffer"]
        if found_inf is not None:  # gradients that change nothing, at a rate of zero
            gradients, lr = torch.where(found_inf > 0, average, gradients), lr * (1 - found_inf)
        average.lerp_(gradients, 1 - self.momentum)
        updates = orthogonalized(gradients.lerp(average, self.momentum)) * (0.2 * max(gradients.shape[1:]) ** 0.5)
        torch._foreach_mul_(matrices, 1 - lr * weight_decay)
        torch._foreach_sub_(matrices, list(updates * lr))
