"""Python programs for tests, started without waiting for the import of torch.

Each is forked from a server that has imported torch and nothing of this project. Where there is no fork (Windows), it
is started in the usual way.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

LONGEST = 100  # seconds


def python(*words: str | Path, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """What `python SCRIPT ARGUMENT ...` does in the folder `cwd`, with `env` added to the environment."""
    said, variables = [str(word) for word in words], {**os.environ, **(env or {})}
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return subprocess.run([sys.executable, *said], cwd=cwd, env=variables, capture_output=True, text=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch._dynamo", "torch.utils.data"])  # an optimizer imports the second
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("out", "err")]
        process = context.Process(target=run, args=(said, str(cwd), variables, [str(path) for path in outputs]))
        process.start()
        process.join(LONGEST)
        if process.is_alive():
            process.kill()
            raise TimeoutError(f"{said} still runs after {LONGEST} seconds")
        out, err = [path.read_text(encoding="utf-8") for path in outputs]
    return subprocess.CompletedProcess(said, process.exitcode or 0, out, err)


def run(words: list[str], cwd: str, variables: dict[str, str], outputs: list[str]) -> None:
    """In the forked process: become the program."""
    for number, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    tests = str(Path(__file__).parent)
    ours = {tests, *(str(Path(tests).parent / name) for name in ("src", "data", "measure"))}  # as pytest has them
    sys.path[:] = [
        str(Path(words[0]).resolve().parent),
        *filter(None, variables.get("PYTHONPATH", "").split(os.pathsep)),
    ] + [entry for entry in sys.path if entry and entry not in ours]
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
