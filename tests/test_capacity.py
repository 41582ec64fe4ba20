"""The capacity law and the relations: bits by hand, the generator as the oracle of entropies, and grids that resume."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import biographies
import capacity
import grid
import knowledge
import make_corpus
import recipes
import relations
from corpus_tables import TRADITIONS
from model import GPT, GPTConfig
from vocabulary import MASK_CHAR, Vocabulary


@pytest.fixture(scope="module")
def quick_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("capacity") / "quick-100"
    biographies.write_people(folder, 100, quick=True)
    return folder


@pytest.fixture(scope="module")
def people():
    """Of the full corpus, whose lines state days."""
    return list(biographies.draw_people(100))


@pytest.fixture(scope="module")
def vocabulary(people):
    return Vocabulary.of("".join(person.line for person in people) + "W?")


# ------------------------------------------------------------------------------------------------------------- bits


class Reader(torch.nn.Module):
    """Predicts each character as often as it followed in the texts that it has read, and elsewhere all alike."""

    def __init__(self, vocabulary: Vocabulary, texts: list[tuple[str, int]]):
        super().__init__()
        self.head, self.config = torch.nn.Linear(1, 1), SimpleNamespace(block_size=400)
        self.size, self.follows = len(vocabulary), {}
        for text, start in texts:
            ids = [vocabulary.stoi[char] for char in text]
            for i in range(start, len(ids)):
                counts = self.follows.setdefault(tuple(ids[:i]), np.zeros(self.size))
                counts[ids[i]] += 1

    def forward(self, ids: torch.Tensor):
        logits = np.zeros((*ids.shape, self.size), dtype=np.float32)
        for row, tokens in enumerate(ids.tolist()):
            for i in range(len(tokens)):
                counts = self.follows.get(tuple(tokens[: i + 1]))
                if counts is not None:
                    with np.errstate(divide="ignore"):
                        logits[row, i] = np.log(counts)
        return torch.from_numpy(logits), None


def test_a_model_that_knows_everything_holds_all_bits_and_one_that_knows_nothing_none(people, vocabulary):
    names = [(f"{person.name}. ", 1) for person in people]
    lines = [(person.line, len(person.name) + 2) for person in people]
    asked = [f"Where was {person.name} born?{MASK_CHAR}" for person in people]
    answers = [(f"{q}{person.place}{MASK_CHAR}", len(q)) for q, person in zip(asked, people, strict=True)]
    found = knowledge.knowledge(Reader(vocabulary, names + lines + answers), vocabulary, people[:60], people[60:])
    H = knowledge.entropies()
    days = sum(bool(day) for person in people for day in (person.birthday, person.deathday))
    assert days > 20
    assert found["name_loss"] == pytest.approx(math.log(100), rel=1e-5)
    assert found["name_bits"] == pytest.approx(100 * (H["name"] - math.log2(100)), rel=1e-5)
    assert found["place_bits"] == pytest.approx(100 * H["place"], rel=1e-4)
    assert found["day_bits"] == pytest.approx(days * math.log2(336), rel=1e-4)
    assert found["bits"] == pytest.approx(found["bits_of_corpus"], rel=1e-4)

    found = knowledge.knowledge(Reader(vocabulary, []), vocabulary, people[:60], people[60:])
    assert found["bits"] == 0
    assert found["day_loss"] > 5 * math.log(30)  # "4 June " at least, uniform over all characters


def test_half_of_a_probability_costs_one_bit_of_each_fact():
    assert knowledge.bits_stored(8, math.log(2), 10) == pytest.approx(70)
    assert knowledge.bits_stored(8, 9 * math.log(2), 10) == 0  # worse than a guess: no less than nothing


def test_only_the_characters_of_the_span_cost_and_each_is_given_what_precedes_it(people, vocabulary):
    """Against the cross-entropy of torch, row by row and without padding."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=len(vocabulary), block_size=64, n_layer=1, n_head=1, n_embd=8)).eval()
    torch.nn.init.normal_(model.head.weight)
    texts, spans = [people[0].line[:40], people[1].line[:64]], [slice(3, 9), slice(60, 64)]
    for text, span, loss in zip(texts, spans, knowledge.losses(model, vocabulary, texts, spans), strict=True):
        ids = torch.tensor(vocabulary.encode(text))
        logits = model(ids[None])[0][0].detach()
        expected = torch.nn.functional.cross_entropy(logits[span.start - 1 : span.stop - 1], ids[span], reduction="sum")
        assert loss == pytest.approx(float(expected), rel=1e-4)


# ------------------------------------------------------------------------------------------ what the generator draws


