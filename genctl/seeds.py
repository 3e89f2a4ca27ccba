"""Randomness without carried state: every draw has a generator seeded by what it is for."""

from __future__ import annotations

import hashlib

import torch


def seed_for(*purpose: str | int) -> int:
    """Return 63 bits that depend on the purpose alone, such as ("sample", seed, i)."""
    name = "\x1f".join(map(str, purpose)).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) >> 1


def generator(*purpose: str | int) -> torch.Generator:
    """Return a CPU generator for this purpose."""
    return torch.Generator().manual_seed(seed_for(*purpose))


def seed_step(device: torch.device, *purpose: str | int) -> None:
    """Seed the default generators of the CPU and of the device, which a training step draws from."""
    seed = seed_for(*purpose)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
