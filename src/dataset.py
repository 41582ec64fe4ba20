"""Text in, batches out: the readers, the two datasets of the course, and the scorer.

A character-level model sees a text as integers. `CharCorruptionDataset` turns one-line documents into
span-corruption examples for pretraining; `NameDataset` turns questions with answers into examples for
finetuning; `evaluate_places` counts right answers.

Both datasets keep their text as one flat tensor of token ids plus the offset at which each row starts, and make
a whole batch by tensor arithmetic on the device that holds it. `dataset[i]` is the same code with a batch of one.

Shapes:  B rows of a batch, T = block_size entries of x and of y, S = T + 1 entries of the string both come from.

This module knows no model and chooses no device. Run it to look at examples:
    python src/dataset.py namedata
    python src/dataset.py charcorruption
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from corpus_file import EncodedDocuments, not_utf8, open_documents, refuse_long
from recall import kinds_of, recall
from vocabulary import (
    MASK,
    MASK_CHAR,
    PAD,
    PAD_CHAR,
    encode_rows,
    make_vocabulary,
    message_of,
    printable,
    refuse_reserved,
)

DATA_FOLDER = Path(__file__).resolve().parent.parent / "data"

IN_MEMORY = 64 * 2**20  # bytes up to which a corpus is simply loaded, and leaves no cache behind
ON_DEVICE = 4 * 2**30  # bytes up to which a tensor moves to the device: beside a model on a GPU of 16 GB

MIN_TRUNCATED_LENGTH = 4  # shortest prefix that span corruption keeps, in characters
MAX_TRUNCATED_SHARE = 7 / 8  # longest prefix, as a share of block_size: the rest is room for the masks


# ---------------------------------------------------------------------------------------------------- reading files


def find_file(path: str | Path) -> Path:
    """`path` as the caller wrote it, or inside the project's data folder when it is not where the caller stands."""
    given, fallback = Path(path), DATA_FOLDER / path
    return fallback if fallback.exists() and not given.exists() else given


