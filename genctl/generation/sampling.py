"""Drawing images: image i depends on the weights, the seed and i alone, whatever is drawn beside it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..models.base import Decodes, Encodes
from ..seeds import generator

BLOCK = 64  # images decoded together, the last block padded: a result may depend on the size of its batch


def noise(model: Decodes, seed: int, n: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """Return z [n, *latent_shape] ~ N(0, I) and u [n, C, H, W] ~ U[0, 1) of the images first, first + 1, ..."""
    z, u = torch.empty(n, *model.latent_shape), torch.empty(n, *model.shape)
    for i in range(n):
        own = generator("sample", seed, first + i)
        z[i].normal_(generator=own)
        u[i].uniform_(generator=own)
    return z, u


def _in_blocks(function: Callable[..., Tensor], device: torch.device, *inputs: Tensor) -> Tensor:
    parts = []
    for blocks in zip(*(x.split(BLOCK) for x in inputs), strict=True):
        n = len(blocks[0])
        padded = [torch.cat([x, x[:1].expand(BLOCK - n, *x.shape[1:])]).to(device) for x in blocks]
        parts.append(function(*padded)[:n].cpu())
    return torch.cat(parts)


@torch.no_grad()
def decode(model: Decodes, z: Tensor) -> Tensor:
    """Return the mean images [N, C, H, W] in [0, 1] of latents, on the CPU."""
    return _in_blocks(model.decode, model.device, z)


@torch.no_grad()
def encode(model: Encodes, x: Tensor) -> Tensor:
    """Return the latents of uint8 images, on the CPU."""
    return _in_blocks(model.encode, model.device, x)


@torch.no_grad()
def sample(
    model: Decodes, n: int, seed: int = 0, temperature: float = 1.0, means: bool = False, first: int = 0
) -> Tensor:
    """Return the images first, first + 1, ... of this seed, [n, C, H, W] in [0, 1]; means leaves out the last draw."""
    z, u = noise(model, seed, n, first)
    z = temperature * z
    return decode(model, z) if means else _in_blocks(model.draw, model.device, z, u)
