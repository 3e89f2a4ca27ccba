"""What a checkpoint says of itself: its header, read and sealed with the standard library alone.

A checkpoint is a safetensors file: 8 bytes of header length, a JSON header, the tensors' bytes. The header's
`__metadata__` holds two strings: `genctl`, the manifest as JSON with sorted keys, and `sha256`, the digest of
the whole file with its own 64 characters set to zero. A training state has a third, `run`, the id of its run; the
digest leaves its 32 characters out. The same state is therefore the same bytes but for its run's id, and has the same
digest.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import CheckpointError, Edited
from . import schema, sealing
from .schema import DATASET, MODEL, NUMBER, SCALAR, SPLIT, TEXT, VERSIONS, list_of, record, whole

FORMAT = 1
MOST_HEADER_BYTES = 8 << 20
MOST_TENSORS = 100_000
MOST_IN_A_DIMENSION = 1 << 31
MOST_DIMENSIONS = 16
MOST_NUMBERS = 1 << 48  # in a tensor
MOST_PIXELS = 1 << 24  # in an image, its channels together
PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # how a zip and a pickle begin
BYTES_OF = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A checkpoint's account of itself; no time, path or host, so that it depends on the state alone."""

    model: str
    config: dict[str, Any]  # every option of the model
    train: dict[str, Any]  # every option of the training that shaped the weights
    shape: tuple[int, int, int]  # C, H, W
    dataset: dict[str, Any]  # name, digest, images trained on
    role: str  # "weights" or "state"
    step: int
    epoch: int
    metrics: dict[str, float] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)  # of a state: what a resume needs beside tensors
    versions: dict[str, str] = field(default_factory=dict)  # genctl, torch
    format: int = FORMAT

    def to_json(self) -> str:
        """Return the canonical JSON: sorted keys, no spaces, finite numbers."""
        values = {f.name: getattr(self, f.name) for f in fields(Manifest)}
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Return the manifest; raise ValueError for anything that is not one."""
        values = schema.parse(text)
        newer = values.get("format") if isinstance(values, dict) else None
        if type(newer) is int and newer > FORMAT:
            raise ValueError(f"format {newer} is newer than this genctl reads; upgrade genctl")
        KIND.check(values)
        if len(values["shape"]) != 3 or prod(values["shape"]) > MOST_PIXELS:
            raise ValueError(f"its shape {values['shape'][:4]} is no C, H, W of at most {MOST_PIXELS:,} numbers")
        C, H, W = values["shape"]
        known = {f.name for f in fields(cls)}
        return cls(**{**{name: value for name, value in values.items() if name in known}, "shape": (C, H, W)})


KIND = record(  # of a manifest, as JSON has it
    {
        "model": TEXT,
        "config": MODEL,
        "train": record(SPLIT, SCALAR),
        "shape": list_of(whole(1, MOST_IN_A_DIMENSION - 1)),
        "dataset": DATASET,
        "role": TEXT,
        "step": whole(),
        "epoch": whole(),
        "metrics": record(rest=NUMBER).optional(),
        "progress": record({"best": NUMBER.or_null().optional(), "seconds": NUMBER.optional()}, SCALAR).optional(),
        "versions": VERSIONS.optional(),
        "format": whole().optional(),
    }
)
ENTRY = record({"dtype": TEXT, "shape": list_of(whole(0, MOST_IN_A_DIMENSION - 1)), "data_offsets": list_of(whole())})


@dataclass(frozen=True, kw_only=True)
class StateOfRun(Manifest):
    """The account of a training state, which belongs to one run; the run's id is outside the JSON and the digest."""

    run: str  # 32 hexadecimal digits


def of_run(about: Manifest, run: str) -> Manifest:
    """Return a state's manifest with its run's id; runs of an older genctl have none."""
    return StateOfRun(**vars(about), run=run) if run else about


def run_of(about: Manifest) -> str:
    """Return the id of the run that a state belongs to, "" for one of an older genctl and for weights."""
    return about.run if isinstance(about, StateOfRun) else ""


@dataclass(frozen=True)
class Header:
    """The parsed header of a sealed file."""

    manifest: Manifest
    digest: str  # as the file claims it
    tensors: dict[str, dict[str, Any]]  # name -> dtype, shape, data_offsets
    size: int  # bytes of length field and JSON together


def seal(data: bytes, manifest: Manifest) -> bytes:
    """Return a safetensors file with a canonical header that carries the manifest and the file's digest."""
    return sealing.seal(data, manifest.to_json(), run_of(manifest))