def read_text(path: str | Path) -> str:
    """The file as text: UTF-8 with or without a byte order mark, every kind of line end read as a newline.

    Raises OSError if it cannot be read, ValueError naming file and line if it is not UTF-8.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path}: Is a directory")
    raw = Path(path).read_bytes()
    try:
        text = raw.decode().removeprefix("\ufeff")  # not "utf-8-sig", whose errors are counted from after the mark
    except UnicodeDecodeError as error:
        raise not_utf8(path, raw.count(b"\n", 0, error.start) + 1, raw[error.start]) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_corpus(path: str | Path, in_memory: int = IN_MEMORY) -> str | EncodedDocuments:
    """The documents of a corpus, one a line, as one text without blank lines; it ends in a newline if the file does
    or not, so that the vocabulary is the same. ValueError if there is no document, or a line of absurd length.

    A file of more than `in_memory` bytes is not loaded: its documents come as token ids on disk (corpus_file.py).
    """
    if Path(path).stat().st_size > in_memory:
        return open_documents(path)
    lines = read_text(path).split("\n")
    for number, line in enumerate(lines, 1):
        refuse_long(len(line), path, number)
    documents = [line for line in lines if line.strip()]
    if not documents:
        raise ValueError(f"{path}: the corpus is empty: no documents")
    return "\n".join(documents) + "\n"


def parse_places(text: str, source: str | Path = "the questions") -> list[tuple[str, str | None]]:
    """(question, place) for every row `question<TAB>place`; place is None in all rows of an unlabelled file.

    Blank lines are dropped. ValueError with source, row and reason for a row that is neither form.
    """
    pairs: list[tuple[str, str | None]] = []
    for row, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        question, *places = (field.strip() for field in line.split("\t"))
        if len(places) > 1:
            raise ValueError(f"{source}, row {row}: {len(places)} tabs where one is expected")
        if not question or places == [""]:
            raise ValueError(f"{source}, row {row}: the {'place' if question else 'question'} is empty")
        place = places[0] if places else None
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

    tokens: (sum of lengths,) in the smallest integer type that holds the vocabulary, so that a corpus of any size
            costs one or two bytes a character
    starts: (rows + 1,) row i is tokens[starts[i]:starts[i + 1]]
    device: where `batch` runs and puts its results; tokens and starts are there too, unless they are too large for it

    Raises ValueError for a character without a token; `where` precedes the row's number in it ("file, question").
    """

    PAD_CHAR, MASK_CHAR = PAD_CHAR, MASK_CHAR

    def __init__(
        self, rows: Sequence[str], stoi: dict[str, int], itos: dict[int, str], block_size: int, where: str
    ):
        self.stoi, self.itos, self.block_size = stoi, itos, block_size
        self.vocab_size = len(stoi)
        self.data = rows
        encoded = isinstance(rows, EncodedDocuments)
        tokens, starts = (rows.tokens, rows.starts) if encoded else encode_rows(rows, stoi, where)
        with warnings.catch_warnings():
            # Of arrays that cannot be written to, as those mapped from a file: nothing here writes to them.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            self.tokens, self.starts = torch.from_numpy(tokens), torch.from_numpy(starts)
        self.device = self.tokens.device

    def to(self, device: torch.device | str) -> "RowDataset":
        """Make `batch` run on `device`, with the tensors that fit there. Returns itself, as nn.Module.to does."""
        self.device = torch.empty(0, device=device).device  # "cuda" becomes "cuda:0", as tensors call it
        with self.data.read_in_order() if isinstance(self.data, EncodedDocuments) else nullcontext():
            for name, value in vars(self).items():
                if isinstance(value, Tensor) and (value.nbytes <= ON_DEVICE or self.device.type == "cpu"):
                    setattr(self, name, value.to(device))
        return self

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """(x, y), each (block_size,): one row of `batch`, drawn from torch's global generator."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of a dataset of {len(self)} rows")
        x, y = self.batch(torch.tensor([index % len(self)], device=self.device))
        return x[0], y[0]

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """(x, y), each (B, block_size) int64, for the rows `indices` (B,), on the device of the dataset."""
        raise NotImplementedError

    def _take(self, values: Tensor, at: Tensor) -> Tensor:
        """values[at] on the device of the dataset. From values on the host only what is asked for moves there."""
        return values[at.to(values.device)].to(self.device)

    def _lengths(self, indices: Tensor) -> Tensor:
        return self._take(self.starts, indices + 1) - self._take(self.starts, indices)  # (B,)

    def _gather(self, indices: Tensor, offsets: Tensor) -> Tensor:
        """tokens[row i][offsets[i, j]] as (B, S) int64; offsets outside the row read some other token."""
        flat = self._take(self.starts, indices)[:, None] + offsets  # (B, S)
        return self._take(self.tokens, flat.clamp_(0, len(self.tokens) - 1)).long()  # (B, S)


class CharCorruptionDataset(RowDataset):
    """Span corruption of one-line documents: the pretraining task of the course, a small T5 (arXiv 1910.10683, 3.1.4).

    An example is made from a document in four steps, with fresh draws every time it is asked for:
      1. Truncate: keep a prefix. Its length is drawn uniformly from 4 .. int(block_size * 7/8), both included; a
         document shorter than the draw is kept whole. (A prefix, never a window: a document starts with the name
         that everything after it is about.)
      2. Choose the masked span: its length is random, a quarter of the kept prefix on average (drawn between 1
         and half the prefix), at least one character, and every place where it fits is equally likely.
      3. Rearrange to   [prefix] MASK [suffix] MASK [masked span]   and fill up with PAD to block_size + 1 characters.
         With `third_mask` a MASK closes the masked span, as one edition of the course has it.
      4. x is all but the last character, y all but the first: at each position the model predicts the next
         character. PAD targets carry no loss.

    vocabulary: PAD = 0, MASK = 1, then the sorted distinct characters of `text`, the newline among them.
    text:       documents, one a line; blank lines are no documents. Or what `read_corpus` makes of a large file.
    min_length, max_length: ends of the draw in step 1. Equal, they keep as much of every document as possible.
    recall_share: of the examples give the name and ask for a fact instead, where a document has both (recall.py)
    source:     names the text in errors

    Raises ValueError if the text has no document or holds a reserved character, or if block_size is too small for
    the longest prefix and its masks.
    """

    def __init__(
        self,
        text: str | EncodedDocuments,
        block_size: int,
        *,
        third_mask: bool = False,
        min_length: int = MIN_TRUNCATED_LENGTH,
        max_length: int | None = None,
        recall_share: float = 0.0,
        source: str | Path = "the corpus",
    ):
        if isinstance(text, EncodedDocuments):
            documents, vocabulary = text, text.vocabulary
        else:
            documents, vocabulary = [line for line in text.split("\n") if line.strip()], make_vocabulary(text)
            if not documents:
                raise ValueError(f"{source}: the corpus is empty: no documents")
            for row, document in enumerate(documents, 1):
                refuse_reserved(document, f"{source}, document {row}")
        stoi = {char: i for i, char in enumerate(vocabulary)}
        self.max_length = int(block_size * MAX_TRUNCATED_SHARE) if max_length is None else max_length
        self.min_length = min_length
        self.third_mask = third_mask
        self.recall_share = recall_share
        if not 1 <= min_length <= self.max_length or self.max_length + 2 + third_mask > block_size + 1:
            raise ValueError(
                f"block_size {block_size} is too small for prefixes of {min_length} to {self.max_length} characters "
                f"and {2 + third_mask} masks"
            )
        super().__init__(documents, stoi, dict(enumerate(vocabulary)), block_size, f"{source}, document")
        self.kinds = kinds_of(vocabulary)  # (V,) what `recall` has to know about tokens

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        draws = torch.rand(4, len(indices), generator=generator, device=self.device)  # (4, B), each in [0, 1)
        length = self._lengths(indices)  # (B,)
        kept = torch.minimum(length, self.min_length + _below(draws[0], self.max_length - self.min_length + 1))
        # Uniform on [1, kept/2 - 1] has mean kept/4; rounding up or down at random keeps that mean for odd lengths.
        span = (1 + draws[1] * (kept / 2 - 2) + draws[2]).long()
        span = torch.minimum(span.clamp(min=1), kept)  # a document of 1, 2 or 3 characters still gives one
        start = _below(draws[3], kept - span + 1)  # every place where the span fits
        x, y = self._arrange(indices, kept, span, start)
        if self.recall_share:
            place = torch.arange(self.block_size + 1, device=self.device).expand(len(indices), -1)  # (B, S)
            draws = torch.rand(place.shape, generator=generator, device=self.device)  # (B, S)
            string, found = recall(self._gather(indices, place), length, self.kinds, draws)  # (B, S), (B,)
            asked = torch.rand(len(indices), generator=generator, device=self.device) < self.recall_share  # (B,)
            instead = (asked & found)[:, None]  # (B, 1)
            x, y = torch.where(instead, string[:, :-1], x), torch.where(instead, string[:, 1:], y)
        return x, y

    def _arrange(self, indices: Tensor, kept: Tensor, span: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Steps 3 and 4 for spans [start, start + span) of prefixes of `kept` characters; all arguments (B,)."""
        kept, span, start = kept[:, None], span[:, None], start[:, None]  # (B, 1)
        place = torch.arange(self.block_size + 1, device=self.device)  # (S,) position in the rearranged string
        second_mask = kept - span + 1  # (B, 1) after the prefix, one MASK and the suffix
        end = kept + 2  # (B, 1) after the masked span
        # Where each position comes from in the document: the suffix moves left over the span, the span to the end.
        offset = torch.where(place < start, place, place - 1 + span)  # (B, S)
        offset = torch.where(place > second_mask, place - second_mask - 1 + start, offset)
        string = self._gather(indices, offset)  # (B, S)
        is_mask = (place == start) | (place == second_mask)
        if self.third_mask:
            is_mask |= place == end
        string = string.masked_fill(place >= end, PAD).masked_fill(is_mask, MASK)
        return string[:, :-1], string[:, 1:]  # (B, T) each


