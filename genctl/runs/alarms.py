"""What a model warned of while it was trained: a line of alarms.jsonl each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..checkpoint import atomic, schema
from ..checkpoint.schema import TEXT, Kind, record, whole

FILE = "alarms.jsonl"
MOST_BYTES = 1 << 22
LINE = record(
    {
        "epoch": whole(0),
        "step": whole(0),
        "alarm": TEXT,
        "over": Kind("true or false", lambda value: isinstance(value, bool)),
    }
)


class Alarm(NamedTuple):
    """A warning, or that it is over."""

    epoch: int
    step: int
    alarm: str  # a sentence
    over: bool = False


def append(folder: Path, alarms: Sequence[Alarm]) -> None:
    """Add alarms to the run's file."""
    for alarm in alarms:
        atomic.append_line(folder / FILE, json.dumps(alarm._asdict()))


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the alarms, the oldest first; what is no alarm is left out, for nothing depends on it."""
    found = []
    with suppress(OSError, ValueError):
        for text in schema.read_text(folder / FILE, MOST_BYTES, torn=True).splitlines():
            with suppress(ValueError):
                line = schema.parse(text)
                LINE.check(line)
                found.append(line)
    return found


def drop_after(folder: Path, step: int) -> None:
    """Forget the alarms of epochs that will be trained again."""
    found = read(folder)
    kept = [line for line in found if line["step"] <= step]
    if len(kept) < len(found):
        atomic.write(folder / FILE, "".join(json.dumps(line) + "\n" for line in kept).encode())
