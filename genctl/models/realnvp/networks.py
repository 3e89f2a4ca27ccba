"""The flow of couplings, one builder per --arch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import UsageError
from ...types import Shape
from ..blocks import Stack, halvings, sees_class
from .bijections import Bijection, Chain, Flatten, MultiScale, Rearrange, SpaceToDepth, Standardize
from .config import RealNVPConfig
from .mixture import coupling
from .steps import Mix


def zero(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    """Return the layer with all weights zero, so that its coupling starts as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int, outputs: int | None = None) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, outputs or channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of x's shape [N, channels, H, W]."""
        return x + self.body(x)


class GatedBlock(ResidualBlock):
    """x + a sigmoid(g), [a, g] = conv(relu(conv(relu(x)))): a block can leave its input alone."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of x's shape [N, channels, H, W]."""
        return x + F.glu(self.body(x), dim=1)


BLOCKS = {"residual": ResidualBlock, "gated": GatedBlock}


def residual_network(
    inputs: int, outputs: int, channels: int, blocks: int, kind: str = "residual", classes: int = 0
) -> nn.Module:
    """Return s and t of a convolutional coupling: [N, inputs, H, W] -> [N, outputs, H, W]."""
    return Stack(
        nn.Conv2d(inputs, channels, 3, padding=1),
        *sees_class(classes, channels, 0),
        *[BLOCKS[kind](channels) for _ in range(blocks)],
        nn.ReLU(inplace=True),
        zero(nn.Conv2d(channels, outputs, 3, padding=1)),
    )


class FullyConnected(Stack):
    """Layers that see all of their input."""


def fully_connected(inputs: int, outputs: int, hidden: int, classes: int = 0) -> FullyConnected:
    """Return s and t of a flat coupling: [N, inputs] -> [N, outputs]."""
    return FullyConnected(
        nn.Linear(inputs, hidden),
        *sees_class(classes, hidden, 0),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
        zero(nn.Linear(hidden, outputs)),
    )


def fully_connected_image(shape: Shape, hidden: int, classes: int = 0) -> nn.Module:
    """Return s and t of a coupling that sees the whole image: [N, C, H, W] -> [N, 2C, H, W]."""
    C, H, W = shape
    network = fully_connected(prod(shape), 2 * prod(shape), hidden, classes)
    return FullyConnected(nn.Flatten(), *network, nn.Unflatten(1, (2 * C, H, W)))


def checkerboard(shape: Shape) -> tuple[list[int], tuple[int, int]]:
    """Return the flat positions of the even squares then the odd ones, and how many there are of each."""
    C, H, W = shape
    parity = (torch.arange(H, device="cpu")[:, None] + torch.arange(W, device="cpu")) % 2
    order = parity.expand(C, H, W).flatten().argsort(stable=True).tolist()
    odd = C * int(parity.sum())
    return order, (prod(shape) - odd, odd)


def mlp(config: RealNVPConfig, shape: Shape) -> Bijection:
    """Return checkerboard couplings of the flat image; each square colour steers the other in turn."""
    if prod(shape) < 2:
        raise UsageError("a coupling needs at least two pixels.")
    order, sizes = checkerboard(shape)
    couplings = []
    for i in range(config.depth):
        inputs, outputs = sizes if i % 2 == 0 else sizes[::-1]
        network = fully_connected(inputs, (2 + 3 * config.logistics) * outputs, config.hidden, config.kinds)
        couplings.append(coupling(network, sizes, i % 2 == 0, False, config.logistics))
    return Chain(Flatten(shape), Rearrange(order), *couplings)


def in_turn(networks: Sequence[nn.Module], half: int, K: int) -> list[Bijection]:
    """Return couplings between the first and the second half of the channels, each half moved in turn.

    Those of convolutions move it by mixtures of K logistics, if K is not 0; those that see the whole image are affine.
    """
    mixed = [0 if isinstance(network, FullyConnected) else K for network in networks]
    return [coupling(each, (half, half), i % 2 == 0, True, mixed[i]) for i, each in enumerate(networks)]


def squeeze(n: int) -> Chain:
    """Return [N, C, H, W] -> [N, 4^n C, H/2^n, W/2^n]: each block of 2^n x 2^n pixels becomes channels."""
    return Chain(*(SpaceToDepth() for _ in range(n)))


