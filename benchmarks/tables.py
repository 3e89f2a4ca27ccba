"""The page of results, made from records: `python -m benchmarks.tables` writes docs/results.md.

    python -m benchmarks.tables                                                       # the page, from the records
    python -m benchmarks.tables --add genctl eval-bpd checkpoints/vae.safetensors     # run a command, keep its record
    python -m benchmarks.tables --trained FILE.json --add genctl evaluate a-run       # of weights that do not ship

A record is the JSON document that `genctl eval-bpd`, `genctl evaluate`, `genctl show` (without its list of tensors),
`benchmarks/neighbour_vote.py`, `judge.py` or `specks.py` prints, with the command that printed it. docs/records has a
file for each verb, and one for weights that do not ship (FILE.json then says what trained them: group, name,
train_command, machine, training_seconds). A line is a record, in the order of the rows; `<!-- NAME -->` in the template
stands for the table of that name (benchmarks/rows.py, benchmarks/families.py).
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from . import rows
from .families import families
from .rows import RECORDS, ROOT, Record

TEMPLATE = RECORDS / "results.template.md"
PAGE = ROOT / "docs" / "results.md"
FILES = {
    **{"eval-bpd": "likelihoods", "evaluate": "samples", "show": "weights"},
    **{"neighbour-vote": "votes", "judge": "judgements", "specks": "specks"},
}
OTHERS = "others"  # records of weights that do not ship
TABLES: dict[str, Callable[[], str]] = {
    **{"nats": partial(rows.likelihoods, "nats", 2), "bits/dim": partial(rows.likelihoods, "bits/dim", 4)},
    **{"round-trips": rows.round_trips, "quality": rows.quality, "judged": rows.judged},
    **{"modes": rows.modes, "votes": rows.votes, "judgements": rows.judgements, "specks": rows.specks},
    **{"families": families, "weights": rows.weights, "examples": rows.examples},
    **{f"{group}-quality": partial(rows.others_quality, group) for group in rows.GROUPS},
    **{f"{group}-likelihood": partial(rows.others_likelihood, group) for group in rows.GROUPS},
}


def page(template: str) -> str:
    """Return the page: the template with its markers replaced."""
    return re.sub(r"(?m)^<!-- ([\w/-]+) -->$", lambda marker: TABLES[marker[1]](), template)


def keep(words: str, document: Record, trained: Record | None = None) -> None:
    """Write a record into the file of its verb, or of weights that do not ship, in place of one of the same command."""
    path = RECORDS / f"{OTHERS if trained else FILES[document.get('verb', 'show')]}.jsonl"
    record = {"command": words} | {name: value for name, value in document.items() if name != "tensors"}
    record |= {**trained, "checkpoint": "not shipped"} if trained else {}
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    at = next((i for i, line in enumerate(lines) if line["command"] == words), len(lines))
    lines[at : at + 1] = [record]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def add(words: Sequence[str], trained: Record | None = None) -> None:
    """Run a command from the repository's folder and keep its record."""
    words = [*words, *([] if "--json" in words else ["--json"])]
    program = [sys.executable, *(["-m", "genctl"] if words[0] == "genctl" else [])]
    printed = subprocess.run([*program, *words[1:]], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    keep(shlex.join(words), json.loads(printed), trained)


def main() -> None:
    """Write the page, after a new record if one is asked for."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__, formatter_class=kind)
    parser.add_argument("--trained", type=Path, help="what trained the weights, which do not ship")
    parser.add_argument("--add", nargs=argparse.REMAINDER, help="a command whose record is to be kept")
    options = parser.parse_args()
    if options.add:
        add(options.add, json.loads(options.trained.read_text()) if options.trained else None)
    PAGE.write_text(page(TEMPLATE.read_text()))


if __name__ == "__main__":
    main()
