"""pytest's option --model, known before any test is collected."""

from __future__ import annotations

from contextlib import suppress
from typing import Any


def pytest_addoption(parser: Any) -> None:
    """Add --model, unless another plug-in has taken that name."""
    with suppress(ValueError):
        parser.addoption("--model", action="append", metavar="NAME", help="hold genctl's laws for this model alone")
