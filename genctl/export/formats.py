"""The forms of an export: what each needs, and the folder that is written whole or not at all. No torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from ..checkpoint import atomic
from ..errors import DataError, UsageError

Format = Literal["onnx", "torch", "hub"]
EXTRAS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "hub": ("huggingface_hub",)}  # extra -> its packages
ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}


def missing(extra: str) -> list[str]:
    """Return the packages of an extra that are not installed."""
    return [name for name in EXTRAS[extra] if find_spec(name) is None]


def require(extra: str, what: str) -> None:
    """Raise UsageError, with the command that helps, unless the packages of an extra are installed."""
    lacking = missing(extra)
    if lacking:
        raise UsageError(f"{what} needs {', '.join(lacking)}; type: pip install 'genctl[{extra}]'")


def free(out: Path) -> Path:
    """Return the folder of an export; raise UsageError if something is there, DataError if it cannot be made."""
    if os.path.lexists(out) and not (out.is_dir() and not out.is_symlink() and not os.listdir(out)):
        raise UsageError(f"{out} exists; choose another --out.")
    above = Path(os.path.abspath(out)).parent
    if not above.is_dir() or not os.access(above, os.W_OK):
        why = "may not be written to" if above.is_dir() else "is no folder"
        raise DataError(f"{out} cannot be written: {above} {why}; choose another --out.")
    return out


@contextmanager
def filling(out: Path) -> Iterator[Path]:
    """Within, fill a folder beside `out`; after it that folder is there under its name, or nothing is."""
    folder = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        folder.mkdir()
        yield folder
        for path in folder.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(folder, out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    atomic.sync_folder(Path(os.path.abspath(out)).parent)
