"""Where the core's messages and progress go: a silent reporter, unless another is passed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

Advance = Callable[[int], None]  # is called with the number of further items done


class Reporter:
    """A silent listener; the command line's speaks on stderr, and a notebook may bring its own."""

    def say(self, message: str) -> None:
        """Hear a message or a warning, one sentence."""

    def counting(self, total: int | None, what: str = "images") -> AbstractContextManager[Advance]:
        """Show how many of a total (None: not known) are done, within the block."""
        return nullcontext(lambda finished: None)

    def start(self, step: int, last: int, shown: Mapping[str, str]) -> None:
        """Hear that a training goes on from a step to the last, and which metrics matter: label -> metric."""

    def step(self, step: int, terms: Mapping[str, float], images_per_second: float) -> None:
        """Hear of a step: the terms of its loss; at most twice a second."""

    def epoch(self, line: Mapping[str, Any], epochs: int) -> None:
        """Hear of a finished epoch: its line in metrics.jsonl."""

    def close(self) -> None:
        """Hear that the training has ended, however it did."""


SILENT = Reporter()
