"""In this tree you write into the modules of src: `--modules` is not offered."""

from safe.exits import fail


def main(words: list[str]) -> None:
    raise SystemExit(fail("--modules is not offered here: write into the modules of src"))
