"""The files of a training run: parameters with the record of what they are, and the log.

A file appears whole or not at all, and nothing that is read is run as code.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
import torch.nn as nn
from torch import Tensor


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
