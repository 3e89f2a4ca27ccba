"""Name -> config class. A class is imported when it is named, so a listing costs nothing."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from ..config import ModelConfig
from ..errors import UsageError, suggestion

BUILT_IN = {
    "vae": "genctl.models.vae.config:VAEConfig",
    "gan": "genctl.models.gan.config:GANConfig",
    "realnvp": "genctl.models.realnvp.config:RealNVPConfig",
}
LACKS = {"encode": "cannot encode an image", "decode": "makes no images", "score": "has no likelihood"}
GROUP = "genctl.models"  # the entry-point group of models from other packages


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
        kind = plug_ins()[name].load()
        if not (isinstance(kind, type) and issubclass(kind, ModelConfig)):
            raise TypeError(f"{plug_ins()[name].value} is no ModelConfig")
        return kind
    except Exception as error:  # a stranger's code may fail in any way
        owner = plug_ins()[name].dist
        where = f" (from {owner.name})" if owner else ""
        raise UsageError(f"the model {name!r}{where} cannot be loaded: {error}") from error


def require(kind: type[ModelConfig], needed: set[str], verb: str) -> None:
    """Raise UsageError, naming the models that can, unless the model has all that the verb needs."""
    for capability in sorted(needed - kind.can):
        able = [name for name in usable() if needed <= load(name).can]
        raise UsageError(f"{kind.name} {LACKS[capability]}; for {verb} there are: {', '.join(able)}.")
