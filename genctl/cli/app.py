"""The verbs. A body reads its options, calls one function below the torch line, and prints."""

from __future__ import annotations

import errno
from typing import Annotated, Literal

import typer

from .. import __version__
from ..errors import GenctlError, UsageError
from ..terminal.console import escape, result, say, silence
from . import evaluate, inspect
from .arguments import Bound, Checkpoint, Data, Json, Name, On, Out, Seed, Steps, source_for
from .options import CONTEXT, Models, Verbs, with_help

EXAMPLES = """Examples:

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
    epilog=EXAMPLES,
    context_settings=CONTEXT,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(
    typer.Typer(cls=Models, no_args_is_help=True, context_settings=CONTEXT),
    name="train",
    help="Train a model: genctl train MODEL [OPTIONS].",
)


@app.command()
def sample(
    model: Name,
    checkpoint: Checkpoint = None,
    n: Annotated[int, typer.Option("-n", "--number", min=1, max=100_000, help="images")] = 25,
    seed: Seed = 0,
    temperature: Annotated[float, typer.Option(min=0, help="factor on the latent noise")] = 1.0,
    means: Annotated[bool, typer.Option("--means", help="the decoder's means, without the Bernoulli draw")] = False,
    out: Out = None,
    device: On = "cpu",
) -> None:
    """Write a grid of new images. Image i depends on the weights, the seed and i alone."""
    source = source_for("sample", model, checkpoint)
    target = source.picture("sample", out)
    from ..generation import figures

    figures.sample(source, n, seed, temperature, means, device, target)


@app.command()
def reconstruct(
    model: Name,
    checkpoint: Checkpoint = None,
    n: Annotated[int, typer.Option("-n", "--number", min=1, max=10_000, help="test images")] = 20,
    out: Out = None,
    dataset: Data = None,
    device: On = "cpu",
) -> None:
    """Write test images above their reconstructions."""
    source = source_for("reconstruct", model, checkpoint)
    target = source.picture("reconstruct", out)
    from ..generation import figures

    figures.reconstruct(source, n, dataset, device, target)


@app.command()
def interpolate(
    model: Name,
    checkpoint: Checkpoint = None,
    steps: Steps = 7,
    path: Annotated[Literal["linear", "slerp"], typer.Option(help="straight, or along the sphere")] = "linear",
    rows: Annotated[int, typer.Option(min=1, max=50, help="pairs of ends, one a row")] = 1,
    from_class: Annotated[int | None, typer.Option(min=0, help="class of the first end")] = None,
    to_class: Annotated[int | None, typer.Option(min=0, help="class of the last end")] = None,
    between_test_images: Annotated[
        bool, typer.Option("--between-test-images", help="ends are encoded test images")
    ] = False,
    seed: Seed = 0,
    out: Out = None,
    dataset: Data = None,
    device: On = "cpu",
) -> None:
    """Write the images on a path between two of different classes (--steps 7: nine with both ends)."""
    if from_class is not None and from_class == to_class:
        raise UsageError(f"--from-class and --to-class are both {to_class}; the ends must differ.")
    source = source_for("interpolate", model, checkpoint, "--between-test-images" if between_test_images else "")
    target = source.picture("interpolate", out)
    from ..generation import figures

    figures.interpolate(
        source, steps, path, rows, (from_class, to_class), between_test_images, seed, dataset, device, target
    )


@app.command()
def manifold(
    model: Name,
    checkpoint: Checkpoint = None,
    steps: Annotated[int, typer.Option(min=2, max=100, help="images on a side")] = 15,
    quantiles: Annotated[
        tuple[float, float] | None, typer.Option(help="range of a 2-d latent's quantiles [default: 0.0001 0.9999]")
    ] = None,
    from_images: Annotated[bool, typer.Option("--from-images", help="span four validation images")] = False,
    seed: Seed = 0,
    out: Out = None,
    dataset: Data = None,
    device: On = "cpu",
) -> None:
    """Write a square of images over the latent space."""
    source = source_for("manifold", model, checkpoint, "--from-images" if from_images else "")
    target = source.picture("manifold", out)
    from ..generation import figures

    figures.manifold(source, steps, quantiles, from_images, seed, dataset, device, target)


@app.command("eval-bpd")
def eval_bpd(
    model: Name,
    checkpoint: Checkpoint = None,
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="which images")] = "test",
    images: Annotated[int | None, typer.Option(min=1, help="a fixed choice of N images [default: all]")] = None,
    draws: Annotated[int, typer.Option("--draws", "-k", min=1, help="K, draws per image")] = 1,
    estimator: Annotated[
        Bound | None,
        typer.Option(help="which bound [default: the model's for this K]"),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
    dataset: Data = None,
    device: On = "cpu",
) -> None:
    """Print a bound on the likelihood in bits/dim and nats, with its error and what it is of."""
    source = source_for("eval-bpd", model, checkpoint)
    from ..evaluation import bits_per_dim
    from ..runs import records

    record = bits_per_dim.evaluate(source, split, images, draws, estimator, seed, dataset, device)
    records.keep(source, record)
    result(records.to_json(record) if json else bits_per_dim.table(record))


app.command()(evaluate.evaluate)
app.command()(evaluate.compare)
app.command()(inspect.models)
app.command("runs")(inspect.list_runs)
app.command()(inspect.show)
app.command()(inspect.verify)


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
        code = app(arguments, prog_name="genctl", standalone_mode=False)
        return code if isinstance(code, int) else 0
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
        if error.errno == errno.ENOSPC:
            return _fail(f"the disk is full{f' ({error.filename})' if error.filename else ''}; free some space.", 6)
        return _fail(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}.", 3)


def _fail(message: str, code: int) -> int:
    say(f"genctl: {message}")
    return code
