"""Asking one model: confidences against a computation character by character, runners-up, attention, trust."""

import io
import json
import math

import pytest
import torch

import asking
import run
import stages
from attention import VARIANTS, written_out_attention
from dataset import MASK, CharCorruptionDataset, encode_questions
from stages import answer

SIZES = dict(n_layer=2, n_head=2, n_embd=16, block_size=64, device="cpu")
QUESTIONS = ["Where was Ada Fern born?", "Where was Bo Lind born?", "Where was Çem Ok born?"]


@pytest.fixture
def prompts(corpus):
    return encode_questions(QUESTIONS, corpus.stoi, corpus.block_size, "here")


def by_hand(model, corpus, question: str, max_new_tokens: int) -> tuple[str, float]:
    """The greedy answer and its confidence, one character and one forward pass of one row at a time."""
    tokens = [corpus.stoi[c] for c in question] + [MASK]
    confidence, said = 1.0, ""
    while len(tokens) < model.config.block_size and len(said) < max_new_tokens:
        p = model(torch.tensor([tokens]))[0][0, -1].softmax(dim=-1)
        token = int(p.argmax())
        confidence *= float(p[token])
        if token == MASK:
            break
        said += corpus.itos[token]
        tokens.append(token)
    return said.replace("\n", " "), confidence


@pytest.mark.parametrize("variant", VARIANTS)
def test_confidence_is_the_product_of_the_probabilities_on_the_way(make_model, corpus, prompts, variant):
    model = make_model(variant=variant, n_layer=3).eval()
    with torch.no_grad():
        model.head.weight[MASK] += 0.3 * model.head.weight.std()  # so that some answers end
        found = asking.answer_with_confidence(model, corpus, *prompts)
        assert found.texts == answer(model, corpus, *prompts), "as evaluate answers"
        for i, question in enumerate(QUESTIONS):
            said, confidence = by_hand(model, corpus, question, stages.ANSWER_LENGTH)
            assert found.texts[i] == said
            assert math.log(found.confidence[i]) == pytest.approx(math.log(confidence), abs=1e-3)


def test_an_answer_that_ends_at_once_has_the_confidence_of_the_mask(make_model, corpus, prompts):
    model = make_model()
    with torch.no_grad():
        model.ln_f.weight.zero_()
        model.ln_f.bias.copy_(50 * model.head.weight[MASK])
        found = asking.answer_with_confidence(model, corpus, *prompts)
        at = prompts[1] - 1
        p = model.eval()(prompts[0])[0][range(3), at].softmax(dim=-1)[:, MASK]
    assert found.texts == ["", "", ""] and found.confidence == pytest.approx(p.numpy(), rel=1e-5)


def test_an_answer_that_does_not_end_is_cut_where_the_course_cuts_it(make_model, corpus):
    model = make_model()
    with torch.no_grad():
        model.ln_f.weight.zero_()
        model.ln_f.bias.copy_(50 * model.head.weight[corpus.stoi["a"]])
    one = encode_questions(["Where was it?"], corpus.stoi, corpus.block_size, "here")
    assert answer(model, corpus, *one) == asking.answer_with_confidence(model, corpus, *one).texts == ["a" * 32]
    assert [len(text) for text, _ in asking.runners_up(model, corpus, *one, count=3)] == [32] * 3


def test_confidence_does_not_depend_on_how_many_are_asked_at_a_time(make_model, corpus, prompts, monkeypatch):
    model = make_model()
    together = asking.answer_with_confidence(model, corpus, *prompts)
    monkeypatch.setattr(stages, "ROWS_ON_CPU", 2)
    parts = asking.answer_with_confidence(model, corpus, *prompts)
    assert parts.texts == together.texts and parts.rows.tolist() == together.rows.tolist()
    assert parts.confidence == pytest.approx(together.confidence, rel=1e-4)