def verify(file: BinaryIO, header: Header, path: Path) -> None:
    """Raise Edited unless the file's content has the digest that it claims; it is read in pieces."""
    if sealing.digest(file, header.size, run_of(header.manifest)) != header.digest:
        meant = (
            f", or, if you meant it: genctl verify {path} --reseal OUT" if header.manifest.role == "weights" else "."
        )
        raise Edited(
            f"{path} was edited since it was sealed, or is damaged: its content does not match its digest;"
            f" use another copy{meant}"
        )


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, Header]]:
    """Open a checkpoint whose header is sound; raise CheckpointError if it is missing or not a regular file."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise CheckpointError(f"{path} is not a regular file; a checkpoint is a .safetensors file.")
        with path.open("rb") as file:
            start = file.read(8)
            start += file.read(min(int.from_bytes(start, "little"), MOST_HEADER_BYTES + 1))
            yield file, parse(start, about.st_size, path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error


def check(path: Path) -> Header:
    """Return the header of a whole file: first it is read, then all content is digested, in pieces."""
    with opened(path) as (file, header):
        verify(file, header, path)
        return header


def read(path: Path) -> Manifest:
    """Return the manifest of a checkpoint, reading no more than its header."""
    return read_header(path).manifest


def read_header(path: Path) -> Header:
    """Return the checked header of the file at path, without reading its tensors."""
    with opened(path) as (_, header):
        return header


def parse(data: bytes, total: int, path: Path) -> Header:
    """Return the header at the start of data for a file of `total` bytes; raise CheckpointError if it is not sound."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > MOST_HEADER_BYTES or 8 + length > total:
        if data[:2] in PICKLES:
            raise CheckpointError(
                f"{path} is not a safetensors file (it looks like a PyTorch pickle; genctl never unpickles)."
                " Save its weights with safetensors, or train anew."
            )
        raise CheckpointError(f"{path} is not a checkpoint, or is cut short: its header does not fit into the file.")
    try:
        text = data[8 : 8 + length].decode()
        header = schema.parse(text)
        if not text.startswith("{"):
            raise ValueError("its header is no object")
        metadata = header.pop("__metadata__", {})
        record(rest=TEXT).check(metadata, "__metadata__")
        _check_tensors(header, total - 8 - length)
    except ValueError as error:
        raise CheckpointError(f"{path} is not a sound safetensors file: {error}.") from error
    if "genctl" not in metadata:
        raise CheckpointError(f"{path} is a safetensors file, but not one of genctl's; genctl reads what it wrote.")
    digest, place = metadata.get("sha256", ""), sealing.digest_place(data[8:])
    if not re.fullmatch("[0-9a-f]{64}", digest) or data[8 + place :][:64] != digest.encode():
        raise CheckpointError(f"{path} carries no digest; genctl reads only what it sealed.")
    try:
        manifest = of_run(Manifest.from_json(metadata["genctl"]), _id_in(metadata))
    except ValueError as error:
        raise CheckpointError(f"{path} has an unreadable manifest: {error}.") from error
    return Header(manifest, digest, header, 8 + length)


def _id_in(metadata: Mapping[str, str]) -> str:
    run = metadata.get("run", "")
    if run and not re.fullmatch(r"[0-9a-f]{32}", run):
        raise ValueError("its run is no id")
    return run


def _check_tensors(tensors: Mapping[str, Any], total: int) -> None:
    """Raise ValueError unless the tensors fill the data without holes or overlap, as their shapes say."""
    if len(tensors) > MOST_TENSORS:
        raise ValueError("it has too many tensors")
    for name, entry in tensors.items():
        ENTRY.check(entry, name)
        if len(entry) > 3 or len(entry["data_offsets"]) != 2 or entry["dtype"] not in BYTES_OF:
            raise ValueError(f"{name} is of no kind that genctl reads")
        if len(entry["shape"]) > MOST_DIMENSIONS or prod(max(n, 1) for n in entry["shape"]) > MOST_NUMBERS:
            raise ValueError(f"{name} has an impossible shape")
    end = 0
    for name, entry in sorted(tensors.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        if start != end or stop - start != prod(entry["shape"]) * BYTES_OF[entry["dtype"]]:
            raise ValueError(f"{name} does not fit its place")
        end = stop
    if end != total:
        raise ValueError(f"it is cut short or too long: {total:,} bytes of tensors, {end:,} expected")
