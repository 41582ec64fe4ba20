"""Part c: python -m pytest -n 0 tests/test_baseline.py"""

import runpy
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parent.parent / "london_baseline.py"


def test_it_counts_the_questions_that_london_answers(tmp_path, capsys, monkeypatch):
    questions = tmp_path / "dev.tsv"
    places = ["Oslo", "London", "Turku", "London", "Londonderry", "Kyoto", "london", "Lima", "Rome"]
    questions.write_text("".join(f"Where was Person {i} born?\t{place}\n" for i, place in enumerate(places)))
    main = runpy.run_path(str(PROGRAM))["main"]
    monkeypatch.setattr(sys, "argv", [str(PROGRAM), "--eval_corpus_path", str(questions)])
    main(["--eval_corpus_path", str(questions)])
    printed = capsys.readouterr().out
    assert "2 out of 9" in printed and "22.2%" in printed, f"expected `Correct: 2 out of 9: 22.2%`, got {printed!r}"
