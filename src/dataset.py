"""Text in, batches out: the readers, the two datasets of the course, and the scorer.

A character-level model sees text as integers. `CharCorruptionDataset` turns one-line documents into
span-corruption examples for pretraining. `NameDataset` turns questions with answers into examples for finetuning.
`evaluate_places` counts right answers.

Both datasets store their text as one flat tensor of token ids plus the offset at which each row starts. They make a
whole batch by tensor arithmetic, on the device that holds the tensors. `dataset[i]` is a batch of one.

Shapes:  B rows of a batch, T = block_size entries of x and of y (one less in older editions of the course), S entries
         of the string they are cut from, V = vocab_size.

This module knows no model and chooses no device. Run it to look at examples:
    python src/dataset.py namedata
    python src/dataset.py charcorruption
"""

import argparse
import hashlib
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from vocabulary import MASK, MASK_CHAR, PAD, PAD_CHAR, Vocabulary, message_of, printable, refuse_reserved

PROJECT = Path(__file__).resolve().parent.parent
DATA_FOLDER = PROJECT / "data"
LARGEST = 2**30  # bytes of a file that is read as a whole; larger corpora are mapped (fast/corpus_file.py)
LONGEST = 2**20  # characters of a line: a file with longer lines does not hold one document a line
ON_DEVICE = 4 * 2**30  # bytes: a larger tensor of tokens stays on the host, for want of room beside a model

MIN_TRUNCATED_LENGTH = 4  # shortest prefix that span corruption keeps, in characters
MAX_TRUNCATED_SHARE = 7 / 8  # longest prefix, as a share of block_size: the rest is room for the masks
RECALL_BLOCKS = 2  # so many blocks of a document are asked for facts (see `recall`)


# ---------------------------------------------------------------------------------------------------- reading files


class Text(str):
    sha256: str  # of the bytes of the file that the text was read from

    def __new__(cls, text: str, sha256: str):
        made = super().__new__(cls, text)
        made.sha256 = sha256
        return made


def find_file(path: str | Path) -> Path:
    """`path` in the first folder that has it: the current one, the project's, its data folder. Else `path`."""
    places = [Path(path), PROJECT / path, DATA_FOLDER / path]
    return next((place for place in places if place.exists()), Path(path))


def read_text(path: str | Path) -> Text:
    """The file as text: UTF-8 with or without a byte order mark; every style of line end becomes a newline.

    Raises OSError if the file cannot be read. Raises ValueError if it is not a plain file, too large for memory, or not
    UTF-8, then with the line.
    """
    if Path(path).exists() and not Path(path).is_file():
        is_folder = Path(path).is_dir()
        raise ValueError(f"{path}: {'Is a directory' if is_folder else 'not a plain file: save its content as one'}")
    if Path(path).stat().st_size > LARGEST:
        raise ValueError(f"{path}: larger than {LARGEST:,} bytes: no file of questions or documents for this")
    raw = Path(path).read_bytes()
    try:
        text = raw.decode().removeprefix("\ufeff")  # "utf-8-sig" would count the position of an error from the mark
    except UnicodeDecodeError as error:
        raise not_utf8(path, raw.count(b"\n", 0, error.start) + 1, raw[error.start]) from None
    return Text(text.replace("\r\n", "\n").replace("\r", "\n"), hashlib.sha256(raw).hexdigest())


def not_utf8(path: str | Path, line: int, byte: int) -> ValueError:
    return ValueError(f"{path}, line {line}: not UTF-8 text (byte 0x{byte:02x})")


def refuse_long(length: int, path: str | Path, line: int) -> None:
    """Raise ValueError for a line of more than LONGEST characters: the model would see its first few hundred."""
    if length > LONGEST:
        raise ValueError(f"{path}, line {line}: longer than {LONGEST:,} characters: write one document a line")


def read_corpus(path: str | Path) -> Text:
    """The documents of a corpus file, one a line, without blank lines.

    The text always ends in a newline, so that the vocabulary does not depend on whether the file does. Raises
    ValueError if there is no document or a line is longer than LONGEST.
    """
    text = read_text(path)
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        refuse_long(len(line), path, number)
    documents = [line.replace("\t", ". ", 1) for line in lines if line.strip()]  # NAME<TAB>TEXT is NAME. TEXT
    if not documents:
        raise ValueError(f"{path}: the corpus is empty: no documents")
    return Text("\n".join(documents) + "\n", text.sha256)


