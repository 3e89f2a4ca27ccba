"""The pictures of a model: samples, reconstructions, paths and grids through its latent. Nothing is written here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..config import SamplingOptions
from ..data import Dataset, Images
from ..data.nearest import vote
from ..errors import UsageError
from ..models.base import Decodes, Encodes, Model, Samples
from ..seeds import generator
from . import image_grid, latent_paths, sampling

POOL = 200  # generated candidates for the ends of an interpolation
Ends = tuple[int | None, int | None]  # wanted classes of the first and last image


class Sheet(NamedTuple):
    """Images, and how many stand in a row."""

    images: Tensor  # [N, C, H, W] in [0, 1]
    columns: int

    def save(self, path: Path) -> None:
        """Write the images as a grid (.png) or as an array (.npz)."""
        image_grid.save(path, self.images, self.columns)


def sample(
    model: Samples, n: int = 25, seed: int = 0, options: SamplingOptions | None = None, y: Tensor | None = None
) -> Sheet:
    """Return images 0 to n - 1 of the seed, in a square or nearly one."""
    return Sheet(sampling.sample(model, n, seed, options, y), max(1, round(n**0.5 + 0.4999)))


def reconstruct(
    model: Decodes, chosen: Images, options: SamplingOptions | None = None, z: Tensor | None = None
) -> Sheet:
    """Return images above their reconstructions, up to ten a row; z are their latents where they were found already."""
    x, y = model.observe(chosen), _labels(model, chosen)
    back = sampling.decode(model, _encode(model, x, y, options) if z is None else z, y, options)
    columns = min(10, len(x))
    pad = -len(x) % columns  # fill the last row, so that pairs of rows stay aligned
    rows = [torch.cat([t, t.new_zeros(pad, *model.shape)]).split(columns) for t in (x / 255, back)]
    return Sheet(torch.cat([t for pair in zip(*rows, strict=True) for t in pair]), columns)


def interpolate(
    model: Decodes,
    found: Dataset,
    steps: int = 7,
    path: str = "linear",
    rows: int = 1,
    classes: Ends = (None, None),
    between_test_images: bool = False,
    seed: int = 0,
    options: SamplingOptions | None = None,
) -> Sheet:
    """Return rows of steps + 2 images between two of different classes, both ends included."""
    y: Tensor | None
    line = _path(path)
    if between_test_images:
        chosen = found.test.choose(POOL * rows)
        y = _labels(model, chosen)
        z = _encode(model, model.observe(chosen), y, options)
        labels, agreeing = chosen.labels, torch.zeros(len(z))
    else:
        z = sampling.latents(model, seed, POOL * rows, options)
        y = sampling.classes_of(model, seed, POOL * rows)
        labels, agreeing = _classes(sampling.decode(model, z, y, options), found.train)
    if labels is None:
        if classes != (None, None):
            raise UsageError(f"{found.name} has no labels; leave out --from-class and --to-class.")
        some = None if y is None else y[:100]
        pairs = _farthest(sampling.decode(model, z[:100], some, options), rows)
    else:
        _check_classes(classes, found, labels)
        pairs = _different(labels, agreeing, rows, classes)
    z = torch.cat([line(z[a], z[b], steps) for a, b in pairs])
    y = None if y is None else torch.cat([_halves(y[a], y[b], steps + 2) for a, b in pairs])
    return Sheet(sampling.decode(model, z, y, options), steps + 2)


def between(
    model: Decodes,
    ends: Images,
    steps: int = 7,
    path: str = "linear",
    options: SamplingOptions | None = None,
    z: Tensor | None = None,
) -> Sheet:
    """Return a row of steps + 2 images between each two of the images given; z as for reconstruct."""
    line = _path(path)
    z = _encode(model, model.observe(ends), None, options) if z is None else z
    z = torch.cat([line(z[i], z[i + 1], steps) for i in range(0, len(z), 2)])
    return Sheet(sampling.decode(model, z, None, options), steps + 2)


def _path(name: str) -> Callable[[Tensor, Tensor, int], Tensor]:
    """Return the path of this name; raise UsageError if there is none."""
    if name not in latent_paths.PATHS:
        raise UsageError(f"there is no path {name}; there are: {', '.join(latent_paths.PATHS)}.")
    return latent_paths.PATHS[name]


def manifold(
    model: Decodes,
    steps: int = 15,
    quantiles: tuple[float, float] | None = None,
    anchors: Images | None = None,
    seed: int = 0,
    options: SamplingOptions | None = None,
) -> Sheet:
    """Return steps x steps images: quantiles of a 2-d latent, else the manifold of four latents (Dinh et al. 2017).

    anchors are images to choose these four of; without them they are drawn.
    """
    if quantiles is not None and anchors is not None:
        raise UsageError("--from-images has a grid of its own; leave out --quantiles.")
    if model.latent_shape == (2,) and anchors is None:
        low, high = quantiles or (0.0001, 0.9999)
        if not 0 < low < high < 1:
            raise UsageError(f"--quantiles needs 0 < low < high < 1, not {low:g} {high:g}.")
        z = model.latent([latent_paths.quantile_grid(steps, low, high)], options)
    elif quantiles is not None:
        raise UsageError(
            f"--quantiles is for a 2-d latent; this one has {torch.Size(model.latent_shape).numel()} dimensions."
            " Leave it out, or train with --latent-dim 2."
        )
    elif anchors is None:
        z = latent_paths.sphere_grid(sampling.latents(model, seed, 4, options), steps)
    else:
        if len(anchors) < 4:
            raise UsageError(f"--from-images spans four validation images, and there are {len(anchors)}; leave it out.")
        order = torch.randperm(len(anchors), generator=generator("manifold", seed))
        four = anchors.take(order[:4])
        z = latent_paths.sphere_grid(_encode(model, model.observe(four), _labels(model, four), options), steps)
    y = sampling.classes_of(model, seed, 1)
    return Sheet(sampling.decode(model, z, None if y is None else y.expand(len(z)), options), steps)


def _encode(model: Model, x: Tensor, y: Tensor | None, options: SamplingOptions | None) -> Tensor:
    if not isinstance(model, Encodes):
        raise UsageError(f"{model.config.name} cannot encode an image.")
    return sampling.encode(model, x, y, options)


def _labels(model: Model, chosen: Images) -> Tensor | None:
    """Return the images' classes for a conditional model."""
    return chosen.labels if model.config.classes else None


