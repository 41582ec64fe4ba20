"""Asking one model: confidences against a computation character by character, runners-up, attention, trust."""

import io
import json
import math

import pytest
import torch

import run
import stages
from attention import VARIANTS, apply_rotary_emb, precompute_rotary_emb, sinusoidal_positions
from conftest import written_out_attention
from dataset import CharCorruptionDataset, encode_questions
from stages import answer
from trust import asking
from vocabulary import MASK

SIZES = dict(n_layer=2, n_head=2, n_embd=16, block_size=64, device="cpu")
QUESTIONS = ["Where was Ada Fern born?", "Where was Bo Lind born?", "Where was Çem Ok born?"]


@pytest.fixture
def prompts(corpus):
    return encode_questions(QUESTIONS, corpus.vocabulary, corpus.block_size, "here")


def by_hand(model, vocabulary, prompt: list[int], max_length: int) -> tuple[str, float]:
    """The greedy answer and its confidence, from one forward pass of one row for each character."""
    tokens, confidence, said = list(prompt), 1.0, ""
    while len(said) < max_length:
        p = model(torch.tensor([tokens[-model.config.block_size :]]))[0][0, -1].softmax(dim=-1)
        token = int(p.argmax())
        confidence *= float(p[token])
        if token == MASK:
            break
        said += vocabulary.itos[token]
        tokens.append(token)
    return said.replace("\n", " "), confidence


def row(prompts, i: int) -> list[int]:
    ids, lengths = prompts
    return ids[i, : lengths[i]].tolist()


def always_says(model, token: int) -> None:
    """Make the model all but certain of one token, whatever it reads."""
    model.ln_f.weight.data.zero_()
    model.ln_f.bias.data.copy_(50 * model.head.weight[token])


@pytest.mark.parametrize("variant", VARIANTS)
def test_confidence_is_the_product_of_the_probabilities_of_all_characters(make_model, corpus, prompts, variant):
    model = make_model(variant=variant, n_layer=3).eval()
    with torch.no_grad():
        model.head.weight[MASK] += 0.3 * model.head.weight.std()  # so that some answers end
        found = asking.answer_with_confidence(model, corpus.vocabulary, *prompts)
        assert found.texts == answer(model, corpus.vocabulary, *prompts), "the answers are those of evaluate"
        for i in range(len(QUESTIONS)):
            said, confidence = by_hand(model, corpus.vocabulary, row(prompts, i), stages.ANSWER_LENGTH)
            assert found.texts[i] == said
            assert math.log(found.confidence[i]) == pytest.approx(math.log(confidence), abs=1e-3)


def test_log_probs_hold_one_distribution_for_every_character_up_to_the_closing_mask(make_model, corpus, prompts):
    model = make_model()
    model.head.weight.data[MASK] += 0.3 * model.head.weight.std()
    found = asking.answer_with_confidence(model, corpus.vocabulary, *prompts)
    for i, text in enumerate(found.texts):
        tokens = found.tokens[found.rows == i].tolist()
        assert corpus.vocabulary.decode_answer(tokens) == text and MASK not in tokens[:-1]
        assert tokens[-1] == MASK or len(tokens) == stages.ANSWER_LENGTH
    assert found.log_probs.shape == (len(found.tokens), len(corpus.vocabulary))
    assert torch.from_numpy(found.log_probs).exp().sum(dim=1).numpy() == pytest.approx(1, abs=1e-5)


def test_an_answer_that_ends_at_once_has_the_confidence_of_the_mask(make_model, corpus, prompts):
    model = make_model()
    always_says(model, MASK)
    found = asking.answer_with_confidence(model, corpus.vocabulary, *prompts)
    with torch.no_grad():
        p = model.eval()(prompts[0])[0][range(3), prompts[1] - 1].softmax(dim=-1)[:, MASK]
    assert found.texts == ["", "", ""] and found.confidence == pytest.approx(p.numpy(), rel=1e-5)