def parse_places(text: str, source: str | Path = "the questions") -> list[tuple[str, str | None]]:
    """(question, place) for every row `question<TAB>place`. The place is None in every row of an unlabelled file.

    Blank lines are dropped. Raises ValueError with source, row and reason for a row of neither form.
    """
    pairs: list[tuple[str, str | None]] = []
    for row, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        question, *places = [field.strip() for field in line.split("\t")]
        if len(places) > 1:
            raise ValueError(f"{source}, row {row}: {len(places)} tabs where one is expected")
        names = [name.strip() for name in "|".join(places).split("|")]  # of the place: one, or several as A|B
        if not question or (places and "" in names):
            raise ValueError(f"{source}, row {row}: the {'place' if question else 'question'} is empty")
        place = "|".join(names) if places else None
        if pairs and (place is None) != (pairs[0][1] is None):
            raise ValueError(
                f"{source}, row {row}: has {'no tab and no' if place is None else 'a'} place, unlike the rows before it"
            )
        pairs.append((question, place))
    if not pairs:
        raise ValueError(f"{source}: no questions: the file is empty")
    return pairs


def read_places(path: str | Path) -> list[tuple[str, str | None]]:
    """`parse_places` of a file."""
    return parse_places(read_text(path), path)


# ---------------------------------------------------------------------------------------------------- the datasets


class RowDataset(Dataset):
    """Rows of token ids of different lengths, stored end to end.

    tokens: (sum of lengths,) in the smallest integer type that holds the vocabulary
    starts: (rows + 1,) row i is tokens[starts[i]:starts[i + 1]]
    device: where `batch` runs and puts its results
    """

    PAD_CHAR, MASK_CHAR = PAD_CHAR, MASK_CHAR
    ignore_index = PAD  # a target with this id carries no loss

    def __init__(self, tokens: np.ndarray, starts: np.ndarray, vocabulary: Vocabulary, block_size: int):
        self.vocabulary, self.block_size = vocabulary, block_size
        self.stoi, self.itos, self.vocab_size = vocabulary.stoi, vocabulary.itos, len(vocabulary)
        with warnings.catch_warnings():
            # An array mapped from a file cannot be written to. Nothing here writes to it.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            self.tokens, self.starts = torch.from_numpy(tokens), torch.from_numpy(starts)
        self.device = self.tokens.device

    def to(self, device: torch.device | str) -> "RowDataset":
        """Make `batch` run on `device`. Returns self, as nn.Module.to does."""
        self.device = torch.empty(0, device=device).device  # "cuda" becomes "cuda:0", as tensors call it
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and (value.nbytes <= ON_DEVICE or self.device.type == "cpu"):
                setattr(self, name, value.to(device))
        return self

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """(x, y), each (T,): one row of `batch`, drawn from torch's global generator."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of a dataset of {len(self)} rows")
        x, y = self.batch(torch.tensor([index % len(self)], device=self.device))
        return x[0], y[0]

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """(x, y), each (B, T) int64, for the rows `indices` (B,)."""
        raise NotImplementedError

    def gather(self, indices: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of rows, (B, S) int64, and the lengths (B,) of the rows.

        Entry (i, j) is token number offsets[i, j] of row indices[i].
        indices (B,), offsets (S,) or (B, S). An offset outside its row reads some other token: mask it afterwards.
        """
        rows = indices.to(self.starts.device)
        start, end = self.starts[rows].to(self.device), self.starts[rows + 1].to(self.device)  # (B,) each
        flat = (start[:, None] + offsets).clamp(0, len(self.tokens) - 1)  # (B, S)
        return self.tokens[flat.to(self.tokens.device)].to(self.device).long(), end - start


