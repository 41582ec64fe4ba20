"""One model trained by several processes, one for each GPU, on one machine or more. `torchrun` starts them.

    torchrun --nproc_per_node=2 src/run.py pretrain vanilla wiki.txt --writing_params_path P

Every process draws the same batch from the same seed and computes its own rows of it. The gradients are averaged over
the processes before each takes the same step. So without dropout any number of processes follows the trajectory of
one. To draw all rows and use some costs little: making a batch takes a hundredth of the time of computing it.
"""

import os
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


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as one of them sees them."""

    rank: int  # of this process; only rank 0 prints and writes files
    count: int
    local_rank: int  # rank on this machine: the number of the process's GPU
    local_count: int
    shard: bool = False  # divide parameters, gradients and optimizer state among processes instead of copying them

    @classmethod
    def of_torchrun(cls, shard: bool = False) -> "Processes":
        """From the environment variables that torchrun sets."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        rank, count, local_rank, local_count = [int(os.environ[name]) for name in names]
        return cls(rank, count, local_rank, local_count, shard)

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
        """Communicate with the other processes inside this block. Only the first one prints."""
        with ExitStack() as stack:
            if not self.is_first:
                stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            if device.type == "cuda":
                torch.cuda.set_device(device)
                dist.init_process_group("nccl", device_id=device)
            else:
                dist.init_process_group("gloo")
            stack.callback(dist.destroy_process_group)
            yield

    def place(self, model: Any, device: torch.device) -> Any:
        """The model on its device. In shards, if it is divided: then one block at a time is gathered as a whole."""
        if not self.shard:
            return model.to(device)
        mesh = init_device_mesh(device.type, (self.count,))
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        return fully_shard(model, mesh=mesh)

    def wrap(self, model: nn.Module) -> nn.Module:
        """What to call instead of the model, so that the processes' gradients are averaged in its backward pass."""
        if self.shard:
            return model
        return DistributedDataParallel(model, gradient_as_bucket_view=True)

    def seed_dropout(self, seed: int, steps_done: int) -> None:
        """Give each process dropout of its own: with one seed for all, the same places of every part would be zero."""
        torch.manual_seed((seed + self.rank + self.count * steps_done) % 2**63)

    def own(self, rows: Tensor) -> Tensor:
        """This process's part of the rows (B, ...) of a batch. If there are too few: one row, which has no weight."""
        part = rows.tensor_split(self.count)[self.rank]
        return part if len(part) else rows[:1]

    def weight(self, y: Tensor, ignore_index: int | None) -> Tensor:
        """The factor for the mean loss of `own(y)` that makes the mean over processes the mean loss of y.

        Losses are means over targets, and parts with equally many rows have different numbers of targets.
        """
        is_target = torch.ones_like(y, dtype=torch.bool) if ignore_index is None else y != ignore_index
        own = is_target.tensor_split(self.count)[self.rank].sum()
        return self.count * own / is_target.sum()

    def mean(self, value: Tensor) -> Tensor:
        """The mean of `value` over the processes. All of them must call this."""
        total = value.clone()
        dist.all_reduce(total)
        return total / self.count

    def agree(self, value: int, device: torch.device) -> bool:
        """Do all processes have the same `value`? All of them must call this."""
        highest = torch.tensor([value, -value], device=device)
        dist.all_reduce(highest, dist.ReduceOp.MAX)
        return bool(highest[0] == -highest[1])

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
