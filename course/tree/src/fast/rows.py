"""In this tree tokens are generated as src/model.py says: without a cache of keys and values."""

from typing import Any


def CachedReader(model: Any) -> None:
    """The reader that `GPT.generate` uses: None means `next_logits`."""
