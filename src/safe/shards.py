"""The tensors of a model that is divided among processes, in a folder: each process writes its own parts.

torch.distributed.checkpoint plans who writes and who reads what, so that any number of processes can go on. Its own
files are read with pickle, which runs what a stranger wrote there. These are written and read by safe/files.py.

    layout = write_shards(folder, step, tensors)  # called by all processes; the first one keeps the layout
    read_shards(tensors, layout, from_folder(folder, layout))  # into `tensors`, each process for itself

tensors: by name; those of a divided model are DTensors
layout:  {"files": {name: sha256}, "tensors": {name: {"size": [...], "parts": [[offsets, sizes, file], ...]}}}
"""

import math
import re
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from safe.files import read_tensors, write_tensors

Layout = dict[str, Any]
NAME = re.compile(r"\d{1,18}\.\d{1,9}")  # of a file: step and process


def write_shards(folder: Path, step: int, tensors: dict[str, Tensor]) -> Layout:
    """Write this process's parts, as a file that no earlier step has. Complete in the first process only.

    All processes must call this. Raises OSError in all of them if one cannot write.
    """
    folder.mkdir(exist_ok=True)
    writer = _Writer(folder, f"{step}.{dist.get_rank()}")
    _without_wrapping(lambda: dcp.save(tensors, storage_writer=writer))
    return writer.layout


def read_shards(tensors: dict[str, Tensor], layout: Layout, read: Callable[[str], dict[str, Tensor]]) -> None:
    """Fill `tensors` with what `layout` describes. `read` gives the tensors of a file.

    The layout may be from anybody. Raises ValueError if it does not describe these tensors, or if a file is damaged.
    """
    reader = _Reader(tensors, layout, read)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that each process reads for itself
        _without_wrapping(lambda: dcp.load(tensors, storage_reader=reader, no_dist=True))


def from_folder(folder: Path, layout: Layout) -> Callable[[str], dict[str, Tensor]]:
    """The files of a folder, for `read_shards`."""

    def read(name: str) -> dict[str, Tensor]:
        path = folder / name
        if not NAME.fullmatch(name) or not path.exists():
            raise ValueError(f"{path}: is missing: all machines must read the same files")
        tensors = read_tensors(path, "part of a checkpoint")
        if getattr(tensors, "sha256", None) != layout["files"].get(name):
            raise ValueError(f"{path}: damaged, or of another checkpoint")
        return tensors

    return read


def layout_of_whole(tensors: dict[str, Tensor]) -> Layout:
    """The layout of undivided tensors, all in one file without a name."""
    parts = {name: [[[0] * value.dim(), list(value.shape), ""]] for name, value in tensors.items()}
    return {"tensors": {name: {"size": list(tensors[name].shape), "parts": part} for name, part in parts.items()}}


def remove_shards(folder: Path, keep: Iterable[str] = ()) -> None:
    """Remove the files of `folder` but those to keep, and the folder if it is empty then."""
    with suppress(OSError):  # there is none, or it holds something else
        for path in list(folder.iterdir()):
            ours = NAME.fullmatch(path.name) or re.fullmatch(rf"\.{NAME.pattern}\.\d+\.tmp", path.name)
            if ours and path.name not in keep:
                path.unlink(missing_ok=True)
        folder.rmdir()


def _without_wrapping(call: Callable[[], Any]) -> None:
    """torch.distributed.checkpoint collects the errors of all processes in one that is no Exception."""
    try:
        call()
    except dcp.api.CheckpointException as error:
        raise next(iter(error.failures.values()))[0] from None


def _done(value: Any) -> Future:
    future: Future = Future()
    future.set_result(value)
    return future


