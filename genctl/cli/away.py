"""The verbs whose results leave for other programs: encode."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..terminal.console import result
from .arguments import Checkpoint, Data, Name, OfClass, On, Runs, Some, Split, source_for, writable, writing
from .generate import loaded

Array = Annotated[Path, typer.Option("--out", metavar="FILE", help="arrays to write, .npz")]


def encode(
    model: Name,
    checkpoint: Checkpoint = None,
    *,
    out: Array,
    split: Split = "test",
    images: Some = None,
    classes: OfClass = None,
    dataset: Data = None,
    device: On = "cpu",
    runs: Runs = None,
) -> None:
    """Write the latents of images with their labels and indices; of a VAE also mu and logvar."""
    source = source_for("encode", model, checkpoint, runs=runs)
    path = writable(out, (".npz",))
    found = loaded(source, device).encoded(split, images=images, of_class=classes, dataset=dataset)
    from ..generation import latents

    with writing(path):
        latents.write(path, found)
    result(str(path))
