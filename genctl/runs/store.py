"""What a run keeps in its folder: weights, states, the metrics lines, pictures; and the way back from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoint import atomic, manifest
from ..checkpoint import tensors as checkpoint
from ..checkpoint.manifest import Header, Manifest, of_run, run_of
from ..errors import CheckpointError, OutOfResources
from ..terminal.reporter import Reporter
from . import alarms
from .folder import KEPT_STATES, WEIGHTS, prune_states, read_metrics, states
from .lock import Held


class Store:
    """The folder of one run, held. A periodic write that fails is a warning; the last one of a run is an error.

    Before each write the folder is looked at: if it is another run's by now, DataError ends the training.
    """

    def __init__(self, held: Held, reporter: Reporter) -> None:
        self.held, self.folder, self.reporter = held, held.folder, reporter
        self.lines: list[str] = []  # of metrics.jsonl, not written yet
        self.failed: set[str] = set()  # decorations that have failed, each of which was said once

    @contextmanager
    def attempt(self, what: str, last: bool, tensors: Mapping[str, Tensor] | None = None) -> Iterator[None]:
        """Turn an OSError of the block into a warning, or into OutOfResources when it is the last chance."""
        self.held.check()
        try:
            yield
        except OSError as error:
            if not last:
                self.reporter.say(f"warning: {what} was not written ({error.strerror}); what was there before is kept.")
                return
            needed = sum(t.nbytes for t in (tensors or {}).values())
            size = f"; {needed:,} bytes are needed" if needed else ""
            raise OutOfResources(f"{what} was not written in {self.folder} ({error.strerror}){size}.") from error

    def save_weights(self, tensors: Mapping[str, Tensor], about: Manifest, last: bool) -> bool:
        """Write model.safetensors, the weights to use; tell whether that worked."""
        with self.attempt("model.safetensors", last, tensors):
            checkpoint.save(self.folder / WEIGHTS, tensors, about)
            return True
        return False

    def best_kept(self) -> float | None:
        """Return the validation bound of model.safetensors, which may be of an epoch after the newest state.

        None where it is missing or damaged: the next epoch's weights take its place.
        """
        try:
            return manifest.check(self.folder / WEIGHTS).manifest.metrics.get("validation_nats")
        except CheckpointError:
            return None

    def save_state(self, tensors: Mapping[str, Tensor], about: Manifest, last: bool, finished: bool = False) -> None:
        """Write the whole training state; once it is durable, remove older ones: a finished run keeps one."""
        with self.attempt(f"the state of step {about.step}", last, tensors):
            self.write_metrics()  # a resume will not train these epochs again
            path = self.folder / f"state-{about.step:08d}.safetensors"
            checkpoint.save(path, tensors, of_run(about, self.held.run))
            self.held.check()
            prune_states(self.folder, 1 if finished else KEPT_STATES, path, self.held.descriptor)

    @contextmanager
    def decoration(self, what: str) -> Iterator[None]:
        """Turn any failure of the block into a warning, said once: no training ends for want of a picture."""
        self.held.check()
        try:
            yield
        except Exception as error:  # a library's own, a plug-in's own: whatever it is
            why = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
            if what not in self.failed:
                self.reporter.say(f"warning: {what} failed ({why}); the training goes on without.")
            self.failed.add(what)

    def newest_state(
        self, model: str, fits: Callable[[Header, Path], None]
    ) -> tuple[Manifest, dict[str, Tensor], Path] | None:
        """Return the newest whole state, None where none was ever saved; raise CheckpointError if none is whole.

        What fits() says of a whole one is not passed over: its tensors are those of another training.
        """
        paths = states(self.folder)
        for path in paths:
            try:
                header = manifest.check(path)
                about = header.manifest
                if about.role != "state" or about.model != model:
                    raise CheckpointError(f"{path} is no training state of a {model}.")
                if run_of(about) != self.held.run:
                    raise CheckpointError(f"{path} is a state of another run.")
            except CheckpointError as error:
                self.reporter.say(f"warning: {error} Trying the state before it.")
                continue
            fits(header, path)
            try:
                tensors = checkpoint.read(path)
                if not all(t.isfinite().all() for name, t in tensors.items() if name.startswith("model/")):
                    raise CheckpointError(f"{path} holds weights that are not finite.")
                return about, tensors, path
            except CheckpointError as error:
                self.reporter.say(f"warning: {error} Trying the state before it.")
        if paths:
            raise CheckpointError(f"{self.folder} holds no whole state to go on from; train anew with another --name.")
        return None

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl, at the latest with the next state."""
        self.lines.append(json.dumps(line))
        with self.attempt("a line of metrics.jsonl", last=False):
            self.write_metrics()

    def write_metrics(self) -> None:
        """Write the lines that are not in metrics.jsonl yet."""
        while self.lines:
            atomic.append_line(self.folder / "metrics.jsonl", self.lines[0])
            del self.lines[0]

    def drop_metrics_after(self, step: int) -> None:
        """Forget the lines and alarms of epochs that will be trained again, and a torn last line."""
        self.held.check()
        alarms.drop_after(self.folder, step)
        kept = [json.dumps(line) for line in read_metrics(self.folder) if line["step"] <= step]
        atomic.write(self.folder / "metrics.jsonl", "".join(line + "\n" for line in kept).encode())
