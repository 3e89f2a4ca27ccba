"""A small decoder as operations and numbers, for a page that evaluates it without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..models.blocks import ByClass, ClassGaussian, FromSigned
from ..models.vae.prior import FlowPrior

MOST_NUMBERS = 600_000  # weights: 3.2 MB of a page
MOST_PRODUCTS = 20_000_000  # multiplications for an image: a few hundredths of a second of a script
MAPS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    FromSigned: "unsigned",
}


class Unknown(Exception):
    """A layer that is not exported."""


class Exported:
    """Operations in their order, and the weights that they name by place and number."""

    def __init__(self) -> None:
        self.operations: list[dict[str, Any]] = []
        self.numbers: list[Tensor] = []  # float32, flat
        self.stored = 0
        self.products = 0

    def add(self, op: str, *, products: int = 0, weights: Mapping[str, Tensor | None], **sizes: Any) -> None:
        """Add an operation with its sizes and weights."""
        self.products += products
        placed = {name: self.place(t) for name, t in weights.items() if t is not None}
        self.operations.append({"op": op, **sizes, **placed})

    def place(self, weight: Tensor) -> list[int]:
        """Store a weight; return its place and number."""
        start = self.stored
        self.numbers.append(weight.detach().float().cpu().flatten())
        self.stored += weight.numel()
        return [start, weight.numel()]

    def bytes(self) -> bytes:
        """Return the weights, float32 and little-endian."""
        return torch.cat(self.numbers).numpy().astype("<f4").tobytes() if self.numbers else b""


def exported(layers: Sequence[nn.Module], of_class: int | None = None) -> Exported | None:
    """Return the layers of a decoder, of one class if it is conditional; None for one that is large or unknown."""
    if not layers or sum(p.numel() for layer in layers for p in layer.parameters()) > MOST_NUMBERS:
        return None
    found, places = Exported(), 1
    try:
        for layer in layers:
            places = _add(found, layer, of_class, places)
    except Unknown:
        return None
    return found if found.products <= MOST_PRODUCTS else None


def _add(found: Exported, layer: nn.Module, of_class: int | None, places: int) -> int:
    """Add a layer; take and return the places of an image that a channel has now."""
    if isinstance(layer, nn.Linear):
        sizes = {"inputs": layer.in_features, "outputs": layer.out_features}
        weights = {"weight": layer.weight, "bias": layer.bias}
        found.add("linear", products=layer.weight.numel(), weights=weights, **sizes)
    elif isinstance(layer, nn.Unflatten):
        shape = [int(n) for n in layer.unflattened_size]
        found.add("shape", weights={}, shape=shape)
        return shape[1] * shape[2]
    elif isinstance(layer, nn.ConvTranspose2d):
        return _spread(found, layer, places)
    elif isinstance(layer, FlowPrior):
        for net, start, to in layer.undone():
            _coupling(found, net, {"from": start, "to": to}, of_class)
    elif isinstance(layer, nn.LeakyReLU):
        found.add("leaky", weights={}, slope=layer.negative_slope)
    elif type(layer) in MAPS:
        found.add(MAPS[type(layer)], weights={})
    else:
        scale, shift = _affine(layer, of_class)
        found.add("affine", weights={"scale": scale, "shift": shift})
    return places


def _coupling(found: Exported, net: nn.Sequential, places: Mapping[str, int], of_class: int | None) -> None:
    """Add the inverse of a coupling whose network has one hidden layer, which sees the class."""
    into, *seen, _, out = net
    assert isinstance(into, nn.Linear) and isinstance(out, nn.Linear)  # noqa: S101
    bias = into.bias if not seen else into.bias + _affine(seen[0], of_class)[1]
    weights = {"weight": into.weight, "bias": bias, "last": out.weight, "offset": out.bias}
    sizes = {"stays": into.in_features, "moves": out.out_features // 2, "hidden": into.out_features, **places}
    found.add("coupling", products=into.weight.numel() + out.weight.numel(), weights=weights, **sizes)


def _spread(found: Exported, layer: nn.ConvTranspose2d, places: int) -> int:
    """Add a transposed convolution; return the places of a channel behind it."""
    if isinstance(layer.padding, str):
        raise Unknown
    (kernel, other), (stride, across), (padding, beside) = layer.kernel_size, layer.stride, layer.padding
    plain = (layer.groups, layer.dilation, layer.output_padding) == (1, (1, 1), (0, 0))
    if not plain or (kernel, stride, padding) != (other, across, beside) or kernel - 2 * padding != stride:
        raise Unknown  # then an image grows by the stride alone
    sizes = {"inputs": layer.in_channels, "outputs": layer.out_channels}
    weights = {"weight": layer.weight, "bias": layer.bias}
    steps = {"kernel": kernel, "stride": stride, "padding": padding}
    found.add("spread", products=layer.weight.numel() * places, weights=weights, **sizes, **steps)
    return places * stride**2


def _affine(layer: nn.Module, of_class: int | None) -> tuple[Tensor, Tensor]:
    """Return scale and shift of each channel, of a layer that is no more than that."""
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.running_mean is not None:
        assert layer.running_var is not None and layer.weight is not None  # noqa: S101 - the usual, affine kind
        scale = layer.weight / (layer.running_var + layer.eps).sqrt()
        return scale, layer.bias - scale * layer.running_mean
    if isinstance(layer, ByClass) and of_class is not None:
        shift = layer.embedding[of_class]
        return torch.ones_like(shift), shift
    if isinstance(layer, ClassGaussian) and of_class is not None:
        return layer.log_sigma[of_class].exp(), layer.mu[of_class]
    raise Unknown
