"""What the verbs share on the command line: their common arguments, and what each needs of a model."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import DataError, UsageError
from ..models import registry
from ..runs import find
from ..runs.folder import PLACE, ROOT

NEEDS = {  # what a verb needs of a model
    "sample": {"sample"},
    "reconstruct": {"encode", "decode"},
    "interpolate": {"decode"},
    "manifold": {"decode"},
    "eval-bpd": {"score"},
    "evaluate": {"sample"},
    "compare": {"sample"},
}
PICTURES = (".png", ".npz")

Name = Annotated[str, typer.Argument(metavar="MODEL", help="a model's name, or a checkpoint's path")]
Checkpoint = Annotated[str | None, typer.Argument(help="a .safetensors file or a run; by default the newest run")]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="picture to write, .png or .npz")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="seed of the noise")]
Steps = Annotated[int, typer.Option(metavar="N", min=1, max=200, help="steps between the two ends")]
Data = Annotated[
    str | None, typer.Option("--dataset", metavar="NAME", help="name or path of the data, if they have moved")
]
FILES = "picture files of your own, read as the training data"
Files = Annotated[list[Path] | None, typer.Option("--images", metavar="FILE...", help=FILES)]
Json = Annotated[bool, typer.Option("--json", metavar="", help="print one JSON document")]
On = Annotated[
    Literal["auto", "cpu", "cuda", "mps"],
    typer.Option("--device", metavar="auto|cpu|cuda|mps", help="device to compute on"),
]
Sampling = dict[str, Any] | None  # the sampling options that were typed; a verb's command has them as the model's own


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


def picture(source: find.Source, verb: str, out: Path | None) -> Path:
    """Return where a verb's picture goes: to a name that is free, unless it was given.

    Raises UsageError if the ending names no format, DataError if there is no such folder: before anything is loaded.
    """
    path = out or free(source.folder, f"{verb}-{source.model}")
    if path.suffix not in PICTURES:
        raise UsageError(f"--out {path} must end in {' or '.join(PICTURES)}.")
    return writable(path)


def writable(path: Path) -> Path:
    """Return the path of a file that can be written; raise DataError where it cannot."""
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        why = "may not be written to" if path.parent.is_dir() else "is no folder"
        raise DataError(f"{path} cannot be written: {path.parent} {why}; choose another --out.")
    if path.is_dir():
        raise DataError(f"{path} cannot be written: it is a folder; choose another --out.")
    return path


def free(folder: Path, stem: str, ending: str = ".png") -> Path:
    """Return folder/stem.png, or the first of stem-2.png, stem-3.png, ... that is not there yet."""
    names = (f"{stem}{'' if i == 1 else f'-{i}'}{ending}" for i in count(1))
    return next(folder / name for name in names if not os.path.lexists(folder / name))
