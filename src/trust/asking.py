"""Ask a trained model and see how sure it is: answers with confidences, runners-up, and where attention goes.

The confidence of an answer is the product of the probabilities of its characters and of the MASK that closes it. It is
the probability that the model says exactly this when it draws character by character.

Shapes:  B questions, P longest prompt, N longest answer, M characters of all answers together, V = vocab_size.
"""

import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import dataset as data
import stages
from attention import CausalSelfAttention
from fast.rows import CachedReader
from model import GPT, evaluation_mode
from safe.files import file_sha256, model_of, open_plain, read_parameters, read_record, recorded_config
from safe.own_facts import COURSE_FORM, form, longest, remember
from safe.running import Running
from trust.calibration import bin_of, confidences_at, wilson
from trust.forms import place_of_name, question_as, understood_as
from trust.people import Texts, spelt_for, understood
from vocabulary import MASK, MASK_CHAR, Vocabulary, printable

RUNNERS_UP = 5
BARS = " ▁▂▃▄▅▆▇█"


@dataclass
class Answers:
    """What a model says to B questions, and the distributions that it says it from: all that calibration needs."""

    texts: list[str]  # (B,)
    log_probs: np.ndarray  # (M, V) float32: one row for each character of each answer, the closing MASK included
    tokens: np.ndarray  # (M,) the character that was chosen there
    rows: np.ndarray  # (M,) the question that it answers
    confidence: np.ndarray  # (B,)


def answer_with_confidence(
    model: GPT, vocabulary: Vocabulary, ids: Tensor, lengths: Tensor, max_length: int | None = None
) -> Answers:
    """Greedy answers to prompts `question MASK` (ids (B, P), lengths (B,)) with their confidences.

    An answer that has not ended after `max_length` characters (default: as in `stages.answer`) is cut there. Its
    confidence is that of these characters, those that outgrow the block included.
    Raises ValueError if a probability is not a number: parameters that are NaN, infinite or too large give none.
    """
    max_length = longest(model, stages.ANSWER_LENGTH) if max_length is None else max_length
    texts, log_probs, tokens, rows, where = [], [], [], [], model.head.weight.device
    starts = range(0, len(ids), stages.ROWS_ON_CPU if where.type == "cpu" else stages.ROWS)
    for start in tqdm(starts, "answering", unit="batch", delay=2, leave=False, disable=None):
        batch = slice(start, start + starts.step)
        prompts, reader = ids[batch].to(where), CachedReader(model)
        said, log_p = model.generate(prompts, lengths[batch], max_length, MASK, reader=reader, log_probs=True)
        is_mask = (said == MASK).long()  # (B, N)
        masks_before = is_mask.cumsum(dim=1) - is_mask
        row, column = (masks_before == 0).nonzero(as_tuple=True)  # (M,) each: up to the first MASK, which counts too
        texts += [vocabulary.decode_answer(answer) for answer in said.tolist()]
        log_probs.append(log_p[row, column].cpu().numpy())
        tokens.append(said[row, column].cpu().numpy())
        rows.append(row.cpu().numpy() + start)
    all_log_probs, all_tokens, all_rows = [np.concatenate(parts) for parts in (log_probs, tokens, rows)]
    if not np.isfinite(all_log_probs[np.arange(len(all_tokens)), all_tokens]).all():
        raise ValueError("the model computes NaN, not probabilities: its parameters are NaN, infinite or too large")
    confidence = confidences_at(all_log_probs, all_tokens, all_rows, 1.0)[0]
    return Answers(texts, all_log_probs, all_tokens, all_rows, confidence)


def runners_up(
    model: GPT, vocabulary: Vocabulary, ids: Tensor, lengths: Tensor, count: int = RUNNERS_UP
) -> list[tuple[str, float]]:
    """(answer, confidence) of `count` answers to one prompt (1, P): the greedy one, then the others, likeliest first.

    Each answer begins with another one of the likeliest first characters and goes on greedily. So these are not the
    `count` most probable strings: of two places with the same initial only one appears, and an answer may be likelier
    than the greedy one. `count` is at least 2.
    """
    prompt, most = ids[:, : int(lengths[0])], longest(model, stages.ANSWER_LENGTH)  # (1, length)
    greedy = answer_with_confidence(model, vocabulary, prompt, lengths)
    likeliest = np.argsort(-greedy.log_probs[0], kind="stable")  # (V,)
    others = torch.from_numpy(likeliest[likeliest != greedy.tokens[0]][: count - 1])  # (K,) first characters
    begun = torch.cat([prompt.expand(len(others), -1), others[:, None]], dim=1)  # (K, length + 1)
    rest = answer_with_confidence(model, vocabulary, begun, (lengths + 1).expand(len(others)), most - 1)
    found = []
    for i, first in enumerate(others.tolist()):
        text = vocabulary.decode_answer([first, *rest.tokens[rest.rows == i].tolist()])
        after = 1.0 if first == MASK else float(rest.confidence[i])  # nothing follows the MASK that closes an answer
        found.append((text, float(np.exp(greedy.log_probs[0, first])) * after))
    return [(greedy.texts[0], float(greedy.confidence[0])), *sorted(found, key=lambda pair: -pair[1])]