def test_an_answer_that_does_not_end_is_cut_where_the_course_cuts_it(make_model, corpus):
    model = make_model()
    always_says(model, corpus.stoi["a"])
    one = encode_questions(["Where was it?"], corpus.vocabulary, corpus.block_size, "here")
    found = asking.answer_with_confidence(model, corpus.vocabulary, *one)
    assert answer(model, corpus.vocabulary, *one) == found.texts == ["a" * 32] and len(found.tokens) == 32
    assert [len(text) for text, _ in asking.runners_up(model, corpus.vocabulary, *one, count=3)] == [32] * 3


@pytest.mark.parametrize("variant", ["vanilla", "rope", "bigbird"])
def test_all_characters_count_when_the_answer_outgrows_the_block(make_model, corpus, variant):
    model = make_model(variant=variant).eval()
    model.head.weight.data *= 10  # so that the answer is not one character throughout
    model.head.weight.data[MASK] = -model.head.weight.data[corpus.stoi["a"]]
    one = encode_questions(["W" * (corpus.block_size - 10)], corpus.vocabulary, corpus.block_size, "here")
    found = asking.answer_with_confidence(model, corpus.vocabulary, *one)
    with torch.no_grad():
        said, confidence = by_hand(model, corpus.vocabulary, row(one, 0), stages.ANSWER_LENGTH)
    assert len(said) > 10, "longer than the room in the block"
    assert found.texts == [said] and math.log(found.confidence[0]) == pytest.approx(math.log(confidence), abs=1e-3)


def test_confidence_does_not_depend_on_the_size_of_a_batch(make_model, corpus, prompts, monkeypatch):
    model = make_model()
    together = asking.answer_with_confidence(model, corpus.vocabulary, *prompts)
    monkeypatch.setattr(stages, "ROWS_ON_CPU", 2)
    parts = asking.answer_with_confidence(model, corpus.vocabulary, *prompts)
    assert parts.texts == together.texts and parts.rows.tolist() == together.rows.tolist()
    assert parts.confidence == pytest.approx(together.confidence, rel=1e-4)


def test_dropout_is_off_while_a_model_is_asked_and_its_mode_is_restored(make_model, corpus, prompts):
    model, (ids, lengths) = make_model(resid_pdrop=0.5), prompts
    one = ids[:1, : lengths[0]], lengths[:1]
    confidences, others = [], []
    for _ in range(2):
        model.train()
        confidences.append(asking.answer_with_confidence(model, corpus.vocabulary, *prompts).confidence.tolist())
        assert model.training
        others.append(asking.runners_up(model, corpus.vocabulary, *one))
        asking.attention_to_prompt(model, one[0])
        assert model.training
    assert confidences[0] == confidences[1] and others[0] == others[1]


# ------------------------------------------------------------------------------------------------------ runners-up


def test_runners_up_begin_with_the_greedy_answer_and_fall_in_confidence_from_there(make_model, corpus, prompts):
    model, (ids, lengths) = make_model(), prompts
    one = ids[:1, : lengths[0]], lengths[:1]
    found = asking.runners_up(model, corpus.vocabulary, *one, count=4)
    greedy = asking.answer_with_confidence(model, corpus.vocabulary, *one)
    assert found[0] == (greedy.texts[0], pytest.approx(float(greedy.confidence[0]), rel=1e-4))
    assert len(found) == 4 and len({text[:1] for text, _ in found}) == 4, "each begins with another character"
    assert [p for _, p in found[1:]] == sorted((p for _, p in found[1:]), reverse=True)
    assert sum(p for _, p in found) <= 1


def test_a_runner_up_is_a_likely_first_character_continued_greedily(make_model, corpus, prompts):
    """Its confidence is the product of the probabilities of all its characters. One that ends at once is the MASK's."""
    model, vocabulary = make_model().eval(), corpus.vocabulary
    count = len(vocabulary)  # so that the MASK is one of them
    one = prompts[0][:1, : prompts[1][0]], prompts[1][:1]
    with torch.no_grad():
        first = model(one[0])[0][0, -1].softmax(dim=-1)  # (V,)
        expected = []
        for token in first.topk(count).indices.tolist():
            text, p = ("", 1.0) if token == MASK else by_hand(model, vocabulary, [*row(prompts, 0), token], 31)
            start = "" if token == MASK else vocabulary.itos[token].replace("\n", " ")
            expected.append((start + text, float(first[token]) * p))
    greedy, *others = expected
    found = asking.runners_up(model, vocabulary, *one, count=count)
    expected = [greedy, *sorted(others, key=lambda pair: -pair[1])]
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [p for _, p in found] == pytest.approx([p for _, p in expected], rel=1e-3)


