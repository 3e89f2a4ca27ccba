"""The commands that make a run again, and what was made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import ModelConfig, TrainConfig, flag, options_of, resumable
from ..errors import UsageError
from ..runs.folder import RunConfig
from ..terminal.console import typed

VERBS = {"sample": "sample", "encode": "reconstruct", "decode": "interpolate"}  # what a model can, and the verb for it
MEASURED = {"split": "--split", "images": "--images", "K": "--draws", "estimator": "--estimator", "seed": "--seed"}


def commands(
    folder: Path, about: RunConfig, kind: type[ModelConfig] | None, evaluations: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """Return what a command is for, and the command: the training with all that was not left at its default."""
    if kind is None:
        return words_of(about)
    found = [("the training", typed(*training(about, kind)))]
    for step in about.extensions:
        epochs, how = step.get("epochs"), step.get("how")
        found.append(
            ("more epochs", typed("train", about.model, "--resume", "latest", "--epochs", epochs, "--extend", how))
        )
    found += words_of(about)
    found += [(f"what {verb} draws", typed(verb, folder)) for can, verb in VERBS.items() if can in kind.can]
    measured = [line for line in evaluations if line.get("verb") in ("eval-bpd", "evaluate")]
    lines = dict.fromkeys(typed(*measurement(folder, line, kind)) for line in measured)
    return [*found, *(("what was measured", line) for line in lines)]


def words_of(about: RunConfig) -> list[tuple[str, str]]:
    """Return the command as it was typed; nothing for a run that was started from Python."""
    program, *words = about.command or [""]
    return [("as it was typed", typed(*words))] if program == "genctl" else []


def training(about: RunConfig, kind: type[ModelConfig]) -> list[object]:
    """Return the words of the training's first command, device and threads included: the bits depend on them."""
    shared = kind.train_config()
    train = {**about.train, "epochs": about.schedule_epochs, "device": about.device, "threads": about.threads}
    skipped = resumable("once", "folder")
    words: list[object] = ["train", about.model]
    for name, value in needed(kind, about.config).items():
        words += option(name, value, None)
    for name in options_of(TrainConfig):
        if name not in skipped:
            words += option(name, train.get(name), getattr(shared, name))
    return words


def needed(kind: type[ModelConfig], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a new training must be given to be of this config, in their order.

    The fields' defaults are what older files are, and a new training may choose otherwise (`of`): what it chooses well
    is left out, and what it does not is given, one after the other, as one choice follows from another.
    """
    known = {name: kind.__dataclass_fields__[name].default for name in options_of(kind)}
    values = {name: config.get(name, default) for name, default in known.items()}
    given = {name: value for name, value in values.items() if value not in (None, known[name])}
    try:
        chosen = {name: value for name, value in given.items() if value != getattr(kind.of(), name)}
        while other := differing(kind.of(**chosen), values, chosen):
            chosen[other] = values[other]
    except UsageError:  # of options that hold together only where they are all given
        return given
    return {name: chosen[name] for name in known if name in chosen}


def differing(config: ModelConfig, values: Mapping[str, Any], but: Mapping[str, Any]) -> str | None:
    """Return the first option whose value is another than this config's."""
    found = (name for name, value in values.items() if value is not None and name not in but)
    return next((name for name in found if getattr(config, name) != values[name]), None)


def option(name: str, value: Any, default: Any) -> list[object]:
    """Return an option as it is typed; nothing where it has its default."""
    if value is None or value == default:
        return []
    if isinstance(value, bool):
        return [flag(name) if value else flag(f"no_{name}")]
    return [flag(name), value]


def measurement(folder: Path, record: Mapping[str, Any], kind: type[ModelConfig]) -> list[object]:
    """Return the words of the command that gave a record; a file of features is FILE: a record has no path of it."""
    if record["verb"] == "evaluate":
        found: list[object] = ["evaluate", folder, "--samples", record.get("samples"), "--seed", record.get("seed")]
        used = {"random": "random", "given": "FILE"}.get((record.get("features") or {}).get("kind", ""))
        found += ["--features", used] if used else []
        for name in options_of(kind.sampling):
            found += option(name, record.get(name), kind.sampling.__dataclass_fields__[name].default)
        return found
    words: list[object] = ["eval-bpd", folder]
    for name, typed_as in MEASURED.items():
        words += [typed_as, record[name]] if record.get(name) is not None else []
    words += ["--class", ",".join(map(str, record["classes"]))] if record.get("classes") else []
    return [*words, *(["--marginal"] if record.get("marginal") else [])]
