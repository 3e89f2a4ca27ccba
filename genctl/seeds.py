"""Randomness without carried state: every draw has a generator seeded by what it is for."""

from __future__ import annotations

import hashlib
from math import prod

import torch
from torch import Tensor

from .ranks import shares


def seed_for(*purpose: str | int) -> int:
    """Return 63 bits that depend on the purpose alone, such as ("sample", seed, i)."""
    name = "\x1f".join(map(str, purpose)).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) >> 1


def generator(*purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator for this purpose; the same seed draws other numbers on another device."""
    return torch.Generator(device).manual_seed(seed_for(*purpose))


def seed_step(device: torch.device, *purpose: str | int) -> None:
    """Seed the default generators of the CPU and of the device, which a training step draws from."""
    seed = seed_for(*purpose)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def noise(kind: str, shape: tuple[int, ...], device: torch.device, images: int | None = 0) -> Tensor:
    """Return N(0, 1) ("normal") or U[0, 1) ("uniform") draws from the default generator, for a training step.

    The dimension `images` counts images by their place in the batch, or packs of as many as there are fewer rows; with
    None the draws are the same for all images. All noise of training is made here and in random_16_bits: a process
    which has a part of a batch makes the whole batch's and keeps its part.
    """
    draw = torch.randn if kind == "normal" else torch.rand
    return shares.noise(lambda whole: draw(whole, device=device), shape, images)


def random_16_bits(shape: tuple[int, ...], device: torch.device, each: int = 1) -> Tensor:
    """Return uniform int16 draws from the default generator: four of each 64-bit draw, a third of a float's time.

    A row is of `each` images; where several batches of them are judged at once, they lie one after the other.
    """
    return shares.noise(lambda whole: _random_16_bits(whole, device), shape, 0, each)


def _random_16_bits(shape: tuple[int, ...], device: torch.device) -> Tensor:
    n = prod(shape)
    words = torch.empty((n + 3) // 4, dtype=torch.int64, device=device).random_(-(2**63), None)
    return words.view(torch.int16)[:n].view(shape)
