"""What is drawn from measurements: the curves of logs, the cells of a table, and the same bytes from the same data."""

import json

import pytest

import capacity_figure
import learning_curves
from capacity import COLUMNS


@pytest.fixture
def logs(tmp_path):
    """Two logs as training writes them. The second measured nothing on held-out questions."""
    lines = [{"step": step, "loss": 3.0 - step / 100, "tokens": 5} for step in (50, 100)]
    measured = [{"step": 100, "validation_loss": 1.5, "validation_accuracy": 0.25}]
    paths = {"mixed": [*lines, *measured], "text": lines}
    for name, content in paths.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in content))
    return [(name, tmp_path / f"{name}.jsonl") for name in paths]


def lines_of(axes):
    return [(list(line.get_xdata()), list(line.get_ydata()), line.get_linestyle()) for line in axes.get_lines()]


def test_losses_and_accuracies_are_drawn_apart_and_accuracies_in_percent(logs):
    accuracy, loss = learning_curves.draw(*learning_curves.curves_of(logs)).axes
    assert lines_of(accuracy) == [([100], [25.0], "-")]
    assert lines_of(loss) == [([50, 100], [2.5, 2.0], "-"), ([100], [1.5], "--"), ([50, 100], [2.5, 2.0], "-")]
    assert [text.get_text() for text in loss.texts] == ["mixed", "mixed, validation", "text"]
    (alone,) = learning_curves.draw(*learning_curves.curves_of(logs[1:])).axes
    assert len(alone.get_lines()) == 1, "no axes for accuracies that nobody measured"


def test_labels_are_moved_apart_and_stay_in_order():
    moved = learning_curves.spread([50.0, 51.0, 10.0], 6.0)
    assert moved[1] - moved[0] == pytest.approx(6) and sum(moved) == pytest.approx(111) and moved[2] == min(moved)


def table(path, *cells):
    """A table of capacity.py with (size, people, exposures, recall, parameters, right, bits per parameter)."""
    names = "size people exposures recall parameters accuracy_others bits_per_parameter".split()
    rows = [{**dict.fromkeys(COLUMNS, "1"), **dict(zip(names, cell, strict=True))} for cell in cells]
    text = [",".join(COLUMNS), *(",".join(row[name] for name in COLUMNS) for row in rows)]
    path.write_text("\n".join(text) + "\n")
    return path


def test_one_line_for_each_size_over_people_without_the_cells_beside_the_grid(tmp_path):
    big = [("4x64", people, "100", "1", "200", right, "0.5") for people, right in (("1000", "30"), ("300", "60"))]
    small = ("1x64", "300", "100", "1", "100", "20", "0.4")
    beside = [("4x64", "300", "100", "0", "200", "99", "9"), ("4x64", "300", "400", "1", "200", "88", "8")]
    path = table(tmp_path / "t.csv", *big, small, *beside)
    left, right = capacity_figure.draw(capacity_figure.chosen(capacity_figure.read([path]))).axes
    assert lines_of(left) == [([300], [20.0], "-"), ([300, 1000], [60.0, 30.0], "-")]
    assert [line.get_ydata()[0] for line in right.get_lines()[:2]] == [0.4, 0.5]


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_the_same_measurements_give_the_same_bytes(ending, logs, tmp_path):
    pictures = [tmp_path / f"{number}.{ending}" for number in (1, 2)]
    words = [f"{name}={path}" for name, path in logs]
    for path in pictures:
        assert learning_curves.main([*words, "--out", str(path)]) == 0
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


@pytest.mark.parametrize(
    "program, words, said",
    [
        (learning_curves, ["a=missing.jsonl"], "missing.jsonl"),
        (learning_curves, ["a=bad.jsonl"], "bad.jsonl, line 1: not a line of a training log"),
        (capacity_figure, ["missing.csv"], "missing.csv: there is no such table"),
        (capacity_figure, ["bad.jsonl"], "bad.jsonl: has other columns"),
    ],
)
def test_what_is_wrong_with_the_measurements_is_one_line(program, words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.jsonl").write_text("no log\n")
    assert program.main([*words, "--out", "p.svg"]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "p.svg").exists()


def test_another_format_is_refused(logs, capsys):
    with pytest.raises(SystemExit):
        learning_curves.main([f"a={logs[0][1]}", "--out", "p.pdf"])
    assert "'p.pdf' must end in .svg or .png" in capsys.readouterr().err
