"""The training loop, its schedule and optimizer, and the files that keep what was trained.

The trainer takes any model with `logits, loss = model(x, y)` and any dataset of pairs (x, y). It knows nothing of
text, vocabularies or attention, and follows the device that the model's parameters are on.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
import torch.nn as nn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm


@dataclass(frozen=True)
class TrainerConfig:
    """How to train. Lengths of the schedule are in tokens, and every position of a batch counts as one."""

    max_epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 3e-4  # the peak
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1  # on the weights of matrix products
    decay_gains_and_embeddings: bool = False  # and on those too, as the course's trainer does by oversight
    grad_norm_clip: float = 1.0
    lr_decay: bool = False  # False: a constant rate
    warmup_tokens: float = 0  # tokens over which the rate rises from 0 to its peak
    final_tokens: float = 0  # tokens at which the cosine has reached its lowest point
    min_lr_share: float = 0.1  # the rate never falls below this share of its peak
    log_every: int = 50  # steps between two lines of the log
    seed: int = 0  # of the order of the rows and of what the dataset draws
    num_workers: int = 0  # processes of the DataLoader, for datasets without `batch`

    def __post_init__(self):
        for name in ("max_epochs", "batch_size", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"the seed is {self.seed}: it must be at least 0 and below 2**63")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"the learning rate is {self.learning_rate}: it must be a positive number")


def lr_at(tokens: float, config: TrainerConfig) -> float:
    """Learning rate of the step with which the model has seen `tokens` tokens, that step's own included.

    Rises linearly until warmup_tokens, then follows peak * (1 + cos(pi * progress)) / 2 until final_tokens, never
    under min_lr_share of the peak. Progress stops at 1: left to run on, the cosine would climb back to the peak.
    """
    if not config.lr_decay:
        return config.learning_rate
    if tokens < config.warmup_tokens:
        return config.learning_rate * tokens / config.warmup_tokens
    progress = (tokens - config.warmup_tokens) / max(1, config.final_tokens - config.warmup_tokens)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.learning_rate * max(config.min_lr_share, cosine)


def parameter_groups(
    model: nn.Module, weight_decay: float, decay_gains_and_embeddings: bool = False
) -> list[dict[str, Any]]:
    """Two AdamW groups with every parameter in exactly one: weights of matrix products decay, nothing else does.

    Decided by kind, never by name: vectors (biases, LayerNorm gains) and the weights of nn.Embedding are exempt, and
    so is what a module lists in its attribute `no_decay`. With `decay_gains_and_embeddings` only biases are.
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


