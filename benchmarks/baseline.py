"""What a script per model does: torchvision's MNIST through a DataLoader, and the same networks trained the plain way.

The networks have the sizes of genctl's `mlp` forms. What differs is what such scripts do: images become floats one by
one in the loader, Adam is torch's default, the GAN makes its fakes twice and passes real and fake apart, the flow has
all 784 inputs behind a mask and two networks a coupling.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Step = Callable[[Tensor], None]  # images [N, 1, 28, 28] in [0, 1]


def unpack(root: Path) -> None:
    """Lay the built-in MNIST out as torchvision expects it."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in files("genctl.data").joinpath("mnist").iterdir():
        if packed.name.endswith(".gz"):
            (raw / packed.name.removesuffix(".gz")).write_bytes(gzip.decompress(packed.read_bytes()))


def batches(root: Path, batch_size: int, workers: int) -> Iterator[Tensor]:
    """Yield shuffled batches of the first 50,000 images, epoch after epoch."""
    from torchvision import datasets, transforms

    mnist = datasets.MNIST(root, transform=transforms.ToTensor())
    train = torch.utils.data.Subset(mnist, range(50_000))
    loader = torch.utils.data.DataLoader(
        train, batch_size, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )
    while True:
        for x, _ in loader:
            yield x


def mlp(*sizes: int, between: Callable[[int], list[nn.Module]]) -> nn.Sequential:
    """Return linear layers with something after each but the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), *between(outputs)]
    return nn.Sequential(*layers[: -len(between(1)) or None])


def vae() -> Step:
    """Return a step of a 784-500-20 VAE."""
    encoder = mlp(784, 500, 40, between=lambda _: [nn.ReLU()])
    decoder = mlp(20, 500, 784, between=lambda _: [nn.ReLU()])
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)

    def step(x: Tensor) -> None:
        x = torch.bernoulli(x.view(-1, 784))
        mu, logvar = encoder(x).chunk(2, dim=1)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        nll = F.binary_cross_entropy(torch.sigmoid(decoder(z)), x, reduction="sum")
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        adam.zero_grad()
        ((nll + kl) / len(x)).backward()
        adam.step()

    return step


def gan() -> Step:
    """Return a step of a GAN with genctl's fully connected networks."""
    G = mlp(100, 128, 256, 512, 1024, 784, between=lambda n: [nn.BatchNorm1d(n), nn.LeakyReLU(0.2)])
    D = mlp(784, 512, 256, 1, between=lambda _: [nn.LeakyReLU(0.2)])
    adam_D, adam_G = (torch.optim.Adam(p.parameters(), lr=2e-4, betas=(0.5, 0.999)) for p in (D, G))

    def step(x: Tensor) -> None:
        x, n = 2 * x.view(-1, 784) - 1, len(x)
        real, fake = 1 - 0.2 * torch.rand(n, 1), 0.2 * torch.rand(n, 1)
        adam_D.zero_grad()
        d_loss = F.binary_cross_entropy_with_logits(D(x), real)
        d_loss = d_loss + F.binary_cross_entropy_with_logits(D(torch.tanh(G(torch.randn(n, 100))).detach()), fake)
        d_loss.backward()
        adam_D.step()
        adam_G.zero_grad()
        g_loss = F.binary_cross_entropy_with_logits(D(torch.tanh(G(torch.randn(n, 100)))), torch.ones(n, 1))
        g_loss.backward()
        adam_G.step()

    return step


def realnvp() -> Step:
    """Return a step of eight masked fully connected couplings."""
    mask = (torch.arange(784) // 28 + torch.arange(784) % 28) % 2
    masks = [(mask if i % 2 else 1 - mask).float() for i in range(8)]
    networks = nn.ModuleList(mlp(784, 1024, 1024, 2 * 784, between=lambda _: [nn.ReLU()]) for _ in masks)
    adam = torch.optim.Adam(networks.parameters(), lr=1e-4)

    def step(x: Tensor) -> None:
        y = (255 * x.view(-1, 784) + torch.rand(len(x), 784)) / 256
        p = 0.5e-5 + (1 - 1e-5) * y
        z, log_det = torch.log(p) - torch.log(1 - p), -(torch.log(p) + torch.log(1 - p)).sum(1)
        for b, network in zip(masks, networks, strict=True):
            s, t = network(b * z).chunk(2, dim=1)
            s = (1 - b) * torch.tanh(s)
            z = b * z + (1 - b) * (z * torch.exp(s) + t)
            log_det = log_det + s.sum(1)
        adam.zero_grad()
        (0.5 * z.pow(2).sum(1) - log_det).mean().backward()
        adam.step()

    return step


STEPS = {"vae": vae, "gan": gan, "realnvp": realnvp}
