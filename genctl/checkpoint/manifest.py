"""What a checkpoint says of itself: its header, read and sealed with the standard library alone.

A checkpoint is a safetensors file: 8 bytes of header length, a JSON header, the tensors' bytes. The header's
`__metadata__` holds two strings: `genctl`, the manifest as JSON with sorted keys, and `sha256`, the digest of
the whole file with its own 64 characters set to zero. A training state has a third, `run`, the id of its run; the
digest leaves its 32 characters out. The same state is therefore the same bytes but for its run's id, and has the same
digest.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from math import prod
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

FORMAT = 1
MOST_HEADER_BYTES = 8 << 20
MOST_TENSORS = 100_000
MOST_IN_A_DIMENSION = 1 << 31
NO_DIGEST = "0" * 64
NO_RUN = "0" * 32
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
        values = json.loads(text, parse_constant=_no_constant)
        if not isinstance(values, dict):
            raise ValueError("not an object")
        if type(values.get("format")) is int and values["format"] > FORMAT:
            raise ValueError(f"format {values['format']} is newer than this genctl reads; upgrade genctl")
        known = {f.name for f in fields(cls)}
        try:
            manifest = cls(**{name: value for name, value in values.items() if name in known})
        except TypeError as error:
            raise ValueError(str(error)) from error
        for name, kind in KINDS.items():
            if type(getattr(manifest, name)) is not kind:
                raise ValueError(f"its {name} is no {kind.__name__}")
        if len(manifest.shape) != 3 or not all(type(n) is int and 0 < n < MOST_IN_A_DIMENSION for n in manifest.shape):
            raise ValueError(f"its shape {manifest.shape} is no C, H, W")
        C, H, W = manifest.shape
        return replace(manifest, shape=(C, H, W))


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


KINDS = {  # of the manifest's values in JSON
    "model": str,
    "config": dict,
    "train": dict,
    "shape": list,
    "dataset": dict,
    "role": str,
    "step": int,
    "epoch": int,
    "metrics": dict,
    "progress": dict,
    "versions": dict,
    "format": int,
}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


@dataclass(frozen=True)
class Header:
    """The parsed header of a sealed file."""

    manifest: Manifest
    digest: str  # as the file claims it
    tensors: dict[str, dict[str, Any]]  # name -> dtype, shape, data_offsets
    size: int  # bytes of length field and JSON together


def seal(data: bytes, manifest: Manifest) -> bytes:
    """Return a safetensors file with a canonical header that carries the manifest and the file's digest."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    by_offset = sorted(header.items(), key=lambda item: (item[1]["data_offsets"], item[0]))
    run = run_of(manifest)
    metadata = {"genctl": manifest.to_json(), "sha256": NO_DIGEST} | ({"run": NO_RUN} if run else {})
    text = json.dumps({"__metadata__": metadata, **dict(by_offset)}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    blank = len(text).to_bytes(8, "little") + text + data[8 + length :]
    place = _digest_place(text)
    sealed = blank[: 8 + place] + hashlib.sha256(blank).hexdigest().encode() + blank[8 + place + 64 :]
    return _put_run(sealed, NO_RUN, run) if run else sealed


def _put_run(data: bytes, old: str, new: str) -> bytes:
    """Return a header, or what starts with one, with one run's id for another: no other text in it looks so."""
    return data.replace(f'"run":"{old}"'.encode(), f'"run":"{new}"'.encode(), 1)


def _digest_place(text: bytes) -> int:
    """Return where the digest's characters start in the header's JSON."""
    marker = b'"sha256":"'
    place = text.find(marker) + len(marker)
    if place < len(marker):
        raise CheckpointError("the header carries no digest.")
    return place


def verify(data: bytes, header: Header, path: Path) -> None:
    """Raise CheckpointError unless the file's content has the digest that it claims."""
    place = 8 + _digest_place(data[8 : header.size])
    start = _put_run(data[: header.size], run_of(header.manifest), NO_RUN)  # the digest leaves it out
    sha = hashlib.sha256(start[:place])
    sha.update(NO_DIGEST.encode())
    sha.update(start[place + 64 :])
    sha.update(memoryview(data)[header.size :])
    if sha.hexdigest().encode() != data[place : place + 64]:
        raise CheckpointError(f"{path} is damaged: its content does not match its digest; use another copy.")


def read_bytes(path: Path) -> bytes:
    """Return the whole file; raise CheckpointError if it is missing or not a regular file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CheckpointError(f"{path} is not a regular file; a checkpoint is a .safetensors file.")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error


def read(path: Path) -> Manifest:
    """Return the manifest of a checkpoint, reading no more than its header."""
    return read_header(path).manifest


def read_header(path: Path) -> Header:
    """Return the checked header of the file at path, without reading its tensors."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CheckpointError(f"{path} is not a regular file; a checkpoint is a .safetensors file.")
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            data = start + file.read(min(length, MOST_HEADER_BYTES + 1))
            return parse(data, path.stat().st_size, path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error


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
        header = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
        metadata = header.pop("__metadata__", {})
        _check_tensors(header, total - 8 - length)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a sound safetensors file: {error}.") from error
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(f"{path} is not a sound safetensors file: its metadata are not text.")
    if "genctl" not in metadata:
        raise CheckpointError(f"{path} is a safetensors file, but not one of genctl's; genctl reads what it wrote.")
    if "sha256" not in metadata:
        raise CheckpointError(f"{path} carries no digest; genctl reads only what it sealed.")
    try:
        manifest = of_run(Manifest.from_json(metadata["genctl"]), _id_in(metadata))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} has an unreadable manifest: {error}.") from error
    return Header(manifest, str(metadata.get("sha256")), header, 8 + length)


def _id_in(metadata: Mapping[str, str]) -> str:
    run = metadata.get("run", "")
    if run and not re.fullmatch(r"[0-9a-f]{32}", run):
        raise ValueError("its run is no id")
    return run


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _check_tensors(tensors: Mapping[str, Any], total: int) -> None:
    """Raise ValueError unless the tensors fill the data without holes or overlap, as their shapes say."""
    if len(tensors) > MOST_TENSORS:
        raise ValueError("it has too many tensors")
    end = 0
    for name, entry in sorted(tensors.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        shape = entry["shape"]
        name.encode()  # a name that is no text is a ValueError
        if type(shape) is not list or not all(type(n) is int and 0 <= n < MOST_IN_A_DIMENSION for n in shape):
            raise ValueError(f"{name} has an impossible shape")
        if type(start) is not int or type(stop) is not int:
            raise ValueError(f"{name} has an impossible place")
        if entry["dtype"] not in BYTES_OF or start != end or stop - start != prod(shape) * BYTES_OF[entry["dtype"]]:
            raise ValueError(f"{name} does not fit its place")
        end = stop
    if end != total:
        raise ValueError(f"it is cut short or too long: {total:,} bytes of tensors, {end:,} expected")