class Trainer:
    """Trains `model` on `train_dataset`; after every epoch measures its loss on `test_dataset` unless that is None.

    A dataset with `batch(indices, generator)` is asked for whole batches on the device of the model; any other
    torch Dataset of tensor pairs goes through a DataLoader. `on_log` receives every line of the log as a dict.
    """

    def __init__(
        self,
        model: nn.Module,
        train_dataset: Dataset,
        test_dataset: Dataset | None,
        config: TrainerConfig,
        on_log: Callable[[dict[str, float]], None] | None = None,
    ):
        self.model, self.config = model, config
        self.train_dataset, self.test_dataset = train_dataset, test_dataset
        self.on_log = on_log or (lambda line: None)
        self.device = next(model.parameters()).device
        groups = parameter_groups(model, config.weight_decay, config.decay_gains_and_embeddings)
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)

    def train(self) -> dict[str, float]:
        """Run all epochs. Returns the last line of the log, with the seconds that training took."""
        model, optimizer, config = self.model, self.optimizer, self.config
        generator = torch.Generator(self.device).manual_seed(config.seed)
        steps_per_epoch = math.ceil(len(self.train_dataset) / config.batch_size)
        last_step = config.max_epochs * steps_per_epoch
        step = tokens = 0
        loss_sum, loss_steps = torch.zeros((), device=self.device), 0
        began = time.perf_counter()
        # A bar that redraws suits a terminal; in a file, a line every half minute says enough.
        bar = tqdm(total=last_step, unit="step", mininterval=0.2 if sys.stderr.isatty() else 30, dynamic_ncols=True)

        for epoch in range(1, config.max_epochs + 1):
            model.train()
            for x, y in self._batches(self.train_dataset, generator, shuffle=True):
                step += 1
                tokens += x.numel()
                lr = lr_at(tokens, config)
                for group in optimizer.param_groups:
                    group["lr"] = lr

                _, loss = model(x, y)
                optimizer.zero_grad()
                loss.backward()
                grad_norm = nn.utils.clip_grad_norm_(model.parameters(), config.grad_norm_clip)
                optimizer.step()

                loss_sum += loss.detach()
                loss_steps += 1
                bar.update()
                if step % config.log_every == 0 or step == last_step:
                    # The only place in an epoch where the host waits for the device.
                    seconds = time.perf_counter() - began
                    line = {"step": step, "epoch": epoch, "tokens": tokens, "loss": loss_sum.item() / loss_steps}
                    line |= {"lr": lr, "grad_norm": grad_norm.item(), "tokens_per_second": tokens / seconds}
                    self.on_log(line)
                    bar.set_postfix(epoch=epoch, loss=f"{line['loss']:.3f}", lr=f"{lr:.1e}", refresh=False)
                    loss_sum, loss_steps = torch.zeros_like(loss_sum), 0

            if self.test_dataset is not None:
                test_loss = self.evaluate_loss(self.test_dataset)
                self.on_log({"step": step, "epoch": epoch, "tokens": tokens, "test_loss": test_loss})
        bar.close()
        return {**line, "seconds": time.perf_counter() - began}

    @torch.no_grad()
    def evaluate_loss(self, dataset: Dataset) -> float:
        """Mean loss of the batches of `dataset`, without dropout; the same draws every time."""
        was_training = self.model.training
        self.model.eval()
        generator = torch.Generator(self.device).manual_seed(self.config.seed)
        losses = [self.model(x, y)[1] for x, y in self._batches(dataset, generator, shuffle=False)]
        self.model.train(was_training)
        return torch.stack(losses).mean().item()

    def _batches(self, dataset: Dataset, generator: torch.Generator, shuffle: bool) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch of (x, y) on the device; the last batch may be smaller, no row is left out."""
        size = min(self.config.batch_size, len(dataset))
        if hasattr(dataset, "batch"):
            order = torch.arange(len(dataset), device=self.device)
            if shuffle:
                order = torch.randperm(len(dataset), generator=generator, device=self.device)
            for indices in order.split(size):
                yield dataset.batch(indices, generator)
        else:
            seed = int(torch.randint(2**62, (), generator=generator, device=self.device))
            cpu_generator = torch.Generator().manual_seed(seed)
            workers = self.config.num_workers
            for x, y in DataLoader(dataset, size, shuffle=shuffle, num_workers=workers, generator=cpu_generator):
                yield x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)


# ------------------------------------------------------------------------------------------------------------ files


@contextmanager
def training_log(path: str | Path, tb_expt_name: str | None = None) -> Iterator[Callable[[dict[str, float]], None]]:
    """An `on_log` that writes each line to `path` as JSON and, with a name, to TensorBoard under expt/ as well.

    Raises ValueError if TensorBoard is asked for and not installed.
    """
    writer = None
    if tb_expt_name is not None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ValueError("--tb_expt_name needs the package tensorboard: pip install tensorboard") from None
        writer = SummaryWriter(f"expt/{tb_expt_name}")
    with open(path, "w", encoding="utf-8") as file:

        def on_log(line: dict[str, float]) -> None:
            print(json.dumps(line), file=file, flush=True)
            if writer is not None:
                for name in line.keys() - {"step"}:
                    writer.add_scalar(name, line[name], line["step"])

        try:
            yield on_log
        finally:
            if writer is not None:
                writer.close()


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file to write to that becomes `path` when the block ends, and leaves `path` alone if it fails."""
    path = Path(path).resolve()  # a link stays a link
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Raise OSError saying why `path` could not be written, before hours are spent on what should go there."""
    path = Path(path).resolve()
    if path.is_dir():
        raise IsADirectoryError(f"{path}: cannot be written: it is a folder")
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: cannot be written: it is not a plain file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: cannot be written: there is no folder {path.parent}")
    probe = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{path}: cannot be written: {error.strerror}") from None


def save_parameters(path: str | Path, model: nn.Module, record: dict[str, Any]) -> None:
    """Write the state_dict to `path` and `record`, what a reader must know about it, to `path`.json."""
    with atomic_write(path) as file:
        torch.save({name: value.cpu() for name, value in model.state_dict().items()}, file)
    with atomic_write(f"{path}.json") as file:
        file.write(json.dumps(record, indent=2, ensure_ascii=False).encode() + b"\n")


def read_parameters(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """(state_dict, record) of a parameter file; record is None if there is no `path`.json beside it.

    Nothing in the file is run as code. Raises OSError or ValueError naming the file and what is wrong with it.
    """
    try:
        state_dict = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged file makes torch.load fail in more ways than it documents
        raise ValueError(f"{path}: not a parameter file, or a damaged one ({type(error).__name__})") from None
    entries = state_dict.items() if isinstance(state_dict, dict) else [("content", state_dict)]
    for name, value in entries:
        if not (isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided):
            raise ValueError(f"{path}: not a parameter file: {name!r} is no tensor (save model.state_dict() only)")
    sidecar = Path(f"{path}.json")
    if not sidecar.exists():
        return state_dict, None
    try:
        return state_dict, json.loads(sidecar.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{sidecar}: not JSON: {error}") from None