# ------------------------------------------------------------------------------------------------------- attention


@contextmanager
def weights_kept(model: Any) -> Iterator[list[Tensor]]:
    """A list to which every layer adds its attention weights (B, nh, T, T) while the block lasts.

    The weights are what the dropout on attention reads, in a forward pass over whole rows.
    """
    kept: list[Tensor] = []
    hooks = [
        block.attn.attn_drop.register_forward_hook(lambda module, inputs, output: kept.append(inputs[0]))
        for block in model.blocks
    ]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


@torch.inference_mode()
def attention_to_prompt(model: GPT, ids: Tensor) -> Tensor:
    """(n_layer, P): how much the first character of the answer looks at each token of the prompt ids (1, P).

    That character is predicted from the MASK that ends the prompt, so these are the weights of the last token. They
    are averaged over the heads; those of a layer sum to 1. Raises ValueError for a variant whose weights are not
    softmax(q k') of all tokens.
    """
    if model.mechanism.bottleneck or getattr(model.mechanism, "attend", None) is not CausalSelfAttention.attend:
        raise ValueError(
            f"--show attention: a {model.config.variant} model does not compare every character with every other, so "
            "there are no weights to draw: choose a vanilla, sinusoidal or rope model"
        )
    with evaluation_mode(model), weights_kept(model) as kept:
        model(ids.to(model.head.weight.device))
    return torch.stack([weights[0, :, -1].mean(dim=0) for weights in kept]).cpu()


def draw_attention(weights: Tensor, question: str, name: slice) -> str:
    """Lines of text: the question and, under it, a bar for each character in every layer, the MASK included."""
    lines = ["Where the answer's first character looks, averaged over heads. A full bar is its layer's largest weight:"]
    # A character that cannot be printed takes one cell, as its bar does.
    lines.append(f"{'':9}{''.join(c if c.isprintable() else '.' for c in question)}{MASK_CHAR}")
    for layer, row in enumerate(weights, 1):
        heights = (row / row.max() * (len(BARS) - 1)).ceil().int().tolist()
        on_name = f"{row[name].sum():4.0%} on the name, largest weight {row.max():.0%}"
        lines.append(f"layer {layer:<3}{''.join(BARS[height] for height in heights)}  {on_name}")
    return "\n".join(lines)


# ----------------------------------------------------------------------------------------------- how far to trust it

UNKNOWN = "How often the model is right at this confidence is not known"
LARGEST_RECORD, MOST_ANSWERS = 2**20, 2**40  # of a record of calibration: bytes, and answers in a bin


def calibration_path(params_path: str | Path) -> Path:
    return Path(f"{params_path}.calibration.json")


def trust(confidence: float, params_path: str | Path, sha256: str | None = None) -> str:
    """A sentence or two: is the model usually right at this confidence? From the record that `report` writes.

    sha256: of the parameters that were read; None: of those that are at `params_path` now
    """
    path = calibration_path(params_path)
    if not os.path.lexists(path):
        return f"{UNKNOWN}: there is no {path} (python src/run.py report writes it)."
    try:
        record = read_calibration(path)
    except ValueError as error:
        return f"{UNKNOWN}: {path} is damaged: {error} (python src/run.py report writes a new one)."
    except OSError as error:
        return f"{UNKNOWN}: {path} cannot be read: {error.strerror or error}."
    if record["sha256"] != (sha256 or file_sha256(params_path)):
        return f"{UNKNOWN}: {path} is about other parameters (python src/run.py report writes a new one)."
    return verdict(confidence, record)


