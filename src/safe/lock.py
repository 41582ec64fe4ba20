"""The lock that keeps two runs from writing one path. Who holds it may tidy up there."""

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from safe.exits import say
from safe.files import BESIDE, remove_leftovers


class Lock:
    """Held by the one process that writes `path`. Raises ValueError if another process holds it.

    The lock is the operating system's, on an open file `.NAME.lock` beside `path`. It ends with the process, however
    that ends. So the file alone means nothing and needs no cleaning up after a crash.
    """

    def __init__(self, path: Path):
        path = path.resolve()
        self.path = path.with_name(f".{path.name}.lock")
        while True:
            file = open(self.path, "a+b")  # closed by release
            try:
                _lock(file)
            except BlockingIOError:
                file.close()
                raise ValueError(f"{path}: another run is writing it: wait for it, or choose another path") from None
            except OSError as error:
                reason = f"this file system has no locks ({error.strerror}): start no second run for {path}"
                say(f"warning: {self.path}: {reason}", to_stderr=True)
            # The process that held it before may have removed the file between our opening and our locking it.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(self.path)):
                    break
            file.close()
        self.file = file

    def release(self) -> None:
        if os.name == "nt":  # Windows removes no open file, neither ours nor that of a run that waits for it
            self.file.close()
        with suppress(OSError):
            self.path.unlink()
        self.file.close()


def take_over(path: str | Path) -> Lock:
    """The lock of `path`. With it, what killed processes left behind is removed."""
    lock = Lock(Path(path))
    for ending in BESIDE:
        remove_leftovers(f"{path}{ending}")
    if not Path(f"{path}.resume").exists():
        remove_shards_of(path)
    return lock


def remove_shards_of(path: str | Path, keep: Iterable[str] = ()) -> None:
    """Remove the parts of a divided model beside `path` that no checkpoint needs."""
    if (folder := Path(f"{path}.resume.shards")).exists():
        from safe.shards import remove_shards  # only here: it takes a while to import

        remove_shards(folder, keep)


_lock: Callable[[BinaryIO], None]
if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            raise BlockingIOError from None
else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
