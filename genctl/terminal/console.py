"""Where words go: data and results on stdout, progress and messages on stderr."""

from __future__ import annotations

import io
import os
import shlex
import sys
from contextlib import suppress
from typing import TYPE_CHECKING
from unicodedata import category

from ..ranks import meeting

if TYPE_CHECKING:
    from rich.console import Console


HIDDEN = {"Cc", "Cf", "Zl", "Zp"}  # Unicode's classes of what moves the cursor, turns the text round or ends a line


def plain(text: str) -> str:
    """Return one line of text in which nothing steers a terminal: such characters are escaped, line ends too."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"\\u{ord(c):04x}" if category(c) in HIDDEN else c for c in text)


def escape() -> None:
    """Make up for streams that are closed, and let both escape the characters that they lack.

    A closed descriptor would be the next file's that is opened. What is written to a closed stderr is dropped, never
    printed on stdout instead; on a closed stdout it is an OSError, for a result is lost.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)  # takes the lowest number that is free
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115 - to the end of the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def typed(*words: object) -> str:
    """Return a genctl command as it can be typed into a shell."""
    return shlex.join(["genctl", *map(str, words)])


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it: 8 s, 12 min, 3.5 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


def size(bytes_: int) -> str:
    """Return a number of bytes in the unit that suits it: 3.2 kB, 410 MB, 1.2 GB."""
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if bytes_ >= one:
            return f"{bytes_ / one:.3g} {unit}" if bytes_ < 999.5 * one else f"{bytes_ / one:,.0f} {unit}"
    return f"{bytes_} B"


def say(message: str, from_all: bool = False) -> None:
    """Print a message on stderr, one line; a closed one is ignored. Of several processes the first speaks for all."""
    if meeting.follows() and not from_all:
        return
    with suppress(OSError, ValueError):
        print(plain(message), file=sys.stderr, flush=True)


def result(*lines: str) -> None:
    """Print the lines of a result on stdout, once for all processes of a command."""
    if meeting.follows():
        return
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
    """Return rich's console on stderr, for progress and pictures; no variable makes a pipe or a log a terminal."""
    from rich.console import Console

    return Console(stderr=True, force_terminal=sys.stderr.isatty(), quiet=meeting.follows())
