"""The verbs of data: what a data set holds, and what the cache does. Pictures need no torch."""

from __future__ import annotations

import inspect
import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from ..pictures import cache as cache_
from ..pictures.reading import Reading
from ..terminal.console import result, say
from . import completion, tables
from .arguments import Json, writing
from .signatures import reading_parameters, with_signature

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

What = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="a data set's name, or the path of pictures", autocompletion=completion.data_sets
    ),
]
Sheet = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="contact sheet to write, by class, .png")]


def data(what: str, out: Path | None = None, json: bool = False, **options: Any) -> None:
    """Print what is there: pictures, sizes, classes, broken ones, duplicates, the splits, what training would see."""
    if out is not None and out.suffix != ".png":
        raise UsageError(f"--out {out} must end in .png.")
    report, pixels, labels = _read(what, Reading.of({**options, "skip_broken": True}))
    if out is not None:
        from ..pictures import sheet

        with writing(out):
            sheet.write(out, pixels, labels)
        say(f"wrote {out}")
    result(*([json_.dumps({"data": what, **report})] if json else tables.data(what, report)))


def _read(what: str, reading: Reading) -> tuple[dict[str, Any], NDArray[numpy.uint8], NDArray[numpy.int64] | None]:
    """Return the report, the pixels and the labels of a data set."""
    from ..terminal.progress import Terminal

    path = Path(what)
    if path.exists() and not (path.is_dir() and any(path.glob("*-ubyte*"))):
        from ..pictures import store

        found = store.gathered(path, reading, Terminal())
        return found.report, found.pixels, found.labels
    from .. import api
    from ..data import describe

    loaded = api.datasets.load(what, reporter=Terminal(), reading=reading)
    labels = loaded.train.labels
    return describe.report(loaded), loaded.train.pixels.numpy(), None if labels is None else labels.numpy()


def _signature() -> None:
    """Give the verb the options of reading, as training has them."""
    own = inspect.signature(data, eval_str=True).parameters
    options = reading_parameters("skip_broken")  # what is broken is listed
    shown = [own["what"].replace(annotation=What), own["out"].replace(annotation=Sheet)]
    with_signature(data, [*shown, own["json"].replace(annotation=Json), *options], data.__doc__ or "")


_signature()


def cache(
    name: Annotated[
        str | None, typer.Argument(help="what of it (default: all)", autocompletion=completion.cached)
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", metavar="", help="remove it")] = False,
    json: Json = False,
) -> None:
    """List what the cache folder holds: downloads, decoded pictures, features; --clear removes it."""
    entries = cache_.clear(name) if clear else [e for e in cache_.held() if name in (None, e.name)]
    rows = [entry._asdict() for entry in entries]
    if json:
        result(json_.dumps({"folder": str(cache_.cache_folder()), "removed" if clear else "held": rows}))
    elif rows:
        table = [[e.name, f"{e.files:,}", f"{e.bytes / 1e6:,.1f} MB"] for e in entries]
        result(*tables.columns(["removed" if clear else "name", "files", "size"], table))
    else:
        result(f"the cache {cache_.cache_folder()} is empty")
