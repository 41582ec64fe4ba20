"""The training loop, its schedule and its optimizer.

The trainer takes any model with `logits, loss = model(x, y)` and any dataset of pairs (x, y). It knows nothing of
text, vocabularies or attention, and follows the device that the model's parameters are on.

Where the time goes, and what is done about it: batches are made on the device, many at a time; positions of padding
are not computed (packing.py); on a CUDA device the whole step is replayed from a graph (graphed.py).
"""

import importlib.util
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from graphed import GraphedStep
from muon import Muon

if TYPE_CHECKING:  # imported only by runs of several processes
    from parallel import Processes

ROWS_AT_ONCE = 8192  # rows of which batches are made together
STEPS_TO_COMPILE = 6000  # compiling takes about as long as it saves on so many steps of a GPU


@dataclass(frozen=True)
class TrainerConfig:
    """How to train. Lengths of the schedule are in tokens, and every position of a batch counts as one."""

    max_epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 3e-4  # the peak
    betas: tuple[float, float] = (0.9, 0.95)
    optimizer: str = "adamw"  # or "muon", for hidden matrices (muon.py)
    weight_decay: float = 0.1  # on the weights of matrix products
    decay_gains_and_embeddings: bool = False  # and on those too, as the course's trainer does by oversight
    grad_norm_clip: float = 1.0
    lr_decay: bool = False  # False: a constant rate
    warmup_tokens: float = 0  # tokens over which the rate rises from 0 to its peak
    final_tokens: float = 0  # tokens at which the cosine has reached its lowest point
    min_lr_share: float = 0.1  # the rate never falls below this share of its peak
    log_every: int = 50  # steps between two lines of the log
    bf16: bool = False  # compute the model in bfloat16 where autocast says it is safe; weights stay float32
    compile: str = "auto"  # the model's blocks: "on", "off", or where the run is long enough to earn it back
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
        if self.optimizer not in ("adamw", "muon"):
            raise ValueError(f"optimizer is {self.optimizer!r}: choose adamw or muon")
        if self.compile not in ("on", "off", "auto"):
            raise ValueError(f"compile is {self.compile!r}: choose on, off or auto")


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


