"""Where words go: data and results on stdout, progress and messages on stderr."""

from __future__ import annotations

import io
import os
import shlex
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def escape() -> None:
    """Let both streams escape the characters that they lack."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def typed(*words: object) -> str:
    """Return a genctl command as it can be typed into a shell."""
    return shlex.join(["genctl", *map(str, words)])


def say(message: str) -> None:
    """Print a message on stderr; a closed one is ignored."""
    with suppress(OSError, ValueError):
        print(message, file=sys.stderr, flush=True)


def result(text: str) -> None:
    """Print a result on stdout."""
    print(text, flush=True)


def log(line: str) -> None:
    """Print a line on stdout during other work; a closed pipe does not end that work."""
    try:
        result(line)
    except OSError:
        silence()


def silence() -> None:
    """Send the rest of stdout nowhere, or the interpreter complains of what is left of it at its end."""
    with suppress(OSError, AttributeError):  # a closed stdout is None
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stderr() -> Console:
    """Return rich's console on stderr, for progress bars."""
    from rich.console import Console

    return Console(stderr=True)
