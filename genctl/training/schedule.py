"""The learning rate's schedule, and what becomes of it when a run gets more epochs than it was started for."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi
from typing import Any, NamedTuple

from ..errors import CheckpointError

HOW = ("hold", "stretch", "restart")
FINAL = 0.01  # share of the peak that is left after the end


def rate(schedule: str, progress: float) -> float:
    """Return the share of the peak learning rate at a progress in [0, 1].

    one-cycle (Smith & Topin 2019, arXiv:1708.07120) rises over the first tenth and falls as a cosine. A run that
    is extended with `hold` goes on at a hundredth.
    """
    if schedule == "constant":
        return 1.0
    if progress >= 1:
        return FINAL
    if schedule == "cosine":
        return FINAL + (1 - FINAL) * (1 + cos(pi * progress)) / 2
    if progress < 0.1:
        return 0.1 + 0.9 * progress / 0.1
    return (1 + cos(pi * (progress - 0.1) / 0.9)) / 2


class Extension(NamedTuple):
    """More epochs, from a step on.

    hold: the schedule stays, so that after its end the rate is a hundredth. stretch: from this step on the rates are
    those of a run of all these epochs. restart: the schedule runs anew over the steps that are left.
    """

    step: int  # the first that it is for
    epochs: int  # in all
    how: str

    def to_dict(self) -> dict[str, Any]:
        """Return what config.json holds."""
        return self._asdict()

    @classmethod
    def from_json(cls, values: Any) -> list[Extension]:
        """Return the extensions of a config.json; raise CheckpointError for what is none."""
        try:
            found = [cls(**each) for each in values]
            sound = all(type(e.step) is type(e.epochs) is int and min(e[:2]) >= 0 and e.how in HOW for e in found)
        except TypeError:
            sound = False
        if not sound:
            raise CheckpointError("the extensions in config.json are none; restore that file, or train anew.")
        return found


class Schedule(NamedTuple):
    """Where the schedule ends, and what came after that."""

    end: int  # step
    per_epoch: int = 1  # steps
    extensions: Sequence[Extension] = ()

    def progress(self, step: int) -> tuple[float, float]:
        """Return the progress of the run, by which a model warms up, and that of the learning rate, in [0, 1]."""
        begin, end, run_end = 0, self.end, self.end
        for extension in self.extensions:
            if extension.step > step:
                continue
            last = max(1, extension.epochs * self.per_epoch)
            if extension.how == "stretch":
                begin, end, run_end = 0, last, last
            elif extension.how == "restart":
                begin, end = extension.step, last
        return min(1.0, step / run_end), min(1.0, (step - begin) / max(1, end - begin))

    def best_extension(self, step: int) -> str:
        """Return how more epochs lose least: after its end the schedule restarts (docs/lab-notes.md)."""
        return "restart" if self.progress(step)[1] >= 1 else "stretch"

    @property
    def last_epoch(self) -> int:
        """Return the epoch at which it ends."""
        return self.extensions[-1].epochs if self.extensions else self.end // self.per_epoch

    def extended(self, extension: Extension) -> Schedule:
        """Return the schedule with an extension more; those of later steps were of another way, which was lost."""
        before = [known for known in self.extensions if known.step < extension.step]
        return self._replace(extensions=[*before, extension])
