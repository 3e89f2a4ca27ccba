"""The documents name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
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


def links(page: Path) -> set[Path]:
    """Return the files that a page links to."""
    targets = (target for target in LINK.findall(page.read_text()) if "://" not in target)
    return {(page.parent / target).resolve() for target in targets}


def test_the_index_leads_to_every_page() -> None:
    assert set(DOCS.glob("*.md")) - {DOCS / "index.md"} <= links(DOCS / "index.md")


@pytest.mark.parametrize("page", [*sorted(DOCS.glob("*.md")), *sorted(TESTS.parent.glob("*.md"))], ids=lambda p: p.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert not [target for target in links(page) if not target.exists()]
