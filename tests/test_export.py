"""What the real libraries compute from an exported model is what our model computes.

The oracles are Hugging Face's transformers and tokenizers, and onnxruntime. Tests that need them are skipped without
them: pip install -r requirements-export.txt. One variant goes through ONNX; EXPORT_ALL=1 takes all of them (a minute).
"""

import json
import os
import re
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import run
import stages
from attention import VARIANTS, RotaryAttention
from conftest import SMALL_OPTIONS, loud
from dataset import encode_questions
from export import folder as exports
from export.folder import FORMATS, export
from model import GPT, GPTConfig
from safe.files import save_parameters
from vocabulary import MASK_CHAR, PAD_CHAR, Vocabulary

ROOT = Path(__file__).resolve().parent.parent
INSTALLED = all(find_spec(name) for part in FORMATS.values() for name in part.PACKAGES)
needs_libraries = pytest.mark.skipif(not INSTALLED, reason="needs pip install -r requirements-export.txt")

QUESTIONS = ["Where was Ada Example born?", "Where was Bo born?", "Where was Example Bo Ada born?"]
# Characters that tokenizers like to change: spaces, ends of lines, accents apart and composed, joiners, emoji, byte 0.
ODD = "\n \t\u00a0\u2028\u0301e\u00e9\u200d\u200b\ufeff\0\U0001f600\U0001f3fd#'\"\\ſİ�"
VOCABULARY = Vocabulary.of("".join(QUESTIONS) + ODD)


