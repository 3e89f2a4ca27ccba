"""A trained model and a run, as Python sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from torch import Tensor

from ..config import SamplingOptions
from ..data import Dataset, Images, Reading, image_files
from ..device import exact
from ..errors import UsageError
from ..evaluation import bits_per_dim, csv_of_images
from ..export import formats, hub, write
from ..generation import figures, inversion, latents, many_files
from ..generation.sheet import Sheet
from ..models.base import Decodes, Encodes, Samples, Scores
from ..ranks.group import here
from ..runs import classes
from ..runs.folder import WEIGHTS, RunConfig, read_config, read_metrics
from ..runs.load import load_model
from ..runs.records import Likelihood
from .functions import Classes, Functions

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class TrainedModel(Functions):
    """A model of a checkpoint: its functions, its figures and its pictures."""

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
