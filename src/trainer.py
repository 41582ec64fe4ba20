"""The training loop and its schedule.

The trainer takes any model with `logits, loss = model(x, y)` and any dataset of pairs (x, y). It knows nothing of
text, vocabularies or attention, and works on the device that the model's parameters are on. A dataset that makes its
own batches must be on that device, too.

Shapes:  B rows of a batch, T entries of x and of y.
"""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from optimizer import make_optimizer

ROWS_AT_ONCE, TOKENS_AT_ONCE = 8192, 2**20  # limits on the rows that are drawn together


@dataclass(frozen=True)
class TrainerConfig:
    """How to train. Lengths of the schedule are in tokens; every position of a batch counts as one."""

    max_epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 3e-4  # the peak
    betas: tuple[float, float] = (0.9, 0.95)
    optimizer: str = "adamw"  # or "muon", for hidden matrices (optimizer.py)
    weight_decay: float = 0.1  # on the weights of matrix products
    decay_gains_and_embeddings: bool = False  # and on those too, as the course's trainer does by oversight
    grad_norm_clip: float = 1.0
    lr_decay: bool = False  # False: a constant rate
    warmup_tokens: float = 0  # tokens over which the rate rises from 0 to its peak
    final_tokens: float = math.inf  # tokens at which the cosine has reached its lowest point
    min_lr_share: float = 0.1  # the rate never falls below this share of its peak
    log_every: int = 50  # steps between two lines of the log
    eval_every: int = 1  # epochs between two measurements of the validation loss
    seed: int = 0  # seed for the order of the rows and for what the dataset draws
    num_workers: int = 0  # processes of the DataLoader, for datasets without `batch`

    def __post_init__(self):
        for name in ("max_epochs", "batch_size", "log_every", "eval_every"):
            if not 1 <= getattr(self, name) < 2**31:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1 and below 2**31")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"the seed is {self.seed}: it must be at least 0 and below 2**63")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"the learning rate is {self.learning_rate}: it must be a positive number")
        if self.optimizer not in ("adamw", "muon"):
            raise ValueError(f"optimizer is {self.optimizer!r}: choose adamw or muon")


def lr_at(tokens: float, config: TrainerConfig) -> float:
    """Learning rate of a step. `tokens`: how many have been seen, this step's batch included.

    The rate rises linearly until warmup_tokens, then follows peak * (1 + cos(pi * progress)) / 2 until final_tokens,
    never below min_lr_share of the peak. Progress stops at 1: otherwise the cosine would climb back to the peak.
    """
    if not config.lr_decay:
        return config.learning_rate
    if tokens < config.warmup_tokens:
        return config.learning_rate * tokens / config.warmup_tokens
    progress = (tokens - config.warmup_tokens) / max(1, config.final_tokens - config.warmup_tokens)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.learning_rate * max(config.min_lr_share, cosine)


def ignored_by(dataset: Any) -> int:
    """The target that carries no loss: the dataset's `ignore_index`, or -100, which is no token's."""
    return getattr(dataset, "ignore_index", -100)


