"""The verbs that measure samples: evaluate and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ..models import registry
from ..runs import find
from ..runs.folder import WEIGHTS
from ..terminal.console import result
from .arguments import Checkpoint, Data, Json, On, Seed, source_for

What = Annotated[
    str, typer.Argument(metavar="WHAT", help="a model, a checkpoint's path, a folder of pictures, an .npz")
]
Samples = Annotated[int | None, typer.Option(min=1, max=1_000_000, help="images to judge [default: 10000]")]
Means = Annotated[bool, typer.Option("--means", help="judge the decoder's means, without the Bernoulli draw")]


def images_path(what: str) -> Path | None:
    """Return the path of images that WHAT names: an .npz file, or a folder that is no run; else None."""
    path = Path(what)
    if registry.known(what):
        return None
    if path.suffix == ".npz":
        return path
    is_run = (path / "config.json").is_file() or (path / WEIGHTS).is_file()
    return path if path.is_dir() and not is_run else None


def evaluate(
    what: What,
    checkpoint: Checkpoint = None,
    samples: Samples = None,
    seed: Seed = 0,
    means: Means = False,
    modes: Annotated[bool, typer.Option("--modes", help="count the modes of 26,000 images, and no more")] = False,
    json: Json = False,
    dataset: Data = None,
    device: On = "cpu",
) -> None:
    """Measure how good generated images are, beside real ones that nothing was trained on."""
    path = images_path(what)
    if path is not None:
        if checkpoint is not None or means:
            raise UsageError(f"{path} holds images; leave out {'--means' if means else checkpoint}.")
        from ..evaluation import sample_quality
        from ..runs import records

        found = sample_quality.evaluate_images(path, samples, seed, modes, dataset)
        result(records.to_json(found) if json else records.table(found))
        return
    source = source_for("evaluate", what, checkpoint)
    from ..evaluation import sample_quality
    from ..runs import records

    found = sample_quality.evaluate(source, samples, seed, means, modes, dataset, device)
    result(records.to_json(found) if json else records.table(found))
    records.keep(source, found)


def compare(
    checkpoints: Annotated[list[str], typer.Argument(help="models, checkpoint files or runs")],
    samples: Samples = None,
    seed: Seed = 0,
    means: Means = False,
    json: Json = False,
    dataset: Data = None,
    device: On = "cpu",
) -> None:
    """Print one table of models of the same data: samples, likelihoods, sizes and speeds."""
    sources = [source_for("compare", name, None) for name in checkpoints]
    find.one_data_set(sources)
    from ..evaluation import compare as comparison
    from ..runs import records

    found = comparison.compare(sources, samples, seed, means, dataset, device)
    result(records.to_json(found) if json else comparison.table(found))
