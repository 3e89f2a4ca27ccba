"""The worker processes: each takes every n-th picture, and their answers come back in the pictures' order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from ..terminal.reporter import Reporter
from .regular import Unreadable
from .sources import Files, Item, Source, Zip
from .worker import LENGTH, READY, Task

LEAST = 1_500  # pictures
LEAST_BYTES = 8 << 20  # or their bytes, for which other processes are worth their start
BUFFER = 1 << 18  # bytes of a pipe; a user may have 64 MB of them
PIECE = 256  # pictures between two reports


def answers(
    source: Source, items: list[Item], task: Task, reporter: Reporter, what: str
) -> Iterator[bytes | Unreadable]:
    """Yield the answer for each picture in their order, or why there is none; on all cores where it is worth it."""
    n = min(os.cpu_count() or 1, 32)
    known_bytes = sum(item.stamp[0] for item in items if item.stamp)
    worth = isinstance(source, Files) and n > 1 and (len(items) >= LEAST or known_bytes >= LEAST_BYTES)
    with reporter.counting(len(items), what) as advance:
        found = _shared(source, items, task, n) if worth and isinstance(source, Files) else task.answers(source, items)
        for i, answer in enumerate(found, 1):
            yield answer
            if i % PIECE == 0 or i == len(items):
                advance(PIECE if i % PIECE == 0 else i % PIECE)


def _shared(source: Files, items: list[Item], task: Task, n: int) -> Iterator[bytes | Unreadable]:
    """Yield the answers of n processes in turn; here where this Python cannot be started again."""
    with ExitStack() as stack:
        shares = [Share(source, items[i::n], task) for i in range(n)]
        for share in shares:
            stack.callback(share.end)
        if not all([share.begin() for share in shares]):
            yield from task.answers(source, items)
            return
        for i in range(len(items)):
            yield shares[i % n].next()


class Share:
    """A process and the pictures that it has not answered for."""

    def __init__(self, source: Files, items: list[Item], task: Task) -> None:
        self.source, self.left, self.task = source, items[::-1], task
        self.process: subprocess.Popen[bytes] | None = None
        self.careful = False

    def begin(self, careful: bool = False) -> bool:
        """Start the process and tell it its pictures; tell whether it answers.

        A careful one sends each answer at once, so that it is known at which picture it ends.
        """
        self.careful = careful
        command = [sys.executable, "-P", "-m", "genctl.pictures.worker"]
        path = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])}
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        try:
            self.process = subprocess.Popen(  # noqa: S603 - this Python and this package
                command, BUFFER, stdin=pipe, stdout=pipe, stderr=nowhere, env={**os.environ, **path}, pipesize=BUFFER
            )
        except OSError:
            return False
        document = {
            "careful": careful,
            "path": str(self.source.path),
            "zip": isinstance(self.source, Zip),
            "task": self.task.to_json(),
            "items": [[item.name, item.problem] for item in reversed(self.left)],
        }
        to, out = self.pipes()
        if out.read(len(READY)) != READY:
            return False
        with suppress(OSError):  # a process that has ended is met at its first answer
            to.write(json.dumps(document).encode())
            to.close()
        return True

    def pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """Return the process's stdin and stdout."""
        assert self.process and self.process.stdin and self.process.stdout  # noqa: S101 - begin() made them
        return self.process.stdin, self.process.stdout

    def next(self) -> bytes | Unreadable:
        """Return the answer for the next picture; one that ends the process is broken, and another process goes on."""
        answer = self.read()
        if answer is None and not self.careful:
            self.end()
            self.begin(careful=True)
            answer = self.read()
        self.left.pop()
        if answer is None:
            self.end()
            self.begin(careful=True)
            return Unreadable("its decoder crashed")
        return answer

    def read(self) -> bytes | Unreadable | None:
        """Return what the process answers; None where it has ended."""
        out = self.pipes()[1]
        head = out.read(1 + LENGTH)
        length = int.from_bytes(head[1:], "big")
        content = out.read(length)
        if len(head) < 1 + LENGTH or len(content) < length:
            return None
        return Unreadable(content.decode()) if head[0] else content

    def end(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in self.pipes():
                with suppress(OSError):
                    pipe.close()
