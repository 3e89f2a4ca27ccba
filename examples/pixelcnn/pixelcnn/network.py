"""A causal transformer over pixels (Vaswani et al. 2017, arXiv:1706.03762; norm first), whole or a step at a time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Cache = tuple[Tensor, Tensor]  # keys and values of a layer, [N, heads, T, width / heads] each


class Layer(nn.Module):
    """h + attention(norm h), then h + mlp(norm h)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))

    def project(self, h: Tensor) -> list[Tensor]:
        """Return queries, keys and values [N, heads, T, width / heads] of h [N, T, width]."""
        return [
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.norm_attention(h)).chunk(3, 2)
        ]

    def finish(self, h: Tensor, attended: Tensor) -> Tensor:
        """Return the layer's output of its input and what was attended to."""
        h = h + self.out(attended.transpose(1, 2).flatten(2))
        return h + self.mlp(self.norm_mlp(h))

    def forward(self, h: Tensor) -> Tensor:
        """Map h [N, T, width] to the same shape; place t sees the places up to t."""
        q, k, v = self.project(h)
        return self.finish(h, F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def step(self, h: Tensor, t: int, cache: Cache) -> Tensor:
        """Return the output of place t alone, for its input h [N, 1, width]; its keys and values join the cache."""
        q, k, v = self.project(h)
        keys, values = cache
        keys[:, :, t : t + 1], values[:, :, t : t + 1] = k, v
        return self.finish(h, F.scaled_dot_product_attention(q, keys[:, :, : t + 1], values[:, :, : t + 1]))


class Transformer(nn.Module):
    """Layers, and the logits of the next of 256 levels."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 256))

    def forward(self, h: Tensor) -> Tensor:
        """Map inputs [N, T, width] to logits [N, T, 256]."""
        for layer in self.layers:
            h = layer(h)
        logits: Tensor = self.head(h)
        return logits

    def caches(self, h: Tensor, T: int) -> list[Cache]:
        """Return an empty cache for each layer, for N images of inputs h [N, 1, width]."""
        found = []
        for layer in self.layers:
            _, k, _ = layer.project(h)  # type: ignore[operator]
            empty = k.new_zeros(len(h), k.shape[1], T, k.shape[3])
            found.append((empty, torch.zeros_like(empty)))
        return found

    def step(self, h: Tensor, t: int, caches: list[Cache]) -> Tensor:
        """Return the logits [N, 256] of place t for its input h [N, 1, width]."""
        for layer, cache in zip(self.layers, caches, strict=True):
            h = layer.step(h, t, cache)  # type: ignore[operator]
        logits: Tensor = self.head(h)[:, 0]
        return logits
