"""Name -> config class. A class is imported when it is named, so a listing costs nothing."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from inspect import get_annotations
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from ..config import ModelConfig, SamplingOptions, TrainConfig, flag, options_of
from ..errors import UsageError, suggestion

BUILT_IN = {
    "vae": "genctl.models.vae.config:VAEConfig",
    "gan": "genctl.models.gan.config:GANConfig",
    "realnvp": "genctl.models.realnvp.config:RealNVPConfig",
    "diffusion": "genctl.models.diffusion.config:DiffusionConfig",
}
LACKS = {
    "sample": "makes no images",
    "decode": "has no latent",
    "encode": "cannot encode an image",
    "score": "has no likelihood",
}
GROUP = "genctl.models"  # the entry-point group of models from other packages
RESERVED = frozenset(  # names of the verbs' own options, which no sampling option may have
    {
        *("model", "checkpoint", "checkpoints", "what", "n", "number", "seed", "out", "device", "dataset", "json"),
        *("steps", "path", "rows", "from_class", "to_class", "between_test_images", "quantiles", "from_images"),
        *("split", "images", "draws", "estimator", "samples", "modes", "classes", "marginal", "runs"),
        *("show", "animate", "fps"),
        *("features", "image_size", "image_channels", "fit", "background", "skip_broken"),
        *("per_image", "form", "push"),
    }
)
NOT_OPTIONS = {"conditional", "classes", "class_counts"}  # fields of every config that need not be options


@cache
def plug_ins() -> dict[str, EntryPoint]:
    """Return the models of other packages; reading entry points takes 80 ms, so not for nothing."""
    return {point.name: point for point in entry_points(group=GROUP)}


def names() -> list[str]:
    """Return every model's name, the built-in ones first."""
    return [*BUILT_IN, *sorted(set(plug_ins()) - set(BUILT_IN))]


def usable() -> list[str]:
    """Return the names of the models that can be loaded: one broken plug-in does not hide the others."""
    found = []
    for name in names():
        with suppress(UsageError):
            load(name)
            found.append(name)
    return found


def problems() -> list[str]:
    """Return a sentence for each plug-in that cannot be loaded."""
    found = []
    for name in names():
        try:
            load(name)
        except UsageError as error:
            found.append(str(error))
    return found


def known(name: str) -> bool:
    """Tell whether a model of this name exists."""
    return name in BUILT_IN or name in plug_ins()


def load(name: str) -> type[ModelConfig]:
    """Return the config class of the model; raise UsageError for an unknown or broken one."""
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        return getattr(import_module(module), attribute)
    if name not in plug_ins():
        raise UsageError(f"there is no model {name!r}.{suggestion(name, names())} Models: {', '.join(names())}.")
    try:
        return check(name, plug_ins()[name].load())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # another package's code may fail in any way, sys.exit included
        owner = plug_ins()[name].dist
        where = f" (from {owner.name})" if owner else ""
        reason = " ".join(f"{error}".split()) or type(error).__name__
        reason = f"it calls sys.exit({reason})" if isinstance(error, SystemExit) else reason
        raise UsageError(f"the model {name!r}{where} cannot be loaded: {reason}") from error


def check(name: str, kind: Any) -> type[ModelConfig]:
    """Return the config class if it keeps the contract; raise TypeError with the first thing that it lacks."""
    if not (isinstance(kind, type) and issubclass(kind, ModelConfig) and is_dataclass(kind)):
        raise TypeError(f"{kind!r} is no ModelConfig")
    for attribute in ("name", "model", "can"):
        if not hasattr(kind, attribute):
            raise TypeError(f"{kind.__name__} has no {attribute}")
    if kind.name != name:
        raise TypeError(f"{kind.__name__} names itself {kind.name!r}")
    if not isinstance(kind.model, str) or ":" not in kind.model:
        raise TypeError(f"{kind.__name__}.model is not of the form package.module:Class")
    if not isinstance(kind.can, frozenset) or kind.can - LACKS.keys():
        raise TypeError(f"{kind.__name__}.can is no frozenset of {', '.join(LACKS)}")
    if "score" in kind.can and not kind.estimators:
        raise TypeError(f"{kind.__name__} scores, but has no estimators")
    _check_options(kind, {f.name for f in fields(TrainConfig)} | {"help", "config", "print_config"})
    if not (isinstance(kind.sampling, type) and issubclass(kind.sampling, SamplingOptions)):
        raise TypeError(f"{kind.__name__}.sampling is no SamplingOptions")
    _check_options(kind.sampling, RESERVED | {"help"})
    if kind.defaults.keys() - {f.name for f in fields(TrainConfig)}:
        raise TypeError(f"{kind.__name__}.defaults names no option of training")
    if set().union(*kind.previews.values()) - {f.name for f in fields(kind.sampling)}:
        raise TypeError(f"{kind.__name__}.previews names no sampling option")
    return kind


def _check_options(kind: type[Any], taken: set[str] | frozenset[str]) -> None:
    """Raise TypeError for an option without its annotation, of a type that cannot be typed, or of a taken name."""
    options = options_of(kind)
    own = {name for name, type_ in get_annotations(kind).items() if "ClassVar" not in str(type_)}
    if own - {field.name for field in fields(kind)}:
        raise TypeError(f"{kind.__name__} is no @dataclass, so its options are lost")
    for field in fields(kind):
        if field.name in NOT_OPTIONS:
            continue
        if field.name not in options:
            raise TypeError(f"{kind.__name__}.{field.name} is not Annotated with an Opt")
        if field.name in taken:
            raise TypeError(f"{kind.__name__}.{field.name}: {flag(field.name)} is an option of genctl's own")
        if options[field.name][1].requires.keys() - options.keys():
            raise TypeError(f"{kind.__name__}.{field.name} requires an option that does not exist")
        if not _can_be_typed(options[field.name][0]):
            raise TypeError(f"{kind.__name__}.{field.name} is of a type that cannot be typed as an option")
        if field.default is MISSING:
            raise TypeError(f"{kind.__name__}.{field.name} has no default")


def _can_be_typed(kind: Any) -> bool:
    if get_origin(kind) in (UnionType, Union):
        return all(part is type(None) or _can_be_typed(part) for part in get_args(kind))
    return kind in (int, float, bool, str) or get_origin(kind) is Literal


def explanation(name: str) -> str:
    """Return what a model's folder says of it; raise UsageError where it says nothing."""
    kind = load(name)
    page = Path(str(sys.modules[kind.__module__].__file__)).with_name("explain.md")
    if not page.is_file():
        raise UsageError(f"{name} has no page; its options: genctl train {name} -h")
    return page.read_text(encoding="utf-8")


def require(kind: type[ModelConfig], needed: set[str], verb: str) -> None:
    """Raise UsageError, naming the models that can, unless the model has all that the verb needs."""
    for capability in sorted(needed - kind.can):
        able = [name for name in usable() if needed <= load(name).can]
        raise UsageError(f"{kind.name} {LACKS[capability]}; for {verb} there are: {', '.join(able)}.")
