"""An export as a folder: a file for each part, and export.json, which says how to call them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..checkpoint.manifest import read_header
from ..checkpoint.tensors import versions
from ..config import SamplingOptions
from ..errors import UsageError
from ..models.base import Model
from ..terminal.reporter import SILENT, Reporter
from . import agreement, formats
from .parts import Part, parts_of
from .programs import SAVE, traced

ABOUT = "export.json"


def programs(
    model: Model, weights: Path, form: str, out: Path, options: SamplingOptions, reporter: Reporter = SILENT
) -> dict[str, Any]:
    """Write each part of a model in a form, checked, and return what export.json says.

    What the exporter cannot follow, or what differs from the model, is left out and said; raises UsageError if that
    is all of it.
    """
    written: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    with formats.filling(out) as folder:
        for part in parts_of(model, options):
            try:
                written[part.name] = _write(part, form, folder)
                reporter.say(f"{part.name}: off by {written[part.name]['checked']['largest_difference']:.2g} at most")
            except agreement.Differs as error:
                left_out[part.name] = str(error)
                reporter.say(f"warning: the {part.name} is left out: {error}.")
        if not written:
            raise UsageError(f"nothing of {model.config.name} can be exported as {form}.")
        about = {
            "format": form,
            "model": model.config.name,
            "config": model.config.to_dict(),
            "weights": read_header(weights).digest,
            "sampling": vars(options),
            "parts": written,
            "left_out": left_out,
            "versions": versions(),
        }
        (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n")
    return about


def _write(part: Part, form: str, folder: Path) -> dict[str, Any]:
    """Write one part and return what export.json says of it; a part that differs leaves no file."""
    path = folder / f"{part.name}{formats.ENDINGS[form]}"
    program = traced(part)
    try:
        found = agreement.check(part, SAVE[form](program, part, path))
    except agreement.Differs:
        path.unlink(missing_ok=True)
        raise
    return {"file": path.name, **part.described(), "checked": found.to_dict()}
