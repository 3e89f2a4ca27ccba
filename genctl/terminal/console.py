"""Where words go: data and results on stdout, progress and messages on stderr."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING
from unicodedata import category

if TYPE_CHECKING:
    from rich.console import Console


HIDDEN = {"Cc", "Cf", "Zl", "Zp"}  # Unicode's classes of what moves the cursor, turns the text round or ends a line


def plain(text: str) -> str:
    """Return one line of text in which nothing steers a terminal: such characters are escaped, line ends too."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"\\u{ord(c):04x}" if category(c) in HIDDEN else c for c in text)


def escape() -> None:
    """Let both streams escape the characters that they lack."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(message: str) -> None:
    """Print a message on stderr, one line; a closed one is ignored."""
    with suppress(OSError, ValueError):
        print(plain(message), file=sys.stderr, flush=True)


def result(*lines: str) -> None:
    """Print the lines of a result on stdout."""
    print("\n".join(map(plain, lines)), flush=True)


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