SIDES: Sequence[Callable[[Tensor, Tensor], Tensor]] = (  # which half a pixel of a block is in, by its row and column
    lambda row, column: (row + column) % 2,  # squares
    lambda row, column: row % 2,
    lambda row, column: column % 2,
    lambda row, column: (row // 2 + column // 2) % 2,  # squares of 2 x 2 pixels
)


def partitions(C: int, n: int) -> list[list[int]]:
    """Return for each of SIDES the 4^n C squeezed channels, those of its half 0 first."""
    side = 1 << n
    block = torch.arange(float(side * side), device="cpu").reshape(1, 1, side, side)
    place = squeeze(n)(block.expand(1, C, side, side))[0].flatten().long()
    return [half(place // side, place % side).argsort(stable=True).tolist() for half in SIDES]


def conv(config: RealNVPConfig, shape: Shape) -> Bijection:
    """Return couplings between halves of the pixels, all of them on blocks of 2^n x 2^n pixels as channels.

    For an image of 28 or 32 these are blocks of 4 x 4. The partitions are those of the image (squares, rows, columns),
    but a convolution over blocks has few places with many channels, which a CPU multiplies fast, and three of them see
    20 x 20 pixels. After each pair of couplings the halves are drawn anew: by the next partition, or by a learned
    mixing of the channels.
    """
    C, H, W = shape
    n = halvings(config.arch, shape)
    K, h, w = C << 2 * n, H >> n, W >> n  # channels and places

    def local() -> nn.Module:
        outputs = (2 + 3 * config.logistics) * (K // 2)
        return residual_network(K // 2, outputs, config.channels, config.blocks, config.network, config.kinds)

    def whole() -> nn.Module:
        return fully_connected_image((K // 2, h, w), config.global_hidden, config.kinds)

    networks = [local() for _ in range(config.couplings)] + [whole() for _ in range(config.global_couplings)]
    parts: list[Bijection] = [squeeze(n)]
    orders, now = partitions(C, n), list(range(K))
    for start in range(0, len(networks), 2):
        if config.mixing == "permute" or start == 0:
            order = orders[start // 2 % len(orders)]
            place = {channel: i for i, channel in enumerate(now)}
            parts.append(Rearrange([place[channel] for channel in order]))
            now = order
        else:
            parts += [Standardize((K, 1, 1)), Mix(K)]
        parts += in_turn(networks[start : start + 2], K // 2, config.logistics)
    return Chain(*parts, Flatten((K, h, w)))


def multi_scale(config: RealNVPConfig, shape: Shape) -> Bijection:
    """Return n scales: checkerboard, squeeze, channel, global couplings; then each split, squeeze, channel couplings.

    One squeeze turns the checkerboard of H x W into a split of channels, the corners 0 and 3 of
    each 2 x 2 block against 1 and 2: the same partition at half the resolution. Convolutions see
    the strokes; the few fully connected couplings see the digit, and make samples of one piece.
    """
    C, H, W = shape
    scales = halvings(config.arch, shape)
    corners = [[4 * c + k for c in range(C)] for k in range(4)]  # channels of each corner of a block
    squares = Rearrange(corners[0] + corners[3] + corners[1] + corners[2])
    to_rows = [C * place + c for place in (0, 2, 3, 1) for c in range(C)]  # corners 0 and 1, then 2 and 3
    to_squares = [C * place + c for place in (0, 3, 1, 2) for c in range(C)]  # and back
    half, n, logistics = 2 * C, config.couplings, config.logistics

    def local(channels: int) -> list[Bijection]:
        sizes = (channels, (2 + 3 * logistics) * channels, config.channels, config.blocks)
        networks = [residual_network(*sizes, config.network, config.kinds) for _ in range(n)]
        return in_turn(networks, channels, logistics)

    first = [SpaceToDepth(), squares, *local(half)]
    first += [Rearrange(to_rows), *local(half)]
    for start in range(0, config.global_couplings, 2):
        if start:
            first.append(Rearrange(to_squares if start % 4 else to_rows))
        pair = range(start, min(start + 2, config.global_couplings))
        whole = [fully_connected_image((half, H // 2, W // 2), config.global_hidden, config.kinds) for _ in pair]
        first += in_turn(whole, half, logistics)
    stages, shapes = [Chain(*first)], [(4 * C, H >> 1, W >> 1)]
    for scale in range(2, scales + 1):
        K = C << scale + 1  # channels: half of the last scale's leave, and the squeeze makes four of each
        stages.append(Chain(SpaceToDepth(), *local(K // 2)))
        shapes.append((K, H >> scale, W >> scale))
    return MultiScale(stages, shapes)


BUILDERS = {"conv": conv, "mlp": mlp, "multiscale": multi_scale}
