"""What a run's folder holds for its page: samples, metrics, measurements, alarms, options, commands. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..checkpoint import atomic
from ..config import ModelConfig, TrainConfig, flag, options_of
from ..errors import UsageError
from ..models import registry
from ..page.page import render
from ..page.records import Curves, Page, Portrait, RunRecord, Setting, Table
from ..runs import alarms, listing
from ..runs.folder import RunConfig, read_config, read_metrics
from ..runs.records import read_evaluations
from ..terminal.console import typed
from . import again, frames

PAGE = "report.html"
OTHER = "Other"  # panel of options that this version does not know


def record(
    folder: Path,
    *,
    state: str = "",
    curves: Curves | None = None,
    portrait: Portrait | None = None,
    parameters: int | None = None,
    done: float = 0.0,
) -> RunRecord:
    """Return what is known of a run; while it runs, of its samples the last alone."""
    about, lines = read_config(folder), read_metrics(folder)
    kind = kind_of(about.model)
    listed = listing.listing_of(folder)
    state = state or listed.state
    previews = [ending.strip("-") for ending in kind.previews] if kind else []
    return RunRecord(
        name=folder.resolve().name,
        about=about,
        family=family(kind) if kind else about.model,
        state=state,
        lines=lines,
        done=done,
        parameters=parameters,
        best=listed.shown_value,
        of=listed.of,
        curves=curves or Curves(),
        frames=frames.of(folder / "samples", previews, last_only=state == "running"),
        portrait=portrait or Portrait(),
        evaluations=read_evaluations(folder),
        alarms=alarms.read(folder),
        settings=settings(about, kind),
        commands=again.commands(folder, about, kind, read_evaluations(folder)),
    )


def write(
    path: Path,
    runs: Sequence[RunRecord],
    *,
    comparison: Table | None = None,
    refresh: float | None = None,
    command: Sequence[object] = (),
) -> None:
    """Write a page, whole or not at all."""
    page = Page(
        runs=runs,
        written=datetime.now(UTC).isoformat(timespec="milliseconds"),
        version=__version__,
        comparison=comparison,
        command=typed(*(command or ("report", path.parent))),
        refresh=refresh,
    )
    atomic.write(path, render(page))


def kind_of(model: str) -> type[ModelConfig] | None:
    """Return a model's config class; None for a plug-in that is not installed here."""
    try:
        return registry.load(model)
    except UsageError:
        return None


def family(kind: type[ModelConfig]) -> str:
    """Return what a model is, in the words of its help: before its form and source."""
    return (kind.__doc__ or kind.name).strip().splitlines()[0].split(":")[0].split(" (")[0].rstrip(".")


def settings(about: RunConfig, kind: type[ModelConfig] | None) -> dict[str, list[Setting]]:
    """Return every option by its panel, and what else config.json says of where the run came from."""
    found: dict[str, list[Setting]] = {}
    shared = kind.train_config() if kind else TrainConfig()
    chosen = again.needed(kind, about.config) if kind else {}
    known = {**(options_of(kind) if kind else {}), **options_of(TrainConfig)}
    for name, value in {**about.config, **about.train}.items():
        changed = value != getattr(shared, name, None) if name in about.train else name in chosen
        panel = known[name][1].panel if name in known else OTHER
        found.setdefault(panel, []).append(Setting(flag(name), value, name in known and changed))
    facts: Mapping[str, Any] = {
        "started": about.started[:19].replace("T", " "),
        "data": about.dataset["name"],
        "data digest": about.dataset["digest"][:16],
        "device": about.device,
        "CPU threads": about.threads,
        **about.versions,
    }
    found["Origin"] = [Setting(name, value, False) for name, value in facts.items()]
    return found
