"""Images made elsewhere: a folder or zip of pictures, or an array in an NPZ file, in the shape of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import DataError
from ..pictures import arrays, fitting, gather, pool, splits, store
from ..pictures.decoding import Look
from ..pictures.reading import Reading
from ..pictures.regular import Unreadable, shown, whole
from ..pictures.sources import Folder, Item
from ..pictures.worker import Task, look_of
from ..terminal.reporter import SILENT, Reporter
from ..types import Shape
from . import resize
from .images import Images, digest_of


def read(
    path: Path,
    shape: Shape,
    n: int | None = None,
    reporter: Reporter = SILENT,
    reading: Reading = Reading(),  # noqa: B008 - it is frozen
) -> Tensor:
    """Return the first n images (all by default) as uint8 [N, C, H, W]; raise DataError if they do not fit.

    They are made another size where the reading asks for one, as the data set's own pictures were.
    """
    return _array(path, shape, n, reading) if path.suffix == ".npz" else _pictures(path, shape, n, reporter, reading)


def _array(path: Path, shape: Shape, n: int | None, reading: Reading) -> Tensor:
    """Return the array `images`, or the only one, uint8 [N, H, W, C] or [N, H, W]."""
    arrays_ = arrays.read_npz(path)
    name = "images" if "images" in arrays_ else next(iter(arrays_))
    if len(arrays_) > 1 and name != "images":
        raise DataError(f"{path} holds {', '.join(list(arrays_)[:5])}; name the array of images `images`.")
    found = arrays_[name]
    C, H, W = shape
    if found.ndim == 3:
        found = found[..., None]
    sized = reading.size is not None and C in (1, 3) and found.shape[3:] in ((1,), (3,))
    if found.dtype != "uint8" or found.ndim != 4 or not (sized or found.shape[1:] == (H, W, C)):
        raise DataError(
            f"{path} holds {found.dtype} {list(found.shape)}; images are uint8 [N, {H}, {W}, {C}]"
            f"{f' or [N, {H}, {W}]' if C == 1 else ''}."
        )
    pixels = torch.from_numpy(found[:n].copy()).permute(0, 3, 1, 2).contiguous()
    return resize.fitted((pixels, None), replace(reading, channels=C, size=(H, W)), str(path))[0]


def _pictures(path: Path, shape: Shape, n: int | None, reporter: Reporter, reading: Reading) -> Tensor:
    """Return pictures in the order of their names, as they are meant; resizing, if it is asked for, is judged too."""
    C, H, W = shape
    source, name, reading = store.source_at(path), shown(str(path)), replace(reading, channels=C)
    items = source.items[:n]
    if not items:
        raise gather.nothing_there(name, source, [])
    if C not in (1, 3):
        raise DataError(f"{name} cannot have {C} channels; give images of such data as an .npz file.")
    looks = [_look(answer) for answer in pool.answers(source, items, Task(reading), reporter, "headers")]
    for item, look in zip(items, looks, strict=True):
        if isinstance(look, Look) and look.size != (H, W) and reading.size is None:
            size = f"{look.size[1]} x {look.size[0]}"
            raise DataError(
                f"{name}/{shown(item.name)} has {size} pixels; the data set has {W} x {H}."
                " If both are to be resized: --image-size."
            )
    answers = list(pool.answers(source, items, Task(reading, (H, W), C), reporter, "images"))
    broken = [[shown(i.name), str(a)] for i, a in zip(items, answers, strict=True) if isinstance(a, Unreadable)]
    if broken and reading.skip_broken and len(broken) < len(items):
        reporter.say(f"warning: {name}: {len(broken):,} files were left out (--skip-broken): {gather.listed(broken)}.")
    elif broken:
        raise DataError(
            f"{name}: {len(broken):,} of {len(items):,} files cannot be read as a picture: {gather.listed(broken)}."
            " Mend or remove them, or leave them out with --skip-broken."
        )
    content = bytearray(b"".join(answer[splits.DIGEST_BYTES :] for answer in answers if isinstance(answer, bytes)))
    return torch.frombuffer(content, dtype=torch.uint8).reshape(-1, C, H, W)


def _look(answer: bytes | Unreadable) -> Look | Unreadable:
    return answer if isinstance(answer, Unreadable) else look_of(answer)


def of_files(paths: Sequence[Path], shape: Shape, reading: Reading) -> Images:
    """Return picture files as images of this shape, fitted as the reading says; raise DataError."""
    C, H, W = shape
    if C not in (1, 3):
        raise DataError(f"pictures have 1 or 3 channels; the images of this model have {C}.")
    rows = []
    for path in paths:
        with whole(path):
            pixels = Folder(path.parent, listed=False).pixels(Item(path.name, ()), reading)
        rows.append(torch.from_numpy(fitting.fit(pixels, (H, W), C, reading).copy()))
    x = torch.stack(rows)
    return Images(x, None, torch.arange(len(x)), f"{digest_of(x)}/given")
