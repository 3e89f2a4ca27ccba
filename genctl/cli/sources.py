"""The model that a verb works with: read, announced, and asked for its classes."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ..checkpoint import manifest
from ..errors import UsageError
from ..runs import find
from ..runs.classes import chosen, names_of
from ..terminal.console import say, typed

if TYPE_CHECKING:
    from ..api import TrainedModel


def wanted_classes(source: find.Source, text: str | None) -> list[int]:
    """Return the classes that --class names; raise UsageError for an unknown one, and for a model of p(x)."""
    if text is None:
        return []
    names = names_of(manifest.read(source.path))
    if not names:
        raise UsageError(
            f"{source.path} knows no classes; leave out --class, or train: genctl train {source.model} --conditional"
        )
    return chosen(text, names, str(source.path))


def one_class(source: find.Source, text: str | None, verb: str) -> int | None:
    """Return the class that --class names, None where it names none; raise UsageError for several."""
    wanted = wanted_classes(source, text)
    if len(wanted) > 1:
        raise UsageError(f"{verb} shows one class; --class {text} names {len(wanted)}.")
    return wanted[0] if wanted else None


def announce(source: find.Source) -> None:
    """Say which file is used."""
    say(f"using {source.path}{' (ships with genctl)' if source.shipped else ''}")


def loaded(source: find.Source, device: str) -> TrainedModel:
    """Return the model, and say which file it is."""
    from .. import api
    from ..terminal.progress import Terminal

    announce(source)
    return api.load(source, device=device, reporter=Terminal())


def together(device: str) -> AbstractContextManager[object]:
    """Return the context in which processes that torchrun has started share the work."""
    from ..ranks.group import joined

    return joined(device)


def about(source: find.Source, seed: int | None = None) -> dict[str, str]:
    """Return what a picture says of itself."""
    return {
        "Command": typed(*sys.argv[1:]),
        "Seed": "" if seed is None else str(seed),
        "Checkpoint": manifest.read_header(source.path).digest,
    }
