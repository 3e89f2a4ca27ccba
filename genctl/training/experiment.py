"""A training run: epochs, validation, the best weights, pictures, and when to save."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import inf, isfinite
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import tensors as checkpoint
from ..checkpoint.manifest import Manifest
from ..config import ModelConfig, TrainConfig
from ..data import Dataset
from ..device import device_of, place
from ..errors import Diverged, OutOfResources, Stopped, TimeUp, UsageError
from ..evaluation.bounds import bits_per_dim, bound
from ..generation import curves, image_grid, sampling
from ..models.base import Epoch, Model, Samples, Scores, build
from ..runs.folder import read_metrics, states
from ..runs.store import Store
from ..terminal.reporter import SILENT, Reporter
from ..terminal.signals import StopRequest
from . import state
from .loop import Step, Training, fit, steps_per_epoch

PREVIEWS = 25  # images in a sample grid
PREVIEW_SEED = 0
REFRESH = 0.5  # seconds between looks at the loss; each look waits for the device
SAVE_AFTER = {True: 15.0, False: 120.0}  # seconds from one saved state to the next, at an epoch's end and within it


class Run:
    """One run: its model and data, how far it is, and the best it has found."""

    def __init__(
        self, config: ModelConfig, train: TrainConfig, data: Dataset, horizon: int, reporter: Reporter = SILENT
    ) -> None:
        """Build the model with fresh weights; horizon is the epoch at which the schedule ends."""
        self.config, self.train, self.data, self.reporter = config, train, data, reporter
        self.device = device_of(train.device)
        torch.manual_seed(train.seed)
        self.model: Model = place(build(config, data.train.shape), self.device)
        self.training = Training(self.model, train)
        self.pixels = self.model.training_images(data.train).to(self.device)
        self.batch = min(len(self.pixels), train.batch_size)  # images in a step
        self.check_batch(self.batch)
        self.labels = None if data.train.labels is None else data.train.labels.to(self.device)
        self.per_epoch = steps_per_epoch(len(self.pixels), train.batch_size)
        self.last, self.horizon = train.epochs * self.per_epoch, horizon * self.per_epoch
        self.validation: Tensor | None = None  # as the likelihood sees them
        if isinstance(self.model, Scores):
            self.validation = self.model.observe(data.validation).to(self.device)
        self.validation_labels = None
        if config.classes and data.validation.labels is not None:
            self.validation_labels = data.validation.labels.to(self.device)
        self.best: float | None = None  # the lowest validation bound so far
        self.metrics: dict[str, float] = {}  # of the last finished epoch
        self.seconds = 0.0  # of training in this epoch, without validation, pictures and files
        self.looked, self.looked_at = monotonic(), 0  # when and at which step the loss was last read
        self.held: tuple[dict[str, Tensor], Manifest] | None = None  # the best weights, not written yet
        self.saved = 0.0  # when the last state was saved

    def check_batch(self, size: int) -> None:
        """Raise UsageError where the model cannot take a step of this many images."""
        name, least, together = self.config.name, self.model.smallest_batch, self.model.batch_multiple
        if size < least:
            raise UsageError(f"{name} needs {least} images in a step; raise --batch-size or --train-size.")
        if size % together:
            raise UsageError(f"{name} takes {together} images together, so not {size} a step; change --batch-size.")

    @property
    def epoch(self) -> int:
        """Return the finished epochs."""
        return self.training.step // self.per_epoch

    @property
    def finished(self) -> bool:
        """Tell whether the last step is done."""
        return self.training.step >= self.last

    def restore(self, folder: Path) -> None:
        """Go back to the folder's newest whole state; where none was saved yet, to the start."""
        store = Store(folder, self.reporter)
        found = store.newest_state(self.config.name)
        if found is None:
            self.reporter.say(f"{folder} has no saved state yet; starting from its first step.")
        else:
            about, tensors, path = found
            state.restore(self.training, tensors, path)
            self.training.step, self.metrics = about.step, dict(about.metrics)
            self.seconds = about.progress.get("seconds", 0.0)
            if about.versions["torch"] != torch.__version__:
                self.reporter.say(
                    f"warning: torch before: {about.versions['torch']}, now: {torch.__version__}; the bits may differ."
                )
        self.best = store.best_kept() if self.validation is not None else None
        store.drop_metrics_after(self.training.step)

    def execute(self, folder: Path) -> None:
        """Train to the last epoch in this folder; raise Stopped or TimeUp with the state saved."""
        train, training, store = self.train, self.training, Store(folder, self.reporter)
        deadline = monotonic() + 60 * train.max_minutes if train.max_minutes is not None else inf
        if training.step == 0:
            self.preview(store)
        self.reporter.start(training.step, self.last, self.model.plot.series)
        self.looked, self.looked_at = monotonic(), training.step
        self.saved = self.looked - SAVE_AFTER[True]  # so that the first epoch's end is saved
        try:
            with StopRequest() as stop:
                started = monotonic()
                for step in fit(training, self.pixels, self.labels, self.last, self.horizon):
                    self.look(folder, step)
                    stopping = bool(stop.number) or monotonic() > deadline
                    epoch_ends = step.step % self.per_epoch == 0
                    save_due = self.save_due(step.step, epoch_ends)
                    if epoch_ends or save_due or stopping:
                        self.check_divergence(folder)  # waits for what a GPU has still to do: it counts as training
                        self.seconds += monotonic() - started
                        if epoch_ends:
                            self.reporter.epoch(self.end_epoch(store), train.epochs)
                        if save_due or stopping or self.finished:
                            self.save(store, last=stopping or self.finished)
                        if stopping and not self.finished:
                            self.leave(folder, stop.number)
                        started = monotonic()
        except torch.OutOfMemoryError as error:
            raise OutOfResources(f"out of memory at --batch-size {train.batch_size}; try a smaller one.") from error
        finally:
            self.reporter.close()

    def look(self, folder: Path, step: Step) -> None:
        """Twice a second, read whether the run has diverged and the terms of a step."""
        now = monotonic()
        if now - self.looked < REFRESH:
            return
        self.check_divergence(folder)
        terms = {name: value.item() for name, value in step.terms.items()}
        speed = (step.step - self.looked_at) * self.batch / (now - self.looked)
        self.reporter.step(step.step, terms, speed)
        self.looked, self.looked_at = now, step.step

    def check_divergence(self, folder: Path) -> None:
        """Raise Diverged if a loss or the weights have not been finite; nothing is written after it."""
        problem = self.training.failure()
        if problem:
            kept = states(folder)
            safe = f"the last good state is {kept[0]}" if kept else "no state had been saved"
            advice = f"train anew with a lower --lr than {self.train.lr:g}, or with --clip 1"
            raise Diverged(f"{problem}; {safe}; {advice}.")

    def end_epoch(self, store: Store) -> dict[str, Any]:
        """Validate, keep the best weights, write the metrics line and what is due of pictures."""
        means = {name: total.item() / self.per_epoch for name, total in self.training.totals.items()}
        self.metrics = {**means, **self.validate(means), **self.diagnose(means)}
        if self.validation is not None and self.metrics["validation_nats"] == self.best:
            self.hold_weights()
        rate = self.per_epoch * self.batch / max(self.seconds, 1e-9)
        timing = {"seconds": round(self.seconds, 3), "images_per_second": round(rate, 1)}
        line = {"epoch": self.epoch, "step": self.training.step, **timing, **self.metrics}
        store.append_metrics(line)
        every = self.train.sample_every or max(1, self.train.epochs // 10)
        if self.epoch == 1 or self.epoch % every == 0 or self.finished:
            self.preview(store)
            self.draw_curves(store)
        self.seconds = 0.0
        return line

    def validate(self, means: Mapping[str, float]) -> dict[str, float]:
        """Return the bounds of training and validation in both units; the noise is the same in every epoch."""
        model = self.training.best.eval()
        if self.validation is None or not isinstance(model, Scores):
            return {}
        K = model.validation_draws
        chosen = type(self.config).estimator(None, K)
        nats = bound(model, self.validation, K, chosen, y=self.validation_labels).tight.mean().item()
        if not isfinite(nats):
            raise Diverged(
                f"at step {self.training.step} the validation bound is {nats}; train anew with a lower --lr."
            )
        self.best = nats if self.best is None else min(self.best, nats)
        return {
            "bits_per_dim": bits_per_dim(means[model.negative_bound], model.shape),
            "validation_nats": nats,
            "validation_bits_per_dim": bits_per_dim(nats, model.shape),
        }

    def diagnose(self, means: Mapping[str, float]) -> Mapping[str, float]:
        """Return what the model says of itself after an epoch, and pass its warnings on."""
        model = self.training.best.eval()

        def samples(n: int) -> Tensor:
            assert isinstance(model, Samples)  # noqa: S101 - the model asks for its own samples
            return sampling.sample(model, n, PREVIEW_SEED).to(self.device)

        found = model.diagnose(Epoch(means, self.data.train, self.validation, samples, self.validation_labels))
        for sentence in found.warnings:
            self.reporter.say(f"warning: epoch {self.epoch}: {sentence}.")
        return found.metrics

    def save_due(self, step: int, epoch_ends: bool) -> bool:
        """Tell whether to save now: by --save-every, or after the first epoch and then by the time that has passed."""
        if self.train.save_every is not None:
            return step % max(1, round(self.train.save_every * self.per_epoch)) == 0
        return monotonic() - self.saved >= SAVE_AFTER[epoch_ends]

    def hold_weights(self) -> None:
        """Keep a copy of the weights to use, the moving average where there is one, until the next save."""
        copied = {name: t.clone() for name, t in self.training.best.state_dict().items()}
        self.held = copied, self.manifest("weights")

    def save(self, store: Store, last: bool) -> None:
        """Write the weights to use and then the whole state, which takes them to be there."""
        if self.validation is None:
            self.hold_weights()
        if self.held is not None and not store.save_weights(*self.held, last):
            return
        self.held, self.saved = None, monotonic()
        store.save_state(state.tensors_of(self.training), self.manifest("state"), last, self.finished)

    def manifest(self, role: str) -> Manifest:
        """Return what a file of this step says of itself."""
        named = {"classes": list(self.data.class_names)} if self.config.classes else {}
        return Manifest(
            model=self.config.name,
            config=self.config.to_dict(),
            train=self.train.shaping(),
            shape=self.model.shape,
            dataset={"name": self.data.name, "digest": self.data.digest, "train_images": len(self.pixels), **named},
            role=role,
            step=self.training.step,
            epoch=self.epoch,
            metrics=self.metrics,
            progress={"best": self.best, "seconds": self.seconds} if role == "state" else {},
            versions=checkpoint.versions(),
        )

    def preview(self, store: Store) -> None:
        """Write this epoch's sample grids, from the same noise as every other."""
        model = self.training.best.eval()
        if not isinstance(model, Samples):
            return
        for ending, chosen in self.config.previews.items():
            drawn = sampling.sample(model, PREVIEWS, PREVIEW_SEED, self.config.sampling(**chosen))
            name = f"samples/epoch-{self.epoch:03d}{ending}.png"
            store.picture(name, partial(image_grid.save, images=drawn, columns=5))

    def draw_curves(self, store: Store) -> None:
        """Write curves.png from metrics.jsonl."""
        lines, plot = read_metrics(store.folder), self.model.plot
        epochs = [line["epoch"] for line in lines]
        series = {label: [line.get(metric) for line in lines] for label, metric in plot.series.items()}
        draw = partial(curves.curves, epochs=epochs, series=series, unit=plot.unit, levels=plot.levels)
        store.picture("curves.png", draw)

    def leave(self, folder: Path, signal_number: int) -> None:
        """Raise Stopped or TimeUp with the way back."""
        back = f"genctl train {self.config.name} --resume {folder}"
        done = f"saved after step {self.training.step} of {self.last}; go on with: {back}"
        raise Stopped(done, signal_number) if signal_number else TimeUp(done)
