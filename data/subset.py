"""Some of the people of a corpus with their questions, for a laptop: writes the four files of a smaller task.

    python data/subset.py course-files small --train 300 --dev 60
    DATA_DIR=small ./run.sh quick --block_size 80       # printed by this program, with the block that the data need

The files must belong together as the course's do: row i of the corpus is about the person of question i, the training
questions first, then dev, then test.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from dataset import read_corpus, read_places

FILES = {"train": "birth_places_train.tsv", "dev": "birth_dev.tsv", "test": "birth_test_inputs.tsv"}


def name_of(question: str) -> str:
    return question.removeprefix("Where was ").removesuffix(" born?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the four files")
    parser.add_argument("target", type=Path, help="folder to make")
    parser.add_argument("--train", type=int, default=300, help="people to train on (default 300)")
    parser.add_argument("--dev", type=int, default=60, help="people to ask about (default 60)")
    parser.add_argument("--test", type=int, default=60, help="people whose places nobody knows (default 60)")
    args = parser.parse_args()
    try:
        lines = read_corpus(args.source / "wiki.txt").split("\n")
        rows = {part: read_places(args.source / name) for part, name in FILES.items()}
        args.target.mkdir(parents=True, exist_ok=False)
    except (OSError, ValueError) as error:
        sys.exit(f"subset.py: {error}")
    first, documents, longest, ends = 0, [], 0, [0]
    for part, pairs in rows.items():
        chosen = pairs[: getattr(args, part)]
        for i, (question, place) in enumerate(chosen):
            document = lines[first + i]
            if name_of(question) not in document:
                sys.exit(f"subset.py: row {first + i + 1} of the corpus is not about {name_of(question)}")
            documents.append(document)
            longest = max(longest, len(question) + len(place or "") + 2)
            if place and place in document:
                ends.append(document.index(place) + len(place))
        text = "".join([f"{question}\t{place}\n" if place else f"{question}\n" for question, place in chosen])
        (args.target / FILES[part]).write_text(text, encoding="utf-8", newline="\n")
        first += len(pairs)
    # The characters of all questions must occur in the corpus, or the model would have no token for them.
    asked = {
        char for part, pairs in rows.items() for row in pairs[: getattr(args, part)] for char in "".join(map(str, row))
    }
    for char in sorted(asked - set("".join(documents))):
        documents += [next(line for line in lines if char in line)]
    (args.target / "wiki.txt").write_text("\n".join(documents) + "\n", encoding="utf-8", newline="\n")
    # The block holds every question, and in nine of ten documents what is asked for, which is an eighth shorter.
    block = -(-max(longest, sorted(ends)[int(0.9 * len(ends))] * 8 // 7) // 16) * 16
    print(f"{args.target}: {len(documents)} people. To train on them:")
    print(f"DATA_DIR={args.target} ./run.sh quick --block_size {block}")


if __name__ == "__main__":
    main()