def _below(draw: Tensor, high: Tensor | int) -> Tensor:
    """Integers uniform on 0 .. high - 1 from draws uniform on [0, 1)."""
    return (draw * high).long().clamp(max=high - 1)  # the clamp guards against rounding up to high


class NameDataset(RowDataset):
    """Questions with their answers, for finetuning: `Where was X born?` MASK `place` MASK, then PAD.

    x is all but the last of the block_size + 1 characters and y all but the first, with y set to PAD until the
    answer: the first target is the MASK that opens it, the last the MASK that closes it. So the loss counts
    what the model answers and not how it would have asked.

    pretraining_dataset: gives vocabulary and block size
    text:                rows `question<TAB>place`; `source` names them in errors

    Raises ValueError naming the question: no place, a character outside the vocabulary, longer than the block.
    """

    def __init__(
        self, pretraining_dataset: CharCorruptionDataset, text: str, *, source: str | Path = "the questions"
    ):
        pairs = parse_places(text, source)
        where, block_size = f"{source}, question", pretraining_dataset.block_size
        for row, (question, place) in enumerate(pairs, 1):
            if place is None:
                raise ValueError(f"{where} {row}: no tab and no place: training needs the answers")
            if (size := len(question) + len(place) + 2) > block_size + 1:
                raise ValueError(f"{where} {row}: {size} characters with masks, the block holds {block_size + 1}")
            refuse_reserved(question + place, f"{where} {row}")
        rows = [f"{question}{MASK_CHAR}{place}{MASK_CHAR}" for question, place in pairs]
        super().__init__(rows, pretraining_dataset.stoi, pretraining_dataset.itos, block_size, where)
        self.question_length = torch.tensor([len(question) for question, _ in pairs])  # (rows,)

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        place = torch.arange(self.block_size + 1, device=self.device)  # (S,)
        length = self._lengths(indices)[:, None]  # (B, 1)
        string = self._gather(indices, place).masked_fill(place >= length, PAD)  # (B, S)
        asked = place < self._take(self.question_length, indices)[:, None]  # (B, S)
        return string[:, :-1], string.masked_fill(asked, PAD)[:, 1:]  # (B, T) each


