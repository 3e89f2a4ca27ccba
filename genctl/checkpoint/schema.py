"""What is read of a file is checked once: strict JSON, and then the type of each value against one description."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

MOST_LEVELS = 8  # of objects and lists in each other
MOST_COUNTED = 2**53  # of steps, epochs and images
MOST_CLASSES = 1 << 15  # each has a name, and a row of weights or more


def parse(text: str) -> Any:
    """Return the value of a JSON text; raise ValueError for anything that a strict reader refuses.

    That is: a key twice, NaN, a number beyond 64 bits, half a surrogate pair, deep nesting.
    """
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a BOM")
    try:
        value = STRICT.decode(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    _walk(value, escapes="\\u" in text)
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _whole(text: str) -> int:
    number = int(text) if len(text) <= 20 and text != "-0" else 2**64
    if not -(2**63) <= number < 2**64:
        raise ValueError(f"{text[:24]} is no whole number of 64 bits")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text[:24]} is too large a number")
    return number


def _walk(value: Any, escapes: bool) -> None:
    """Raise ValueError for deep nesting, and where escapes could make one, for a text that no UTF-8 can hold."""
    level, within = 0, [value]
    while within:
        level += 1
        if escapes:
            for text in (part for entry in within for part in _texts(entry)):
                text.encode()  # half a surrogate pair is a ValueError
        below = (entry.values() if isinstance(entry, dict) else entry for entry in within if _holds(entry))
        within = [part for entries in below for part in entries]
        if level > MOST_LEVELS and within:
            raise ValueError("it is nested too deep")


def _holds(entry: Any) -> bool:
    return isinstance(entry, (dict, list))


def _texts(entry: Any) -> list[str]:
    return list(entry) if isinstance(entry, dict) else [entry] if isinstance(entry, str) else []


def read_text(path: Path, most: int, torn: bool = False) -> str:
    """Return the text of a regular file of at most so many bytes; raise OSError, or ValueError for another file.

    A torn one may end in the middle of a character.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ValueError(f"{path.name} is not a regular file")
    if about.st_size > most:
        raise ValueError(f"{path.name} has {about.st_size:,} bytes, more than the {most:,} that genctl reads")
    try:
        data = path.read_bytes()
        return (data[: data.rfind(b"\n") + 1] if torn else data).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8") from error


STRICT = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_constant=_no_constant, parse_int=_whole, parse_float=_finite
)


@dataclass(frozen=True)
class Kind:
    """What a value must be; of an object also what its entries must be."""

    words: str  # "a text"
    fits: Callable[[Any], bool]
    fields: Mapping[str, Kind] = field(default_factory=dict)  # entries that are known
    rest: Kind | None = None  # every other entry
    required: bool = True

    def check(self, value: Any, name: str = "") -> None:
        """Raise ValueError with the name of the first value that is of another kind."""
        if not self.fits(value):
            raise ValueError(f"its {name} is not {self.words}" if name else f"it is not {self.words}")
        for key, kind in self.fields.items():
            if key in value:
                kind.check(value[key], f"{name}.{key}" if name else key)
            elif kind.required:
                raise ValueError(f"its {name} lacks {key}" if name else f"it lacks {key}")
        if self.rest is not None:
            for key in value.keys() - self.fields.keys():
                self.rest.check(value[key], f"{name}.{key}" if name else key)

    def optional(self) -> Kind:
        """Return the kind of an entry that may be missing."""
        return replace(self, required=False)

    def or_null(self) -> Kind:
        """Return the kind of a value that may be null."""
        return replace(self, words=f"{self.words} or null", fits=lambda value: value is None or self.fits(value))


def whole(least: int = 0, most: int = MOST_COUNTED) -> Kind:
    """Return the kind of a whole number in a range."""
    words = f"a whole number of {least} or more" if most == MOST_COUNTED else f"a whole number of {least} to {most}"
    return Kind(words, lambda value: type(value) is int and least <= value <= most)


def record(fields: Mapping[str, Kind] | None = None, rest: Kind | None = None) -> Kind:
    """Return the kind of an object with these entries."""
    return Kind("an object", lambda value: isinstance(value, dict), fields or {}, rest)


def list_of(kind: Kind, most: int = MOST_COUNTED) -> Kind:
    """Return the kind of a list of at most so many entries."""
    words = f"a list, each {kind.words}" if most == MOST_COUNTED else f"a list of at most {most}, each {kind.words}"
    return Kind(
        words,
        lambda value: isinstance(value, list) and len(value) <= most and all(kind.fits(part) for part in value),
    )


TEXT = Kind("a text", lambda value: isinstance(value, str))
NUMBER = Kind("a number", lambda value: type(value) in (int, float) and isfinite(value))
SCALAR = Kind(
    "a number, a text, true, false or null", lambda value: value is None or type(value) in (int, float, str, bool)
)
DATASET = record(
    {
        "name": TEXT,
        "digest": TEXT,
        "train_images": whole(1).optional(),
        "classes": list_of(TEXT, MOST_CLASSES).optional(),  # their names
    },
    SCALAR,
)
MODEL = record(  # a model's options
    {
        "classes": whole(0, MOST_CLASSES).optional(),
        "class_counts": list_of(whole(), MOST_CLASSES).optional(),  # training images of each
    },
    SCALAR,
)
SPLIT = {"train_size": whole(1).or_null().optional(), "validation": whole(1).or_null().optional()}
VERSIONS = record(rest=TEXT)
