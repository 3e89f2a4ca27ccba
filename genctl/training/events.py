"""TensorBoard's event files of a run, where --tensorboard asks for them: its metrics and its sample grids."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..terminal.blocks import sheet
from ..terminal.reporter import Course, Reporter

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"  # in the run's
COLUMNS = 5


def check() -> None:
    """Raise UsageError where the package is missing: before anything is trained."""
    if find_spec("tensorboard") is None:
        raise UsageError("--tensorboard needs a package; install it: pip install 'genctl[tensorboard]'")


class Events(Reporter):
    """Writes what it hears, each epoch at its number; a resume takes back the epochs that it trains again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        self.writer: SummaryWriter | None = None
        self.early: list[tuple[int, str, NDArray[numpy.uint8]]] = []  # samples from before the start

    def start(self, step: int, last: int, shown: Mapping[str, str], course: Course | None = None) -> None:
        """Open a file of events."""
        from torch.utils.tensorboard import SummaryWriter

        known = [line["epoch"] for line in course.lines] if course else []
        self.writer = SummaryWriter(str(self.folder), purge_step=known[-1] + 1 if known else None)
        for epoch, kind, images in self.early:
            self.samples(epoch, kind, images)

    def samples(self, epoch: int, kind: str, images: NDArray[numpy.uint8]) -> None:
        """Write a grid."""
        if self.writer is None:
            self.early.append((epoch, kind, images))
            return
        grid = sheet(images, COLUMNS)
        self.writer.add_image(f"samples{kind}", grid, epoch, dataformats="HW" if grid.ndim == 2 else "HWC")

    def epoch(self, line: Mapping[str, Any], epochs: int) -> None:
        """Write the metrics."""
        if self.writer is not None:
            for name, value in line.items():
                if name != "epoch" and value is not None:
                    self.writer.add_scalar(name, value, line["epoch"])
            self.writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self.writer is not None:
            with suppress(OSError):
                self.writer.close()
            self.writer = None
