"""From typed options to a training: a new run, or the way back into one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from .. import data
from ..checkpoint import atomic, tensors
from ..checkpoint.schema import MOST_CLASSES
from ..config import ModelConfig, TrainConfig, as_text, flag, options_of, resumable
from ..device import device_of, exact
from ..errors import Stopped, TimeUp, UsageError
from ..models import registry
from ..ranks.group import here, joined
from ..runs import find
from ..runs.folder import RunConfig, exists, half_made, make_folder, read_config, root
from ..runs.lock import Held, lock
from ..runs.settings import options_in
from ..terminal.console import typed
from ..terminal.reporter import SILENT, Both, Reporter
from . import events, together
from .experiment import Run
from .schedule import Extension
from .validation import check_patience


def train(model: str, chosen: Mapping[str, Any], command: Sequence[str] = (), reporter: Reporter = SILENT) -> Path:
    """Start or resume a run of the model and return its folder; chosen holds only the options that the user gave.

    A run that --max-minutes ended returns too: its state is saved.
    """
    kind = registry.load(model)
    known = {**options_of(kind), **options_of(TrainConfig)}
    unknown = sorted(chosen.keys() - known.keys())
    if unknown:
        raise UsageError(f"{model} has no training option {', '.join(unknown)}; see: genctl train {model} -h")
    chosen = {name: as_text(value, known[name][0]) for name, value in chosen.items()}
    with joined(str(chosen.get("device", "auto"))) as ranks:
        chosen, reporter = together.again(chosen), reporter if ranks.leads else SILENT
        if chosen.get("resume") is not None:
            return resume(model, chosen, reporter)
        return start(model, chosen, command, reporter)


def start(model: str, chosen: Mapping[str, Any], command: Sequence[str], reporter: Reporter) -> Path:
    """Train in a new folder."""
    kind = registry.load(model)
    mine, shared = divide(kind, chosen)
    config, train = kind.of(**mine), kind.train_config(**{"out": str(root()), **shared})
    if train.extend is not None:
        raise UsageError("--extend is for more epochs of a run; give --resume RUN --epochs N, or leave it out.")
    if train.init is not None:
        train = replace(train, init=str(find.to_begin_from(model, train.init)))  # before a folder is made
    with settings(train):
        run = build(config, train, train.epochs, reporter)
        if run.device.type != "cuda" and (train.precision == "bf16" or train.tune):
            reporter.say(
                f"warning: --precision bf16 and --tune are for CUDA; on {run.device.type} they change nothing."
            )
        if not run.ranks.leads:
            return together.follow(run)
        folder = make_folder(train.out, train.name, model)
        with lock(folder) as held:
            if (folder / "config.json").exists():  # another start of this name was faster
                raise UsageError(exists(folder, model))
            about = describe(run, train, command)
            together.remember(folder)
            about.write(folder)
            held.run = about.id
            if not train.quiet:
                what = f"training {model} on {len(run.pixels):,} images of {run.data.name} in {folder}"
                reporter.say(f"{what}; epochs show: {run.model.plot.unit}")
            finish(run, about, held)
    return folder


def describe(run: Run, train: TrainConfig, command: Sequence[str]) -> RunConfig:
    """Return the config.json of a new run."""
    return RunConfig(
        model=run.config.name,
        config=run.config.to_dict(),
        train=asdict(train),
        schedule_epochs=train.epochs,
        started=datetime.now(UTC).isoformat(),
        dataset={"name": run.data.name, "digest": run.data.digest},
        device=run.device.type,
        threads=torch.get_num_threads(),
        processes=run.ranks.world,
        versions=tensors.versions(),
        command=list(command),
        id=secrets.token_hex(16),
    )


def resume(model: str, chosen: Mapping[str, Any], reporter: Reporter) -> Path:
    """Go on with a run; what was chosen and would make it another run is refused."""
    if chosen.get("name"):
        raise UsageError("--name is for a new run; leave it out beside --resume.")
    kind = registry.load(model)
    if not here().leads:
        return accompany(kind, chosen)
    folder = find.to_resume(model, str(chosen["resume"]), Path(chosen.get("out") or root()))
    if half_made(folder):
        raise UsageError(f"{folder} was never begun; start it: {typed('train', model, '--name', folder.name)}")
    read_config(folder)  # nothing is locked in what is no run
    with lock(folder) as held:
        about = read_config(folder)
        held.run = about.id
        if about.model != model:
            raise UsageError(
                f"{folder} is a run of {about.model}, not of {model};"
                f" go on with it: {typed('train', about.model, '--resume', folder)}"
            )
        config, stored = options_in(about, folder)
        refuse_changes(kind, chosen, {**config.to_dict(), **asdict(stored)}, folder)
        train = replace(stored, **resumed_options(kind, chosen))
        with settings(train):
            here().tell(asdict(about))
            run = build(config, train, about.schedule_epochs, reporter)
            check_same(run, about, folder, reporter)
            run.schedule = run.schedule._replace(extensions=Extension.from_json(about.extensions))
            check_extend(run, stored)
            run.restore(held)
            if run.finished:
                reporter.say(f"{folder} {run.ending}")
                reporter.say(f"next: {typed('sample', model, folder)}")
                together.begin(run, folder)
                return folder
            held.check()
            atomic.remove_leftovers(folder)
            if not train.quiet:
                reporter.say(f"resuming {folder} after step {run.training.step} of {run.last}")
            if longer(run, stored):
                extend(run)
            about = note_changes(run, about, folder)
            finish(run, about, held)
    return folder


def accompany(kind: type[ModelConfig], chosen: Mapping[str, Any]) -> Path:
    """Go on with the run that rank 0 has found."""
    about = RunConfig(**here().tell())
    config, stored = options_in(about, Path())
    train = replace(stored, **resumed_options(kind, chosen))
    with settings(train):
        return together.follow(build(config, train, about.schedule_epochs))


def longer(run: Run, stored: TrainConfig) -> bool:
    """Tell whether the run now has epochs beyond the end of its schedule, which it had not before."""
    return run.train.epochs > max(stored.epochs, run.schedule.last_epoch)


def check_extend(run: Run, stored: TrainConfig) -> None:
    """Raise UsageError for an --extend without more epochs to extend to."""
    if run.train.extend is not None and not longer(run, stored):
        end = max(stored.epochs, run.schedule.last_epoch)
        raise UsageError(f"--extend is for more epochs; give a larger --epochs than {end}, or leave it out.")


def extend(run: Run) -> None:
    """Extend the schedule from the next step on, and say what the learning rate will be."""
    step = run.training.step
    how = run.train.extend or ("hold" if run.train.schedule == "constant" else run.schedule.best_extension(step))
    run.schedule = run.schedule.extended(Extension(step, run.train.epochs, how))
    if not run.train.quiet:
        first, last, peak = run.rate_at(step), run.rate_at(run.last - 1), run.train.lr
        run.reporter.say(f"--extend {how}: the learning rate goes from {first:.3g} to {last:.3g} (peak: {peak:.3g})")


def note_changes(run: Run, about: RunConfig, folder: Path) -> RunConfig:
    """Write what a resume changed of the run into its config.json: a later resume goes the same way."""
    kept = {name: getattr(run.train, name) for name in resumable("longer", "moved")}
    extensions = [extension.to_dict() for extension in run.schedule.extensions]
    changed = replace(about, train={**about.train, **kept}, extensions=extensions, ended="", why="")
    if changed != about:
        changed.write(folder)
    return changed


def resumed_options(kind: type[ModelConfig], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training options that a resume does not take from the run."""
    fresh = {name: getattr(TrainConfig(), name) for name in resumable("once")}
    ours = {name: value for name, value in divide(kind, chosen)[1].items() if name not in resumable("folder")}
    return {**fresh, **ours}


