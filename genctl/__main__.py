"""`python -m genctl` is the command `genctl`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def leave(number: int, frame: FrameType | None) -> None:
    """End at once while libraries are imported, which a KeyboardInterrupt would tear; else raise one."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(128 + number)
        frame = frame.f_back
    raise KeyboardInterrupt


def run() -> int:
    """Run the command line and return its exit code; Ctrl-C is never a traceback."""
    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job in the background ignores it
            signal.signal(signal.SIGINT, leave)
        from .cli.app import main

        return main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(run())
