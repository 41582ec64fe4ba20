"""Handouts keep london_baseline.py in this folder: this runs the one above it."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).resolve().parent.parent / "london_baseline.py"), run_name="__main__")
