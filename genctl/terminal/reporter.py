"""Where the core's messages and progress go: a silent reporter, unless another is passed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

Advance = Callable[[int], None]  # is called with the number of further items done


@dataclass(frozen=True)
class Course:
    """What a training's figures are of, and what lies behind it."""

    unit: str = ""  # of the metrics that matter
    levels: Mapping[str, float] = field(default_factory=dict)  # label -> value that they are held against
    per_epoch: int = 0  # steps
    lines: Sequence[Mapping[str, Any]] = ()  # of metrics.jsonl, from before


class Reporter:
    """A silent listener; the command line's speaks on stderr, and a notebook may bring its own."""

    each_epoch: bool = False  # wants samples after each epoch, not only those that a run keeps

    def say(self, message: str) -> None:
        """Hear a message or a warning, one sentence."""

    def counting(self, total: int | None, what: str = "images") -> AbstractContextManager[Advance]:
        """Show how many of a total (None: not known) are done, within the block."""
        return nullcontext(lambda finished: None)

    def start(self, step: int, last: int, shown: Mapping[str, str], course: Course | None = None) -> None:
        """Hear that a training goes on from a step to the last, and which metrics matter: label -> metric."""

    def samples(self, epoch: int, kind: str, images: NDArray[numpy.uint8]) -> None:
        """Hear of samples after an epoch, [N, H, W] or [N, H, W, C]; kind is "", or "-means" as in files' names."""

    def step(self, step: int, terms: Mapping[str, float], images_per_second: float) -> None:
        """Hear of a step: the terms of its loss; at most twice a second."""

    def epoch(self, line: Mapping[str, Any], epochs: int) -> None:
        """Hear of a finished epoch: its line in metrics.jsonl."""

    def close(self) -> None:
        """Hear that the training has ended, however it did."""


class Both(Reporter):
    """Two reporters that hear the same; where something is counted, the first shows it."""

    def __init__(self, first: Reporter, second: Reporter) -> None:
        self.parts = first, second
        self.each_epoch = first.each_epoch or second.each_epoch

    def say(self, message: str) -> None:
        """Pass it on."""
        for part in self.parts:
            part.say(message)

    def counting(self, total: int | None, what: str = "images") -> AbstractContextManager[Advance]:
        """Let the first show it."""
        return self.parts[0].counting(total, what)

    def start(self, step: int, last: int, shown: Mapping[str, str], course: Course | None = None) -> None:
        """Pass it on."""
        for part in self.parts:
            part.start(step, last, shown, course)

    def samples(self, epoch: int, kind: str, images: NDArray[numpy.uint8]) -> None:
        """Pass them on."""
        for part in self.parts:
            part.samples(epoch, kind, images)

    def step(self, step: int, terms: Mapping[str, float], images_per_second: float) -> None:
        """Pass it on."""
        for part in self.parts:
            part.step(step, terms, images_per_second)

    def epoch(self, line: Mapping[str, Any], epochs: int) -> None:
        """Pass it on."""
        for part in self.parts:
            part.epoch(line, epochs)

    def close(self) -> None:
        """Pass it on."""
        for part in self.parts:
            part.close()


SILENT = Reporter()
