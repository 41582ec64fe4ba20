"""The notebooks run to their end, their results support their text, and the committed outputs are clean.

To execute all notebooks, or those named, at full length (minutes) and save them with their outputs:
    python tests/test_notebooks.py [NAME ...]
"""

import base64
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "mingpt-demo"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
FIGURES = {"play_char": 1, "attention_exploration": 7, "efficient_attention": 5, "knowledge": 5}

# Folders in which machines keep homes, checkouts and interpreters. No notebook should show one.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|Users|root|tmp|work|mnt|media|opt|usr|var|private)/|[A-Za-z]:\\\\?\w")


def load(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def execute(notebook: nbformat.NotebookNode, folder: Path = FOLDER, timeout: int = 120) -> None:
    """Run all cells in place, in a fresh kernel that starts in `folder`. Raises at the first cell that fails."""
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=timeout, kernel_name="python3", record_timing=False, resources=resources).execute()


def results(name: str, wanted: dict[str, str], steps: int | None = None) -> dict:
    """Execute the notebook with STEPS set to `steps`. Returns the values of the expressions `wanted` at its end."""
    notebook = load(name)
    if steps is not None:
        (cell,) = (cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", []))
        cell.source, found = re.subn(r"(?m)^STEPS = \d+", f"STEPS = {steps}", cell.source)
        assert found == 1, "the settings must have exactly one line STEPS = ..."
    table = ", ".join(f"{key!r}: {expression}" for key, expression in wanted.items())
    show = f"import json\nprint(json.dumps({{{table}}}, default=lambda tensor: tensor.tolist()))"
    notebook.cells.append(nbformat.v4.new_code_cell(show))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # models this small lose more to waiting for threads than they gain
        execute(notebook)
    assert len(images(notebook)) == FIGURES[name]
    return json.loads(printed(notebook.cells[-1]))


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")


def has_figure(cell: nbformat.NotebookNode) -> bool:
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def images(notebook: nbformat.NotebookNode) -> list[bytes]:
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return [base64.b64decode(o.data["image/png"]) for o in outputs if "image/png" in o.get("data", {})]


# ------------------------------------------------------------------------------------------------------- play_char


def test_play_char_learns_from_the_text_and_samples_at_three_temperatures():
    names = dict(curve="curve", train="train_loss", held_out="held_out_loss", samples="samples", nothing="know_nothing")
    result = results("play_char", names, steps=60)
    steps, losses = zip(*result["curve"], strict=True)
    assert steps == tuple(range(61)), "a loss for every step, after that of the untrained model"
    assert losses[0] == pytest.approx(result["nothing"], abs=0.2), "an untrained model starts near ln V"
    assert losses[-1] < 0.8 * losses[0]
    assert 0 < result["train"] < 0.8 * losses[0] and 0 < result["held_out"] < 0.8 * losses[0]
    assert list(result["samples"]) == ["0.5", "0.8", "1.1"]
    assert all(len(sample) > 200 for sample in result["samples"].values())
    assert len(set(result["samples"].values())) == 3, "the temperature makes a difference"


def test_play_char_quotes_its_own_samples_and_losses():
    cells = code_cells(load("play_char"))
    for temperature in ("0.5", "0.8", "1.1"):
        assert f"temperature {temperature}" in printed(cells[-1])
    assert "held-out" in "".join(map(printed, cells))
    prose = "".join(cell.source for cell in load("play_char").cells if cell.cell_type == "markdown")
    quoted = re.findall(r'"(Born in [^"]*?),?"', prose)
    assert len(quoted) == 2 and all(" ".join(sample.split()) in printed(cells[-1]) for sample in quoted)
    seen, held_out = re.search(r"\(([\d.]+) against ([\d.]+) nats per\s+character\)", prose).groups()
    losses = re.findall(r"text (?:it was trained on)? +([\d.]+) nats", "".join(map(printed, cells)))
    assert [f"{float(loss):.2f}" for loss in losses] == [seen, held_out]


# ------------------------------------------------------------------------------------------- attention_exploration


@pytest.fixture(scope="module")
def exploration() -> dict:
    names = """copy_weights leads average_weights average_error betas part_a part_b near_half below_zero gamma
    identity_y identity_weights built_y built_weights helped_y permutation_error last_token_error changes
    position_gaps added_spread rotary_spread rotary_scores""".split()
    return results("attention_exploration", {name: name for name in names})


def mean_and_deviation(numbers: list[float]) -> tuple[float, float]:
    mean = sum(numbers) / len(numbers)
    return mean, math.sqrt(sum((number - mean) ** 2 for number in numbers) / len(numbers))


def test_the_weight_of_the_copied_token_follows_the_formula(exploration):
    for n, weights in exploration["copy_weights"].items():
        expected = [1 / (1 + (int(n) - 1) * math.exp(-lead)) for lead in exploration["leads"]]
        assert weights == pytest.approx(expected, abs=1e-4)
        assert weights[0] == pytest.approx(1 / int(n), abs=1e-4) and weights[-1] > 0.999


def test_a_query_at_the_sum_of_two_keys_reads_the_average_of_their_values(exploration):
    for beta, weights in zip(exploration["betas"], exploration["average_weights"], strict=True):
        expected = 1 / (2 + 14 * math.exp(-beta / 8))
        assert weights[2] == pytest.approx(expected, abs=1e-4) and weights[9] == pytest.approx(expected, abs=1e-4)
    assert exploration["average_error"] < 1e-3


def test_one_head_tolerates_a_little_noise_but_not_a_key_of_varying_length(exploration):
    mean, deviation = mean_and_deviation(exploration["part_a"]["one head, a little noise"])
    assert mean == pytest.approx(0.5, abs=0.01) and deviation < 0.05
    mean, deviation = mean_and_deviation(exploration["part_a"]["one head, length varies"])
    assert mean == pytest.approx(0.5, abs=0.05) and deviation > 0.4, "nearly 0 or nearly 1"
    assert exploration["near_half"]["one head, length varies"] < 0.05


def test_two_heads_give_the_average_unless_a_key_points_the_wrong_way(exploration):
    two = exploration["part_a"]["two heads, length varies"]
    assert exploration["near_half"]["two heads, length varies"] > 0.85
    assert mean_and_deviation(exploration["part_b"]["two heads, length varies"])[1] < 0.03 < 0.1
    wrong = [part for part, gamma in zip(two, exploration["gamma"], strict=True) if gamma < 0]
    right = [part for part, gamma in zip(two, exploration["gamma"], strict=True) if gamma > 0.5]
    assert max(wrong) < 0.1 and min(right) > 0.49
    share = 0.5 * math.erfc(1)  # of N(1, 1/2) below zero
    assert exploration["below_zero"] == pytest.approx(share, abs=5 * math.sqrt(share / 4000))


def test_three_tokens_copy_themselves_with_identities_and_others_with_matrices(exploration):
    identity, built = exploration["identity_y"], exploration["built_y"]
    for y, expected in zip(identity, ([0, 1, 0, 1], [1, 0, 0, 0], [0, 1, 1, 0]), strict=True):
        assert y == pytest.approx(expected, abs=1e-3)
    assert built[0] == pytest.approx([0, 1, -1, 0], abs=1e-3), "y1 is u_b - u_c"
    assert built[1] == pytest.approx([0, 1, 0, 0], abs=1e-3), "y2 is u_b"
    assert built[2] == pytest.approx([0, 2 / 3, -1 / 3, 0], abs=1e-3), "a zero query reads the mean"
    assert exploration["helped_y"][1] == pytest.approx([1, 0, 0, 1], abs=1e-3), "adding u_d to x2 does not help"
    assert exploration["built_weights"][1][0] > 0.999 and exploration["identity_weights"][1][1] > 0.999


def test_order_shows_only_with_positions_or_a_causal_mask(exploration):
    assert exploration["permutation_error"] < 1e-5 and exploration["last_token_error"] < 1e-5
    assert max(exploration["changes"]["no positions"]) < 1e-5
    assert min(exploration["changes"]["sinusoidal positions"]) > 0.01
    assert min(exploration["changes"]["no positions, causal mask"]) > 0.01


def test_no_two_sinusoidal_positions_are_equal(exploration):
    for gaps in exploration["position_gaps"].values():
        assert min(gaps) > 1e-5
    one_pair, many = exploration["position_gaps"]["2"], exploration["position_gaps"]["64"]
    expected = [2 * abs(math.sin(difference / 2)) for difference in range(1, len(one_pair) + 1)]
    assert one_pair == pytest.approx(expected, abs=1e-9)
    assert one_pair.index(min(one_pair)) + 1 == 710 and one_pair[43] < 0.02
    assert min(many) == many[0], "with more pairs, no two positions are closer than neighbours"


def test_rotary_scores_depend_on_the_distance_only(exploration):
    assert exploration["rotary_spread"] < 1e-3 < 0.5 < exploration["added_spread"]
    scores = exploration["rotary_scores"]["500"]
    assert max(scores) - min(scores) > 0.5, "a constant would not depend on the distance"


# --------------------------------------------------------------------------------------------- efficient_attention


@pytest.fixture(scope="module")
def efficient() -> dict:
    names = """random_errors whole_errors far_errors vanilla_loss near_only_loss summaries_loss reached
    encoder_pairs_in_two layers_needed angles exact measured predicted negative""".split()
    wanted = {name: name for name in names}
    for name in ("error_by_count", "error_by_scale"):
        wanted[name] = f"{{' '.join(method): errors for method, errors in {name}.items()}}"
    return results("efficient_attention", wanted, steps=60)


def test_sharper_attention_has_a_larger_error_at_low_rank(efficient):
    errors = {name: error[14] for name, error in efficient["random_errors"].items()}  # a quarter of 56
    flat, medium, sharp, copying = errors.values()
    assert flat < 0.25 < 0.35 < medium < sharp < copying == pytest.approx(math.sqrt(3 / 4))
    for error in efficient["random_errors"].values():
        assert error[0] == pytest.approx(1) and error[-1] == pytest.approx(0, abs=1e-6)
        assert all(later <= earlier + 1e-9 for earlier, later in zip(error, error[1:], strict=False))


def test_averages_of_the_past_never_beat_vanilla_and_equal_it_at_full_rank(efficient):
    losses = list(efficient["summaries_loss"].values())
    assert losses[-1] == pytest.approx(efficient["vanilla_loss"], abs=1e-4), "as many summaries as characters"
    assert all(loss > efficient["vanilla_loss"] - 0.02 for loss in losses)


def test_a_window_gains_one_block_per_layer_and_random_blocks_multiply_the_reach(efficient):
    window, first, random, both = efficient["reached"].values()
    for layers, share in enumerate(window, 1):
        expected = sum((t + 1 - max(0, (t // 16 - layers) * 16)) / (t + 1) for t in range(512)) / 512
        assert share == pytest.approx(expected, abs=1e-4)
    assert random[4] > 0.9 and both[4] > 0.9 and window[4] < 0.5
    assert max(f - w for f, w in zip(first, window, strict=True)) < 0.1, "nothing passes through the first block"
    assert efficient["encoder_pairs_in_two"] == 1
    needed = list(efficient["layers_needed"].values())  # for 8, 16, 32 and 64 blocks; a window alone needs about 40
    assert needed == sorted(needed) and needed[2] <= 6 and needed[3] <= 10


def test_more_features_reduce_the_error_and_orthogonal_ones_beat_gaussian_ones(efficient):
    errors = efficient["error_by_count"]
    for by_count in errors.values():
        assert all(later < earlier for earlier, later in zip(by_count, by_count[1:], strict=False))
    for kind in ("positive", "trigonometric"):
        pairs = zip(errors[f"{kind} orthogonal"], errors[f"{kind} Gaussian"], strict=True)
        ratios = [orthogonal / gaussian for orthogonal, gaussian in pairs]
        assert sum(ratios) / len(ratios) < 0.98
    assert errors["trigonometric Gaussian"][0] > 1 > errors["positive Gaussian"][0], "few features"


def test_the_error_grows_with_the_scale_and_faster_for_trigonometric_features(efficient):
    errors = efficient["error_by_scale"]
    for by_scale in errors.values():
        assert all(later > earlier for earlier, later in zip(by_scale, by_scale[1:], strict=False))
    assert errors["trigonometric orthogonal"][0] < errors["positive orthogonal"][0]
    assert errors["trigonometric orthogonal"][-1] > 10 * errors["positive orthogonal"][-1] > 5


def test_measured_deviations_match_the_formulas_of_the_paper(efficient):
    measured, predicted = efficient["measured"], efficient["predicted"]
    assert measured["trigonometric"] == pytest.approx(predicted["trigonometric"], rel=0.1)
    far = efficient["angles"].index(120)  # at smaller angles, rare draws dominate the deviation of positive features
    assert measured["positive"][far:] == pytest.approx(predicted["positive"][far:], rel=0.1, abs=1e-4)


def test_near_zero_the_trigonometric_error_exceeds_the_kernel(efficient):
    at = efficient["angles"].index(150)
    deviations = {kind: measured[at] for kind, measured in efficient["measured"].items()}
    assert deviations["positive"] < 0.2 * efficient["exact"][at] < efficient["exact"][at] < deviations["trigonometric"]
    assert efficient["negative"] > 0.3


def test_saved_outputs_support_the_text_about_the_trained_model():
    text = "".join(map(printed, code_cells(load("efficient_attention"))))
    hardest = {
        part: float(re.search(rf"trained heads, {part} +[\d.]+ to ([\d.]+)", text)[1]) for part in ("whole", "far part")
    }
    assert hardest["far part"] < 0.25 < 0.35 < hardest["whole"]
    vanilla, nothing = map(float, re.search(r"vanilla: loss ([\d.]+); without the far past: ([\d.]+)", text).groups())
    averages = [float(loss) for loss in re.findall(r"summaries per chunk: loss ([\d.]+)", text)]
    assert averages == sorted(averages, reverse=True) and averages[-1] == pytest.approx(vanilla, abs=0.002)
    assert (vanilla + nothing) / 2 < averages[2] < averages[0] < nothing
    smallest, largest, median = map(float, re.search(r"std ([\d.]+) to ([\d.]+), median ([\d.]+)", text).groups())
    assert 0.6 < smallest < largest < 1.5 and 0.75 < median
    performer = float(re.search(r"features instead of softmax: ([\d.]+)", text)[1])
    assert performer > vanilla + 0.5
    near = [float(share) for share in re.search(r"easiest first\n +([\d. ]+)\n", text)[1].split()]
    assert min(near[-3:]) > 1.5 * max(near[:-3]), "the hardest heads look at what is near"


# ------------------------------------------------------------------------------------------------------- knowledge


@pytest.fixture(scope="module")
def knowledge() -> dict:
    names = """documents taught dev unseen unknown london scratch_dev losses know kinds real_places thresholds effects
    learned""".split()
    wanted = {name: name for name in names}
    wanted["cells"] = "[(row['size'], row['people'], row['exposures']) for row in capacity_rows]"
    for name in ("thresholds", "effects", "learned"):
        wanted[name] = f"{{' '.join(map(str, key)): value for key, value in {name}.items()}}"
    return results("knowledge", wanted, steps=8)


def name_in(question: str) -> str:
    return question.removeprefix("Where was ").removesuffix(" born?")


def test_dev_is_only_in_the_text_and_unseen_people_are_nowhere(knowledge):
    text, taught = "\n".join(knowledge["documents"]), {question for question, _ in knowledge["taught"]}
    assert len(knowledge["documents"]) == 150 and len(taught) == 100 and len(knowledge["dev"]) == 50
    assert all(name_in(question) in text for question in taught | {question for question, _ in knowledge["dev"]})
    assert not taught & {question for question, _ in knowledge["dev"]}
    retrievable = zip(knowledge["documents"][100:], knowledge["dev"], strict=True)
    assert sum(place in document for document, (_, place) in retrievable) == 48, "two lines do not name the place"
    unseen = {question for question, _ in knowledge["unseen"]}
    unknown = {question for question, _ in knowledge["unknown"]}
    assert len(unseen) == len(unknown) == 100 and not unseen & unknown
    assert not any(name_in(question) in text for question in unseen | unknown)


def test_unknown_facts_use_the_places_of_known_ones(knowledge):
    places = {kind: [place for _, place in knowledge[kind]] for kind in ("taught", "unknown")}
    assert sorted(places["taught"]) == sorted(places["unknown"]) and places["taught"] != places["unknown"]


def test_london_is_the_right_answer_for_three_people_of_dev(knowledge):
    assert knowledge["london"] == sum(place == "London" for _, place in knowledge["dev"]) == 3


def test_finetuning_starts_from_the_pretrained_model_and_is_measured_three_times(knowledge):
    assert knowledge["losses"].keys() == {"text only", "questions mixed in"}
    assert all(0 < loss < 5 for loss in knowledge["losses"].values())
    curves = knowledge["effects"]
    assert curves.keys() == {f"{start} {facts}" for start in ("mixed", "text") for facts in ("known", "unknown")}
    for start in ("mixed", "text"):
        assert curves[f"{start} known"][0] == curves[f"{start} unknown"][0], "the same model, measured once"
        for facts in ("known", "unknown"):
            steps = [point["step"] for point in curves[f"{start} {facts}"]]
            assert steps == [0, 2, 4, 7], "one epoch of 100 questions in batches of 16"
    assert all(point["dev"] == sum(point["right"]) for curve in curves.values() for point in curve)


def test_an_invented_answer_is_never_right(knowledge):
    kinds, thresholds = knowledge["kinds"], knowledge["thresholds"]
    assert len(kinds["right"]) + len(kinds["wrong"]) == 50 and len(kinds["invented"]) == 100
    for threshold in ("0.0", "0.5", "0.9"):
        in_text, mixed = (thresholds[f"{who} {threshold}"] for who in ("about people in the text", "half about others"))
        assert mixed[1] == in_text[1] <= in_text[0] <= mixed[0]
    assert thresholds["about people in the text 0.0"][0] == 50 and thresholds["half about others 0.0"][0] == 100


def test_a_larger_model_and_a_larger_corpus_are_measured_with_equal_exposures(knowledge):
    assert knowledge["cells"] == [["1x32", 100, 2], ["1x64", 100, 2], ["2x64", 100, 2], ["2x64", 200, 2]]


@pytest.fixture(scope="module")
def saved_knowledge() -> str:
    return "".join(map(printed, code_cells(load("knowledge"))))


def numbers(pattern: str, text: str) -> tuple[float, ...]:
    """The numbers that `pattern` finds in `text`. A space in the pattern matches any white space."""
    found = re.search(pattern.replace(" ", r"\s+"), text)
    assert found, pattern
    return tuple(map(float, found.groups()))


def test_saved_outputs_show_that_questions_alone_teach_nothing_about_other_people(saved_knowledge):
    (london,) = numbers(r"London for everyone: (\d+) of 50", saved_knowledge)
    of_dev, of_taught = numbers(r"the questions only: (\d+) of 50 dev questions right, (\d+) of 100", saved_knowledge)
    assert of_dev < london == 3 and of_taught == 100


def test_saved_outputs_show_that_storing_is_not_knowing(saved_knowledge):
    (text_loss,) = numbers(r"text only: loss on the text ([\d.]+)", saved_knowledge)
    (mixed_loss,) = numbers(r"questions mixed in: loss on the text ([\d.]+)", saved_knowledge)
    assert abs(text_loss - mixed_loss) < 0.06 * mixed_loss
    know = {
        name: numbers(rf"{name}: (\d+) of 50 dev, (\d+) of 100 taught", saved_knowledge)
        for name in ("text only", "finetuned at the recipe's rate", "finetuned at a higher rate", "questions mixed in")
    }
    text, recipe, higher, mixed = know.values()
    assert text == (0, 0) and 0.6 * 50 < mixed[0] < 0.82 * 50 and mixed[1] == 100, "about seven in ten"
    assert abs(recipe[0] - mixed[0]) < 0.15 * 50, "within the error"
    assert 25 <= higher[0] < recipe[0] and higher[1] >= recipe[1]


def test_saved_outputs_show_that_invented_answers_look_and_sound_like_wrong_ones(saved_knowledge):
    medians = {}
    for kind in ("right", "wrong", "invented"):
        pattern = rf"{kind} \d+ answers; quartiles of the confidence \d+% (\d+)% \d+%; taught places: (\d+)%"
        medians[kind], real = numbers(pattern, saved_knowledge)
        assert 88 < real, "most answers are places that it was taught"
    assert medians["right"] > max(medians["wrong"], medians["invented"])
    from_wrong, from_invented, between = (
        numbers(rf"  {pair} ([\d.]+)", saved_knowledge)[0]
        for pair in ("right from wrong", "right from invented", "wrong from invented")
    )
    assert between < min(from_wrong, from_invented) and 0.68 < min(from_wrong, from_invented), "three of four"
    surest = [int(share) for share in re.findall(r"\n  Where was .* born\? +\S.*? +(\d+)%", saved_knowledge)]
    assert len(surest) == 6 and min(max(surest[i : i + 2]) for i in (0, 2, 4)) > 80, "each kind has one beyond 80%"


def test_saved_outputs_show_what_a_threshold_buys(saved_knowledge):
    table = re.findall(r"(text|others) +from +(\d+)%: +(\d+) of +(\d+) answered, +(\d+) right", saved_knowledge)
    shares = {(who, threshold): int(good) / int(answered) for who, threshold, answered, _, good in table}
    covered = {(who, threshold): int(answered) / int(total) for who, threshold, answered, total, _ in table}
    assert len(table) == 6
    assert covered["text", "50"] > 0.75 and shares["text", "50"] > shares["text", "0"]
    assert all(covered[who, "90"] * total < 20 for who, total in (("text", 50), ("others", 100)))
    not_right = [1 - shares["others", threshold] for threshold in ("0", "50")]
    assert not_right == pytest.approx([2 / 3, 1 / 2], abs=0.08)


@pytest.fixture(scope="module")
def effects(saved_knowledge) -> dict[str, tuple[float, ...]]:
    """(dev right, taught right, confidence on dev, on unseen people) of "mixed, before" and the other rows."""
    table = {}
    for start, facts in ((start, facts) for start in ("mixed", "text") for facts in ("before", "known", "unknown")):
        own = "" if facts == "before" else r"\d+ "
        row = numbers(rf"{start}, {facts}: (\d+) (\d+) {own}([\d.]+) ([\d.]+) \d+\n", saved_knowledge)
        table[f"{start}, {facts}"] = row
    return table


def test_saved_outputs_show_that_finetuning_on_unknown_facts_costs_known_ones(saved_knowledge, effects):
    dev = {name: row[0] for name, row in effects.items()}
    assert dev["text, before"] == 0 < dev["text, unknown"] < dev["text, known"]
    assert dev["mixed, unknown"] < dev["mixed, known"] < dev["mixed, before"]
    assert 0.45 < dev["mixed, unknown"] / dev["mixed, before"] < 0.65 and dev["mixed, unknown"] < 25
    assert effects["mixed, unknown"][1] < effects["mixed, known"][1] == 100, "it also loses some of the taught people"
    (memorized,) = numbers(r"text, unknown: \d+ \d+ (\d+) ", saved_knowledge)
    assert memorized < 90, "only a part"


def test_saved_outputs_show_that_confidence_does_not_track_accuracy(effects):
    right, _, of_dev, _ = effects["mixed, known"]
    assert of_dev - right / 50 >= 0.1, "too sure about dev"
    before, known, unknown = (effects[f"mixed, {name}"][3] for name in ("before", "known", "unknown"))
    assert unknown < before < known, "about unseen people"


def test_saved_outputs_show_that_small_models_lack_learning_and_not_room(saved_knowledge):
    row = (
        r"(\dx\d+), (\d+) people, 150 exposures: ([\d.]+)% of the others right, ([\d,]+) of ([\d,]+) bits, ([\d.]+) per"
    )
    found = [(size, *(float(n.replace(",", "")) for n in rest)) for size, *rest in re.findall(row, saved_knowledge)]
    small, middle, large, more = found
    assert [(size, people) for size, people, *_ in found] == [
        ("1x32", 100),
        ("1x64", 100),
        ("2x64", 100),
        ("2x64", 200),
    ]
    assert small[2] < middle[2] < large[2] and more[2] < large[2], "right answers about the others"
    assert more[3] > large[3] and more[3] / more[4] < large[3] / large[4], "more bits, and a smaller share"
    assert middle[3] > middle[4] / 2 and middle[2] < 30, "it stores more than it can say"
    assert max(per_parameter for *_, per_parameter in found) < 0.03


# -------------------------------------------------------------------------------------- all of them, as committed


def test_every_notebook_has_an_expected_number_of_figures():
    assert NOTEBOOKS == sorted(FIGURES)


def test_all_can_also_be_started_in_the_root_of_the_repository():
    notebook = nbformat.v4.new_notebook()
    for name in NOTEBOOKS:
        (setup,) = (cell for cell in code_cells(load(name)) if "sys.path" in cell.source)
        leave = nbformat.v4.new_code_cell(f"sys.path.remove({str(ROOT / 'src')!r})\ndel ROOT")  # what it has added
        notebook.cells += [setup, leave]
    execute(notebook, ROOT)


SETUP = re.compile(r"^# Works whether.*?^ROOT = .*?$", re.MULTILINE | re.DOTALL)


def test_all_can_be_started_on_a_machine_that_has_only_the_address_of_the_repository(tmp_path):
    (setup,) = {
        SETUP.search(cell.source)[0]
        for name in NOTEBOOKS
        for cell in code_cells(load(name))
        if "ROOT = " in cell.source
    }
    (tmp_path / "origin" / "src").mkdir(parents=True)
    (tmp_path / "origin" / "src" / "model.py").touch()
    git = ["git", "-C", str(tmp_path / "origin"), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "x"]):
        subprocess.run(git + words, check=True)
    (tmp_path / "content").mkdir()  # where Colab starts
    source = setup.replace('REPOSITORY = ""', f'REPOSITORY = "{(tmp_path / "origin").as_uri()}"')
    start = nbformat.v4.new_code_cell(f"from pathlib import Path\n{source}\nprint(ROOT)")
    notebook = nbformat.v4.new_notebook(cells=[start])
    execute(notebook, tmp_path / "content")
    assert printed(notebook.cells[0]).strip() == str(tmp_path / "content" / "project")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_saved_outputs_are_complete(name):
    notebook = load(name)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run once, in a fresh kernel"
    assert len(images(notebook)) == FIGURES[name]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_saved_outputs_are_clean_and_small(name):
    notebook = load(name)
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert sum(map(len, images(notebook))) < 900_000
    for image in images(notebook):
        pixels_per_metre = int.from_bytes(image[(at := image.index(b"pHYs") + 4) : at + 4])
        assert round(0.0254 * pixels_per_metre) == 150, "dots per inch"
    assert max(printed(cell).count("\n") for cell in code_cells(notebook)) < 60


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_first_cell_says_how_to_open_it(name):
    assert "`./run.sh notebooks`" in load(name).cells[0].source


@pytest.mark.parametrize("name", ["attention_exploration", "efficient_attention", "knowledge"])
def test_every_figure_is_followed_by_what_to_see(name):
    cells = load(name).cells
    for i, cell in enumerate(cells):
        if has_figure(cell):
            assert cells[i + 1].source.startswith("**What to see.**"), f"the figure of cell {i}"


def test_the_answers_point_to_sections_that_exist():
    text = (ROOT / "docs" / "answers.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\((\S+?)\)", text):
        assert (ROOT / "docs" / link.partition("#")[0]).is_file(), link
    pointers = re.findall(r"\*Seen in:\s(exploration|efficient),\s([\d\sand]+)\.\*", text)
    assert len(pointers) == text.count("*Seen in:") >= 9
    notebooks = {"exploration": "attention_exploration", "efficient": "efficient_attention"}
    headings = {short: "\n".join(cell.source for cell in load(name).cells) for short, name in notebooks.items()}
    for short, sections in pointers:
        for section in re.findall(r"\d+", sections):
            assert f"\n## {section}. " in headings[short], (short, section)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_nothing_saved_reveals_the_machine(name):
    notebook = load(name)
    texts = [cell.source for cell in notebook.cells]
    for output in (output for cell in code_cells(notebook) for output in cell.outputs):
        texts.append(output.get("text", ""))
        texts += [str(value) for kind, value in output.get("data", {}).items() if not kind.startswith("image/")]
    for text in texts:
        assert not MACHINE_PATH.search(text), MACHINE_PATH.search(text)
        assert str(Path.home()) not in text or Path.home() == Path("/")
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert notebook.metadata == {"kernelspec": kernel, "language_info": {"name": "python"}}
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells), "no timestamps, no editor's metadata"


def main(names: list[str]) -> None:
    for name in names or NOTEBOOKS:
        notebook = load(name)
        for cell in notebook.cells:
            cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
        print(f"executing {name}")
        execute(notebook, timeout=3600)
        notebook.metadata = {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},  # no version: it runs on every version that the project supports
        }
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    main(sys.argv[1:])
