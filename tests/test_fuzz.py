"""A few thousand inputs of measure/fuzz.py, if the package atheris is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parent.parent / "measure" / "fuzz.py"


def test_a_few_thousand_strange_inputs_are_accepted_or_refused_in_one_line(tmp_path):
    pytest.importorskip("atheris")
    done = subprocess.run([sys.executable, FUZZ, "2500"], cwd=tmp_path, capture_output=True, text=True)
    print(done.stdout + done.stderr)
    assert done.returncode == 0
    assert done.stdout.count(" 0 failures") == done.stdout.count("\n") == 10
