"""A training run: epochs, validation, the best weights, pictures, and when to save."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import inf, isfinite
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from ..checkpoint.manifest import Manifest
from ..config import ModelConfig, SamplingOptions, TrainConfig
from ..data import Dataset
from ..data.pieces import through
from ..device import device_of, place
from ..errors import Diverged, OutOfResources, Stopped, TimeUp
from ..evaluation.bounds import bits_per_dim
from ..generation import sampling
from ..models.base import Epoch, Model, Samples, Scores, build
from ..ranks.group import here
from ..runs import alarms
from ..runs.folder import PREVIEW_SEED, read_metrics, states
from ..runs.lock import Held
from ..runs.store import Store
from ..terminal.console import typed
from ..terminal.reporter import SILENT, Course, Reporter
from ..terminal.signals import StopRequest
from . import init, live, pictures, state, together
from .alarms import Alarms
from .division import Division, Question
from .feed import steps_per_epoch
from .loop import Step, Training, check_batch, fit
from .schedule import Schedule, rate
from .validation import Validation

REFRESH = 0.5  # seconds between looks at the loss; each look waits for the device
SAVE_AFTER = {True: 15.0, False: 120.0}  # seconds from one saved state to the next, at an epoch's end and within it


class Run:
    """One run: its model and data, how far it is, and the best it has found."""

    def __init__(
        self, config: ModelConfig, train: TrainConfig, data: Dataset, horizon: int, reporter: Reporter = SILENT
    ) -> None:
        """Build the model with fresh weights; horizon is the epoch at which the schedule ends."""
        self.config, self.train, self.data, self.reporter = config, train, data, reporter
        self.ranks = here()
        self.alarms = Alarms(reporter)
        self.device = device_of(train.device)
        torch.manual_seed(train.seed)
        self.model: Model = place(build(config, data.train.shape), self.device)
        self.training = Training(self.model, train)
        self.pixels = through(data.train, self.model.training_images, self.device)
        self.batch = min(len(self.pixels), train.batch_size)  # images in a step
        check_batch(self.model, self.batch)
        Division(self.ranks, self.model, self.batch, train.accumulate)
        self.labels = None if data.train.labels is None else data.train.labels.to(self.device)
        self.per_epoch = steps_per_epoch(len(self.pixels), train.batch_size)
        self.last = train.epochs * self.per_epoch
        self.schedule = Schedule(horizon * self.per_epoch, self.per_epoch)
        self.validation = Validation(self.model, data, self.device)
        self.metrics: dict[str, float] = {}  # of the last finished epoch
        self.init: str | None = None  # digest of the weights that it started from
        self.seconds = 0.0  # of training in this epoch, without validation, pictures and files
        self.looked, self.looked_at = monotonic(), 0  # when and at which step the loss was last read
        self.unwritten: tuple[dict[str, Tensor], Manifest] | None = None  # the best weights, not written yet
        self.saved = 0.0  # when the last state was saved
        self.page: live.Page | None = None
        self.block = 0.0  # seconds that a grid of samples took

    @property
    def epoch(self) -> int:
        """Return the finished epochs."""
        return self.training.step // self.per_epoch

    @property
    def finished(self) -> bool:
        """Tell whether the last step is done, or the patience with the validation bound is at its end."""
        return self.training.step >= self.last or self.validation.ended(self.train.patience)

    @property
    def ending(self) -> str:
        """Return why a finished run goes on no more, and what to give for more."""
        if self.training.step >= self.last:
            return f"has {self.epoch} epochs already; for more, give a larger --epochs than {self.epoch}."
        waited = self.train.patience
        return f"has ended at epoch {self.epoch}: no better validation in {waited} epochs; for more, raise --patience."

    def rate_at(self, step: int) -> float:
        """Return the learning rate of the step after this many."""
        return self.train.lr * rate(self.train.schedule, self.schedule.progress(step)[1])

    def restore(self, held: Held) -> None:
        """Go back to the folder's newest whole state; where none was saved yet, to the start."""
        store = Store(held, self.reporter)
        found = store.newest_state(self.config.name, partial(state.check, self.training))
        if found is None:
            self.reporter.say(f"{held.folder} has no saved state yet; starting from its first step.")
        else:
            about, tensors, path = found
            state.restore(self.training, tensors, path)
            self.training.step, self.metrics = about.step, dict(about.metrics)
            self.seconds = about.progress.get("seconds", 0.0)
            self.init = about.train.get("init")
            before = about.versions.get("torch", "unknown")
            if before != torch.__version__:
                self.reporter.say(f"warning: torch before: {before}, now: {torch.__version__}; the bits may differ.")
        store.drop_metrics_after(self.training.step)
        self.validation.restore(store.best_kept(), read_metrics(held.folder))

    def execute(self, held: Held) -> None:
        """Train to the last epoch in the folder that is held; raise Stopped or TimeUp with the state saved."""
        train, training, store = self.train, self.training, Store(held, self.reporter)
        question = Question(self.ranks, training.step)
        deadline = monotonic() + 60 * train.max_minutes if train.max_minutes is not None else inf
        if training.step == 0 and train.init is not None:
            found, self.init = init.weights(train.init, self.model, self.reporter)
            training.begin_from(found)
        together.begin(self, held.folder)
        if training.step % self.per_epoch == 0:
            self.draw(store)  # of the start, or those that a kill after the state has kept from being drawn
        plot = self.model.plot
        course = Course(plot.unit, plot.levels, self.per_epoch, read_metrics(held.folder))
        self.reporter.start(training.step, self.last, plot.series, course)
        self.page = live.Page(self, store)
        self.looked, self.looked_at = monotonic(), training.step
        self.saved = self.looked - SAVE_AFTER[True]  # so that the first epoch's end is saved
        try:
            with StopRequest() as stop:
                started = monotonic()
                for step in fit(training, self.pixels, self.labels, self.last, self.schedule):
                    self.look(store, step)
                    epoch_ends = step.step % self.per_epoch == 0
                    number, late = question(step.step, epoch_ends, stop.number, monotonic() > deadline)
                    stopping = bool(number) or late
                    save_due = self.save_due(step.step, epoch_ends)
                    if epoch_ends or save_due or stopping:
                        self.check_divergence(store)  # waits for what a GPU has still to do: it counts as training
                        self.seconds += monotonic() - started
                        if epoch_ends:
                            line = self.end_epoch(store)
                            with store.decoration("a line of the log"):
                                self.reporter.epoch(line, train.epochs)
                        if save_due or stopping or self.finished:
                            self.save(store, last=stopping or self.finished)
                        if epoch_ends:
                            self.draw(store)
                        if stopping and not self.finished:
                            self.leave(store, number)
                        if self.finished:
                            break
                        started = monotonic()
            self.page_ends("finished")
        except torch.OutOfMemoryError as error:
            raise OutOfResources(f"out of memory at --batch-size {train.batch_size}; try a smaller one.") from error
        finally:
            self.reporter.close()

    def look(self, store: Store, step: Step) -> None:
        """Twice a second, read whether the run has diverged and the terms of a step."""
        now = monotonic()
        if now - self.looked < REFRESH:
            return
        self.check_divergence(store)
        terms = {name: value.item() for name, value in step.terms.items()}
        if isinstance(self.model, Scores) and "bits_per_dim" in self.model.plot.series.values():
            terms["bits_per_dim"] = bits_per_dim(terms[self.model.negative_bound], self.model.shape)
        speed = (step.step - self.looked_at) * self.batch / (now - self.looked)
        self.reporter.step(step.step, terms, speed)
        if self.page is not None:
            self.page.refresh()
        self.looked, self.looked_at = now, step.step

    def page_ends(self, state: str) -> None:
        """Write the last page, if one was begun."""
        if self.page is not None:
            self.page.end(state)

    def check_divergence(self, store: Store) -> None:
        """Raise Diverged if a loss or the weights have not been finite; nothing is written after it."""
        problem = self.training.failure()
        if problem:
            kept = states(store.folder)
            safe = f"the last good state is {kept[0]}" if kept else "no state had been saved"
            advice = f"train anew with a lower --lr than {self.train.lr:g}, or with --clip 1"
            raise Diverged(f"{problem}; {safe}; {advice}.")

    def end_epoch(self, store: Store) -> dict[str, Any]:
        """Validate, keep the best weights, write the metrics line."""
        means = self.means()
        measured = self.validate(means)
        self.metrics = {**means, **measured}
        with store.decoration("the diagnosis of an epoch"):
            self.metrics |= {name: value for name, value in self.diagnose(store, means).items() if isfinite(value)}
        if measured and measured["validation_nats"] == self.validation.best:
            self.hold_weights()
        rate = self.per_epoch * self.batch / max(self.seconds, 1e-9)
        timing = {"seconds": round(self.seconds, 3), "images_per_second": round(rate, 1)}
        done = {"epoch": self.epoch, "step": self.training.step, "lr": self.training.lr}
        line = {**done, **timing, **self.metrics}
        store.append_metrics(line)
        self.seconds = 0.0
        return line

    def means(self) -> dict[str, float]:
        """Return the mean of each term over the epoch."""
        return {name: total.item() / self.per_epoch for name, total in self.training.totals.items()}

    def validate(self, means: Mapping[str, float]) -> dict[str, float]:
        """Return the bounds of training and validation of the epoch that has ended."""
        return self.validation.measure(self.training.best.eval(), means, self.epoch, self.training.step)

    def diagnose(self, store: Store, means: Mapping[str, float]) -> Mapping[str, float]:
        """Return what the model says of itself after an epoch, and pass its warnings on."""
        model = self.training.best.eval()

        def samples(n: int, options: SamplingOptions | None = None) -> Tensor:
            assert isinstance(model, Samples)  # noqa: S101 - the model asks for its own samples
            return sampling.sample(model, n, PREVIEW_SEED, options).to(self.device)

        found = model.diagnose(Epoch(means, self.data.train, self.validation.images, samples, self.validation.labels))
        heard = self.alarms.hear(self.epoch, found.warnings, self.training.step)
        with store.decoration("a line of alarms.jsonl"):
            alarms.append(store.folder, heard)
        return found.metrics

    def save_due(self, step: int, epoch_ends: bool) -> bool:
        """Tell whether to save now: by --save-every, or after the first epoch and then by the time that has passed."""
        if self.train.save_every is not None:
            return step % max(1, round(self.train.save_every * self.per_epoch)) == 0
        return monotonic() - self.saved >= SAVE_AFTER[epoch_ends]

    def hold_weights(self) -> None:
        """Keep a copy of the weights to use, the moving average where there is one, until the next save."""
        copied = {name: t.clone() for name, t in self.training.best.state_dict().items()}
        self.unwritten = copied, state.manifest_of(self, "weights")

    def save(self, store: Store, last: bool) -> None:
        """Write the weights to use and then the whole state, which takes them to be there."""
        self.saved = monotonic()  # also of one that fails: a full disk is not asked again at each step
        if self.validation.images is None:
            self.hold_weights()
        if self.unwritten is not None and not store.save_weights(*self.unwritten, last):
            return
        self.unwritten = None
        store.save_state(state.tensors_of(self.training), state.manifest_of(self, "state"), last, self.finished)

    def draw(self, store: Store) -> None:
        """Write the pictures that are due; to be called once the state of this epoch is safe."""
        every = self.train.sample_every or max(1, self.train.epochs // 10)
        if self.epoch <= 1 or self.epoch % every == 0 or self.finished:
            self.block = pictures.draw(store, self.config, self.training.best.eval(), self.epoch)
        elif self.reporter.each_epoch:
            pictures.show(store, self.config, self.training.best.eval(), self.epoch)

    def leave(self, store: Store, signal_number: int) -> None:
        """Raise Stopped or TimeUp with the way back."""
        self.ranks.most(0)  # the other processes wait until the state is saved
        back = typed("train", self.config.name, "--resume", store.folder)
        done = f"saved after step {self.training.step} of {self.last}; go on with: {back}"
        self.page_ends("stopped")
        raise Stopped(done, signal_number) if signal_number else TimeUp(done)
