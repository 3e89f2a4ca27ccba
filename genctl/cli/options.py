"""What Typer needs of us: a config dataclass as a signature, and the groups of commands. It names no model."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from ..config import ModelConfig, Opt, TrainConfig, flag, options_of
from ..models import registry

CONTEXT = {"help_option_names": ["-h", "--help"]}


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
    help_text = f"{opt.help} (--arch {opt.arch.replace(' ', ', ')})" if opt.arch else opt.help
    switch = flag(name) if default is not True else f"{flag(name)}/{flag('no_' + name)}"
    option = typer.Option(switch, help=help_text, rich_help_panel=opt.panel, min=opt.min, max=opt.max)
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=Annotated[type_, option])


def typed(ctx: typer.Context, name: str) -> bool:
    """Tell whether the user gave this option, rather than leaving its default."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


class Verbs(TyperGroup):
    """The verbs, training first."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the verbs in the order of use."""
        return sorted(self.commands, key="train".__ne__)


class Models(TyperGroup):
    """The sub-commands of train: one per model, made when it is named."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the models' names."""
        return registry.usable()

    def get_command(self, ctx: typer.Context, cmd_name: str) -> TyperCommand:  # type: ignore[override]
        """Return the command that trains the model; raise UsageError if there is none."""

        def run(typed: dict[str, Any]) -> None:
            from ..training import start

            start.train(cmd_name, typed, ["genctl", *sys.argv[1:]])

        own = typer.Typer(context_settings=CONTEXT, add_completion=False)
        own.command(name=cmd_name)(train_command(registry.load(cmd_name), run))
        return cast(TyperCommand, typer.main.get_command(own))


def with_help(error: typer.TyperException) -> str:
    """Return Typer's sentence with the command whose help says more."""
    message = error.format_message()
    context = vars(error).get("ctx")  # usage errors have one
    end = "" if message.endswith((".", "?")) else "."
    return f"{message}{end} Help: {context.command_path} -h" if context else message
