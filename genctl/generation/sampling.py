"""Drawing images: image i depends on the weights, the seed, i and its class alone, whatever is drawn beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..config import ModelConfig, SamplingOptions
from ..cores import Cores
from ..models.base import Decodes, Encodes, Noise, Samples
from ..ranks.group import ALONE, Ranks
from ..seeds import generator
from .image_grid import finite

BLOCK = 64  # images decoded together, the last block padded: a result may depend on the size of its batch


def noise(shapes: Sequence[Noise], seed: int, n: int, first: int = 0) -> list[Tensor]:
    """Return what the images first, first + 1, ... of this seed are made of: [n, *shape] for each of the shapes."""
    drawn = [torch.empty(n, *each.shape) for each in shapes]
    for i in range(n):
        own = generator("sample", seed, first + i)
        for each, tensor in zip(shapes, drawn, strict=True):
            tensor[i].normal_(generator=own) if each.kind == "normal" else tensor[i].uniform_(generator=own)
    return drawn


def class_counts(config: ModelConfig) -> Tensor:
    """Return the training images of each class, int64 [classes]; equal ones where they are not known."""
    return torch.tensor(config.class_counts or [1] * config.classes)


def classes_of(model: Samples, seed: int, n: int, first: int = 0) -> Tensor | None:
    """Return a random class for each image [n] of a conditional model, by its share of the training images.

    It is None for a model of p(x).
    """
    if not model.config.classes:
        return None
    up_to = class_counts(model.config).cumsum(0)
    total = int(up_to[-1])
    draws = [torch.randint(total, (), generator=generator("class", seed, first + i)) for i in range(n)]
    return torch.searchsorted(up_to, torch.stack(draws) if draws else up_to[:0], right=True)


def in_blocks(function: Callable[..., Tensor], device: torch.device, *inputs: Tensor) -> Tensor:
    """Return function(*inputs) on the CPU, computed on the device in blocks of BLOCK images.

    Raises CheckpointError where that is not finite: all that a model makes for a verb passes here.
    """
    parts = []
    with Cores() as cores:
        for blocks in zip(*(x.split(BLOCK) for x in inputs), strict=True):
            n = len(blocks[0])
            padded = [torch.cat([x, x[:1].expand(BLOCK - n, *x.shape[1:])]).to(device) for x in blocks]
            parts.append(function(*padded)[:n].cpu())
            cores.look()
    return finite(torch.cat(parts))


def _with_labels(y: Tensor | None) -> list[Tensor]:
    return [] if y is None else [y]


@torch.no_grad()
def decode(model: Decodes, z: Tensor, y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
    """Return the mean images [N, C, H, W] in [0, 1] of latents, on the CPU."""
    return in_blocks(lambda z, y=None: model.decode(z, y, options), model.device, z, *_with_labels(y))


@torch.no_grad()
def encode(model: Encodes, x: Tensor, y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
    """Return the latents of uint8 images, on the CPU."""
    return in_blocks(lambda x, y=None: model.encode(x, y, options), model.device, x, *_with_labels(y))


def latents(model: Decodes, seed: int, n: int, options: SamplingOptions | None = None) -> Tensor:
    """Return the latents z of the images 0 to n - 1 of this seed, [n, *latent_shape]."""
    return model.latent(noise(model.noise_shapes, seed, n), options)


@torch.no_grad()
def sample(
    model: Samples,
    n: int,
    seed: int = 0,
    options: SamplingOptions | None = None,
    y: Tensor | None = None,
    first: int = 0,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Return the images first, first + 1, ... of this seed, [n, C, H, W] in [0, 1], of the classes y [n].

    Several processes share the blocks out among them.
    """
    if ranks.world > 1:
        a, b = ranks.span(n, BLOCK)
        own = sample(model, b - a, seed, options, None if y is None else y[a:b], first + a) if a < b else None
        return ranks.gather(torch.empty(0, *model.shape) if own is None else own, n, BLOCK)
    options = options if options is not None else model.config.sampling()
    drawn = noise(model.noise_shapes, seed, n, first)
    y = classes_of(model, seed, n, first) if y is None else y

    def draw(*inputs: Tensor) -> Tensor:
        return model.draw(inputs[: len(drawn)], inputs[len(drawn)] if y is not None else None, options)

    return in_blocks(draw, model.device, *drawn, *_with_labels(y))
