"""What the verbs share on the command line: their common arguments, and what each needs of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import UsageError
from ..models import registry
from ..runs import find

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


def source_for(
    verb: str, model: str, checkpoint: str | None, encoding_option: str = "", inverts: bool = False
) -> find.Source:
    """Return the weights for a verb; raise UsageError if their model cannot do it.

    Where latents may be found by descent, a model needs no encoder.
    """
    needed = (NEEDS[verb] | ({"encode"} if encoding_option else set())) - ({"encode"} if inverts else set())
    verb = f"{verb} {encoding_option}".strip()
    if registry.known(model):
        registry.require(registry.load(model), needed, verb)  # before anything is looked for
    source = find.resolve(model, checkpoint)
    registry.require(registry.load(source.model), needed, verb)
    return source


def picture(source: find.Source, verb: str, out: Path | None) -> Path:
    """Return where a verb's picture goes; raise UsageError if the ending names no format."""
    path = out or source.folder / f"{verb}-{source.model}.png"
    if path.suffix not in PICTURES:
        raise UsageError(f"--out {path} must end in {' or '.join(PICTURES)}.")
    return path
