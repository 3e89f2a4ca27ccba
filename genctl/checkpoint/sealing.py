"""The seal of a file: a SHA-256 of all of it, with the digest's own characters and the run's id zeroed."""

from __future__ import annotations

import hashlib
import json
from typing import BinaryIO

NO_DIGEST = "0" * 64
NO_RUN = "0" * 32
PIECE = 1 << 22  # bytes of a file that are digested at once


def seal(data: bytes, manifest: str, run: str) -> bytes:
    """Return a safetensors file with a canonical header that carries a manifest, the digest, and a run's id if any."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    by_offset = sorted(header.items(), key=lambda item: (item[1]["data_offsets"], item[0]))
    metadata = {"genctl": manifest, "sha256": NO_DIGEST} | ({"run": NO_RUN} if run else {})
    text = json.dumps({"__metadata__": metadata, **dict(by_offset)}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    blank = len(text).to_bytes(8, "little") + text + data[8 + length :]
    place = digest_place(text)
    sealed = blank[: 8 + place] + hashlib.sha256(blank).hexdigest().encode() + blank[8 + place + 64 :]
    return with_run(sealed, NO_RUN, run) if run else sealed


def digest(file: BinaryIO, header_size: int, run: str) -> str:
    """Return the digest that a file should carry, of a header of so many bytes and a run's id ("" for none)."""
    file.seek(0)
    start = file.read(header_size)
    start = with_run(start, run, NO_RUN) if run else start
    place = 8 + digest_place(start[8:])
    sha = hashlib.sha256(start[:place] + NO_DIGEST.encode() + start[place + 64 :])
    while piece := file.read(PIECE):
        sha.update(piece)
    return sha.hexdigest()


def with_run(data: bytes, old: str, new: str) -> bytes:
    """Return a header, or what starts with one, with one run's id for another: no other text in it looks so."""
    return data.replace(f'"run":"{old}"'.encode(), f'"run":"{new}"'.encode(), 1)


def digest_place(text: bytes) -> int:
    """Return where the digest's characters start in the header's JSON."""
    marker = b'"sha256":"'
    return text.find(marker) + len(marker)
