"""In this tree every training step is the one that stands in src/trainer.py, with `--plain` and without it."""

fastest = None
