"""The picture verbs: from weights to a grid of images in a file."""

from __future__ import annotations

import errno
from pathlib import Path

import torch
from torch import Tensor

from ..data import Images, nearest
from ..errors import DataError, UsageError
from ..models.base import Encodes, Model, Scores
from ..runs import load
from ..runs.find import Source
from ..seeds import generator
from ..terminal.console import result
from . import image_grid, latent_paths, sampling

POOL = 200  # generated candidates for the ends of an interpolation
Ends = tuple[int | None, int | None]  # wanted classes of the first and last image


def sample(source: Source, n: int, seed: int, temperature: float, means: bool, device: str, out: Path) -> None:
    """Write a near-square grid of images 0 to n - 1 of the seed."""
    model, _ = load.decoder(source, device)
    drawn = sampling.sample(model, n, seed, temperature, means)
    _save(drawn, max(1, round(n**0.5 + 0.4999)), out)


def reconstruct(source: Source, n: int, dataset: str | None, device: str, out: Path) -> None:
    """Write test images above their reconstructions, up to ten a row."""
    model, about = load.decoder(source, device)
    test = load.dataset(source, about, dataset).test.choose(n)
    x = _observed(model, test)
    back = sampling.decode(model, _encode(model, x))
    columns = min(10, len(x))
    pad = -len(x) % columns  # fill the last row, so that pairs of rows stay aligned
    rows = [torch.cat([t, t.new_zeros(pad, *about.shape)]).split(columns) for t in (x / 255, back)]
    _save(torch.cat([t for pair in zip(*rows, strict=True) for t in pair]), columns, out)


def interpolate(
    source: Source,
    steps: int,
    path: str,
    rows: int,
    classes: Ends,
    between_test_images: bool,
    seed: int,
    dataset: str | None,
    device: str,
    out: Path,
) -> None:
    """Write rows of steps + 2 images between two of different classes, both ends included."""
    model, about = load.decoder(source, device)
    found = load.dataset(source, about, dataset)
    if between_test_images:
        chosen = found.test.choose(POOL * rows)
        z = _encode(model, _observed(model, chosen))
        labels, agreeing = chosen.labels, torch.zeros(len(z))
    else:
        z, _ = sampling.noise(model, seed, POOL * rows)
        labels, agreeing = _classes(sampling.decode(model, z), found.train)
    if labels is None:
        if classes != (None, None):
            raise UsageError(f"{about.dataset['name']} has no labels; leave out --from-class and --to-class.")
        pairs = _farthest(sampling.decode(model, z[:100]), rows)
    else:
        most = int(labels.max() if found.train.labels is None else found.train.labels.max())
        for wanted in classes:
            if wanted is not None and wanted > most:
                raise UsageError(f"{found.name} has no class {wanted}; its classes are 0 to {most}.")
        pairs = _different(labels, agreeing, rows, classes)
    paths = [latent_paths.PATHS[path](z[a], z[b], steps) for a, b in pairs]
    _save(sampling.decode(model, torch.cat(paths)), steps + 2, out)


def manifold(
    source: Source,
    steps: int,
    quantiles: tuple[float, float] | None,
    from_images: bool,
    seed: int,
    dataset: str | None,
    device: str,
    out: Path,
) -> None:
    """Write steps x steps images: quantiles of a 2-d latent, else the torus through four latents."""
    if quantiles is not None and from_images:
        raise UsageError("--from-images has a grid of its own; leave out --quantiles.")
    model, about = load.decoder(source, device)
    if model.latent_shape == (2,) and not from_images:
        low, high = quantiles or (0.0001, 0.9999)
        if not 0 < low < high < 1:
            raise UsageError(f"--quantiles needs 0 < low < high < 1, not {low:g} {high:g}.")
        z = latent_paths.quantile_grid(steps, low, high)
    elif quantiles is not None:
        raise UsageError(
            f"--quantiles is for a 2-d latent; this one has {torch.Size(model.latent_shape).numel()} dimensions."
            " Leave it out, or train with --latent-dim 2."
        )
    else:
        anchors, _ = sampling.noise(model, seed, 4)
        if from_images:
            validation = load.dataset(source, about, dataset).validation
            order = torch.randperm(len(validation), generator=generator("manifold", seed))
            anchors = _encode(model, _observed(model, validation.take(order[:4])))
        z = latent_paths.sphere_grid(anchors, steps)
    _save(sampling.decode(model, z), steps, out)


def _encode(model: Model, x: Tensor) -> Tensor:
    if not isinstance(model, Encodes):
        raise UsageError(f"{model.config.name} cannot encode an image.")
    return sampling.encode(model, x)


def _observed(model: Model, chosen: Images) -> Tensor:
    """Return the images as the model's likelihood sees them."""
    return model.observe(chosen) if isinstance(model, Scores) else chosen.pixels


def _classes(x: Tensor, train: Images) -> tuple[Tensor | None, Tensor]:
    """Return the class of generated images by their neighbours, and how many neighbours agree."""
    if train.labels is None:
        return None, torch.zeros(len(x))
    return nearest.vote(x, train.pixels, train.labels)


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
    distances = torch.cdist(x.flatten(1), x.flatten(1)).triu(1)
    best = distances.flatten().topk(rows).indices.tolist()
    return [divmod(i, len(x)) for i in best]


def _save(drawn: Tensor, columns: int, out: Path) -> None:
    """Write the grid and print its path."""
    try:
        image_grid.save(out, drawn, columns)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise  # the command line has a sentence for it
        raise DataError(f"{out} cannot be written: {error.strerror}; choose another --out.") from error
    result(str(out))
