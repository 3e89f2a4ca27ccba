"""The verbs whose results leave for other programs: encode and export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ..export import formats
from ..terminal.console import result, say
from .arguments import Checkpoint, Data, Name, OfClass, On, Runs, Sampling, Some, Split, source_for, writable, writing
from .sources import loaded

Form = Annotated[formats.Format, typer.Option("--format", metavar="onnx|torch|hub", help="what to write")]
Folder = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="folder to make")]
Push = Annotated[
    str | None, typer.Option("--push", metavar="NAME/MODEL", help="of --format hub: upload it to this repository too")
]
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


def export(
    model: Name,
    checkpoint: Checkpoint = None,
    *,
    form: Form,
    out: Folder,
    push: Push = None,
    runs: Runs = None,
    sampling: Sampling = None,
) -> None:
    """Write a model for other programs: ONNX, torch.export, or a folder in the Hub's form, each checked."""
    if push is not None and form != "hub":
        raise UsageError(f"--push is for --format hub, not for {form}; leave it out.")
    if form == "onnx":
        formats.require("onnx", "--format onnx")
    if push is not None:
        formats.require("hub", "--push")
    source = source_for("export", model, checkpoint, runs=runs)
    formats.free(out)
    trained = loaded(source, "cpu")
    with writing(out):
        trained.export(out, form, **(sampling or {}))
    if push is not None:
        from ..export import hub

        say(f"pushed to {hub.push(out, push)}")
    result(str(out))
