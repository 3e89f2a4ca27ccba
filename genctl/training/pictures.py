"""The pictures of a training: sample grids from the same noise, and curves. None of them can end it."""

from __future__ import annotations

from time import monotonic

from ..config import ModelConfig
from ..generation import curves, image_grid, sampling
from ..models.base import Model, Plot, Samples
from ..runs.folder import read_metrics
from ..runs.store import Store

PREVIEWS = 25  # images in a sample grid
PREVIEW_SEED = 0


def draw(store: Store, config: ModelConfig, model: Model, epoch: int) -> float:
    """Write what is due of an epoch: its sample grids, and the curves up to it; return the seconds of a grid."""
    seconds = preview(store, config, model, epoch)
    if epoch:
        draw_curves(store, model.plot)
    return seconds


def preview(store: Store, config: ModelConfig, model: Model, epoch: int) -> float:
    """Write the epoch's sample grids, from the same noise as every other; return the seconds that one takes."""
    longest = 0.0
    if not isinstance(model, Samples):
        return longest
    for ending, chosen in config.previews.items():
        with store.decoration(f"drawing samples/epoch-NNN{ending}.png"):
            started = monotonic()
            drawn = sampling.sample(model, PREVIEWS, PREVIEW_SEED, config.sampling(**chosen))
            longest = max(longest, monotonic() - started)
            image_grid.save(store.folder / f"samples/epoch-{epoch:03d}{ending}.png", images=drawn, columns=5)
    return longest


def draw_curves(store: Store, plot: Plot) -> None:
    """Write curves.png from metrics.jsonl."""
    with store.decoration("drawing curves.png"):
        lines = read_metrics(store.folder)
        epochs = [line["epoch"] for line in lines]
        series = {label: [line.get(metric) for line in lines] for label, metric in plot.series.items()}
        curves.curves(store.folder / "curves.png", epochs, series, plot.unit, plot.levels)
