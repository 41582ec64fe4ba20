"""Command lines as handouts and public copies of the course write them, in terms of run.py's own. Free of torch.

    pretrain vanilla wiki.txt                                                files that run.sh would name
    --function=pretrain --variant=vanilla --pretrain_corpus_path=wiki.txt    the edition for professionals (XCS224N)
    --no-compile, --compile, --backend=inductor                              the same
    \u2013-writing_params_path P                                             a dash that an editor or a PDF made
    evaluate ... --pretrain_lr 6e-3                                          a flag of another command

Every change but that of the order of words is said in a line. run.py comes here with what it does not understand.
"""

import hashlib
import json
import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from safe.exits import say
from safe.flags import COMMANDS, PARSER, RefusedError
from vocabulary import printable

POSITIONAL = ("--function", "--variant", "--pretrain_corpus_path")
OTHERS = ("--no-compile", "--backend")  # flags of the course that are none of ours
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
TRAIN_ROWS, DEV_ROWS = "birth_places_train.tsv", "birth_dev.tsv"


def parsed(words: list[str]) -> dict[str, Any]:
    """The arguments that these words mean. What cannot be understood ends the program: one line, exit status 2."""
    if any(word.split("=")[0] == "--modules" for word in words):  # a student's own files
        from handout import drive

        drive.main(words)
        raise SystemExit(0)
    notes: list[str] = []
    words = in_order([with_hyphens(word, notes) for word in words])
    name = next((word for word in words if not word.startswith("-")), "")
    try:
        if name in COMMANDS and "-h" not in words and "--help" not in words:
            words = own_flags(compile_flags(words, COMMANDS[name], notes), name, notes)
            words += default_files(name, words, notes)
        found, rest = PARSER.parse_known_args(words)
        arguments = vars(found)
        # argparse settles on "no question" when it meets the options before it.
        if len(rest) == 1 and not rest[0].startswith("-") and arguments.get("question", "") is None:
            arguments["question"] = rest.pop()
        if rest:
            COMMANDS[name].error(f"unrecognized arguments: {' '.join(rest)}")
    except RefusedError as refused:
        PARSER.exit(2, f"run.py: {refused}\n")
    say(*[f"run.py: {note}" for note in notes], to_stderr=True)
    return arguments


def flags_of(parser: ArgumentParser) -> dict[str, Any]:
    """The flags of a parser, with argparse's action for each."""
    return {flag: action for action in parser._actions for flag in action.option_strings}


def with_hyphens(word: str, notes: list[str]) -> str:
    """A flag whose hyphens became another dash: `--` is often pasted as one en dash."""
    found = re.fullmatch(f"([-{DASHES}]*[{DASHES}][-{DASHES}]*)([A-Za-z].*)", word)
    if found is None:
        return word
    flag = f"--{found[2]}"
    known = {flag for parser in COMMANDS.values() for flag in flags_of(parser)} | {*POSITIONAL, *OTHERS}
    if flag.split("=")[0] not in known:
        return word
    strange = next(char for char in found[1] if char != "-")
    notes.append(
        f"{printable(word)} begins with the dash U+{ord(strange):04X} instead of hyphens: read as {printable(flag)}"
    )
    return flag


def in_order(words: list[str]) -> list[str]:
    """The words with command, variant and corpus at the front, if they were given as flags."""
    values: dict[str, str] = {}
    rest: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        flag, equals, value = word.partition("=")
        if flag not in POSITIONAL or (not equals and not left):
            rest.append(word)
        else:
            values[flag] = value if equals else left.pop(0)
    return [values[flag] for flag in POSITIONAL if flag in values] + rest


def compile_flags(words: list[str], parser: ArgumentParser, notes: list[str]) -> list[str]:
    """`--compile` without a value, `--no-compile` and `--backend` in terms of `--compile on` and `off`."""
    kept: list[str] = []
    takes = "--compile" in flags_of(parser)
    skip = False
    for i, word in enumerate(words):
        after = words[i + 1] if i + 1 < len(words) else "--"
        if skip:
            skip = False
        elif word == "--no-compile" or (word == "--compile" and after.startswith("-")):
            kept += ["--compile", "on" if word == "--compile" else "off"] if takes else []
        elif word == "--backend" or word.startswith("--backend="):
            skip = word == "--backend"
            notes.append(f"{word}: ignored: what is compiled here is compiled by torch's default backend, inductor")
        else:
            kept.append(word)
    return kept


