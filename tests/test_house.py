"""How the house is built: what may import what, how long things may be, and that README and docs tell the truth."""

import ast
import re
import shlex
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import torch

import attention
import run
import stages
from attention import VARIANTS
from conftest import written_out_attention
from fast.steps import fastest
from safe import flags as grammar
from trainer import TrainerConfig

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
WINGS = ("export", "fast", "handout", "safe", "trust")
COMPOSERS = ("stages", "run")  # the two files of the core that put the parts together

# ------------------------------------------------------------------------------------------------------- imports


@cache
def modules() -> dict[str, ast.Module]:
    """The syntax tree of each module of src, by its name, such as "model" or "fast.rows"."""
    paths = [path.relative_to(SRC) for path in SRC.rglob("*.py")]
    return {".".join(path.with_suffix("").parts): ast.parse((SRC / path).read_bytes()) for path in paths}


def imported(name: str, everywhere: bool = True) -> set[str]:
    """The modules that a module of src imports: anywhere, or only when it is imported itself."""
    tree, found = modules()[name], set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & modules().keys() or {node.module}
    return found


def own(name: str) -> set[str]:
    return imported(name) & modules().keys()


def wing_of(name: str) -> str | None:
    return name.split(".")[0] if "." in name else None


def test_the_walk_over_imports_sees_every_module_and_local_imports():
    assert {"model", "fast.rows", "safe.files", "trust.report"} <= modules().keys()
    assert {wing_of(name) for name in modules()} == {None, *WINGS}
    assert "stages" in own("run") and "stages" not in imported("run", everywhere=False)


def test_the_core_imports_no_wing():
    core = [name for name in modules() if wing_of(name) is None and name not in COMPOSERS]
    assert len(core) == 9  # with the starter of london_baseline.py
    assert {name: own(name) - set(core) for name in core if own(name) - set(core)} == {}


@pytest.mark.parametrize(
    "importer, allowed",
    [
        ("export", {None, "safe", "trust", "stages"}),
        ("fast", {None}),
        ("handout", {None, "safe"}),
        ("safe", {None}),
        ("trust", {None, "safe", "fast", "trust", "stages"}),
    ],
)
def test_wings_import_downwards_only(importer, allowed):
    """fast, handout and safe know the core and not stages; trust and export also know these; nobody knows run.

    One exception: fast writes its files of tokens with safe.files, where atomic writing and hashing are defined.
    """
    allowed = allowed | {importer}
    for name in modules():
        if wing_of(name) == importer:
            others = own(name) - ({"safe.files"} if importer == "fast" else set())
            kinds = {module: module if module in COMPOSERS else wing_of(module) for module in others}
            assert {module for module, kind in kinds.items() if kind not in allowed} == set(), name


def test_stages_composes_the_core_with_fast_and_safe_only():
    assert {wing_of(name) for name in own("stages")} == {None, "fast", "safe"} and "run" not in own("stages")


def test_the_command_line_imports_little_before_its_arguments_are_understood():
    at_once = imported("run", everywhere=False) & modules().keys()
    assert at_once == {"safe.exits", "safe.flags", "vocabulary"}
    assert imported("safe.flags") & modules().keys() == {"recipes", "safe.running", "vocabulary"}


def test_no_module_imports_itself_in_a_circle():
    list(TopologicalSorter({name: own(name) for name in modules()}).static_order())  # raises CycleError


# --------------------------------------------------------------------------------------------------------- sizes


def test_the_core_can_be_read_in_an_afternoon():
    lines = {path.name: path.read_text(encoding="utf-8").count("\n") for path in SRC.glob("*.py")}
    assert sum(lines.values()) <= 2300, lines


