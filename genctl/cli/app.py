"""The command line: its verbs, and how each failure ends."""

from __future__ import annotations

import errno
from collections.abc import Callable
from inspect import signature
from threading import Event
from typing import Annotated

import typer

from .. import __version__
from ..errors import GenctlError, Lost
from ..ranks import meeting
from ..terminal.console import escape, result, say, silence
from . import animate, away, data, doctor, evaluate, generate, inspect, prune, report
from .examples import EXAMPLES
from .options import CONTEXT, Models, Verbs, add_verb, with_help
from .signatures import with_signature

FIRST_STEPS = """Examples:

genctl train vae  (40 epochs on the built-in MNIST)

genctl train gan --epochs 200

genctl sample gan  (a 5x5 grid, from the newest run)

genctl interpolate gan --steps 7

genctl manifold vae --steps 15

genctl eval-bpd realnvp ckpt.safetensors

genctl evaluate gan  (how good 10,000 samples are)

genctl compare vae gan realnvp

Exit codes: 0 ok, 1 unexpected, 2 usage, 3 data or input, 4 checkpoint, 5 diverged,
6 out of memory or disk, 7 run in use, 130 or 143 stopped by a signal after saving."""

OUT_OF_MEMORY = ("allocate memory", "not enough memory", "out of memory")  # as torch says it, the last on a GPU

app = typer.Typer(
    cls=Verbs,
    help="Train, sample and compare deep generative models of images.",
    epilog=FIRST_STEPS,
    context_settings=CONTEXT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(
    typer.Typer(cls=Models, no_args_is_help=True, context_settings=CONTEXT),
    name="train",
    help="Train a model: genctl train MODEL [OPTIONS], or genctl train --config FILE.",
)


VERBS: dict[str, Callable[..., None]] = {
    "sample": generate.sample,
    "reconstruct": generate.reconstruct,
    "interpolate": generate.interpolate,
    "manifold": generate.manifold,
    "eval-bpd": evaluate.eval_bpd,
    "encode": away.encode,
    "export": away.export,
    "evaluate": evaluate.evaluate,
    "compare": evaluate.compare,
}
LISTINGS: dict[str, Callable[..., None]] = {
    "animate": animate.animate,
    "models": inspect.models,
    "explain": inspect.explain,
    "runs": inspect.list_runs,
    "prune": prune.prune,
    "show": inspect.show,
    "verify": inspect.verify,
    "data": data.data,
    "cache": data.cache,
    "doctor": doctor.doctor,
    "report": report.report,
}
for name, verb in VERBS.items():
    add_verb(app, name, verb)
for name, verb in LISTINGS.items():
    with_signature(verb, list(signature(verb, eval_str=True).parameters.values()), verb.__doc__ or "")
    app.command(name, epilog="\n\n".join(["Examples:", *EXAMPLES[name]]))(verb)


def _version(wanted: bool) -> None:
    if wanted:
        result(f"genctl {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train, sample and compare deep generative models of images."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; every failure is one sentence on stderr."""
    escape()
    try:
        if meeting.launched() and (before := meeting.ended()) is not None:
            return before
        code = app(arguments, prog_name="genctl", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except Lost as error:
        Event().wait(meeting.GRACE)
        return _fail(str(error), error.exit_code)
    except GenctlError as error:
        return _fail(str(error), error.exit_code)
    except typer.TyperException as error:
        return _fail(with_help(error), error.exit_code) if str(error) else error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except MemoryError:
        return _fail("out of memory; try a smaller --batch-size or -n.", 6)
    except RuntimeError as error:
        if any(words in str(error) for words in OUT_OF_MEMORY):
            return _fail("out of memory; try a smaller model, --batch-size or -n.", 6)
        raise
    except OSError as error:
        silence()
        if error.errno == errno.EBADF:
            return _fail("stdout is closed, so what was to be printed is lost.", 1)
        if error.errno == errno.ENOSPC:
            return _fail(f"the disk is full{f' ({error.filename})' if error.filename else ''}; free some space.", 6)
        return _fail(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}.", 3)


def _fail(message: str, code: int) -> int:
    if not meeting.launched():
        say(f"genctl: {message}")
    elif meeting.speaks(code):
        say(f"genctl: {message}", from_all=True)
        say(f"genctl: exit code {code}; torchrun has a code of its own.", from_all=True)
    return code
