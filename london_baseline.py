"""The baseline to beat: "London" for every question, read and scored as the answers of a model are."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from dataset import evaluate_places, find_file, read_places
from vocabulary import message_of, printable

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--eval_corpus_path", required=True, help="rows question<TAB>place", metavar="FILE")
try:
    path = find_file(parser.parse_args().eval_corpus_path)
    total, correct = evaluate_places(path, ["London"] * len(read_places(path)))
except (OSError, ValueError) as error:
    sys.exit(print(f"london_baseline.py: {printable(message_of(error))}", file=sys.stderr) or 2)
print(f"Correct: {correct} out of {total}: {correct / total:.1%}" if total else "no targets provided")
