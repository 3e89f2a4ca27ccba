"""What a trained model computes: images, latents, likelihoods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..checkpoint.manifest import Manifest
from ..config import SamplingOptions
from ..data import Dataset, Images
from ..data.images import digest_of
from ..data.pieces import through
from ..device import exact
from ..errors import DataError, UsageError
from ..evaluation import bits_per_dim
from ..generation import image_grid, sampling
from ..models.base import CAPABILITIES, Decodes, Encodes, Model, Samples, Scores
from ..models.registry import LACKS
from ..ranks.group import here
from ..runs import classes
from ..runs.load import dataset as dataset_of
from ..terminal.reporter import SILENT, Reporter

Pixels = NDArray[numpy.uint8] | Tensor
Classes = str | int | Sequence[str | int] | Tensor  # one for all images, or one for each
Capability = TypeVar("Capability", bound=Model)
WORDS = {CAPABILITIES[name]: words for name, words in LACKS.items()}


@dataclass(frozen=True)
class Functions:
    """The functions of a checkpoint's model, on its device and in evaluation mode, of and to arrays and tensors."""

    module: Model
    manifest: Manifest  # what the file says of itself
    path: Path
    reporter: Reporter = SILENT

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes that a conditional model knows; none for a model of p(x)."""
        return classes.names_of(self.manifest)

    def options(self, chosen: Mapping[str, Any]) -> SamplingOptions:
        """Return the model's sampling options; raise UsageError for one that it lacks."""
        kind = self.module.config.sampling
        known = [f.name for f in fields(kind)]
        unknown = sorted(set(chosen) - set(known))
        if unknown:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{self.manifest.model} has no sampling option {', '.join(unknown)}; {has}.")
        return kind.of(**chosen)

    def able(self, capability: type[Capability]) -> Capability:
        """Return the module; raise UsageError if it lacks the capability."""
        if not isinstance(self.module, capability):
            raise UsageError(f"{self.manifest.model} {WORDS[capability]}.")
        return self.module

    def sample(
        self, n: int = 1, *, seed: int = 0, y: Classes | None = None, first: int = 0, **options: Any
    ) -> NDArray[numpy.uint8]:
        """Return the images first, first + 1, ... of this seed; image i depends on weights, seed, i and class alone.

        y is a class, or one for each image; without it a conditional model draws them by their share in the data.
        """
        if n < 1:
            raise UsageError(f"the number of images must be at least 1; not {n}.")
        with exact(self.module.device):
            drawn = sampling.sample(
                self.able(Samples), n, seed, self.options(options), self.labels(y, n), first, here()
            )
        return image_grid.to_array(drawn)

    def decode(self, z: Tensor, y: Classes | None = None, **options: Any) -> Tensor:
        """Return the mean images [N, C, H, W] in [0, 1] of latents z [N, *latent_shape]."""
        model = self.able(Decodes)
        if tuple(z.shape[1:]) != tuple(model.latent_shape) or not len(z):
            raise UsageError(f"latents of {self.manifest.model} are [N, {str(model.latent_shape)[1:-1].strip(',')}].")
        with exact(self.module.device):
            return sampling.decode(model, z, self.labels(y, len(z), needed=True), self.options(options))

    def encode(self, images: Pixels, y: Classes | None = None, **options: Any) -> Tensor:
        """Return the latents [N, *latent_shape] of images."""
        model, given = self.able(Encodes), self.images(images, y)
        with exact(self.module.device):
            return sampling.encode(model, model.observe(given), given.labels, self.options(options))

    def reconstruct(self, images: Pixels, y: Classes | None = None, **options: Any) -> Tensor:
        """Return the decoded latents of images, [N, C, H, W] in [0, 1]."""
        how = self.options(options).for_given_images()
        encoder, decoder, given = self.able(Encodes), self.able(Decodes), self.images(images, y)
        with exact(self.module.device):
            z = sampling.encode(encoder, encoder.observe(given), given.labels, how)
            return sampling.decode(decoder, z, given.labels, how)

    @torch.no_grad()
    def log_likelihood(
        self,
        images: Pixels | Images,
        estimator: str | None = None,
        draws: int = 1,
        seed: int = 0,
        y: Classes | None = None,
        marginal: bool = False,
        **options: Any,
    ) -> Tensor:
        """Return log p(x) of each image in nats, float64 [N]: exact, or the bound that the estimator names.

        Of a conditional model it is log p(x|y), or log p(x) if the classes are summed over (marginal).

        A model of binarized pixels scores one fixed draw of each image, which depends on the images given.
        """
        model = self.able(Scores)
        chosen, how = bits_per_dim.estimator_for(type(model.config), estimator, draws), self.options(options)
        given = images if isinstance(images, Images) else self.images(images, y, needed=not marginal)
        labels = None if marginal else bits_per_dim.labels_of(model, given, "these images")
        x = through(given, model.observe, model.device)
        with exact(model.device):
            found = bits_per_dim.bounds_of(
                model, x, draws, chosen, seed, labels, marginal, options=how.for_likelihood()
            )
        return -bits_per_dim.of_images(found, chosen)[0]

    def dataset(self, given: str | Path | None = None) -> Dataset:
        """Return the data that the model was trained on, divided as then."""
        return dataset_of(self.path, self.manifest, given, reporter=self.reporter)

    def images(self, images: Pixels, y: Classes | None = None, needed: bool = True) -> Images:
        """Return images as genctl holds them; raise DataError unless they have the model's shape."""
        x = image_grid.from_array(images) if isinstance(images, numpy.ndarray) else images.cpu().contiguous()
        if x.dtype != torch.uint8 or x.dim() != 4 or tuple(x.shape[1:]) != tuple(self.module.shape):
            C, H, W = self.module.shape
            raise DataError(f"{x.dtype} {list(x.shape)} are no images of {self.manifest.model}: uint8 {C, H, W}.")
        return Images(x, self.labels(y, len(x), needed), torch.arange(len(x)), f"{digest_of(x)}/given")

    def labels(self, y: Classes | None, n: int, needed: bool = False) -> Tensor | None:
        """Return the classes of n images as a tensor; raise UsageError if they are not the model's, or are missing."""
        names = self.class_names
        if y is None:
            if needed and names:
                raise UsageError(f"{self.manifest.model} {self.path} is conditional; give y, the class of each image.")
            return None
        if not names:
            raise UsageError(f"{self.manifest.model} {self.path} is not conditional; leave out y.")
        listed = [y] * n if isinstance(y, str | int) else list(y)
        owner = self.manifest.model
        found = torch.tensor([classes.index_of(c, names, owner) if isinstance(c, str) else int(c) for c in listed])
        if found.shape != (n,) or not ((found >= 0) & (found < len(names))).all():
            raise UsageError(f"y is a class of {classes.described(names)} for each of the {n} images.")
        return found
