"""Splits that do not leak: pictures in the order of their digests, and divided by them.

The digest is that of the decoded pixels, before any resizing. Where there is no test part, the pictures whose digest
lies in the last tenth of all digests are the test part, and those of the tenth before it validation. So a new picture
never moves an old one from test to training, and exact duplicates lie on one side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from .layout import ORDER

TENTH = (1 << 64) / 10
DIGEST_BYTES = 32
Digests = NDArray[numpy.uint8]  # [N, 32]


class Arranged(NamedTuple):
    """The order of pictures, training first, then validation, then test; and how many of each."""

    order: NDArray[numpy.int64]
    counts: tuple[int, int, int]
    rule: str  # how they were divided


def digest(pixels: NDArray[numpy.uint8]) -> bytes:
    """Return the SHA-256 of one picture's shape and pixels [H, W, C]."""
    sha = hashlib.sha256(str(pixels.shape).encode())
    sha.update(numpy.ascontiguousarray(pixels).data)
    return sha.digest()


def arrange(digests: Digests, labels: NDArray[numpy.int64] | None, parts: Sequence[str]) -> Arranged:
    """Order pictures by part, digest and label; parts are "" where the digest decides, or names of ORDER."""
    words = digests.copy().view(">u8").astype(numpy.uint64)  # [N, 4]
    tenth = numpy.minimum(words[:, 0].astype(numpy.float64) / TENTH, 9.5).astype(numpy.int64)  # 0 to 9
    given = set(parts)
    part = numpy.array([ORDER.index(p) if p else 0 for p in parts], dtype=numpy.int64)
    if given == {""}:
        part = numpy.where(tenth == 9, 2, numpy.where(tenth == 8, 1, 0))
        rule = "by digest: the last tenth is test, the tenth before it validation"
    elif "validation" not in given:
        part = numpy.where((part == 0) & (tenth == 9), 1, part)
        rule = "test as given; validation by digest: the last tenth of the rest"
    elif "test" not in given:
        part = numpy.where((part == 0) & (tenth == 9), 2, part)
        rule = "validation as given; test by digest: the last tenth of the rest"
    else:
        rule = "as given"
    last = numpy.zeros(len(words), dtype=numpy.int64) if labels is None else labels
    order = numpy.lexsort((last, *words.T[::-1], part))
    counts = numpy.bincount(part, minlength=3)
    return Arranged(order, (int(counts[0]), int(counts[1]), int(counts[2])), rule)


def held_out(digests: Digests, n: int) -> int:
    """Return where the last n pictures start, moved on so that no exact duplicates lie on both sides."""
    start = len(digests) - n
    while 0 < start < len(digests) and bool((digests[start] == digests[start - 1]).all()):
        start += 1
    return start


def duplicates(
    digests: Digests, labels: NDArray[Any] | None, parts: Sequence[str], names: Sequence[str]
) -> dict[str, Any]:
    """Return how many pictures are exact copies of others, which, and how many have two classes or lie in two parts."""
    _, first, group, counts = numpy.unique(
        digests.copy().view(f"V{DIGEST_BYTES}").ravel(), return_index=True, return_inverse=True, return_counts=True
    )
    groups: dict[int, list[int]] = {}
    for i in numpy.flatnonzero(counts[group] > 1).tolist():
        groups.setdefault(int(group[i]), []).append(i)
    return {
        "copies": int(len(digests) - len(first)),
        "groups": [[names[i] for i in members] for members in groups.values()],
        "of_two_classes": sum(labels is not None and len({int(labels[i]) for i in g}) > 1 for g in groups.values()),
        "in_two_parts": sum(len({parts[i] for i in g}) > 1 for g in groups.values()),
    }
