"""The verb that makes a page of runs, and shows it to a browser here."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from ..errors import CheckpointError, DataError, UsageError
from ..models import registry
from ..runs import find
from ..runs.folder import all_runs, read_config
from ..runs.lock import in_use
from ..terminal.console import result, say
from . import completion, tables
from .arguments import Data, On, Runs, free, writable
from .evaluate import Number

PAGE = "report.html"
Which = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...",
        help="runs, or models for their newest ones",
        autocompletion=completion.models_and_runs,
    ),
]
File = Annotated[Path | None, typer.Option("--out", metavar="FILE", help=f"page to write, .html (default: RUN/{PAGE})")]
Serve = Annotated[
    bool, typer.Option("--serve", metavar="", help="show it to browsers on this machine, until Ctrl-C; it stays live")
]


def report(
    names: Which,
    out: File = None,
    serve: Serve = False,
    samples: Number = None,
    dataset: Data = None,
    device: On = "cpu",
    runs: Runs = None,
) -> None:
    """Write one HTML file that shows a run: samples, curves, latents, figures. Of several runs, their comparison."""
    folders = list(dict.fromkeys(folder_of(name, runs) for name in names))
    if samples is not None and len(folders) == 1:
        raise UsageError("--samples is for a comparison; name several runs, or leave it out.")
    path = target(folders, out)
    busy = len(folders) == 1 and in_use(folders[0])
    if not (busy and serve and out is None and path.is_file()):  # which the training itself keeps new
        write(path, folders, samples, dataset, device)
    if serve:
        show(path)
    else:
        result(str(path))


def folder_of(name: str, runs: Path | None) -> Path:
    """Return the run's folder that a word means: a path, a name, or a model's newest run."""
    if registry.known(name):
        for folder in reversed(all_runs(runs)):
            if read_config(folder).model == name:
                return folder
        raise CheckpointError(f"there is no run of {name}; type: genctl train {name}")
    path = find.find(name, runs)
    folder = path if path.is_dir() else path.parent
    read_config(folder)
    return folder


def target(folders: Sequence[Path], out: Path | None) -> Path:
    """Return where the page goes: into the run's folder, or of several runs to a free name here."""
    path = out or (folders[0] / PAGE if len(folders) == 1 else free(Path(), "report", ".html"))
    return writable(path, (".html",))


def write(path: Path, folders: Sequence[Path], samples: int | None, dataset: str | None, device: str) -> None:
    """Gather all that a page shows, and write it."""
    sources = [find.resolve(str(folder)) for folder in folders] if len(folders) > 1 else []
    find.one_data_set(sources)
    from .. import api
    from ..api import report as of
    from ..page.records import Table
    from ..terminal.progress import Terminal

    reporter, table = Terminal(), None
    if sources:
        found = api.compare(sources, samples=samples, dataset=dataset, device=device, reporter=reporter)
        table = Table(*tables.compared(found))
    records = [of.record(folder, dataset=dataset, device=device, reporter=reporter) for folder in folders]
    refresh = 10.0 if any(record.state == "running" for record in records) and path.parent == folders[0] else None
    words = ["report", *folders, *(["--samples", samples] if samples else [])]
    try:
        of.write(path, records, comparison=table, refresh=refresh, command=words)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise  # the command line has a sentence for it
        raise DataError(f"{path} cannot be written: {error.strerror}; choose another --out.") from error


def show(path: Path) -> None:
    """Serve the page until Ctrl-C."""
    from ..page.serve import Server

    with Server(path) as server:
        say("showing the page to this machine alone; Ctrl-C ends it")
        result(server.address)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
