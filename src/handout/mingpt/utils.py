"""Seeds and sampling as the notebooks of minGPT call them."""

from utils import sample, set_seed, top_k_logits

__all__ = ["sample", "set_seed", "top_k_logits"]
