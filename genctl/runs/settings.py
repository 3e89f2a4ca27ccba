"""The settings of a training as a file: TOML whose keys are the options as they are typed, or a run's config.json."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoint import schema
from ..config import Checked, ModelConfig, Resumable, TrainConfig, options_of, resumable
from ..config.values import check, plain
from ..errors import CheckpointError, DataError, UsageError, suggestion
from ..models import registry
from .folder import RunConfig, read_config

MOST_BYTES = 1 << 20
OF_A_COMMAND: tuple[Resumable, ...] = ("folder", "once")  # the kinds of options that are no settings of a run


@dataclass(frozen=True)
class Settings:
    """What a file chooses, by the options' names in Python; values are of the options' types."""

    model: str
    chosen: dict[str, Any]
    notes: tuple[str, ...] = ()  # sentences on what the file cannot say


def read(path: Path, model: str | None = None) -> Settings:
    """Return the settings of a file, or of a run's folder; model is what the user named.

    Raises DataError for a file that cannot be read, UsageError for what no option takes, or for another model's file.
    """
    if path.is_dir() or path.suffix == ".json":
        found = of_run(path if path.is_dir() else path.parent, path)
    else:
        found = of_toml(path, model)
    if model is not None and found.model != model:
        raise UsageError(f"{path} holds settings of {found.model}, not of {model}; say {found.model}, or leave it out.")
    return found


def of_toml(path: Path, model: str | None) -> Settings:
    """Return the settings of a TOML file."""
    try:
        values = tomllib.loads(schema.read_text(path, MOST_BYTES))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; give a TOML file to --config.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no TOML file that genctl reads: {error}.") from error
    name = values.pop("model", model)
    if not isinstance(name, str):
        raise UsageError(
            f'{path} names no model; write model = "vae" into it, or type: genctl train MODEL --config ...'
        )
    known = options(registry.load(name))
    words = {field.replace("_", "-"): field for field in known}
    chosen = {}
    for word, value in values.items():
        if word not in words:
            hint = suggestion(word, ["model", *words])
            raise UsageError(f"{path}: {name} has no option {word}.{hint} Help: genctl train {name} -h")
        kind, opt = known[words[word]]
        check(f"{path}: {word}", value, kind, opt.min, opt.max)
        chosen[words[word]] = float(value) if plain(kind) is float else value
    return Settings(name, chosen)


def of_run(folder: Path, path: Path) -> Settings:
    """Return the settings of a run, for the same run anew."""
    if path.suffix == ".json" and path.name != "config.json":
        raise DataError(f"{path} is not the config.json of a run; give that, or a TOML file.")
    about = read_config(folder)
    config, train = options_in(about, folder)
    return Settings(about.model, {**effective(config), **effective(train, but=OF_A_COMMAND)}, _notes(about, folder))


def options_in(about: RunConfig, folder: Path) -> tuple[ModelConfig, TrainConfig]:
    """Return the options of a run; raise CheckpointError for values that no option takes."""
    try:
        return registry.load(about.model).from_dict(about.config), TrainConfig.from_dict(about.train)
    except (UsageError, TypeError) as error:
        raise CheckpointError(f"{folder / 'config.json'} holds options that cannot be: {error}") from error


def _notes(about: RunConfig, folder: Path) -> tuple[str, ...]:
    """Return what of a run its options do not say."""
    if not about.extensions:
        return ()
    return (
        f"{folder} was extended after {about.schedule_epochs} epochs; a new run has one schedule for all"
        f" {about.train['epochs']}.",
    )


def options(kind: type[ModelConfig]) -> dict[str, Any]:
    """Return (type, Opt) of all options of a model's training."""
    return {**options_of(kind), **options_of(TrainConfig)}


def effective(config: Checked, but: tuple[Resumable, ...] = ()) -> dict[str, Any]:
    """Return the options of a config that belong to its form and are set, without those of some kinds."""
    found = {}
    for name, (_, opt) in options_of(type(config)).items():
        value = getattr(config, name)
        belongs = all(str(getattr(config, other)) in values.split() for other, values in opt.requires.items())
        if value is not None and belongs and opt.resumable not in but:
            found[name] = value
    return found


def merged(settings: Settings, typed: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what is chosen, what was typed over what the file says, and the names that this leaves out of the file.

    Those are options of another form than was typed: --arch conv over a file of --arch mlp.
    """
    known = options(registry.load(settings.model))

    def stands(name: str) -> bool:
        rules = known[name][1].requires.items()
        return all(str(typed[other]) in values.split() for other, values in rules if other in typed)

    kept = {name: value for name, value in settings.chosen.items() if name in typed or stands(name)}
    return {**kept, **typed}, [name for name in settings.chosen if name not in kept]


def to_toml(model: str, chosen: Mapping[str, Any]) -> list[str]:
    """Return the lines of a TOML file with every option of a new run of what is chosen; None has no word there.

    Raises UsageError for options that cannot be together.
    """
    kind, shared = registry.load(model), options_of(TrainConfig)
    config = kind.of(**{name: value for name, value in chosen.items() if name not in shared})
    train = kind.train_config(**{name: value for name, value in chosen.items() if name in shared})
    all_of_it = {**effective(config), **effective(train)}
    of_a_command = resumable(*OF_A_COMMAND)
    values = {name: v for name, v in all_of_it.items() if name in chosen or name not in of_a_command}
    return [f"model = {literal(model)}", *(f"{name.replace('_', '-')} = {literal(v)}" for name, v in values.items())]


def literal(value: bool | int | float | str) -> str:
    """Return a value as TOML has it; raise UsageError for a text that is no Unicode."""
    if not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else repr(value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{value!r} is no Unicode, which TOML needs; give another name.") from error
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
