"""Drawing images: image i depends on the weights, the seed and i alone, whatever is drawn beside it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .model import Decodes, Encodes
from .seeds import generator

BLOCK = 64  # images decoded together, the last block padded: a result may depend on the size of its batch


def noise(model: Decodes, seed: int, n: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """Return z [n, *latent_shape] ~ N(0, I) and u [n, C, H, W] ~ U[0, 1) of the images first, first + 1, ..."""
    z, u = torch.empty(n, *model.latent_shape), torch.empty(n, *model.shape)
    for i in range(n):
        own = generator("sample", seed, first + i)
        z[i].normal_(generator=own)
        u[i].uniform_(generator=own)
    return z, u


def _in_blocks(function: Callable[[Tensor], Tensor], x: Tensor, device: torch.device) -> Tensor:
    parts = []
    for block in x.split(BLOCK):
        padded = torch.cat([block, block[:1].expand(BLOCK - len(block), *block.shape[1:])])
        parts.append(function(padded.to(device))[: len(block)].cpu())
    return torch.cat(parts)


@torch.no_grad()
def decode(model: Decodes, z: Tensor) -> Tensor:
    """Return the mean images [N, C, H, W] in [0, 1] of latents, on the CPU."""
    return _in_blocks(model.decode, z, model.device)


@torch.no_grad()
def encode(model: Encodes, x: Tensor) -> Tensor:
    """Return the latents of uint8 images, on the CPU."""
    return _in_blocks(model.encode, x, model.device)


def sample(model: Decodes, n: int, seed: int = 0, temperature: float = 1.0, means: bool = False) -> Tensor:
    """Return images 0 to n - 1 of this seed, [n, C, H, W] in [0, 1]; means leaves out the last draw."""
    z, u = noise(model, seed, n)
    mean = decode(model, temperature * z)
    return mean if means else model.draw(mean, u)
