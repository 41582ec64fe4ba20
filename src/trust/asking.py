"""Ask a trained model and see how sure it is: answers with confidences, runners-up, and what attention looks at.

The confidence of an answer is the product of the probabilities of its characters and of the MASK that closes it: the
probability that the model, drawing character by character, would have said exactly this.

Shapes:  B questions, P longest prompt, N longest answer, L = P + N, M characters of all answers, V = vocab_size.
"""

import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import dataset as data
import stages
import startup
from attention import CausalSelfAttention, written_out_attention
from calibration import bin_of, confidences_at, wilson
from checkpoint import file_sha256
from dropout import without_dropout
from model import GPT
from vocabulary import printable

RUNNERS_UP = 5
BARS = " ▁▂▃▄▅▆▇█"


@dataclass
class Answers:
    """What a model says to B questions, and the logits it says it from: all that calibration needs."""

    texts: list[str]  # (B,)
    logits: np.ndarray  # (M, V) float32: of each character of each answer, the closing MASK among them
    tokens: np.ndarray  # (M,) what was said there
    rows: np.ndarray  # (M,) to which question
    confidence: np.ndarray  # (B,)


@torch.inference_mode()
def answer_with_confidence(
    model: GPT, corpus: data.CharCorruptionDataset, ids: Tensor, lengths: Tensor, said: Tensor | None = None
) -> Answers:
    """Greedy answers to prompts `question MASK` (ids (B, P), lengths (B,)) with their confidences.

    All probabilities come from one forward pass over prompts and answers together. An answer that never closes is cut
    at stages.ANSWER_LENGTH characters or the end of the block, and its confidence is that of the characters until
    there. `said` (B, S) makes the answers begin with these tokens, whose probabilities count as the others' do.
    """
    texts, logits, tokens, rows = [], [], [], []
    starts = range(0, len(ids), stages.rows_at_once(model.device))
    with without_dropout(model):
        for first in tqdm(starts, "answering", unit="batch", delay=2, leave=False, disable=None):
            batch = slice(first, first + starts.step)
            prompt, length = ids[batch].to(model.device), lengths[batch].to(model.device)
            begun, begun_length = prompt, length
            if said is not None:
                begun_length = length + said.size(1)
                begun = _put(prompt, length, said[batch].to(model.device))
            still = stages.ANSWER_LENGTH - (0 if said is None else said.size(1))
            new = model.generate(begun, begun_length, still, stop_token=data.MASK)  # (B, N)
            if said is not None:
                new = torch.cat([said[batch].to(model.device), new], dim=1)
            string = _put(prompt, length, new)[:, : model.config.block_size]  # (B, L)
            predicted = model(string[:, :-1])[0]  # (B, L - 1, V), entry t predicts string[:, t + 1]
            # An answer lasts until its first MASK, that MASK included.
            ended = (new == data.MASK).long().cumsum(dim=1) - (new == data.MASK).long()  # (B, N)
            step = torch.arange(new.size(1), device=new.device)
            place = length[:, None] - 1 + step  # (B, N) where each character is predicted
            row, column = ((ended == 0) & (place < predicted.size(1))).nonzero(as_tuple=True)  # (M,) each, by row
            logits.append(predicted[row, place[row, column]].float().cpu().numpy())
            tokens.append(new[row, column].cpu().numpy())
            rows.append(row.cpu().numpy() + first)
            texts += [stages.text_of(answer, corpus) for answer in new.tolist()]
    together = [np.concatenate(parts) for parts in (logits, tokens, rows)]
    return Answers(texts, *together, confidences_at(*together, 1.0)[0])


def _put(prompt: Tensor, length: Tensor, new: Tensor) -> Tensor:
    """(B, P + N): the prompts (B, P) with new (B, N) written over whatever follows their `length` (B,) tokens."""
    string = torch.nn.functional.pad(prompt, (0, new.size(1)))  # PAD is 0
    at = length[:, None] + torch.arange(new.size(1), device=new.device)  # (B, N)
    return string.scatter(1, at, new)


def runners_up(
    model: GPT, corpus: data.CharCorruptionDataset, ids: Tensor, lengths: Tensor, count: int = RUNNERS_UP
) -> list[tuple[str, float]]:
    """(answer, confidence) of `count` answers to one prompt (1, P): the greedy one, then the others, likeliest first.

    One for each of the likeliest first characters, continued greedily. So of two places with one initial only one
    shows, the list is not the most probable `count` of all strings, and another may be likelier than the greedy one.
    """
    with torch.inference_mode(), without_dropout(model):
        first = model(ids.to(model.device))[0][0, int(lengths[0]) - 1]  # (V,)
    said = first.topk(min(count, len(first))).indices[:, None]  # (count, 1)
    n = len(said)
    found = answer_with_confidence(model, corpus, ids.expand(n, -1), lengths.expand(n), said)
    greedy, *others = zip(found.texts, found.confidence.tolist(), strict=True)
    return [greedy, *sorted(others, key=lambda pair: -pair[1])]


# ------------------------------------------------------------------------------------------------------- attention


@contextmanager
def _weights_kept(model: GPT):
    """While this lasts every layer's attention weights (B, nh, T, T) of the last forward are in the list it gives."""
    kept: list[Tensor] = []
    modules = [block.attn for block in model.blocks]
    for attn in modules:

        def attend(q, k, v, mask=None, attn=attn):
            kept.append(written_out_attention(q, k, v)[1])
            return type(attn)._attend(attn, q, k, v, mask)

        attn._attend = attend
    try:
        yield kept
    finally:
        for attn in modules:
            del attn._attend


