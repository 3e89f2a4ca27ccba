"""A trained model and a run, as Python sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..checkpoint.manifest import Manifest
from ..config import SamplingOptions
from ..data import Dataset, Images, Reading, image_files
from ..data.images import digest_of
from ..data.pieces import through
from ..device import exact
from ..errors import DataError, UsageError
from ..evaluation import bits_per_dim, csv_of_images
from ..export import formats, hub, write
from ..generation import figures, image_grid, inversion, latents, many_files, sampling
from ..generation.sheet import Sheet
from ..models.base import CAPABILITIES, Decodes, Encodes, Model, Samples, Scores
from ..models.registry import LACKS
from ..ranks.group import here
from ..runs import classes
from ..runs.folder import WEIGHTS, RunConfig, read_config, read_metrics
from ..runs.load import dataset as dataset_of
from ..runs.load import load_model
from ..runs.records import Likelihood
from ..terminal.reporter import SILENT, Reporter

Pixels = NDArray[numpy.uint8] | Tensor
Split = Literal["train", "validation", "test"]
Classes = str | int | Sequence[str | int] | Tensor  # one for all images, or one for each
Capability = TypeVar("Capability", bound=Model)
WORDS = {CAPABILITIES[name]: words for name, words in LACKS.items()}


@dataclass(frozen=True)
class TrainedModel:
    """A model of a checkpoint, on its device and in evaluation mode."""

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
        return self.decode(self.encode(images, y, **options), y, **options)

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

    def likelihood(
        self,
        split: Split = "test",
        *,
        dataset: str | Path | None = None,
        per_image: Path | None = None,
        of_class: str | None = None,
        options: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> Likelihood:
        """Return the record of the likelihood of a split: images=, draws=, estimator=, seed= as eval-bpd has them.

        per_image is a .csv file to write, with the value of each image; of_class names those that are looked at.
        """
        model, chosen = self.able(Scores), self.options(options or {}).for_likelihood()
        found = self.dataset(dataset)
        how |= {"classes": classes.of_data(of_class, found.class_names, found.name)}
        if per_image is not None:
            how |= {"each": partial(csv_of_images.write, per_image, found.class_names, model.config.pixels.unit)}
        with exact(model.device):
            return bits_per_dim.likelihood(
                model, self.manifest, self.path, found, split, **how, options=chosen, reporter=self.reporter
            )

    def encoded(
        self,
        split: Split = "test",
        *,
        images: int | None = None,
        of_class: str | None = None,
        dataset: str | Path | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Return the latents of a split's images, their labels and their places in the data, and mu and logvar."""
        model, found = self.able(Encodes), self.dataset(dataset)
        chosen = self.chosen(found, split, of_class, images)
        with exact(model.device), self.reporter.counting(len(chosen), f"latents of {model.config.name}") as advance:
            return latents.encoded(model, chosen, advance)

    def chosen(self, found: Dataset, split: Split, of_class: str | None, n: int | None) -> Images:
        """Return a fixed choice of n images of a split, of a class or of all."""
        wanted = classes.of_data(of_class, found.class_names, found.name)
        return found.split(split).of_classes(wanted, f"the {split} images of {found.name}").choose(n)

    def export(self, out: str | Path, form: Literal["onnx", "torch", "hub"], **options: Any) -> dict[str, Any]:
        """Write the model for other programs into a new folder, and return what its JSON says of it.

        onnx and torch have the sampler, decoder, encoder and log-density, each checked beside the model itself; hub is
        a folder that genctl reads as a checkpoint. The options are those of sampling.
        """
        folder, how = formats.free(Path(out)), self.options(options)
        with exact(self.module.device):
            if form == "hub":
                return hub.write(self.module, self.path, folder, how)
            return write.programs(self.module, self.path, form, folder, how, self.reporter)

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

    def draw_sheet(self, n: int | None = None, seed: int = 0, classes: Sequence[int] = (), **options: Any) -> Sheet:
        """Return the picture of `genctl sample`; of several classes, a row each."""
        with exact(self.module.device):
            return figures.sample(self.able(Samples), n, seed, self.options(options), classes, here())

    def write_samples(
        self,
        folder: Path,
        n: int | None = None,
        seed: int = 0,
        classes: Sequence[int] = (),
        about: Mapping[str, str] | None = None,
        **options: Any,
    ) -> int:
        """Write the images of `draw_sheet` as files of their own into a new folder; return how many."""
        pieces = figures.pieces(self.able(Samples), n, seed, self.options(options), classes)
        with exact(self.module.device):
            return many_files.write(folder, pieces, about or {}, many_files.threads_for(prod(self.module.shape)))

    def pictures(self, files: Sequence[str | Path], y: Classes | None = None) -> Images:
        """Return picture files as images of the model's shape, read as its training data were; y is their class."""
        if self.module.config.classes and y is None:
            raise UsageError(
                f"{self.manifest.model} {self.path} is conditional, and files have no class; reconstruct takes --class."
            )
        read = image_files.of_files([Path(file) for file in files], self.module.shape, Reading.of(self.manifest.train))
        return replace(read, labels=self.labels(y, len(read)))

    def inverted(self, chosen: Images, options: SamplingOptions) -> Tensor | None:
        """Return the latents that descent finds for a model without an encoder, and say how far off they are."""
        model = self.able(Decodes)
        if isinstance(model, Encodes):
            return None
        z, error = inversion.invert(model, model.observe(chosen), options, y=model.given(chosen.labels))
        self.reporter.say(
            f"{self.manifest.model} has no encoder; the latents were found by descent, with a root mean squared error"
            f" of {error.mean():.3f} a pixel ({error.min():.3f} to {error.max():.3f}, of a range of 1)"
        )
        return z

    def reconstruct_sheet(
        self,
        n: int = 20,
        dataset: str | Path | None = None,
        files: Sequence[str | Path] = (),
        split: Split = "test",
        of_class: str | int | None = None,
        **options: Any,
    ) -> Sheet:
        """Return the picture of `genctl reconstruct`, of n images of a split or of picture files.

        of_class is the class of the files, for a conditional model, or names the split's images that are looked at.
        """
        model, how = self.able(Decodes), self.options(options)
        if not files:
            self.able(Encodes)
        if files:
            chosen = self.pictures(files, of_class)
        else:
            chosen = self.chosen(self.dataset(dataset), split, None if of_class is None else str(of_class), n)
        with exact(self.module.device):
            return figures.reconstruct(model, chosen, how, self.inverted(chosen, how) if files else None)

    def ends_of(self, ends: tuple[str | None, str | None], found: Dataset | None) -> figures.Ends:
        """Return the classes that the names of two ends mean to the data, or without them to the model."""
        owner = found.name if found else f"{self.manifest.model} {self.path}"
        names = found.class_names if found else self.class_names
        if ends != (None, None) and not names:
            raise UsageError(f"{owner} has no labels; leave out --from-class and --to-class.")
        first, last = (None if end is None else classes.index_of(end, names, owner) for end in ends)
        return first, last

    def interpolate_sheet(
        self,
        *,
        dataset: str | Path | None = None,
        files: Sequence[str | Path] = (),
        options: Mapping[str, Any] | None = None,
        ends: tuple[str | None, str | None] = (None, None),
        between_test_images: bool = False,
        **how: Any,
    ) -> Sheet:
        """Return the picture of `genctl interpolate`; ends: names of classes; how: steps, path, rows, seed.

        Of picture files, each two are the ends of a row; of the rest steps and path alone apply.
        """
        model, chosen = self.able(Decodes), self.options(options or {})
        if files:
            if len(files) % 2:
                raise UsageError(f"--images needs two pictures for each row; not {len(files)}.")
            given, line = self.pictures(files), {name: how[name] for name in ("steps", "path") if name in how}
            with exact(self.module.device):
                return figures.between(model, given, **line, options=chosen, z=self.inverted(given, chosen))
        found = self.dataset(dataset) if between_test_images or not self.class_names else None
        how |= {"classes": self.ends_of(ends, found), "between_test_images": between_test_images}
        with exact(self.module.device):
            return figures.interpolate(model, found, **how, options=chosen)

    def manifold_sheet(
        self,
        *,
        from_images: bool = False,
        dataset: str | Path | None = None,
        options: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> Sheet:
        """Return the picture of `genctl manifold`; how: steps, quantiles, seed, of_class."""
        model = self.able(Decodes)
        anchors = self.dataset(dataset).validation if from_images else None
        with exact(self.module.device):
            return figures.manifold(model, anchors=anchors, **how, options=self.options(options or {}))


@dataclass(frozen=True)
class TrainedRun:
    """A run's folder."""

    folder: Path

    @property
    def config(self) -> RunConfig:
        """Return its config.json."""
        return read_config(self.folder)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Return a dict an epoch: the loss's terms, validation, seconds."""
        return read_metrics(self.folder)

    def load(self, device: str = "cpu") -> TrainedModel:
        """Return the model with the weights to use."""
        weights = self.folder / WEIGHTS
        return TrainedModel(*load_model(weights, device), weights)
