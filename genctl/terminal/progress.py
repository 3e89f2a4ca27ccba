"""How work shows itself: a bar on a terminal, one plain line per epoch elsewhere, JSON lines on demand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from . import console
from .course import Progress
from .reporter import Advance, Course, Reporter

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from .view import View

BETWEEN_LINES = 10.0  # seconds


def blocks_fit() -> bool:
    """Tell whether stderr is a terminal that can show pictures."""
    from .blocks import can_show

    return can_show(console.stderr())


class Terminal(Reporter):
    """Messages and progress on stderr; on a terminal a bar shows what falls, the best so far and the time left."""

    def __init__(self, quiet: bool = False, as_json: bool = False, show: bool = False) -> None:
        self.quiet, self.as_json = quiet, as_json
        self.show = show and not quiet and blocks_fit()
        self.each_epoch = self.show
        self.view: View | None = None
        self.progress: Progress | None = None
        self.waiting: NDArray[numpy.uint8] | None = None  # samples of before the bar is there

    def say(self, message: str) -> None:
        """Print a message on stderr, above the bar where there is one."""
        if self.view is None:
            console.say(message)
        else:
            self.view.print(console.plain(message))

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

    def start(self, step: int, last: int, shown: Mapping[str, str], course: Course | None = None) -> None:
        """Show the bar; where nothing can be moved back on the screen, each epoch is a line."""
        self.progress = Progress(step, last, shown, course or Course())
        screen = console.stderr()
        if self.quiet or not screen.is_terminal or screen.is_dumb_terminal:
            return
        from .view import View

        self.view = View(screen, self.progress, self.show)
        if self.waiting is not None:
            self.view.take(self.waiting)
        self.view.start()

    def samples(self, epoch: int, kind: str, images: NDArray[numpy.uint8]) -> None:
        """Show samples, of several kinds the first."""
        if self.show and not kind:
            self.waiting = images
            if self.view is not None:
                self.view.take(images)

    def step(self, step: int, terms: Mapping[str, float], images_per_second: float) -> None:
        """Move the bar."""
        if self.view is not None and self.progress is not None:
            self.progress.at(step, terms, images_per_second)
            self.view.refresh()

    def epoch(self, line: Mapping[str, Any], epochs: int) -> None:
        """Report a finished epoch."""
        if self.as_json:
            console.log(json.dumps(line))
        if self.progress is None:
            return
        self.progress.ended(line)
        if self.quiet or self.as_json:
            return
        text = self.progress.log_line(line, epochs)
        console.say(text) if self.view is None else self.view.print(text)

    def close(self) -> None:
        """Take the bar away."""
        if self.view is not None:
            self.view.close()
            self.view = None