def trained(path: Path, variant: str, std: float = 1.0, **changes) -> tuple[Path, GPT]:
    """A model with large weights, and its parameters with their record at `path`."""
    options = {name: SMALL_OPTIONS[name] for name in VARIANTS[variant].options if name in SMALL_OPTIONS}
    sizes = dict(
        vocab_size=len(VOCABULARY), block_size=72, n_layer=2 + VARIANTS[variant].bottleneck, n_head=4, n_embd=32
    )
    torch.manual_seed(0)
    model = loud(GPT(GPTConfig(**{**sizes, **changes}, variant=variant, options=options, ignore_index=0)), std)
    record = dict(variant=variant, config=asdict(model.config), vocabulary=VOCABULARY.characters)
    arguments = dict(variant=variant, pretrain_corpus_path="/home/ada/texts.txt", writing_params_path="/home/ada/P")
    save_parameters(path, model, record | dict(command="finetune", recipe="quick", epochs=3, arguments=arguments))
    return path, model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A function: the folder of an exported variant, made once, and our model. rope is exported to ONNX too."""
    made = {}

    def of(variant: str) -> tuple[Path, GPT]:
        if variant not in made:
            place = tmp_path_factory.mktemp(variant)
            whole = variant == "rope"  # tracing takes seconds a layer
            path, model = trained(place / "P", variant, n_layer=1 if whole else 2)
            export(path, to=place / "exported", format=None if whole else "huggingface")
            made[variant] = place / "exported", model
        return made[variant]

    return of


def answers_of(model: GPT, questions: list[str]) -> list[str]:
    ids, lengths = encode_questions(questions, VOCABULARY, model.config.block_size, "questions")
    return [answer.replace(PAD_CHAR, "") for answer in stages.answer(model, VOCABULARY, ids, lengths, plain=True)]


# --------------------------------------------------------------------------------------------------- Hugging Face


@needs_libraries
@pytest.mark.parametrize("variant", ["vanilla", "sinusoidal", "rope"])
def test_transformers_computes_the_same_logits_and_answers(variant, exported):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place, model = exported(variant)
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(place).eval(), AutoTokenizer.from_pretrained(place)
    idx = torch.randint(len(VOCABULARY), (3, model.config.block_size))
    with torch.inference_mode():
        torch.testing.assert_close(theirs(idx).logits, model(idx)[0], atol=1e-4, rtol=0)
    prompts = tokenizer([question + MASK_CHAR for question in QUESTIONS], return_tensors="pt", padding=True)
    tokens = theirs.generate(**prompts)[:, prompts.input_ids.size(1) :]  # a batch of prompts of different lengths
    wanted = answers_of(model, QUESTIONS)
    assert len(set(wanted)) > 1, "the model must not say the same to everything"
    found = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    assert [answer.replace("\n", " ") for answer in found] == wanted


@needs_libraries
@pytest.mark.parametrize("variant", sorted(VARIANTS.keys() - {"vanilla", "sinusoidal", "rope"}))
def test_what_no_architecture_of_transformers_computes_is_refused(variant, tmp_path):
    path, _ = trained(tmp_path / "P", variant)
    with pytest.raises(ValueError, match=f"no architecture of Hugging Face computes the variant {variant}"):
        export(path, to=tmp_path / "exported")
    assert {file.name for file in tmp_path.iterdir()} == {"P", "P.json"}


@needs_libraries
def test_rotations_that_are_not_roformers_are_refused(tmp_path):
    path, model = trained(tmp_path / "P", "rope")
    content = model.state_dict()
    for name, module in model.named_modules():
        if isinstance(module, RotaryAttention):  # as the course's code saves its table
            content[f"{name}.rope_cache"] = module.rope_cache.roll(1, 0)
    record = json.loads((tmp_path / "P.json").read_text(encoding="utf-8"))
    torch.save(content, path)
    (tmp_path / "P.json").write_text(json.dumps({k: v for k, v in record.items() if k != "sha256"}), encoding="utf-8")
    with pytest.raises(ValueError, match="table of rotations of its own"):
        export(path, to=tmp_path / "exported", format="huggingface")


@needs_libraries
def test_the_tokenizer_has_the_ids_of_the_vocabulary_and_gives_every_character_back(exported):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(exported("vanilla")[0])
    text = VOCABULARY.characters
    assert len(tokenizer) == len(text)
    assert tokenizer(text).input_ids == list(range(len(text)))
    assert [tokenizer.decode([i]) for i in range(len(text))] == list(text)
    again = text[::-1] + "  a . , 's\n\n"
    again = "".join([char for char in again if char in text])
    assert tokenizer.decode(tokenizer(again).input_ids) == again
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.mask_token_id) == (0, 1, 1)
    with pytest.raises(Exception, match="Missing"):
        tokenizer("Ж")


# ------------------------------------------------------------------------------------------------------------ ONNX

EVERY = sorted(VARIANTS) if os.environ.get("EXPORT_ALL") else ["rope"]


def write_onnx(place: Path, variant: str) -> GPT:
    """Export a small model to place/exported, and return it. Tracing takes seconds a layer: it has few.

    Its weights are half as large as elsewhere here. Larger ones make attention nearly a choice of one token, and the
    rounding of float32 in our own logits, too, grows beyond 1e-4 (measured against float64).
    """
    path, model = trained(place / "P", variant, std=0.5, n_layer=1 + 2 * VARIANTS[variant].bottleneck)
    export(path, to=place / "exported", format="onnx")
    return model


@needs_libraries
@pytest.mark.parametrize("variant", EVERY)
def test_onnxruntime_computes_the_same_logits_for_any_batch_and_length(variant, exported, tmp_path):
    import onnxruntime

    if variant == "rope":
        place, model = exported(variant)
    else:
        place, model = tmp_path / "exported", write_onnx(tmp_path, variant)
        assert not (place / "config.json").exists()
    session = onnxruntime.InferenceSession(place / "model.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 1), (1, 72), (5, 31), (2, 64)):  # 64: one full chunk of Performer's, without padding
        idx = torch.randint(len(VOCABULARY), shape)
        (found,) = session.run(["logits"], {"input_ids": idx.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), model(idx)[0].detach(), atol=1e-4, rtol=0)


@needs_libraries
@pytest.mark.skipif("EXPORT_ALL" not in os.environ, reason="slow: set EXPORT_ALL=1")
def test_a_graph_of_one_length_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(exports.onnx, "example_of", lambda model: (torch.zeros(2, 5, dtype=torch.long), None))
    with pytest.raises(ValueError, match="ONNX cannot compute this vanilla model"):
        write_onnx(tmp_path, "vanilla")
    assert {file.name for file in tmp_path.iterdir()} == {"P", "P.json"}


# ------------------------------------------------------------------------------------------------- card and pages


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@needs_libraries
def test_the_code_of_the_card_and_of_the_page_gives_our_answers(exported, monkeypatch):
    place, model = exported("rope")
    card = (place / "README.md").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    wanted = answers_of(model, ["Where was Ada Example born?", "Where was Bo Example born?"])
    for text, start in ((card, place), (page, place.parent)):
        blocks = python_blocks(text)
        assert len(blocks) == 2  # transformers, onnxruntime
        monkeypatch.chdir(start)
        for block in blocks:
            names: dict = {}
            exec(block, names)
            found = names["answers"]
            assert [answer.replace("\n", " ") for answer in found] == wanted


@needs_libraries
def test_the_card_says_how_the_model_was_made_and_no_folder_of_its_maker(exported):
    place, model = exported("rope")
    card = (place / "README.md").read_text(encoding="utf-8")
    assert "python src/run.py finetune rope texts.txt --writing_params_path P" in card and "/home" not in card
    assert "3 epochs of the recipe `quick`" in card and "This is not known" in card and "license: other" in card
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in card


def test_the_card_counts_right_answers_if_the_report_has_counted_them(tmp_path):
    path, _ = trained(tmp_path / "P", "vanilla")
    model, record = exports.load(path)
    bins = [dict(low=i / 2, high=(i + 1) / 2, right=3, total=4 + i) for i in range(2)]
    for sha256, wanted in (
        (record["sha256"], "6 of 9 answers (66.7%) to the questions of `dev.tsv`"),
        ("", "not known"),
    ):
        counted = dict(sha256=sha256, questions="dev.tsv", bins=bins)
        (tmp_path / "P.calibration.json").write_text(json.dumps(counted), encoding="utf-8")
        assert wanted in exports.card.text(path, record, model, [], 1e-6)


# ------------------------------------------------------------------------------------------------- files and words


class Stub:
    """Stands for a library: writes a file, and computes what our model computes, or `off` more."""

    LIBRARY, PACKAGES, off = "a stub", (), 0.0

    def write(self, place, model, tokenizer):
        (place / "model.onnx").write_text("new", encoding="utf-8")
        return lambda idx: model(idx)[0] + self.off


@pytest.fixture
def stub(monkeypatch):
    stub = Stub()
    monkeypatch.setitem(FORMATS, "onnx", stub)
    monkeypatch.setattr(exports.card, "text", lambda *arguments: "card\n")
    monkeypatch.setattr(exports.huggingface, "tokenizer_of", lambda vocabulary: stub)
    stub.save = lambda name: Path(name).write_text("{}", encoding="utf-8")
    return stub


def content(place: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in place.iterdir()}


WRITTEN = {"README.md": "card\n", "tokenizer.json": "{}", "model.onnx": "new"}


def test_a_folder_with_files_is_left_alone_or_its_export_is_replaced(stub, tmp_path):
    path, _ = trained(tmp_path / "P", "vanilla")
    place = tmp_path / "exported"
    place.mkdir()
    export(path, to=place, format="onnx")  # an empty folder is no obstacle
    assert content(place) == WRITTEN
    theirs = {"config.json": "of another format", "README.md": "edited", "notes.txt": "mine"}
    for name, text in theirs.items():
        (place / name).write_text(text, encoding="utf-8")
    before = content(place)
    with pytest.raises(ValueError, match="is not empty: --overwrite replaces"):
        export(path, to=place, format="onnx")
    assert content(place) == before
    export(path, to=place, format="onnx", overwrite=True)
    assert content(place) == WRITTEN | {"notes.txt": "mine"}
    assert {file.name for file in tmp_path.iterdir()} == {"P", "P.json", "exported"}


def test_nothing_is_left_of_an_export_that_computes_something_else(stub, tmp_path):
    path, _ = trained(tmp_path / "P", "vanilla")
    stub.off = 2e-2
    with pytest.raises(ValueError, match="computes other logits of this vanilla model: they differ by up to 2"):
        export(path, to=tmp_path / "exported", format="onnx")
    stub.off = float("nan")
    with pytest.raises(ValueError, match="other logits"):
        export(path, to=tmp_path / "exported", format="onnx")
    assert {file.name for file in tmp_path.iterdir()} == {"P", "P.json"}


def test_a_place_that_cannot_be_written_is_refused_before_a_library_is_imported(tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "require", lambda packages: pytest.fail("too late"))
    path, _ = trained(tmp_path / "config.json", "vanilla")
    (tmp_path / "file").touch()
    for place, words in {
        path: "one of the files to read",
        tmp_path: "one of the files to read",  # it would write a config.json
        tmp_path / "file" / "exported": "there is no folder",
        tmp_path / "nowhere" / "exported": "there is no folder",
    }.items():
        with pytest.raises((OSError, ValueError), match=words):
            export(path, to=place, overwrite=True)
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "model.onnx").mkdir()
    with pytest.raises(OSError, match="model.onnx: cannot be written: it is a folder"):
        export(path, to=tmp_path / "exported", overwrite=True)


@pytest.mark.parametrize(
    "words, said",
    [
        ("", "a file for the course's code (--outputs_path FILE) or a folder (--to DIR)"),
        ("--to D --outputs_path F", "or a folder"),
        ("--to D --format course", "or a folder"),
        ("--outputs_path F --format onnx", "or a folder"),
        ("--to D", "not installed: onnxruntime (pip install -r requirements-export.txt)"),
    ],
)
def test_the_command_line_says_what_is_missing_in_one_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exports, "find_spec", lambda name: None if name == "onnxruntime" else name)
    trained(tmp_path / "P", "vanilla")
    assert run.main(["export", "P", *words.split()]) == 2
    said_so = capsys.readouterr().err
    assert said in said_so and said_so.count("\n") == 1
    assert {file.name for file in tmp_path.iterdir()} == {"P", "P.json"}


def test_a_record_whose_vocabulary_is_none_is_refused(tmp_path):
    path, _ = trained(tmp_path / "P", "vanilla")
    record = json.loads((tmp_path / "P.json").read_text(encoding="utf-8"))
    for vocabulary in ("v" * len(VOCABULARY), VOCABULARY.characters[::-1], PAD_CHAR + MASK_CHAR):
        (tmp_path / "P.json").write_text(json.dumps(record | {"vocabulary": vocabulary}), encoding="utf-8")
        with pytest.raises(ValueError, match="vocabulary"):
            exports.load(path)
    (tmp_path / "P.json").unlink()
    with pytest.raises(ValueError, match="has no record"):
        exports.load(path)