class MixedDataset(Dataset):
    """Documents with questions among them: beside its rows of documents, `share` times as many of random questions.

    Facts that are only ever seen as text are stored without being easy to ask for; meeting some of them as text
    and as questions teaches the model the way from one to the other (arXiv 2309.14316).
    """

    def __init__(self, documents: CharCorruptionDataset, questions: NameDataset, share: float):
        self.documents, self.questions, self.block_size = documents, questions, documents.block_size
        self.n_rows = len(documents) + round(len(documents) * share)

    def __len__(self) -> int:
        return self.n_rows

    def to(self, device: torch.device | str) -> "MixedDataset":
        self.documents.to(device)
        self.questions.to(device)
        return self

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """(x, y), each (B, block_size): documents by their index, any question for an index beyond them."""
        draws = torch.rand(len(indices), generator=generator, device=indices.device)
        documents = self.documents.batch(indices.clamp(max=len(self.documents) - 1), generator)
        questions = self.questions.batch(_below(draws, len(self.questions)), generator)
        is_document = (indices < len(self.documents))[:, None]  # (B, 1)
        x, y = (torch.where(is_document, d, q) for d, q in zip(documents, questions, strict=True))
        return x, y


# ---------------------------------------------------------------------------------------------- asking and scoring


def encode_questions(questions: list[str], stoi: dict[str, int], block_size: int, source: str | Path):
    """Prompts `question MASK` for `GPT.generate`: ids (B, longest) filled up with PAD, lengths (B,), both int64.

    Raises ValueError naming source and question: a character outside the vocabulary, or no room left to answer.
    """
    where = f"{source}, question"
    for row, question in enumerate(questions, 1):
        if len(question) + 2 > block_size:
            raise ValueError(
                f"{where} {row}: a question of {len(question)} characters leaves no room for an answer "
                f"in a block of {block_size}"
            )
        refuse_reserved(question, f"{where} {row}")
    rows = RowDataset([question + MASK_CHAR for question in questions], stoi, {}, block_size, where)
    lengths = rows.starts.diff()  # (B,)
    place = torch.arange(int(lengths.max()))  # (T,)
    ids = rows._gather(torch.arange(len(rows)), place).masked_fill(place >= lengths[:, None], PAD)  # (B, T)
    return ids, lengths


def evaluate_places(filepath: str | Path, predicted_places: list[str]) -> tuple[int, int]:
    """(total, correct): how many rows the file has and in how many the prediction is exactly its place.

    (0, 0) for a file without places. Raises ValueError if there is not exactly one prediction per row.
    """
    places = [place for _, place in read_places(filepath)]
    if len(predicted_places) != len(places):
        raise ValueError(f"{len(predicted_places)} predictions for the {len(places)} questions of {filepath}")
    if places[0] is None:
        return 0, 0
    return len(places), sum(guess == place for guess, place in zip(predicted_places, places, strict=True))


# ---------------------------------------------------------------------------------------------------- demonstration


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Print four examples of a dataset, x above y.")
    parser.add_argument("dataset_type", choices=["namedata", "charcorruption"])
    parser.add_argument("--corpus", default="wiki.txt", help="pretraining corpus: gives vocabulary and documents")
    parser.add_argument("--places", default="birth_places_train.tsv", help="questions and places, for namedata")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        if not 0 <= args.seed < 2**63:
            raise ValueError(f"the seed is {args.seed}: it must be at least 0 and below 2**63")
        torch.manual_seed(args.seed)
        corpus = CharCorruptionDataset(read_corpus(find_file(args.corpus)), block_size=128)
        places = find_file(args.places)
        dataset = corpus if args.dataset_type == "charcorruption" else NameDataset(
            corpus, read_text(places), source=places
        )
    except (OSError, ValueError) as error:
        print(f"dataset.py: {printable(message_of(error))}", file=sys.stderr)
        return 2
    sys.stdout.reconfigure(errors="backslashreplace")  # a console that lacks a character shows its code
    for i in range(min(4, len(dataset))):
        for name, ids in zip("xy", dataset[i], strict=True):
            print(f"{name}: {printable(''.join(dataset.itos[int(t)] for t in ids))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
