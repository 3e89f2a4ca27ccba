"""The verbs that measure: eval-bpd, evaluate and compare."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config import TrainConfig, flag
from ..errors import UsageError
from ..models import registry
from ..ranks import meeting
from ..runs import find
from ..terminal.console import result, say
from . import completion, tables
from .arguments import (
    Checkpoint,
    Data,
    Features,
    Json,
    Name,
    OfClass,
    On,
    Runs,
    Sampling,
    Seed,
    Split,
    source_for,
    writable,
    writing,
)
from .signatures import reading_parameters
from .sources import announce, loaded, together

if TYPE_CHECKING:
    from ..runs.records import Record

What = Annotated[
    str,
    typer.Argument(
        metavar="WHAT",
        help="a model, a checkpoint's path, a folder of pictures, an .npz",
        autocompletion=completion.models,
    ),
]
Number = Annotated[
    int | None, typer.Option("--samples", metavar="N", min=1, max=1_000_000, help="images to judge (default: 10000)")
]


def eval_bpd(
    model: Name,
    checkpoint: Checkpoint = None,
    split: Split = "test",
    images: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="a fixed choice of N images (default: all, or as many as the bound allows)"
        ),
    ] = None,
    classes: OfClass = None,
    draws: Annotated[
        int, typer.Option("--draws", "-k", metavar="N", min=1, max=1_000_000, help="K, draws per image")
    ] = 1,
    estimator: Annotated[
        str | None, typer.Option(metavar="NAME", help="which bound (default: by the number of draws)")
    ] = None,
    marginal: Annotated[
        bool, typer.Option("--marginal", metavar="", help="log p(x) of a conditional model: sum over its classes")
    ] = False,
    per_image: Annotated[
        Path | None, typer.Option("--per-image", metavar="FILE", help="also write each image's value, .csv")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
    dataset: Data = None,
    device: On = "cpu",
    runs: Runs = None,
    sampling: Sampling = None,
) -> None:
    """Print the likelihood in bits/dim and nats, with its error and what it is: exact or a bound, and of what."""
    source = source_for("eval-bpd", model, checkpoint, runs=runs)
    registry.load(source.model).estimator(estimator)  # before torch is loaded
    table = None if per_image is None else writable(per_image, (".csv",), "--per-image")
    with writing(table, "--per-image"), together(device):
        found = loaded(source, device).likelihood(
            split,
            images=images,
            of_class=classes,
            draws=draws,
            estimator=estimator,
            seed=seed,
            dataset=dataset,
            marginal=marginal,
            per_image=table,
            options=sampling,
        )
    kept(source, found)
    show(found, tables.likelihood(found), json)


def evaluate(
    what: What,
    checkpoint: Checkpoint = None,
    samples: Number = None,
    seed: Seed = 0,
    modes: Annotated[
        bool, typer.Option("--modes", metavar="", help="count the modes of 26,000 images, and no more")
    ] = False,
    json: Json = False,
    dataset: Data = None,
    features: Features = None,
    device: On = "cpu",
    runs: Runs = None,
    sampling: Sampling = None,
    **reading: Any,
) -> None:
    """Measure how good generated images are, beside real ones that nothing was trained on."""
    path = find.images_path(what)
    if path is not None and sampling:
        raise UsageError(f"{path} holds images; leave out {flag(next(iter(sampling)))}.")
    source = None if path is not None else source_for("evaluate", what, checkpoint, runs=runs)
    data_of = find.resolve(checkpoint, runs=runs) if checkpoint is not None and source is None else None
    from .. import api
    from ..terminal.progress import Terminal

    typed = {name: value for name, value in reading.items() if value != TrainConfig.__dataclass_fields__[name].default}
    with together(device):
        found = api.evaluate(
            loaded(source, device) if source else what,
            samples=samples,
            seed=seed,
            modes=modes,
            dataset=dataset,
            features=features,
            data_of=data_of,
            device=device,
            reporter=Terminal(),
            **(sampling or {}),
            **typed,
        )
    show(found, tables.quality(found), json)
    if source is not None:
        kept(source, found)


def compare(
    checkpoints: Annotated[
        list[str], typer.Argument(help="models, checkpoint files or runs", autocompletion=completion.models)
    ],
    samples: Number = None,
    seed: Seed = 0,
    json: Json = False,
    dataset: Data = None,
    features: Features = None,
    device: On = "cpu",
    runs: Runs = None,
    sampling: Sampling = None,
) -> None:
    """Print one table of models of the same data: samples, likelihoods, sizes and speeds."""
    sources = [source_for("compare", name, None, runs=runs) for name in checkpoints]
    find.one_data_set(sources)
    for source in dict.fromkeys(sources):
        announce(source)
    from .. import api
    from ..terminal.progress import Terminal

    found = api.compare(
        sources,
        samples=samples,
        seed=seed,
        dataset=dataset,
        features=features,
        device=device,
        reporter=Terminal(),
        **(sampling or {}),
    )
    show(found, tables.comparison(found), json)


def _with_reading() -> None:
    """Give evaluate the options by which images of a folder or file are read, as training has them."""
    signature = inspect.signature(evaluate, eval_str=True)
    own = [p for name, p in signature.parameters.items() if name != "reading"]
    evaluate.__signature__ = signature.replace(parameters=[*own, *reading_parameters()])  # type: ignore[attr-defined]


_with_reading()


def show(record: Record, lines: Sequence[str], json: bool) -> None:
    """Print a record as text, or as one JSON document."""
    from ..runs.records import to_json

    result(*([to_json(record.to_dict())] if json else lines))


def kept(source: find.Source, record: Record) -> None:
    """Add a record to its run's folder; a folder that cannot be written is a warning."""
    from ..runs.records import keep

    if meeting.follows():
        return
    try:
        keep(source.path, record)
    except OSError as error:
        say(f"warning: {source.path.parent / 'evaluations.jsonl'} was not written ({error.strerror}).")
