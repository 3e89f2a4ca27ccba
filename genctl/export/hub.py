"""A model as a folder in the Hub's form, which genctl reads as a checkpoint: weights, config.json, card, samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..checkpoint import manifest
from ..config import SamplingOptions
from ..errors import DataError
from ..generation import figures
from ..models.base import Model, Samples
from ..runs.folder import EXPORTED, WEIGHTS
from . import formats
from .card import SAMPLES, card, records_of


def write(model: Model, weights: Path, out: Path, options: SamplingOptions) -> dict[str, Any]:
    """Write the folder and return its config.json, which is no run's: it says that it is a model."""
    header = manifest.check(weights)
    about = {"kind": "model", "library_name": "genctl", "model": model.config.name, "config": model.config.to_dict()}
    EXPORTED.check(about)
    with formats.filling(out) as folder:
        (folder / WEIGHTS).write_bytes(weights.read_bytes())
        (folder / "config.json").write_text(json.dumps(about, indent=2) + "\n")
        text = card(header, model.config, records_of(weights, header.digest))
        if isinstance(model, Samples):
            figures.sample(model, None, 0, options).save(folder / SAMPLES)
        else:
            text = text.replace(f"![samples of seed 0]({SAMPLES})\n\n", "")
        (folder / "README.md").write_text(text)
    return about


def push(folder: Path, repository: str) -> str:
    """Upload the folder to a repository of the Hub, made if it is not there, and return its address."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api = HfApi()
        address = str(api.create_repo(repo_id=repository, exist_ok=True))
        api.upload_folder(repo_id=repository, folder_path=str(folder))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(f"{error}".split())[:200]
        raise DataError(f"{folder} is written, but could not be pushed to {repository}: {reason}") from error
    return address
