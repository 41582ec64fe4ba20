"""How a training stage is run: each field of `Running` is a flag of the command line. Free of torch."""

from dataclasses import dataclass, field, fields
from typing import Any

from recipes import Stage, override

HOW, SPEED = "how to train", "speed and memory"  # groups of flags in --help
DTYPES, COMPILE = ("float32", "tf32", "bf16"), ("on", "off", "auto")


def flag(default: Any, group: str, about: str, **more: Any) -> Any:
    """A field of Running that is a flag of the command line as well."""
    return field(default=default, metadata={"group": group, "help": about, **more})


@dataclass(frozen=True, kw_only=True)
class Running:
    """How a training stage is run. The rest is up to its recipe."""

    max_epochs: int | None = flag(None, HOW, "passes over the rows (default: the recipe's)", type=int, metavar="N")
    batch_size: int | None = flag(None, HOW, "rows in a step, without mixed-in questions", type=int, metavar="N")
    seed: int = flag(0, HOW, "seed for initialisation, dropout, data order and corruption (default 0)", type=int)
    resume: bool = flag(False, HOW, "continue the unfinished run, if there is one")
    overwrite: bool = flag(False, HOW, "replace what is there: an unfinished run, or finished parameters")
    checkpoint_every: float = flag(60, HOW, "seconds between checkpoints, 0: each step (default 60)", type=float)
    tb_expt_name: str | None = flag(None, HOW, "log to TensorBoard too, in expt/STAGE/NAME_VARIANT", metavar="NAME")
    plain: bool = flag(False, SPEED, "compute each step as src/trainer.py and model.py are written, without src/fast")
    dtype: str | None = flag(
        None, SPEED, "precision of matrix products on a GPU (default: the recipe's)", choices=DTYPES
    )
    compile: str = flag("auto", SPEED, "compile the model (auto: if the run is long enough)", choices=COMPILE)
    deterministic: bool = flag(False, SPEED, "compute the same bits every time on a GPU too, a little more slowly")
    shard: bool = flag(False, SPEED, "divide the model among the processes of torchrun")
    device: str | None = flag(None, SPEED, "cuda, mps or cpu (default: the first of these that is there)")

    @classmethod
    def split(cls, options: dict[str, Any]) -> tuple["Running", dict[str, Any]]:
        """The options that are fields here, as a Running, and the others."""
        own = {field.name for field in fields(cls)} & options.keys()
        return cls(**{name: options[name] for name in own}), {k: v for k, v in options.items() if k not in own}

    def changed(self, stage: Stage, learning_rate: float | None) -> Stage:
        """The stage with what the caller wants changed. A warmup and a schedule that end with the stage go with it."""
        warmup = stage.warmup_tokens
        if self.max_epochs is not None and stage.schedule_epochs is None:
            warmup = round(warmup * self.max_epochs / stage.max_epochs)
        given = dict(learning_rate=learning_rate, max_epochs=self.max_epochs, batch_size=self.batch_size)
        return override(stage, **given, warmup_tokens=warmup)