def check_same(run: Run, about: RunConfig, folder: Path, reporter: Reporter) -> None:
    """Raise UsageError if the data are other ones; warn where the bits may differ."""
    if run.data.digest != about.dataset["digest"]:
        raise UsageError(
            f"{run.train.dataset} is not the data set that {folder} was trained on; say where that is with --dataset."
        )
    before = {"threads": about.threads, "device": about.device, "processes": about.processes}
    today = {"threads": torch.get_num_threads(), "device": run.device.type, "processes": run.ranks.world}
    before["passes of a step"], today["passes of a step"] = about.train.get("accumulate", 1), run.train.accumulate
    for what, now in today.items():
        if now != before[what]:
            reporter.say(f"warning: {what} before: {before[what]}, now: {now}; the bits may differ.")


def finish(run: Run, about: RunConfig, held: Held) -> None:
    """Train to the end, or to the time limit, and say what to type next; a run that failed says so in config.json."""
    if run.train.tensorboard:
        run.reporter = Both(run.reporter, events.Events(held.folder))
    try:
        run.execute(held)
    except TimeUp as stop:
        run.reporter.say(str(stop))
        return
    except Stopped:
        raise
    except Exception as error:
        held.check()
        with suppress(OSError):
            about.after(error).write(held.folder)
        run.page_ends(about.after(error).ended)
        raise
    if not run.train.quiet:
        if run.training.step < run.last:
            run.reporter.say(f"{held.folder} {run.ending}")
        run.reporter.say(f"next: {typed('sample', run.config.name, held.folder)}")


