"""The model card of an export, README.md: what it is, how it was made, how often it is right, how to ask it, limits."""

from pathlib import Path
from typing import Any

from dataset import DATA_FOLDER
from export import huggingface, onnx
from model import GPT
from safe.files import file_sha256
from safe.record import command_line
from stages import ANSWER_LENGTH
from trust.asking import calibration_path, read_calibration
from vocabulary import MASK_CHAR, printable

TEXTS = (DATA_FOLDER / "wiki.txt", DATA_FOLDER / "quick" / "wiki.txt")  # this project's: generated, and CC0

HUGGING_FACE = """
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this one
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder).eval()
questions = ["Where was Ada Example born?", "Where was Bo Example born?"]
prompts = tokenizer([question + "{mask}" for question in questions], return_tensors="pt", padding=True)
tokens = model.generate(**prompts)[:, prompts.input_ids.size(1) :]
answers = tokenizer.batch_decode(tokens, skip_special_tokens=True)
print(answers)
```
"""

ONNX = """
```python
import onnxruntime
from tokenizers import Tokenizer

folder = "."  # this one
tokenizer = Tokenizer.from_file(folder + "/tokenizer.json")
session = onnxruntime.InferenceSession(folder + "/model.onnx")


def answer(question):
    ids = tokenizer.encode(question + "{mask}").ids
    asked = len(ids)
    while len(ids) < asked + {most} and ids[asked:].count(1) == 0:  # 1 is {mask}
        (logits,) = session.run(["logits"], {{"input_ids": [ids]}})
        ids.append(int(logits[0, -1].argmax()))
    return tokenizer.decode(ids[asked:])


answers = [answer("Where was Ada Example born?"), answer("Where was Bo Example born?")]
print(answers)
```
"""

CARD = """---
license: {license}
language: en
{library}pipeline_tag: text-generation
tags: [character-level, question-answering]
---

# A small GPT that was asked where people were born

{about}
It reads and writes characters: its vocabulary has {vocab_size}, among them {mask} and a padding token. It continues
`question{mask}` with the place and another {mask}.

## Ask it
{snippets}
A character that the model does not know raises an exception, as no token stands for unknown ones.

## How it was made

{made}

The code is a small GPT for teaching, after minGPT and an assignment of Stanford's CS224N. Its own logits and those of
these files were compared when they were written: they differed by at most {difference:.0e}.

## How often it is right

{right}

## Limits

- A place comes out for every name, also of people about whom the model has read nothing. Such answers are made up.
- Question and answer have room in {block_size} tokens. Answers end after {most}.
- It knows one kind of question, in one form of words. It is no assistant.

## Licence

{terms}
"""

FREE = """The code and these parameters are under the MIT licence. The texts that the model has read are generated,
fictional and in the public domain (CC0 1.0)."""
NOT_OURS = """The code that made it is under the MIT licence. The texts that the model has read are not this project's:
what may be done with the parameters depends on their terms too."""


def text(path: str | Path, record: dict[str, Any], model: GPT, parts: list[Any], difference: float) -> str:
    """The card of the model at `path`, with its record, for the formats that are written.

    difference: the largest between a logit of ours and of theirs
    """
    config = model.config
    size = sum(parameter.numel() for parameter in model.parameters())
    free = record.get("corpus_sha256") in [file_sha256(file) for file in TEXTS if file.exists()]
    fields = dict(mask=MASK_CHAR, most=ANSWER_LENGTH, block_size=config.block_size)
    snippets = {huggingface: HUGGING_FACE, onnx: ONNX}
    return CARD.format(
        **fields,
        difference=difference,
        license="mit" if free else "other",
        library="library_name: transformers\n" * (huggingface in parts),
        about=(
            f"A decoder-only Transformer with {config.variant} attention and {size:,} parameters: {config.n_layer} "
            f"layers, {config.n_head} heads, {config.n_embd} channels."
        ),
        vocab_size=config.vocab_size,
        snippets="".join([snippets[part].format(**fields) for part in parts]),
        made=made(record),
        right=right(path, record),
        terms=FREE if free else NOT_OURS,
    )


def made(record: dict[str, Any]) -> str:
    """What the record says about training, and the command that repeats it."""
    stage = (
        "pretrained on span corruption of" if record.get("command") == "pretrain" else "finetuned on questions about"
    )
    lines = [f"It was {stage} the people of `{printable(str(record.get('corpus', 'a corpus')))}`"]
    if "epochs" in record and "recipe" in record:
        lines[0] += f", {record['epochs']} epochs of the recipe `{printable(str(record['recipe']))}`"
    lines[0] += "."
    if record.get("command") == "pretrain" and not record.get("questions"):
        lines.append("It has seen no questions yet: it fills in what is masked in a text, and its answers are guesses.")
    try:
        given = record["arguments"].items()  # without folders: they are nobody else's business
        names = {name: Path(value).name if name.endswith("_path") else value for name, value in given}
        lines.append(f"\n    {printable(command_line(record | {'arguments': names}))}")
    except (AttributeError, LookupError, TypeError, ValueError):
        lines.append("The record does not say which command made it.")
    return "\n".join(lines)


def right(path: str | Path, record: dict[str, Any]) -> str:
    """How many answers were right, from the record of calibration that `report` writes beside the parameters."""
    file = calibration_path(path)
    unknown = "This is not known: `run.py report`, before the export, counts right answers."
    if not file.exists():
        return unknown
    try:
        counted = read_calibration(file)
    except ValueError:
        return unknown
    correct, total = (sum([group[name] for group in counted["bins"]]) for name in ("right", "total"))
    if counted["sha256"] != record.get("sha256") or not total:
        return unknown
    return (
        f"{correct} of {total} answers ({correct / total:.1%}) to the questions of `{printable(counted['questions'])}`."
    )