def read_calibration(path: Path) -> dict[str, Any]:
    """The record that `report` writes. The file may be anybody's: raises ValueError with the reason if it is none.

    Raises OSError if it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a plain file")
    with open_plain(path) as file:
        raw = file.read(LARGEST_RECORD + 1)
    if len(raw) > LARGEST_RECORD:
        raise ValueError(f"it has more than {LARGEST_RECORD:,} bytes")
    try:
        record = json.loads(raw)
    except (ValueError, RecursionError):  # also bytes that are not UTF-8, and numbers of thousands of digits
        raise ValueError("it is not JSON") from None
    if not isinstance(record, dict) or not isinstance(record.get("bins"), list) or not record["bins"]:
        raise ValueError("it has no bins")
    for name in ("sha256", "questions"):
        if not isinstance(record.get(name), str):
            raise ValueError(f"it has no {name}")
    count = len(record["bins"])
    for i, group in enumerate(record["bins"]):
        if not isinstance(group, dict):
            raise ValueError(f"bin {i + 1} is not a dictionary")
        for name, edge in (("low", i / count), ("high", (i + 1) / count)):
            if not is_number(group.get(name)) or abs(group[name] - edge) > 1e-9:
                raise ValueError(f"bin {i + 1}: {name} is not {edge:g}")
        total, right = group.get("total"), group.get("right")
        if not (type(total) is type(right) is int and 0 <= right <= total <= MOST_ANSWERS):
            raise ValueError(f"bin {i + 1}: right and total are not counts")
    shares = record.get("unseen_share_of_bin", [0] * count)
    if not isinstance(shares, list) or len(shares) != count:
        raise ValueError(f"unseen_share_of_bin does not have {count} numbers")
    if not all(is_number(share) and 0 <= share <= 1 for share in shares):
        raise ValueError("unseen_share_of_bin holds something else than shares")
    return record


def is_number(value: Any) -> bool:
    """Is it a finite number that fits a float? JSON from anybody may hold NaN, 10**400, true and lists."""
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def verdict(confidence: float, record: dict[str, Any]) -> str:
    """What the record of `report` says about this confidence.

    The 95% interval decides: "usually" means that all of it is on one side of a half. The record is one that
    `read_calibration` has checked.
    """
    number = int(bin_of(confidence, len(record["bins"])))
    group, questions = record["bins"][number], printable(record["questions"])
    total, right, span = group["total"], group["right"], f"{group['low']:.0%} to {group['high']:.0%}"
    low, high = wilson(right, total)
    if total < 5:
        return f"{UNKNOWN}: only {total} answers to {questions} had a confidence of {span}."
    word = "is usually right" if low > 0.5 else "is usually wrong" if high < 0.5 else "may be either"
    sentences = (
        f"At a confidence of {span} it {word}: {right} of the {total} answers to {questions} with such a confidence "
        f"were right ({right / total:.0%}; 95% interval {low:.0%} to {high:.0%})."
    )
    if "unseen_share_of_bin" in record:
        sentences += (
            "\nThis holds for names in the texts. Of the answers about names that nobody wrote about, all of them made "
            f"up, {float(record['unseen_share_of_bin'][number]):.0%} have such a confidence too."
        )
    return sentences


def how_far(
    confidence: float,
    name: str | None,
    texts: Texts | None,
    params_path: str | Path,
    sha256: str | None = None,
    shape: tuple[str, str] = COURSE_FORM,
) -> str:
    """How far to trust an answer about `name`: from what the texts say of it, and from `trust`.

    The record of calibration is about names with a text. For all others its shares would be wrong.
    """
    if name is None:
        return f'{UNKNOWN}: that is measured on questions like "{printable(question_as(shape, "NAME"))}".'
    if texts is None or texts.about(name) is not None:
        return trust(confidence, params_path, sha256)
    who, source = printable(name), printable(texts.source)
    if texts.text is None:
        unknown = f"Whether a text mentions {who} is not known: {printable(texts.why_not)}."
        return f"{unknown} If none does, the answer is made up. If one does:\n{trust(confidence, params_path, sha256)}"
    nearest = texts.nearest(name)
    hint = f" There is one about {printable(nearest)}: ask for that name." if nearest else ""
    if texts.mentions(name):
        return f"No text of {source} is about {who}, though some mention the name.{hint}\n{UNKNOWN} for such names."
    return f"No text of {source} mentions {who}, so this answer is made up, however sure the model is.{hint}"


# --------------------------------------------------------------------------------------------------------- command


def ask(
    variant: str,
    pretrain_corpus_path: str | Path,
    reading_params_path: str | Path,
    question: str | None = None,
    *,
    show: str | None = None,
    **options: Any,
) -> None:
    """Ask one question and print the answer and how far to trust it. Without a question, read questions from stdin.

    question: a name alone stands for the question about it, such as "Where was NAME born?"
    show:     "attention" draws which characters of the question the answer looks at
    options:  those of `stages.load_trained`
    """
    with opened(variant, pretrain_corpus_path, reading_params_path, **options) as (model, vocabulary):
        texts = texts_of(pretrain_corpus_path, reading_params_path)
        if question is not None:
            print(reply(model, vocabulary, question, reading_params_path, show, texts))
            return
        print("Type a question or a name. An empty line ends.")
        while typed := typed_line():
            try:
                print(reply(model, vocabulary, typed, reading_params_path, show, texts), end="\n\n")
            except ValueError as error:  # such as a character without a token: the next question may be better
                print(printable(str(error)), file=sys.stderr)


@contextmanager
def opened(
    variant: str, corpus_path: str | Path, params_path: str | Path, **options: Any
) -> Iterator[tuple[GPT, Vocabulary]]:
    """`stages.load_trained`. With a record beside the parameters it does without a corpus that is not there."""
    path = data.find_file(corpus_path)
    if os.access(path, os.R_OK) or not Path(f"{params_path}.json").exists():
        with stages.load_trained(variant, corpus_path, params_path, **options) as found:
            yield found
        return
    settings = {name: value for name, value in options.items() if name not in ("recipe", "device")}
    with stages.placed(Running(device=options.get("device"))) as device:
        state_dict, record = read_parameters(params_path)
        assert record is not None
        fields = recorded_config(variant, str(params_path), record, settings)
        model = remember(model_of(str(params_path), state_dict, fields), record)
        yield model.to(device), Vocabulary(record["vocabulary"])


def texts_of(corpus_path: str | Path, params_path: str | Path) -> Texts:
    """The texts that the model was trained on, to look names up in, or why that cannot be done."""
    path, record = data.find_file(corpus_path), read_record(params_path)
    if not path.is_file():
        return Texts(path.name, None, f"there is no file {path}")
    if path.stat().st_size > stages.IN_MEMORY:
        return Texts(path.name, None, f"{path} is too large to search")
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, UnicodeDecodeError):
        return Texts(path.name, None, f"{path} cannot be read")
    # What was hashed is what is searched: the file may change in the meantime.
    if record is not None and record.get("corpus_sha256", None) not in (None, hashlib.sha256(raw).hexdigest()):
        return Texts(path.name, None, f"{path} is not the corpus that the model was trained on")
    return Texts(path.name, re.sub(r"^([^\t\n]*)\t", r"\1. ", text, flags=re.MULTILINE))  # as dataset.read_corpus does


def typed_line() -> str:
    try:
        return input("> ").strip()
    except EOFError:
        return ""


def reply(
    model: GPT,
    vocabulary: Vocabulary,
    asked: str,
    params_path: str | Path,
    show: str | None = None,
    texts: Texts | None = None,
) -> str:
    """What `ask` prints for one question. `texts`: where to look up who is asked about."""
    with suppress(UnicodeError):  # the locale may not be the terminal's, as with LC_ALL=C
        asked = os.fsencode(asked).decode()
    shape, asked = form(model), spelt_for(vocabulary, asked)
    question, name = understood(asked, texts) if shape == COURSE_FORM else understood_as(shape, asked, texts)
    if name is not None and texts is not None:
        question = question_as(shape, texts.spelling_of(name))  # a corpus may have letters in both Unicode forms
    try:
        ids, lengths = data.encode_questions([question], vocabulary, model.config.block_size, "input")
    except ValueError as error:
        nearest = texts.nearest(name) if texts is not None and name is not None else None
        raise ValueError(f"{error}. The texts write this name {nearest}" if nearest else str(error)) from None
    (best, confidence), *others = runners_up(model, vocabulary, ids, lengths)
    lines = [printable(question), f"{printable(best)}  (the model's own probability: {confidence:.1%})"]
    lines.append("Other first letters would lead to: " + ", ".join(f"{printable(text)} {p:.1%}" for text, p in others))
    lines.append(how_far(confidence, name, texts, params_path, vars(model).get("sha256"), shape))
    if show == "attention":
        lines.append(draw_attention(attention_to_prompt(model, ids), question, place_of_name(shape, question)))
    return "\n".join(lines)
