"""SIGINT and SIGTERM while training: the first asks, the second ends the process at once.

Under torchrun all ask: a terminal or a scheduler tells the processes, and then torchrun does too. It kills by itself.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from ..ranks import meeting


class StopRequest:
    """A context in which `number` is the signal that asked for a stop, 0 for none."""

    def __init__(self) -> None:
        self.number = 0
        self.before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        """Start to listen."""
        for kind in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):  # outside the main thread there is nothing to listen to
                self.before[kind] = signal.signal(kind, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        for kind in self.before if not meeting.launched() else ():
            signal.signal(kind, signal.SIG_DFL)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the signals as they were."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
