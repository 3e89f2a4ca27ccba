"""Curves of a training as a picture. Matplotlib is loaded when something is drawn."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..checkpoint import atomic


@contextmanager
def plain_style() -> Iterator[None]:
    """Within, matplotlib draws as it does without a user's matplotlibrc, and says nothing of its caches."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            yield
    finally:
        log.setLevel(level)


@plain_style()
def curves(
    path: Path,
    epochs: Sequence[int],
    series: Mapping[str, Sequence[float | None]],
    unit: str,
    levels: Mapping[str, float] | None = None,
    across: str = "epoch",
) -> None:
    """Write a PNG of named series against epochs (or what across says), with dashed lines at named levels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, values in series.items():
        known = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if value is not None]
        axes.plot(*zip(*known, strict=True), label=name, marker="." if len(known) < 3 else None)
    for name, level in (levels or {}).items():
        axes.axhline(level, linestyle="--", color="grey", linewidth=1, label=name)
    axes.set(xlabel=across, ylabel=unit)
    axes.locator_params(axis="x", integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    atomic.write(path, buffer.getvalue())
