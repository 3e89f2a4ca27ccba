"""A training run in its folder: metrics, samples, states, and an exact way back."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from . import atomic, checkpoint, images, runs, sampling, state
from .config import ModelConfig, TrainConfig
from .console import say
from .data import Dataset
from .errors import CheckpointError, Diverged, OutOfResources, Stopped
from .likelihood import bits_per_dim, bound
from .manifest import Manifest
from .model import Decodes, Model, Scores
from .progress import Progress
from .train import Training, fit, steps_per_epoch

KEPT_STATES = 2
PREVIEWS = 25  # images in a sample grid
PREVIEW_SEED = 0


class Run:
    """One run: what was chosen, where it is written, and how far it is."""

    def __init__(self, config: ModelConfig, train: TrainConfig, data: Dataset, horizon: int) -> None:
        """Build the model with fresh weights; horizon is the epoch at which the schedule ends."""
        self.config, self.train, self.data = config, train, data
        self.folder = Path()  # set by execute or restore
        self.device = checkpoint.device_of(train.device)
        torch.manual_seed(train.seed)
        self.model: Model = config.build(data.train.shape).to(self.device)
        self.training = Training(self.model, train)
        self.pixels = self.model.training_images(data.train).to(self.device)
        self.labels = None if data.train.labels is None else data.train.labels.to(self.device)
        self.per_epoch = steps_per_epoch(len(self.pixels), train.batch_size)
        self.last, self.horizon = train.epochs * self.per_epoch, horizon * self.per_epoch
        self.validation: Tensor | None = None
        if isinstance(self.model, Scores):
            self.validation = self.model.observe(data.validation).to(self.device)
        self.best: float | None = None  # the lowest validation bound so far
        self.metrics: dict[str, float] = {}  # of the last finished epoch
        self.seconds = 0.0  # of training in this epoch, without validation, pictures and files
        self.stop_signal = 0

    def save_state(self) -> None:
        """Write the weights if the model has no better way to choose them, then the whole state."""
        if self.validation is None:
            self.save_weights()
        path = self.folder / f"state-{self.training.step:08d}.safetensors"
        try:
            checkpoint.save(path, state.tensors_of(self.training), self.manifest("state"))
        except OSError as error:
            say(f"warning: step {self.training.step} was not saved ({error.strerror}); the states before it are kept.")
            return
        for old in runs.states(self.folder)[KEPT_STATES:]:
            old.unlink()

    def save_weights(self) -> None:
        """Write model.safetensors: the moving average where there is one."""
        checkpoint.save(self.folder / runs.WEIGHTS, self.training.best.state_dict(), self.manifest("weights"))

    def manifest(self, role: str) -> Manifest:
        """Return what a file of this step says of itself."""
        train = {k: v for k, v in asdict(self.train).items() if k in SHAPING}
        return Manifest(
            model=self.config.name,
            config=asdict(self.config),
            train=train,
            shape=self.model.shape,
            dataset={"name": self.data.name, "digest": self.data.digest, "train_images": len(self.pixels)},
            role=role,
            step=self.training.step,
            epoch=self.training.step // self.per_epoch,
            metrics=self.metrics,
            progress={"best": self.best} if role == "state" else {},
            versions=checkpoint.versions(),
        )

    def restore(self, folder: Path) -> None:
        """Go back to the folder's newest state that is whole; raise CheckpointError if there is none."""
        self.folder = folder
        for path in runs.states(self.folder):
            try:
                about, tensors = checkpoint.load(path)
            except CheckpointError as error:
                say(f"warning: {error} Trying the state before it.")
                continue
            state.restore(self.training, tensors, path)
            self.training.step, self.best, self.metrics = about.step, about.progress["best"], dict(about.metrics)
            if about.versions["torch"] != torch.__version__:
                say(f"warning: torch was {about.versions['torch']}, is {torch.__version__}: the bits may differ.")
            self.drop_metrics_after(about.step)
            return
        raise CheckpointError(f"{self.folder} holds no whole state to go on from; start anew with another --name.")

    def drop_metrics_after(self, step: int) -> None:
        """Forget the lines of epochs that will be trained again."""
        kept = [json.dumps(line) for line in runs.read_metrics(self.folder) if line["step"] <= step]
        atomic.write(self.folder / "metrics.jsonl", "".join(line + "\n" for line in kept).encode())

    def execute(self, folder: Path) -> None:
        """Train to the last epoch in this folder; raise Stopped or TimeUp with the state saved."""
        self.folder = folder
        train, training = self.train, self.training
        progress = Progress(training.step, self.last, train.batch_size, train.quiet, train.json)
        save_steps = max(1, round(train.save_every * self.per_epoch))
        deadline = monotonic() + 60 * train.max_minutes if train.max_minutes is not None else None
        if training.step == 0:
            self.preview(0)
        self.listen()
        try:
            started = monotonic()
            for step in fit(training, self.pixels, self.labels, self.last, self.horizon):
                progress.advance(step.step, lambda: self.look(step.terms))  # noqa: B023 - called at once
                stopping = self.stop_signal or (deadline is not None and monotonic() > deadline)
                epoch_ends = step.step % self.per_epoch == 0
                if epoch_ends or stopping or step.step % save_steps == 0:
                    self.seconds += monotonic() - started
                    self.check_divergence()
                    if epoch_ends:
                        progress.epoch(self.end_epoch(), train.epochs)
                    if stopping or step.step % save_steps == 0 or step.step == self.last:
                        self.save_state()
                    if stopping and step.step < self.last:
                        self.leave()
                    started = monotonic()
        except torch.OutOfMemoryError as error:
            raise OutOfResources(f"out of memory at --batch-size {train.batch_size}; try a smaller one.") from error
        finally:
            progress.close()

    def look(self, terms: Mapping[str, Tensor]) -> dict[str, float]:
        """Read the terms of a step, and whether the run has diverged."""
        self.check_divergence()
        return {name: value.item() for name, value in terms.items()}

    def check_divergence(self) -> None:
        """Raise Diverged if any loss has not been finite; nothing is written after it."""
        for player, step in zip(self.training.players, self.training.diverged.tolist(), strict=True):
            if step:
                kept = runs.states(self.folder)
                safe = f"the last good state is {kept[0]}" if kept else "no state had been saved"
                raise Diverged(
                    f"the loss of the {player} was not finite at step {step}; {safe}."
                    f" Train anew with a lower --lr than {self.train.lr:g}, or with --clip 1."
                )

    def end_epoch(self) -> dict[str, Any]:
        """Validate, keep the best weights, write the metrics line and what is due of pictures."""
        epoch = self.training.step // self.per_epoch
        means = {name: total.item() / self.per_epoch for name, total in self.training.totals.items()}
        self.metrics = {**means, **self.validate(means)}
        if self.validation is not None and self.metrics["validation_nats"] == self.best:
            self.save_weights()
        seen, seconds = self.per_epoch * self.train.batch_size, self.seconds
        timing = {"seconds": round(seconds, 3), "images_per_second": round(seen / seconds, 1)}
        line = {"epoch": epoch, "step": self.training.step, **timing, **self.metrics}
        atomic.append_line(self.folder / "metrics.jsonl", json.dumps(line))
        every = self.train.sample_every or max(1, self.train.epochs // 10)
        if epoch == 1 or epoch % every == 0 or self.training.step == self.last:
            self.preview(epoch)
            self.draw_curves()
        self.seconds = 0.0
        return line

    def validate(self, means: Mapping[str, float]) -> dict[str, float]:
        """Return the bounds of training and validation in both units; the noise is the same in every epoch."""
        model = self.training.best.eval()
        if self.validation is None or not isinstance(model, Scores):
            return {}
        nats = bound(model, self.validation, K=1).tight.mean().item()
        if not isfinite(nats):
            raise Diverged(f"the likelihood of the validation images is {nats}; train anew with a lower --lr.")
        self.best = nats if self.best is None else min(self.best, nats)
        return {
            "bits_per_dim": bits_per_dim(means[model.negative_bound], model.shape),
            "validation_nats": nats,
            "validation_bits_per_dim": bits_per_dim(nats, model.shape),
        }

    def preview(self, epoch: int) -> None:
        """Write the sample grid of an epoch, from the same noise as every other."""
        model = self.training.best.eval()
        if not isinstance(model, Decodes):
            return
        name = self.folder / "samples" / f"epoch-{epoch:03d}.png"
        drawn = sampling.sample(model, PREVIEWS, PREVIEW_SEED)
        images.save(name, drawn, columns=5)
        if model.draws:
            means = sampling.sample(model, PREVIEWS, PREVIEW_SEED, means=True)
            images.save(name.with_name(f"{name.stem}-means.png"), means, columns=5)

    def draw_curves(self) -> None:
        """Write curves.png from metrics.jsonl."""
        lines = runs.read_metrics(self.folder)
        plot = self.model.plot
        series = {label: [line.get(metric) for line in lines] for label, metric in plot.series.items()}
        images.curves(self.folder / "curves.png", [line["epoch"] for line in lines], series, plot.unit, plot.levels)

    def listen(self) -> None:
        """Finish the step on SIGINT or SIGTERM; a second signal ends the process at once."""

        def on_signal(number: int, frame: object) -> None:
            self.stop_signal = number
            signal.signal(number, signal.SIG_DFL)

        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):  # not in the main thread: nobody signals us there
                signal.signal(number, on_signal)

    def leave(self) -> None:
        """Raise Stopped with the way back."""
        back = f"genctl train {self.config.name} --resume {self.folder}"
        done = f"saved after step {self.training.step} of {self.last}; go on with: {back}"
        if not self.stop_signal:
            raise TimeUp(done)
        raise Stopped(done, self.stop_signal)


class TimeUp(Exception):
    """--max-minutes ended the training: no failure."""


SHAPING = {"epochs", "batch_size", "lr", "schedule", "clip", "ema", "seed", "train_size", "validation"}
