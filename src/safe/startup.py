"""What is settled before training: no more threads than a quota grants, and no import of torch's compiler.

Free of torch, because OpenMP reads its settings once, when torch is loaded.
"""

import os
from pathlib import Path
from typing import Any


def settle_threads() -> None:
    """Set what `thread_settings` says, where the caller has not decided otherwise."""
    for name, value in thread_settings().items():
        os.environ.setdefault(name, value)


def thread_settings(root: Path = Path("/")) -> dict[str, str]:
    """Environment variables for OpenMP, which computes torch's operations on the cores of a CPU.

    The number of threads is left to torch, which counts the cores that this process may use, unless a quota grants it
    less than all of their time, as in a container. How OpenMP's threads wait is left to it: a step on a CPU has threads
    of its own (fast/steps.py). `--plain`, `evaluate` and `--compile on` do not (docs/speed.md).
    """
    settings = {}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(root)
    if quota < cores:  # a thread that has used up its quota stops, and the others wait for it
        settings["OMP_NUM_THREADS"] = str(max(1, int(quota)))
    return settings


def cpu_quota(root: Path) -> float:
    """How many cores' time Linux grants this process: the least that its cgroup or one above it has; or infinity.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst (version 1).
    """
    found = [float("inf")]
    for line in texts(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        own = mount / path.strip("/")
        for folder in [own, *own.parents]:
            if folder.is_relative_to(mount):
                words = texts(folder / "cpu.max").split()
                words = words or (texts(folder / "cpu.cfs_quota_us") + texts(folder / "cpu.cfs_period_us")).split()
                if len(words) == 2 and words[0].isdecimal():  # not "max" or -1
                    found.append(int(words[0]) / int(words[1]))
    return min(found)


def texts(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def keep_compiler_out() -> None:
    """Let optimizers work without importing torch's compiler, which takes as long as importing torch.

    They import it to tell it what not to compile. Here it compiles blocks of a model and no optimizer. Both wrappers
    are torch's own: `__wrapped__` is the function that they call, and `__dynamo_disable` is where they keep what to
    call instead. With a version of torch that does this in another way, a start just takes longer.
    """
    import torch

    optim: Any = torch.optim
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        inner = getattr(getattr(optim.Optimizer, name), "__wrapped__", None)
        if inner is not None:
            inner.__dynamo_disable = inner
    step = optim.Adam.step
    if step.__code__.co_name == "_use_grad":
        optim.Adam.step = torch.no_grad()(step.__wrapped__)
