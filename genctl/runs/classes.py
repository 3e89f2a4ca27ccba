"""Names of classes: what a user may type for one, for several, or for a range of them."""

from __future__ import annotations

from collections.abc import Sequence

from ..checkpoint.manifest import Manifest
from ..errors import UsageError, suggestion

LISTED = 30  # names that a message lists


def names_of(about: Manifest) -> tuple[str, ...]:
    """Return the names of a model's classes: those of its data, else numbers; none for a model of p(x)."""
    n, names = about.config.get("classes", 0), about.dataset.get("classes")
    return tuple(map(str, names if isinstance(names, list) and len(names) == n else range(n)))


def described(names: Sequence[str]) -> str:
    """Return the names as a message lists them."""
    if list(names) == [str(i) for i in range(len(names))]:
        return f"0 to {len(names) - 1}"
    return ", ".join([*names[:LISTED], *(["..."] if len(names) > LISTED else [])])


def index_of(name: str, names: Sequence[str], owner: str) -> int:
    """Return the place of a class; raise UsageError, with the names that its owner has, for an unknown one."""
    if name not in names:
        hint = "" if name.isdecimal() else suggestion(name, list(names))
        raise UsageError(f"{owner} has no class {name}; its classes are {described(names)}.{hint}")
    return names.index(name)


def of_data(text: str | None, names: Sequence[str], owner: str) -> list[int]:
    """Return the places of the classes of a data set that --class names, none for None; raise UsageError as chosen."""
    if text is not None and not names:
        raise UsageError(f"{owner} has no labels; leave out --class.")
    return [] if text is None else chosen(text, names, owner)


def chosen(text: str, names: Sequence[str], owner: str) -> list[int]:
    """Return the places of the classes that `7`, `cat`, `0-9` or `cat,dog` names; an exact name wins over a range."""
    if text in names:
        return [names.index(text)]
    if "," in text:
        return [i for part in text.split(",") for i in chosen(part.strip(), names, owner)]
    for cut in (i for i, letter in enumerate(text) if letter == "-"):
        first, last = text[:cut], text[cut + 1 :]
        if first in names and last in names:
            a, b = names.index(first), names.index(last)
            return list(range(a, b + 1) if a <= b else range(a, b - 1, -1))
    return [index_of(text, names, owner)]
