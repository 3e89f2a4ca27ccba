"""A run in a line: how far it is, how good, whether it goes on, and what it takes. No torch.

A folder of a thousand runs is listed in a second or two: of a run, config.json is read once, and of metrics.jsonl
two lines are parsed, the last and the best; the rest is only searched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any, Literal

from ..config import GIVEN, Pixels
from ..errors import CheckpointError, UsageError
from ..models import registry
from .folder import RunConfig, described, is_model, parsed_line, read_config, text_of_metrics, unimproved
from .lock import in_use, owner

State = Literal["running", "finished", "stopped", "diverged", "failed", "unreadable"]
NUMBER = r"(-?[0-9.]+(?:[eE][+-]?[0-9]+)?)"
SECONDS, VALIDATION = re.compile(f'"seconds": {NUMBER}'), re.compile(f'"validation_nats": {NUMBER}')


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What a listing says of a run; of one that cannot be read, what is wrong with it."""

    folder: Path
    state: State
    why: str = ""  # it failed, or cannot be read
    pid: int | None = None  # of the process that trains it
    model: str = "-"
    data: str = "-"
    done: int = 0  # epochs
    epochs: int = 0
    started: str = ""  # ISO 8601, UTC
    best: float | None = None  # the lowest validation bound
    unit: str = ""
    of: str = ""  # what it is a value of: values of different data are no rivals
    seconds: float = 0.0  # of training
    bytes: int = 0  # in its folder

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        rest = {name: value for name, value in asdict(self).items() if name not in ("folder", "best")}
        progress = f"{self.done}/{self.epochs}" if self.epochs else "-"
        return {"run": str(self.folder), **rest, "epochs": progress, "best": self.shown_best, "value": self.best}

    @property
    def shown_best(self) -> str:
        """Return the best validation value with its unit and what it is of."""
        if self.best is None:
            return "-"
        return f"{self.shown_value} ({self.of})" if self.of else self.shown_value

    @property
    def shown_value(self) -> str:
        """Return the best validation value with its unit, "" where there is none."""
        return "" if self.best is None else f"{self.best:.{3 if self.unit == 'bits/dim' else 2}f} {self.unit}"


SORTS: dict[str, Callable[[Listed], Any]] = {  # the first of a listing is the smallest key; of two alike the newer
    "started": lambda run: 0,
    "name": lambda run: str(run.folder),
    "model": lambda run: run.model,
    "best": lambda run: (run.best is None, run.unit, run.of, run.best or 0.0),
    "epochs": lambda run: -run.done,
    "time": lambda run: -run.seconds,
    "disk": lambda run: -run.bytes,
    "state": lambda run: run.state,
}


def listed(root: Path, sort: str = "started") -> list[Listed]:
    """Return the runs under root, the newest first or by another key, and after them those that cannot be read."""
    found = [listing_of(folder) for folder in described(root) if not is_model(folder)]
    found.sort(key=lambda run: (run.started, run.folder), reverse=True)
    return sorted(found, key=lambda run: (run.state == "unreadable", SORTS[sort](run)))


def listing_of(folder: Path) -> Listed:
    """Return what a listing says of a run."""
    size = disk_use(folder)
    try:
        about, text = read_config(folder), text_of_metrics(folder)
        lines = text.split("\n")[:-1]
        for i in [i for i, line in enumerate(lines) if line[:1] != "{" or line[-1] != "}"]:
            parsed_line(folder, lines, i)  # torn within
        last = parsed_line(folder, lines, len(lines) - 1) if lines else {"epoch": 0}
        best, unit, of = _best(folder, about, lines) if VALIDATION.search(text) else (None, "", "")
    except CheckpointError as error:
        return Listed(folder=folder, state="unreadable", why=str(error), bytes=size)
    bounds = {i: float(found[1]) for i, line in enumerate(lines) if (found := VALIDATION.search(line))}
    waits = about.train.get("patience") or inf
    state, pid = _state(folder, about, last["epoch"] >= about.train["epochs"] or unimproved(bounds) >= waits)
    return Listed(
        folder=folder,
        state=state,
        why=about.why if state in ("failed", "diverged") else "",
        pid=pid,
        model=about.model,
        data=about.dataset["name"],
        done=last["epoch"],
        epochs=about.train["epochs"],
        started=about.started,
        best=best,
        unit=unit,
        of=of,
        seconds=sum(map(float, SECONDS.findall(text))),
        bytes=size,
    )


def _state(folder: Path, about: RunConfig, finished: bool) -> tuple[State, int | None]:
    if finished:
        return "finished", None
    if in_use(folder):
        return "running", owner(folder)
    return {"diverged": "diverged", "failed": "failed"}.get(about.ended, "stopped"), None  # type: ignore[return-value]


def _best(folder: Path, about: RunConfig, lines: list[str]) -> tuple[float, str, str]:
    """Return the lowest validation bound in the usual unit of its data, that unit, and what it is of."""
    values = [(float(found[1]), i) for i, line in enumerate(lines) if (found := VALIDATION.search(line))]
    line = parsed_line(folder, lines, min(values)[1])
    try:
        pixels = pixels_of(about.model, tuple(sorted((k, v) for k, v in about.config.items() if k != "class_counts")))
    except (UsageError, TypeError):
        return line["validation_nats"], "nats", ""
    of = f"{pixels.name}{GIVEN if about.config.get('classes') else ''}"
    if pixels.unit == "bits/dim" and line.get("validation_bits_per_dim") is not None:
        return line["validation_bits_per_dim"], "bits/dim", of
    return line["validation_nats"], "nats", of


@lru_cache(maxsize=4096)
def pixels_of(model: str, options: tuple[tuple[str, Any], ...]) -> Pixels:
    """Return what the likelihood of a run is of; runs of the same options share it."""
    return registry.load(model).from_dict(dict(options)).pixels


def disk_use(folder: Path) -> int:
    """Return the bytes of all files in a folder and below; what vanishes meanwhile does not count."""
    total = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    total += disk_use(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total
