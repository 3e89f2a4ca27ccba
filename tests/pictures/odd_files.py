"""Writes a folder of odd files: python tests/pictures/odd_files.py FOLDER [N].

Damaged, empty and mislabelled pictures, bombs, FIFOs, links in a loop or to devices, names with newlines or of other
encodings, what systems leave, and sound pictures of every format and mode among them.
"""

from __future__ import annotations

import io
import os
import random
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

KINDS: dict[str, tuple[str, dict[str, Any]]] = {  # ending -> Pillow's format and options
    "png": ("PNG", {}),
    "jpg": ("JPEG", {}),
    "gif": ("GIF", {}),
    "webp": ("WEBP", {}),
    "bmp": ("BMP", {}),
    "tif": ("TIFF", {}),
    "lzw.tif": ("TIFF", {"compression": "tiff_lzw"}),
    "ppm": ("PPM", {}),
    "jp2": ("JPEG2000", {}),
    "ico": ("ICO", {}),
    "pdf": ("PDF", {}),
    "eps": ("EPS", {}),
}
MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"]


def sound(chance: random.Random) -> tuple[str, bytes]:
    """Return an ending and the bytes of a picture in a random mode and format."""
    while True:
        ending, (kind, options) = chance.choice(list(KINDS.items()))
        mode, size = chance.choice(MODES), (chance.randint(1, 90), chance.randint(1, 90))
        noise = Image.frombytes("L", size, chance.randbytes(size[0] * size[1]))
        file = io.BytesIO()
        try:
            picture = noise.convert("RGB").convert(mode) if mode not in ("I;16", "LAB") else Image.new(mode, size)
            exif = Image.Exif()
            exif[0x0112] = chance.randint(1, 8)
            more = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF") and chance.random() < 0.3 else {}
            picture.save(file, format=kind, **options, **more)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no such mode in this format
        return ending, file.getvalue()


def damaged(chance: random.Random) -> tuple[str, bytes]:
    """Return a picture that is cut, or some of whose bytes are others."""
    ending, content = sound(chance)
    spoiled = bytearray(content)
    for _ in range(chance.choice([1, 4, 40])):
        spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
    if chance.random() < 0.5:
        del spoiled[chance.randrange(len(spoiled)) :]
    return ending, bytes(spoiled)


def bomb(chance: random.Random) -> tuple[str, bytes]:
    """Return a PNG file of few bytes that promises very many pixels, or a text chunk that unpacks to very much."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = chance.choice([9_000, 15_000, 60_000, 2**31 - 1])
    large = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    text = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)) + chunk(
        b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 24))
    )
    head = chance.choice([large, text])
    return "png", b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")


def content(chance: random.Random) -> tuple[str, bytes]:
    """Return an ending and bytes of one of the kinds."""
    make: Callable[[random.Random], tuple[str, bytes]] = chance.choices([sound, damaged, bomb], [4, 8, 1])[0]
    ending, data = make(chance)
    if chance.random() < 0.1:
        ending = chance.choice([*KINDS, "svg", "heic", "txt", "npz", ""])
    return ending, chance.choices([data, b"", chance.randbytes(300)], [10, 1, 1])[0]


def odd(path: Path, chance: random.Random) -> None:
    """Make something at a path that is no regular file."""
    what = chance.choice(["fifo", "loop", "up", "zero", "null", "nowhere", "folder", "closed", "sparse"])
    if what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what in ("closed", "sparse"):
        with path.open("wb") as file:
            file.truncate(1 << 40 if what == "sparse" else 10)
        path.chmod(0o600 if what == "sparse" else 0)
    else:
        targets = {"loop": path.name, "up": "..", "zero": "/dev/zero", "null": "/dev/null", "nowhere": "nowhere"}
        path.symlink_to(targets[what])


def write(folder: Path, n: int, seed: int = 0) -> None:
    """Write n odd files into the folder and its sub-folders."""
    chance = random.Random(seed)
    classes = ["a", "b c", "\u00e9t\u00e9", os.fsdecode(b"\xff\xfe"), "new\nline", "a/deeper"]
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i in range(n):
        ending, data = content(chance)
        stems = [
            f"{i}",
            f"._{i}",
            f"new\nline {i}",
            os.fsdecode(b"\xe9 ") + f"{i}",
            f"\u202e{i}",
            f"-{i}",
            f"{i} %s {{}}",
        ]
        stem = chance.choices(stems, [30, 1, 1, 1, 1, 1, 1])[0]
        path = folder / chance.choice(classes) / (f"{stem}.{ending}" if ending else stem)
        if chance.random() < 0.06:
            odd(path, chance)
        else:
            path.write_bytes(data)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