class CharCorruptionDataset(RowDataset):
    """Span corruption of one-line documents: the pretraining task of the course, a small T5 (arXiv 1910.10683, 3.1.4).

    An example is made from a document in four steps, with fresh draws each time:
      1. Truncate: keep a prefix. By default its length is uniform on 4 .. int(block_size * 7/8), both included. A
         document shorter than the draw is kept whole. It must be a prefix, not a window: a document starts with the
         name that everything after it is about.
      2. Choose the masked span. Its length is random, a quarter of what was kept on average (between 1 and half of
         it). Every position where it fits is equally likely.
      3. Rearrange to   [before] MASK [after] MASK [span]   and fill up with PAD to block_size + 1 characters.
         With `third_mask` a MASK closes the span, as in one edition of the course.
      4. x is all but the last character, y all but the first: at each position the model predicts the next
         character. PAD targets carry no loss.

    data:         documents, one a line; blank lines are ignored. Or documents that are encoded already: a sequence
                  with the attributes tokens, starts and vocabulary, as fast/corpus_file.py maps them from disk.
    min_length, max_length: ends of the draw in step 1. If they are equal, every document is kept as long as possible.
    recall_share: share of the examples that give the name and ask for a fact instead (see `recall`)
    short_by:     x and y have block_size - short_by entries: 1 in the course's older editions
    asked:        characters of questions: those that the text lacks get the token ids after those of the text
    source:       names the text in errors

    Raises ValueError if the text has no document or contains a reserved character, or if block_size is too small.
    """

    def __init__(
        self,
        data: str | Any,
        block_size: int,
        *,
        third_mask: bool = False,
        min_length: int = MIN_TRUNCATED_LENGTH,
        max_length: int | None = None,
        recall_share: float = 0.0,
        short_by: int = 0,
        asked: str = "",
        source: str | Path = "the corpus",
    ):
        max_length = int(block_size * MAX_TRUNCATED_SHARE) if max_length is None else max_length
        if not 1 <= min_length <= max_length or max_length + 2 + third_mask > block_size + 1 - short_by:
            raise ValueError(
                f"block_size {block_size} is too small for prefixes of {min_length} to {max_length} characters "
                f"and {2 + third_mask} masks"
            )
        self.min_length, self.max_length, self.sha256 = min_length, max_length, getattr(data, "sha256", None)
        self.third_mask, self.recall_share, self.short_by = third_mask, recall_share, short_by
        if isinstance(data, str):
            self.data: Sequence[str] = [line for line in data.split("\n") if line.strip()]
            if not self.data:
                raise ValueError(f"{source}: the corpus is empty: no documents")
            for row, document in enumerate(self.data, 1):
                refuse_reserved(document, f"{source}, document {row}")
            vocabulary = Vocabulary.of(data).extended(asked)
            tokens, starts = vocabulary.encode_rows(self.data)
        else:
            self.data, tokens, starts = data, data.tokens, data.starts
            vocabulary = data.vocabulary.extended(asked)
        super().__init__(tokens, starts, vocabulary, block_size)
        self.kinds = kinds_of(vocabulary.characters)  # (V,) what `recall` has to know about tokens

    def settings(self) -> dict[str, Any]:
        """What decides which examples are drawn, for the record of a run."""
        settings = {"min_length": self.min_length, "max_length": self.max_length, "recall_share": self.recall_share}
        return settings | {name: getattr(self, name) for name in ("third_mask", "short_by") if getattr(self, name)}

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """(x, y), each (B, T): the four steps above, for all rows `indices` (B,) at once."""
        position = torch.arange(self.block_size + 1, device=self.device)  # (S,) in the rearranged string
        draws = torch.rand(4, len(indices), 1, generator=generator, device=self.device)  # each in [0, 1)
        text, length = self.gather(indices, position)  # (B, S), (B,)
        # 1. Truncate.
        kept = self.min_length + below(draws[0], self.max_length - self.min_length + 1)  # (B, 1)
        kept = torch.minimum(kept, length[:, None])
        # 2. Choose the span [start, start + span). Uniform on [1, kept/2 - 1] has mean kept/4; rounding up or down at
        #    random keeps that mean for odd lengths. A document of 1, 2 or 3 characters still gives a span of one.
        span = (1 + draws[1] * (kept / 2 - 2) + draws[2]).long()  # (B, 1)
        span = torch.minimum(span.clamp(min=1), kept)
        start = below(draws[3], kept - span + 1)
        # 3. Rearrange. What stands after the span moves left over it, and the span moves to the end.
        second_mask = kept - span + 1  # (B, 1) after what stands before the span, MASK, and what stands after it
        end = kept + 2  # (B, 1) after the masked span
        read_from = torch.where(position < start, position, position - 1 + span)  # (B, S)
        read_from = torch.where(position > second_mask, position - second_mask - 1 + start, read_from)
        is_mask = (position == start) | (position == second_mask)
        if self.third_mask:
            is_mask |= position == end
        string = text.gather(1, read_from.clamp(0, self.block_size))  # (B, S)
        string = string.masked_fill(position >= end, PAD).masked_fill(is_mask, MASK)
        if self.recall_share:
            text, length = self.gather(indices, torch.arange(RECALL_BLOCKS * self.block_size, device=self.device))
            draws = torch.rand(text.shape, generator=generator, device=self.device)  # (B, W)
            chosen = torch.rand(len(indices), generator=generator, device=self.device) < self.recall_share  # (B,)
            example, found = recall(text, length, self.kinds, draws, self.block_size + 1)  # (B, S), (B,)
            string = torch.where((chosen & found)[:, None], example, string)
        # 4. Shift.
        string = string[:, : self.block_size + 1 - self.short_by]
        return string[:, :-1].contiguous(), string[:, 1:].contiguous()  # (B, T) each


