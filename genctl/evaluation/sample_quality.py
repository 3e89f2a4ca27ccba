"""evaluate: how good generated images are, beside the same figures of real images that nothing was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import sqrt
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from .. import data
from ..checkpoint.manifest import read_header
from ..config import SamplingOptions
from ..errors import DataError, UsageError
from ..generation import image_grid, sampling
from ..models.base import Samples
from ..ranks.group import here
from ..runs.records import FIGURES, SampleQuality
from ..terminal.reporter import SILENT, Reporter
from . import choose_features, frechet_kernel, precision_recall
from .features import Features
from .intervals import interval

Intervals = dict[str, list[float]]
SAMPLES = 10_000
SAMPLES_OF_MODES = 26_000  # what the literature draws for the 1,000 modes of stacked digits
LEAST = max(precision_recall.K_PRECISION, precision_recall.K_DENSITY) + 1
PIECE = 16 * sampling.BLOCK  # images drawn at a time
MOST_CLASSES = 100  # whose shares are listed
K = {"precision": precision_recall.K_PRECISION, "density": precision_recall.K_DENSITY}


@dataclass(frozen=True)
class Judge:
    """What images are compared with: the test images, the training images and labels, and the features."""

    found: data.Dataset  # split as by default
    features: Features
    train: data.Images  # what a model was trained on
    unseen: data.Images  # validation images that neither a model nor the features saw
    one_split: bool = True  # of all models that are compared
    reporter: Reporter = SILENT
    floors: dict[tuple[int, bool], dict[str, Any]] = field(default_factory=dict)  # by number of images, and by class

    @classmethod
    def of(
        cls,
        found: data.Dataset,
        own: Sequence[data.Dataset] = (),
        reporter: Reporter = SILENT,
        device: torch.device | str = "cpu",
        given: str | Path | None = None,
    ) -> Judge:
        """Return the judge of a data set that is split as by default, of models with splits of their own.

        given are the features: a file, "random", or None for those that belong to the data.

        Splits are nested: all are trained on the first images of one order and validated on its last. So the longest
        training part is all that any model saw, and of the shortest validation part none saw any. Raises DataError if
        there are too few images.
        """
        train = max((each.train for each in own), key=len, default=found.train)
        unseen = min((each.validation for each in (found, *own)), key=len)
        if min(len(found.test), len(unseen)) < LEAST:
            raise DataError(f"{found.name} has too few images to compare with; {LEAST} of each split are needed.")
        with here().one_after_another("features"):
            features = choose_features.features_for(found, given, reporter)
        if torch.device(device).type == "cuda":  # elsewhere float64 may be missing
            features.net.to(device)
        return cls(found, features, train, unseen, len(own) < 2, reporter)

    @cached_property
    def data_shares(self) -> Tensor:
        """Return the training labels' shares, in float64 [modes]; none where the features know no classes."""
        if not self.features.classes or self.found.train.labels is None:
            return torch.empty(0, dtype=torch.float64)
        return frechet_kernel.shares(self.found.train.labels, int(self.found.train.labels.max()) + 1)

    @cached_property
    def real(self) -> Tensor:
        """Return the test images' features."""
        with self.reporter.counting(len(self.found.test), "features of test images") as advance:
            return self.features(self.found.test.pixels, advance)[0]

    @cached_property
    def distances_of_real(self) -> Tensor:
        """Return the squared distances of the test images to their nearest training images."""
        with self.reporter.counting(len(self.train), "neighbours of test images") as advance:
            return precision_recall.nearest(self.found.test.pixels, self.train.pixels, advance, self.features.device)

    def figures(
        self, pixels: Tensor, seed: int, errors: bool = True, asked: Tensor | None = None
    ) -> tuple[dict[str, Any], Intervals]:
        """Return the figures of uint8 images [N, C, H, W] and their 95 % intervals, of standard errors or of counts.

        asked are the classes [N] that a conditional model was asked for: class_accuracy is the share of images in which
        the classifier finds them, beside the Fréchet distance within classes.
        Fréchet distance: from a bootstrap. Kernel distance: of first order. The others are means of one term an
        image, with the balls of the neighbourhoods held fixed; the number of modes has none.
        """
        real, train = self.real, self.train.pixels
        work = 4 * len(pixels) + len(real) + len(train)
        with self.reporter.counting(work, "comparing images") as advance:
            features, labels = self.features(pixels, advance)
            terms = precision_recall.neighbourhoods(real, features, advance=advance)
            kernel, kernel_error = frechet_kernel.kernel_distance(features, real, advance)
            near = precision_recall.nearest(pixels, train, advance, self.features.device)
        terms["memorized"] = precision_recall.memorized(near, self.distances_of_real)
        own_terms, by_class = self._by_class(labels, asked)
        terms |= own_terms
        values: dict[str, Any] = {name: term.mean().item() for name, term in terms.items()}
        values |= {"kernel_distance": kernel, "frechet_distance": frechet_kernel.frechet_distance(features, real)}
        if asked is not None and self.found.test.labels is not None:
            test = self.found.test.labels
            values["frechet_in_class"] = frechet_kernel.frechet_in_class(features, asked, real, test)
        values |= by_class
        values = {name: values[name] for name in (*FIGURES, "class_shares") if name in values}
        if not errors:
            return values, {}
        spread = {name: (term.std().item() / sqrt(len(term)), len(term)) for name, term in terms.items()}
        spread["frechet_distance"] = frechet_kernel.frechet_error(features, real, seed), len(features)
        spread["kernel_distance"] = kernel_error, len(features)
        return values, {name: interval(name, values[name], *of) for name, of in spread.items()}

    def _by_class(self, labels: Tensor, asked: Tensor | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the terms and figures of the classes [N] that the features find; none where they know none."""
        if not len(self.data_shares):
            return {}, {}
        shares = frechet_kernel.shares(labels, len(self.data_shares))
        terms = {
            "mode_kl": (shares * len(shares)).log()[labels],
            "mode_kl_data": (shares / self.data_shares).log()[labels],
        }
        if asked is not None:
            terms["class_accuracy"] = (labels == asked).double()
        listed = {"class_shares": shares.tolist()} if len(shares) <= MOST_CLASSES else {}
        return terms, {**frechet_kernel.mode_figures(shares, self.data_shares), **listed}

    def check_modes(self) -> None:
        """Raise UsageError if the features know no classes to count."""
        if not len(self.data_shares):
            raise UsageError(f"--modes counts classes, and the {self.features.name} knows none; leave it out.")

    def floor(self, n: int, by_class: bool = False) -> dict[str, Any]:
        """Return the figures of n validation images, or of all where there are fewer, as if asked for by class."""
        if (n, by_class) not in self.floors:
            chosen = self.unseen.choose(n)
            asked = chosen.labels if by_class else None
            self.floors[n, by_class] = self.figures(chosen.pixels, seed=0, errors=False, asked=asked)[0]
        return self.floors[n, by_class]

    def modes(self, pixels: Tensor) -> tuple[dict[str, float], dict[str, float]]:
        """Return the modes that images hit, with both divergences, and what as many real labels would have."""
        with self.reporter.counting(len(pixels)) as advance:
            labels = self.features(pixels, advance)[1]
        shares = frechet_kernel.shares(labels, len(self.data_shares))
        return frechet_kernel.mode_figures(shares, self.data_shares), frechet_kernel.mode_floor(
            self.data_shares, len(pixels)
        )


def generate(
    model: Samples, n: int, seed: int, options: SamplingOptions | None = None, reporter: Reporter = SILENT
) -> Tensor:
    """Return the images 0 to n - 1 of the seed as uint8 [n, C, H, W]: what `sample` writes; several processes share."""
    a, b = here().span(n, PIECE)
    drawn = torch.empty(b - a, *model.shape, dtype=torch.uint8)
    with reporter.counting(b - a, f"images of {model.config.name}") as advance:
        for first in range(a, b, PIECE):
            x = sampling.sample(model, min(PIECE, b - first), seed, options, first=first)
            drawn[first - a : first - a + len(x)] = image_grid.to_bytes(x)
            advance(len(x))
    return here().gather(drawn, n, PIECE)


def model_quality(
    judge: Judge,
    model: Samples,
    path: Path,
    samples: int | None = None,
    seed: int = 0,
    options: SamplingOptions | None = None,
    modes: bool = False,
) -> SampleQuality:
    """Return the record of a model's images."""
    n = samples or (SAMPLES_OF_MODES if modes else SAMPLES)
    check_count(n, path)
    if modes:
        judge.check_modes()  # before anything is drawn
    started = monotonic()
    pixels = generate(model, n, seed, options, judge.reporter)
    speed = n / (monotonic() - started)
    chosen = {} if options is None else {k: v for k, v in asdict(options).items() if v != options.default_of(k)}
    about = {"model": model.config.name, "checkpoint": str(path), "weights": read_header(path).digest, "means": False}
    about |= chosen | {"samples_per_second": round(speed, 1)}
    if here().leads:
        found = quality_of(judge, pixels, seed, modes, about, sampling.classes_of(model, seed, n))
        here().tell(asdict(found))
        return found
    return SampleQuality(**here().tell())


def images_quality(
    judge: Judge,
    pixels: Tensor,
    path: Path,
    seed: int = 0,
    modes: bool = False,
    about: Mapping[str, Any] = MappingProxyType({}),
) -> SampleQuality:
    """Return the record of the images of a file or folder; about is what else there is to say of them."""
    check_count(len(pixels), path)
    return quality_of(judge, pixels, seed, modes, {"file": str(path), **about})


def check_count(n: int, path: Path) -> None:
    """Raise DataError if there are too few images."""
    if n < LEAST:
        raise DataError(f"{n} images of {path} are too few to compare; {LEAST} are needed, and thousands make sense.")


def quality_of(
    judge: Judge, pixels: Tensor, seed: int, modes: bool, about: dict[str, Any], asked: Tensor | None = None
) -> SampleQuality:
    """Return the figures of images with their 95 % intervals, the floor, and what they are figures of."""
    found, features = judge.found, judge.features
    between: Intervals = {}
    values: dict[str, Any]
    floor: dict[str, Any]
    if modes:
        judge.check_modes()
        values, floor = judge.modes(pixels)
    else:
        values, between = judge.figures(pixels, seed, asked=asked)
        floor = judge.floor(len(pixels), by_class=asked is not None)
    return SampleQuality(
        about=about,
        figures=values,
        interval=between,
        floor=floor,
        samples=len(pixels),
        classes=len(judge.data_shares),
        dataset=found.name,
        dataset_digest=found.digest,
        split="train labels" if modes else "test",
        reference_images=len(found.train if modes else found.test),
        train_images=len(judge.train),
        validation_images=len(judge.unseen),
        k=K,
        seed=seed,
        features=features.about(),
    )
