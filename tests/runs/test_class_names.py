"""Names of classes: what 7, cat, 0-9 and cat,dog mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from genctl.errors import UsageError
from genctl.runs.classes import chosen, described, index_of, names_of

DIGITS = [str(i) for i in range(10)]
THINGS = ["cat", "dog", "t-shirt", "t", "shirt", "0-9", "a,b"]


@pytest.mark.parametrize(
    ("text", "names", "places"),
    [
        ("7", DIGITS, [7]),
        ("0-9", DIGITS, list(range(10))),
        ("3-3", DIGITS, [3]),
        ("4-2", DIGITS, [4, 3, 2]),
        ("1,5-6", DIGITS, [1, 5, 6]),
        ("cat", THINGS, [0]),
        ("cat, dog", THINGS, [0, 1]),
        ("0-9", THINGS, [5]),  # an exact name wins over a range
        ("t-shirt", THINGS, [2]),
        ("a,b", THINGS, [6]),
        ("cat-t-shirt", THINGS, [0, 1, 2]),  # a name may hold a hyphen
    ],
)
def test_what_is_typed_names_classes(text: str, names: list[str], places: list[int]) -> None:
    assert chosen(text, names, "x") == places


@pytest.mark.parametrize(
    ("text", "names", "words"),
    [
        ("10", DIGITS, "x has no class 10; its classes are 0 to 9."),
        ("7-12", DIGITS, "x has no class 7-12; its classes are 0 to 9."),
        ("dgo", THINGS[:2], "x has no class dgo; its classes are cat, dog. Did you mean dog?"),
        ("", DIGITS, "x has no class ; its classes are 0 to 9."),
    ],
)
def test_an_unknown_class_is_a_sentence_with_those_there_are(text: str, names: list[str], words: str) -> None:
    with pytest.raises(UsageError) as refused:
        chosen(text, names, "x")
    assert str(refused.value) == words


def test_long_lists_are_cut() -> None:
    assert described([f"c{i}" for i in range(40)]).endswith("c29, ...")
    assert index_of("c39", [f"c{i}" for i in range(40)], "x") == 39


@dataclass
class About:
    config: dict[str, Any]
    dataset: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("about", "names"),
    [
        (About({}), ()),
        (About({"classes": 2}), ("0", "1")),
        (About({"classes": 2}, {"classes": ["cat", "dog"]}), ("cat", "dog")),
        (About({"classes": 3}, {"classes": ["cat", "dog"]}), ("0", "1", "2")),  # another form's
        (About({"classes": 0}, {"classes": ["cat"]}), ()),
    ],
)
def test_names_are_those_of_the_file_or_numbers(about: Any, names: tuple[str, ...]) -> None:
    assert names_of(about) == names
