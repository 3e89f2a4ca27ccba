"""Commands whose options are a model's own, and the groups of commands."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from ..checkpoint import manifest
from ..config import ModelConfig, options_of
from ..errors import GenctlError, UsageError
from ..models import registry
from ..runs import find
from ..runs.folder import WEIGHTS
from . import configured
from .examples import EXAMPLES
from .signatures import context, parameter, train_command, typed, with_signature

CONTEXT = {"help_option_names": ["-h", "--help"]}
SEVERAL = re.compile(r"Option '([\w-]+)' requires (\d+) arguments")  # Typer's sentence
ACTS = {  # which sampling options act in a verb: of the noise, the decoder, the last draw, a likelihood
    "sample": {"noise", "decoder", "draw"},
    "evaluate": {"noise", "decoder", "draw"},
    "compare": {"noise", "decoder", "draw", "likelihood"},
    "eval-bpd": {"likelihood"},
    "export": {"noise", "decoder", "draw"},
    "interpolate": {"noise", "decoder"},
    "manifold": {"noise", "decoder"},
    "reconstruct": {"decoder"},
}


def command_of(name: str, function: Callable[..., None], examples: Sequence[str]) -> TyperCommand:
    """Return a function as a command whose help ends with examples."""
    own = typer.Typer(context_settings=CONTEXT, add_completion=False)
    own.command(name=name, epilog="\n\n".join(["Examples:", *examples]))(function)
    return cast(TyperCommand, typer.main.get_command(own))


def verb_command(
    verb: str, function: Callable[..., None], kinds: Sequence[type[ModelConfig]], each: bool = False
) -> TyperCommand:
    """Return a verb for models of these kinds: their sampling options and estimators are options of the command.

    The function gets the sampling options that were typed as one dict, `sampling`.
    """
    signature = inspect.signature(function, eval_str=True)
    own = {name: p for name, p in signature.parameters.items() if name != "sampling"}
    extra = sampling_parameters(verb, kinds, each) if "sampling" in signature.parameters else {}
    if "estimator" in own and kinds:
        names = ", ".join(e.name for kind in kinds for e in kind.estimators)
        option = typer.Option(metavar="NAME", help=f"which bound: {names} (default: by the number of draws)")
        own["estimator"] = own["estimator"].replace(annotation=Annotated[str | None, option])

    def command(ctx: typer.Context, **values: Any) -> None:
        chosen = {name: values.pop(name) for name in extra if name in values}
        if "sampling" in signature.parameters:
            values["sampling"] = {extra[name][0]: value for name, value in chosen.items() if typed(ctx, name)}
        function(**values)

    with_signature(command, [context(), *own.values(), *(p for _, p in extra.values())], function.__doc__ or "")
    return command_of(verb, command, EXAMPLES[verb])


def sampling_parameters(
    verb: str, kinds: Sequence[type[ModelConfig]], each: bool
) -> dict[str, tuple[str, inspect.Parameter]]:
    """Return the options that act in this verb, by their parameter's name.

    Those that two models share are one, unless each model's are listed for a help without a model.
    """
    found: dict[str, tuple[str, inspect.Parameter]] = {}
    for kind in kinds:
        for name, (type_, opt) in options_of(kind.sampling).items():
            if opt.acts in ACTS[verb]:
                default = kind.sampling.__dataclass_fields__[name].default
                what = "Likelihood" if opt.acts == "likelihood" else "Sampling"
                panel, prefix = f"{what}, of {kind.name}", f"{kind.name}_" if each else ""
                found.setdefault(prefix + name, (name, parameter(name, type_, opt, default, panel, prefix)))
    return found


class VerbCommand(TyperCommand):
    """A verb whose options depend on the model: it is found among the arguments before they are parsed."""

    function: Callable[..., None]  # what the verb does; its signature and the model's options make the command

    def make_context(  # type: ignore[override]
        self, info_name: str | None, args: list[str], parent: typer.Context | None = None, **extra: Any
    ) -> typer.Context:
        """Return the context of the command that has the model's options."""
        verb, function = str(self.name), type(self).function
        args = spread(args) if verb in ("reconstruct", "interpolate") else args
        runs = runs_in(args)
        kinds = list({kind.name: kind for word in args for kind in [kind_of(word, runs)] if kind}.values())
        if kinds:
            kinds = named(verb, function, kinds, args)
            command = verb_command(verb, function, kinds)
        else:
            command = verb_command(verb, function, list(map(registry.load, registry.usable())), each=True)
        try:
            return command.make_context(info_name, list(args), parent=parent, **extra)  # type: ignore[return-value]
        except typer.TyperException as error:
            raise lacked(verb, kinds, vars(error).get("option_name")) or error from None


