"""What a report shows of runs, gathered: the folder of each, and what its weights draw."""

from __future__ import annotations

from pathlib import Path

from ..device import exact
from ..errors import CheckpointError, DataError
from ..generation.portrait import portrait
from ..models.base import Plot
from ..page.records import Curves, Portrait, RunRecord
from ..runs.folder import WEIGHTS
from ..runs.load import load_model
from ..terminal.reporter import SILENT, Reporter
from ..training import gather
from .trained import TrainedModel

write = gather.write


def record(folder: Path, *, dataset: str | None = None, device: str = "cpu", reporter: Reporter = SILENT) -> RunRecord:
    """Return all that is known of a run.

    Weights or data that cannot be used leave out what they would draw, with a message: a run that diverged has a page.
    """
    try:
        model = TrainedModel(*load_model(folder / WEIGHTS, device), folder / WEIGHTS, reporter)
    except CheckpointError as error:
        reporter.say(f"warning: {error} The page shows what lies in the folder.")
        return gather.record(folder)
    drawn = Portrait()
    try:
        found = model.dataset(dataset)
        with exact(model.module.device):
            drawn = portrait(model.module, found)
    except DataError as error:
        if dataset is not None:
            raise
        reporter.say(f"warning: {error} The page shows what needs no data.")
    return gather.record(
        folder,
        curves=curves(model.module.plot),
        portrait=drawn,
        parameters=sum(p.numel() for p in model.module.parameters()),
    )


def curves(plot: Plot) -> Curves:
    """Return what a model's large plot shows."""
    return Curves(unit=plot.unit, series=plot.series, levels=plot.levels)
