"""Pictures made of characters: half blocks in 24-bit colours, and curves of braille dots. Pure text, no cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.segment import Segment
from rich.style import Style

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray
    from rich.console import Console, ConsoleOptions, RenderResult

Line = list[Segment]
LOWER = "▄"
BRAILLE = 0x2800
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # by column, then row, of a cell of 2 x 4
COLOURS = ("cyan", "yellow", "magenta", "green")
GAP = 2  # pixels between images of a sheet
SMALLEST = 13  # pixels of an image's longer side, where a view shows as many images as it can


class Lines:
    """Lines of segments as rich prints them."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the segments of each line, and its end."""
        for line in self.lines:
            yield from line
            yield Segment.line()


def can_show(console: Console) -> bool:
    """Tell whether pictures can be drawn: on a terminal that has colours, Unicode and some width."""
    able = console.is_terminal and not console.is_dumb_terminal and not console.no_color
    return able and console.color_system is not None and console.encoding.startswith("utf") and console.width >= 20


def reduced(picture: NDArray[numpy.uint8], height: int, width: int) -> NDArray[numpy.uint8]:
    """Return a picture [H, W] or [H, W, 3] with so many pixels, each the mean of those that it stands for."""
    import numpy
    from PIL import Image

    if (height, width) == picture.shape[:2]:
        return picture
    return numpy.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))