@contextmanager
def settings(train: TrainConfig) -> Iterator[None]:
    """Within, torch computes as a training needs it; after it, as the caller had it, its random numbers too."""
    device = device_of(train.device)
    states = [torch.cuda.current_device()] if device.type == "cuda" else []
    with exact(device, train.threads), torch.random.fork_rng(devices=states):
        yield


def build(config: ModelConfig, train: TrainConfig, horizon: int, reporter: Reporter = SILENT) -> Run:
    """Return the run, with its data loaded and its model built."""
    check_patience(type(config), train)
    if train.freeze is not None and train.init is None:
        raise UsageError("--freeze keeps weights of --init as they are; give both, or leave it out.")
    if train.tensorboard:
        events.check()
    with here().one_after_another("data"):
        found = data.load(train.dataset, train.train_size, train.validation, reporter, data.Reading.of(asdict(train)))
    if config.conditional and not config.classes:
        if found.train.labels is None:
            raise UsageError(f"{found.name} has no labels; --conditional needs them.")
        classes = len(found.class_names)
        if classes > MOST_CLASSES:
            raise UsageError(
                f"{found.name} has {classes:,} classes, more than {MOST_CLASSES:,}; leave out --conditional."
            )
        counts = found.train.labels.bincount(minlength=classes).tolist()
        config = replace(config, classes=classes, class_counts=tuple(counts))
    return Run(config, train, found, horizon, reporter)


def divide(kind: type[ModelConfig], chosen: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the model's options and the shared ones among those chosen."""
    shared = {f.name for f in fields(TrainConfig)}
    mine = {name: value for name, value in chosen.items() if name not in shared}
    return mine, {name: value for name, value in chosen.items() if name in shared}


def refuse_changes(kind: type[ModelConfig], chosen: Mapping[str, Any], stored: Mapping[str, Any], folder: Path) -> None:
    """Raise UsageError if a typed option that shapes the run differs from the run's."""
    known = {**options_of(kind), **options_of(TrainConfig)}
    differing = [
        f"{flag(name)} is {stored.get(name)}, not {value}"
        for name, value in chosen.items()
        if known[name][1].resumable == "no" and value != stored.get(name)
    ]
    if differing:
        raise UsageError(f"{folder} cannot go on with other options: {'; '.join(differing)}. Leave these out.")
