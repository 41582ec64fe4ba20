"""The parts of the assignment: which functions a student writes, in which edition, for how many points.

This is the only list. make.py takes the bodies of these functions out of the student's tree. A name that the code does
not have is an error, so the list cannot go stale.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gap:
    """A function that the student writes: it keeps its signature and its docstring."""

    path: str  # of the file in the project
    function: str  # `function` or `Class.method`
    instead: str = ""  # file in course/ whose class body replaces the function, where an empty body is not enough


@dataclass(frozen=True)
class Part:
    topic: str  # tests/test_TOPIC.py in the student's tree checks it
    gaps: tuple[Gap, ...]


ATTENTION, EFFICIENT, MODEL = "src/attention.py", "src/efficient_attention.py", "src/model.py"

PARTS = {
    part.topic: part
    for part in [
        Part("baseline", (Gap("london_baseline.py", "main"),)),
        Part("span", (Gap("src/dataset.py", "CharCorruptionDataset.batch", instead="by_row.py"),)),
        Part("rope", (Gap(ATTENTION, "precompute_rotary_emb"), Gap(ATTENTION, "apply_rotary_emb"))),
        Part("synthesizer", (Gap(ATTENTION, "SynthesizerAttention.attend"),)),
        Part(
            "perceiver",
            (
                Gap(ATTENTION, "CausalCrossAttention.forward"),
                Gap(MODEL, "DownProjectBlock.forward"),
                Gap(MODEL, "UpProjectBlock.forward"),
            ),
        ),
        Part("sinusoidal", (Gap(ATTENTION, "sinusoidal_positions"),)),
        Part("linformer", (Gap(EFFICIENT, "LinformerAttention.attend"),)),
        Part("bigbird", (Gap(EFFICIENT, "bigbird_pattern"), Gap(EFFICIENT, "BigBirdAttention.attend"))),
        Part("performer", (Gap(EFFICIENT, "random_features"), Gap(EFFICIENT, "causal_linear_attention"))),
    ]
}

BASELINE, SPAN, MECHANISM, OPTIONAL = "c", "e", "g", "h"  # the letters of the handout under which code is written
POINTS = {"a": 0, "b": 5, BASELINE: 5, "d": 15, SPAN: 20, "f": 20, MECHANISM: 25, "w": 10}  # w: the written questions
EXTRA_POINTS = 5  # for each optional mechanism
EDITIONS = ("synthesizer", "perceiver", "rope")  # each is named after the mechanism of part g

# Lines of a solution that are no secret, because given code has the same line.
SHARED = {
    "return self.resid_drop(self.proj(y))",
    "return x + self.mlp(self.ln2(x))",
    "except (OSError, ValueError) as error:",
    "args = parser.parse_args(argv)",
}


def letters(edition: str) -> dict[str, str]:
    """The letter of each topic in an edition. The mechanisms of the other editions are optional parts of this one."""
    if edition not in EDITIONS:
        raise ValueError(f"no edition {edition!r}: choose from {', '.join(EDITIONS)}")
    given = {"baseline": BASELINE, "span": SPAN, edition: MECHANISM}
    return {topic: given.get(topic, OPTIONAL) for topic in PARTS}
