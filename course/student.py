"""Runs the student's code for the grader: reads calls from stdin, writes what they return to stdout.

It knows no expected result. Whatever the code does in here, the grader sees values, and judges them in a process of its
own. Calls and values are lines of JSON: nothing that comes from here is ever unpickled.

A session begins with a line of settings: folders of modules, limits, and the user to become. On Linux every session
is a fork of this process, so that torch is imported once.
"""

import base64
import contextlib
import ctypes
import importlib
import inspect
import io
import json
import os
import random
import runpy
import signal
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

FORKS = sys.platform == "linux"
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}
LARGEST_TENSOR = 2**24  # bytes


# ------------------------------------------------------------------------------------------------ values as JSON


def packed(value: Any) -> Any:
    """A value as JSON has it. Tensors become dictionaries, tuples lists. Raises TypeError for anything else."""
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1)
        raw = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        dtype = str(flat.dtype).removeprefix("torch.")
        return {"dtype": dtype, "shape": list(value.shape), "tensor": base64.b64encode(raw).decode()}
    if isinstance(value, dict):
        return {"dict": {str(name): packed(entry) for name, entry in value.items()}}
    if isinstance(value, (list, tuple)):
        return [packed(entry) for entry in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"expected a tensor, got {type(value).__name__}")


def unpacked(value: Any) -> Any:
    """The value that `packed` described. Raises ValueError for a description that cannot be true."""
    if isinstance(value, list):
        return [unpacked(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if "dict" in value:
        return {name: unpacked(entry) for name, entry in value["dict"].items()}
    dtype, shape, raw = DTYPES.get(value["dtype"]), value["shape"], base64.b64decode(value["tensor"])
    if dtype is None or len(raw) > LARGEST_TENSOR:
        raise ValueError(f"a tensor of {len(raw)} bytes of the type {value['dtype']}")
    tensor = torch.frombuffer(bytearray(raw), dtype=dtype) if raw else torch.empty(0, dtype=dtype)
    return tensor.reshape([int(size) for size in shape])


# ---------------------------------------------------------------------------------- the student's modules, by name


class Modules:
    """The student's modules: those of this project's tree, or those of a course's own edition, beside ours."""

    def __init__(self, folder: Path, own_edition: bool, support: str):
        self.folder, self.theirs = folder, None
        if own_edition:
            sys.path[:0] = [support, f"{support}/handout"]
            drive = importlib.import_module("handout.drive")
            self.theirs = drive.Theirs(folder / "src")
            core = importlib.import_module("core")
            for name in ("precompute_rotary_emb", "apply_rotary_emb"):  # our model with their rotations
                if hasattr(self.theirs.attention, name):
                    setattr(core.attention, name, getattr(self.theirs.attention, name))
        else:
            sys.path.insert(0, str(folder / "src"))

    def get(self, name: str) -> Any:
        if self.theirs is not None and name in ("model", "attention", "dataset"):
            return self.theirs.models if name == "model" else getattr(self.theirs, name)
        return importlib.import_module(name)

    def config(self, fields: dict[str, Any]) -> Any:
        if self.theirs is None:
            return self.get("model").GPTConfig(**fields)
        flat = {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0} | fields | fields.get("options", {})
        names = {"synthesizer": ("synthesizer", "additive")}.get(fields["variant"], (fields["variant"],))
        flags = dict.fromkeys(("synthesizer", "additive", "perceiver", "rope"), False) | dict.fromkeys(names, True)
        return SimpleNamespace(**flat, **flags)

    def layer(self, module: str, name: str, fields: dict[str, Any], state: dict[str, Tensor]) -> Any:
        """A module of the student's class `name`, with these parameters, in evaluation mode."""
        found = getattr(self.get(module), name, None)
        if found is None and name == "SynthesizerAttention":
            found = getattr(self.get(module), "AdditiveSelfAttention", None)
        if found is None:
            raise AttributeError(f"src/{module}.py has no class {name}")
        layer = found(self.config(fields))
        return with_state(layer, state)

    def model(self, fields: dict[str, Any], state: dict[str, Tensor]) -> Any:
        if self.theirs is None:
            return with_state(self.get("model").GPT(self.config(fields)), state)
        corpus = SimpleNamespace(vocab_size=fields["vocab_size"], block_size=fields["block_size"])
        sizes = {name: fields[name] for name in ("n_layer", "n_head", "n_embd")}
        latents = fields.get("options", {}).get("bottleneck_dim", 32)
        return with_state(self.theirs.model(corpus, fields["variant"], sizes, latents), state)


def with_state(module: Any, state: dict[str, Tensor]) -> Any:
    """The module in evaluation mode. Masks and tables that a student keeps as buffers are not among the parameters."""
    given = module.load_state_dict(state, strict=False)
    buffers = {name for name, _ in module.named_buffers()}
    if absent := [name for name in given.missing_keys if name not in buffers]:
        raise ValueError(f"{type(module).__name__} has other parameters than the given code: {', '.join(absent)}")
    return module.eval()


# ------------------------------------------------------------------------------------------------------- the calls


def call(modules: Modules, module: str, name: str, args: list, kwargs: dict, wants: bool = False) -> Any:
    """A function. With `wants` also the gradient of the sum of its result, by the first argument."""
    function = getattr(modules.get(module), name, None)
    if function is None:
        raise AttributeError(f"src/{module}.py has no function {name}")
    return with_gradient(function, args, kwargs) if wants else function(*args, **kwargs)


def method(modules: Modules, module: str, cls: str, fields: dict, state: dict, name: str, args: list, **how: Any):
    layer = modules.layer(module, cls, fields, state)
    bound = getattr(layer.to(getattr(torch, how["dtype"])), name)
    if name == "forward":  # as every caller does; older classes know no layout, and cross-attention no mask
        takes = [p for p in inspect.signature(layer.forward).parameters.values() if p.default is p.empty]
        if len(takes) < len(args) and not any(p.kind is p.VAR_POSITIONAL for p in takes):
            if modules.theirs is None:
                raise TypeError(f"{cls}.forward takes {len(takes)} inputs: {len(args)} are given to it")
            return {"unsupported": f"{cls}.forward takes no mask"}
        bound = layer
    return with_gradient(bound, args, {}) if how.get("wants") else bound(*args)


def with_gradient(function: Any, args: list, kwargs: dict) -> list[Tensor]:
    x = args[0].requires_grad_()
    y = function(x, *args[1:], **kwargs)
    if not y.requires_grad:
        raise RuntimeError("no gradient flows through the result: use torch for all of it, without detach or no_grad")
    return [y, torch.autograd.grad(y.square().sum(), x)[0]]


def rows(modules: Modules, text: str, block_size: int, settings: dict, index: int, count: int) -> list[Tensor]:
    """x and y of so many draws of one document, (count, block_size) each."""
    corpus = modules.get("dataset").CharCorruptionDataset(text, block_size, **(settings if not modules.theirs else {}))
    drawn = [corpus[index] for _ in range(count)]
    pairs = [[torch.as_tensor(entries) for entries in pair] for pair in drawn]
    if modules.theirs is not None and len(pairs[0][0]) == block_size - 1:  # in the edition of 2021
        pad = torch.zeros(1, dtype=torch.long)
        pairs = [[torch.cat([x, y[-1:]]), torch.cat([y, pad])] for x, y in pairs]
    return [torch.stack([pair[i] for pair in pairs]) for i in range(2)]


def questions(modules: Modules, text: str, data: str, block_size: int) -> list[Tensor]:
    dataset = modules.get("dataset")
    names = dataset.NameDataset(dataset.CharCorruptionDataset(text, block_size), data)
    pairs = [names[i] for i in range(len(names))]
    return [torch.stack([pair[i] for pair in pairs]) for i in range(2)]


def logits(modules: Modules, fields: dict, state: dict, idx: Tensor, targets: Tensor) -> list[Tensor]:
    return list(modules.model(fields, state)(idx, targets))


def decayed(modules: Modules, fields: dict, state: dict) -> list[str]:
    """The names of the parameters that an optimizer with weight decay lets decay."""
    model = modules.model(fields, state)
    if modules.theirs is None:
        groups = modules.get("optimizer").parameter_groups(model, 0.1)
    else:
        given = SimpleNamespace(learning_rate=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
        groups = model.configure_optimizers(given).param_groups
    found = {id(parameter) for group in groups if group["weight_decay"] for parameter in group["params"]}
    return [name for name, parameter in model.named_parameters() if id(parameter) in found]


def baseline(modules: Modules, text: str) -> str:
    """What london_baseline.py prints about a file of questions. Older editions write a percentage into a file."""
    path = next((path for path in ("london_baseline.py", "src/london_baseline.py") if Path(path).is_file()), None)
    if path is None:
        raise FileNotFoundError("london_baseline.py: missing")
    Path("birth_dev.tsv").write_bytes(text.encode())
    printed, written = io.StringIO(), Path("london_baseline_accuracy.txt")
    sys.argv = [path, "--eval_corpus_path", "birth_dev.tsv"]
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        runpy.run_path(path, run_name="__main__")
    if "out of" not in printed.getvalue() and written.is_file():
        total = len(text.splitlines())
        percent = float(written.read_text())
        print(f"Correct: {percent * total / 100:.0f} out of {total}: {percent:.1f}%", file=printed)
    return printed.getvalue()


def answers(modules: Modules, variant: str, corpus: str, parameters: str, questions: list[str]) -> list[str]:
    """What parameters answer to questions. Called with our modules, never with the student's."""
    stages = modules.get("stages")
    with stages.load_trained(variant, corpus, parameters, device="cpu") as (model, vocabulary):
        block_size = model.config.block_size
        ids, lengths = stages.data.encode_questions(questions, vocabulary, block_size, "the questions")
        return stages.answer(model, vocabulary, ids, lengths)


CALLS = {f.__name__: f for f in (call, method, rows, questions, logits, decayed, baseline, answers)}


# ----------------------------------------------------------------------------------------------------- the session


def where(error: BaseException, folder: Path) -> str:
    """An error as its author can use it: file and line of the student's code, and what Python says."""
    if isinstance(error, SyntaxError) and error.filename:
        frames: list[tuple[str, int | None, str]] = [(str(error.filename), error.lineno, "")]
    else:
        frames = [(frame.filename, frame.lineno, frame.name) for frame in traceback.extract_tb(error.__traceback__)]
    own = [frame for frame in frames if Path(frame[0]).is_absolute() and Path(frame[0]).is_relative_to(folder)]
    own = own or [frame for frame in frames if not Path(frame[0]).is_absolute() and frame[0].endswith(".py")]
    text = str(error).split("\n")[0] if not isinstance(error, SyntaxError) else str(error.msg)
    said = text if isinstance(error, NotImplementedError) and text else f"{type(error).__name__}: {text}"
    if not own or isinstance(error, NotImplementedError):
        return said
    name, line, function = own[-1]
    path = Path(name).relative_to(folder) if Path(name).is_absolute() else Path(name)
    return f"{path.as_posix()}, line {line}{f', in {function}' if function else ''}: {said}"


def limit(settings: dict[str, Any]) -> None:
    """Limits of the system, where it has them, and another user, if this one is root."""
    if os.name == "posix":
        import resource

        data, seconds = settings["megabytes"] * 2**20, settings["seconds"]
        wanted = {"RLIMIT_DATA": data, "RLIMIT_CPU": seconds + 1, "RLIMIT_FSIZE": 2**24, "RLIMIT_CORE": 0}
        if settings["user"]:
            wanted["RLIMIT_NPROC"] = 32
        for name, most in wanted.items():
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(getattr(resource, name), (most, most))
    if settings["user"]:
        os.setgroups([])
        os.setgid(settings["user"])
        os.setuid(settings["user"])


def serve(settings: dict[str, Any], calls: Any, results: Any) -> None:
    """Answer the calls of one session."""
    folder = Path(settings["folder"])
    random.seed(0)  # a fork draws a new seed; torch's is the same each time. Who is graded again gets the same points
    os.chdir(folder)
    limit(settings)
    modules = None
    for line in calls:
        wanted = json.loads(line)
        if wanted["call"] == "end":
            return
        try:
            if modules is None:
                modules = Modules(folder, settings["own_edition"], settings["support"])
            result = {"result": packed(CALLS[wanted["call"]](modules, **unpacked(wanted["with"])))}
        except BaseException as error:
            kind = next((k.__name__ for k in type(error).__mro__ if k.__module__ == "builtins"), "Exception")
            result = {"error": where(error, folder), "kind": kind}
        results.write(json.dumps(result) + "\n")
        results.flush()


def adopt_orphans() -> None:
    """Become the parent of what sessions leave behind: not every container has an init that buries the dead."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end_group(group: int) -> None:
    """Kill what a session has left behind, and wait until it is gone: a copy would read calls of the next session."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.killpg(group, signal.SIGKILL)
        while True:
            os.waitpid(-group, 0)


def main() -> None:
    if FORKS:
        adopt_orphans()
    calls, results = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # the student's code may print and read what it likes
        os.dup2(nothing, descriptor)
    torch.set_num_threads(1)
    for line in calls:
        settings = json.loads(line)
        if settings["preload"]:
            sys.path.insert(0, settings["preload"])
            importlib.import_module("stages")
        if not FORKS:
            results.write(json.dumps({"pid": 0, "token": settings["token"]}) + "\n")
            results.flush()
            return serve(settings, calls, results)
        reap()
        child = os.fork()
        if child == 0:
            os.setsid()
            signal.alarm(settings["seconds"] + 5)
            try:
                serve(settings, calls, results)
            finally:
                os._exit(0)
        results.write(json.dumps({"pid": child, "token": settings["token"]}) + "\n")
        results.flush()
        os.waitpid(child, 0)
        end_group(child)
        results.write(json.dumps({"ended": 1, "token": settings["token"]}) + "\n")
        results.flush()


if __name__ == "__main__":
    main()
