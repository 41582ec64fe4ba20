"""Fuzz everything that reads files and words from strangers, guided by which lines of the project an input reaches.

    pip install atheris==3.0.0                # Linux, Python 3.11 to 3.13; not among the requirements
    python measure/fuzz.py 100000             # this many inputs in all, shared among the targets
    python measure/fuzz.py 100000 --jobs 8 --seconds 3600
    python measure/fuzz.py 5000 --targets record --seed 2

Each target runs in processes of its own with limited memory, as many at a time as --jobs says, each from another seed.
Every input must be accepted or refused: by the library
with a ValueError or OSError of one line, by the command line with exit status 2 and one line. Anything else is a
failure: it ends the target, and the input is kept in a file that the output names.

Random changes of bytes never get past a checksum. So inputs are changed at a deeper level: the entries of an archive,
the opcodes of its pickle, the values of a JSON file, the words of a command.
"""

import argparse
import hashlib
import io
import json
import os
import pickletools
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import torch

SRC = Path(__file__).resolve().parent.parent / "src"
sys.path.insert(0, str(SRC))

SMALLEST = 100  # inputs for which a process of their own is worth its start
MEMORY = 4 * 2**30  # bytes of addresses that a target may use beyond what it has before the first input
TEXT = "".join(f"Person {i}. Born in {'Oslo Kyoto Turku'.split()[i % 3]}, Where was it?\n" for i in range(3))
QUESTIONS = "Where was Person 1?\tKyoto\nWhere was Person 2?\tTurku\n"
SIZES = dict(n_layer=1, n_head=1, n_embd=4, block_size=64)
RUN = dict(device="cpu", max_epochs=1, batch_size=2, checkpoint_every=0, **SIZES)


# ------------------------------------------------------------------------------------------------ changing an input

NUMBERS = [0, 1, 2, 3, 64, -1, 2**31, 2**63, 10**20, 0.5, 1e308, float("nan"), float("inf")]
VALUES = [*NUMBERS, None, True, "", "vanilla", "rope", "perceiver", "\ud800", "\0", [], {}, [[]], {"": 0}]
NAMED = "torch FloatStorage;torch BoolStorage;torch ComplexFloatStorage;collections OrderedDict;"
NAMED += "torch._utils _rebuild_tensor_v2;torch._utils _rebuild_parameter;os system"
PICKLED = [  # opcodes with their arguments: numbers and text; containers, calls and the stack; names
    *[b"K\0", b"K\x40", b"J\xff\xff\xff\x7f", b"J\xff\xff\xff\xff", b"\x8a\x08" + b"\xff" * 7 + b"\x7f"],
    *[b"G" + bytes(8), b"X\1\0\0\0a", b"h\0", b"h\1", b"q\0"],
    *[bytes([code]) for code in b"N\x88}])(t\x85\x86\x87RQbsuae02"],
    *[b"c" + name.replace(" ", "\n").encode() + b"\n" for name in NAMED.split(";")],
]
PLAIN = 1 / 4  # share of the changes that are made to the bytes of a file, whatever they mean


def change_bytes(data: bytes, max_size: int, seed: int) -> bytes:
    return atheris.Mutate(data, max_size)


def change_archive(data: bytes, max_size: int, seed: int) -> bytes:
    """A file of torch.save with one entry changed and with valid checksums."""
    chance = random.Random(seed)
    if chance.random() < PLAIN:
        return atheris.Mutate(data, max_size)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:  # bytes that an earlier change left: zipfile fails in many ways
        return atheris.Mutate(data, max_size)
    if not entries:
        return atheris.Mutate(data, max_size)
    pickles = [i for i, (name, _) in enumerate(entries) if name.endswith("data.pkl")]
    at = chance.choice(pickles) if pickles and chance.random() < 0.8 else chance.randrange(len(entries))
    name, content = entries[at]
    what = chance.random()
    if name.endswith("data.pkl") and what < 0.8:
        entries[at] = name, change_pickle(content, chance)
    elif what < 0.9:
        entries[at] = name, atheris.Mutate(content, len(content) + 64)
    elif what < 0.94:
        del entries[at]
    elif what < 0.97:
        entries.append((name, content))
    else:
        entries[at] = name + "x", content
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in entries:
            with suppress(ValueError):
                archive.writestr(name, content)
    return target.getvalue()[:max_size]


