"""The documents name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
RELIABILITY = (TESTS.parent / "docs" / "reliability.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(test_\w+)", RELIABILITY)))


@pytest.mark.parametrize(("file", "test"), NAMED, ids=str)
def test_a_named_test_exists(file: str, test: str) -> None:
    path = (TESTS.parent if file.startswith("genctl/") else TESTS) / file
    assert f"\ndef {test}(" in path.read_text()


def test_every_fault_is_held_by_a_test_or_left_out() -> None:
    rows = [line.strip("| ").split(" | ") for line in RELIABILITY.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 30
    for _, behaviour, held in rows:
        assert "::test_" in held or (held == "-" and behaviour.startswith("left out"))
