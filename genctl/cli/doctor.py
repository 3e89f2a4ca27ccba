"""The verb that looks at the installation: what is there, in which version, and what is not."""

from __future__ import annotations

import json as json_
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .. import __version__
from ..export import formats
from ..models import registry
from ..pictures import cache
from ..runs.folder import all_runs, root
from ..terminal.console import result
from .arguments import Json
from .tables import plain

NEEDED = ("torch", "torchvision", "typer", "rich", "pillow", "safetensors", "numpy", "matplotlib")


def doctor(json: Json = False) -> None:
    """Print what genctl finds here: versions, devices, threads, caches, extras. What is broken is a line, too."""
    found = facts()
    result(*([json_.dumps(found)] if json else (f"{key:10s} {_line(value)}" for key, value in found.items())))


def _line(value: Any) -> str:
    """Return what was found as one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_line(entry)}" for key, entry in value.items()) or "none"
    return plain(value) or "none"


def facts() -> dict[str, Any]:
    """Return what is there."""
    extras = {name: f"missing {' '.join(formats.missing(name))}" for name in formats.EXTRAS if formats.missing(name)}
    held = {entry.name: f"{entry.bytes / 1e6:,.1f} MB" for entry in cache.held()}
    return {
        "genctl": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        "packages": {name: installed(name) for name in (*NEEDED, *sum(formats.EXTRAS.values(), ()))},
        "extras": {name: extras.get(name, "there") for name in formats.EXTRAS},
        "cores": os.cpu_count(),
        **torch_facts(),
        "models": registry.usable(),
        "broken": registry.problems(),
        "cache": {str(cache.cache_folder()): held or "empty"},
        "runs": {str(root()): len(all_runs())},
    }


def installed(name: str) -> str:
    """Return a package's version."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def torch_facts() -> dict[str, Any]:
    """Return what torch says of the devices and threads, or why it cannot be imported."""
    try:
        import torch

        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        mps = ["mps"] if torch.backends.mps.is_available() else []
        return {
            "devices": ["cpu", *(f"cuda:{i} ({name})" for i, name in enumerate(gpus)), *mps],
            "threads": torch.get_num_threads(),
        }
    except Exception as error:  # whatever a broken installation raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return {"problem": f"torch cannot be imported: {reason}; install it anew: pip install --force-reinstall torch"}
