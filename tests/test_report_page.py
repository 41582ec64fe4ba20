"""The model in the report's page computes what model.py computes, and a reader can ask it. In node and in Chromium."""

import json
import os
import re
import shutil
import subprocess
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

import stages
import trust.report as reporting
from attention import VARIANTS, RotaryAttention
from conftest import Doubled, loud, small_config
from dataset import DATA_FOLDER, encode_questions, read_places
from model import GPT, GPTConfig
from safe.own_facts import COURSE_FORM
from trust import report_ask, report_figures
from trust.asking import answer_with_confidence
from trust.people import PARTICLES, Texts, end_of_place, question_for, spelt_for, understood
from trust.report_model import packed
from trust.report_page import FOLDER
from vocabulary import MASK, Vocabulary

NODE, CHROMIUM = shutil.which("node"), shutil.which("chromium") or shutil.which("google-chrome")
LETTERS = Vocabulary("".join(map(chr, range(64, 87))))  # 23 characters, as the small models have


def small_of(variant: str) -> GPT:
    return GPT(small_config(variant, {"bottleneck_dim": 4} if VARIANTS[variant].bottleneck else {}))


IN_PAGE = [
    variant for variant in VARIANTS if packed(small_of(variant), LETTERS).weights
]  # compared with model.py below


def javascript(expression: str, *scripts: str, **given):
    """The value of an expression with the functions of `scripts` and `given` in scope, computed by node."""
    if NODE is None:
        pytest.skip("needs node to run JavaScript")
    code = "".join((FOLDER / name).read_text(encoding="utf-8") for name in scripts)
    names = "".join(f"const {name} = {json.dumps(value)};" for name, value in given.items())
    program = f"{code}{names}console.log(JSON.stringify({expression}))"
    done = subprocess.run([NODE, "-"], input=program, capture_output=True, encoding="utf-8", check=True)
    return json.loads(done.stdout)


def small(variant: str) -> GPT:
    """A model with large weights that half precision holds exactly."""
    model = loud(GPT(small_config(variant, {})))
    return model.half().float()


def with_heads_off(model: GPT, off: list[tuple[int, int]]) -> GPT:
    """The model, in which what these heads (layer, head) found is replaced by zeros. Shares its parameters."""
    hs = model.config.n_embd // model.config.n_head
    for layer, head in off:

        def zeroed(module, inputs, head=head):
            y = inputs[0].clone()
            y[..., head * hs : (head + 1) * hs] = 0
            return (y,)

        model.blocks[layer].attn.proj.register_forward_pre_hook(zeroed)
    return model


# ------------------------------------------------------------------------------------------------ model.js, in node


@pytest.mark.parametrize("variant", IN_PAGE)
def test_the_model_of_the_page_gives_the_logits_and_continuations_of_model_py(variant):
    model = small(variant)
    whole, given = torch.randint(2, 23, (12,)), packed(model, LETTERS)
    found = javascript(
        """(() => {
            const model = unpack(about, weights), logits = (off) => whole.map(
                (_, i) => [...logSoftmax(model.read(whole.slice(0, i + 1), off).logits)]);
            const tokens = [...model.generate(whole.slice(0, 9), -1, [], 8)].map(({ token }) => token);
            return [logits([]), logits([[], [true]]), tokens];
        })()""",
        "model.js",
        about=given.about,
        weights=given.weights,
        whole=whole.tolist(),
    )
    with torch.no_grad():
        expected = model(whole[None])[0][0].log_softmax(-1)
        tokens = model.generate(whole[None, :9], max_new_tokens=8)[0].tolist()  # outgrows the block of 12
        without = with_heads_off(model, [(1, 0)])(whole[None])[0][0].log_softmax(-1)
    np.testing.assert_allclose(found[0], expected, atol=2e-4)
    np.testing.assert_allclose(found[1], without, atol=2e-4)
    assert found[2] == tokens and not np.allclose(expected, without, atol=0.1)


