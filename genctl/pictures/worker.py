"""A process that looks at or decodes its share of the pictures: python -m genctl.pictures.worker.

It reads one JSON document from stdin and answers in frames on stdout: whether that went well, the length, the content.
Threads would wait for each other at small pictures; a process that a damaged file brings down takes no other with it.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from . import fitting, splits
from .decoding import Look
from .reading import Reading
from .regular import Unreadable
from .sources import Folder, Item, Source, Zip

READY = b"genctl\n"
LENGTH = 4  # bytes of a frame's length


@dataclass(frozen=True)
class Task:
    """What is made of each picture: a look at its header, or its digest and its pixels in this shape."""

    reading: Reading
    size: tuple[int, int] | None = None  # None: a look
    channels: int = 1

    def run(self, source: Source, item: Item) -> bytes:
        """Return the answer for one picture; raise Unreadable."""
        if item.problem:
            raise Unreadable(item.problem)
        if self.size is None:
            return json.dumps(source.look(item, self.reading)).encode()
        pixels = source.pixels(item, self.reading)
        return splits.digest(pixels) + fitting.fit(pixels, self.size, self.channels, self.reading).tobytes()

    def answers(self, source: Source, items: list[Item]) -> Iterator[bytes | Unreadable]:
        """Yield the answer for each picture, or why there is none."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of large or odd files; what matters of them is an error here
            for item in items:
                try:
                    yield self.run(source, item)
                except Unreadable as error:
                    yield error

    def to_json(self) -> dict[str, Any]:
        """Return the task as JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Task:
        """Return the task of a JSON document."""
        reading: dict[str, Any] = {name: _frozen(value) for name, value in found["reading"].items()}
        return cls(Reading(**reading), _frozen(found["size"]), found["channels"])


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def look_of(answer: bytes) -> Look:
    """Return the look of an answer."""
    mode, (H, W), grey = json.loads(answer)
    return Look(mode, (H, W), grey)


def serve(asked: IO[bytes], answers: IO[bytes]) -> None:
    """Do what stdin asks for, to its end."""
    answers.write(READY)
    answers.flush()
    document = json.loads(asked.read())
    path = Path(document["path"])
    source: Source = Zip(path) if document["zip"] else Folder(path, listed=False)
    items = [Item(name, (), problem) for name, problem in document["items"]]
    for answer in Task.from_json(document["task"]).answers(source, items):
        content = str(answer).encode() if isinstance(answer, Unreadable) else answer
        answers.write(bytes([isinstance(answer, Unreadable)]) + len(content).to_bytes(LENGTH, "big") + content)
        if document["careful"]:
            answers.flush()
    answers.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, os.fdopen(1, "wb", 1 << 16))