@pytest.mark.parametrize("quick", [False, True])
def test_the_entropy_of_a_place_is_the_mean_surprise_of_what_the_generator_draws(quick):
    joint = knowledge.place_and_tradition(quick)
    assert sum(joint.values()) == pytest.approx(1)
    tradition = {}
    for (_, key), probability in joint.items():
        tradition[key] = tradition.get(key, 0) + probability
    chance = make_corpus.Chance(0)
    london, home = (6, 35) if quick else (5, 50)
    places = make_corpus.draw_places(chance, make_corpus.QUICK_TOWNS if quick else make_corpus.PLACES, 4000, london)
    drawn = [(place.name, make_corpus.draw_tradition(chance, place, home)) for place in places]
    surprise = np.array([-math.log2(joint[pair] / tradition[pair[1]]) for pair in drawn])
    error = surprise.std() / len(drawn) ** 0.5
    assert abs(surprise.mean() - knowledge.entropies(quick)["place"]) < 5 * error


def test_the_entropy_of_a_name_by_hand(monkeypatch):
    few = TRADITIONS["english"]._replace(men="Abe Bob Cid", women="Ann Eve", heads="Sand Woll", tails="berg strom")
    monkeypatch.setattr(knowledge, "TRADITIONS", {"one": few, "other": few._replace(heads="Lind Holm")})
    assert knowledge.name_entropy({"one": 1.0}) == pytest.approx(2 + 1)  # 4 surnames, 2 first names of women
    assert knowledge.name_entropy({"one": 0.5, "other": 0.5}) == pytest.approx(3 + 1)
    few = few._replace(men="Abe Bartholomew", women="Ann Bartholomea")  # too long for any surname of the quick corpus
    monkeypatch.setattr(knowledge, "TRADITIONS", {"one": few})
    assert knowledge.name_entropy({"one": 1.0}, quick=True) == pytest.approx(2)


# ------------------------------------------------------------------------------------------------------ biographies


def test_the_people_are_those_of_make_corpus_and_their_facts_stand_in_their_lines(people, quick_folder):
    assert [person.line for person in people] == [entry.line for entry in make_corpus.build_corpus(people=100)]
    asked, others = biographies.read_people(quick_folder)
    assert (len(asked), len(others)) == make_corpus.splits(True, 100)[:1] + (100 - len(asked),)
    for person in [*people, *asked, *others]:
        for fact in (person.year, person.death, person.role, person.birthday, person.deathday):
            assert person.line[person.span(fact)] == fact
        assert not person.death or int(person.death) - int(person.year or 0) > 40
    assert {person.role for person in asked} <= {"", *make_corpus.QUICK_ROLES}
    questions = (quick_folder / "birth_places_train.tsv").read_text(encoding="utf-8").splitlines()
    assert questions == [f"Where was {person.name} born?\t{person.place}" for person in asked]


def test_the_role_of_a_parent_is_not_the_person_s():
    role = biographies.stated_role
    assert role("painter", ". Eve Ash is a Swiss painter, the daughter of Bo Ash, a miller") == "painter"
    assert role("miller", ". Eve Ash is a Swiss painter, the daughter of Bo Ash, a miller") == ""
    assert role("poet", ". She was born in Oslo to a poet") == ""
    assert role("poet", ". Born to a family of musicians. She was a poet") == "poet"
    assert role("art", ". She is an artist") == ""


# ----------------------------------------------------------------------------------------------------------- grids


def test_the_grid_has_each_size_with_its_people_and_what_is_beside_it():
    cells = capacity.cells(None, None, None)
    assert len(set(cells)) == len(cells)
    assert [cell.work for cell in cells] == sorted((cell.work for cell in cells), reverse=True)
    main = [cell for cell in cells if cell.exposures == capacity.EXPOSURES and cell.questions and cell.recall]
    assert {(c.size, c.people) for c in main} == {(size, n) for size, people in capacity.GRID.items() for n in people}
    assert {cell.exposures for cell in cells if cell not in main and cell.questions and cell.recall} == {30, 300, 1000}
    assert {(c.questions, c.recall) for c in cells} == {(1, 1), (1, 0), (0, 1), (0, 0)}


def test_the_sizes_go_from_a_tenth_of_a_million_parameters_to_twenty_five():
    def parameters(size: str) -> int:
        model = GPT(GPTConfig(vocab_size=256, block_size=128, **capacity.Cell(size, 1000, 1).model))
        return sum(p.numel() for p in model.parameters())

    smallest, *_, largest = capacity.GRID
    assert 1e5 < parameters(smallest) < 2e5 and 25e6 < parameters(largest) < 26e6


def test_given_sizes_people_and_exposures_are_multiplied():
    cells = capacity.cells(["1x32", "2x64"], [100, 200], [5, 6, 7], "quick", ["recall"])
    assert len(cells) == 2 * 2 * 3 * 2 and all(cell.quick for cell in cells)


def test_a_cell_reads_each_line_as_often_as_it_says():
    recipe = capacity.Cell("4x256", 30_000, 70).recipe()
    assert (recipe.pretrain.max_epochs, recipe.pretrain.batch_size, recipe.recall_share) == (70, 256, 0.65)
    assert recipe.pretrain.warmup_tokens == pytest.approx(0.05 * 70 * 30_000 * 1.25 * 128, abs=1)
    off = capacity.Cell("4x256", 200, 70, questions=0, recall=0).recipe()
    assert (off.pretrain.batch_size, off.question_share, off.recall_share) == (16, 0, 0)


