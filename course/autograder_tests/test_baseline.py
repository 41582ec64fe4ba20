"""Hidden tests of part c."""

import re

import pytest

WORDS = re.compile(r"(\d+) out of (\d+): (\d+\.\d)%")


def said(student, places: list[str]) -> tuple[str, ...]:
    text = "".join(f"Where was Zoë Ü{i} born?\t{place}\n" for i, place in enumerate(places))
    found = WORDS.search(student.ask("baseline", text=text))
    assert found, "no line of the form: Correct: 2 out of 9: 22.2%"
    return found.groups()


@pytest.mark.parametrize("right, wrong", [(7, 33), (1, 2), (0, 5)])
def test_it_counts_other_files(student, right, wrong):
    places = ["London"] * right + [f"Town{i}" for i in range(wrong)]
    total = right + wrong
    assert said(student, places) == (str(right), str(total), f"{100 * right / total:.1f}")


def test_places_are_read_as_utf_8_and_compared_as_a_whole(student):
    assert said(student, ["Łódź", "London", "East-London", "Londonderry"]) == ("1", "4", "25.0")


def test_every_row_counts(student):
    places = ["London", "Oslo", "Oslo", "London", "London"]
    assert said(student, places) == ("3", "5", "60.0")
