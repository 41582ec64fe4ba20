"""How a training stage is run: each field of `Running` is a flag of the command line.

Free of torch, so that `run.py --help` answers at once.
"""

from dataclasses import dataclass, field, fields
from typing import Any

from recipes import Stage, override



def flag(default: Any, group: str, about: str, **more: Any) -> Any:
    """A field of Running that is a flag of the command line as well."""
    return field(default=default, metadata={"group": group, "help": about, **more})


@dataclass(frozen=True, kw_only=True)
class Running:
    """How a training stage is run. What it learns is up to its recipe."""

    max_epochs: int | None = flag(None, "training", "passes over the rows (default: the recipe's)", type=int)
    batch_size: int | None = flag(
        None, "training", "documents or questions in a step (default: the recipe's; mixed-in questions come on top)", type=int
    )
    seed: int = flag(0, "training", "seed for initialisation, dropout, data order and corruption (default 0)", type=int)
    resume: bool = flag(False, "training", "continue the unfinished run, if there is one")
    overwrite: bool = flag(False, "training", "discard the unfinished run and start again")
    checkpoint_every: float = flag(
        60, "training", "seconds between checkpoints; 0 saves after each step (default 60)", type=float, metavar="SECONDS"
    )
    tb_expt_name: str | None = flag(None, "training", "log to TensorBoard as well, under expt/NAME", metavar="NAME")
    plain: bool = flag(False, "speed", "run exactly the code of src/*.py, without the optimisations of src/fast")
    dtype: str | None = flag(
        None, "speed", "precision of matrix products on a GPU (default: the recipe's)", choices=("float32", "tf32", "bf16")
    )
    compile: str = flag("auto", "speed", "compile the model; auto: if the run is long enough", choices=("on", "off", "auto"))
    deterministic: bool = flag(False, "speed", "compute the same bits every time on a GPU too, a little more slowly")
    shard: bool = flag(False, "speed", "divide the model among the processes of torchrun; leaves no checkpoints")
    device: str | None = flag(None, "speed", "cuda, mps or cpu (default: the first of these that is there)")

    @classmethod
    def split(cls, options: dict[str, Any]) -> tuple["Running", dict[str, Any]]:
        """The options that are fields here, as a Running, and the others."""
        own = {field.name for field in fields(cls)} & options.keys()
        return cls(**{name: options[name] for name in own}), {k: v for k, v in options.items() if k not in own}

    def of(self, stage: Stage, learning_rate: float | None) -> Stage:
        """The stage with what the caller wants changed."""
        return override(stage, learning_rate=learning_rate, max_epochs=self.max_epochs, batch_size=self.batch_size)