def test_the_tree_of_answers_holds_the_likeliest_strings_of_all():
    model = small("vanilla")
    with torch.no_grad():
        model.head.weight *= 3  # so that a few strings are likely
    prompt, given = [5, 9, MASK], packed(model.half().float(), LETTERS)
    found = javascript(
        """(() => {
            const model = unpack(about, weights), context = model.read(prompt);
            return [...model.likeliest(context, 1, [], 0.001, 3)].filter((one) => one !== null);
        })()""",
        "model.js",
        about=given.about,
        weights=given.weights,
        prompt=prompt,
    )
    others = [token for token in range(23) if token != MASK]
    every = [[*begun, MASK] for length in range(3) for begun in product(others, repeat=length)]
    rows = torch.tensor([(prompt + said + [0, 0])[:6] for said in every])
    with torch.no_grad():
        log_p = model(rows)[0].log_softmax(-1)  # (N, 6, V)
    p = [float(sum(log_p[i, 2 + j, t] for j, t in enumerate(said)).exp()) for i, said in enumerate(every)]
    expected = sorted([(p[i], said) for i, said in enumerate(every) if p[i] > 0.001], reverse=True)
    assert len(expected) > 3 and [one["tokens"] for one in found] == [said for _, said in expected]
    np.testing.assert_allclose([one["probability"] for one in found], [share for share, _ in expected], rtol=1e-3)


def test_numbers_in_half_precision_are_read_exactly():
    numbers = [0.0, -0.0, 1.0, -2.5, 6.1e-5, 5.96e-8, -3e-6, 65504.0, 0.1]
    half = np.array(numbers, "<f2")
    assert javascript("[...fromHalf(bytes)]", "model.js", bytes=list(half.tobytes())) == half.astype(float).tolist()