def spread(args: Sequence[str]) -> list[str]:
    """Return the arguments with an --images for each file behind one: up to the next option, model or checkpoint."""
    found: list[str] = []
    within = False
    for word in args:
        if within and not word.startswith("-") and found[-1] != "--images" and kind_of(word) is None:
            found.append("--images")
        elif within and found[-1] != "--images":
            within = False
        within = within or word == "--images"
        found.append(word)
    return found


def add_verb(app: typer.Typer, verb: str, function: Callable[..., None]) -> None:
    """Add a verb to the command line; its command is made when its model is known."""
    cls = type("Verb", (VerbCommand,), {"function": staticmethod(function)})
    app.command(verb, cls=cls, help=function.__doc__)(lambda: None)


def runs_in(args: Sequence[str]) -> Path | None:
    """Return the folder of runs that the arguments name; None for the usual one."""
    found = configured.value_in(args, "--runs")
    return None if found is None else Path(found)


def kind_of(word: str, runs: Path | None = None) -> type[ModelConfig] | None:
    """Return the config class of a model's name, or of the model that a checkpoint holds; None for another word."""
    with suppress(GenctlError, OSError):
        if registry.known(word):
            return registry.load(word)
        if not word.startswith("-"):
            path = find.find(word, runs)
            return registry.load(manifest.read(path / WEIGHTS if path.is_dir() else path).model)
    return None


def named(
    verb: str, function: Callable[..., None], kinds: list[type[ModelConfig]], args: Sequence[str]
) -> list[type[ModelConfig]]:
    """Return those of the kinds that the arguments name, rather than an option's value."""
    if len(kinds) == 1:
        return kinds
    command = verb_command(verb, function, kinds)
    with suppress(typer.TyperException):
        found = command.make_context(verb, list(args), resilient_parsing=True).params
        words = [found.get("model"), found.get("what"), *(found.get("checkpoints") or [])]
        meant = [kind for word in words if word for kind in [kind_of(word, runs_in(args))] if kind]
        return list({kind.name: kind for kind in meant}.values()) or kinds
    return kinds


def lacked(verb: str, kinds: Iterable[type[ModelConfig]], option: str | None) -> UsageError | None:
    """Return a sentence for an option that other models have here, or other verbs; None for any other word."""
    name = (option or "").lstrip("-").replace("-", "_")
    for owner in map(registry.load, registry.usable()):
        known = options_of(owner.sampling)
        if name not in known:
            continue
        models = " and ".join(kind.name for kind in kinds)
        if known[name][1].acts not in ACTS.get(verb, set()):
            verbs = ", ".join(v for v, acts in ACTS.items() if known[name][1].acts in acts)
            return UsageError(f"{option} does not act in {verb}; it is for {verbs}.")
        return UsageError(f"{option} is for {owner.name}, not for {models}; leave it out.")
    return None


class Verbs(TyperGroup):
    """The verbs, training first."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the verbs in the order of use."""
        return sorted(self.commands, key="train".__ne__)


class Models(TyperGroup):
    """The sub-commands of train: one per model, made when it is named."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse the arguments, the model of a file of settings in front of them."""
        return super().parse_args(ctx, configured.with_model(args))

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the models' names."""
        return registry.usable()

    def get_command(self, ctx: typer.Context, cmd_name: str) -> TyperCommand:  # type: ignore[override]
        """Return the command that trains the model; raise UsageError if there is none."""

        def run(typed: dict[str, Any]) -> None:
            options = configured.chosen(cmd_name, typed)
            if options is None:
                return
            from .. import api
            from ..terminal.progress import Terminal

            reporter = Terminal(options.get("quiet", False), options.get("json", False), options.get("show", False))
            api.train(cmd_name, reporter=reporter, command=["genctl", *sys.argv[1:]], **options)

        examples = [line.format(model=cmd_name) for line in EXAMPLES["train"]]
        return command_of(cmd_name, train_command(registry.load(cmd_name), run, configured.OPTIONS), examples)


def with_help(error: typer.TyperException) -> str:
    """Return Typer's sentence with the command whose help says more."""
    message = SEVERAL.sub(r"\1 takes \2 values with a space between them", error.format_message())
    found = vars(error).get("ctx")  # usage errors have one
    end = "" if message.endswith((".", "?")) else "."
    return f"{message}{end} Help: {found.command_path} -h" if found else message