def muon_groups(model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups with what decays split in two: hidden matrices, for Muon, and the others, those of `model.head`."""
    decay, no_decay = groups
    of_head = {id(p) for p in model.head.parameters()}
    hidden = [p for p in decay["params"] if id(p) not in of_head]
    others = [p for p in decay["params"] if id(p) in of_head]
    return [{**decay, "params": hidden, "muon": True}, {**decay, "params": others}, no_decay]


class Trainer:
    """Trains `model` on `train_dataset`; after every epoch measures its loss on `test_dataset` unless that is None.

    A dataset with `batch(indices, generator)` is asked for whole batches on the device of the model; any other
    torch Dataset of tensor pairs goes through a DataLoader. A model with `positions_needed(targets)` takes an argument
    `computed` and leaves padding out. `on_log` receives every line of the log as a dict. With `processes` each of them
    has such a Trainer, and computes its own rows of every batch.
    """

    def __init__(
        self,
        model: nn.Module,
        train_dataset: Dataset,
        test_dataset: Dataset | None,
        config: TrainerConfig,
        on_log: Callable[[dict[str, float]], None] | None = None,
        processes: "Processes | None" = None,
    ):
        self.model, self.config, self.processes = model, config, processes
        self.forward = model if processes is None else processes.wrap(model)
        self.train_dataset, self.test_dataset = train_dataset, test_dataset
        self.on_log = on_log or (lambda line: None)
        self.device = next(model.parameters()).device
        self.steps_per_epoch = math.ceil(len(train_dataset) / config.batch_size)
        self.last_step = config.max_epochs * self.steps_per_epoch

        on_cuda = self.device.type == "cuda"
        groups = parameter_groups(model, config.weight_decay, config.decay_gains_and_embeddings)
        lr = torch.tensor(config.learning_rate, device=self.device) if on_cuda else config.learning_rate
        settings = dict(lr=lr, betas=config.betas, fused=True, capturable=on_cuda)
        if config.optimizer == "muon":
            self.optimizer = Muon(muon_groups(model, groups), **settings)
        else:
            self.optimizer = torch.optim.AdamW(groups, **settings)

        # No graph of steps in which processes talk: each computes its own number of positions, and one that replays
        # would meet another that does not. None either where activations are computed twice: dropout must be, too,
        # and its state cannot be read while a graph is recorded.
        single = processes is None and not getattr(model, "checkpoint_activations", False)
        self.graphed = on_cuda and single and hasattr(train_dataset, "batch")
        self.update = GraphedStep(self._update, model) if self.graphed else self._update
        self.leaves_padding_out = hasattr(model, "positions_needed")
        self.slots = 0  # positions that the graph computes
        self.compiled = config.compile == "on" or (
            config.compile == "auto"
            and on_cuda
            and self.last_step >= STEPS_TO_COMPILE
            and importlib.util.find_spec("triton") is not None
        )
        if self.compiled:
            for block in model.blocks:  # one compilation serves them all
                block.compile(dynamic=False if self.graphed else None)

    def __str__(self) -> str:
        """How steps are computed, for people."""
        parts = ["bf16" if self.config.bf16 else f"float32 ({torch.get_float32_matmul_precision()} precision)"]
        parts += ["a CUDA graph a step"] * self.graphed + ["compiled blocks"] * self.compiled
        parts += ["checkpointed activations"] * getattr(self.model, "checkpoint_activations", False)
        parts += [str(self.processes)] * (self.processes is not None)
        return ", ".join(parts + ["no padding"] * self.leaves_padding_out)

    def train(self) -> dict[str, float]:
        """Run all epochs. Returns the last line of the log, with the seconds that training took."""
        config = self.config
        step = tokens = 0
        loss_sum, loss_steps = torch.zeros((), device=self.device), 0
        began = time.perf_counter()
        # A bar that redraws suits a terminal; in a file, a line every half minute says enough.
        mininterval = 0.2 if sys.stderr.isatty() else 30
        silent = self.processes is not None and not self.processes.is_first
        bar = tqdm(total=self.last_step, unit="step", mininterval=mininterval, dynamic_ncols=True, disable=silent)

        for epoch in range(1, config.max_epochs + 1):
            self.model.train()
            for x, y, computed in self._batches(self.train_dataset, epoch):
                step += 1
                tokens += x.numel()
                lr = lr_at(tokens, config)
                self._set_lr(lr)
                loss, grad_norm = self.update(x, y, computed)

                loss_sum += loss
                loss_steps += 1
                bar.update()
                if step % config.log_every == 0 or step == self.last_step:
                    seconds = time.perf_counter() - began
                    # Here the host waits for the device.
                    loss = self._mean(loss_sum / loss_steps).item()
                    line = {"step": step, "epoch": epoch, "tokens": tokens, "loss": loss}
                    line |= {"lr": lr, "grad_norm": grad_norm.item(), "tokens_per_second": tokens / seconds}
                    if not math.isfinite(line["loss"] + line["grad_norm"]):
                        raise ValueError(
                            f"step {step}: the loss is {line['loss']} and the norm of the gradient {line['grad_norm']} "
                            f"at the learning rate {lr:.1e}: nothing is written; lower the rate"
                        )
                    self.on_log(line)
                    bar.set_postfix(epoch=epoch, loss=f"{line['loss']:.3f}", lr=f"{lr:.1e}", refresh=False)
                    loss_sum, loss_steps = torch.zeros_like(loss_sum), 0

            if self.test_dataset is not None:
                test_loss = self.evaluate_loss(self.test_dataset)
                self.on_log({"step": step, "epoch": epoch, "tokens": tokens, "test_loss": test_loss})
        bar.close()
        return {**line, "seconds": time.perf_counter() - began}

    def _update(self, x: Tensor, y: Tensor, computed: int | None) -> tuple[Tensor, Tensor]:
        """One step of the optimizer on a batch: (loss, norm of the gradient before clipping), left on the device."""
        loss = self._loss(x, y, computed)
        self.optimizer.zero_grad()
        loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_norm_clip)
        self.optimizer.step()
        return loss.detach(), grad_norm if self.processes is None else self.processes.whole(grad_norm)

    def _loss(self, x: Tensor, y: Tensor, computed: int | None) -> Tensor:
        """The loss of a batch; with several processes this one's share, so that their mean is the loss."""
        weight = None
        if self.processes is not None:
            weight = self.processes.weight(y, getattr(getattr(self.model, "config", None), "ignore_index", None))
            x, y = self.processes.own(x), self.processes.own(y)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16):
            loss = self.forward(x, y, computed=computed)[1] if self.leaves_padding_out else self.forward(x, y)[1]
        return loss if weight is None else loss * weight

    def _mean(self, value: Tensor) -> Tensor:
        """The mean over processes."""
        return value if self.processes is None else self.processes.mean(value)

    def _set_lr(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # a graph reads the rate from where it is
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    @torch.no_grad()
    def evaluate_loss(self, dataset: Dataset) -> float:
        """Mean loss of the batches of `dataset`, without dropout; the same draws every time."""
        was_training = self.model.training
        self.model.eval()
        with torch.compiler.set_stance("force_eager"):  # too few steps to compile for
            losses = [self._loss(x, y, computed) for x, y, computed in self._batches(dataset, epoch=0)]
        self.model.train(was_training)
        return self._mean(torch.stack(losses).mean()).item()

    def _batches(self, dataset: Dataset, epoch: int) -> Iterator[tuple[Tensor, Tensor, int | None]]:
        """The batches (x, y, positions to compute) of an epoch on the device, every row once, the last one smaller.

        Order and contents follow from the seed and the epoch alone; epoch 0 keeps the rows in order.
        """
        size, n_rows, device = self.config.batch_size, len(dataset), self.device
        if not hasattr(dataset, "batch"):
            generator, workers = _generator("cpu", self.config.seed, epoch), self.config.num_workers
            for x, y in DataLoader(dataset, size, shuffle=epoch > 0, num_workers=workers, generator=generator):
                x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
                yield x, y, self._computed(y, size)[0]
            return
        order = torch.arange(n_rows, device=device)
        if epoch > 0:
            order = torch.randperm(n_rows, generator=_generator(device, self.config.seed, epoch), device=device)
        for i, indices in enumerate(order.split(max(1, ROWS_AT_ONCE // size) * size), 1):
            x, y = dataset.batch(indices, _generator(device, self.config.seed, epoch, i))
            yield from zip(x.split(size), y.split(size), self._computed(y, size), strict=True)

    def _computed(self, y: Tensor, size: int) -> list[int | None]:
        """How many positions to compute in each batch of `size` rows of y: a number on the host, which waits for it.

        A graph computes the same number in every step, enough for nearly all; a step that needs more runs without it.
        """
        if not self.leaves_padding_out:
            return [None] * math.ceil(len(y) / size)
        own = self.processes.own if self.processes is not None else lambda rows: rows
        needed = torch.stack([own(rows).sum() for rows in self.model.positions_needed(y).split(size)]).int().tolist()
        if not self.graphed:
            return needed
        if self.slots == 0:
            self.slots = _round_up(max(needed) * 1.02, 256)
        return [self.slots if n <= self.slots else _round_up(n, 256) for n in needed]


def _round_up(n: float, multiple: int) -> int:
    return math.ceil(n / multiple) * multiple


def _generator(device: torch.device | str, *seeds: int) -> torch.Generator:
    """A generator for what is drawn at one place of a run, so that a run can be continued from any place."""
    mixed = 0
    for seed in seeds:
        mixed = (mixed * 1_000_003 + seed) % 2**63
    return torch.Generator(device).manual_seed(mixed)
