"""How work shows itself: a bar on a terminal, one plain line per epoch elsewhere, JSON lines on demand."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from . import console
from .reporter import Advance, Reporter

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


BETWEEN_LINES = 10.0  # seconds


def describe(metrics: Mapping[str, Any]) -> str:
    """Return "name value" pairs with four significant digits."""
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())


class Terminal(Reporter):
    """Messages and progress on stderr; on a terminal a bar shows the loss terms, images/s and the time left."""

    def __init__(self, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet, self.as_json = quiet, as_json
        self.bar: Bar | None = None
        self.shown: Mapping[str, str] = {}  # label -> metric

    def say(self, message: str) -> None:
        """Print a message on stderr."""
        console.say(message)

    @contextmanager
    def counting(self, total: int | None, what: str = "images") -> Iterator[Advance]:
        """Show a bar on a terminal while something is worked through."""
        screen = console.stderr()
        if not screen.is_terminal:
            yield self.lines(total, what)
            return
        from rich.progress import Progress as Bar

        with Bar(console=screen, transient=True, redirect_stdout=False) as bar:
            task = bar.add_task(what, total=total)
            yield lambda finished: bar.advance(task, finished)

    def lines(self, total: int | None, what: str) -> Advance:
        """Return what counts in plain lines, for a log: one every ten seconds, so none of short work."""
        done, said = 0, monotonic()

        def advance(finished: int) -> None:
            nonlocal done, said
            done += finished
            if monotonic() - said >= BETWEEN_LINES and not self.quiet:
                console.say(f"{what}: {done:,}{f' of {total:,}' if total else ''}")
                said = monotonic()

        return advance

    def start(self, step: int, last: int, shown: Mapping[str, str]) -> None:
        """Show the bar."""
        self.shown = shown
        if self.quiet or not sys.stderr.isatty():
            return
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (BarColumn(bar_width=20), TextColumn("{task.percentage:3.0f}%"), TimeRemainingColumn())
        self.bar = Bar(
            *columns,
            TextColumn("{task.description}"),
            console=console.stderr(),
            transient=True,
            redirect_stdout=False,  # results and JSON lines are not the bar's
        )
        self.task = self.bar.add_task("", total=last, completed=step)
        self.bar.start()

    def step(self, step: int, terms: Mapping[str, float], images_per_second: float) -> None:
        """Move the bar."""
        if self.bar is not None:
            description = f"{describe(terms)}  {images_per_second:,.0f} images/s"
            self.bar.update(self.task, completed=step, description=description)

    def epoch(self, line: Mapping[str, Any], epochs: int) -> None:
        """Report a finished epoch."""
        if self.as_json:
            console.log(json.dumps(line))
        if self.quiet or self.as_json:
            return
        speed = f"{line['seconds']:.1f} s  {line['images_per_second']:,.0f} img/s"
        shown = {label: line[metric] for label, metric in self.shown.items() if metric in line}
        text = f"epoch {line['epoch']}/{epochs}  {describe(shown)}  {speed}"
        if self.bar is None:
            console.say(text)
            return
        with suppress(OSError):  # a terminal may go before its process does
            self.bar.console.print(text, highlight=False)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            with suppress(OSError):
                self.bar.stop()
            self.bar = None
