"""How a run stands: its state, and the best that it has reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..config import GIVEN
from ..errors import UsageError
from ..models import registry
from .folder import RunConfig
from .lock import in_use


class Best(NamedTuple):
    """The best validation value, and what it is of: values of different data are no rivals."""

    value: str  # with its unit
    of: str

    def __str__(self) -> str:
        return f"{self.value} ({self.of})" if self.of else self.value


def state(folder: Path, about: RunConfig, lines: Sequence[Mapping[str, Any]]) -> str:
    """Return finished, running, diverged or stopped."""
    done = lines[-1]["epoch"] if lines else 0
    return "finished" if done >= about.train["epochs"] else "running" if in_use(folder) else about.ended or "stopped"


def best(about: RunConfig, lines: Sequence[Mapping[str, Any]]) -> Best | None:
    """Return the best validation value; None for a model without one."""
    bounds = [line for line in lines if line.get("validation_nats") is not None]
    if not bounds:
        return None
    found = min(bounds, key=lambda line: line["validation_nats"])
    nats, bits = found["validation_nats"], found.get("validation_bits_per_dim")
    try:
        config = registry.load(about.model).from_dict(about.config)
    except (UsageError, TypeError):
        return Best(f"{nats:.2f} nats", "")
    of = f"{config.pixels.name}{GIVEN if config.classes else ''}"
    if config.pixels.unit == "bits/dim" and bits is not None:
        return Best(f"{bits:.3f} bits/dim", of)
    return Best(f"{nats:.2f} nats", of)
