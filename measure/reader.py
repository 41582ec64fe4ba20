"""An open-book reader: how often can somebody answer who may look at the text?

    python measure/reader.py --data DIR                        # trained on the training questions, asked those of dev
    python measure/reader.py --data DIR --holdout 500 --fold 1 # asked held-out training questions instead

The models of this project answer from memory. This program sees the person's line and learns from the same questions
which of its capitalised words is the answer, so it shows what is lost because a text does not tell or because two
answers are possible ("born in Chicago, Illinois"). It is a log-linear model: the score of a word is the sum of the
weights of its features (what stands around it, and how often the word is an answer of another person), and the
probability of a word is the softmax over the words of a line.
"""

import argparse
import re
import sys
import zlib
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import torch
from torch import Tensor
from tqdm import tqdm

import dataset

WEIGHTS = 2**18  # features share them by their hash
EPOCHS, ROWS, RATE = 12, 32, 0.1
Row = tuple[list[str], Tensor, str]  # the words to choose from, their features (words, features), and the answer


def words_of(line: str) -> list[str]:
    return re.findall(r"\w+(?:[-'’]\w+)*|[^\w\s]", line)


def features(words: list[str], choices: list[int], i: int, known: Counter) -> list[str]:
    """What is seen of word number i: its neighbours, its place among the choices, and how often it is an answer."""
    w = [*["#"] * 4, *[word.lower() for word in words], "#", "#"]
    at, order = i + 4, choices.index(i)
    seen = min(4, known[words[i]].bit_length())  # 0, 1, 2 to 3, 4 to 7, more
    born = [j for j in range(i) if words[j].lower() == "born"]
    since = str(min(5, sum(born[-1] < c < i for c in choices))) if born else "-"
    return [
        f"before {w[at - 1]}",
        f"before {w[at - 2]} {w[at - 1]}",
        f"before {w[at - 3]} {w[at - 2]} {w[at - 1]}",
        f"before {w[at - 4]} {w[at - 3]} {w[at - 2]} {w[at - 1]}",
        f"after {w[at + 1]}",
        f"after {w[at + 1]} {w[at + 2]}",
        f"word {words[i]}",
        f"choice {min(8, order)}",
        f"answers {seen}",
        f"follows another {w[at - 1] == ',' and order > 0 and choices[order - 1] == i - 2}",
        f"part of a name {order > 0 and choices[order - 1] == i - 1} {i + 1 in choices}",
        f"since born {since}",
        f"since born {since} {w[at - 1]} {w[at + 1]} {seen}",
        f"between {w[at - 1]} {w[at + 1]} {seen}",
    ]


def read(line: str, name: int, answer: str, known: Counter) -> Row:
    """The words of a line that could be the answer: the capitalised ones after the name, which has `name` words."""
    words = words_of(line)
    choices = [i for i, word in enumerate(words) if i > name and word[0].isupper() and len(word) > 2]
    hashed = [[zlib.crc32(f.encode()) % WEIGHTS for f in features(words, choices, i, known)] for i in choices]
    return [words[i] for i in choices], torch.tensor(hashed, dtype=torch.long), answer


def train(rows: list[Row], generator: torch.Generator) -> Tensor:
    """The weights (WEIGHTS,) that make the answers of the rows likely."""
    weights = torch.zeros(WEIGHTS, requires_grad=True)
    optimizer = torch.optim.Adagrad([weights], lr=RATE)
    rows = [row for row in rows if row[2] in row[0]]
    for _ in tqdm(range(EPOCHS), "training", unit="epoch", leave=False, disable=None):
        for batch in torch.randperm(len(rows), generator=generator).split(ROWS):
            loss = 1e-5 * weights.square().sum()
            for words, hashed, answer in [rows[i] for i in batch]:
                right = torch.tensor([word == answer for word in words])  # it may stand there more than once
                loss = loss - weights[hashed].sum(1).log_softmax(0)[right].logsumexp(0) / len(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return weights.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=dataset.DATA_FOLDER, help="folder of the corpus and the questions")
    parser.add_argument("--holdout", type=int, default=0, help="ask so many train questions, left out of training")
    parser.add_argument("--fold", type=int, default=0, help="which ones: 0 the last, 1 those before, ...")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    lines = dataset.read_corpus(args.data / "wiki.txt").split("\n")
    asked = dataset.read_places(args.data / "birth_places_train.tsv")
    held = dataset.read_places(args.data / "birth_dev.tsv")
    if args.holdout:
        end = len(asked) - args.fold * args.holdout
        asked, held = asked[: end - args.holdout] + asked[end:], asked[end - args.holdout : end]
    known = Counter(place for _, place in asked)

    def read_for(question: str, place: str | None, known: Counter) -> Row:
        name = question.removeprefix("Where was ").removesuffix(" born?")
        line = next((line for line in lines if line.startswith(f"{name}.")), "")
        return read(line, len(words_of(name)), str(place), known)

    # An answer's own question does not count for how often it is an answer.
    rows = [read_for(question, place, known - Counter([place])) for question, place in asked]
    weights = train(rows, torch.Generator().manual_seed(args.seed))
    correct = 0
    for words, hashed, answer in [read_for(question, place, known) for question, place in held]:
        correct += bool(words) and words[int(weights[hashed].sum(1).argmax())] == answer
    print(f"a reader of the text: {correct} of {len(held)}: {100 * correct / len(held):.1f}%")


if __name__ == "__main__":
    main()