def below(draw: Tensor, high: Tensor | int) -> Tensor:
    """Integers uniform on 0 .. high - 1, from draws uniform on [0, 1)."""
    return (draw * high).long().clamp(max=high - 1)  # the clamp guards against rounding up to high


class NameDataset(RowDataset):
    """Questions with their answers, for finetuning: `Where was X born?` MASK `place` MASK, then PAD.

    x is all but the last of the block_size + 1 characters and y all but the first, with y set to PAD until the answer:
    the first target is the MASK that opens the answer, the last is the MASK that closes it. So the loss counts what
    the model answers and not how it would have asked.

    pretraining_dataset: gives vocabulary and block size
    data:                rows `question<TAB>place`, or `question<TAB>A|B`, of which A is learned; `source`: for errors

    Raises ValueError naming the question: no place, a character outside the vocabulary, longer than the block.
    """

    def __init__(self, pretraining_dataset: CharCorruptionDataset, data: str, *, source: str | Path = "the questions"):
        vocabulary, block_size = pretraining_dataset.vocabulary, pretraining_dataset.block_size
        self.entries, self.sha256 = block_size - pretraining_dataset.short_by, getattr(data, "sha256", None)
        self.pairs = parse_places(data, source)  # with all the places of a row
        self.data: list[str] = []
        question_length: list[int] = []
        for row, (question, place) in enumerate(self.pairs, 1):
            where = f"{source}, question {row}"
            if place is None:
                raise ValueError(f"{where}: no tab and no place: training needs the answers")
            if (size := len(question) + len(place := place.split("|")[0]) + 2) > self.entries + 1:
                what = f"{size} characters with masks, the block holds {self.entries + 1}"
                raise ValueError(f"{where}: {what}: set a larger block_size")
            vocabulary.encode(question + place, where)  # refuses characters without a token
            self.data.append(f"{question}{MASK_CHAR}{place}{MASK_CHAR}")
            question_length.append(len(question))
        super().__init__(*vocabulary.encode_rows(self.data), vocabulary, block_size)
        self.question_length = torch.tensor(question_length)  # (rows,)

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """(x, y), each (B, T). Nothing is drawn: the same rows always give the same batch."""
        position = torch.arange(self.entries + 1, device=self.device)  # (S,)
        string, length = self.gather(indices, position)  # (B, S), (B,)
        string = string.masked_fill(position >= length[:, None], PAD)
        is_question = position < self.question_length[indices][:, None]  # (B, S)
        targets = string.masked_fill(is_question, PAD)
        return string[:, :-1].contiguous(), targets[:, 1:].contiguous()  # (B, T) each


class MixedDataset(Dataset):
    """Documents and questions together: for every document, `share` randomly drawn questions.

    A fact that is only ever seen as text is stored, but it is not easy to ask for. A model that meets some facts both
    as text and as questions learns the way from one to the other (arXiv 2309.14316).
    """

    def __init__(self, documents: CharCorruptionDataset, questions: NameDataset, share: float):
        self.documents, self.questions, self.block_size = documents, questions, documents.block_size
        self.n_documents, self.n_questions, self.ignore_index = len(documents), len(questions), documents.ignore_index
        self.n_rows = self.n_documents + round(self.n_documents * share)

    def __len__(self) -> int:
        return self.n_rows

    def to(self, device: torch.device | str) -> "MixedDataset":
        self.documents.to(device)
        self.questions.to(device)
        return self

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """(x, y), each (B, T): a document by its index, a random question for any index beyond."""
        draws = torch.rand(len(indices), generator=generator, device=indices.device)
        document_x, document_y = self.documents.batch(indices.clamp(max=self.n_documents - 1), generator)
        question_x, question_y = self.questions.batch(below(draws, self.n_questions), generator)
        is_document = (indices < self.n_documents)[:, None]  # (B, 1)
        return torch.where(is_document, document_x, question_x), torch.where(is_document, document_y, question_y)


