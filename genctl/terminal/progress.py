"""How a training shows itself: a bar on a terminal, one plain line per epoch elsewhere, JSON lines on demand."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from . import console

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

REFRESH = 0.5  # seconds between looks at the loss; each look waits for the device


def describe(metrics: Mapping[str, Any]) -> str:
    """Return "name value" pairs with four significant digits, without the counters."""
    hidden = {"epoch", "step", "seconds", "images_per_second"}
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name not in hidden)


class Progress:
    """Progress of one run; on a terminal the bar shows the loss terms, images/s and the time left."""

    def __init__(self, first: int, last: int, batch_size: int, quiet: bool, as_json: bool) -> None:
        self.last, self.batch_size, self.quiet, self.as_json = last, batch_size, quiet, as_json
        self.step, self.looked_at, self.looked = first, first, monotonic()
        self.bar = self._make_bar(first, last) if not quiet and sys.stderr.isatty() else None

    def _make_bar(self, first: int, last: int) -> Bar:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (BarColumn(bar_width=20), TextColumn("{task.percentage:3.0f}%"), TimeRemainingColumn())
        bar = Bar(*columns, TextColumn("{task.description}"), console=console.stderr(), transient=True)
        self.task = bar.add_task("", total=last, completed=first)
        bar.start()
        return bar

    def advance(self, step: int, look: Callable[[], Mapping[str, float]]) -> None:
        """Note a step; at most twice a second, look at the terms of its loss."""
        self.step = step
        now = monotonic()
        if now - self.looked < REFRESH:
            return
        terms = look()
        if self.bar is not None:
            speed = (step - self.looked_at) * self.batch_size / (now - self.looked)
            self.bar.update(self.task, completed=step, description=f"{describe(terms)}  {speed:,.0f} images/s")
        self.looked, self.looked_at = now, step

    def epoch(self, metrics: Mapping[str, Any], epochs: int) -> None:
        """Report a finished epoch."""
        if self.as_json:
            console.log(json.dumps(metrics))
        if self.quiet or self.as_json:
            return
        speed = f"{metrics['seconds']:.1f} s  {metrics['images_per_second']:,.0f} images/s"
        line = f"epoch {metrics['epoch']}/{epochs}  {describe(metrics)}  {speed}"
        if self.bar is None:
            console.say(line)
            return
        with suppress(OSError):  # a terminal may go before its process does
            self.bar.console.print(line, highlight=False)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            with suppress(OSError):
                self.bar.stop()


@contextmanager
def counting(images: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal while images are worked through; yields the function that advances it."""
    from rich.progress import Progress as Bar

    screen = console.stderr()
    with Bar(console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("images", total=images)
        yield lambda finished: bar.advance(task, finished)
