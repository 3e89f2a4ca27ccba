"""Arrays of images in .npy and .npz files, read without pickle: what their axes, values and names mean."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .decoding import Look
from .layout import ORDER
from .regular import Unreadable, opened, parsing, shown, whole
from .sources import Item, Source

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from .reading import Reading

SUFFIXES = (".npz", ".npy")
MOST_BYTES = 4 << 30
CHUNK = 1 << 20
IMAGES, LABELS = ("images", "x", "data"), ("labels", "y")  # names of the arrays
PART_NAMES = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
CHANNELS = (1, 3, 4)


class Said(Unreadable):
    """One text, such as `genctl sample` writes beside its images: it is passed over."""


def read_array(file: IO[bytes], size: int) -> NDArray[Any]:
    """Return the array of an opened .npy of `size` bytes; raise Unreadable. Memory grows with what is there."""
    import numpy
    from numpy.lib import format as npy

    with parsing("it is no sound array"):
        version = npy.read_magic(file)
        header = npy.read_array_header_1_0(file) if version == (1, 0) else npy.read_array_header_2_0(file)
        shape, fortran, dtype = header
        if dtype.kind == "U" and shape == ():
            raise Said("it holds one text, and no images")
        if dtype.hasobject or dtype.kind not in "biuf":
            raise Unreadable(f"its entries are of type {dtype}; nothing is unpickled")
        expected = prod(shape) * dtype.itemsize
        if not all(n > 0 for n in shape) or not 0 < expected <= min(size, MOST_BYTES):
            raise Unreadable(f"its header promises {dtype} {list(shape)}, which does not fit {size:,} bytes")
        data = bytearray()
        while len(data) < expected and (chunk := file.read(min(CHUNK, expected - len(data)))):
            data += chunk
        if len(data) != expected:
            raise Unreadable(f"it is cut short: {len(data):,} of {expected:,} bytes")
        flat = numpy.frombuffer(data, dtype=dtype)
        return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file by name; raise DataError if it is damaged, encrypted or too large."""
    with whole(path), opened(path, MOST_BYTES) as file:
        with parsing("it is no sound NPZ file"), zipfile.ZipFile(file) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            if sum(entry.file_size for entry in entries) > MOST_BYTES:
                raise Unreadable(f"it unpacks to more than {MOST_BYTES >> 30} GiB; divide it")
            if any(entry.flag_bits & 1 for entry in entries):
                raise Unreadable("it is encrypted")
            found = {}
            for entry in entries:
                name = entry.filename.removesuffix(".npy")
                with archive.open(entry) as member, suppress(Said):
                    found[name] = read_array(member, entry.file_size)
        if not found:
            raise Unreadable("this NPZ file holds no arrays")
        return found


def read_npy(path: Path) -> NDArray[Any]:
    """Return the array of an .npy file; raise DataError."""
    with whole(path), opened(path, MOST_BYTES) as file:
        return read_array(file, path.stat().st_size)


class Arrays(Source):
    """Images that are rows of arrays."""

    def __init__(self, parts: Mapping[str, NDArray[numpy.uint8]], labels: Mapping[str, NDArray[Any]]) -> None:
        """Take images [N, H, W, C] by part ("" where there are none), with labels [N]."""
        super().__init__()
        self.rows: dict[str, NDArray[numpy.uint8]] = {}
        for part, images in parts.items():
            for i, image in enumerate(images):
                folders = [part or "all", *([str(int(labels[part][i]))] if part in labels else [])]
                name = "/".join([*folders, f"{i:07d}"])
                self.rows[name] = image
                self.items.append(Item(name, ()))

    def look(self, item: Item, reading: Reading) -> Look:
        """Return the row's size."""
        H, W, C = self.rows[item.name].shape
        grey = C == 1
        return Look({1: "L", 3: "RGB", 4: "RGBA"}[C], (H, W), grey)

    def pixels(self, item: Item, reading: Reading) -> NDArray[numpy.uint8]:
        """Return the row, laid over the background where it has alpha."""
        import numpy
        from PIL import Image

        row = numpy.ascontiguousarray(self.rows[item.name])
        if row.shape[2] < 4:
            return row
        over = Image.fromarray(row)
        below = Image.new("RGB", over.size, reading.background)
        below.paste(over, mask=over.getchannel("A"))
        return numpy.asarray(below)


