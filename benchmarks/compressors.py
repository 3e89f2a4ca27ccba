"""What general compressors make of a data set's test pixels, in bits/dim: the scale for a flow's.

python -m benchmarks.compressors [DATASET] [SIZE]      mnist, if nothing else is said
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys

from genctl.data import load
from genctl.pictures.reading import Reading

COMPRESSORS = {
    "xz": lambda pixels: lzma.compress(pixels, preset=9 | lzma.PRESET_EXTREME),
    "bz2": lambda pixels: bz2.compress(pixels, 9),
    "gzip": lambda pixels: gzip.compress(pixels, 9),
}


def main(dataset: str = "mnist", size: str | None = None) -> None:
    """Print bits/dim of each compressor on the whole test part as one file, channel by channel and pixel by pixel."""
    side = int(size) if size else None
    test = load(dataset, reading=Reading(size=(side, side) if side else None)).test.pixels
    orders = {"N, C, H, W": test, "N, H, W, C": test.permute(0, 2, 3, 1)}
    if test.shape[1] == 1:
        del orders["N, H, W, C"]
    for order, pixels in orders.items():
        raw = pixels.contiguous().numpy().tobytes()
        for name, compress in COMPRESSORS.items():
            print(f"{name:5} {8 * len(compress(raw)) / len(raw):.3f} bits/dim of {len(test):,} images [{order}]")


if __name__ == "__main__":
    main(*sys.argv[1:])
