"""The parts of the assignment: which functions a student writes, in which edition, for how many points.

This is the only list. make.py takes the bodies of these functions out of the student's tree, and grading.py sends their
calls to the student's code. A name that the code does not have is an error, so the list cannot go stale.

Tests are named by topic: tests/test_TOPIC.py of the student's tree is public, autograder_tests/test_TOPIC.py is hidden.
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
    topic: str
    gaps: tuple[Gap, ...]
    seconds: int = 60  # for the student's code in all tests of the part


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


# ---------------------------------------------------------------------------------------------------------- grading

TRAINING = "training"  # topic of the hidden tests of given code: what part d trains on, and how
MEGABYTES = 380  # of data that the student's code may hold in memory; torch alone takes 230
SHARES = {"public": 0.4, "hidden": 0.6}  # of the points for code
VISIBILITY = {"public": "visible", "hidden": "after_due_date", "predictions": "visible", "accuracy": "after_due_date"}
ONLY_HERE = {"an odd number of channels is refused", "a table for each row is taken"}  # not asked for in older editions

# Tests that an empty solution passes too, such as one that returns its input, and the test without which each is worth
# nothing. `COURSE_KIT=1 ./run.sh test tests/test_grade.py` tries empty solutions.
NEEDS = {
    "baseline": {"it counts the questions that london answers": "it counts other files"},
    "span": dict.fromkeys(
        ("x and y are rows of token ids and y is x moved by one", "what follows the example is padding")
        + ("examples are drawn anew each time", "padding and masks are the tokens 0 and 1"),
        "the pieces make a prefix of the document",
    ),
    "rope": {"an odd number of channels is refused": "the table holds cosine and sine of every angle"}
    | dict.fromkeys(
        ("a short sequence uses the first rows of a longer table", "scores depend on the distance only")
        + ("a table for each row is taken",)
        + ("a model computes logits and a loss", "a rotation keeps lengths and the first token", "gradients flow"),
        "every pair of channels is turned by the angle of its position",
    ),
    "synthesizer": dict.fromkeys(
        ("nothing looks ahead", "a whole block is read"), "a head is softmax of relu times w2 plus b2"
    ),
    "perceiver": {"a latent is its basis plus attention plus an mlp": "latent i reads the tokens 0 to i"}
    | dict.fromkeys(
        ("tokens are kept when attention and mlp add nothing", "a model looks at nothing ahead"),
        "token t reads the latents 0 to t",
    ),
    "sinusoidal": dict.fromkeys(
        ("positions of any shape are taken", "a model adds them to what tokens are"), "every entry follows the formula"
    ),
    "bigbird": {
        "the random blocks follow from the seed": "a block sees its window the first blocks and random ones before it"
    },
    "performer": {"scaling cancels in the quotient": "the features estimate the kernel"},
}
BY_HAND = {
    "b": "b (questions about NameDataset)",
    "h": "of h the reports on leaderboard and calibration",
    "w": "w (written questions)",
}


@dataclass(frozen=True)
class HandIn:
    """Predictions that are handed in with the parameters that made them, and what each half of them is worth."""

    letter: str
    variant: str
    kind: str  # "nopretrain" or "pretrain"
    each: int  # points for complete predictions that belong to the parameters: dev, and again test
    accuracy: int  # points for an accuracy on test above the floor

    @property
    def parameters(self) -> str:
        return f"{self.variant}.{'model' if self.kind == 'nopretrain' else 'finetune'}.params"

    def predictions(self, split: str) -> str:
        return f"{self.variant}.{self.kind}.{split}.predictions"


# The floor is the share of London among the answers, plus so many standard deviations of a share of that size. What
# seeds of the recipe `course` reach is in docs/results.md: the synthesizer from 7.6% on, the perceiver from 3.2% on.
FLOORS = {"synthesizer": 0, "perceiver": -3}
FLOOR = 3  # of the other variants
LARGEST_LEAD = 15  # percent points by which dev may exceed test: the answers of dev are public, those of test are not
ASKED_AGAIN = 16  # questions that the parameters are asked again, of dev and of test together


def hand_ins(edition: str) -> list[HandIn]:
    return [
        HandIn("d", "vanilla", "nopretrain", 5, 0),
        HandIn("f", "vanilla", "pretrain", 5, 10),
        HandIn(MECHANISM, edition, "pretrain", 1, 3),
    ]


def points_for_code(edition: str) -> dict[str, int]:
    """The points of each topic for what its tests find; the rest of a part's points is for predictions."""
    found = {topic: POINTS.get(letter, EXTRA_POINTS) for topic, letter in letters(edition).items()} | {TRAINING: 5}
    return found | {edition: POINTS[MECHANISM] - 5}
