"""The model card of an exported model: what it is, its measured numbers, its data, and its limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..checkpoint import schema
from ..checkpoint.manifest import Header
from ..config import ModelConfig
from ..runs.records import FIGURES

MOST_BYTES = 1 << 26
SAMPLES = "samples.png"


def records_of(weights: Path, digest: str) -> list[dict[str, Any]]:
    """Return the records of these very weights in the evaluations.jsonl beside them, the latest of each command."""
    try:
        lines = schema.read_text(weights.parent / "evaluations.jsonl", MOST_BYTES, torn=True).splitlines()
        found = [schema.parse(line) for line in lines]
    except (OSError, ValueError):
        return []
    mine = [record for record in found if isinstance(record, dict) and record.get("weights") == digest]
    keys = ("verb", "estimator", "K", "split", "images", "classes", "samples", "seed", "means")
    return list({str([record.get(key) for key in keys]): record for record in mine}.values())


def card(header: Header, config: ModelConfig, records: Iterable[Mapping[str, Any]]) -> str:
    """Return the README.md of an exported model."""
    about = header.manifest
    C, H, W = about.shape
    title = f"{about.model} of {about.dataset['name']}"
    images = about.dataset.get("train_images")
    trained = f" ({images:,} training images)" if isinstance(images, int) else ""
    parts = [
        "---\nlibrary_name: genctl\npipeline_tag: unconditional-image-generation\ntags:\n- genctl\n"
        f"- {about.model}\n---",
        f"# {_plain(title)}",
        f"![samples of seed 0]({SAMPLES})",
        f"{(type(config).__doc__ or '').splitlines()[0]} Images of {H} x {W} pixels, {C} channel{'s' * (C > 1)}.",
        "## Use\n\n    pip install genctl\n    genctl sample FOLDER -n 25\n    genctl show FOLDER\n\n"
        'In Python: `genctl.load("FOLDER").sample(16, seed=0)`.',
        "## Measured\n\n" + "\n".join(_rows(about.metrics, about.epoch, records)),
        f"## Data\n\n{_plain(about.dataset['name'])}{trained}, SHA-256 of all pixels and labels"
        f" `{_plain(about.dataset['digest'])}`. The data have a licence of their own.",
        "## Limits\n\n" + "\n".join(f"- {line}" for line in _limits(config)),
        f"Weights: SHA-256 `{header.digest}`, step {about.step:,}, epoch {about.epoch};"
        f" {_plain(', '.join(f'{name} {version}' for name, version in about.versions.items()))}.",
    ]
    return "\n\n".join(parts) + "\n"


def _rows(metrics: Mapping[str, float], epoch: int, records: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Yield a table of what was measured: of the last epoch, and by eval-bpd and evaluate."""
    yield from ("| what | value | of |", "|---|---|---|")
    for name, value in metrics.items():
        yield f"| {_plain(name)} | {value:.6g} | epoch {epoch} |"
    for record in records:
        if record.get("verb") == "eval-bpd":
            error = record["standard_error"]
            of = f"{record['split']}, {record['images']:,} images, {record['data']}"
            found = f"{record['value']:.4f}{'' if error is None else f' ± {error:.4f}'} {record['unit']}"
            yield f"| {record['bound']} ({record['estimator']}, K = {record['K']}) | {found} | {_plain(of)} |"
        else:
            of = f"{record['samples']:,} samples beside {record['reference_images']:,} {record['split']} images"
            for name in FIGURES:
                if isinstance(record.get(name), int | float):
                    yield f"| {name} | {record[name]:.4g} (real images: {record['floor'].get(name, 0):.4g}) | {of} |"


def _limits(config: ModelConfig) -> Iterable[str]:
    """Yield what a reader must not expect."""
    yield "It knows images of its training data alone, at that size; what it makes of others means nothing."
    if "score" in config.can:
        unit = config.pixels.unit
        yield f"Its likelihood is of pixels that are {config.pixels.name} ({config.pixels.about}), usually in {unit}."
        yield "Values of other pixels, other bounds or another K must not be compared with it."
    else:
        yield "It has no likelihood."
    yield "A generative model may repeat training images; `genctl evaluate` counts those that it memorized."


def _plain(text: str) -> str:
    """Return a text of a file for a table in Markdown: one line, without its marks."""
    return "".join(c for c in text if c.isprintable() and c not in "|<>`[]")
