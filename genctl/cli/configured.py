"""Training by a file of settings: --config and --print-config."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import RUN, flag
from ..errors import UsageError
from ..runs import settings
from ..terminal.console import result, say
from .signatures import KEYWORD

FILE = typer.Option(
    "--config", metavar="FILE", rich_help_panel=RUN, help="options from a .toml file, or a run's config.json"
)
PRINT = typer.Option(
    "--print-config", metavar="", rich_help_panel=RUN, help="print all options as TOML, and train nothing"
)
OPTIONS = (
    inspect.Parameter("config", KEYWORD, default=None, annotation=Annotated[Path | None, FILE]),
    inspect.Parameter("print_config", KEYWORD, default=False, annotation=Annotated[bool, PRINT]),
)


def value_in(args: Sequence[str], option: str) -> str | None:
    """Return the value of an option among arguments that are not parsed yet; None where it is not there."""
    for i, word in enumerate(args):
        name, equals, value = word.partition("=")
        if name == option:
            return value if equals else next(iter(args[i + 1 :]), None)
    return None


def with_model(args: Sequence[str]) -> list[str]:
    """Return the arguments of `train` with the model in front, which a file of settings may name instead."""
    if not args or not args[0].startswith("-") or not any(word.split("=")[0] == "--config" for word in args):
        return list(args)
    file = value_in(args, "--config")
    if not file:
        raise UsageError("--config needs a file: genctl train --config FILE.toml")
    return [settings.read(Path(file)).model, *args]


def chosen(model: str, typed: dict[str, Any]) -> dict[str, Any] | None:
    """Return the options of a training: those typed over those of the file; None if they were only to be printed."""
    file, printed = typed.pop("config", None), typed.pop("print_config", False)
    if file is not None:
        found = settings.read(file, model)
        typed, left_out = settings.merged(found, typed)
        for note in found.notes:
            say(f"warning: {note}")
        if left_out:
            say(f"left out of {file}, as options of another form: {', '.join(map(flag, left_out))}")
    if not printed:
        return typed
    if typed.get("resume") is not None:
        raise UsageError("--print-config is for a new run; of an old one: --config RUN/config.json --print-config")
    result(*settings.to_toml(model, typed))
    return None
