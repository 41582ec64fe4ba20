"""The training loop and its schedule.

The trainer takes any model with `logits, loss = model(x, y)` and any dataset of pairs (x, y); the optimizer Muon asks
for `model.head`, too, which it leaves to AdamW. It knows nothing of text, vocabularies or attention, and follows the
device that the model's parameters are on.

Where the time goes, and what is done about it: batches are made on the device, many at a time; positions of padding
are not computed (packing.py); on a CUDA device the whole step is replayed from a graph (graphed.py).
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from dropout import without_dropout
from graphed import GraphedStep
from optimizer import Muon, muon_groups, parameter_groups

if TYPE_CHECKING:  # imported only by runs of several processes
    from parallel import Processes

ROWS_AT_ONCE, TOKENS_AT_ONCE = 8192, 2**20  # of which batches are made together, at most, of rows or of their tokens
ROWS_TOGETHER = 16  # rows of like length that a CPU computes at a time
STEPS_TO_COMPILE = 10_000  # compiling takes about as long as it saves on so many steps of a GPU


@dataclass(frozen=True)
class TrainerConfig:
    """How to train. Lengths of the schedule are in tokens, and every position of a batch counts as one."""

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
    final_tokens: float = 0  # tokens at which the cosine has reached its lowest point
    min_lr_share: float = 0.1  # the rate never falls below this share of its peak
    log_every: int = 50  # steps between two lines of the log
    bf16: bool = False  # compute the model in bfloat16 where autocast says it is safe; weights stay float32
    compile: str = "auto"  # the model: "on", "off", or where the run is long enough to earn it back
    skip_nonfinite: bool = False  # leave out steps whose loss or gradient is no finite number, instead of stopping
    seed: int = 0  # of the order of the rows and of what the dataset draws
    num_workers: int = 0  # processes of the DataLoader, for datasets without `batch`

    def __post_init__(self):
        for name in ("max_epochs", "batch_size", "log_every"):
            if not 1 <= getattr(self, name) < 2**31:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1 and below 2**31")
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


class Diverged(ValueError):
    """The loss, the gradient or a parameter is no finite number any more."""


class Trainer:
    """Trains `model` on `train_dataset`; after every epoch measures its loss on `test_dataset` unless that is None.

    A dataset with `batch(indices, generator)` is asked for whole batches on the device of the model, for several at a
    time, for fewer if it has a large `block_size`; any other torch Dataset of tensor pairs goes through a DataLoader. A
    model with `positions_needed(targets)` takes an argument `computed` and leaves padding out; one with
    `compile_parts(dynamic)` can be compiled. With `processes` each of them has such a Trainer and computes its own rows
    of every batch. `on_log` receives every line of the log as a dict, `on_step` the trainer itself after every step;
    what it raises ends training.

    What `state()` returns between two steps continues the run in another trainer of the same arguments: after
    `load_state(...)`, `train()` does exactly the steps that were left. (Not so where a DataLoader's dataset draws
    random numbers, or several processes draw dropout: they draw others.)
    """

    def __init__(
        self,
        model: nn.Module,
        train_dataset: Dataset,
        test_dataset: Dataset | None,
        config: TrainerConfig,
        on_log: Callable[[dict[str, float]], None] | None = None,
        on_step: Callable[["Trainer"], None] | None = None,
        processes: "Processes | None" = None,
    ):
        self.model, self.config, self.processes = model, config, processes
        self.forward = model if processes is None else processes.wrap(model)
        self.train_dataset, self.test_dataset = train_dataset, test_dataset
        self.on_log = on_log or (lambda line: None)
        self.on_step = on_step or (lambda trainer: None)
        self.device = next(model.parameters()).device
        self.steps_per_epoch = math.ceil(len(train_dataset) / config.batch_size)
        self.last_step = config.max_epochs * self.steps_per_epoch

        on_cuda = self.device.type == "cuda"
        groups = parameter_groups(model, config.weight_decay, config.decay_gains_and_embeddings)
        # A graph reads the rate from where it is.
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
        rows = min(config.batch_size, len(train_dataset))
        self.update = GraphedStep(self._update, model, rows) if self.graphed else self._update
        self.leaves_padding_out = hasattr(model, "positions_needed")
        self.slots = 0  # positions that the graph computes
        self.ignore_index = getattr(getattr(model, "config", None), "ignore_index", None)
        # Attention is as wide as the longest row. A GPU minds more small steps than wide ones, a CPU does not.
        alone_on_cpu = self.device.type == "cpu" and processes is None
        self.by_length = alone_on_cpu and self.leaves_padding_out and self.ignore_index is not None

        self.step = self.tokens = 0  # done, over all epochs
        self.seconds, self.began = 0.0, time.perf_counter()  # that earlier processes took, and when this one began
        self.loss_sum, self.loss_steps = torch.zeros((), device=self.device), 0  # since the last line of the log
        self.skipped = torch.zeros((), device=self.device)  # steps left out by skip_nonfinite since then
        self.line: dict[str, float] = {}  # the last of the log
        pays = on_cuda and self.last_step >= STEPS_TO_COMPILE and hasattr(model, "compile_parts")
        pays = pays and config.compile == "auto"
        self.obstacle = obstacle_to_compiling(self.device) if pays else None
        self.compiled = config.compile == "on" or (pays and self.obstacle is None)
        if self.compiled:
            model.compile_parts(dynamic=False if self.graphed else None)

    def __str__(self) -> str:
        """How steps are computed, for people."""
        parts = ["bf16" if self.config.bf16 else f"float32 ({torch.get_float32_matmul_precision()} precision)"]
        parts += ["a CUDA graph a step"] * self.graphed + ["compiled"] * self.compiled
        parts += [f"not compiled ({self.obstacle})"] * (self.obstacle is not None)
        parts += ["checkpointed activations"] * getattr(self.model, "checkpoint_activations", False)
        parts += [str(self.processes)] * (self.processes is not None)
        return ", ".join(parts + ["no padding"] * self.leaves_padding_out)

    def train(self) -> dict[str, float]:
        """Run all epochs. Returns the last line of the log, with the seconds that training took."""
        self.began = time.perf_counter()
        # A bar that redraws suits a terminal; in a file, a line every half minute says enough.
        silent = self.processes is not None and not self.processes.is_first
        how = dict(mininterval=0.2 if sys.stderr.isatty() else 30, dynamic_ncols=True, disable=silent)
        with tqdm(initial=self.step, total=self.last_step, unit="step", **how) as bar:
            self._train(bar)
        return {**self.line, "seconds": self.seconds + time.perf_counter() - self.began}

    def _train(self, bar: tqdm) -> None:
        config, earlier_tokens = self.config, self.tokens
        first_epoch = max(0, self.step - 1) // self.steps_per_epoch + 1
        for epoch in range(first_epoch, config.max_epochs + 1):
            self.model.train()
            done = self.step - (epoch - 1) * self.steps_per_epoch
            for x, y, computed in self._batches(self.train_dataset, epoch, done):
                self.step += 1
                self.tokens += x.numel()
                lr = lr_at(self.tokens, config)
                self._set_lr(lr)
                loss, grad_norm = self.update(x, y, computed)

                self.loss_sum += loss
                self.loss_steps += 1
                if self.step % config.log_every == 0 or self.step == self.last_step:
                    seconds = time.perf_counter() - self.began
                    mean = self._mean_loss(self._mean(self.loss_sum))  # here the host waits for the device
                    line = {"step": self.step, "epoch": epoch, "tokens": self.tokens, "loss": mean}
                    line |= {"lr": lr, "grad_norm": grad_norm.item()}
                    line |= {"tokens_per_second": (self.tokens - earlier_tokens) / seconds}
                    line |= {"skipped": int(self.skipped.item())} if config.skip_nonfinite else {}
                    self._refuse_nonfinite(mean, line["grad_norm"])
                    self.on_log(line)
                    bar.set_postfix(epoch=epoch, loss=f"{mean:.3f}", lr=f"{lr:.1e}", refresh=False)
                    self.line, self.loss_steps = line, 0
                    self.loss_sum.zero_()
                    self.skipped.zero_()
                self.on_step(self)
                bar.update()  # last: where it is shown may be gone, with the terminal

            if self.test_dataset is not None:
                test_loss = self.evaluate_loss(self.test_dataset)
                self.on_log({"step": self.step, "epoch": epoch, "tokens": self.tokens, "test_loss": test_loss})

    def state(self) -> dict[str, Any]:
        """All that is needed to go on from here, on the host. Raises Diverged if nothing good is left to keep."""
        finite = torch.stack([p.isfinite().all() for p in self.model.parameters()]).all().item()
        loss = self._mean_loss(self.loss_sum) if self.loss_steps > self.skipped.item() else 0.0
        self._refuse_nonfinite(loss, 0.0 if finite else math.nan)
        return {
            "model": _on_host(self.model.state_dict()),
            "optimizer": _on_host(self.optimizer.state_dict()["state"]),
            "random": _random_state(self.device),  # dropout's
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds + time.perf_counter() - self.began,
            "loss_sum": self.loss_sum.item(),
            "loss_steps": self.loss_steps,
            "skipped": self.skipped.item(),
            "line": self.line,
            "slots": self.slots,  # another number would be other kernels, which round differently
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`. LookupError, TypeError, ValueError or RuntimeError if it is not of such a trainer."""
        numbers = {"step": int, "tokens": int, "loss_steps": int, "slots": int, "seconds": float, "loss_sum": float}
        for name, kind in (numbers | {"skipped": float, "line": dict}).items():
            if type(state[name]) is not kind or (kind is float and math.isnan(state[name])):
                raise TypeError(f"{name} is no {kind.__name__}")
        if not 0 <= state["step"] <= self.last_step:
            raise ValueError(f"step {state['step']} of {self.last_step}")
        self.model.load_state_dict(state["model"])
        # The groups are this trainer's: in them the rate is a number or, for a graph, a tensor on the device.
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["optimizer"], "param_groups": groups})
        self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
        self.loss_sum.fill_(state["loss_sum"])
        self.skipped.fill_(state["skipped"])
        self.loss_steps, self.line, self.slots = state["loss_steps"], state["line"], state["slots"]
        if self.graphed:
            self.update.computed = self.slots or None
        if self.processes is not None:  # each had a sum and a state of dropout of its own; kept are the first's
            self.loss_sum.zero_()
            self.skipped.zero_()
            self.loss_steps = 0
        if self.processes is None or self.processes.is_first:
            _set_random_state(self.device, state["random"])

    def _mean_loss(self, loss_sum: Tensor) -> float:
        """Of the steps since the last line of the log that were not left out; nan if all were.

        Fewer than a line usually tells of, as there may be at the end, say nothing: then it is the last line's.
        """
        steps = self.loss_steps - self.skipped.item()
        if steps == 0 and self.line and self.loss_steps < self.config.log_every:
            return self.line["loss"]
        return loss_sum.item() / steps if steps else math.nan

    def _refuse_nonfinite(self, loss: float, grad_norm: float) -> None:
        if not math.isfinite(loss + grad_norm):
            left_out = ", after leaving out every step since the last line of the log" * self.config.skip_nonfinite
            raise Diverged(
                f"step {self.step}: the loss is {loss} and the norm of the gradient {grad_norm} at the learning rate "
                f"{lr_at(self.tokens, self.config):.1e}{left_out}: no parameters are written; lower the rate"
            )

    def _update(self, x: Tensor, y: Tensor, computed: int | None) -> tuple[Tensor, Tensor]:
        """One step of the optimizer on a batch: (loss, norm of the gradient before clipping), left on the device."""
        self.optimizer.zero_grad()
        if self.by_length:
            loss = self._backward_by_length(x, y)
        else:
            loss = self._loss(x, y, computed)
            loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_norm_clip)
        grad_norm = grad_norm if self.processes is None else self.processes.whole(grad_norm)
        loss = loss.detach()
        if self.config.skip_nonfinite:
            # As a gradient scaler tells it: the optimizer leaves everything as it is, and nobody waits for the answer.
            bad = ~torch.isfinite(loss + grad_norm)
            self.optimizer.found_inf = bad.float()
            self.skipped += bad
            loss, grad_norm = loss.masked_fill(bad, 0.0), grad_norm.masked_fill(bad, 0.0)
        self.optimizer.step()
        return loss, grad_norm

    def _backward_by_length(self, x: Tensor, y: Tensor) -> Tensor:
        """Add up the gradients of a few rows at a time, the short ones first; returns the loss of the batch."""
        loss, n_targets = torch.zeros(()), (y != self.ignore_index).sum()
        lengths = self.model.positions_needed(y)  # (B,)
        for rows in lengths.argsort().split(ROWS_TOGETHER):
            T, computed = int(lengths[rows].max()), int(lengths[rows].sum())
            if T > 0:  # else there are no targets
                part_x, part_y = x[rows, :T], y[rows, :T]
                # A loss is a mean over targets, of which the parts have different numbers.
                part = self._loss(part_x, part_y, computed) * (part_y != self.ignore_index).sum() / n_targets
                part.backward()
                loss += part.detach()
        return loss

    def _loss(self, x: Tensor, y: Tensor, computed: int | None) -> Tensor:
        """The loss of a batch; with several processes this one's share, so that their mean is the loss."""
        weight = None
        if self.processes is not None:
            weight = self.processes.weight(y, self.ignore_index)
            x, y = self.processes.own(x), self.processes.own(y)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16):
            loss = self.forward(x, y, computed=computed)[1] if self.leaves_padding_out else self.forward(x, y)[1]
        return loss if weight is None else loss * weight

    def _mean(self, value: Tensor) -> Tensor:
        """The mean over processes."""
        return value if self.processes is None else self.processes.mean(value)

    def _set_lr(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    @torch.no_grad()
    def evaluate_loss(self, dataset: Dataset) -> float:
        """Mean loss of the batches of `dataset`, without dropout; the same draws every time."""
        with without_dropout(self.model), torch.compiler.set_stance("force_eager"):  # too few steps to compile for
            losses = [self._loss(x, y, computed) for x, y, computed in self._batches(dataset, epoch=0)]
        return self._mean(torch.stack(losses).mean()).item()

    def _batches(self, dataset: Dataset, epoch: int, done: int = 0) -> Iterator[tuple[Tensor, Tensor, int | None]]:
        """The batches (x, y, positions to compute) of an epoch on the device, every row once, the last one smaller;
        the first `done` of them are left out.

        Order and contents follow from the seed and the epoch alone; epoch 0 keeps the rows in order.
        """
        size, n_rows = self.config.batch_size, len(dataset)
        on_device = hasattr(dataset, "batch")
        device = self.device if on_device else torch.device("cpu")
        order, generator = torch.arange(n_rows, device=device), _generator(device, self.config.seed, epoch)
        if epoch > 0:
            order = torch.randperm(n_rows, generator=generator, device=device)
        if not on_device:
            rows, workers = order[done * size :].tolist(), self.config.num_workers
            for x, y in DataLoader(dataset, size, sampler=rows, num_workers=workers, generator=generator):
                x, y = x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
                yield x, y, self._computed(y, size)[0]
            return
        rows_at_once = min(ROWS_AT_ONCE, TOKENS_AT_ONCE // getattr(dataset, "block_size", 1))
        at_once = max(1, rows_at_once // size)  # batches that are made together
        for i, indices in enumerate(order.split(at_once * size), 1):
            skip = done - (i - 1) * at_once
            if skip >= at_once:
                continue
            x, y = dataset.batch(indices, _generator(device, self.config.seed, epoch, i))
            batches = zip(x.split(size), y.split(size), self._computed(y, size), strict=True)
            yield from islice(batches, max(0, skip), None)

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
            self.slots = self.update.computed = _round_up(max(needed) * 1.02, 256)
        return [self.slots if n <= self.slots else _round_up(n, 256) for n in needed]


def obstacle_to_compiling(device: torch.device) -> str | None:
    """Why no kernels can be made here: Triton, a C compiler or Python's headers may be missing, the GPU too old."""
    try:
        torch.compile(torch.neg)(torch.zeros(1, device=device))
    except Exception as error:  # of many kinds, from several libraries
        return (str(error) or type(error).__name__).splitlines()[0]
    return None


def _on_host(value: Any) -> Any:
    """Copies of the tensors in nested dicts, on the host."""
    if isinstance(value, dict):
        return {name: _on_host(part) for name, part in value.items()}
    return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value


def _random_state(device: torch.device) -> Tensor:
    """Of the generator that dropout draws from on that device."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else torch.get_rng_state()


def _set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)
    else:
        torch.set_rng_state(state)


def _round_up(n: float, multiple: int) -> int:
    return math.ceil(n / multiple) * multiple


def _generator(device: torch.device | str, *seeds: int) -> torch.Generator:
    """A generator for what is drawn at one place of a run, so that a run can be continued from any place."""
    mixed = 0
    for seed in seeds:
        mixed = (mixed * 1_000_003 + seed) % 2**63
    return torch.Generator(device).manual_seed(mixed)
