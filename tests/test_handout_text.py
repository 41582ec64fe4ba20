"""The text of the assignment: what it names exists, its points add up, and every edition can be published."""

import ast
import importlib
import os
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "course"))
make, parts, publish = (importlib.import_module(name) for name in ("make", "parts", "publish"))

EDITIONS = parts.EDITIONS


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """What a student has."""
    folder = tmp_path_factory.mktemp("handout") / "tree"
    make.handout("rope", folder)
    return folder


@pytest.fixture(params=EDITIONS)
def text(request) -> str:
    return publish.edition_text(request.param)


def commands(text: str) -> list[str]:
    """The command lines of the blocks of code, each in one line."""
    block = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))
    return [line for line in block.replace("\\\n", " ").splitlines() if re.match(r"(python|\./|pip) ?", line)]


def sections(text: str) -> dict[str, str]:
    return dict(re.findall(r"^## (\w)\. (.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))


def number_of_tests(path: Path) -> int:
    total = 0
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            cases = 1
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.parametrize":
                    cases *= len(ast.literal_eval(mark.args[1]))
            total += cases
    return total


def test_points_of_sections_and_of_the_table_are_those_of_the_list(text):
    table = {letter: int(points) for letter, points in re.findall(r"^\| (\w) \|.*\| (\d+) \|$", text, re.MULTILINE)}
    assert table == parts.POINTS and sum(table.values()) == 100
    for letter, section in sections(text).items():
        heading = re.search(r"\*([^*]+)\*", section)[1].replace("\n", " ")
        if letter != parts.OPTIONAL:
            points = [int(number) for number in re.findall(r"(\d+) points", heading)]
            assert table[letter] in (points[0], sum(points)), heading
    assert f"{parts.EXTRA_POINTS} points each" in sections(text)[parts.OPTIONAL]


@pytest.mark.parametrize("edition", EDITIONS)
def test_points_for_code_and_for_results_are_those_that_the_grader_gives(edition):
    found, code = sections(publish.edition_text(edition)), parts.points_for_code(edition)
    first, second, third = parts.hand_ins(edition)
    assert f"15 points: {code[parts.TRAINING]} for given code left as it was, {2 * first.each} for" in found["d"]
    assert (
        f"20 points: {2 * second.each} for predictions that belong to your parameters, {second.accuracy}" in found["f"]
    )
    assert f"Code, {code[edition]} points, and results, {2 * third.each + third.accuracy} points" in found["g"]
    assert f"Code, {code['span']} points" in found["e"] and f"Code, {code['baseline']} points" in found["c"]


def test_every_program_and_file_of_a_command_exists(text, tree):
    assert len(commands(text)) > 12
    for command in commands(text):
        for word in command.split():
            if re.match(r"(\./|src/|data/|tests/|course/|mingpt-demo/)|.*\.(py|sh)$", word):
                assert (tree / word).exists(), command


def test_every_option_of_a_command_is_one_of_its_program(text, tree):
    known = "".join((tree / name).read_text(encoding="utf-8") for name in ("src/safe/flags.py", "src/safe/running.py"))
    known += "".join(path.read_text(encoding="utf-8") for path in [tree / "src/dataset.py", tree / "run.sh"])
    known += (ROOT / "london_baseline.py").read_text(encoding="utf-8") + "--max_epochs --help"
    for option in set(re.findall(r"(?<=[\s`])--(\w+)", text)):
        assert option in known, option


def test_every_stage_is_one_that_run_sh_knows(text):
    script = (ROOT / "run.sh").read_text(encoding="utf-8")
    found = {word for command in commands(text) if "run.sh" in command for word in command.split()[1:]}
    variants = "|".join(EDITIONS) + "|vanilla"
    stages = {stage for word in found if (stage := re.sub(rf"^({variants})_", "", word)) != word}
    assert len(stages) == 7
    for stage in stages:
        assert f"?*_{stage})" in script, stage


def test_every_function_of_a_part_is_named_with_its_file(text):
    for topic, part in parts.PARTS.items():
        for gap in part.gaps:
            name = gap.function.replace(".batch", ".__getitem__")
            assert f"`{name}`" in text or f"`forward` of `{name.split('.')[0]}`" in text, name
            assert gap.path in text
        assert topic in text


def test_every_path_and_name_in_the_text_exists(text, tree):
    code = "".join(path.read_text(encoding="utf-8") for path in (tree / "src").rglob("*.py"))
    for name in re.findall(r"`((?:src|data|mingpt-demo|tests|course)/[\w./-]+)`", text):
        assert (tree / name).exists(), name
    for name in re.findall(r"`([A-Z]\w+\.\w+|[a-z]+_[a-z_]+)`", text):
        assert name.split(".")[-1] in code, name


def test_the_number_of_tests_that_pass_is_that_of_the_file(text, tree):
    said = {"baseline": "c", "span": "e"}
    for topic, letter in said.items():
        count = number_of_tests(tree / "tests" / f"test_{topic}.py")
        assert f"ends with `{count} passed`" in sections(text)[letter], topic
    for topic, count in re.findall(r"^\| `(\w+)` \|.*\| `(\d+) passed` \|$", text, re.MULTILINE):
        assert number_of_tests(tree / "tests" / f"test_{topic}.py") == int(count), topic


@pytest.mark.parametrize("edition", EDITIONS)
def test_an_edition_has_its_own_part_g_and_no_others(edition):
    text = publish.edition_text(edition)
    bold = set(re.findall(r"^\*\*(\w+)\.\*\*", sections(text)["g"], re.MULTILINE))
    assert bold == {edition} and "MECHANISM" not in text and "<!--" not in text
    assert f"tests/test_{edition}.py" in text and ("course-2021" in text) == (edition == "synthesizer")
    numbers = [int(number) for number in re.findall(r"^(\d)\. \*\*", sections(text)["w"], re.MULTILINE)]
    assert numbers == [1, 2, 3, 4, 5, 6, 7]


def test_an_unknown_edition_or_block_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no edition 'rop': choose from"):
        publish.edition_text("rop")
    (tmp_path / "handout.md").write_text("<!-- roap -->\n1\n<!-- end -->\n")
    monkeypatch.setattr(publish, "HERE", tmp_path)
    with pytest.raises(ValueError, match="blocks of no edition: roap"):
        publish.edition_text("rope")


@pytest.mark.skipif("COURSE_KIT" not in os.environ, reason="takes seconds: set COURSE_KIT to run it")
def test_an_edition_is_published_as_one_page_and_as_paper(tmp_path):
    pytest.importorskip("pypandoc")
    pytest.importorskip("weasyprint")
    page, paper = publish.publish("synthesizer", tmp_path)
    html = page.read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!#)', html), "nothing beside the file is needed"
    assert html.count("<math") > 20 and "<script" not in html
    assert "prefers-color-scheme: dark" in html and 'name="viewport"' in html and 'lang="en"' in html
    assert html.count("<table") == 3 and "<pre>" in html
    assert paper.read_bytes().startswith(b"%PDF") and paper.stat().st_size > 30_000


def test_formulas_become_pictures_with_their_tex_for_those_who_listen():
    pytest.importorskip("matplotlib")
    drawn = publish.FORMULA.sub(publish.draw, r'<span class="math inline">\(a &lt; \frac{1}{2}\)</span>')
    assert 'alt="a &lt; \\frac{1}{2}"' in drawn and "data:image/svg+xml;base64," in drawn
    with pytest.raises(ValueError, match="nonsense"):
        publish.FORMULA.sub(publish.draw, r'<span class="math inline">\(\nonsense\)</span>')


def test_without_its_libraries_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pypandoc", None)
    with pytest.raises(ValueError, match="pip install -r requirements-course.txt"):
        publish.to_html("# A\n\nb")
