"""All pictures of a source, decoded once on all cores: into one file of the cache, in the order of their digests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

import numpy
from numpy.typing import NDArray

from ..errors import DataError
from ..terminal.reporter import Reporter
from . import cache, fitting, layout, pool, splits
from .decoding import Look
from .reading import Reading
from .regular import Unreadable, shown
from .sources import Item, Source
from .worker import Task, look_of


@dataclass(frozen=True)
class Plan:
    """What is read of a source, and into which shape."""

    items: list[Item]
    size: tuple[int, int]
    channels: int
    report: dict[str, Any]  # what was found: pictures, sizes, modes, classes, broken


@dataclass(frozen=True)
class Decoded:
    """The decoded pictures in the order of the files; what could not be read is not among them."""

    rows: NDArray[numpy.uint8]  # [N, C, H, W], mapped from a temporary file
    labels: NDArray[numpy.int64] | None
    digests: splits.Digests
    arranged: splits.Arranged
    report: dict[str, Any]


def plan(source: Source, name: str, reading: Reading, reporter: Reporter) -> Plan:
    """Look at every picture's header and choose size and channels; raise DataError if there is nothing to read."""
    answers = pool.answers(source, source.items, Task(reading), reporter, "headers")
    found = (answer if isinstance(answer, Unreadable) else look_of(answer) for answer in answers)
    looks = list(zip(source.items, found, strict=True))
    broken = [[shown(item.name), str(look)] for item, look in looks if isinstance(look, Unreadable)]
    good = [(item, look) for item, look in looks if isinstance(look, Look)]
    if not good:
        raise nothing_there(name, source, broken)
    where = layout.places([item.name for item, _ in good])
    kept = [pair for pair, place in zip(good, where.places, strict=True) if place is not None]
    sizes = Counter(look.size for _, look in kept)
    size, sentence = fitting.choose_size(sizes, reading)
    channels = reading.channels or (1 if all(look.grey for _, look in kept) else 3)
    report: dict[str, Any] = {
        "files": len(source.items),
        "sizes": {f"{H} x {W}": n for (H, W), n in sizes.most_common()},
        "modes": dict(Counter(look.mode for _, look in kept).most_common()),
        "passed_over": passed_over(source),
        "broken": broken,
        "notes": [note for note in (*source.notes, where.beside, sentence) if note],
    }
    return Plan([item for item, _ in kept], size, channels, report)


def passed_over(source: Source) -> list[str]:
    """Return the files of a source that are known to be no pictures."""
    return [shown(path) for path in sorted(source.passed_over)]


def nothing_there(name: str, source: Source, broken: Sequence[Sequence[str]]) -> DataError:
    """Return the error of a source in which no picture can be read."""
    if broken:
        return DataError(f"{name}: none of its {len(broken):,} files can be read: {listed(broken)}.")
    passed = f" (passed over: {layout.named(passed_over(source))})" if source.passed_over else ""
    return DataError(
        f"{name} holds no pictures{passed} and no IDX files (train-images-idx3-ubyte); sub-folders are classes,"
        " each picture a file."
    )


def listed(broken: Sequence[Sequence[str]]) -> str:
    """Return the first broken pictures with their reasons."""
    more = f"; and {len(broken) - layout.MOST_NAMED:,} more" if len(broken) > layout.MOST_NAMED else ""
    return "; ".join(f"{name}: {why}" for name, why in broken[: layout.MOST_NAMED]) + more


def decode(source: Source, name: str, reading: Reading, reporter: Reporter) -> Decoded:
    """Decode all pictures; those that cannot be read stand in the report. Raise DataError if all are such."""
    planned = plan(source, name, reading, reporter)
    shape = (planned.channels, *planned.size)
    task = Task(reading, planned.size, planned.channels)
    digests, names = [], []
    with TemporaryFile(dir=cache.make("pictures")) as file:  # written, not mapped: a full disk is then an error
        made = pool.answers(source, planned.items, task, reporter, "pictures")
        for item, picture in zip(planned.items, made, strict=True):
            if isinstance(picture, Unreadable):
                planned.report["broken"].append([shown(item.name), str(picture)])
                continue
            digests.append(picture[: splits.DIGEST_BYTES])
            file.write(picture[splits.DIGEST_BYTES :])
            names.append(item.name)
        if not digests:
            raise DataError(f"{name}: none of its pictures can be read: {listed(planned.report['broken'])}.")
        file.flush()
        rows = numpy.memmap(file, dtype=numpy.uint8, mode="r", shape=(len(digests), *shape))  # outlives the file
    return finished(rows, digests, names, planned.report)


def finished(
    rows: NDArray[numpy.uint8],
    digests: Sequence[bytes],
    names: Sequence[str],
    report: dict[str, Any],
) -> Decoded:
    """Return the pictures with their order and what there is to say of them."""
    where = layout.places(names)
    places = [place or layout.Place("", None) for place in where.places]
    report["notes"] += [where.mixed] if where.mixed else []
    layout.check_classes(places)
    known = layout.class_names([str(place.label) for place in places if place.label is not None])
    index = {label: i for i, label in enumerate(known)}
    labels = None
    if known and all(place.label is not None for place in places):
        labels = numpy.array([index[str(place.label)] for place in places], dtype=numpy.int64)
    found = numpy.frombuffer(b"".join(digests), dtype=numpy.uint8).reshape(-1, splits.DIGEST_BYTES)
    parts = [place.part for place in places]
    arranged = splits.arrange(found, labels, parts)
    report["pictures"] = len(rows)
    report["shape"] = list(rows.shape[1:])
    report["classes"] = {} if labels is None else dict(zip(known, numpy.bincount(labels).tolist(), strict=True))
    report["duplicates"] = splits.duplicates(found, labels, parts, list(map(shown, names)))
    report["split"] = arranged.rule
    report["splits"] = dict(zip(layout.ORDER, arranged.counts, strict=True))
    report["black"] = bool(rows.max() == 1)
    return Decoded(rows, labels, found, arranged, report)


def refusal(name: str, report: dict[str, Any]) -> DataError:
    """Return the error that names the broken pictures and the way on."""
    broken = report["broken"]
    return DataError(
        f"{name}: {len(broken):,} of {report['files']:,} files cannot be read: {listed(broken)}."
        " Mend or remove them, or leave them out with --skip-broken."
    )
