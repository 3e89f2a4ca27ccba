"""What a person wants to know of a training: what falls, against what, the best so far, and the time that is left."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

from .console import duration
from .reporter import Course


class Progress:
    """How far a training is: what it hears of steps and epochs, put into words."""

    def __init__(self, step: int, last: int, shown: Mapping[str, str], course: Course) -> None:
        self.shown, self.course = shown, course  # shown: label -> metric
        self.first, self.step, self.last = step, step, last
        self.began = monotonic()  # of this start
        self.epoch_began = self.began
        self.epoch_seconds: float | None = None  # of an epoch since this start, validation and pictures too
        self.values: dict[str, float] = {}  # of the metrics that matter, the newest of each
        self.images_per_second = 0.0
        self.lines: list[Mapping[str, Any]] = []
        self.best: tuple[float, int] | None = None  # the lowest validation value, and its epoch
        for line in course.lines:
            self.note(line)

    def note(self, line: Mapping[str, Any]) -> None:
        """Take in an epoch's line of the metrics."""
        self.lines.append(line)
        self.values |= {label: line[metric] for label, metric in self.shown.items() if line.get(metric) is not None}
        value = line.get(self.shown.get("validation", ""))
        if value is not None and (self.best is None or value < self.best[0]):
            self.best = value, line["epoch"]

    def at(self, step: int, terms: Mapping[str, float], images_per_second: float) -> None:
        """Take in a step: the terms of its loss."""
        self.step, self.images_per_second = step, images_per_second
        own = {label: terms[metric] for label, metric in self.shown.items() if metric in terms}
        self.values |= own or dict(list(terms.items())[:1])

    def ended(self, line: Mapping[str, Any]) -> None:
        """Take in a finished epoch."""
        now = monotonic()
        whole = self.step_of(line) - self.first >= self.course.per_epoch  # else it was resumed within
        if whole:
            self.epoch_seconds = now - self.epoch_began
        self.epoch_began, self.step = now, self.step_of(line)
        self.note(line)

    def step_of(self, line: Mapping[str, Any]) -> int:
        """Return the step at which an epoch ended."""
        return int(line.get("step", self.step))

    @property
    def share(self) -> float:
        """Return the part of the run that is done."""
        return self.step / self.last if self.last else 1.0

    @property
    def epochs_left(self) -> float:
        """Return the epochs that are left of the run."""
        return (self.last - self.step) / (self.course.per_epoch or self.last or 1)

    def left_of_epoch(self) -> float | None:
        """Return the seconds that are left of this epoch; None where they are not known yet."""
        per_epoch = self.course.per_epoch
        done = self.step % per_epoch if per_epoch else 0
        if not done:
            return None
        here = min(done, self.step - self.first)  # of this start
        spent = monotonic() - self.epoch_began
        return spent / here * (per_epoch - done) if here else None

    def left_of_run(self) -> float | None:
        """Return the seconds that are left of the run, by the whole epochs since this start, or by its first steps."""
        if self.step >= self.last:
            return None
        if self.epoch_seconds is not None:
            return self.epoch_seconds * self.epochs_left
        done = self.step - self.first
        return (monotonic() - self.began) / done * (self.last - self.step) if done else None

    def figures(self) -> list[str]:
        """Return the metrics that matter, each with four digits, the best validation value, and the levels."""
        found = [f"{label} {value:.4g}" for label, value in self.values.items()]
        if self.best is not None:
            found.append(f"best {self.best[0]:.4g} ({self.best[1]})")
        return found

    def levels(self) -> list[str]:
        """Return the values that the metrics are held against."""
        return [f"{label} = {value:.4g}" for label, value in self.course.levels.items()]

    def bar_line(self, width: int) -> str:
        """Return what stands beside the bar, as much of it as is wide enough for: the first matters most."""
        per_epoch = self.course.per_epoch
        epochs = self.last // per_epoch if per_epoch else 0
        words = [f"epoch {min(self.step // per_epoch + 1, epochs)}/{epochs}"] if per_epoch else []
        words += self.figures()
        epoch, run = self.left_of_epoch(), self.left_of_run()
        if run is not None:
            words.append(f"{duration(run)} left")
        if epoch is not None:
            words.append(f"epoch {duration(epoch)}")
        words += [f"{self.images_per_second:,.0f} images/s"] if self.images_per_second else []
        words += [self.course.unit, *self.levels()]
        return fitted(words, width)

    def log_line(self, line: Mapping[str, Any], epochs: int) -> str:
        """Return a finished epoch as a line of a log."""
        shown = {label: line[metric] for label, metric in self.shown.items() if line.get(metric) is not None}
        words = [f"epoch {line['epoch']}/{epochs}", *(f"{label} {value:.4g}" for label, value in shown.items())]
        words += [f"best {self.best[0]:.4g} ({self.best[1]})"] if self.best else []
        words.append(f"{line['seconds']:.1f} s")
        left = self.left_of_run()
        return "  ".join(words + ([f"{duration(left)} left"] if left else []))


def fitted(words: list[str], width: int) -> str:
    """Return the words with two spaces between them, without those that are too wide at the end."""
    line = ""
    for word in filter(None, words):
        longer = f"{line}  {word}" if line else word
        if len(longer) > width:
            break
        line = longer
    return line
