"""Small forms of models, small images, and what the laws do with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint.manifest import Manifest
from ..config import ModelConfig, SamplingOptions
from ..data import Images
from ..device import place
from ..evaluation import bounds
from ..generation import sampling
from ..models import registry
from ..models.base import Decodes, Encodes, Epoch, Model, Samples, Scores, build
from ..seeds import generator
from ..training.loop import Training, fit
from ..types import Shape

SHAPE: Shape = (1, 8, 8)
BATCH = 8
CLASSES = 4  # of the small images
IMAGES = 32  # four batches an epoch


@dataclass(frozen=True)
class Case:
    """A small form of a model."""

    name: str
    options: tuple[tuple[str, Any], ...]

    @property
    def kind(self) -> type[ModelConfig]:
        """Return the config class."""
        return registry.load(self.name)

    @property
    def config(self) -> ModelConfig:
        """Return the config of the form, of four classes if it is conditional."""
        found = self.kind(**dict(self.options))
        return replace(found, classes=CLASSES) if found.conditional else found

    def __str__(self) -> str:
        """Return the name of the case, with the form's --arch, and whether it is conditional."""
        words = {"arch": str(dict(self.options).get("arch")), "conditional": "conditional"}
        return "-".join([self.name, *(words[key] for key, value in self.options if key in words and value)])


def cases_of(name: str) -> list[Case]:
    """Return the small forms of a model."""
    return [Case(name, tuple(form.items())) for form in registry.load(name).small]


def pixels(n: int = IMAGES, shape: Shape = SHAPE) -> Tensor:
    """Return uint8 images [n, *shape]: bars for SHAPE, else noise."""
    if shape == SHAPE:
        return bars(n)[0].to(torch.uint8)[:, None]
    return torch.randint(0, 256, (n, *shape), generator=generator("pixels"), dtype=torch.uint8)


def start(case: Case, seed: int = 0, shape: Shape = SHAPE, **options: object) -> Training:
    """Return a training of a small model at its step 0."""
    torch.manual_seed(seed)
    model = place(build(case.config, shape), torch.device("cpu"))
    chosen = {"batch_size": BATCH, "seed": seed, "schedule": "cosine", "ema": 0.99, "clip": 1.0, **options}
    return Training(model, case.kind.train_config(**chosen))


def advance(training: Training, last: int, x: Tensor | None = None) -> Iterator[int]:
    """Train to the step `last`, yielding the number of steps done."""
    x = pixels() if x is None else x
    for step in fit(training, x, labels_for(training.model, len(x)), last, horizon=20):
        yield step.step


def run(training: Training, last: int, x: Tensor | None = None) -> Training:
    """Train to the step `last`."""
    for _ in advance(training, last, x):
        pass
    return training


def labels_for(model: Model, n: int) -> Tensor | None:
    """Return the classes of n small images for a conditional model."""
    return torch.arange(n) % CLASSES if model.config.classes else None


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of tensors."""
    return {name: t.clone() for name, t in tensors.items()}


def different(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    """Return the names whose tensors are not the same bits, or that only one side has."""
    return {name for name in a.keys() | b.keys() if name not in a or name not in b or not torch.equal(a[name], b[name])}


def perturb(model: Model, scale: float = 0.05) -> None:
    """Move all weights away from their start, where zero-initialised layers hide what is before them."""
    noise = generator("perturb")
    with torch.no_grad():
        for p in model.parameters():
            p.add_(scale * torch.randn(p.shape, generator=noise))


def each_preview(model: Samples) -> list[SamplingOptions]:
    """Return the sampling options of each of a run's sample grids, quick ones."""
    return [model.config.sampling(**{**model.config.quick, **chosen}) for chosen in model.config.previews.values()]


def scores(model: Scores, x: Tensor, K: int = 2) -> dict[str, Tensor]:
    """Return the bounds on -log p of images by each of the model's estimators; of slow ones with one draw."""
    how = model.config.sampling(**model.config.quick).for_likelihood()
    once = {e.name: e.draws == "none" or e.together is not None for e in model.config.estimators}
    return {
        e.name: bounds.bound(model, x, 1 if once[e.name] else K, e, y=labels_for(model, len(x)), options=how).tight
        for e in model.config.estimators
    }


def without_effect(model: nn.Module) -> set[str]:
    """Return the biases whose effect a batch norm right behind them takes away."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(layer.bias)]
        for stack in model.modules()
        if isinstance(stack, nn.Sequential)
        for layer, after in zip(stack, list(stack)[1:], strict=False)
        if isinstance(after, nn.modules.batchnorm._BatchNorm) and getattr(layer, "bias", None) is not None
    }


def bars(n: int, size: int = 8) -> tuple[Tensor, Tensor]:
    """Return n grey images [n, size, size] of a bar at one of four places, and the place as label."""
    noise = torch.Generator().manual_seed(n)
    labels = torch.arange(n) % 4
    images = torch.randint(0, 60, (n, size, size), generator=noise)
    for i, where in enumerate(labels.tolist()):
        images[i, :, 2 * where : 2 * where + 2] += 180
    return images, labels


def epoch_of(model: Model) -> Epoch:
    """Return what a model may look at after an epoch of the small images."""
    images, labels = bars(IMAGES)
    train = Images(images.to(torch.uint8)[:, None], labels, torch.arange(IMAGES), "laws/train")
    observed = model.observe(train) if isinstance(model, Scores) else None

    def samples(n: int, options: SamplingOptions | None = None) -> Tensor:
        assert isinstance(model, Samples)
        return sampling.sample(model, n, options=options)

    return Epoch({}, train, observed, samples, None if observed is None else labels_for(model, IMAGES))


def manifest_of(training: Training, role: str) -> Manifest:
    """Return what a file of this training says of itself."""
    config = training.model.config
    return Manifest(
        model=config.name,
        config=config.to_dict(),
        train={},
        shape=SHAPE,
        dataset={"name": "bars", "digest": "laws"},
        role=role,
        step=training.step,
        epoch=0,
    )


def what_it_does(model: Model) -> dict[str, Tensor]:
    """Return the outputs of all that the model can do, for the same inputs."""
    found: dict[str, Tensor] = {}
    if isinstance(model, Samples):
        found |= {f"sample {i}": sampling.sample(model, 5, options=o) for i, o in enumerate(each_preview(model))}
    if isinstance(model, Decodes):
        found["decode"] = sampling.decode(model, sampling.latents(model, 1, 5), labels_for(model, 5))
    if isinstance(model, Encodes):
        found["encode"] = sampling.encode(model, pixels(5), labels_for(model, 5))
    if isinstance(model, Scores):
        found |= scores(model, pixels(5))
    return found