def batches(
    dataset: Any,
    config: TrainerConfig,
    device: torch.device,
    epoch: int,
    first: int = 0,
    split: Callable[[Tensor, Tensor, int], Iterable[tuple]] | None = None,
) -> Iterator[tuple]:
    """The batches (x, y) of an epoch on `device`, from number `first` on: every row once, the last batch smaller.

    The order follows from seed and epoch; the contents from these, the batch size and the kind of device, for a dataset
    with `batch`. So a run can continue from any batch. Epoch 0 keeps the rows in order. A dataset with
    `batch(indices, generator)` makes many batches at once, on the device: thousands of rows cost little more than a
    hundred. Any other dataset goes through a DataLoader.
    """
    size, n_rows = config.batch_size, len(dataset)
    mixed = config.seed * 1_000_003 + epoch  # a seed for each pair of seed and epoch
    if not hasattr(dataset, "batch"):
        generator = torch.Generator().manual_seed(mixed % 2**63)
        order = torch.randperm(n_rows, generator=generator) if epoch > 0 else torch.arange(n_rows)
        rows = order[first * size :].tolist()
        for x, y in DataLoader(dataset, size, sampler=rows, num_workers=config.num_workers, generator=generator):
            x, y = x.to(device), y.to(device)
            yield from [(x, y)] if split is None else split(x, y, size)
        return
    generator = torch.Generator(device).manual_seed(mixed % 2**63)
    order = torch.arange(n_rows, device=device)
    if epoch > 0:
        order = torch.randperm(n_rows, generator=generator, device=device)
    per_draw = max(1, min(ROWS_AT_ONCE, TOKENS_AT_ONCE // getattr(dataset, "block_size", 1)) // size)  # batches
    for i, indices in enumerate(order.split(per_draw * size)):
        if first >= (i + 1) * per_draw:
            continue
        generator.manual_seed((mixed * 1_000_003 + i + 1) % 2**63)
        x, y = dataset.batch(indices, generator)
        cut = zip(x.split(size), y.split(size), strict=True) if split is None else split(x, y, size)
        for number, batch in enumerate(cut, i * per_draw):
            if number >= first:
                yield batch


class Diverged(ValueError):
    """The loss or the gradient is not a finite number. safe/state.py raises it for parameters."""


class Trainer:
    """Trains `model` on `train_dataset` and measures its loss on `test_dataset`, if there is one.

    optimizer, step, split: a faster way to compute the same, from src/fast/steps.py; the results differ by rounding and
              by the draws of dropout. `step(*batch)` does forward, backward, clip and update, and returns the loss and
              the norm of the gradient. `split` cuts the rows that were drawn together into batches (x, y, ...), with
              what the step needs to know about each. Without them `batches` and the loop below do all of this.
    on_log:   is called with every line of the log, a dict
    on_pause: is called with the trainer between two steps, once time.monotonic() has reached `pause_at`. It may raise
              to end training. src/safe/unfinished.py saves checkpoints there.
    """

    def __init__(
        self,
        model: Any,
        train_dataset: Any,
        test_dataset: Dataset | None,
        config: TrainerConfig,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        step: Callable[..., tuple[Tensor, Tensor]] | None = None,
        split: Callable[[Tensor, Tensor, int], Iterable[tuple]] | None = None,
        on_log: Callable[[dict[str, float]], None] | None = None,
        on_pause: Callable[["Trainer"], None] | None = None,
        show_progress: bool = True,
    ):
        # What carries no loss is up to the data. A model that is not told so would learn to write padding.
        self.model = model
        self.ignore_index = self.model.ignore_index = ignored_by(train_dataset)
        self.config = config
        self.train_dataset, self.test_dataset = train_dataset, test_dataset
        self.optimizer = optimizer or make_optimizer(model, config)
        self.step, self.split = step, split
        self.on_log = on_log or (lambda line: None)
        self.on_pause = on_pause or (lambda trainer: None)
        self.pause_at = math.inf
        self.show_progress = show_progress
        self.device = next(model.parameters()).device
        self.steps_per_epoch = math.ceil(len(train_dataset) / config.batch_size)
        self.total_steps = config.max_epochs * self.steps_per_epoch
        self.steps_done = self.tokens = 0  # over all epochs
        self.seconds, self.began = 0.0, time.perf_counter()  # spent before a continued run; start of this one
        self.loss_sum, self.loss_steps = torch.zeros((), device=self.device), 0  # since the last line of the log
        self.line: dict[str, float] = {}  # the last line of the log
        self.measured: dict[str, float] = {}  # the last one with the validation loss
        self.bar: Any = None  # for src/safe/progress.py, whose bar says more than the one made below

    def train(self) -> dict[str, float]:
        """Run all epochs. Returns the last line of the log, with the seconds that training took."""
        model, optimizer, config = self.model, self.optimizer, self.config
        self.began, earlier_tokens = time.perf_counter(), self.tokens
        hidden = not self.show_progress or sys.stderr is None
        # A run that stopped at the end of an epoch goes back to it: the validation loss may be missing.
        first_epoch = max(0, self.steps_done - 1) // self.steps_per_epoch + 1
        with self.bar or tqdm(initial=self.steps_done, total=self.total_steps, unit="step", disable=hidden) as bar:
            for epoch in range(first_epoch, config.max_epochs + 1):
                model.train()
                done = self.steps_done - (epoch - 1) * self.steps_per_epoch
                for batch in batches(self.train_dataset, config, self.device, epoch, done, self.split):
                    x, y = batch[:2]
                    self.steps_done += 1
                    self.tokens += x.numel()
                    lr = lr_at(self.tokens, config)
                    for group in optimizer.param_groups:
                        group["lr"] = lr

                    if self.step is None:
                        _, loss = model(x, y)
                        optimizer.zero_grad()
                        loss.backward()
                        grad_norm = nn.utils.clip_grad_norm_(model.parameters(), config.grad_norm_clip)
                        optimizer.step()
                    else:  # the same in fewer milliseconds: src/fast/steps.py
                        loss, grad_norm = self.step(*batch)

                    self.loss_sum += loss.detach()
                    self.loss_steps += 1
                    if self.steps_done % config.log_every == 0 or self.steps_done == self.total_steps:
                        self.log(epoch, lr, grad_norm, earlier_tokens)
                        bar.set_postfix(loss=self.line["loss"], refresh=False)
                    if time.monotonic() >= self.pause_at:  # a checkpoint is due, or somebody asked to stop
                        self.on_pause(self)
                    bar.update()
                if self.test_dataset is not None and (epoch % config.eval_every == 0 or epoch == config.max_epochs):
                    self.measured = {"step": self.steps_done, "epoch": epoch, "tokens": self.tokens}
                    self.measured["validation_loss"] = self.evaluate_loss(self.test_dataset)
                    self.on_log(self.measured)
        return {**self.line, "seconds": self.seconds_so_far()}

    def seconds_so_far(self) -> float:
        return self.seconds + time.perf_counter() - self.began

    def log(self, epoch: int, lr: float, grad_norm: Tensor, earlier_tokens: int) -> None:
        """Log the mean loss since the last line, this step's rate and gradient norm (before clipping), and the speed.

        Raises Diverged if the loss or the gradient is not finite.
        """
        loss = self.loss_sum.item() / self.loss_steps  # here the host waits for the device
        line = {"step": self.steps_done, "epoch": epoch, "tokens": self.tokens, "loss": loss, "lr": lr}
        line["grad_norm"] = grad_norm.item()
        line["tokens_per_second"] = (self.tokens - earlier_tokens) / (time.perf_counter() - self.began)
        if not math.isfinite(loss + line["grad_norm"]):
            raise Diverged(
                f"step {self.steps_done}: the loss is {loss} and the norm of the gradient {line['grad_norm']} at the "
                f"learning rate {lr:.1e}: no parameters are written; lower the rate"
            )
        self.on_log(line)
        self.line, self.loss_steps = line, 0
        self.loss_sum.zero_()

    @torch.no_grad()
    def evaluate_loss(self, dataset: Dataset) -> float:
        """The mean loss over all targets of `dataset`, without dropout. With `batch` it draws the same each time."""
        was_training = self.model.training
        self.model.eval()
        loss_sum, n_targets = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for x, y in batches(dataset, self.config, self.device, epoch=0):
            n = (y != self.ignore_index).sum()  # a batch's loss is a mean over so many targets
            loss_sum += torch.where(n > 0, self.model(x, y)[1] * n, 0.0)
            n_targets += n
        self.model.train(was_training)
        return (loss_sum / n_targets).item()