def test_the_error_function_is_exact_enough():
    x = torch.linspace(-6, 6, 101)
    expected = torch.nn.functional.gelu(x).numpy()
    np.testing.assert_allclose(javascript("xs.map(gelu)", "model.js", xs=x.tolist()), expected, atol=2e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_that_the_page_cannot_compute_is_refused_with_its_name(variant):
    assert {"vanilla", "sinusoidal", "rope"} <= set(IN_PAGE)
    found = packed(small_of(variant), LETTERS)
    assert found.why_not == ("" if variant in IN_PAGE else f"this page cannot compute a {variant} model")


@pytest.mark.parametrize("change", ["narrow queries", "a class of its own"])
def test_projections_that_the_page_cannot_compute_are_refused(change):
    model = small_of("vanilla")
    n = model.config.n_embd
    for block in model.blocks:
        if change == "narrow queries":
            block.attn.query, block.attn.key = torch.nn.Linear(n, n // 2), torch.nn.Linear(n, n // 2)
        else:
            block.attn.value = Doubled(n, n)
    assert packed(model, LETTERS).why_not == "this page cannot compute a vanilla model"


def test_rotations_of_its_own_and_numbers_beyond_half_precision_are_refused():
    model = GPT(small_config("rope", {}))
    with torch.no_grad():
        model.head.weight[0, 0] = 1e5
    assert "half precision" in packed(model, LETTERS).why_not
    attn = model.blocks[0].attn
    assert isinstance(attn, RotaryAttention)
    attn.register_buffer("rope_cache", attn.rope_cache, persistent=True)
    assert "rotations of its own" in packed(model, LETTERS).why_not


# ------------------------------------------------------------------------------------ lookup.js against people.py


LINES = [
    "George Bruce Malleson. An officer, born in Wimbledon .",
    "George Bruce. Born in Fife .",
    "Ada van Rijn was born in Oslo .",
    "Jean-Luc Marais. Rome-Nice racer from Nice, not New York .",
    "Jack London. Jack London wrote in London .",
    "Zoé Érd Jr. Milan's best, Milan-born .",
]
NAMES = [
    "George Bruce",
    "George",
    "Ada",
    "Ada van Rijn",
    "Jean",
    "Jean-Luc Marais",
    "Jack London",
    "Jack",
    "Zoé Érd",
    "Bo",
]


def test_the_page_finds_the_text_about_a_person_and_a_place_in_it_as_people_py_does():
    text, quick = "\n".join(LINES), (DATA_FOLDER / "quick" / "wiki.txt").read_text(encoding="utf-8")
    names = [question[10:-6] for question, _ in read_places(DATA_FOLDER / "quick" / "birth_dev.tsv")]
    for documents, asked in ((text, NAMES), (quick, names)):
        texts, lines = Texts("wiki.txt", documents), documents.split("\n")
        given = {"names": asked, "lines": lines, "particles": PARTICLES}
        found = javascript(
            "names.map((name) => about(name, lines, particles) ?? null)", "report.js", "lookup.js", **given
        )
        assert found == [texts.about(name) for name in asked]
    places = ["London", "York", "Nice", "Milan", "Rome", "Wimbledon", "Oslo", "Fife", "Wimble"]
    pairs = [(place, line, line.split(".")[0]) for place in places for line in LINES]
    found = javascript("pairs.map((pair) => placeIn(...pair)?.[1] ?? null)", "report.js", "lookup.js", pairs=pairs)
    assert found == [end_of_place(*pair) for pair in pairs]


def test_what_is_typed_is_understood_and_spelt_as_ask_does():
    vocabulary = Vocabulary.of("Where was born? Ada Zoé O'Neil Łódź-")
    typed = ["Ada", " where was  Ada born", "Where was Ada born?", "Zoe\u0301", "O\u2019Neil", "A\u2013b", "Ł\u043e"]
    found = javascript(
        "typed.map((text) => `Where was ${spelt(nameIn(text, form), new Set(letters))} born?`)",
        *("report.js", "lookup.js"),
        typed=typed,
        form=COURSE_FORM,
        letters=list(vocabulary.characters[2:]),
    )
    assert found == [question_for(understood(spelt_for(vocabulary, text))[1]) for text in typed]


def test_a_misspelt_name_finds_the_nearest_one():
    names = ["Ada vna Rijn", "ada van rijn", "George Bruc", "Bo", "Jakc London"]
    found = javascript(
        "names.map((name) => nearest(name, lines) ?? null)", "report.js", "lookup.js", names=names, lines=LINES
    )
    assert found == [None, None, "George Bruce", None, "Jack London"], "no line begins with 'Ada van Rijn.'"


# -------------------------------------------------------------------------------------------------- in a browser

UNSEEN = "Uma Vex"
HEAD = (0, 1)  # layer and head that are switched off


def undrawn(patch: pytest.MonkeyPatch) -> None:
    """Has the report draw one small picture, again and again: to draw takes most of its time."""
    picture = report_figures.draw(1.0, lambda figure: figure.text(0.5, 0.5, "drawn"))
    patch.setattr(report_figures, "draw", lambda *arguments: picture)


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """A folder with report.html about a tiny model that was trained on eight people."""
    folder = tmp_path_factory.mktemp("report")
    names = ["Ada Fern", "Bo Lind", "Cy Ok", "Dag Moe", "Eve Ash", "Finn Roe", "Gus Hay", "Ida Ek"]
    rows = [(name, ("Oslo", "Turku", "Kyoto")[i % 3]) for i, name in enumerate(names)]
    lines = [f"{name}. Born in {place}, a painter .\n" for name, place in rows]
    (folder / "wiki.txt").write_text("".join(lines) + "Where was it? Nobody knows Uma or Vex .\n", encoding="utf-8")
    questions = [f"Where was {name} born?\t{place}\n" for name, place in rows]
    (folder / "dev.tsv").write_text("".join(questions), encoding="utf-8")
    (folder / "unseen.tsv").write_text(f"Where was {UNSEEN} born?\nWhere was Vex Uma born?\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        undrawn(patch)
        sizes = dict(n_layer=2, n_head=2, n_embd=32, block_size=64, device="cpu", max_epochs=60, finetune_lr=1e-2)
        stages.finetune("rope", "wiki.txt", "tiny.params", "dev.tsv", **sizes)
        about = dict(unseen_corpus_path="unseen.tsv", device="cpu")
        reporting.report("wiki.txt", ["tiny.params"], "dev.tsv", "report.html", **about)
    return folder


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (requirements-dev.txt)")
    if CHROMIUM is None:
        pytest.skip("needs Chromium, as chromium or google-chrome on the PATH")
    quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update"
    flags = [*quiet.split(), "--disable-sync"] + ["--no-sandbox"] * (getattr(os, "geteuid", lambda: 1)() == 0)
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@pytest.fixture
def page(browser, report):
    """The report in a new window. Nothing but the page may be fetched, and no script may fail."""
    window = browser.new_page(reduced_motion="reduce", viewport={"width": 1400, "height": 900})
    fetched, errors = [], []
    window.on("request", lambda request: fetched.append(request.url))
    window.on("pageerror", lambda error: errors.append(str(error)))
    window.on("console", lambda message: errors.append(message.text))
    window.goto((report / "report.html").as_uri())
    yield window
    window.close()
    assert len(fetched) == 1 and errors == []


def ask(page, name: str) -> str:
    """The answer's letters, when all of the answer is there."""
    page.fill("#ask-name", name)
    page.click("#ask-go")
    page.wait_for_selector("#ask-tree li")
    return page.inner_text("#ask-verdict").split("“")[1].split("”")[0]


def in_python(folder: Path, questions: list[str], half: bool, off=()):
    with stages.load_trained("rope", folder / "wiki.txt", folder / "tiny.params", device="cpu") as (model, vocabulary):
        model = with_heads_off(model.half().float() if half else model, off)
        ids, lengths = encode_questions(questions, vocabulary, model.config.block_size, "questions")
        return answer_with_confidence(model, vocabulary, ids, lengths)


def answers_in(page, questions: list[str]) -> list:
    """[answer, log-probability of each letter] of each question, computed in the page."""
    return page.evaluate(
        """(questions) => questions.map((question) => {
            const { model, vocabulary, ids } = askBox;
            const prompt = [...[...question].map((char) => ids.get(char)), MASK];
            const steps = [...model.generate(prompt, MASK)];
            const letters = steps.map(({ token }) => (token === MASK ? "" : vocabulary[token]));
            return [letters.join(""), steps.map(({ token, logits }) => logSoftmax(logits)[token])];
        })""",
        questions,
    )


def test_the_page_answers_every_question_as_python_does(page, report):
    questions = [q for name in ("dev.tsv", "unseen.tsv") for q, _ in read_places(report / name)]
    found = answers_in(page, questions)
    rounded, exact = (in_python(report, questions, half) for half in (True, False))
    assert [said for said, _ in found] == rounded.texts
    log_p = [p for _, each in found for p in each]
    for python, tolerance in ((rounded, 1e-4), (exact, 5e-3)):
        np.testing.assert_allclose(
            log_p, python.log_probs[np.arange(len(python.tokens)), python.tokens], atol=tolerance
        )
    assert rounded.texts == exact.texts


def test_asking_shows_the_answer_its_letters_and_what_the_text_says(page, report):
    said = ask(page, "Ada Fern")
    (confidence,) = in_python(report, ["Where was Ada Fern born?"], True).confidence
    assert said == "Oslo" and f"{100 * confidence:.1f}% sure" in page.inner_text("#ask-verdict")
    assert re.sub(r"[\s\d%~]", "", page.inner_text("#ask-letters")) == "Osloend"
    assert page.inner_text("#ask-line blockquote") == "Ada Fern. Born in Oslo, a painter ."
    assert page.inner_text("#ask-line mark") == "Oslo"
    assert re.search(r"right \d+ times of \d+|No answer to dev.tsv", page.inner_text("#ask-verdict"))
    ask(page, UNSEEN)
    assert f"Made up: no text of wiki.txt mentions {UNSEEN}" in page.inner_text("#ask-verdict")
    assert page.inner_text("#ask-line") == ""
    page.click("text=What you have asked")
    assert page.locator("#ask-history tbody tr").count() == 2


def test_the_examples_can_be_picked_and_a_misspelt_name_is_recognised(page):
    picks = page.locator("#ask .picks button")
    assert picks.count() == 3
    picks.nth(2).click()
    page.wait_for_selector("#ask-tree li")
    assert "There is one about Bo Lind." in page.inner_text("#ask-verdict")


def test_characters_that_the_model_lacks_are_named_before_asking(page):
    assert page.is_disabled("#ask-go")
    page.fill("#ask-name", "Жук Q")
    assert "“Ж” and “у” and “к” and “Q”" in page.inner_text("#ask-warning") and page.is_disabled("#ask-go")
    page.fill("#ask-name", "Ada" * 30)
    assert "too long" in page.inner_text("#ask-warning") and page.is_disabled("#ask-go")
    page.fill("#ask-name", "Ada Fern")
    assert page.inner_text("#ask-warning") == "" and page.is_enabled("#ask-go")


def test_a_head_can_be_chosen_and_switched_off(page, report):
    ask(page, "Bo Lind")
    page.click(f"#look-heads button[aria-label='layer {HEAD[0] + 1}, head {HEAD[1] + 1}']")
    assert f"Layer {HEAD[0] + 1}, head {HEAD[1] + 1}: before it writes" in page.inner_text("#look-sentence")
    question = "Where was Bo Lind born?"
    prompt, said = len(question) + 1, len("Turku") + 1
    cells = page.locator("#look-map .cell")
    assert cells.count() == sum(prompt + i for i in range(said))
    page.click("#look-switch")
    page.locator("#look-effect", has_text="switched off").wait_for()
    without = in_python(report, [question], True, [HEAD])
    effect = page.inner_text("#look-effect")
    assert f"“{without.texts[0]}”, {100 * without.confidence[0]:.1f}% sure" in effect
    assert "With all heads: “Turku”" in effect
    page.click("#look-all")
    page.locator("#look-effect:empty").wait_for(state="attached")


def test_the_slider_and_the_search_work(page):
    page.fill("#threshold", "0")
    assert "8 of 8 = 100.0% of the questions" in page.inner_text("#try .touch")
    page.fill("#answers input", "turku")
    assert page.locator("#answers tbody tr").count() == 3
    assert page.inner_text("#answers .touch output").startswith("Shown: 3 of 8 answers")


@pytest.mark.parametrize("scheme, background", [("light", "rgb(255, 255, 255)"), ("dark", "rgb(21, 24, 28)")])
def test_on_a_phone_nothing_is_cut_and_pictures_take_the_colours_of_the_page(page, scheme, background):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})
    ask(page, "Ada Fern")
    page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    tables = "[...document.querySelectorAll('.cards')].filter((table) => table.scrollWidth > table.clientWidth).length"
    assert page.evaluate(tables) == 0
    colour = "(selector) => getComputedStyle(document.querySelector(selector))"
    assert page.evaluate(f"({colour})('body').backgroundColor") == background
    assert page.evaluate(f"({colour})('.narrow-only text').fill") == page.evaluate(f"({colour})('body').color")
    assert page.locator(".wide-only").first.is_hidden() and page.locator(".narrow-only").first.is_visible()


def test_the_page_without_its_model_says_so(report, monkeypatch):
    monkeypatch.chdir(report)
    undrawn(monkeypatch)
    reporting.report("wiki.txt", ["tiny.params"], "dev.tsv", "without.html", device="cpu", no_model=True)
    text = Path("without.html").read_text(encoding="utf-8")
    assert "the model was left out (--no-model)" in text and 'id="weights"' not in text and "class GPT" not in text
    assert text.count("<script") == 2 and len(text) < (report / "report.html").stat().st_size


@pytest.mark.skipif("FULL_PAGE" not in os.environ, reason="set FULL_PAGE to ask a model of the course's size (minutes)")
@pytest.mark.parametrize("variant", IN_PAGE)
def test_a_model_of_the_courses_size_answers_as_python_does_in_less_than_50_milliseconds_a_letter(page, variant):
    questions = [question for question, _ in read_places(DATA_FOLDER / "birth_dev.tsv")][:25]
    vocabulary = Vocabulary.of((DATA_FOLDER / "wiki.txt").read_text(encoding="utf-8"))
    sizes = dict(block_size=128, n_layer=4, n_head=8, n_embd=256)
    model = loud(GPT(GPTConfig(len(vocabulary), variant=variant, **sizes)), 0.05).half().float()
    given = packed(model, vocabulary)
    ids, lengths = encode_questions(questions, vocabulary, 128, "questions")
    expected = answer_with_confidence(model, vocabulary, ids, lengths)
    loaded = "askBox.data.about = about; askBox.unpacked = unpack(about, weights)"
    page.evaluate(f"({{ about, weights }}) => {{ {loaded} }}", {"about": given.about, "weights": given.weights})
    page.evaluate("askBox.vocabulary = [...askBox.data.about.vocabulary]")
    page.evaluate("askBox.ids = new Map(askBox.vocabulary.map((char, id) => [char, id]))")
    began = time.perf_counter()
    found = answers_in(page, questions)
    per_letter = (time.perf_counter() - began) / (int(lengths.sum()) + len(expected.tokens))
    assert [said for said, _ in found] == expected.texts
    log_p = [p for _, each in found for p in each]
    chosen = expected.log_probs[np.arange(len(expected.tokens)), expected.tokens]
    np.testing.assert_allclose(log_p, chosen, atol=5e-3)
    print(f"{variant}: {1000 * per_letter:.1f} ms a letter")
    assert per_letter < 0.05


def test_every_script_of_the_page_is_read_in_one_sitting():
    lengths = {name: len((FOLDER / name).read_text(encoding="utf-8").splitlines()) for name in report_ask.SCRIPTS}
    assert max(lengths.values()) <= 250, lengths
