"""The pictures of a model: samples, reconstructions, paths and grids through its latent. Nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ..config import SamplingOptions
from ..data import Dataset, Images
from ..data.nearest import vote
from ..errors import UsageError
from ..models.base import Decodes, Encodes, Model, Samples
from ..ranks.group import ALONE, Ranks
from ..seeds import generator
from . import latent_paths, sampling
from .sheet import Sheet

IN_A_SQUARE, IN_A_ROW = 25, 10  # images of a sheet, and of each of several classes
PIECE = 512  # images that are drawn before they are written
POOL = 200  # generated candidates for the ends of an interpolation
Ends = tuple[int | None, int | None]  # wanted classes of the first and last image


def sample(
    model: Samples,
    n: int | None = None,
    seed: int = 0,
    options: SamplingOptions | None = None,
    classes: Sequence[int] = (),
    ranks: Ranks = ALONE,
) -> Sheet:
    """Return images 0 to n - 1 of the seed, in a square or nearly one; of several classes, a row of n images each.

    n is by default 25, or 10 a row; all rows are of the same noise.
    """
    if len(classes) > 1:
        n = n or IN_A_ROW
        rows = [sampling.sample(model, n, seed, options, torch.full((n,), one), ranks=ranks) for one in classes]
        return Sheet(torch.cat(rows), n)
    n = n or IN_A_SQUARE
    y = torch.full((n,), classes[0]) if classes else None
    return Sheet(sampling.sample(model, n, seed, options, y, ranks=ranks), max(1, round(n**0.5 + 0.4999)))


def pieces(
    model: Samples,
    n: int | None = None,
    seed: int = 0,
    options: SamplingOptions | None = None,
    classes: Sequence[int] = (),
) -> Iterator[Tensor]:
    """Yield the images of `sample` some at a time, the same bits."""
    n = n or (IN_A_ROW if len(classes) > 1 else IN_A_SQUARE)
    for one in classes or (None,):
        for first in range(0, n, PIECE):
            part = min(PIECE, n - first)
            y = None if one is None else torch.full((part,), one)
            yield sampling.sample(model, part, seed, options, y, first)


def reconstruct(
    model: Decodes, chosen: Images, options: SamplingOptions | None = None, z: Tensor | None = None
) -> Sheet:
    """Return images above their reconstructions, up to ten a row; z are their latents where they were found already."""
    x, y, options = model.observe(chosen), _labels(model, chosen), _for_given_images(model, options)
    back = sampling.decode(model, _encode(model, x, y, options) if z is None else z, y, options)
    columns = min(10, len(x))
    pad = -len(x) % columns  # fill the last row, so that pairs of rows stay aligned
    rows = [torch.cat([t, t.new_zeros(pad, *model.shape)]).split(columns) for t in (x / 255, back)]
    return Sheet(torch.cat([t for pair in zip(*rows, strict=True) for t in pair]), columns)


def interpolate(
    model: Decodes,
    found: Dataset | None,
    steps: int = 7,
    path: str = "linear",
    rows: int = 1,
    classes: Ends = (None, None),
    between_test_images: bool = False,
    seed: int = 0,
    options: SamplingOptions | None = None,
) -> Sheet:
    """Return rows of steps + 2 images between two of different classes, both ends included.

    A conditional model is asked for the classes of both ends, and moves from one to the other as the latent moves; it
    needs data for test images alone. Images of a model of p(x) have the class of near training images.
    """
    y: Tensor | None = None
    line = _path(path)
    if found is None or (model.config.classes and not between_test_images):
        z, y = sampling.latents(model, seed, 2 * rows, options), _asked(model, seed, rows, classes)
        pairs = [(2 * row, 2 * row + 1) for row in range(rows)]
    else:
        if between_test_images:
            chosen = found.test.choose(POOL * rows)
            y, options = _labels(model, chosen), _for_given_images(model, options)
            z = _encode(model, model.observe(chosen), y, options)
            labels, agreeing = chosen.labels, torch.zeros(len(z))
        else:
            z = sampling.latents(model, seed, POOL * rows, options)
            labels, agreeing = _classes(sampling.decode(model, z, None, options), found.train)
        if labels is None:
            pairs = _farthest(sampling.decode(model, z[:100], None, options), rows)
        else:
            pairs = _different(labels, agreeing, rows, classes, found.class_names)
    z = torch.cat([line(z[a], z[b], steps) for a, b in pairs])
    y = None if y is None else torch.cat([_mixtures(model, y[a], y[b], steps) for a, b in pairs])
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
    line, options = _path(path), _for_given_images(model, options)
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
    of_class: int | None = None,
) -> Sheet:
    """Return steps x steps images: quantiles of a 2-d latent, else the manifold of four latents (Dinh et al. 2017).

    anchors are images to choose these four of; without them they are drawn. The images of a conditional model are of
    one class.
    """
    if quantiles is not None and anchors is not None:
        raise UsageError("--from-images has a grid of its own; leave out --quantiles.")
    flat = model.latent_shape == (2,) and anchors is None
    if flat:
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
        four, options = anchors.take(order[:4]), _for_given_images(model, options)
        z = latent_paths.sphere_grid(_encode(model, model.observe(four), _labels(model, four), options), steps)
    y = sampling.classes_of(model, seed, 1) if of_class is None else torch.tensor([of_class])
    drawn = sampling.decode(model, z, None if y is None else y.expand(len(z)), options)
    return Sheet(drawn, steps, down=True, closed=not flat)


def _for_given_images(model: Model, options: SamplingOptions | None) -> SamplingOptions:
    return (options or model.config.sampling()).for_given_images()


def _encode(model: Model, x: Tensor, y: Tensor | None, options: SamplingOptions | None) -> Tensor:
    if not isinstance(model, Encodes):
        raise UsageError(f"{model.config.name} cannot encode an image.")
    return sampling.encode(model, x, y, options)


def _labels(model: Model, chosen: Images) -> Tensor | None:
    """Return the images' classes for a conditional model; raise UsageError if they have none."""
    if model.config.classes and chosen.labels is None:
        raise UsageError(f"{model.config.name} is conditional, and these images have no labels.")
    return model.given(chosen.labels)


def _asked(model: Decodes, seed: int, rows: int, classes: Ends) -> Tensor | None:
    """Return the classes [2 rows] of the ends of each row: those that are wanted, else drawn, and not the same."""
    drawn = sampling.classes_of(model, seed, 2 * rows)
    if drawn is None:
        return None
    y = drawn.reshape(rows, 2)
    for end, wanted in enumerate(classes):
        if wanted is not None:
            y[:, end] = wanted
    free = 0 if classes[0] is None else 1
    y[:, free] = torch.where(y[:, 0] == y[:, 1], (y[:, free] + 1) % model.config.classes, y[:, free])
    return y.flatten()


def _mixtures(model: Model, a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Return the weights of the classes [steps + 2, classes] on a path from class a to class b."""
    ends = torch.nn.functional.one_hot(torch.stack([a, b]), model.config.classes).float()
    return latent_paths.linear(ends[0], ends[1], steps)


def _classes(x: Tensor, train: Images) -> tuple[Tensor | None, Tensor]:
    """Return the class of generated images by their neighbours, and how many neighbours agree."""
    if train.labels is None:
        return None, torch.zeros(len(x))
    return vote(x, train.pixels, train.labels)


def _different(
    labels: Tensor, agreeing: Tensor, rows: int, classes: Ends, names: Sequence[str]
) -> list[tuple[int, int]]:
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
                what = f"class {names[wanted]}" if wanted is not None else "a second class"
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