@dataclass(frozen=True)
class Cell:
    size: str
    people: int
    corpus: str = "full"


COLUMNS = ["size", "people", "corpus", "loss"]


def run(cells, tmp_path, fails=(), error=RuntimeError):
    """The cells that run_grid had measured, and what it returned."""
    measured, made = [], []

    def work(cell, folder):
        assert folder in made  # the corpus was there before
        if cell.size in fails:
            raise error("no memory left")
        measured.append(cell)
        return {"size": cell.size, "people": cell.people, "corpus": cell.corpus, "loss": 0.5}

    def make(folder, people, quick):
        made.append(folder)

    how = dict(show=str, make=make, pool=ThreadPoolExecutor(1))
    return measured, partial(grid.run_grid, cells, tmp_path / "t.csv", COLUMNS, 1, work, **how)


def test_a_cell_with_a_row_is_not_measured_again_and_a_killed_one_is(tmp_path):
    cells = [Cell("1x32", 100), Cell("2x64", 100), Cell("2x64", 200)]
    measured, go = run(cells, tmp_path, fails=["2x64"], error=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        go()
    assert measured == cells[:1]
    measured, go = run(cells, tmp_path)
    assert go() == 0 and measured == cells[1:]
    measured, go = run(cells, tmp_path)
    assert go() == 0 and measured == []
    rows = grid.read_table(tmp_path / "t.csv", COLUMNS)
    assert [grid.cell_of(row, Cell) for row in rows] == cells and {row["loss"] for row in rows} == {"0.5"}


def test_a_cell_that_fails_is_named_and_leaves_the_others(tmp_path, capsys):
    cells = [Cell("1x32", 100), Cell("2x64", 100)]
    measured, go = run(cells, tmp_path, fails=["1x32"])
    assert go() == 1 and measured == cells[1:]
    assert "no memory left" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, why", [("size,loss\n", "other columns"), ("size,people,corpus,loss\n2x64,1\n", "line 2")]
)
def test_a_table_of_another_form_is_refused(tmp_path, text, why):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=why):
        grid.read_table(tmp_path / "t.csv", COLUMNS)


@pytest.mark.parametrize(
    "arguments", [["--sizes", "256"], ["--sizes", "4x65"], ["--people", "5"], ["--exposures", "0"], ["--quick"]]
)
def test_sizes_and_numbers_that_cannot_be_are_refused_in_a_line(arguments, capsys, monkeypatch):
    monkeypatch.setattr(capacity, "command", pytest.fail)
    with pytest.raises(SystemExit) as stopped:
        capacity.main(arguments)
    assert stopped.value.code == 2 and "Traceback" not in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------- real cells


@pytest.fixture
def in_process(monkeypatch):
    """What a cell changes in its own process."""
    monkeypatch.setattr(capacity, "silent", lambda: None)
    monkeypatch.setattr(relations, "silent", lambda: None)
    monkeypatch.setitem(recipes.RECIPES, "capacity", None)


@pytest.mark.parametrize("questions", [1, 0])
def test_a_cell_gives_a_whole_row(quick_folder, in_process, questions, monkeypatch):
    scratch = recipes.RECIPES["quick"]
    short = recipes.replace(scratch, finetune=recipes.replace(scratch.finetune, max_epochs=1))
    monkeypatch.setitem(recipes.RECIPES, "quick", short)
    row = capacity.run_cell(capacity.Cell("1x32", 100, 2, questions, corpus="quick"), quick_folder, "cpu", 1)
    assert row.keys() == set(capacity.COLUMNS)
    assert row["steps"] == 2 * math.ceil(100 / 16) and row["parameters"] > 12 * 32**2
    assert 0 <= row["bits"] <= row["bits_of_corpus"] and capacity.show(row)


def test_questions_of_a_relation_held_out_are_not_trained_but_for_the_examples(people):
    trained = partial(relations.training_rows, people)
    everything = trained(relations.NONE, relations.ALL)
    assert everything == {name: relations.questions(name, people) for name in relations.RELATIONS}
    assert trained("year", "10")["year"] == everything["year"][:10]
    assert trained("year", "0") == everything | {"year": []}
    for question, year in everything["year"]:
        name = question.removeprefix("When was ").removesuffix(" born?")
        assert next(person for person in people if person.name == name).year == year


def test_a_run_with_a_relation_held_out_asks_all_relations(quick_folder, in_process):
    run = relations.Run("role", "1", 0, "quick", 100, max_epochs=1)
    row = relations.one_run(run, quick_folder, "cpu", 1)
    assert row.keys() == set(relations.COLUMNS) and row["trained_examples"] == 1
    _, others = biographies.read_people(quick_folder)
    assert row["n_role"] == sum(bool(person.role) for person in others) > 5
    assert relations.show(row) and grid.cell_of(row, relations.Run) == run
    assert [field.name for field in fields(run)] == relations.COLUMNS[:6]
