"""One model trained by several processes, one for each GPU, on one machine or more. `torchrun` starts them.

    torchrun --nproc_per_node=2 src/run.py pretrain vanilla wiki.txt --writing_params_path P

Every process draws the same batch from the same seed and computes its own rows of it. The gradients are averaged over
the processes before each takes the same step. So without dropout any number of processes follows the trajectory of
one. To draw all rows and use some costs little: making a batch takes a hundredth of the time of computing it.
"""

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn as nn
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

GRACE = 60  # seconds for a process whose torchrun is gone to save its checkpoint
TURN = 15  # seconds in which a process that has left the others can say why (safe/exits.py), before they do


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as one of them sees them."""

    rank: int  # of this process; only rank 0 prints and writes files
    count: int
    local_rank: int  # rank on this machine: the number of the process's GPU
    local_count: int
    shard: bool = False  # divide parameters, gradients and optimizer state among processes instead of copying them
    launcher: int = 0  # the process that started this one; 0: unknown

    @classmethod
    def of_torchrun(cls, shard: bool = False) -> "Processes":
        """From the environment variables that torchrun sets."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        rank, count, local_rank, local_count = [int(os.environ[name]) for name in names]
        return cls(rank, count, local_rank, local_count, shard, os.getppid())

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def __str__(self) -> str:
        return f"{self.count} processes" + ", parameters divided among them" * self.shard

    def device(self, asked: str | None) -> str:
        """The device of this process. Raises ValueError if there are too few GPUs, or if one is asked for by number."""
        kind = asked or ("cuda" if torch.cuda.is_available() else "cpu")
        if kind not in ("cuda", "cpu"):
            raise ValueError(f"--device {asked}: several processes train on cuda, each on its own GPU, or on cpu")
        if kind == "cpu":
            return kind
        n_gpus = torch.cuda.device_count()
        if n_gpus < self.local_count:
            raise ValueError(
                f"--device cuda: {self.local_count} processes need a GPU each and this machine has {n_gpus}: "
                f"start torchrun with --nproc_per_node={max(n_gpus, 1)}" + " and --device cpu" * (n_gpus == 0)
            )
        return f"cuda:{self.local_rank}"

    @contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """Communicate with the other processes inside this block. Only the first one prints.

        Raises ConnectionError if one of them has left, after some time: that one may say why, and torchrun end all.
        """
        with ExitStack() as stack:
            if not self.is_first:
                stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            if self.launcher:
                stack.enter_context(ending_with(self.launcher))
            if device.type == "cuda":
                torch.cuda.set_device(device)
                dist.init_process_group("nccl", device_id=device)
            else:
                dist.init_process_group("gloo")
            stack.callback(dist.destroy_process_group)
            try:
                yield
            except RuntimeError as error:
                if not isinstance(error, dist.DistError) and not re.search("(?i)connection|gloo|peer", str(error)):
                    raise
                time.sleep(TURN)
                raise ConnectionError("another process of this run has ended: --resume continues it") from None

    def place(self, model: Any, device: torch.device) -> Any:
        """The model on its device. In shards, if it is divided: then one block at a time is gathered as a whole."""
        if not self.shard:
            return model.to(device)
        mesh = init_device_mesh(device.type, (self.count,))
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        return fully_shard(model, mesh=mesh)

    def wrap(self, model: nn.Module) -> nn.Module:
        """What to call instead of the model, so that a GPU averages gradients while it computes further ones."""
        if self.shard or not next(model.parameters()).is_cuda:
            return model
        return DistributedDataParallel(model, gradient_as_bucket_view=True)

    def average_gradients(self, model: nn.Module) -> None:
        """Average the gradients over the processes, where the backward pass has not done so. All must call this.

        On a CPU they are added up as one vector. The rounding of a sum over more than two processes depends on its
        place in a message, and DistributedDataParallel divides its messages anew after its first step. A continued run
        has a first step, too, and has to end in the same bytes.
        """
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if self.shard or not gradients or gradients[0].is_cuda:
            return
        total = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(total)
        parts = (total / self.count).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def seed_dropout(self, seed: int) -> None:
        """Give each process dropout of its own: with one seed for all, the same places of every part would be zero."""
        torch.manual_seed((seed + self.rank) % 2**63)

    def own(self, rows: Tensor) -> Tensor:
        """This process's part of the rows (B, ...) of a batch. If there are too few: one row, which has no weight."""
        part = rows.tensor_split(self.count)[self.rank]
        return part if len(part) else rows[:1]

    def weight(self, y: Tensor, ignore_index: int) -> Tensor:
        """The factor for the mean loss of `own(y)` that makes the mean over processes the mean loss of y.

        Losses are means over targets, and parts with equally many rows have different numbers of targets.
        """
        is_target = y != ignore_index
        own = is_target.tensor_split(self.count)[self.rank].sum()
        return self.count * own / is_target.sum()

    def mean_and_any(self, value: Tensor, wish: bool) -> tuple[Tensor, Tensor]:
        """The mean of `value` over the processes, and a number above 0 if one of them has the wish.

        One message carries both. All of them must call this.
        """
        total = torch.stack([value, torch.full_like(value, float(wish))])
        dist.all_reduce(total)
        return total[0] / self.count, total[1]

    def highest(self, value: int, device: torch.device) -> int:
        """The highest of the processes' values. All of them must call this."""
        highest = torch.tensor(value, device=device)
        dist.all_reduce(highest, dist.ReduceOp.MAX)
        return int(highest)

    def agree(self, value: int, device: torch.device) -> bool:
        """Do all processes have the same `value`? All of them must call this."""
        return self.highest(value, device) == -self.highest(-value, device)

    def gathered(self, value: Tensor, device: torch.device) -> Tensor:
        """The values of all processes, (N, ...), on the host. All of them must call this."""
        own = value.to(device)
        parts = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(parts, own)
        return torch.stack(parts).cpu()

    def first_of(self, text: str | None) -> str | None:
        """The text of the first process that has one. All of them must call this."""
        texts: list[str | None] = [None] * self.count
        dist.all_gather_object(texts, text)
        return next((text for text in texts if text is not None), None)

    def whole(self, value: Tensor) -> Tensor:
        """The whole of a tensor of which each process may hold a part. All of them must call this."""
        return value.full_tensor() if isinstance(value, DTensor) else value

    def whole_state_dict(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's parameters, gathered on the host one at a time. Empty in all processes but the first."""
        whole = {}
        for name, value in model.state_dict().items():
            value = self.whole(value)
            if self.is_first:
                whole[name] = value.cpu()
        return whole


@contextmanager
def ending_with(launcher: int) -> Iterator[None]:
    """End this process soon after its launcher: nobody else would stop it, or notice that another one is missing.

    It gets a SIGTERM, after which a run saves its checkpoint and stops. Windows does not tell that a parent is gone.
    """
    over = threading.Event()

    def watch() -> None:
        while os.getppid() == launcher:
            if over.wait(0.5):
                return
        os.kill(os.getpid(), signal.SIGTERM)
        if not over.wait(GRACE):
            os._exit(128 + signal.SIGTERM)

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":  # then torchrun listens before it starts anybody
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        try:
            socket.create_connection(address, timeout=30).close()
        except ConnectionRefusedError:
            raise ConnectionError("torchrun has ended") from None
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
