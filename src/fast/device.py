"""Where and how a run computes: its processes, the precision of matrix products, deterministic kernels."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

LEAST_ROWS = 8  # of a batch, worth a thread of their own on a CPU: with fewer, Python takes longer than it saves


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """For a GPU: compute float32 matrix products in TF32, unless `dtype` is "float32"."""
    before, cudnn = torch.get_float32_matmul_precision(), torch.backends.cuda.cudnn_sdp_enabled()
    torch.set_float32_matmul_precision("highest" if dtype == "float32" else "high")
    torch.backends.cuda.enable_cudnn_sdp(False)  # at this size slower than the other fused kernels, and slow to start
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cuda.enable_cudnn_sdp(cudnn)


@contextmanager
def threads_restored() -> Iterator[None]:
    """Give torch its number of threads back at the end. fast/steps.py changes it on a CPU."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def repeatable() -> Iterator[None]:
    """Make a GPU compute the same bits every time. Operations that cannot do so raise RuntimeError.

    cuBLAS and the compiler read their settings once, at their first use: enter this block before that.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")  # do not choose kernels by a race
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    filled = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False  # a kernel for every tensor, and nothing reads it here
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        settings.fill_uninitialized_memory = filled


def has_bf16(where: torch.device) -> bool:
    """Is bf16 fast there? CPUs and NVIDIA's GPUs before Ampere can compute in it, but slower than in float32."""
    return where.type == "cuda" and torch.cuda.get_device_capability(where) >= (8, 0)


def processes_of_torchrun(shard: bool, plain: bool) -> Any:
    """The processes of this run, if torchrun started several; else None."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and "LOCAL_RANK" in os.environ:
        if plain:
            raise ValueError("--plain trains in one process: start it with python, not with torchrun")
        from fast.parallel import Processes  # only here, because no other run needs it

        return Processes.of_torchrun(shard)
    if shard:
        raise ValueError("--shard divides a model among processes: start several with torchrun --nproc_per_node")
    return None