def own_flags(words: list[str], name: str, notes: list[str]) -> list[str]:
    """The words without flags that only other commands have: the course's parser took all flags with every command."""
    own: dict[str, Any] = flags_of(COMMANDS[name])
    others: dict[str, Any] = {}
    for parser in COMMANDS.values():
        others |= {flag: action for flag, action in flags_of(parser).items() if flag not in own}
    kept: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        flag, equals, _ = word.partition("=")
        if flag not in others:
            kept.append(word)
            continue
        if not equals and others[flag].nargs != 0:  # its value goes with it; of several, all
            while left and not left[0].startswith("--"):
                left.pop(0)
                if others[flag].nargs is None:
                    break
        notes.append(f"{printable(flag)}: ignored: {name} has no such flag")
    return kept


# ---------------------------------------------------------------------------------- files that are not named


def default_files(name: str, words: list[str], notes: list[str]) -> list[str]:
    """Flags for the files that a command needs and nobody named, as run.sh names them.

    Raises RefusedError if predictions of other parameters are there already.
    """
    variant = [word for word in words if not word.startswith("-")][1:2]
    start = value_of("--reading_params_path", words)
    added: list[str] = []

    def fill(flag: str, value: str, what: str) -> None:
        if value_of(flag, words) is None:
            added.extend([flag, value])
            notes.append(f"{what} {value} ({flag})")

    if not variant:
        return []
    if name == "pretrain":
        fill("--writing_params_path", f"{variant[0]}.pretrain.params", "writing")
    elif name == "finetune":
        fill("--finetune_corpus_path", TRAIN_ROWS, "training on")
        kind = "model" if start is None else "finetune"
        fill("--writing_params_path", f"{variant[0]}.{kind}.params", "writing")
    elif name == "evaluate" and start is not None:
        fill("--eval_corpus_path", DEV_ROWS, "asking")
        predictions = predictions_name(variant[0], start, value_of("--eval_corpus_path", words + added) or "")
        if value_of("--outputs_path", words) is None:
            refuse_others(predictions, start)
        fill("--outputs_path", predictions, "writing")
    return added


def value_of(flag: str, words: list[str]) -> str | None:
    """What stands after `flag` among the words, or behind its equals sign."""
    for i, word in enumerate(words):
        if word == flag:
            return words[i + 1] if i + 1 < len(words) else None
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None


def predictions_name(variant: str, params_path: str, questions_path: str) -> str:
    """The name that run.sh gives to predictions: VARIANT.pretrain.dev.predictions, VARIANT.nopretrain.test..."""
    pretrained = ".model." not in Path(params_path).name
    try:
        record = json.loads(Path(f"{params_path}.json").read_bytes())
        pretrained = record["command"] != "finetune" or bool(record["pretrained"])
    except (OSError, ValueError, LookupError, TypeError):
        pass  # no record, or a damaged one, which evaluating will find
    stem = Path(questions_path).stem
    kind = "dev" if "dev" in stem else "test" if "test" in stem else stem
    return f"{variant}.{'pretrain' if pretrained else 'nopretrain'}.{kind}.predictions"


def refuse_others(predictions: str, params_path: str) -> None:
    """Raise RefusedError if `predictions` are there and were not made with these parameters."""
    if not Path(predictions).exists():
        return
    try:
        made_with = json.loads(Path(f"{predictions}.json").read_bytes())["sha256"]
        if made_with == hashlib.sha256(Path(params_path).read_bytes()).hexdigest():
            return
    except (OSError, ValueError, LookupError, TypeError):
        pass
    raise RefusedError(f"{predictions}: there are predictions of other parameters: name another file by --outputs_path")
