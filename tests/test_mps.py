"""The way to Apple's GPU, which no machine of ours has: what runs there must be within what MPS can do.

A dispatch mode sees every operation of torch that is computed, also those of the backward pass.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dataset import MixedDataset
from fast.rows import CachedReader
from fast.steps import PackedStep, counted
from optimizer import make_optimizer
from trainer import Trainer, TrainerConfig

# torch/mps: "MPS framework doesn't support float64"; what has no kernel there falls back to the CPU only on request
# (PYTORCH_ENABLE_MPS_FALLBACK), and there is none for sparse tensors or pinned memory.
# F.scaled_dot_product_attention has a kernel on each device; here it shows the CPU's.
NO_DTYPES = (torch.float64, torch.complex128, torch.complex64)
NO_OPERATIONS = ("cuda", "cudnn", "_flash_attention_forward", "mkldnn", "pin_memory", "sparse")


class LikeMPS(TorchDispatchMode):
    """Computes as usual, and notes the operations. Refuses what MPS cannot do."""

    def __init__(self) -> None:
        super().__init__()
        self.used: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::")
        self.used.add(name.split(".")[0])
        result = func(*args, **(kwargs or {}))
        # A number of Python comes as a float64 tensor without dimensions, and MPS takes it as a number.
        given = [tensor for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor) and tensor.dim() > 0]
        for tensor in [*given, *tree_leaves(result)]:
            if isinstance(tensor, Tensor) and tensor.dtype in NO_DTYPES:
                raise TypeError(f"{name}: {tensor.dtype} is not for MPS")
        if any(word in name for word in NO_OPERATIONS):
            raise NotImplementedError(f"{name} is not for MPS")
        return result


def steps(model: Any, dataset: Any, optimizer: str, ways: Callable[..., dict[str, Any]]) -> set[str]:
    config = TrainerConfig(max_epochs=2, batch_size=4, lr_decay=True, warmup_tokens=500, optimizer=optimizer)
    trainer = Trainer(model, dataset, dataset, config, **ways(model, config), show_progress=False)
    with LikeMPS() as mode:
        assert trainer.train()["loss"] > 0
    return mode.used


def plain(model: Any, config: TrainerConfig) -> dict[str, Any]:
    return {}


def as_on_mps(model: Any, config: TrainerConfig) -> dict[str, Any]:
    """What fast.steps.fastest chooses on a device that is neither a CPU nor CUDA."""
    optimizer = make_optimizer(model, config, fused=False, capturable=False)
    return {"optimizer": optimizer, "step": PackedStep(model, optimizer, config), "split": counted(0)}


@pytest.mark.parametrize("ways", [plain, as_on_mps])
@pytest.mark.parametrize("variant", ["vanilla", "rope"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_training_computes_nothing_that_mps_cannot(make_model, corpus, questions, optimizer, variant, ways):
    used = steps(make_model(variant=variant), MixedDataset(corpus, questions, 0.5), optimizer, ways)
    assert "embedding_dense_backward" in used, "the mode sees the backward pass"


def test_answering_computes_nothing_that_mps_cannot(make_model):
    model = make_model().eval()
    with LikeMPS() as mode:
        model.generate(torch.ones(3, 5, dtype=torch.long), torch.tensor([3, 4, 5]), 4, reader=CachedReader(model))
    assert "argmax" in mode.used


def test_the_mode_refuses_what_mps_cannot():
    with LikeMPS(), pytest.raises(TypeError, match="float64"):
        torch.ones(2).double()
    with LikeMPS(), pytest.raises(TypeError, match="float64"):
        torch.zeros(2, dtype=torch.float64)
