"""The documents name tests that exist, and the page of the models is what `genctl explain` prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Cli

from genctl.models import registry

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


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_a_model_has_a_page_of_its_own_in_80_columns(name: str, cli: Cli) -> None:
    page = registry.explanation(name)
    assert cli("explain", name).out == page
    assert max(map(len, page.splitlines())) <= 80
    for part in ("What it is.", "What each curve and column means.", "What goes wrong.", f"genctl train {name}"):
        assert part in " ".join(page.split())


def test_the_page_of_the_models_holds_each_of_them() -> None:
    head, *pages = (TESTS.parent / "docs" / "models.md").read_text().split("\n## ")
    assert [f"## {page}".rstrip() for page in pages] == [registry.explanation(n).rstrip() for n in registry.BUILT_IN]
    assert head.startswith("# The models")
