"""What the verbs share on the command line: their common arguments, and what each needs of a model."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import DataError, UsageError
from ..models import registry
from ..runs import find
from ..runs.folder import PLACE, ROOT
from . import completion

NEEDS: dict[str, set[str]] = {  # what a verb needs of a model
    "sample": {"sample"},
    "reconstruct": {"encode", "decode"},
    "encode": {"encode"},
    "export": set(),  # what the model has
    "interpolate": {"decode"},
    "manifold": {"decode"},
    "eval-bpd": {"score"},
    "evaluate": {"sample"},
    "compare": {"sample"},
}
PICTURES, MOVING = (".png", ".npz"), (".webp", ".gif")

Name = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="a model's name, or a checkpoint's path", autocompletion=completion.models),
]
Checkpoint = Annotated[
    str | None,
    typer.Argument(
        help="a .safetensors file or a run; by default the newest run", autocompletion=completion.runs_of_model
    ),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="picture to write, .png or .npz")]
Moving = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="to write: .png or .npz, or as an animation .webp, .gif"),
]
Animate = Annotated[
    bool, typer.Option("--animate", metavar="", help="an animation, where --out ends in .png too (APNG)")
]
Fps = Annotated[float, typer.Option("--fps", metavar="X", min=0.1, max=50, help="pictures a second of an animation")]
Show = Annotated[bool, typer.Option("--show", metavar="", help="draw it in the terminal too")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="seed of the noise")]
Steps = Annotated[int, typer.Option(metavar="N", min=1, max=200, help="steps between the two ends")]
Data = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME",
        help="name or path of the data, if they have moved",
        autocompletion=completion.data_sets,
    ),
]
FILES = "picture files of your own, read as the training data"
Split = Annotated[
    Literal["train", "validation", "test"], typer.Option("--split", metavar="NAME", help="train, validation or test")
]
OfClass = Annotated[
    str | None, typer.Option("--class", metavar="NAME", help="only the images of a class: 7, cat, 0-4 or cat,dog")
]
Some = Annotated[int | None, typer.Option(metavar="N", min=1, help="a fixed choice of N images (default: all)")]
Files = Annotated[list[Path] | None, typer.Option("--images", metavar="FILE...", help=FILES)]
Features = Annotated[
    str | None,
    typer.Option("--features", metavar="FILE", help="network that compares images: a .safetensors file, or random"),
]
Json = Annotated[bool, typer.Option("--json", metavar="", help="print one JSON document")]
On = Annotated[
    Literal["auto", "cpu", "cuda", "mps"],
    typer.Option("--device", metavar="auto|cpu|cuda|mps", help="device to compute on"),
]
Sampling = dict[str, Any] | None  # the sampling options that were typed; a verb's command has them as the model's own

Place = Annotated[
    Path | None,
    typer.Option("--out", "--runs", metavar="FOLDER", help=f"folder of the runs (default: ${PLACE}, or {ROOT})"),
]
Runs = Annotated[
    Path | None,
    typer.Option(
        "--runs",
        metavar="FOLDER",
        envvar=PLACE,
        show_envvar=False,
        help=f"folder of the runs (default: ${PLACE}, or {ROOT})",
    ),
]


def source_for(
    verb: str,
    model: str,
    checkpoint: str | None,
    encoding_option: str = "",
    runs: Path | None = None,
    inverts: bool = False,
) -> find.Source:
    """Return the weights for a verb; raise UsageError if their model cannot do it.

    Where latents may be found by descent, a model needs no encoder.
    """
    needed = (NEEDS[verb] | ({"encode"} if encoding_option else set())) - ({"encode"} if inverts else set())
    verb = f"{verb} {encoding_option}".strip()
    if registry.known(model):
        registry.require(registry.load(model), needed, verb)  # before anything is looked for
    source = find.resolve(model, checkpoint, runs)
    registry.require(registry.load(source.model), needed, verb)
    return source


def picture(
    source: find.Source, verb: str, out: Path | None, endings: tuple[str, ...] = PICTURES, usual: str = ".png"
) -> Path:
    """Return where a verb's picture goes: to a name that is free, unless it was given; raise as writable does."""
    return writable(out or free(source.folder, f"{verb}-{source.model}", usual), endings)


def writable(path: Path, endings: Sequence[str], option: str = "--out") -> Path:
    """Return the path of a file to write.

    Raises UsageError if the ending names no format, DataError if there is no such folder: before anything is loaded.
    """
    if path.suffix not in endings:
        known = f"{', '.join(endings[:-1])} or {endings[-1]}" if len(endings) > 1 else endings[0]
        raise UsageError(f"{option} {path} must end in {known}.")
    check_place(path, option)
    if path.is_dir():
        raise DataError(f"{path} cannot be written: it is a folder; choose another {option}.")
    return path


def check_place(path: Path, option: str = "--out") -> None:
    """Raise DataError if the folder of a path is none that can be written to."""
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        why = "may not be written to" if path.parent.is_dir() else "is no folder"
        raise DataError(f"{path} cannot be written: {path.parent} {why}; choose another {option}.")


@contextmanager
def writing(path: Path | None, option: str = "--out") -> Iterator[None]:
    """Within, the file or folder of an option is written; raise DataError with the next step where that fails."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC or path is None:
            raise  # the command line has a sentence for it
        raise DataError(f"{path} cannot be written: {error.strerror}; choose another {option}.") from error


def free(folder: Path, stem: str, ending: str = ".png") -> Path:
    """Return folder/stem.png, or the first of stem-2.png, stem-3.png, ... that is not there yet."""
    names = (f"{stem}{'' if i == 1 else f'-{i}'}{ending}" for i in count(1))
    return next(folder / name for name in names if not os.path.lexists(folder / name))
