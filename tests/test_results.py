"""The page of results is made from its records, each row names one, and each record is of the weights that ship."""

from __future__ import annotations

import re
import sys
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch

from genctl.checkpoint import manifest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import rows, specks, tables  # noqa: E402 - the repository's, which no package holds

PAGE = tables.PAGE.read_text()
SHIPPED = [record for name in tables.FILES.values() for record in rows.read(name)]
OTHERS = rows.read(tables.OTHERS)
RECORDS = [*SHIPPED, *rows.read("examples"), *OTHERS]
LINK = re.compile(r"\]\((records/[\w-]+\.jsonl#L\d+)\)")
every_record = pytest.mark.parametrize("record", RECORDS, ids=[record["link"] for record in RECORDS])
every_shipped = pytest.mark.parametrize("record", SHIPPED, ids=[record["link"] for record in SHIPPED])


def bare(text: str) -> str:
    """Return the text without code and the targets of links."""
    return re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "", text))


def test_the_page_is_what_the_command_makes():
    assert tables.page(tables.TEMPLATE.read_text()) == PAGE, "run: python -m benchmarks.tables"


def test_a_changed_record_changes_the_page(monkeypatch):
    def changed(name: str, read: Any = rows.read) -> list[dict[str, Any]]:
        return [{**r, "value": 1.01 * r["value"]} if r.get("verb") == "eval-bpd" else r for r in read(name)]

    monkeypatch.setattr(rows, "read", changed)
    assert tables.page(tables.TEMPLATE.read_text()) != PAGE


def test_no_number_is_typed():
    assert not re.findall(r"^.*\d.*$", bare(tables.TEMPLATE.read_text().replace("20-d", "")), re.MULTILINE)


def test_every_row_with_a_number_names_its_record():
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and re.search(r"\d", bare(line))]
    links = {record["link"]: record for record in RECORDS}
    assert len(rows) >= len(RECORDS)
    for row in rows:
        found = LINK.findall(row)
        assert len(found) == 1, row
        assert f"`{links[found[0]]['command']}`" in row


def test_every_record_stands_on_the_page():
    assert {record["link"] for record in RECORDS} == set(LINK.findall(PAGE))


def test_each_group_of_others_has_its_table():
    assert {record["group"] for record in OTHERS} == set(rows.GROUPS)


@every_shipped
def test_a_record_is_of_the_weights_that_ship(record):
    path = ROOT / record["checkpoint"]
    assert path.parent == ROOT / "checkpoints"
    assert record["checkpoint"] in record["command"]
    digest = manifest.read_header(path).digest
    assert record.get("weights", digest) == record.get("sha256", digest) == digest


@every_record
def test_a_record_says_how_it_was_made(record):
    options = record["command"].split()
    assert options[0] in ("genctl", "python") and options[-1] == "--json"
    if record.get("verb") == "eval-bpd":
        assert record["split"] == "test"
        assert str(record["K"]) == (options[options.index("-k") + 1] if "-k" in options else "1")
        assert (record["device"] != "cpu") == ("--device" in options)
        assert record["value"] == record[{"nats": "nats", "bits/dim": "bits_per_dim"}[record["unit"]]]
        D = 3 * 32 * 32 if record.get("group") == "emoji" else 784
        assert record["nats"] == pytest.approx(record["bits_per_dim"] * D * log(2))
    assert not re.search(r"(?<![\w.])/\w", str(record)), "a path of some machine"


def test_a_speck_is_a_bright_pixel_among_dark_ones():
    x = torch.zeros(4, 1, 5, 5)
    x[0, 0, 2, 2] = x[1, 0, 0, 4] = 1.0  # lone dots, one in a corner
    x[2, 0, 2, 1:3] = 1.0  # a stroke
    x[3, 0, 2, 2], x[3, 0, 1, 1] = 1.0, 0.15  # a soft edge beside it
    assert specks.specks(x).nonzero().tolist() == [[0, 2, 2], [1, 0, 4]]
    assert specks.speckled((255 * x).byte()) == 0.5