# ------------------------------------------------------------------------------------------------------- attention


def weights_of_first_layer(model, ids):
    """softmax(q k' / sqrt(hs)) of the first layer (B, nh, T, T), from its definition."""
    block, T, x = model.blocks[0], ids.size(1), model.tok_emb(ids)
    if model.config.variant == "vanilla":
        x = x + model.pos_emb[:, :T]
    elif model.config.variant == "sinusoidal":
        x = x + sinusoidal_positions(torch.arange(T), x.size(2))
    x = block.ln1(x)
    q, k = (linear(x).unflatten(-1, (2, -1)).transpose(1, 2) for linear in (block.attn.query, block.attn.key))
    if model.config.variant == "rope":
        cache = precompute_rotary_emb(q.size(-1), T)
        q, k = apply_rotary_emb(q, cache), apply_rotary_emb(k, cache)
    return written_out_attention(q, k, q)[1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_attention_is_that_of_the_definition_or_refused(make_model, corpus, prompts, variant):
    model, ids = make_model(variant=variant, n_layer=3), prompts[0][:1]
    if variant not in ("vanilla", "sinusoidal", "rope"):
        with pytest.raises(ValueError, match=f"a {variant} model does not compare .* choose a vanilla"):
            asking.attention_to_prompt(model, ids)
        return
    before = model.eval()(ids)[0]
    weights = asking.attention_to_prompt(model, ids)
    assert weights.shape == (3, ids.size(1)) and torch.allclose(weights.sum(1), torch.ones(3))
    assert torch.equal(model(ids)[0], before), "looking changes nothing"
    assert not any(module._forward_hooks for module in model.modules()), "no hook stays"
    assert torch.allclose(weights[0], weights_of_first_layer(model, ids)[0, :, -1].mean(0), atol=1e-6)


def test_the_drawing_has_a_bar_under_every_character():
    weights = torch.tensor([[0.0, 0.5, 0.25, 0.25]])
    *_, asked, layer = asking.draw_attention(weights, "Abc", slice(1, 3)).split("\n")
    assert asked[9:12] == "Abc" and layer[9:13] == " █▄▄" and "75% on the name" in layer


@pytest.mark.parametrize(
    "asked, name",
    [("Ada Fern", "Ada Fern"), ("Where was Bo Lind born?", "Bo Lind"), ("Nobody knows?", "Nobody knows?")],
)
def test_the_share_on_the_name_is_summed_over_the_name_or_else_the_question(
    make_model, corpus, monkeypatch, folder, asked, name
):
    named = []
    monkeypatch.setattr(asking, "draw_attention", lambda weights, question, where: named.append(question[where]) or "")
    asking.reply(make_model(), corpus.vocabulary, asked, "fine", show="attention")
    assert named == [name]


# --------------------------------------------------------------------------------------------------------- command


@pytest.fixture
def trained(folder):
    stages.finetune("vanilla", "wiki.txt", "fine", "train.tsv", max_epochs=2, **SIZES)
    return folder


ASK = ["ask", "vanilla", "wiki.txt", "--reading_params_path", "fine", "--device", "cpu"]


def test_a_name_stands_for_the_question_about_its_birth_place(trained, capsys):
    assert run.main([*ASK, "Where was Ada Fern born?"]) == 0
    first = capsys.readouterr().out
    assert run.main([*ASK, "Ada Fern", "--show", "attention"]) == 0
    second = capsys.readouterr().out
    assert second.startswith(first.rstrip()) and "layer 2" in second
    assert first.startswith("Where was Ada Fern born?\n") and "there is no fine.calibration.json" in first


def test_no_control_character_reaches_the_terminal(make_model, monkeypatch, folder):
    text = "Ada \x1b[2J. Born in \x1b[31mOslo\n Where was it? Nobody knows .\n"
    corpus = CharCorruptionDataset(text, 64)
    model = make_model(vocab_size=corpus.vocab_size)
    answers = [("\x1b[31mOslo", 0.5), ("\x1b", 0.1)]
    monkeypatch.setattr(asking, "runners_up", lambda *arguments: answers)
    (folder / "fine").write_bytes(b"parameters")
    write_record([(0, 0.5, 40, 2), (0.5, 1, 20, 19)], questions="\x1b[2Jdev.tsv")
    said = asking.reply(model, corpus.vocabulary, "Ada \x1b[2J", "fine", show="attention")
    assert "\x1b" not in said and "\\x1b[31mOslo" in said and "Where was Ada \\x1b[2J born?" in said
    assert "\\x1b[2Jdev.tsv" in said


def test_an_empty_question_is_refused(trained, capsys):
    assert run.main([*ASK, " "]) == 2
    assert capsys.readouterr().err == "run.py: the question is empty\n"


def test_questions_are_read_until_an_empty_line_and_a_mistake_does_not_end_it(trained, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Ada Fern\nЖ\nBo Lind\n\nEve Ash\n"))
    assert run.main(ASK) == 0
    shown = capsys.readouterr()
    assert "Where was Ada Fern born?" in shown.out and "Where was Bo Lind born?" in shown.out
    assert "Eve Ash" not in shown.out and "'Ж' (U+0416) does not occur" in shown.err


def test_a_mistake_is_one_line(trained, capsys):
    assert run.main([*ASK, "Жук"]) == 2
    assert "does not occur in the pretraining corpus" in capsys.readouterr().err
    for extra in (["a", "b"], ["--no"]):
        with pytest.raises(SystemExit) as stopped:
            run.main([*ASK, *extra])
        assert stopped.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1


# ----------------------------------------------------------------------------------------------- how far to trust it


def write_record(bins, questions: str = "dev.tsv", **changes) -> None:
    """The record of calibration beside the parameters `fine`: bins (low, high, total, right)."""
    keys = ("low", "high", "total", "right")
    rows = [dict(zip(keys, row, strict=True)) for row in bins]
    record = {"sha256": asking.file_sha256("fine"), "questions": questions, "bins": rows}
    record |= {"unseen_share_of_bin": [0.25, 0.75], **changes}
    asking.calibration_path("fine").write_text(json.dumps(record))


@pytest.fixture
def fine(folder):
    (folder / "fine").write_bytes(b"parameters")
    return folder


def test_trust_says_how_often_such_a_confidence_was_right(fine):
    write_record([(0, 0.5, 40, 2), (0.5, 1, 20, 19)])
    assert "usually right: 19 of the 20 answers to dev.tsv" in asking.trust(0.9, "fine")
    assert "75% have such a confidence too" in asking.trust(0.9, "fine")
    assert "usually wrong: 2 of the 40" in asking.trust(0.2, "fine")
    write_record([(0, 0.5, 40, 20), (0.5, 1, 3, 3)])
    assert "it may be either: 20 of the 40" in asking.trust(0.2, "fine")
    assert "only 3 answers" in asking.trust(1.0, "fine")


@pytest.mark.parametrize(
    "right, total, verdict",
    [
        (12, 20, "may be either"),  # 60%, but the interval begins at 39%
        (8, 20, "may be either"),  # 40%, but the interval ends at 61%
        (120, 200, "is usually right"),  # 60% again: the interval begins at 53%
        (80, 200, "is usually wrong"),
        (4, 5, "may be either"),
    ],
)
def test_the_interval_decides_whether_it_is_usually_right_or_wrong(fine, right, total, verdict):
    write_record([(0, 0.5, 9, 9), (0.5, 1, total, right)])
    assert verdict in asking.trust(0.9, "fine")


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
def test_trust_does_not_guess_from_a_record_it_cannot_use(fine, content, message):
    path = asking.calibration_path("fine")
    write_record([(0, 0.5, 9, 9), (0.5, 1, 9, 9)])
    if isinstance(content, tuple):
        damaged = json.loads(path.read_text())
        damaged["bins"][1] |= [content]
        content = json.dumps(damaged)
    if content == "other":
        content = path.read_text().replace(asking.file_sha256("fine"), "0")
    path.write_text(content)
    said = asking.trust(0.9, "fine")
    assert "is not known" in said and message in said and "python src/run.py report" in said
    assert "usually" not in said