def _halves(a: Tensor, b: Tensor, n: int) -> Tensor:
    """Return the classes [n] of a path: those of its nearer end."""
    return torch.where(torch.arange(n) < n / 2, a, b)


def _classes(x: Tensor, train: Images) -> tuple[Tensor | None, Tensor]:
    """Return the class of generated images by their neighbours, and how many neighbours agree."""
    if train.labels is None:
        return None, torch.zeros(len(x))
    return vote(x, train.pixels, train.labels)


def _check_classes(classes: Ends, found: Dataset, labels: Tensor) -> None:
    """Raise UsageError for a class that the data lack."""
    most = int(labels.max() if found.train.labels is None else found.train.labels.max())
    for wanted in classes:
        if wanted is not None and wanted > most:
            raise UsageError(f"{found.name} has no class {wanted}; its classes are 0 to {most}.")


def _different(labels: Tensor, agreeing: Tensor, rows: int, classes: Ends) -> list[tuple[int, int]]:
    """Return index pairs of different classes, the clearest images first; raise UsageError if there are none."""
    order = agreeing.argsort(descending=True, stable=True).tolist()
    left = set(order)
    pairs = []
    for _ in range(rows):
        ends: list[int] = []
        for wanted in classes:
            taken = {int(labels[i]) for i in ends}
            fits = (i for i in order if i in left and int(labels[i]) not in taken and wanted in (None, int(labels[i])))
            end = next(fits, None)
            if end is None:
                what = f"class {wanted}" if wanted is not None else "a second class"
                raise UsageError(f"no image of {what} is left among {len(labels)}; try another --seed.")
            left.discard(end)
            ends.append(end)
        pairs.append((ends[0], ends[1]))
    return pairs


def _farthest(x: Tensor, rows: int) -> list[tuple[int, int]]:
    """Return the index pairs of the images that lie farthest apart."""
    if len(x) * (len(x) - 1) // 2 < rows:
        raise UsageError(f"{len(x)} images are too few for {rows} pairs of different ones; give fewer --rows or more.")
    distances = torch.cdist(x.flatten(1), x.flatten(1)).triu(1)
    best = distances.flatten().topk(rows).indices.tolist()
    return [divmod(i, len(x)) for i in best]