@torch.inference_mode()
def attention_to_prompt(model: GPT, ids: Tensor) -> Tensor:
    """(n_layer, P): how much the first character of the answer looks at each token of the prompt ids (1, P).

    The weights of the last token of the prompt, the MASK from which that character is predicted; mean over the heads,
    so each layer's sum to 1. ValueError for a variant whose weights are not softmax(q k') of all tokens.
    """
    # Where scores are made otherwise than in CausalSelfAttention, writing that out would draw something else.
    if model.variant.bottleneck or getattr(model.variant, "_attend", None) is not CausalSelfAttention._attend:
        raise ValueError(
            f"--show attention: the weights of {model.config.variant} are not one number for every two characters, so "
            "there is nothing to draw: choose a vanilla, sinusoidal or rope model"
        )
    with without_dropout(model), _weights_kept(model) as kept:
        model(ids.to(model.device))
    return torch.stack([weights[0, :, -1].mean(dim=0) for weights in kept]).cpu()


def draw_attention(weights: Tensor, question: str, name: slice) -> str:
    """Lines of text: under the question, for every layer, a bar for each character, MASK included."""
    lines = ["What the answer's first character looks at, mean over heads; a full bar is the layer's largest weight:"]
    # One cell for each character, as for each bar.
    lines.append(f"{'':9}{''.join(c if c.isprintable() else '.' for c in question)}{data.MASK_CHAR}")
    for layer, row in enumerate(weights, 1):
        heights = (row / row.max() * (len(BARS) - 1)).ceil().int().tolist()
        on_name = f"{row[name].sum():4.0%} on the name, largest weight {row.max():.0%}"
        lines.append(f"layer {layer:<3}{''.join(BARS[height] for height in heights)}  {on_name}")
    return "\n".join(lines)


# ----------------------------------------------------------------------------------------------- how far to trust it


def calibration_path(params_path: str | Path) -> Path:
    return Path(f"{params_path}.calibration.json")


def trust(confidence: float, params_path: str | Path) -> str:
    """A sentence: is this a confidence at which the model is usually right? From the record that `report` writes."""
    path = calibration_path(params_path)
    unknown = "How often it is right at such a confidence cannot be told: "
    if not path.exists():
        return f"{unknown}there is no {path} (run.py report writes it)."
    try:
        record = json.loads(path.read_bytes())
        known = record["sha256"] == file_sha256(params_path)
        bins, questions = record["bins"], record["questions"]
        found = bins[int(bin_of(confidence, len(bins)))]
        total, right, low, high = (found[key] for key in ("total", "right", "low", "high"))
        unseen = record.get("unseen_share_of_bin")
        unseen = None if unseen is None else float(unseen[int(bin_of(confidence, len(bins)))])
        interval, span, share = wilson(right, total), f"{low:.0%} to {high:.0%}", right / max(1, total)
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
        return f"{unknown}{path} is damaged (run.py report writes it anew)."
    if not known:
        return f"{unknown}{path} is about other parameters (run.py report writes it anew)."
    if total < 5:
        return f"{unknown}only {total} answers to {questions} had a confidence of {span}."
    word = "is usually right" if interval[0] > 0.5 else "is usually wrong" if interval[1] < 0.5 else "may be either"
    sentence = (
        f"At {span} it {word}: {right} of the {total} answers to {questions} with such a confidence were right "
        f"({share:.0%}; 95% interval {interval[0]:.0%} to {interval[1]:.0%})."
    )
    if unseen is not None:
        sentence += (
            f"\nThat holds for people in the texts. Of its answers about people nobody wrote about, all made up, "
            f"{unseen:.0%} have such a confidence too."
        )
    return sentence


# --------------------------------------------------------------------------------------------------------- command


def ask(
    variant: str,
    pretrain_corpus_path: str | Path,
    reading_params_path: str | Path,
    question: str | None = None,
    *,
    show: str | None = None,
    recipe: str | None = None,
    device: str | None = None,
    **settings: Any,
) -> None:
    """Ask one question, or without one those that are typed in, and print the answer and how far to trust it.

    A name alone stands for "Where was NAME born?". `show` "attention" draws what the answer looks at.
    """
    startup.refuse_several_processes("ask")
    with startup.opened(variant, pretrain_corpus_path, reading_params_path, recipe, device, **settings) as opened:
        model, corpus = opened
        if question is not None:
            print(reply(model, corpus, question, reading_params_path, show))
            return
        print("A question or a name a line; an empty line ends.")
        while asked := _line():
            try:
                print(reply(model, corpus, asked, reading_params_path, show), end="\n\n")
            except ValueError as error:  # a character without a token, say: the next question may be better
                print(error, file=sys.stderr)


def _line() -> str:
    try:
        return input("> ").strip()
    except EOFError:
        return ""


def reply(
    model: GPT, corpus: data.CharCorruptionDataset, asked: str, params_path: str | Path, show: str | None = None
) -> str:
    """What `ask` prints for one question."""
    asked = asked.strip()
    if not asked:
        raise ValueError("the question is empty")
    question = asked if asked.endswith("?") else f"Where was {asked} born?"
    ids, lengths = data.encode_questions([question], corpus.stoi, corpus.block_size, "the question")
    (best, confidence), *others = runners_up(model, corpus, ids, lengths)
    lines = [printable(question), f"{printable(best)}  (the model's own probability: {confidence:.1%})"]
    lines.append("Other first letters would lead to: " + ", ".join(f"{printable(text)} {p:.1%}" for text, p in others))
    lines.append(trust(confidence, params_path))
    if show == "attention":
        start, end = question.find("Where was ") + 10, question.rfind(" born?")
        name = slice(start, end) if question.startswith("Where was ") and end > start else slice(0, len(question))
        lines.append(draw_attention(attention_to_prompt(model, ids), question, name))
    return "\n".join(lines)
