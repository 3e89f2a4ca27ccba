"""The page of a run that is being trained: curves and the last samples while it runs, the whole page at its end."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from ..generation.portrait import portrait
from ..page.records import Curves, Portrait
from ..runs.store import Store
from . import gather

if TYPE_CHECKING:
    from .experiment import Run

EVERY = 10.0  # seconds between two pages
SHARE, MOST = 0.01, 2.0  # of the time that the training took, and seconds: what the last page may take to draw
WHAT = f"writing {gather.PAGE}"


class Page:
    """What writes the page. It never ends a training, and draws no random number of it."""

    def __init__(self, run: Run, store: Store) -> None:
        self.run, self.store = run, store
        self.begun = monotonic()
        self.written = self.begun - EVERY

    def refresh(self) -> None:
        """Write what is new, if the last page is old enough."""
        if monotonic() - self.written >= EVERY:
            self.write("running", Portrait())

    def end(self, state: str) -> None:
        """Write the last page, with all that the model shows where there is time for it."""
        run, found = self.run, Portrait()
        allowed = min(MOST, SHARE * (monotonic() - self.begun)) if state == "finished" else 0.0
        with self.store.decoration("drawing for the page"):
            found = portrait(run.training.best.eval(), run.data, allowed, run.block)
        self.write(state, found)

    def write(self, state: str, drawn: Portrait) -> None:
        """Write the page."""
        run, plot = self.run, self.run.model.plot
        with self.store.decoration(WHAT):
            record = gather.record(
                self.store.folder,
                state=state,
                curves=Curves(unit=plot.unit, series=plot.series, levels=plot.levels),
                portrait=drawn,
                parameters=sum(p.numel() for p in run.model.parameters()),
                done=run.training.step / run.last,
            )
            gather.write(self.store.folder / gather.PAGE, [record], refresh=EVERY if state == "running" else None)
        self.written = monotonic()
