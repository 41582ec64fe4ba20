"""A trained model as an ONNX file: token ids (batch, time) in, logits (batch, time, vocabulary) out."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from model import GPT

LIBRARY = "ONNX"
PACKAGES = ("onnx", "onnxscript", "onnxruntime", "tokenizers")
NAMES = ("model.onnx", "model.onnx.data")
LARGEST = 2**31  # bytes of a file in ONNX's format; larger weights go beside it


class Logits(nn.Module):
    """The model without its loss."""

    def __init__(self, model: GPT):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.model(input_ids)[0]


def write(folder: Path, model: GPT, tokenizer: Any) -> Callable[[Tensor], Tensor]:
    """Write model.onnx, and return the logits (B, T, V) that onnxruntime computes from it."""
    import onnxruntime

    file, (example, shapes) = folder / NAMES[0], example_of(model)
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns that torchvision is not installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about torch's own code
            torch.onnx.export(
                Logits(model),
                (example,),
                file,
                input_names=["input_ids"],
                output_names=["logits"],
                dynamic_shapes=shapes,
                external_data=sum(p.nbytes for p in model.parameters()) > LARGEST // 2,
                dynamo=True,
                verbose=False,
            )
    finally:
        log.setLevel(level)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda idx: torch.from_numpy(session.run(["logits"], {"input_ids": idx.numpy()})[0])


def example_of(model: GPT) -> tuple[Tensor, dict[str, Any]]:
    """Token ids to trace the model with, and which of their sizes may be others."""
    T = model.config.block_size
    shapes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("time", max=T)}
    return torch.zeros(2, min(T, 5), dtype=torch.long), {"input_ids": shapes}  # a size of 1 is traced as a constant
