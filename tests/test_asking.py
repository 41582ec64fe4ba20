"""Asking one model: confidences against a computation character by character, runners-up, attention, trust."""

import io
import json
import math
import os
import re
import unicodedata
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import run
import stages
from attention import VARIANTS, CausalSelfAttention, apply_rotary_emb, precompute_rotary_emb, sinusoidal_positions
from conftest import written_out_attention
from dataset import CharCorruptionDataset, encode_questions
from stages import answer
from trust import asking, people
from vocabulary import MASK, Vocabulary

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


def test_answers_are_as_long_as_those_of_evaluate(make_model, corpus, prompts, monkeypatch):
    model = make_model()
    always_says(model, corpus.stoi["a"])
    for length in (3, 40):
        monkeypatch.setattr(stages, "ANSWER_LENGTH", length)
        found = asking.answer_with_confidence(model, corpus.vocabulary, *prompts)
        assert found.texts == answer(model, corpus.vocabulary, *prompts) == ["a" * length] * len(QUESTIONS)
        others = asking.runners_up(model, corpus.vocabulary, prompts[0][:1], prompts[1][:1], count=3)
        assert [len(text) for text, _ in others] == [length] * 3


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


@pytest.mark.parametrize("block_size", [16, 33, 64])
@pytest.mark.parametrize("variant", VARIANTS)
def test_all_characters_count_when_some_answers_of_a_batch_outgrow_the_block(make_model, corpus, variant, block_size):
    options = {name: 16 for name in ("bottleneck_dim",) if name in VARIANTS[variant].options}
    model = make_model(variant=variant, options=options, block_size=block_size, n_layer=3).eval()
    model.head.weight.data *= 10
    model.head.weight.data[MASK] /= 2  # some answers end
    asked = ["W" * (block_size - 2), "Ada", "Bo" * (block_size // 4), "W" * (block_size - 9)]
    ids, lengths = encode_questions(asked, corpus.vocabulary, block_size, "here")
    found = asking.answer_with_confidence(model, corpus.vocabulary, ids, lengths)
    said = []
    with torch.no_grad():
        for i in range(len(asked)):
            text, confidence = by_hand(model, corpus.vocabulary, row((ids, lengths), i), stages.ANSWER_LENGTH)
            assert found.texts[i] == text
            assert math.log(found.confidence[i]) == pytest.approx(math.log(confidence), abs=1e-3)
            assert (found.rows == i).sum() in (len(text) + 1, stages.ANSWER_LENGTH), "the closing MASK counts too"
            said.append(len(text))
    assert max(said) > 1


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
    if model.mechanism.attend is not CausalSelfAttention.attend or model.mechanism.bottleneck:
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
BARE = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]  # sizes that no record tells


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


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_parameters_that_are_no_numbers_are_refused_by_name(trained, capsys, number):
    state = torch.load("fine")
    state["blocks.1.mlp.0.bias"][3] = number
    torch.save(state, "bad")
    assert run.main([*ASK[:3], "--reading_params_path", "bad", *BARE, "Ada Fern"]) == 2
    shown = capsys.readouterr()
    assert "bad: blocks.1.mlp.0.bias holds NaN or infinite numbers" in shown.err and len(shown.err.splitlines()) == 1
    assert shown.out == ""


def test_finite_parameters_whose_products_overflow_give_no_confidence(trained, capsys):
    state = torch.load("fine")
    state["blocks.0.mlp.0.weight"] *= 1e38
    state["blocks.0.mlp.2.weight"] *= 1e38
    torch.save(state, "bad")
    assert run.main([*ASK[:3], "--reading_params_path", "bad", *BARE, "Ada Fern"]) == 2
    shown = capsys.readouterr()
    assert "computes NaN, not probabilities" in shown.err and "nan" not in shown.out


# -------------------------------------------------------------------------------------- what is asked, and about whom


@pytest.mark.parametrize(
    "typed",
    [
        "Where was Cy Dee born",
        "Where was Cy Dee born?",
        "where was Cy Dee born ?",
        "WHERE WAS Cy Dee BORN",
        "Where Was Cy Dee Born?",
        "Where was Cy Dee born\uff1f",
        "\u3000Where  was\u00a0Cy Dee\tborn\u061f",
        "Where was Cy Dee born??",
        "Where was Cy Dee born.",
        "Where's Cy Dee born",
        "where was Cy Dee born in?",
        "was Cy Dee born",
        "Cy Dee born",
        "  Cy   Dee ",
        "\u201cCy Dee\u201d",
    ],
)
def test_every_way_to_ask_for_a_birth_place_is_the_question_of_the_training(typed):
    assert people.understood(typed) == ("Where was Cy Dee born?", "Cy Dee")


@pytest.mark.parametrize(
    "typed, question",
    [
        ("Nobody knows?", "Nobody knows?"),
        ("Nobody knows \uff1f", "Nobody knows?"),
        ("In which city was Cy Dee born", "In which city was Cy Dee born?"),
        ("who is Cy Dee", "who is Cy Dee?"),
        ("Where was Cy Dee", "Where was Cy Dee?"),
        ("How old is Cy Dee?", "How old is Cy Dee?"),
    ],
)
def test_other_questions_stay_and_are_not_taken_for_names(typed, question):
    assert people.understood(typed) == (question, None)


def test_texts_decide_what_is_a_name():
    texts = people.Texts("wiki.txt", "Max Born. Born in Breslau .\nHow Kim. A cook .\nWhere was it? Nobody knows .\n")
    assert people.understood("Where was Max Born?", texts) == ("Where was Max Born born?", "Max Born")
    assert people.understood("Where was Max Born?") == ("Where was Max born?", "Max")
    assert people.understood("Max Born", texts)[1] == people.understood("Max Born?", texts)[1] == "Max Born"
    assert people.understood("How Kim", texts)[1] == "How Kim" and people.understood("How Kim")[1] is None
    assert people.understood("Where was it?", texts) == ("Where was it?", None)


@pytest.mark.parametrize("typed", [" ", "?", " \uff1f ? "])
def test_nothing_is_not_a_question(typed):
    with pytest.raises(ValueError, match="the question is empty"):
        people.understood(typed)


@given(st.text("AEOaeonzéåÉñçŁø한글 '-", min_size=1), st.sampled_from(["NFC", "NFD"]), st.sampled_from(["NFC", "NFD"]))
def test_a_name_is_spelt_in_the_unicode_form_of_the_vocabulary(name, kept, typed):
    vocabulary = Vocabulary.of(unicodedata.normalize(kept, name))
    found = people.spelt_for(vocabulary, unicodedata.normalize(typed, name))
    assert set(found) <= vocabulary.stoi.keys()
    assert unicodedata.normalize("NFC", found) == unicodedata.normalize("NFC", name)


def test_look_alikes_and_invisible_characters_become_what_the_vocabulary_has_and_others_stay():
    vocabulary = Vocabulary.of("O'Neil-Brown Å")
    assert people.spelt_for(vocabulary, "O\u2019Neil\u2010Brown\u200b") == "O'Neil-Brown"
    assert people.spelt_for(vocabulary, "\uff2f\uff07\uff2e") == "O'N" and people.spelt_for(vocabulary, "\u212b") == "Å"
    assert people.spelt_for(vocabulary, "Ж\u2047") == "Ж\u2047", "to be refused with its own number"
    assert people.spelt_for(Vocabulary.of("\u212b"), "\u212b") == "\u212b", "the texts themselves may be unusual"


@given(st.text("ab ,.Z", max_size=30), st.text("abZ", min_size=1, max_size=3))
def test_places_are_found_where_a_regular_expression_finds_whole_words(document, place):
    found = re.search(rf"(?<!\w){place}(?!\w)", document)
    assert people.end_of_place(place, document) == (found and found.end())


@pytest.mark.parametrize(
    "place, document, rest",
    [
        ("Niger", "Born in Nigeria , a Nigerien", None),
        ("Niger", "Nigeria, then Niger, then", ", then"),
        ("Baden", "Born in Baden-Baden", None),
        ("Baden", "Born in Baden-Baden, not Baden", ""),
        ("Ivoire", "Born in C\u00f4te d'Ivoire", None),
        ("Ivoire", "Born in C\u00f4te d\u2019Ivoire", None),
        ("Turin", "a Turin-born cook", "-born cook"),
        ("Turin", "one of Turin\u2019s cooks", "\u2019s cooks"),
        ("Turin", "from 'Turin' or", "' or"),
        ("Turin", "1900\u2013Turin", ""),
        ("Turin", "Turin\u0301", None),
        ("Łódź", "in Łódźkie", None),
        ("Łódź", "in Łódź .", " ."),
        ("Zu\u0308rich", "in Z\u00fcrich.", "."),
        ("東京", "彼は東京都で", "都で"),
        ("York", "Born in New York", None),
        ("York", "Born in New York or York", ""),
        ("Oslo_", "Oslo_", ""),
    ],
)
def test_places_are_whole_words_in_every_alphabet(place, document, rest):
    end = people.end_of_place(place, document)
    assert (None if end is None else document[end:]) == rest


def test_a_place_in_a_persons_own_name_says_nothing():
    assert people.end_of_place("London", "Jack London. Jack London was a writer .", "Jack London") is None
    text = "Jack London. Born in London"
    assert people.end_of_place("London", text, "Jack London") == len(text)


@pytest.mark.parametrize(
    "others",
    [
        "Ann Lee Potter",
        "Ann Leeds",
        "Ann Lee-Potter",
        "Ann Lee van Dyk",
        "Ann Lee, Jr.",
        "Ann Lee III",
        "Ann Lee\u0301",
    ],
)
def test_a_document_is_about_whom_it_begins_with_the_whole_name_of(others):
    text = f"{others}. {others} was born in Oslo ."
    assert people.find_document("Ann Lee", [text]) is None
    assert not people.Texts("wiki.txt", text).mentions("Ann Lee")
    assert people.find_document("Ann Lee", [text, "Ann Lee. A cook ."]) == "Ann Lee. A cook ."
    assert people.find_document(others, [text]) == text


@pytest.mark.parametrize("rest", [". A cook .", " (1900) was", " was a cook", "'s life", ", a cook", ""])
def test_what_follows_a_name_may_be_anything_but_more_of_a_name(rest):
    assert people.find_document("Ann Lee", [f"Ann Lee{rest}"]) == f"Ann Lee{rest}"


@pytest.mark.parametrize(
    "text, found",
    [
        ("Bo met Ann Lee in Rome", True),
        ("Sir Ann Lee sang", True),
        ("Poet Ann Lee met a poet", True),  # "Poet" is a word
        ("In Rome. Ann Lee sang", True),
        ("ed by Ann Lee's son", True),
        ("Jo Ann Lee sang", False),
        ("J. Ann Lee sang", False),
        ("Jo van Ann Lee sang", False),
        ("Jo-Ann Lee sang", False),
        ("ann lee sang", False),
        ("Bo met Ann\nLee sang", False),
    ],
)
def test_a_text_mentions_a_person_by_the_whole_name_only(text, found):
    assert people.Texts("wiki.txt", text).mentions("Ann Lee") == found


def test_of_two_unicode_forms_in_a_corpus_the_one_of_the_persons_text_is_asked_for(make_model, folder, monkeypatch):
    composed, apart = "René Roe", unicodedata.normalize("NFD", "Zoé Lind")
    corpus = CharCorruptionDataset(f"{composed}. Where was it?\n{apart}. b\n", 64)
    texts = people.Texts("wiki.txt", "\n".join(corpus.data))
    monkeypatch.setattr(asking, "runners_up", lambda *arguments: [("Oslo", 0.5)])
    for name in (composed, apart):
        for form in ("NFC", "NFD"):
            typed = unicodedata.normalize(form, name)
            said = asking.reply(make_model(), corpus.vocabulary, typed, "fine", texts=texts)
            assert said.startswith(f"Where was {name} born?\n")


# ----------------------------------------------------------------------------------------------- how far to trust it

SURE = [(0, 0.5, 0, 0), (0.5, 1, 200, 184)]


@pytest.fixture
def sure(trained, monkeypatch) -> Path:
    """A model whose answers are usually right (92%), by its record, and always as sure."""
    monkeypatch.setattr(asking, "runners_up", lambda *arguments: [("Oslo", 0.9), ("Rome", 0.1)])
    write_record(SURE)
    return trained


@pytest.mark.parametrize("person", ["Bo Fern", "Ada", "Lind Ash", "Ada Fer", "ada Fern", "Gus HayEk"])
def test_an_answer_about_a_person_whom_no_text_mentions_is_called_made_up(sure, capsys, person):
    assert run.main([*ASK, "Ada Fern"]) == 0
    assert "usually right: 184 of the 200" in capsys.readouterr().out
    for typed in (person, f"Where was {person} born", f"where was {person} born?"):
        assert run.main([*ASK, typed]) == 0
        said = capsys.readouterr().out
        assert f"No text of wiki.txt mentions {person}, so this answer is made up" in said and "usually" not in said
        assert ("There is one about Ada Fern" in said) == (person == "ada Fern")


def test_a_person_who_is_mentioned_in_the_text_of_another_is_neither_known_nor_made_up(sure, capsys):
    text = Path("wiki.txt").read_text(encoding="utf-8")
    texts = people.Texts("wiki.txt", f"{text}Bo Lind and Cy Dee met in Rome .\n")
    for name in ("Cy Dee", "Fern"):  # of "Ada Fern" another sentence begins "Fern was a painter"
        said = asking.how_far(0.9, name, texts, "fine")
        assert f"is about {name}, though some mention" in said and "made up" not in said and "usually" not in said


def test_shares_measured_on_birth_places_are_not_given_for_other_questions(sure, capsys):
    assert run.main([*ASK, "Who is Ada Fern"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Who is Ada Fern?\n") and "is not known" in said and "usually" not in said


def test_without_a_corpus_that_can_be_searched_ask_says_so_and_what_is_known(sure, capsys, monkeypatch):
    def said(corpus: str) -> str:
        assert run.main(["ask", "vanilla", corpus, *ASK[3:], "Bo Fern"]) == 0
        return capsys.readouterr().out

    lines = Path("wiki.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    Path("other.txt").write_text("".join(reversed(lines)), encoding="utf-8")  # with the same characters
    expected = {"other.txt": "is not the corpus that the model was trained on", "none.txt": "there is no file none.txt"}
    for corpus, reason in expected.items():
        assert reason in said(corpus)
        assert "If none does, the answer is made up. If one does:\nAt a confidence of" in said(corpus)
    monkeypatch.setattr(stages, "IN_MEMORY", 10)
    assert "wiki.txt is too large to search. If none does" in said("wiki.txt")


def test_bare_parameters_need_their_corpus(trained, capsys):
    Path("fine").rename("bare")
    assert run.main(["ask", "vanilla", "none.txt", "--reading_params_path", "bare", *BARE, "Bo"]) == 2
    error = capsys.readouterr().err
    assert "none.txt" in error and len(error.splitlines()) == 1


def test_a_hint_names_the_spelling_of_the_texts_if_a_letter_has_no_token(trained, capsys):
    assert run.main([*ASK, "Ådä Férn"]) == 2
    error = capsys.readouterr().err
    assert "'Å' (U+00C5) does not occur" in error and error.endswith("The texts write this name Ada Fern\n")


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
    assert "usually" not in said and "\n" not in said


def damage(where: tuple, value) -> None:
    """Put `value` into the record at the path of keys `where`; ... removes what is there."""
    path = asking.calibration_path("fine")
    place = record = json.loads(path.read_text())
    for key in where[:-1]:
        place = place[key]
    if value is ...:
        del place[where[-1]]
    else:
        place[where[-1]] = value
    path.write_text(json.dumps(record))


NO_COUNTS = [10**400, -1, 10, 1e300, math.nan, math.inf, True, "9", None, [9], [[[9]]], {}, ...]
NO_SHARES = [10**400, -(10**400), math.nan, math.inf, -0.1, 1.1, True, "0", None, [0.5], ...]


@pytest.mark.parametrize(
    "where, values",
    [
        (("bins", 1, "right"), NO_COUNTS),
        (("bins", 0, "total"), [*NO_COUNTS[:2], 8, *NO_COUNTS[3:]]),
        (("bins", 1, "low"), [*NO_SHARES, 0.4]),
        (("bins", 0, "high"), [*NO_SHARES, 0.4]),
        (("unseen_share_of_bin", 1), NO_SHARES),
        (("unseen_share_of_bin",), [None, 1, {}, "ab", [], [0.5], [0.2, 0.3, 0.5]]),
        (("bins", 1), [None, [], 3, "x", ...]),
        (("bins",), [None, {}, [], 3, "x", ...]),
        (("sha256",), [None, 1, [], {}, ...]),
        (("questions",), [None, 1, [], {}, ...]),
    ],
    ids=str,
)
def test_numbers_that_cannot_be_in_a_record_of_calibration_are_refused_in_one_line(fine, where, values):
    for value in values:
        write_record([(0, 0.5, 9, 9), (0.5, 1, 9, 9)])
        assert "usually right" in asking.trust(0.9, "fine")
        damage(where, value)
        for confidence in (0.0, 0.9, 1.0):
            said = asking.trust(confidence, "fine")
            assert "fine.calibration.json is damaged: " in said and "\n" not in said, value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(st.sampled_from(["sha256", "questions", "bins", "low", "high", "total", "right"]), json_values)
def test_any_json_in_place_of_any_value_is_used_as_it_is_meant_or_refused(tmp_path_factory, key, value):
    record = {"sha256": "", "questions": "dev.tsv", "bins": [{"low": 0, "high": 1, "total": 9, "right": 9}]}
    (record["bins"][0] if key in record["bins"][0] else record)[key] = value
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(record))
    try:
        found = asking.read_calibration(path)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(asking.verdict(0.5, found), str)


@pytest.mark.parametrize("kind", ["fifo", "folder", "large", "link"])
def test_a_record_that_is_no_plain_small_file_is_refused_without_reading_it(fine, kind):
    path = asking.calibration_path("fine")
    if kind == "fifo" and not hasattr(os, "mkfifo"):
        pytest.skip("Windows has no such files")
    if kind == "fifo":
        os.mkfifo(path)  # to read it would take for ever
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("nothing")
    else:
        with open(path, "wb") as file:
            file.truncate(3 * 10**9)
    said = asking.trust(0.9, "fine")
    assert ("cannot be read: No such file" if kind == "link" else "is damaged: it") in said and "\n" not in said
