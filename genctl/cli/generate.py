"""The verbs that draw: sample, reconstruct, interpolate, manifold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import UsageError
from ..ranks import meeting
from ..terminal.console import result
from .arguments import (
    MOVING,
    PICTURES,
    Animate,
    Checkpoint,
    Data,
    Files,
    Fps,
    Moving,
    Name,
    OfClass,
    On,
    Out,
    Runs,
    Sampling,
    Seed,
    Show,
    Split,
    Steps,
    check_place,
    picture,
    source_for,
    writing,
)
from .sources import about, loaded, one_class, together, wanted_classes

if TYPE_CHECKING:
    from ..generation.sheet import Sheet


def sample(
    model: Name,
    checkpoint: Checkpoint = None,
    n: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--number",
            metavar="N",
            min=1,
            max=100_000,
            help="images (default: 25; of each of several classes 10)",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            "--class", metavar="NAME", help="of a conditional model: 7, cat, or a row each for 0-9, for cat,dog"
        ),
    ] = None,
    seed: Seed = 0,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help=".png or .npz to write, or FOLDER/ for a file an image")
    ] = None,
    show: Show = False,
    device: On = "cpu",
    runs: Runs = None,
    sampling: Sampling = None,
) -> None:
    """Write a grid of new images. Image i depends on the weights, the seed, i and its class alone."""
    source = source_for("sample", model, checkpoint, runs=runs)
    into = out if out and (out.endswith(("/", os.sep)) or not Path(out).suffix) else None
    target = picture(source, "sample", Path(out) if out else None) if into is None else folder_for(Path(into))
    wanted = wanted_classes(source, classes)
    if into is None:
        with together(device):
            sheet = loaded(source, device).draw_sheet(n, seed, wanted, **(sampling or {}))
        write(sheet, target, about(source, seed), show)
    elif not meeting.follows():
        with writing(target):
            loaded(source, device).write_samples(target, n, seed, wanted, about(source, seed), **(sampling or {}))
        result(str(target))


def reconstruct(
    model: Name,
    checkpoint: Checkpoint = None,
    n: Annotated[int, typer.Option("-n", "--number", metavar="N", min=1, max=10_000, help="images")] = 20,
    images: Files = None,
    split: Split = "test",
    classes: OfClass = None,
    out: Out = None,
    show: Show = False,
    dataset: Data = None,
    device: On = "cpu",
    runs: Runs = None,
    sampling: Sampling = None,
) -> None:
    """Write images of the data, or your own pictures, above their reconstructions."""
    if images and split != "test":
        raise UsageError("--images are read as they are; leave out --split.")
    source = source_for("reconstruct", model, checkpoint, runs=runs, inverts=bool(images))
    target = picture(source, "reconstruct", out)
    of_class = one_class(source, classes, "reconstruct") if images else classes
    sheet = loaded(source, device).reconstruct_sheet(n, dataset, images or (), split, of_class, **(sampling or {}))
    write(sheet, target, about(source), show)


def interpolate(
    model: Name,
    checkpoint: Checkpoint = None,
    steps: Steps = 7,
    path: Annotated[
        Literal["linear", "slerp"], typer.Option(metavar="linear|slerp", help="straight line, or great circle (slerp)")
    ] = "linear",
    rows: Annotated[int, typer.Option(metavar="N", min=1, max=50, help="pairs of ends, one a row")] = 1,
    from_class: Annotated[str | None, typer.Option(metavar="NAME", help="class of the first end")] = None,
    to_class: Annotated[str | None, typer.Option(metavar="NAME", help="class of the last end")] = None,
    between_test_images: Annotated[
        bool, typer.Option("--between-test-images", metavar="", help="ends are encoded test images")
    ] = False,
    images: Files = None,
    seed: Seed = 0,
    out: Moving = None,
    animate: Animate = False,
    fps: Fps = 10.0,
    show: Show = False,
    dataset: Data = None,
    device: On = "cpu",
    runs: Runs = None,
    sampling: Sampling = None,
) -> None:
    """Write the images on a path between two of different classes (--steps 7: nine with both ends)."""
    if from_class is not None and from_class == to_class:
        raise UsageError(f"--from-class and --to-class are both {to_class}; the ends must differ.")
    if images and (between_test_images or rows > 1 or (from_class, to_class) != (None, None)):
        raise UsageError("--images are the ends themselves; leave out --rows, classes and --between-test-images.")
    source = source_for("interpolate", model, checkpoint, "--between-test-images" if between_test_images else "", runs)
    target = picture(source, "interpolate", out, *moving(animate))
    sheet = loaded(source, device).interpolate_sheet(
        steps=steps,
        path=path,
        rows=rows,
        ends=(from_class, to_class),
        between_test_images=between_test_images,
        seed=seed,
        dataset=dataset,
        files=images or (),
        options=sampling,
    )
    write(sheet, target, about(source, seed), show, fps if animate or target.suffix in MOVING else None)


def manifold(
    model: Name,
    checkpoint: Checkpoint = None,
    steps: Annotated[int, typer.Option(metavar="N", min=2, max=100, help="images on a side")] = 15,
    quantiles: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="X X", help="quantile range of a 2-d latent (default: 0.0001 0.9999)"),
    ] = None,
    from_images: Annotated[bool, typer.Option("--from-images", metavar="", help="span four validation images")] = False,
    classes: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="class of all images, of a conditional model")
    ] = None,
    seed: Seed = 0,
    out: Moving = None,
    animate: Animate = False,
    fps: Fps = 10.0,
    show: Show = False,
    dataset: Data = None,
    device: On = "cpu",
    runs: Runs = None,
    sampling: Sampling = None,
) -> None:
    """Write a square of images over the latent space."""
    source = source_for("manifold", model, checkpoint, "--from-images" if from_images else "", runs)
    target = picture(source, "manifold", out, *moving(animate))
    of_class = one_class(source, classes, "manifold")
    sheet = loaded(source, device).manifold_sheet(
        steps=steps,
        quantiles=quantiles,
        from_images=from_images,
        seed=seed,
        dataset=dataset,
        options=sampling,
        of_class=of_class,
    )
    write(sheet, target, about(source, seed), show, fps if animate or target.suffix in MOVING else None)


def moving(animate: bool) -> tuple[tuple[str, ...], str]:
    """Return the endings that a picture may have which can be an animation, and the usual one."""
    return ((*MOVING, ".png"), ".webp") if animate else ((*PICTURES, *MOVING), ".png")


def folder_for(path: Path) -> Path:
    """Return a folder for a file an image; raise UsageError or DataError where there is none to be."""
    from ..generation import many_files

    check_place(path)
    many_files.free(path)
    return path


def write(sheet: Sheet, out: Path, texts: dict[str, str], show: bool = False, fps: float | None = None) -> None:
    """Write a picture, as an animation of so many pictures a second if any, and print its path; one process does."""
    if meeting.follows():
        return
    with writing(out):
        sheet.save(out, texts) if fps is None else sheet.animate(out, fps, texts)
    if show:
        from ..generation.image_grid import to_array
        from ..terminal.view import draw

        draw(to_array(sheet.images), sheet.columns)
    result(str(out))