# ------------------------------------------------------------------------------------- asking the text for its facts

OTHER, SPACE, STOP, LETTER, CAPITAL, CASELESS = range(6)  # the kinds of characters that `recall` tells apart
MAX_SHIFT, MAX_CUE = 16, 24  # at most so many masks before an example, and characters of words before the fact


def kinds_of(characters: str) -> Tensor:
    """(V,) the kind of each token, as uint8. A script without case shows no names: each of its words may be a fact."""
    kinds = {" ": SPACE, ".": STOP}
    for char in characters:
        if char.isalpha() or char in "'-":
            caseless = char.isalpha() and char.lower() == char.upper()
            kinds[char] = CASELESS if caseless else CAPITAL if char.isupper() else LETTER
    return torch.tensor([kinds.get(char, OTHER) for char in characters], dtype=torch.uint8)


def recall(text: Tensor, lengths: Tensor, kinds: Tensor, draws: Tensor, S: int) -> tuple[Tensor, Tensor]:
    """Examples that give a name, ask for a fact, and show no other text: strings (B, S), and (B,) which rows have one.

    Not part of the course: the recipes `quick` and `strong` use it. A question shows no text to copy from, so these ask
    the corpus for whatever it says in that way (the spaces beside a MASK are only for reading):

        Walter Altenhof. Walter Altenhof was born in Philadelphia on March 3, 1868.    becomes one of
        Walter Altenhof MASK Philadelphia MASK,   was Walter Altenhof born in MASK Philadelphia MASK,   ...

    The name is the document up to its first full stop. A fact is a run of capitalised words after it, with single
    spaces between them. All runs are equally likely, but the one that opens the sentence after the name is left out: it
    is often the name again. A run that touches the end of the text may have been cut there and does not count. The cue
    is the words before the fact, 0 to MAX_CUE characters of them, and the name stands before one of them or after all.
    Up to MAX_SHIFT masks precede everything, so that the model knows a name wherever it stands.

    text: (B, W) the beginnings of documents; lengths: (B,) of the whole documents; kinds: (V,) from `kinds_of`;
    draws: (B, W) uniform on [0, 1)
    """
    W = text.size(1)
    position = torch.arange(W, device=text.device)  # (W,)
    kind = kinds[text].masked_fill(position >= lengths[:, None], OTHER)  # (B, W)
    letter, space = kind >= LETTER, kind == SPACE
    # The name ends with a full stop that follows two letters, unlike the one in "J. Doe", and precedes a space.
    stop = (kind == STOP) & shifted(letter & shifted(letter, 1), 1) & shifted(space, -1)
    name = stop.int().argmax(dim=1, keepdim=True)  # (B, 1) its length; 0 if there is none

    opens_word = letter & ~shifted(letter, 1)
    word = torch.where(opens_word, position, 0).cummax(dim=1).values  # (B, W) where each word starts
    named, joined = letter & (kind.gather(1, word) >= CAPITAL), letter & (kind.gather(1, word) == CAPITAL)
    run = named | (space & shifted(joined, 1) & shifted(joined, -1))
    # From each position on, the nearest one outside runs, and the nearest that opens a word; W: none.
    nearest = torch.where(torch.stack([~run, opens_word]), position, W).flip(2).cummin(dim=2).values.flip(2)
    ends, words = nearest.unbind()  # (B, W) each
    is_whole = ends < lengths[:, None].clamp(max=W)
    opens = run & ~shifted(run, 1) & (position > name + 2) & is_whole
    start = (draws * opens).argmax(dim=1, keepdim=True)  # (B, 1)

    # No fact opens at the first three positions, so their draws are free for other choices.
    cue = words.gather(1, (start - below(draws[:, 1:2], MAX_CUE + 1)).clamp(min=0)).maximum(name + 2)  # (B, 1)
    split = words.gather(1, (cue + below(draws[:, 2:3], start - cue + 1)).clamp(max=W - 1))  # the name stands before it
    second = split - cue + name  # (B, 1) where what follows the name starts: a space and the rest of the cue,
    mask = second + start - split  # then MASK, the fact, and MASK
    end = mask + 1 + ends.gather(1, start) - start
    found = (name > 0) & opens.any(dim=1, keepdim=True) & (end < S)
    at = torch.arange(S, device=text.device) - below(draws[:, :1], 1 + (S - 1 - end).clamp(0, MAX_SHIFT))  # (B, S)
    source = torch.where(at < second, at - (split - cue), at - second - 1 + split)  # the name; the rest of the cue
    source = torch.where(at < split - cue, cue + at, source)
    source = torch.where(at > mask, at - mask - 1 + start, source)
    string = text.gather(1, source.clamp(0, W - 1))
    is_mask = (at < 0) | (at == mask) | (at == end)
    return string.masked_fill(is_mask, MASK).masked_fill(at > end, PAD), found[:, 0]


