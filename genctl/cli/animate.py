"""The verb that shows a training: its sample grids one after the other. No torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..generation import animation
from ..runs import find
from ..runs.folder import PREVIEW_SEED, read_config
from ..terminal.console import result, typed
from . import completion
from .arguments import Fps, Runs, picture, writing


def animate(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="a run, by name or folder, or a model: its newest run",
            autocompletion=completion.models_and_runs,
        ),
    ],
    kind: Annotated[
        str, typer.Option("--kind", metavar="NAME", help="of a run with several kinds of grids: means")
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="to write: .webp, .png (APNG) or .gif")
    ] = None,
    fps: Fps = 4.0,
    runs: Runs = None,
) -> None:
    """Write a run's samples through its training, of the same noise, as an animation."""
    folder = find.run_folder(run, runs)
    config = read_config(folder)
    target = picture(find.Source(config.model, folder, folder), "animate", out, animation.ENDINGS, ".webp")
    grids = animation.kept(folder, kind)
    frames = animation.through_training(grids)
    texts = {"Command": typed(*sys.argv[1:]), "Seed": str(PREVIEW_SEED), "Run": config.id}
    with writing(target):
        animation.save(target, frames, fps, texts, hold=(0, len(frames) - 1))
    result(str(target))