def test_nothing_is_dropped_out_of_answers(make_model, corpus, prompts):
    model, (ids, lengths) = make_model(resid_pdrop=0.5), prompts
    one = ids[:1, : lengths[0]], lengths[:1]
    confidences, others = [], []
    for _ in range(2):
        model.train()
        confidences.append(asking.answer_with_confidence(model, corpus, *prompts).confidence.tolist())
        assert model.training, "as it was"
        others.append(asking.runners_up(model, corpus, *one))
        asking.attention_to_prompt(model, one[0])
        assert model.training, "nor by these"
    assert confidences[0] == confidences[1] and others[0] == others[1]


def test_runners_up_begin_with_the_greedy_answer_and_then_fall(make_model, corpus, prompts):
    model, (ids, lengths) = make_model(), prompts
    one = ids[:1, : lengths[0]], lengths[:1]
    found = asking.runners_up(model, corpus, *one, count=4)
    greedy = asking.answer_with_confidence(model, corpus, *one)
    assert found[0] == (greedy.texts[0], pytest.approx(float(greedy.confidence[0]), rel=1e-4))
    assert len(found) == 4 and len({text[:1] for text, _ in found}) == 4, "one for each first character"
    assert [p for _, p in found[1:]] == sorted((p for _, p in found[1:]), reverse=True)
    assert sum(p for _, p in found) <= 1


# ------------------------------------------------------------------------------------------------------- attention


@pytest.mark.parametrize("variant", VARIANTS)
def test_attention_is_drawn_or_refused(make_model, corpus, prompts, variant):
    model, ids = make_model(variant=variant, n_layer=3), prompts[0][:1]
    if variant not in ("vanilla", "sinusoidal", "rope"):
        with pytest.raises(ValueError, match=f"the weights of {variant} .* choose a vanilla"):
            asking.attention_to_prompt(model, ids)
        return
    before = model.eval()(ids)[0]
    weights = asking.attention_to_prompt(model, ids)
    assert weights.shape == (3, ids.size(1)) and torch.allclose(weights.sum(1), torch.ones(3))
    assert torch.equal(model(ids)[0], before), "looking leaves no trace"
    # The first layer's, from its definition.
    attn, block = model.blocks[0].attn, model.blocks[0]
    x = block.ln1(model._embed(ids, None))
    q, k = (linear(x).unflatten(-1, (2, -1)).transpose(1, 2) for linear in (attn.query, attn.key))
    by_definition = written_out_attention(attn._turn(q, None), attn._turn(k, None), q)[1][0, :, -1].mean(0)
    assert torch.allclose(weights[0], by_definition, atol=1e-6)


def test_the_drawing_has_a_bar_under_every_character():
    weights = torch.tensor([[0.0, 0.5, 0.25, 0.25]])
    *_, asked, layer = asking.draw_attention(weights, "Abc", slice(1, 3)).split("\n")
    assert asked[9:12] == "Abc" and layer[9:13] == " █▄▄" and "75% on the name" in layer


@pytest.mark.parametrize(
    "asked, name",
    [("Ada Fern", "Ada Fern"), ("Where was Bo Lind born?", "Bo Lind"), ("Nobody knows?", "Nobody knows?")],
)
def test_the_share_on_the_name_is_that_of_the_name(make_model, corpus, monkeypatch, folder, asked, name):
    """Of the whole question, if it is none about a name."""
    named = []
    monkeypatch.setattr(asking, "draw_attention", lambda weights, question, where: named.append(question[where]) or "")
    asking.reply(make_model(), corpus, asked, "fine", show="attention")
    assert named == [name]


# --------------------------------------------------------------------------------------------------------- command


@pytest.fixture
def trained(folder):
    stages.finetune("vanilla", "wiki.txt", "fine", "train.tsv", max_epochs=2, **SIZES)
    return folder


ASK = ["ask", "vanilla", "wiki.txt", "--reading_params_path", "fine", "--device", "cpu"]


def record(bins) -> str:
    keys = ("low", "high", "total", "right")
    rows = [dict(zip(keys, row, strict=True)) for row in bins]
    made_up = [0.25, 0.75]
    return json.dumps({"sha256": asking.file_sha256("fine"), "questions": "dev.tsv", "bins": rows,
                       "unseen_share_of_bin": made_up})  # fmt: skip


