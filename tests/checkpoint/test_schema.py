"""JSON is read strictly, and each value is of the kind that its description names."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from genctl.checkpoint import schema
from genctl.checkpoint.schema import NUMBER, SCALAR, TEXT, list_of, record, whole


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', "twice"),
        ("NaN", "no JSON"),
        ("[-Infinity]", "no JSON"),
        ("1e999", "too large"),
        ("[-1e999]", "too large"),
        ("-0", "no whole number"),
        (str(2**64), "64 bits"),
        (str(-(2**63) - 1), "64 bits"),
        ("9" * 5000, "64 bits"),
        ('"\\ud800"', "surrogates"),
        ('{"\\udfff": 1}', "surrogates"),
        ("[" * 900 + "]" * 900, "too deep"),
        ("[" * 100_000, "too deep"),
        ('{"a":' * 900 + "1" + "}" * 900, "too deep"),
        ("{", "Expecting"),
        ("", "Expecting"),
        ("\ufeff{}", "BOM"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_what_a_strict_reader_refuses(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        schema.parse(text)


@pytest.mark.parametrize("value", [0, -1, 2**64 - 1, -(2**63), 1.5, "\U0001f600", None, True, [[]], {"a": {"b": [1]}}])
def test_other_values_come_through(value: Any) -> None:
    assert schema.parse(json.dumps(value)) == value


KIND = record({"n": whole(1, 9), "name": TEXT.or_null(), "more": record({"x": NUMBER}).optional()}, list_of(TEXT))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "it is not an object"),
        ({"name": None}, "it lacks n"),
        ({"n": 0, "name": ""}, "its n is not a whole number of 1 to 9"),
        ({"n": True, "name": ""}, "its n is not"),
        ({"n": 1.0, "name": ""}, "its n is not"),
        ({"n": 1, "name": 5}, "its name is not a text or null"),
        ({"n": 1, "name": "", "more": {}}, "its more lacks x"),
        ({"n": 1, "name": "", "more": {"x": "1"}}, "its more.x is not a number"),
        ({"n": 1, "name": "", "more": None}, "its more is not an object"),
        ({"n": 1, "name": "", "z": ["a", 1]}, "its z is not a list, each a text"),
    ],
    ids=str,
)
def test_a_value_of_another_kind_is_named(value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        KIND.check(value)


def test_values_of_their_kinds_pass() -> None:
    KIND.check({"n": 9, "name": None, "more": {"x": 1}, "z": ["a"]})
    for value in (1, 1.5, "a", True, None):
        SCALAR.check(value, "x")
    for value in ([], {}):
        with pytest.raises(ValueError, match="its x"):
            SCALAR.check(value, "x")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs")
def test_a_pipe_does_not_hang_a_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ValueError, match="not a regular file"):
        schema.read_text(tmp_path / "config.json", 10)


def test_only_so_much_text_is_read_and_only_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"x" * 11)
    with pytest.raises(ValueError, match="11 bytes, more than the 10"):
        schema.read_text(path, 10)
    path.write_bytes(b"one\n\xc3")
    with pytest.raises(ValueError, match="not UTF-8"):
        schema.read_text(path, 10)
    assert schema.read_text(path, 10, torn=True) == "one\n"
