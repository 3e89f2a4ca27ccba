"""A config dataclass -> the signature that Typer reads. It knows no model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from .config import ModelConfig, Opt, TrainConfig, flag, options_of


def train_command(kind: type[ModelConfig], run: Callable[[dict[str, Any]], None]) -> Callable[..., None]:
    """Return a function with one typed option per field; it passes on those that the user typed."""

    def command(ctx: typer.Context, **values: Any) -> None:
        run({name: value for name, value in values.items() if typed(ctx, name)})

    shared = kind.train_config()
    parameters = [inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)]
    for name, (type_, opt) in options_of(kind).items():
        parameters.append(_parameter(name, type_, opt, kind.__dataclass_fields__[name].default))
    for name, (type_, opt) in options_of(TrainConfig).items():
        parameters.append(_parameter(name, type_, opt, getattr(shared, name)))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = kind.__doc__
    return command


def _parameter(name: str, type_: Any, opt: Opt, default: Any) -> inspect.Parameter:
    help_text = f"{opt.help} (--arch {opt.arch})" if opt.arch else opt.help
    option = typer.Option(flag(name), help=help_text, rich_help_panel=opt.panel, min=opt.min, max=opt.max)
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=Annotated[type_, option])


def typed(ctx: typer.Context, name: str) -> bool:
    """Tell whether the user gave this option, rather than leaving its default."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