def sheet(images: NDArray[numpy.uint8], columns: int) -> NDArray[numpy.uint8]:
    """Return images [N, H, W] or [N, H, W, C] side by side, [H, W] or [H, W, 3], with a gap between them."""
    import numpy

    if images.ndim == 4 and images.shape[-1] != 3:  # other channels stand one below the other
        images = images.transpose(0, 3, 1, 2).reshape(len(images), -1, images.shape[2])
    N, H, W = images.shape[:3]
    rows = -(-N // columns)
    shape = (rows * (H + GAP) - GAP, columns * (W + GAP) - GAP, *images.shape[3:])
    whole = numpy.zeros(shape, dtype=numpy.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (H + GAP), i % columns * (W + GAP)
        whole[top : top + H, left : left + W] = image
    return whole


def as_wide(images: NDArray[numpy.uint8], columns: int, width: int) -> list[Line]:
    """Return a sheet in half blocks, of all its images, made smaller where it is wider than the terminal."""
    whole = sheet(images, columns)
    share = min(1.0, width / whole.shape[1])
    return half_blocks(reduced(whole, max(2, round(whole.shape[0] * share)), max(1, round(whole.shape[1] * share))))


def as_many(images: NDArray[numpy.uint8], width: int, height: int, most: int = 5) -> list[Line]:
    """Return the first images in half blocks, as many as fit into so many columns and lines and can still be seen."""
    H, W = images.shape[1:3]
    factor = max(1, max(H, W) // SMALLEST)
    H, W = -(-H // factor), -(-W // factor)
    columns, rows = min(most, (width + 1) // (W + 1)), min(most, (2 * height + 1) // (H + 1))
    if columns < 1 or rows < 1:
        return []
    whole = sheet(images[: columns * rows], columns)
    return half_blocks(reduced(whole, rows * (H + 1) - 1, columns * (W + 1) - 1))


def half_blocks(picture: NDArray[numpy.uint8]) -> list[Line]:
    """Return a picture [H, W] or [H, W, 3] as lines of characters, two pixels in each; equal ones share a segment."""
    import numpy

    colour = picture if picture.ndim == 3 else numpy.repeat(picture[..., None], 3, axis=-1)
    if len(colour) % 2:
        colour = numpy.concatenate([colour, numpy.zeros_like(colour[:1])])
    packed = colour.astype(numpy.int64) @ numpy.array([1 << 16, 1 << 8, 1])
    return [
        _runs(list(zip(*pair, strict=True))) for pair in zip(packed[::2].tolist(), packed[1::2].tolist(), strict=True)
    ]


def _runs(cells: list[tuple[int, int]]) -> Line:
    """Return cells (colour above, colour below) as segments, one for each run of equal cells."""
    line: Line = []
    start = 0
    for i in range(1, len(cells) + 1):
        if i == len(cells) or cells[i] != cells[start]:
            above, below = cells[start]
            line.append(Segment((LOWER if above != below else " ") * (i - start), _style(above, below)))
            start = i
    return line


@lru_cache(maxsize=1 << 16)
def _style(above: int, below: int) -> Style:
    top, bottom = (Color.from_rgb(c >> 16, c >> 8 & 255, c & 255) for c in (above, below))
    return Style(bgcolor=top, color=bottom if above != below else None)


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]], width: int, height: int, levels: Mapping[str, float]
) -> list[Line]:
    """Return series of (x, y) as lines of braille dots under a line that names them, with the range at the side.

    The first tenth, in which a loss falls from far above, may leave the picture at its top.
    """
    points = {label: list(found) for label, found in series.items() if found}
    later = [y for found in points.values() for _, y in (found[len(found) // 10 :] if len(found) > 4 else found)]
    if not later:
        return []
    low, high = min([*later, *levels.values()]), max([*later, *levels.values()])
    ends = [f"{high:.4g}", f"{low:.4g}"]
    margin = max(map(len, ends)) + 1
    if width - margin < 8 or height < 3:
        return []
    plotted = _plot(points, levels, (low, high), width - margin, height - 1)
    sides = [ends[0], *[""] * (height - 3), ends[1]]
    named: Line = [Segment(" " * margin)]
    for label, colour in zip(points, COLOURS, strict=False):
        if sum(len(part.text) for part in named) + len(label) < width:
            named += [Segment(f"{label} ", Style(color=colour))]
    return [named, *([Segment(side.rjust(margin - 1) + " "), *line] for side, line in zip(sides, plotted, strict=True))]


def _plot(
    points: Mapping[str, Sequence[tuple[float, float]]],
    levels: Mapping[str, float],
    ends: tuple[float, float],
    width: int,
    height: int,
) -> list[Line]:
    """Return lines of cells with the dots of all series; where two meet, the cell has the colour of the later."""
    cells: dict[tuple[int, int], tuple[int, str]] = {}
    low, high = ends
    xs = [x for found in points.values() for x, _ in found]
    across, up = max(max(xs) - min(xs), 1e-12), max(high - low, 1e-12)

    def dot(i: int, y: float, colour: str) -> None:
        j = round((high - y) / up * (4 * height - 1))
        if 0 <= j < 4 * height:
            bits, _ = cells.get((j // 4, i // 2), (0, colour))
            cells[j // 4, i // 2] = bits | DOTS[i % 2][j % 4], colour

    for level in levels.values():
        for i in range(0, 2 * width, 4):
            dot(i, level, "bright_black")
    for (_, found), colour in zip(points.items(), COLOURS, strict=False):
        placed = [(round((x - min(xs)) / across * (2 * width - 1)), y) for x, y in found]
        for i, y in _joined(placed):
            dot(i, y, colour)
    return [[_cell(cells.get((row, column))) for column in range(width)] for row in range(height)]


def _joined(placed: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return dots at each place from the first point to the last, on straight lines between them."""
    found = list(placed[:1])
    for (i, y), (j, z) in pairwise(placed):
        found += [(k, y + (z - y) * (k - i) / (j - i)) for k in range(i + 1, j + 1)] or [(j, z)]
    return found


def _cell(found: tuple[int, str] | None) -> Segment:
    return Segment(" ") if found is None else Segment(chr(BRAILLE + found[0]), Style(color=found[1]))


def beside(left: Sequence[Line], right: Sequence[Line], gap: int = 2) -> list[Line]:
    """Return two blocks of lines side by side."""
    wide = max((sum(len(part.text) for part in line) for line in left), default=0)
    found: list[Line] = []
    for i in range(max(len(left), len(right))):
        own: Any = left[i] if i < len(left) else []
        pad = wide - sum(len(part.text) for part in own) + (gap if left else 0)
        found.append([*own, Segment(" " * pad), *(right[i] if i < len(right) else [])])
    return found
