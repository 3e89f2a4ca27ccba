"""What a value of an option may be, and the sentence for one that it may not: typed, from Python, or in a file."""

from __future__ import annotations

from math import isfinite
from os import PathLike, fspath, sep
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from ..errors import UsageError

NOUNS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
MOST = 2**63 - 1  # of a whole number: what a tensor holds
SHOWN = 40  # characters of a wrong value in a sentence


def plain(kind: Any) -> Any:
    """Return the type of an option that may be None."""
    if get_origin(kind) is Literal:
        return kind
    return next((part for part in get_args(kind) if part is not type(None)), kind)


def fits(value: Any, kind: Any) -> bool:
    """Tell whether a value is of an option's type; a whole number is a number, and true is neither."""
    if value is None:
        return type(None) in get_args(kind)
    if isinstance(value, bool):
        return plain(kind) is bool
    return isinstance(value, (int, float) if plain(kind) is float else plain(kind))


def check(name: str, value: Any, kind: Any, least: float | None = None, most: float | None = None) -> None:
    """Raise UsageError unless the value is of the type, finite, and in the range; name is the option as it is typed."""
    if value is None and fits(value, kind):
        return
    choices = get_args(plain(kind)) if get_origin(plain(kind)) is Literal else ()
    if choices and value not in choices:
        raise UsageError(f"{name} is one of {', '.join(choices)}; not {shown(value)}.")
    if choices:
        return
    if not fits(value, kind):
        raise UsageError(f"{name} must be {NOUNS[plain(kind)]}, not {shown(value)}.")
    if isinstance(value, float) and not isfinite(value):
        raise UsageError(f"{name} must be a finite number; not {value}.")
    if least is not None and value < least:
        raise UsageError(f"{name} must be at least {limit(least)}; not {shown(value)}.")
    most = MOST if most is None and plain(kind) in (int, float) and isinstance(value, int) else most
    if most is not None and value > most:
        raise UsageError(f"{name} must be at most {limit(most)}; not {shown(value)}.")


def parsed(name: str, text: str, kind: Any, least: float | None = None, most: float | None = None) -> Any:
    """Return the value that a word of the command line stands for; raise UsageError as `check` does."""
    as_number = plain(kind) if plain(kind) in (int, float) else str
    try:
        value = as_number(text)
    except ValueError:
        raise UsageError(f"{name} must be {NOUNS[as_number]}, not {shown(text)}.") from None
    check(name, value, kind, least, most)
    return value


def limit(number: float) -> str:
    """Return the end of a range as it is typed."""
    return str(number) if isinstance(number, int) else f"{number:g}"


def shown(value: Any) -> str:
    """Return a wrong value for a sentence, cut where it is long."""
    if isinstance(value, int) and abs(value) > 10**SHOWN:
        return "a number of more than 40 digits"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def path_text(path: str | PathLike[str]) -> str:
    """Return a path as text; that of a path object has a separator, so that it is never taken for a name."""
    text = fspath(path)
    return text if isinstance(path, str) or Path(text).parent != Path() else f".{sep}{text}"


def as_text(value: Any, kind: Any) -> Any:
    """Return what Python gives for an option that is typed as text: a path, a whole number, or height and width."""
    if plain(kind) is not str or isinstance(value, bool):
        return value
    if isinstance(value, PathLike):
        return path_text(value)
    numbers = value if isinstance(value, tuple) else (value,)
    return "x".join(map(str, numbers)) if all(type(number) is int for number in numbers) else value
