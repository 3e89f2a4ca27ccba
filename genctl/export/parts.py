"""The parts of a model that other programs run: functions of tensors, with their random numbers given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..config import SamplingOptions
from ..generation import sampling
from ..generation.image_grid import to_bytes
from ..models.base import Decodes, Encodes, Model, Samples, Scores

MOST = 64  # images that a part is checked with
Compute = Callable[[Any, Sequence[Tensor], Tensor | None], Tensor]  # of the model, the inputs and the classes
IMAGES, LATENTS, NATS = "images", "latents", "log_weights"  # names of outputs


class Function(nn.Module):
    """A method of a model as a module: its inputs are tensors, the classes y last if the model is conditional."""

    def __init__(self, model: Model, compute: Compute) -> None:
        super().__init__()
        self.model, self.compute, self.conditional = model, compute, model.config.classes > 0

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the one output."""
        return (
            self.compute(self.model, inputs[:-1], inputs[-1])
            if self.conditional
            else self.compute(self.model, inputs, None)
        )


@dataclass(frozen=True)
class Part:
    """A part, with MOST images of each input to check it by."""

    name: str
    module: Function
    inputs: dict[str, Tensor]  # [MOST, ...]
    kinds: dict[str, str]  # what each input is: normal or uniform noise, a latent, uint8 images, classes
    output: str

    def described(self) -> dict[str, Any]:
        """Return what a reader must know to call it."""
        return {"inputs": [_about(name, x, self.kinds[name]) for name, x in self.inputs.items()], "output": self.output}


def _about(name: str, x: Tensor, kind: str) -> dict[str, Any]:
    return {"name": name, "kind": kind, "shape": ["N", *x.shape[1:]], "dtype": str(x.dtype).removeprefix("torch.")}


def parts_of(model: Model, options: SamplingOptions) -> list[Part]:
    """Return the sampler, decoder, encoder and log-density, as far as the model has them."""
    y = sampling.classes_of(model, 0, MOST) if isinstance(model, Samples) else None
    if y is None and model.config.classes:
        y = torch.arange(MOST) % model.config.classes
    given = {} if y is None else {"y": (y, "class")}
    found: list[Part] = []

    def add(name: str, compute: Compute, output: str, **own: Any) -> None:
        named = {**own, **given}
        inputs, kinds = ({key: pair[i] for key, pair in named.items()} for i in (0, 1))
        found.append(Part(name, Function(model, compute).eval(), inputs, kinds, output))

    images = torch.randint(0, 256, (MOST, *model.shape), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    if isinstance(model, Samples):
        drawn = sampling.noise(model.noise_shapes, 0, MOST)
        names = ["noise", *(f"noise_{i}" for i in range(2, 1 + len(drawn)))]
        own = {k: (x, each.kind) for k, x, each in zip(names, drawn, model.noise_shapes, strict=True)}
        add("sampler", lambda m, noise, y: m.draw(noise, y, options), IMAGES, **own)
        images = to_bytes(sampling.sample(model, MOST, 0, options, y))
        if isinstance(model, Decodes):
            z = model.latent(drawn, options)
            add("decoder", lambda m, z, y: m.decode(z[0], y, options), IMAGES, z=(z, "latent"))
    if isinstance(model, Encodes):
        add("encoder", lambda m, x, y: m.encode(x[0], y, options), LATENTS, x=(images, "uint8 image"))
    if isinstance(model, Scores) and model.weight_noise is not None:
        drawn = sampling.noise(model.weight_noise, 1, MOST)
        names = ["noise", *(f"noise_{i}" for i in range(2, 1 + len(drawn)))]
        own = {k: (e, each.kind) for k, e, each in zip(names, drawn, model.weight_noise, strict=True)}
        add("log_density", lambda m, x, y: m.log_weight(x[0], x[1:], y), NATS, x=(images, "uint8 image"), **own)
    return found
