"""A few thousand inputs of tests/fuzz.py, where its package is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")


def test_a_few_thousand_inputs_are_accepted_or_refused(tmp_path):
    pytest.importorskip("atheris")
    done = subprocess.run([sys.executable, FUZZ, "2500"], cwd=tmp_path, capture_output=True, text=True)
    print(done.stdout + done.stderr)
    assert done.returncode == 0
    assert done.stdout.count(" 0 failures") == done.stdout.count("\n") == 7