def change_pickle(content: bytes, chance: random.Random) -> bytes:
    """A pickle in which one or two opcodes are removed, doubled or replaced."""
    try:
        starts = [place for _, _, place in pickletools.genops(content)]
    except Exception:  # not a pickle any more
        return atheris.Mutate(content, len(content) + 64)
    parts = [content[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]
    for _ in range(chance.randint(1, 2)):
        at = chance.randrange(len(parts))
        other = chance.choice([chance.choice(PICKLED), chance.choice(parts)])
        parts[at : at + chance.randint(0, 1)] = chance.choice([[], [other], [other, parts[at]]])
        parts = parts or [b"."]
    return b"".join(parts)


def change_json(data: bytes, max_size: int, seed: int) -> bytes:
    """A JSON document with a value or a key changed somewhere."""
    chance = random.Random(seed)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return atheris.Mutate(data, max_size)
    if chance.random() < PLAIN:
        return atheris.Mutate(data, max_size)
    parent, key, value = None, None, document
    while isinstance(value, (dict, list)) and value and (parent is None or chance.random() < 0.8):
        parent, key = value, chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
        value = parent[key]
    if parent is None:
        return json.dumps(chance.choice(VALUES)).encode()
    what = chance.random()
    if what < 0.6:
        parent[key] = chance.choice(VALUES)
    elif what < 0.7 and isinstance(value, str):
        parent[key] = atheris.Mutate(value.encode("utf-8", "replace"), len(value) + 8).decode("utf-8", "replace")
    elif what < 0.8 and isinstance(value, int):
        parent[key] = value + chance.choice([-1, 1])
    elif what < 0.9 or isinstance(parent, list):
        del parent[key]
    else:
        parent[chance.choice([*parent, "x"])] = value
    return json.dumps(document).encode()[:max_size]


# ------------------------------------------------------------------------------------------------------ the targets
# Each is called in an empty folder, makes the files that its inputs need, and returns (seeds, change, try_input).


def refused(read, *arguments, starts: str = ""):
    """The result of `read`, or None if it refuses its arguments in the right way."""
    try:
        with redirect_stderr(io.StringIO()):
            return read(*arguments)
    except (ValueError, OSError) as error:
        assert "\n" not in str(error) and str(error).startswith(starts), error


def command(*words: str) -> None:
    said, notes = io.StringIO(), []
    editions.say = lambda *lines, to_stderr: notes.extend(lines)  # how a command line of another edition is read
    sys.stdin = io.StringIO("Where was Person 1?\n")
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        try:
            status = run.main(list(words))
        except SystemExit as stop:
            status = stop.code
    assert status in (0, 2), f"{words}: status {status}"
    lines = said.getvalue().split("\n")
    refusals = [line for line in lines if line.startswith("run.py: ")]
    assert len(refusals) == (status == 2), f"{words}: {lines}"
    assert all(note.isprintable() for note in notes), f"{words}: {notes}"
    assert status == 0 or (lines[-2:] == [*refusals, ""] and refusals[0].isprintable()), f"{words}: {lines}"


def corpus():
    """Both readers of a corpus refuse the same texts and find the same documents in all others."""

    def try_input(content: bytes) -> None:
        Path("wiki.txt").write_bytes(content)
        shutil.rmtree(".wiki.txt.tokens", ignore_errors=True)
        documents = refused(open_documents, "wiki.txt", starts="wiki.txt")
        if (text := refused(read_corpus, "wiki.txt", starts="wiki.txt")) is not None:
            assert documents is None or "\n".join(documents) + "\n" == text
            dataset = refused(lambda: CharCorruptionDataset(text, 64, source="wiki.txt"), starts="wiki.txt")
            assert (dataset is None) == (documents is None)
            if dataset is not None:
                dataset.batch(torch.arange(len(dataset)))

    return [TEXT.encode(), "\ufeffŁódź\r\n\n\u25a1 \u2047\n\0".encode(), b"\xff\n"], change_bytes, try_input


def questions():
    text = CharCorruptionDataset(TEXT, 64)

    def try_input(content: bytes) -> None:
        Path("q.tsv").write_bytes(content)
        pairs = refused(read_places, "q.tsv", starts="q.tsv")
        if pairs is not None:
            assert all(question and not {"\n", "\t"} & set(question) for question, _ in pairs)
            rows = refused(lambda: NameDataset(text, read_text("q.tsv"), source="q.tsv"), starts="q.tsv")
            if rows is not None:
                rows.batch(torch.arange(len(rows)))
            asked = [question for question, _ in pairs]
            refused(encode_questions, asked, text.vocabulary, 64, "q.tsv", starts="q.tsv")

    return [QUESTIONS.encode(), b"Where was it?\n", b"a\tb\tc\n\t\n"], change_bytes, try_input


def tokens():
    """The record beside the token ids of a corpus that are kept on disk."""
    Path("wiki.txt").write_text(TEXT)
    refused(open_documents, "wiki.txt")
    kept = Path(".wiki.txt.tokens")
    files = {file: file.read_bytes() for file in kept.iterdir()}

    def try_input(content: bytes) -> None:
        for file, whole in files.items():
            if not file.exists():
                file.write_bytes(whole)
        (kept / "corpus.json").write_bytes(content)
        assert len(list(refused(open_documents, "wiki.txt"))) == 3

    return [files[kept / "corpus.json"]], change_json, try_input


def trained() -> None:
    Path("wiki.txt").write_text(TEXT)
    Path("q.tsv").write_text(QUESTIONS)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        stages.pretrain("vanilla", "wiki.txt", "p", **RUN)


def parameters():
    trained()
    content, record = Path("p").read_bytes(), json.loads(Path("p.json").read_bytes())
    Path("p.json").unlink()

    def try_input(content: bytes) -> None:
        Path("p").write_bytes(content)
        if (found := refused(read_parameters, "p", starts="p: ")) is not None:
            refused(model_of, "p", found[0], record["config"], starts="p: ")

    return [content], change_archive, try_input


def resume():
    """The checkpoint of a run, which is then continued to its end."""
    seeds, save = [], unfinished.UnfinishedRun._save

    def kept(self, trainer) -> None:
        save(self, trainer)
        seeds.append(Path("p.resume").read_bytes())

    unfinished.UnfinishedRun._save = kept
    trained()
    unfinished.UnfinishedRun._save = save
    words = [word for name, value in RUN.items() for word in (f"--{name}", str(value))]

    def try_input(content: bytes) -> None:
        for file in ("p", "p.json"):
            Path(file).unlink(missing_ok=True)
        Path("p.resume").write_bytes(content)
        command("pretrain", "vanilla", "wiki.txt", "--writing_params_path", "p", "--resume", *words)

    return seeds, change_archive, try_input


def record():
    trained()

    def try_input(content: bytes) -> None:
        Path("p.json").write_bytes(content)
        command("show", "p")
        refused(read_run, "p", starts="p")
        command(*answered())

    return [Path("p.json").read_bytes()], change_json, try_input


def answered() -> tuple[str, ...]:
    """A command that reads every file of a finished run."""
    words = "evaluate vanilla wiki.txt --reading_params_path p --eval_corpus_path q.tsv --outputs_path o --device cpu"
    return tuple(words.split())


def calibration():
    trained()
    bins = [{"low": i / 5, "high": (i + 1) / 5, "total": 9, "right": i} for i in range(5)]
    seed = {"sha256": file_sha256("p"), "questions": "q.tsv", "bins": bins, "unseen_share_of_bin": [0.2] * 5}

    def try_input(content: bytes) -> None:
        Path("p.calibration.json").write_bytes(content)
        for confidence in (0.0, 0.5, 1.0):
            said = trust(confidence, "p")
            assert all(line.isprintable() for line in said.split("\n")) and said.count("\n") <= 1, said

    return [json.dumps(seed).encode()], change_json, try_input


def log():
    trained()
    lines = Path("p.log.jsonl").read_bytes().splitlines()

    def try_input(content: bytes) -> None:
        Path("p.log.jsonl").write_bytes(content)
        refused(read_run, "p", starts="p")

    return lines, change_json, try_input


STRANGE = {  # what may stand where a file is expected
    "pipe": lambda path: os.mkfifo(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "circle": lambda path: path.symlink_to(path.name),
    "folder": lambda path: path.mkdir(),
    "sparse": lambda path: (path.touch(), os.truncate(path, 2**30 + 1)),
    "bytes": lambda path: path.write_bytes(bytes(range(256))),
    "nothing": lambda path: None,
}


def strange():
    """Anything but a plain file in the place of one, in a folder whose name no locale can spell."""
    folder = Path("\udcff \x1b[2J 東")
    folder.mkdir()
    os.chdir(folder)
    digest = hashlib.file_digest

    def quick_digest(file, name):  # to hash a gigabyte takes a second, and only must not give the hash of a record
        return hashlib.sha256() if os.fstat(file.fileno()).st_size > 2**26 else digest(file, name)

    hashlib.file_digest = quick_digest
    trained()
    words = [word for name, value in RUN.items() for word in (f"--{name}", str(value))]
    commands = [
        answered(),
        ("show", "p"),
        ("export", "p", "x"),
        ("ask", "vanilla", "wiki.txt", "--reading_params_path", "p"),
    ]
    commands += [
        ("pretrain", "vanilla", "wiki.txt", "--writing_params_path", "p", flag, *words) for flag in ("--resume",)
    ]
    names = ["wiki.txt", "q.tsv", "p", "p.json", "p.resume", "p.log.jsonl", "p.calibration.json", "o", "o.json", "x"]
    whole = {file.name: file.read_bytes() for file in Path().iterdir() if file.is_file()}

    def try_input(content: bytes) -> None:
        for name, kind in zip(content[1:4], content[4:7], strict=False):
            path = Path(names[name % len(names)])
            remove(path)
            list(STRANGE.values())[kind % len(STRANGE)](path)
        command(*commands[(content or b"\0")[0] % len(commands)])
        for path in Path().iterdir():
            remove(path)
        for name, content in whole.items():
            Path(name).write_bytes(content)

    return [bytes([i, i, i + 1, i + 2, i, i + 1, i + 2]) for i in range(len(names))], change_bytes, try_input


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


FILES = ["wiki.txt", "q.tsv", "p", "o", "page.html", "nothing"]
NUMBERS_SAID = "0 1 2 3 8 64 -1 0.5 nan inf 99999999999999999999"
WORDS = [*FILES, *NUMBERS_SAID.split(), *"cpu cuda cuda:99 meta attention past on off float32 bf16 --help".split()]


def words():
    """Commands on files that exist. An input is a list of numbers, each of which stands for a word."""
    trained()
    Path("nothing").touch()
    whole = {file.name: file.read_bytes() for file in Path().iterdir()}
    commands = grammar.COMMANDS
    flags = sorted({flag for parser in commands.values() for flag in parser._option_string_actions})
    known = [*commands, *VARIANTS, *recipes.RECIPES, *flags, *WORDS]
    assert len(known) < 240
    trainer.Trainer.train = lambda self: dict(epoch=1, step=1, tokens=1, loss=1.0, seconds=1.0)
    report_sections.write = lambda *arguments: None  # pictures take seconds

    def try_input(content: bytes) -> None:
        said, rest = [], content[:40]
        while rest:
            number, rest = rest[0], rest[1:]
            if number < 240:
                said.append(known[number % len(known)])
            else:  # up to 15 characters of any kind, except for a path into another folder
                text, rest = rest[: number - 240], rest[number - 240 :]
                said.append(text.decode(errors="replace").replace("/", "_").replace("..", "_"))
        for i in range(1, len(said)):
            if said[i - 1] == "--n_layer" and said[i].startswith("999"):
                said[i] = "3"  # that many layers would take hours, and rightly so
        command(*said)
        for file in Path().iterdir():
            if file.is_dir():
                shutil.rmtree(file)
            elif file.name not in whole:
                file.unlink()
        for name, content in whole.items():
            if not Path(name).exists() or Path(name).read_bytes() != content:
                Path(name).write_bytes(content)

    lines = [
        "pretrain vanilla wiki.txt --writing_params_path o --device cpu",
        "pretrain bigbird wiki.txt --writing_params_path o --recipe quick --finetune_corpus_path q.tsv --n_layer 2",
        "finetune vanilla wiki.txt --reading_params_path p --writing_params_path o --finetune_corpus_path q.tsv",
        "evaluate vanilla wiki.txt --reading_params_path p --eval_corpus_path q.tsv --outputs_path o --plain",
        "ask vanilla wiki.txt --reading_params_path p --show attention --device cpu",
        "report wiki.txt --reading_params_path p --eval_corpus_path q.tsv --outputs_path page.html",
        "show p",
        "pretrain perceiver wiki.txt --writing_params_path o --n_layer 3 --bottleneck_dim 8 --latent_reach past",
        "pretrain rope wiki.txt --writing_params_path o --plain --third_mask --eval_corpus_path q.tsv --n_layer 1",
    ]
    return [bytes(known.index(word) for word in line.split()) for line in lines], change_words, try_input


def change_words(data: bytes, max_size: int, seed: int) -> bytes:
    chance, numbers = random.Random(seed), list(data[:40])
    if chance.random() < PLAIN or not numbers:
        return atheris.Mutate(data, max_size)
    at = chance.randrange(len(numbers) + 1)
    numbers[at : at + chance.randint(0, 2)] = [chance.randrange(256) for _ in range(chance.randint(0, 2))]
    return bytes(numbers)


TARGETS = {  # with their shares of the inputs, which are smaller where an input takes longer
    "corpus": (corpus, 25),
    "questions": (questions, 25),
    "tokens": (tokens, 10),
    "parameters": (parameters, 20),
    "resume": (resume, 5),
    "record": (record, 5),
    "words": (words, 10),
    "calibration": (calibration, 10),
    "log": (log, 10),
    "strange": (strange, 5),
}


# ---------------------------------------------------------------------------------------------------------- running


def fuzz(target: str, inputs: int, seed: int, seconds: int) -> None:
    """Try `inputs` inputs in this process, in the current folder, for at most `seconds` (0: any). Does not return."""
    torch.set_num_threads(1)
    for recipe in recipes.RECIPES.values():
        recipe.model.update(SIZES)
    stages.ANSWER_LENGTH = 2
    seeds, change, try_input = TARGETS[target][0]()
    with suppress(ImportError):  # Windows has no such limit
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    with tempfile.TemporaryDirectory() as folder:
        for i, content in enumerate(seeds):
            try_input(content)
            Path(folder, str(i)).write_bytes(content)
        limits = ["-max_len=65536", "-len_control=0", "-rss_limit_mb=0", "-timeout=120", f"-artifact_prefix={target}-"]
        limits += [f"-runs={inputs}", f"-max_total_time={seconds}", f"-seed={seed + 1}"]
        atheris.Setup([sys.argv[0], *limits, folder], try_input, custom_mutator=change)
        atheris.Fuzz()


def run_piece(target: str, inputs: int, seed: int, seconds: int) -> tuple[list[int], str]:
    """Fuzz a target in a process of its own. Returns its numbers, as `report_on` prints them, and its output."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [str(inputs), "--target", target, "--seed", str(seed), "--seconds", str(seconds)]
        done = subprocess.run([sys.executable, __file__, *arguments], cwd=folder, capture_output=True)
        said = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
        numbers = dict.fromkeys(("INITED", "DONE"), ("0", "0", "0"))
        found = re.findall(r"#(\d+)\s+(INITED|DONE)\s+cov: (\d+) ft: \d+ corp: (\d+)/", said)
        numbers |= {event: (count, edges, kept) for count, event, edges, kept in found}
        (_, before, seeds), (count, after, kept) = numbers["INITED"], numbers["DONE"]
        for file in Path(folder).glob(f"{target}-*"):
            said += f"\nthe input: {shutil.copy(file, '.')}\n"
    new = max(0, int(kept) - int(seeds))
    return [int(count), int(after), int(before), new, int(done.returncode != 0)], said


def report_on(target: str, inputs: int, seed: int, seconds: int, jobs: int) -> int:
    """Fuzz a target in up to `jobs` processes. Prints a line about it, and what failed. Returns the failures."""
    pieces = min(jobs, -(-inputs // SMALLEST))
    share = -(-inputs // pieces)
    with ThreadPoolExecutor(pieces) as pool:
        found = list(pool.map(lambda i: run_piece(target, share, seed + 1000 * i, seconds), range(pieces)))
    counts, after, before, new, failures = zip(*[numbers for numbers, _ in found], strict=True)
    print(f"{target}: {sum(counts):,} inputs, {max(after)} edges of src/ reached, {max(before)} by the seeds, ", end="")
    print(f"{sum(new)} inputs did something new, {sum(failures)} failures", flush=True)
    for (*_, failed), said in found:
        if failed:
            print(said[-4000:])
    return sum(failures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", type=int, help="number of inputs, of all targets together")
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--seconds", type=int, default=0, help="at most, of all targets together (default: any)")
    parser.add_argument("--target", choices=list(TARGETS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    import atheris

    if arguments.target is None:
        total = sum(TARGETS[target][1] for target in arguments.targets)
        shares = {target: -(-arguments.inputs * TARGETS[target][1] // total) for target in arguments.targets}
        # Each gets an equal part of what is left of the time, so that what one leaves is for those after it.
        failures, end = 0, time.monotonic() + arguments.seconds
        for left, (target, share) in zip(range(len(shares), 0, -1), shares.items(), strict=True):
            seconds = max(1, int(end - time.monotonic()) // left) if arguments.seconds else 0
            failures += report_on(target, share, arguments.seed, seconds, arguments.jobs)
        sys.exit(min(failures, 100))
    modules = [".".join(file.relative_to(SRC).with_suffix("").parts) for file in SRC.rglob("*.py")]
    with atheris.instrument_imports(include=modules):
        import recipes
        import run
        import stages
        import trainer
        from attention import VARIANTS
        from dataset import CharCorruptionDataset, NameDataset, encode_questions, read_corpus, read_places, read_text
        from fast.corpus_file import open_documents
        from handout import commands as editions
        from safe import flags as grammar
        from safe import unfinished
        from safe.files import file_sha256, model_of, read_parameters
        from trust import report_sections
        from trust.asking import trust
        from trust.report import read_run
    fuzz(arguments.target, arguments.inputs, arguments.seed, arguments.seconds)
