"""A dataclass of options -> the signature that Typer reads. It names no model."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from typer.models import OptionInfo

from ..config import ModelConfig, Opt, TrainConfig, flag, options_of
from ..config.values import parsed, plain
from ..pictures.reading import OPTIONS
from . import completion

KEYWORD = inspect.Parameter.KEYWORD_ONLY
SHORT = 17  # characters of choices beside an option; longer ones go into its help


def parameter(name: str, kind: Any, opt: Opt, default: Any, panel: str = "", prefix: str = "") -> inspect.Parameter:
    """Return an option as a parameter that Typer reads; a prefix makes its name, not its flag, another."""
    metavar, choices = shown_type(kind)
    help_text = f"{opt.help}: {choices}" if choices else opt.help
    if default is not None and not isinstance(default, bool):
        help_text += f" (default: {default:g})" if isinstance(default, float) else f" (default: {default})"
    form = opt.requires.get("arch", "")
    switch = flag(name) if default is not True else f"{flag(name)}/{flag('no_' + name)}"
    option = typer.Option(
        switch,
        help=help_text,
        metavar=metavar,
        show_default=False,
        rich_help_panel=panel or (f"{opt.panel}, --arch {form.replace(' ', ' or ')}" if form else opt.panel),
        autocompletion=completion.of_option(name, kind),
        parser=None if kind is bool else partial(parsed, flag(name), kind=kind, least=opt.min, most=opt.max),
    )
    return inspect.Parameter(prefix + name, KEYWORD, default=default, annotation=Annotated[typed_as(kind), option])


def typed_as(kind: Any) -> Any:
    """Return the type that Typer reads: ranges and choices are the dataclass's to check, in its own sentences."""
    if get_origin(kind) is Literal:
        return str
    parts = [typed_as(part) for part in get_args(kind) if part is not type(None)]
    return parts[0] | None if parts else kind


def shown_type(kind: Any) -> tuple[str, str]:
    """Return how help shows a type: a short word, and the choices where they are too long for it."""
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        short = "|".join(choices)
        return (short, "") if len(short) <= SHORT else ("NAME", ", ".join(choices))
    parts = [shown_type(part) for part in get_args(kind) if part is not type(None)]
    return parts[0] if parts else ({int: "N", float: "X", bool: "", str: "TEXT"}[kind], "")


def with_signature(function: Callable[..., None], parameters: Sequence[inspect.Parameter], doc: str) -> None:
    """Give a function the signature that Typer reads; what is typed is checked in genctl's own words."""
    parameters = [p.replace(annotation=in_our_words(p.name, p.annotation)) for p in parameters]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in parameters}
    function.__doc__ = doc


def in_our_words(name: str, annotation: Any) -> Any:
    """Return a parameter's annotation with an option that tells wrong numbers and choices as a config does."""
    kind, *info = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    of = next((part for part in get_args(kind) if get_origin(part) is tuple), kind)  # each of several values is parsed
    one = get_args(of)[0] if get_origin(of) is tuple else of
    if not info or not isinstance(info[0], OptionInfo) or info[0].parser:
        return annotation
    if plain(one) not in (int, float) and get_origin(one) is not Literal:
        return annotation
    own = copy.copy(info[0])  # verbs share it
    given = [
        word for word in (own.default, *(own.param_decls or ())) if isinstance(word, str)
    ]  # Typer takes the first for a default
    words = max(given or [flag(name)], key=len)
    own.parser = partial(parsed, words, kind=one, least=own.min, most=own.max)
    return Annotated[kind, own]


def context() -> inspect.Parameter:
    """Return the parameter by which a command gets its context."""
    return inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)


def reading_parameters(*left_out: str) -> list[inspect.Parameter]:
    """Return the options by which pictures are read, as training has them."""
    known, fields_ = options_of(TrainConfig), TrainConfig.__dataclass_fields__
    return [parameter(name, *known[name], fields_[name].default) for name in OPTIONS if name not in left_out]


def train_command(
    kind: type[ModelConfig], run: Callable[[dict[str, Any]], None], more: Sequence[inspect.Parameter] = ()
) -> Callable[..., None]:
    """Return a function with one typed option per field, and more; it passes on those that the user typed."""

    def command(ctx: typer.Context, **values: Any) -> None:
        run({name: value for name, value in values.items() if typed(ctx, name)})

    new, shared = kind.of(), kind.train_config()
    own = [parameter(name, *option, default_in(new, name)) for name, option in options_of(kind).items()]
    common = [parameter(name, *option, getattr(shared, name)) for name, option in options_of(TrainConfig).items()]
    with_signature(command, [context(), *own, *common, *more], kind.__doc__ or "")
    return command


def default_in(new: ModelConfig, name: str) -> Any:
    """Return what an option is in a new training if it is not given; None where its help says what that depends on."""
    return None if type(new).__dataclass_fields__[name].default is None else getattr(new, name)


def typed(ctx: typer.Context, name: str) -> bool:
    """Tell whether the user gave this option, rather than leaving its default."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
