"""Recipes: a model's sizes and how to train it, as one table. The command line takes them by name."""

from dataclasses import dataclass, field, replace
from typing import Any

SIZES = {
    "n_layer": "number of blocks",
    "n_head": "attention heads of a block",
    "n_embd": "channels of the residual stream",
    "block_size": "longest sequence, in tokens",
}


@dataclass(frozen=True)
class Stage:
    """One training stage.

    The cosine of the learning rate lasts `schedule_epochs` passes over the pretraining documents, as the course counts
    them, or, with None, exactly as long as the stage. `optimizer` None means the recipe's.
    """

    max_epochs: int
    batch_size: int
    learning_rate: float
    schedule_epochs: int | None = None
    warmup_tokens: int = 512 * 20
    optimizer: str | None = None


@dataclass(frozen=True)
class Recipe:
    """A model and how to train it. `course` is the handout of 2024; the others say what they change and why."""

    pretrain: Stage
    finetune: Stage  # after pretraining
    scratch: Stage  # finetuning without pretraining
    refine: Stage | None = None  # finetuning after pretraining that included the questions; None: as `finetune`
    model: dict[str, Any] = field(default_factory=lambda: dict(n_layer=4, n_head=8, n_embd=256, block_size=128))
    max_kept_share: float = 7 / 8  # longest prefix of a document in span corruption, as a share of the block
    third_mask: bool = False  # does a MASK close the masked span?
    short_by: int = 0  # x and y have block_size minus so many entries
    counts_last_line: bool = False  # is the empty line at the end of the corpus a document for `schedule_epochs`?
    min_kept_share: float = 0.0  # shortest prefix, as a share of the longest
    recall_share: float = 0.0  # share of the documents' examples that give the name and ask for a fact
    question_share: float = 0.0  # questions mixed into pretraining, for each document, where their file is given
    optimizer: str = "adamw"  # see TrainerConfig, also for the next three
    weight_decay: float = 0.1
    decay_gains_and_embeddings: bool = False
    min_lr_share: float = 0.1
    dtype: str = "tf32"  # of matrix products on a GPU; elsewhere, and for everything that is stored, float32


# The peak rate comes at once, because 512 * 20 tokens of warmup are fewer than a batch holds. An oversight lets the
# model recover from that: LayerNorm gains and embeddings decay, too. Otherwise it answers 0.7% (RESULTS.md).
COURSE = Recipe(
    pretrain=Stage(max_epochs=650, batch_size=128, learning_rate=6e-3, schedule_epochs=650),
    finetune=Stage(max_epochs=10, batch_size=256, learning_rate=6e-4, schedule_epochs=200),
    scratch=Stage(max_epochs=75, batch_size=256, learning_rate=6e-4, schedule_epochs=200),
    decay_gains_and_embeddings=True,
)

RECIPES = {
    "course": COURSE,
    # The handout of 2021: entries of x and y, schedule, and number of documents as its code has them.
    "course-2021": replace(
        COURSE, pretrain=replace(COURSE.pretrain, schedule_epochs=200), short_by=1, counts_last_line=True
    ),
    # The edition for professionals (XCS224N): shorter prefixes, and a MASK after the masked span.
    "course-xcs": replace(COURSE, max_kept_share=3 / 4, third_mask=True, short_by=1, counts_last_line=True),
    # A model that learns a few hundred people within minutes on two CPU cores. Its warmup really happens, documents
    # are hardly truncated, half of the examples ask for a fact, and the training questions are part of pretraining.
    "quick": Recipe(
        # With dropout on the attention weights there is no fused kernel on a CPU, and a step takes 1.5 times as long.
        model=dict(n_layer=3, n_head=4, n_embd=96, block_size=64, attn_pdrop=0.0),
        pretrain=Stage(max_epochs=200, batch_size=24, learning_rate=6e-3, warmup_tokens=400_000),
        finetune=Stage(max_epochs=10, batch_size=32, learning_rate=3e-4),
        scratch=Stage(max_epochs=75, batch_size=32, learning_rate=6e-4),
        min_kept_share=1.0,
        recall_share=0.5,
        question_share=1 / 3,
        optimizer="muon",
    ),
    # What the same model can know after the same number of steps. Muon moves rare facts as far as common ones. The
    # warmup happens and the rate ends at zero. At least half of what the block can hold of a document is shown.
    # Questions and facts are asked as in `quick`. RESULTS.md says what each ingredient is worth.
    "strong": Recipe(
        model=dict(n_layer=4, n_head=8, n_embd=256, block_size=128, attn_pdrop=0.0),
        pretrain=Stage(max_epochs=650, batch_size=128, learning_rate=6e-3, warmup_tokens=10_000_000),
        finetune=Stage(max_epochs=20, batch_size=256, learning_rate=3e-4, optimizer="adamw"),
        refine=Stage(max_epochs=2, batch_size=256, learning_rate=1e-4),
        scratch=Stage(max_epochs=75, batch_size=256, learning_rate=6e-4),
        max_kept_share=126 / 128,
        min_kept_share=0.5,
        recall_share=0.65,
        question_share=1 / 4,
        optimizer="muon",
        weight_decay=0.3,
        min_lr_share=0.0,
        dtype="bf16",
    ),
}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises ValueError with the choices if there is none."""
    if name not in RECIPES:
        raise ValueError(f"no recipe {name!r}: choose from {', '.join(RECIPES)}")
    return RECIPES[name]


def override(stage: Stage, **given: Any) -> Stage:
    """The stage with those of the given values that are not None."""
    return replace(stage, **{name: value for name, value in given.items() if value is not None})
