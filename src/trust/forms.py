"""What somebody typed, as a question of the form that the model was trained on, whatever it asks and in any script.

The form is what its training questions begin with and end with, as in safe/own_facts.py. people.py understands English
questions about birth places, in more ways.
"""

import re

from trust.people import ASKS, Texts


def understood_as(form: tuple[str, str], typed: str, texts: Texts | None = None) -> tuple[str, str | None]:
    """(question, name): what to ask the model, and whom or what it is about, if it is of this form.

    The form is recognised in other cases, with other spaces, and with another question mark or none. A name alone
    stands for it. Any other question stays as it is, and there is no name. Raises ValueError if nothing is asked.
    """
    before, after = (re.sub(r"\s+", " ", part) for part in form)
    asked = " ".join(typed.split())
    if not asked.strip(ASKS + " "):
        raise ValueError("the question is empty")
    bare, end = asked.rstrip(ASKS + " "), after.rstrip(ASKS + " ")
    if not re.search(r"\w", end):  # it may end with an emoji, which nobody types
        bare, end = bare.removesuffix(end.strip()).rstrip(ASKS + " ") if end.strip() else bare, ""
    begins = bare.casefold().startswith(before.strip().casefold())
    if begins and bare.casefold().endswith(end.casefold()) and len(bare) > len(before.strip()) + len(end):
        name = bare[len(before.strip()) : len(bare) - len(end)].strip()
        if before.strip() or end.strip():
            return question_as(form, name), name
    if bare == asked or (texts is not None and texts.about(bare)):
        return question_as(form, bare), bare
    return asked, None


def question_as(form: tuple[str, str], name: str) -> str:
    return f"{form[0]}{name}{form[1]}"


def place_of_name(form: tuple[str, str], question: str) -> slice:
    """Where the name stands in a question of this form; the whole of any other question."""
    return slice(len(form[0]), len(question) - len(form[1])) if fits(form, question) else slice(0, len(question))


def fits(form: tuple[str, str], question: str) -> bool:
    """Is the question of this form, with a name in it?"""
    longer = len(question) > len(form[0]) + len(form[1])
    return longer and question.startswith(form[0]) and question.endswith(form[1])
