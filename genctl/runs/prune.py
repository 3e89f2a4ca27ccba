"""What of old runs can go: training states first, and the weights only where they are asked for. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint import manifest
from ..errors import CheckpointError, DataError, RunInUse
from .folder import WEIGHTS, states
from .listing import Listed, listing_of
from .lock import lock


@dataclass(frozen=True)
class Spare:
    """A file that can go, and what is lost with it."""

    run: Listed
    path: Path
    bytes: int
    what: str  # "state", "weights" or "leftover"


def spare(runs: Sequence[Listed], unfinished: bool = False, weights: bool = False) -> list[Spare]:
    """Return the files that can go: states of finished runs, then those of others if wanted, and then the weights.

    A running run gives nothing. A state whose run has no whole weights stays, unless these go too: it holds the only
    ones. Files that a killed writer left behind go from every run.
    """
    idle = [run for run in runs if run.state not in ("running", "unreadable")]
    finished = [run for run in idle if run.state == "finished"]
    others = [run for run in idle if run.state != "finished"]
    found = [file for run in finished for file in _states(run, weights)]
    if unfinished:
        found += [file for run in others for file in _states(run, weights)]
    found += [file for run in idle for file in _leftovers(run)]
    if weights:
        found += [file for run in idle for file in _files(run, [run.folder / WEIGHTS], "weights")]
    return found


def _files(run: Listed, paths: Sequence[Path], what: str) -> Iterator[Spare]:
    for path in paths:
        with suppress(OSError):
            yield Spare(run, path, path.lstat().st_size, what)


def _states(run: Listed, weights_too: bool) -> Iterator[Spare]:
    with suppress(CheckpointError):
        if not weights_too:
            manifest.read(run.folder / WEIGHTS)
        yield from _files(run, states(run.folder), "state")


def _leftovers(run: Listed) -> Iterator[Spare]:
    """Yield the temporary files of writers; only such of a run that nobody holds are nobody's."""
    names = [path for path in run.folder.rglob(".*.tmp") if re.fullmatch(r"\..+\.\d+\.tmp", path.name)]
    yield from _files(run, names, "leftover")


def remove(files: Sequence[Spare]) -> tuple[list[Spare], list[str]]:
    """Delete the files, each run under its lock; return those that are gone, and a sentence for each run that is not.

    A run that went on since it was listed keeps all its files.
    """
    gone, problems = [], []
    for run in {file.run.folder: file.run for file in files}.values():
        try:
            with lock(run.folder):
                now = listing_of(run.folder)
                if (now.done, now.epochs) != (run.done, run.epochs):
                    raise DataError(f"{run.folder} went on in the meantime; it keeps its files.")
                for file in [file for file in files if file.run is run]:
                    file.path.unlink(missing_ok=True)
                    gone.append(file)
        except (RunInUse, DataError) as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{error.filename} cannot be deleted: {error.strerror}.")
    return gone, problems