def shifted(x: Tensor, by: int) -> Tensor:
    """(B, W) -> (B, W): x moved right by 1 or left by 1 (-1); False comes in at the edge."""
    return F.pad(x, (1, 0))[:, :-1] if by == 1 else F.pad(x, (0, 1))[:, 1:]


def encode_questions(
    questions: list[str], vocabulary: Vocabulary, block_size: int, source: str | Path
) -> tuple[Tensor, Tensor]:
    """Prompts `question MASK` for `GPT.generate`: ids (B, longest) filled up with PAD, lengths (B,), both int64.

    Raises ValueError naming source and question: a character outside the vocabulary, or no room left for an answer.
    """
    prompts = []
    for row, question in enumerate(questions, 1):
        where = f"{source}, question {row}"
        if len(question) + 2 > block_size:
            raise ValueError(
                f"{where}: a question of {len(question)} characters leaves no room for an answer "
                f"in a block of {block_size}"
            )
        prompts.append(torch.tensor([*vocabulary.encode(question, where), MASK]))
    lengths = torch.tensor([len(prompt) for prompt in prompts])  # (B,)
    return torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True, padding_value=PAD), lengths


def evaluate_places(filepath: str | Path, predicted_places: list[str]) -> tuple[int, int]:
    """(total, correct): how many rows the file has, and in how many the prediction is exactly the row's place.

    (0, 0) for a file without places. Raises ValueError unless there is exactly one prediction a row.
    """
    places = [place for _, place in read_places(filepath)]
    if len(predicted_places) != len(places):
        raise ValueError(f"{len(predicted_places)} predictions for the {len(places)} questions of {filepath}")
    if places[0] is None:
        return 0, 0
    return len(places), sum([a in str(b).split("|") for a, b in zip(predicted_places, places, strict=True)])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Print four examples of a dataset, x above y.")
    parser.add_argument("dataset_type", choices=["namedata", "charcorruption"])
    parser.add_argument("--corpus", default="wiki.txt", help="pretraining corpus: gives vocabulary and documents")
    parser.add_argument("--places", default="birth_places_train.tsv", help="questions and places, for namedata")
    parser.add_argument("--third_mask", action="store_true", help="close the masked span with a MASK")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random draws (default 0)")
    args = parser.parse_args(argv)
    try:
        if not 0 <= args.seed < 2**63:
            raise ValueError(f"the seed is {args.seed}: it must be at least 0 and below 2**63")
        torch.manual_seed(args.seed)
        corpus = CharCorruptionDataset(read_corpus(find_file(args.corpus)), 128, third_mask=args.third_mask)
        places = find_file(args.places)
        names = args.dataset_type == "namedata"
        dataset = NameDataset(corpus, read_text(places), source=places) if names else corpus
    except (OSError, ValueError) as error:
        print(f"dataset.py: {printable(message_of(error))}", file=sys.stderr)
        return 2
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a console that lacks a character shows its number
    examples = [zip("xy", dataset[i], strict=True) for i in range(min(4, len(dataset)))]
    decode = corpus.vocabulary.decode
    lines = [f"{name}: {printable(decode(ids.tolist()))}" for example in examples for name, ids in example]
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:  # `head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
    return 0


if __name__ == "__main__":
    sys.exit(main())
