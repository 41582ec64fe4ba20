"""The baseline to beat: "London" for every question, read and scored as the answers of a model are.

python london_baseline.py                                                  # birth_dev.tsv
python london_baseline.py --outputs_path london_baseline_accuracy.txt      # what the edition of 2024 hands in
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from dataset import evaluate_places, find_file, read_places
from safe.exits import say
from safe.files import atomic_write, check_writable
from vocabulary import message_of, printable


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="london_baseline.py", description=__doc__.split("\n")[0])
    parser.add_argument("--eval_corpus_path", help="rows question<TAB>place (default: birth_dev.tsv)", metavar="FILE")
    parser.add_argument("--outputs_path", help="for a line with the accuracy, in percent", metavar="FILE")
    args = parser.parse_args(argv)
    try:
        path = find_file(args.eval_corpus_path or "birth_dev.tsv")
        if args.eval_corpus_path is None:
            say(f"london_baseline.py: the questions of {printable(str(path))}", to_stderr=True)
        total, correct = evaluate_places(path, ["London"] * len(read_places(path)))
        if args.outputs_path is not None:
            if not total:
                raise ValueError(f"{path}: no answers, so that there is no accuracy for {args.outputs_path}")
            check_writable(args.outputs_path, path)
            with atomic_write(args.outputs_path) as file:
                file.write(f"{100 * correct / total}\n".encode())
    except (OSError, ValueError) as error:
        say(f"london_baseline.py: {printable(message_of(error))}", to_stderr=True)
        return 2
    say(f"Correct: {correct} out of {total}: {correct / total:.1%}" if total else "no targets provided")
    return 0


if __name__ == "__main__":
    sys.exit(main())
