"""The pictures of a training: sample grids from the same noise, and curves. None of them can end it."""

from __future__ import annotations

from time import monotonic

from ..config import ModelConfig
from ..generation import curves, image_grid, sampling
from ..models.base import Model, Plot, Samples
from ..runs.folder import PREVIEW_SEED, read_metrics
from ..runs.store import Store

PREVIEWS = 25  # images in a sample grid


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
            path = store.folder / f"samples/epoch-{epoch:03d}{ending}.png"
            longest = max(longest, monotonic() - started)
            image_grid.save(path, images=drawn, columns=5, about=about(config, epoch))
            store.reporter.samples(epoch, ending, image_grid.to_array(drawn))
    return longest


def about(config: ModelConfig, epoch: int) -> dict[str, str]:
    """Return what a sample grid says of itself; its run's config.json says the rest."""
    return {"Model": config.name, "Epoch": str(epoch), "Seed": str(PREVIEW_SEED)}


def show(store: Store, config: ModelConfig, model: Model, epoch: int) -> None:
    """Show samples of an epoch of which none are kept: the first kind of them."""
    if isinstance(model, Samples) and config.previews:
        kind, chosen = next(iter(config.previews.items()))
        with store.decoration("showing samples"):
            drawn = sampling.sample(model, PREVIEWS, PREVIEW_SEED, config.sampling(**chosen))
            store.reporter.samples(epoch, kind, image_grid.to_array(drawn))


def draw_curves(store: Store, plot: Plot) -> None:
    """Write curves.png from metrics.jsonl."""
    with store.decoration("drawing curves.png"):
        lines = read_metrics(store.folder)
        epochs = [line["epoch"] for line in lines]
        series = {label: [line.get(metric) for line in lines] for label, metric in plot.series.items()}
        curves.curves(store.folder / "curves.png", epochs, series, plot.unit, plot.levels)
