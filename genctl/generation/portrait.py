"""What a page shows of a model: reconstructions, paths and planes through its latent, nearest training images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import inf
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from ..config import SamplingOptions
from ..data import Dataset, Images
from ..data.nearest import neighbours
from ..errors import GenctlError
from ..models.base import Decodes, Encodes, Model, Samples
from ..page.records import Nearest, Pair, Picture, Plane, Point, Portrait
from . import figures, image_grid, latent_paths, sampling
from .exported import exported
from .sheet import Sheet

SEED = 0
PAIRS, UNSEEN = 16, 100  # samples beside their nearest images, and test images for the usual distance
ROWS, STEPS = 4, 9  # of interpolations: eleven images a row
TESTED = 20  # test images that are reconstructed
SIDE, TILES, FINE = 15, 15, 31  # images on a side: of a manifold, and of a plane that is decoded in the page, or not
LOW, HIGH = 0.005, 0.995  # quantiles of a plane: further out few draws lie
NAMERS = 10_000  # training images that name the classes of generated ones
ALWAYS = 0.05  # seconds that a part takes at least: files, the draws of binarized images
COMPARED = 1e-8  # seconds for a pixel of a training image that others are compared with
POINTS = 1000  # test images on a plane
CHECKED = ((0.0, 0.0), (1.5, -0.5), (-2.5, 2.5))  # latents at which a page's decoder is held against torch
Part = Callable[[], Mapping[str, Any]]


def portrait(model: Model, found: Dataset, limit: float = inf, block: float = 0.0) -> Portrait:
    """Return all parts, or those that so many seconds allow where a block of images takes so many.

    A part that the model or the data do not have is left out; one for which there is no time is named.
    """
    started, missing = monotonic(), []
    made: dict[str, Any] = {}
    for name, seconds, part in parts(model, found, block):
        if monotonic() - started + ALWAYS + seconds > limit:
            missing.append(name)
            continue
        try:
            made |= part()
        except GenctlError:  # of too few images or classes: there is nothing to show
            continue
    return Portrait(**made, left_out=missing)


def parts(model: Model, found: Dataset, block: float) -> Iterator[tuple[str, float, Part]]:
    """Yield a part's name, about how many seconds it takes, and what makes it, the quickest first."""
    if isinstance(model, Decodes) and isinstance(model, Encodes):
        yield "reconstructions", 2 * block, lambda: {"reconstructions": reconstructions(model, found.test)}
    if isinstance(model, Decodes):
        if model.latent_shape == (2,):
            yield "the manifold", 20 * block, lambda: {"plane": plane(model, found)}
        else:
            yield "the manifold", 4 * block, lambda: {"manifold": manifold(model)}
        yield "interpolations", 4 * ROWS * block, lambda: {"interpolation": interpolation(model, found)}
    if isinstance(model, Samples):
        search = COMPARED * found.train.pixels.numel()
        yield "nearest training images", block + search, lambda: {"nearest": nearest(model, found)}


def of_sheet(sheet: Sheet, alt: str, scale: int = 2) -> Picture:
    """Return a sheet as a picture."""
    return Picture(image_grid.png(image_grid.grid(sheet.images, sheet.columns)), alt, scale)


def reconstructions(model: Decodes, test: Images) -> Picture:
    """Return test images above their reconstructions."""
    sheet = figures.reconstruct(model, test.choose(TESTED))
    return of_sheet(sheet, "Rows of test images, each above the row of their reconstructions")


def interpolation(model: Decodes, found: Dataset) -> Picture:
    """Return paths between images of different classes: encoded test images, where the model encodes."""
    encodes = isinstance(model, Encodes) and not (model.config.classes and found.test.labels is None)
    few = replace(found, train=found.train.take(torch.arange(min(NAMERS, len(found.train)))))
    sheet = figures.interpolate(model, few, STEPS, rows=ROWS, between_test_images=encodes, seed=SEED)
    return of_sheet(sheet, f"{ROWS} rows, each from an image on the left to one of a different class on the right")


def manifold(model: Decodes) -> Picture:
    """Return images over a surface through four latents."""
    sheet = figures.manifold(model, SIDE, seed=SEED)
    return of_sheet(sheet, f"{SIDE} by {SIDE} images that change little from one to the next", 3)


def nearest(model: Samples, found: Dataset) -> Nearest:
    """Return samples beside their nearest training images, and how far unseen images are from theirs.

    A model of binarized images is judged by the means of its pixels where it can show them: noise lies far from all.
    """
    train, options = found.train, _smooth(model)
    x = sampling.sample(model, PAIRS, SEED, options)
    unseen = found.test.choose(UNSEEN).pixels / 255
    distances, indices = neighbours(torch.cat([x, unseen]), train.pixels)
    distance, usual, who = distances[: len(x), 0], distances[len(x) :], indices[: len(x), 0]
    names = found.class_names
    near = train.take(who)
    labels = [""] * len(x) if near.labels is None else [names[i] for i in near.labels.tolist()]
    pairs = [
        Pair(image_grid.png(sample), image_grid.png(real / 255), float(d), label)
        for sample, real, d, label in zip(x, near.pixels, distance, labels, strict=True)
    ]
    return Nearest(pairs, float(usual.median()), len(train))


def _smooth(model: Samples) -> SamplingOptions:
    """Return the sampling options of the first of a run's previews, which are the smoothest."""
    previews = model.config.previews
    return model.config.sampling(**(next(iter(previews.values())) if previews else {}))


def plane(model: Decodes, found: Dataset) -> Plane:
    """Return the plane of a 2-d latent, with its decoder where that is small, and test images where they lie."""
    of_class = 0 if model.config.classes else None
    y = None if of_class is None else torch.tensor([of_class])
    small = exported(model.decoder_layers(), of_class)
    steps = TILES if small else FINE
    z = latent_paths.quantile_grid(steps, LOW, HIGH)
    images = _decode(model, z, y)
    names = found.class_names
    checks = _decode(model, torch.tensor(CHECKED), y) if small else ()
    return Plane(
        low=LOW,
        high=HIGH,
        shape=model.shape,
        steps=steps,
        tiles=image_grid.png(tiled(images, steps)),
        layers=small.operations if small else (),
        weights=small.bytes() if small else b"",
        checks=[(z, image.numpy().astype("<f4").tobytes()) for z, image in zip(CHECKED, checks, strict=False)],
        points=points(model, found.test),
        classes=names,
        given=names[of_class] if of_class is not None and names else "",
    )


def _decode(model: Decodes, z: Tensor, y: Tensor | None) -> Tensor:
    return sampling.decode(model, z, None if y is None else y.expand(len(z)))


def tiled(images: Tensor, steps: int) -> Tensor:
    """Return one image [C, steps H, steps W] of steps x steps images [N, C, H, W], without borders."""
    C, H, W = images.shape[1:]
    rows = images.reshape(steps, steps, C, H, W).permute(2, 0, 3, 1, 4)
    return rows.reshape(C, steps * H, steps * W)


def points(model: Decodes, test: Images) -> list[Point]:
    """Return where test images lie on the plane, by the model's own encoder; none without one or without labels."""
    chosen = test.choose(POINTS)
    if not isinstance(model, Encodes) or chosen.labels is None:
        return []
    z = sampling.encode(model, model.observe(chosen), model.given(chosen.labels))
    share = (torch.special.ndtr(z) - LOW) / (HIGH - LOW)
    shown = ((share >= 0) & (share <= 1)).all(1)
    rows = zip(share[shown].tolist(), chosen.labels[shown].tolist(), strict=True)
    return [Point(round(right, 4), round(up, 4), label) for (right, up), label in rows]