def source(path: Path) -> Arrays:
    """Return the images of an .npz or .npy file with how they were read; raise DataError."""
    found = read_npz(path) if path.suffix.lower() == ".npz" else {"images": read_npy(path)}
    with whole(path):
        images, labels = divide(found)
        notes: list[str] = []
        levels = {part: meant(array, notes) for part, array in images.items()}
        checked = {part: whole_labels(array, levels[part]) for part, array in labels.items()}
    made = Arrays(levels, checked if checked.keys() >= levels.keys() else {})
    made.notes = list(dict.fromkeys(notes))
    return made


def divide(found: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Return images and labels by part: names such as images, x_train, test_images; "" where there is one part."""

    def under(names: tuple[str, ...], part: str) -> NDArray[Any] | None:
        parts = PART_NAMES.get(part, ("",))
        keys = [key for name in names for p in parts for key in ((f"{name}_{p}", f"{p}_{name}") if p else (name,))]
        return next((found[key] for key in keys if key in found), None)

    images = {part: array for part in ORDER if (array := under(IMAGES, part)) is not None}
    if "train" not in images or len(images) < 2:
        one = under(IMAGES, "")
        large = [array for array in found.values() if array.ndim >= 3]
        if one is None and len(large) != 1:
            raise Unreadable(f"it holds {', '.join(map(shown, list(found)[:5]))}; name the array of images `images`")
        images = {"": large[0] if one is None else one}
    return images, {part: array for part in images if (array := under(LABELS, part)) is not None}


def meant(array: NDArray[Any], notes: list[str]) -> NDArray[numpy.uint8]:
    """Return images as uint8 [N, H, W, C], and note how axes and values were read; raise Unreadable."""
    if array.ndim == 3:
        array = array[..., None]
    shape = list(array.shape)
    if array.ndim != 4 or (shape[3] not in CHANNELS and shape[1] not in CHANNELS):
        raise Unreadable(f"it holds {array.dtype} {shape}; images are [N, H, W], [N, H, W, C] or [N, C, H, W]")
    if shape[3] in CHANNELS and shape[1] in CHANNELS:
        notes.append(f"{shape} is read as [N, H, W, C]")
    elif shape[1] in CHANNELS:
        array = array.transpose(0, 2, 3, 1)
    return to_levels(array, notes)


def to_levels(array: NDArray[Any], notes: list[str]) -> NDArray[numpy.uint8]:
    """Return values as 256 levels: bytes as they are, floats of [0, 1] or [-1, 1] scaled; raise Unreadable."""
    import numpy

    if array.dtype.kind == "b":
        return array.astype(numpy.uint8) * numpy.uint8(255)
    if array.dtype == numpy.uint8:
        return array
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind != "f" or not (low >= -1 and high <= 1):  # NaN is in no range
        raise Unreadable(
            f"its values are {array.dtype} from {low:g} to {high:g};"
            " images are uint8, or floats from 0 to 1 or from -1 to 1"
        )
    notes.append(f"its floats are read as from {'0' if low >= 0 else '-1'} to 1")
    levels = numpy.empty(array.shape, dtype=numpy.uint8)
    for i in range(0, len(array), 1024):
        piece = array[i : i + 1024].astype(numpy.float64)
        levels[i : i + 1024] = numpy.rint((piece if low >= 0 else (piece + 1) / 2) * 255)
    return levels


def whole_labels(labels: NDArray[Any], images: NDArray[numpy.uint8]) -> NDArray[Any]:
    """Return labels as [N] whole numbers from 0; raise Unreadable if they do not fit the images."""
    flat = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1 or len(flat) != len(images):
        raise Unreadable(f"it has {list(labels.shape)} labels for {len(images):,} images")
    if flat.dtype.kind not in "iu" or int(flat.min()) < 0:
        raise Unreadable(f"its labels are {flat.dtype}; labels are whole numbers from 0")
    return flat