def test_a_question_is_answered_and_a_name_is_enough(trained, capsys):
    assert run.main([*ASK, "Where was Ada Fern born?"]) == 0
    first = capsys.readouterr().out
    assert run.main([*ASK, "Ada Fern", "--show", "attention"]) == 0
    second = capsys.readouterr().out
    assert second.startswith(first.rstrip()) and "layer 2" in second
    assert first.startswith("Where was Ada Fern born?\n") and "there is no fine.calibration.json" in first


def test_nothing_that_is_printed_moves_the_terminal(make_model, monkeypatch, folder):
    text = "Ada \x1b[2J. Born in \x1b[31mOslo\n Where was it? Nobody knows .\n"
    corpus = CharCorruptionDataset(text, 64)
    model = make_model(vocab_size=corpus.vocab_size)
    answers = [("\x1b[31mOslo", 0.5), ("\x1b", 0.1)]
    monkeypatch.setattr(asking, "runners_up", lambda *arguments: answers)
    said = asking.reply(model, corpus, "Ada \x1b[2J", "fine", show="attention")
    assert "\x1b" not in said and "\\x1b[31mOslo" in said and "Where was Ada \\x1b[2J born?" in said


def test_nothing_is_no_question(trained, capsys):
    assert run.main([*ASK, " "]) == 2
    assert capsys.readouterr().err == "run.py: the question is empty\n"


def test_questions_are_read_until_an_empty_line_and_mistakes_do_not_end_it(trained, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Ada Fern\nЖ\nBo Lind\n\nEve Ash\n"))
    assert run.main(ASK) == 0
    shown = capsys.readouterr()
    assert "Where was Ada Fern born?" in shown.out and "Where was Bo Lind born?" in shown.out
    assert "Eve Ash" not in shown.out and "'Ж' (U+0416) does not occur" in shown.err


def test_trust_says_how_often_such_a_confidence_was_right(folder):
    (folder / "fine").write_bytes(b"parameters")
    asking.calibration_path("fine").write_text(record([(0, 0.5, 40, 2), (0.5, 1, 20, 19)]))
    assert "usually right: 19 of the 20 answers to dev.tsv" in asking.trust(0.9, "fine")
    assert "75% have such a confidence too" in asking.trust(0.9, "fine")
    assert "usually wrong: 2 of the 40" in asking.trust(0.2, "fine")
    asking.calibration_path("fine").write_text(record([(0, 0.5, 40, 20), (0.5, 1, 3, 3)]))
    assert "it may be either: 20 of the 40" in asking.trust(0.2, "fine")
    assert "only 3 answers" in asking.trust(1.0, "fine")


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "is damaged"),
        ('{"sha256": "x", "bins": []}', "is damaged"),
        ("[" * 100_000, "is damaged"),
        (("low", "a"), "is damaged"),
        (("high", None), "is damaged"),
        (("total", 10**400), "is damaged"),
        ("other", "is about other parameters"),
    ],
)
def test_trust_does_not_guess(folder, content, message):
    (folder / "fine").write_bytes(b"parameters")
    if isinstance(content, tuple):
        damaged = json.loads(record([(0, 0.5, 9, 9), (0.5, 1, 9, 9)]))
        damaged["bins"][1] |= [content]
        content = json.dumps(damaged)
    if content == "other":
        content = record([(0, 0.5, 9, 9), (0.5, 1, 9, 9)]).replace(asking.file_sha256("fine"), "0")
    asking.calibration_path("fine").write_text(content)
    assert "cannot be told" in asking.trust(0.9, "fine") and message in asking.trust(0.9, "fine")


def test_mistakes_are_one_line(trained, capsys):
    assert run.main([*ASK, "Жук"]) == 2
    assert "does not occur in the pretraining corpus" in capsys.readouterr().err
    for extra in (["a", "b"], ["--no"]):
        with pytest.raises(SystemExit) as stopped:
            run.main([*ASK, *extra])
        assert stopped.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