class _Writer(dcp.StorageWriter):
    """One file for each process."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name
        self.layout: Layout = {}

    def write_data(self, plan: Any, planner: Any) -> Future:
        tensors = {}
        for item in plan.items:  # a process has one part of a tensor, or none
            value = planner.resolve_data(item).detach()
            tensors[item.index.fqn] = value.to("cpu", copy=True, memory_format=torch.contiguous_format)
        sha256 = write_tensors(self.folder / self.name, tensors)
        written = [(item.index, tensors[item.index.fqn]) for item in plan.items]
        about = [(list(index.offset or ()), list(part.shape), self.name, sha256) for index, part in written]
        return _done([WriteResult(index, part.nbytes, a) for (index, part), a in zip(written, about, strict=True)])

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """In the first process: what all have written."""
        files: dict[str, str] = {}
        tensors: dict[str, Any] = {}
        for result in [result for written in results for result in written]:
            offsets, sizes, name, sha256 = result.storage_data
            whole: Any = metadata.state_dict_metadata[result.index.fqn]
            tensors.setdefault(result.index.fqn, {"size": list(whole.size), "parts": []})
            tensors[result.index.fqn]["parts"].append([offsets, sizes, name])
            files[name] = sha256
        self.layout = {"files": files, "tensors": tensors}

    def reset(self, checkpoint_id: Any = None) -> None: ...

    def set_up_storage_writer(self, is_coordinator: bool, *more: Any, **named: Any) -> None: ...

    def prepare_local_plan(self, plan: Any) -> Any:
        return plan

    def prepare_global_plan(self, plans: Any) -> Any:
        return plans

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        return True


class _Reader(dcp.StorageReader):
    def __init__(self, tensors: dict[str, Tensor], layout: Layout, read: Callable[[str], dict[str, Tensor]]):
        self.read = read
        self.place: dict[tuple[str, tuple], tuple[str, list[int]]] = {}  # of a part: its file and shape
        self.about: dict[str, Any] = {}
        for name, target in tensors.items():
            chunks, shape = [], list(target.shape)
            parts = layout["tensors"][name]["parts"]
            for offsets, sizes, file in parts:
                numbers = [*offsets, *sizes]
                if len(offsets) != len(shape) or not all(type(n) is int and 0 <= n <= 2**53 for n in numbers):
                    raise ValueError(f"{name} is not divided into parts of shape {tuple(shape)}")
                self.place[name, tuple(offsets)] = file, sizes
                chunks.append(ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)))
            if layout["tensors"][name]["size"] != shape or sum(math.prod(sizes) for _, sizes, _ in parts) != math.prod(
                shape
            ):
                raise ValueError(f"{name}: its parts do not make up the shape {tuple(shape)}")
            properties = TensorProperties(dtype=target.dtype)
            self.about[name] = TensorStorageMetadata(properties, torch.Size(shape), chunks)

    def read_metadata(self, *more: Any, **named: Any) -> Metadata:
        return Metadata(self.about)

    def read_data(self, plan: Any, planner: Any) -> Future:
        by_file: dict[str, list[Any]] = {}
        for item in plan.items:
            file, _ = self.place[item.storage_index.fqn, tuple(item.storage_index.offset)]
            by_file.setdefault(file, []).append(item)
        for file, items in by_file.items():
            tensors = self.read(file)
            for item in items:
                name, target = item.storage_index.fqn, planner.resolve_tensor(item).detach()
                part = tensors.get(name)
                sizes = self.place[name, tuple(item.storage_index.offset)][1]
                if not isinstance(part, Tensor) or list(part.shape) != sizes or part.dtype != target.dtype:
                    raise ValueError(f"the part of {name} in {file} is not {target.dtype} numbers of shape {sizes}")
                for dim, (start, length) in enumerate(zip(item.storage_offsets, item.lengths, strict=True)):
                    part = part.narrow(dim, start, length)
                target.copy_(part)
                planner.commit_tensor(item, target)
        return _done(None)

    def reset(self, checkpoint_id: Any = None) -> None: ...

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *more: Any, **named: Any) -> None: ...

    def prepare_local_plan(self, plan: Any) -> Any:
        return plan

    def prepare_global_plan(self, plans: Any) -> Any:
        return plans

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        return True