def length(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1


def test_the_trainer_is_at_most_180_lines():
    (trainer,) = [node for node in modules()["trainer"].body if getattr(node, "name", "") == "Trainer"]
    assert length(trainer) <= 180


def test_no_function_is_longer_than_60_lines():
    functions = [
        (f"{name}.{node.name}", length(node))
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert len(functions) > 200
    assert [function for function in functions if function[1] > 60] == []


# ----------------------------------------------------------------------------------------------- README and docs

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "data/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
README = PAGES[0].read_text(encoding="utf-8")
STAGE = r"[a-z]+_(pretrain|(finetune|eval_dev|eval_test)_with(out)?_pretrain)"
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def commands_of(page: Path) -> list[str]:
    """The commands in code blocks and code spans of a page, without comments. Left out is what has `...` in it."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.split("\n")]
    lines += re.findall(r"^ {4,}(\S.*)$", text, re.MULTILINE) + re.findall(r"`([^`\n]+)`", text)
    lines = [line.split(" #")[0].strip() for line in lines]
    return [line for line in lines if re.match(r"python |torchrun |\./", line) and "..." not in line]


def test_the_readme_is_one_screen():
    lines = README.split("\n")[:-1]
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 120] == []


@pages
def test_the_commands_of_a_page_are_accepted(page, monkeypatch):
    monkeypatch.setattr(run, "perform", lambda name, arguments: None)
    for command in commands_of(page):
        words = shlex.split(re.sub(r"\[.*?\]", "", command))  # without what is optional
        while words and (words[0] in ("python", "torchrun") or words[0].startswith("--n")):
            words.pop(0)
        if not words or words[0].startswith(("-", "<")):  # `python` alone, `python -m ...`
            continue
        program, *arguments = words
        assert (ROOT / program).is_file(), command
        if program == "./run.sh":
            told = [word for word in arguments if not word.startswith("-")][:1]
            known = ([], ["quick"], ["full"], ["test"], ["notebooks"], ["STAGE"])
            assert told in known or re.fullmatch(STAGE, *told), command
        elif program == "src/run.py":
            if arguments and "--help" not in arguments:
                arguments = ["vanilla" if word == "VARIANT" else word for word in arguments]
                assert run.main(arguments) == 0, command
        else:
            source = (ROOT / program).read_text(encoding="utf-8")
            for flag in [word.split("=")[0] for word in arguments if word.startswith("--")]:
                assert f'"{flag}"' in source or flag == "--help", command


@pages
def test_the_files_that_a_page_names_exist(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert "://" in link or (page.parent / link).exists(), link
    for name in re.findall(r"`((?:src|docs|data|measure|tests|mingpt-demo)/[\w./-]*)`", text):
        assert (ROOT / name).exists(), name


def test_every_anchor_that_a_page_links_to_exists():
    for page in PAGES:
        for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
            target = (page.parent / link if link else page).read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.+)$", target, re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, f"{page.name}: {link}#{anchor}"


def test_the_readme_names_every_part_of_the_project():
    for path in [*SRC.glob("*.py"), *ROOT.glob("*.py"), *ROOT.glob("*.sh")]:
        assert path.name in README, path
    for folder in ("src/fast/", "src/safe/", "src/trust/", "measure/", "data/", "docs/", "mingpt-demo/", "tests/"):
        assert folder in README
    assert [name for name in VARIANTS if f"`{name}`" not in README] == []


def test_every_option_is_described_in_the_reference():
    reference = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    commands = grammar.COMMANDS
    flags = {flag for command in commands.values() for flag in command._option_string_actions} - {"-h", "--help"}
    assert {flag for flag in flags if f"`{flag}" not in reference} == set()


def test_the_variant_of_the_readme_works(corpus, make_model, tmp_path, monkeypatch):
    """As a student types it: its class is enough for the command line, the plain program and the fast one."""
    (code,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (name,) = re.findall(r'@register\("(\w+)"\)', code)
    source = (SRC / "attention.py").read_text(encoding="utf-8")
    (tmp_path / "attention.py").write_text(f"{source}\n\n{code}", encoding="utf-8")
    monkeypatch.setattr(grammar, "__file__", str(tmp_path / "safe" / "flags.py"))
    assert name in grammar.registered()
    monkeypatch.setitem(VARIANTS, name, None)
    del VARIANTS[name]  # so that it is removed again when the test ends
    exec(code, vars(attention) | {})
    model = make_model(variant=name)
    x, y = corpus.batch(torch.arange(len(corpus)))
    step = fastest(model, corpus, TrainerConfig())[0]["step"]
    torch.testing.assert_close(step.backward(x, y), model(x, y)[1].detach())
    ids, lengths = x[:, :9], torch.full((len(x),), 9)
    answers = [stages.answer(model, corpus.vocabulary, ids, lengths, plain) for plain in (True, False)]
    assert answers[0] == answers[1]
    q, k, v = torch.randn(3, 1, 2, 5, 16).unbind(0)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    unit_q, unit_k = (z / z.norm(dim=-1, keepdim=True) for z in (q, k))
    wanted = written_out_attention(10 * unit_q, unit_k, v)[0]
    torch.testing.assert_close(model.eval().blocks[0].attn.attend(q, k, v, mask), wanted)
