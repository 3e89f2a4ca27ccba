"""Where words go: data and results on stdout, progress and messages on stderr."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console


def say(message: str) -> None:
    """Print a message on stderr; characters that the terminal lacks are escaped, a closed one is ignored."""
    with suppress(OSError, ValueError):
        _print(message, sys.stderr)


def result(text: str) -> None:
    """Print a result on stdout."""
    _print(text, sys.stdout)


def _print(text: str, stream: TextIO) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def stderr() -> Console:
    """Return rich's console on stderr, for progress bars."""
    from rich.console import Console

    return Console(stderr=True)
