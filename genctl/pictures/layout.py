"""What the names in a folder or archive say: which files are no pictures, which part and class each picture has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from ..errors import DataError
from .regular import shown

NO_PICTURES = (".txt", ".md", ".rst", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".html", ".htm")
PASSED_OVER = {"thumbs.db", "desktop.ini", "readme", "license", "licence", "copying", "notice"}
PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
ORDER = ("train", "validation", "test")
MOST_NAMED = 5  # names in a sentence


class Place(NamedTuple):
    """Where the name of a picture puts it."""

    part: str  # one of ORDER, or "" where the digest decides
    label: str | None


def is_known_non_picture(name: str) -> bool:
    """Tell whether a path is of what systems and people leave beside pictures, by its folders or by its last part."""
    *folders, last = name.split("/")
    return is_left_beside(last) or any(_is_hidden(folder.lower()) for folder in folders)


def is_left_beside(last: str) -> bool:
    """Tell whether a name without a folder is of a hidden file or folder, Thumbs.db, notes and such."""
    name = last.lower()
    return name.endswith(NO_PICTURES) or name in PASSED_OVER or _is_hidden(name)


def _is_hidden(name: str) -> bool:
    return name == "__macosx" or (name[:1] == "." and name not in (".", ".."))


class Layout(NamedTuple):
    """Where the names put the pictures, and what is to be said of it."""

    places: list[Place | None]  # None for those beside the parts
    beside: str
    mixed: str


def places(names: Sequence[str]) -> Layout:
    """Return the place of each picture.

    Sub-folders are classes; train/ with val/ or test/ beside it are parts. A folder that holds all is passed through.
    """
    paths = [PurePosixPath(name).parts for name in names]
    while paths and all(len(path) > 1 for path in paths) and len({path[0] for path in paths}) == 1:
        paths = [path[1:] for path in paths]
    tops = {path[0].lower() for path in paths if len(path) > 1} & PARTS.keys()
    if "train" not in tops or len({PARTS[top] for top in tops}) < 2:
        return Layout([Place("", label) for label in _labels(paths)], "", _mixed(paths))
    within = [len(path) > 1 and path[0].lower() in tops for path in paths]
    inside = [path[1:] for path, is_in in zip(paths, within, strict=True) if is_in]
    labels = iter(_labels(inside))
    found = [
        Place(PARTS[path[0].lower()], next(labels)) if is_in else None
        for path, is_in in zip(paths, within, strict=True)
    ]
    beside = within.count(False)
    return Layout(
        found, f"{beside:,} pictures beside {', '.join(sorted(tops))} are left out" if beside else "", _mixed(inside)
    )


def _labels(paths: Sequence[tuple[str, ...]]) -> list[str | None]:
    """Return each picture's class, its uppermost folder as text; None for all where some lie in no folder."""
    if any(len(path) < 2 for path in paths):
        return [None] * len(paths)
    return [shown(path[0]) for path in paths]


def _mixed(paths: Sequence[tuple[str, ...]]) -> str:
    """Return what is to be said where some pictures lie in folders and others beside them."""
    loose = sum(len(path) < 2 for path in paths)
    if not 0 < loose < len(paths):
        return ""
    return f"{loose:,} of {len(paths):,} pictures lie in no sub-folder, so the sub-folders are no classes"


def class_names(labels: Sequence[str]) -> list[str]:
    """Return the distinct classes in order: numbers by their value, other names by their letters."""
    names = set(labels)
    if all(name.isascii() and name.isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def check_classes(found: Sequence[Place]) -> None:
    """Raise DataError if validation or test has a class that is not trained on."""
    trained = {place.label for place in found if place.part == "train"}
    for part in ORDER[1:]:
        new = sorted({str(place.label) for place in found if place.part == part and place.label not in trained})
        if new:
            raise DataError(f"the {part} pictures have classes that train/ lacks: {named(new)}.")


def named(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
