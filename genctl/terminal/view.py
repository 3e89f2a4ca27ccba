"""The bar of a training on a terminal, and with --show samples and curves above it. It redraws when it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from . import blocks
from .blocks import Line, Lines
from .console import stderr
from .course import Progress

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

BAR = 20  # characters
CURVE = 24  # columns that a curve needs beside samples
BETWEEN_PICTURES = 1.0  # seconds
MOST_LINES = 24  # of samples and curves


def draw(images: NDArray[numpy.uint8], columns: int) -> None:
    """Draw a sheet of images on stderr, where that is a terminal that can show it."""
    screen = stderr()
    if blocks.can_show(screen):
        with suppress(OSError):
            screen.print(Lines(blocks.as_wide(images, columns, screen.width)), end="")


class View:
    """What stands at the end of a terminal while a training goes on; lines are printed above it."""

    def __init__(self, console: Console, progress: Progress, show: bool = False) -> None:
        self.console, self.progress = console, progress
        self.show = show and blocks.can_show(console)
        self.images: NDArray[numpy.uint8] | None = None
        self.refreshed = -BETWEEN_PICTURES
        self.drawn: tuple[tuple[int, int, int], Sequence[Line]] | None = None  # of what, and its lines
        self.live = Live(
            console=console,
            auto_refresh=False,  # no thread: a training has the cores to itself between two looks at it
            transient=True,
            redirect_stdout=False,  # results and JSON lines are not the bar's
            get_renderable=self.render,
        )

    def start(self) -> None:
        """Show it."""
        self.live.start(refresh=True)

    def refresh(self) -> None:
        """Draw it anew; pictures take milliseconds to write, so with them not at every look at the training."""
        if not self.show or monotonic() - self.refreshed >= BETWEEN_PICTURES:
            self.refreshed = monotonic()
            self.live.refresh()

    def print(self, text: str) -> None:
        """Print a line above it."""
        with suppress(OSError):  # a terminal may go before its process does
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def take(self, images: NDArray[numpy.uint8]) -> None:
        """Show these samples from now on."""
        self.images, self.drawn = images, None

    def close(self) -> None:
        """Take it away."""
        with suppress(OSError):
            self.live.stop()

    def render(self) -> Group:
        """Return what is to be seen now."""
        parts = [Lines(self.pictures())] if self.show else []
        bar = ProgressBar(total=1.0, completed=self.progress.share, width=BAR)
        words = f"{100 * self.progress.share:3.0f}%  {self.progress.bar_line(self.console.width - BAR - 9)}"
        row = Table.grid(padding=(0, 1))
        row.add_row(bar, Text(words, no_wrap=True, overflow="ellipsis"))
        return Group(*parts, row)

    def pictures(self) -> Sequence[Line]:
        """Return samples and curves; they are made anew after an epoch, or when the terminal's size changes."""
        width, height = self.console.size
        what = width, height, len(self.progress.lines)
        if self.drawn is None or self.drawn[0] != what:
            self.drawn = what, self.made(width, min(height - 4, MOST_LINES))
        return self.drawn[1]

    def made(self, width: int, height: int) -> Sequence[Line]:
        """Return samples with curves beside them, or of a narrow terminal the samples alone."""
        if height < 4:
            return []
        room = width - CURVE if width >= 2 * CURVE else width
        left = [] if self.images is None else blocks.as_many(self.images, room - 2, height)
        taken = max((sum(len(part.text) for part in line) for line in left), default=-2) + 2
        lines, shown = self.progress.lines, self.progress.shown
        series = {
            label: [(line["epoch"], line[metric]) for line in lines if line.get(metric) is not None]
            for label, metric in shown.items()
        }
        right = blocks.curves(series, min(width - taken - 1, 60), max(len(left), 6), self.progress.course.levels)
        return blocks.beside(left, right)
