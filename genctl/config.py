"""What may be chosen: a model's options and those of its training, readable without torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from .errors import UsageError
from .types import Shape

if TYPE_CHECKING:
    from .models.base import Model


@dataclass(frozen=True)
class Opt:
    """What a field's annotation adds to its type: help, an inclusive range, and where it belongs."""

    help: str
    min: float | None = None
    max: float | None = None
    arch: str = ""  # the only --arch that have this option, with spaces between; "" for all
    panel: str = "Model"
    free: bool = False  # may be given anew when a run is resumed (of the data set the digest decides)


def options_of(config: type[Any]) -> dict[str, tuple[Any, Opt]]:
    """Return each field's (type, Opt), in the order of the dataclass."""
    hints = get_type_hints(config, include_extras=True)
    annotated = {f.name: hints[f.name] for f in fields(config)}
    return {name: get_args(hint)[:2] for name, hint in annotated.items()}


def flag(field: str) -> str:
    """Return a field's name as it is typed: latent_dim -> --latent-dim."""
    return "--" + field.replace("_", "-")


class Checked:
    """A dataclass whose fields keep their ranges, for Python callers and old checkpoints too."""

    def __post_init__(self) -> None:
        """Raise UsageError for the first field that is out of its range or not among its choices."""
        for name, (kind, opt) in options_of(type(self)).items():
            value = getattr(self, name)
            if get_origin(kind) is Literal and value not in get_args(kind):
                raise UsageError(f"{flag(name)} is one of {', '.join(get_args(kind))}; not {value!r}.")
            if isinstance(value, float) and not isfinite(value):
                raise UsageError(f"{flag(name)} must be a finite number; not {value}.")
            if opt.min is not None and value is not None and value < opt.min:
                raise UsageError(f"{flag(name)} must be at least {opt.min:g}; not {value}.")
            if opt.max is not None and value is not None and value > opt.max:
                raise UsageError(f"{flag(name)} must be at most {opt.max:g}; not {value}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from a checkpoint's JSON; raise UsageError for a name this version does not know."""
        unknown = sorted(set(values) - {f.name for f in fields(cls)})  # type: ignore[arg-type]
        if unknown:
            raise UsageError(f"{cls.__name__} has no option {', '.join(unknown)}; upgrade genctl.")
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Checked, ABC):
    """A model's passport: its name, its options, what it can do, and how it is built."""

    name: ClassVar[str]
    can: ClassVar[frozenset[str]]  # a subset of {"encode", "decode", "score"}
    estimators: ClassVar[tuple[str, ...]] = ()  # of the likelihood, for those that score; the first is for K = 1
    defaults: ClassVar[Mapping[str, Any]] = {}  # what the paper chose among TrainConfig's fields

    @abstractmethod
    def build(self, shape: Shape) -> Model:
        """Return the model for images of this shape, with random weights; this imports torch."""

    @classmethod
    def train_config(cls, **typed: Any) -> TrainConfig:
        """Return the training options: the shared defaults, the model's own, then what was typed."""
        return TrainConfig(**{**cls.defaults, **typed})


OPTIMIZATION, DATA, RUN = "Optimization", "Data", "Run"


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Checked):
    """The options that every model's training shares."""

    epochs: Annotated[int, Opt("total epochs, also after a resume", min=1, panel=OPTIMIZATION, free=True)] = 40
    batch_size: Annotated[int, Opt("images in a step", min=1, panel=OPTIMIZATION)] = 128
    lr: Annotated[float, Opt("peak learning rate", min=0, max=1e30, panel=OPTIMIZATION)] = 1e-3
    schedule: Annotated[
        Literal["constant", "cosine", "one-cycle"],
        Opt("course of the learning rate over the run", panel=OPTIMIZATION),
    ] = "constant"
    clip: Annotated[float, Opt("largest gradient norm of a player; 0: no limit", min=0, panel=OPTIMIZATION)] = 0.0
    ema: Annotated[
        float, Opt("decay of the weights' moving average; 0: none", min=0, max=0.999999, panel=OPTIMIZATION)
    ] = 0.0
    dataset: Annotated[
        str, Opt("mnist, stacked-mnist, fashion-mnist, kmnist or a folder of IDX files", panel=DATA, free=True)
    ] = "mnist"
    train_size: Annotated[int | None, Opt("use the first N training images", min=1, panel=DATA)] = None
    validation: Annotated[
        int | None, Opt("images held out of training; by default a sixth, at most 10,000", min=1, panel=DATA)
    ] = None
    out: Annotated[str, Opt("folder of the runs", panel=RUN, free=True)] = "checkpoints"
    name: Annotated[str | None, Opt("name of the run's folder", panel=RUN, free=True)] = None
    resume: Annotated[str | None, Opt("go on with this run (a folder, a name, or latest)", panel=RUN, free=True)] = None
    seed: Annotated[int, Opt("seed of weights, order and noise", min=0, max=2**63 - 1, panel=RUN)] = 0
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], Opt("where to compute", panel=RUN, free=True)] = "auto"
    precision: Annotated[
        Literal["bf16", "tf32", "float32"],
        Opt("in training, on CUDA: tf32 rounds what enters products to 10 bits, bf16 all in networks to 7", panel=RUN),
    ] = "tf32"
    tune: Annotated[
        bool,
        Opt("on CUDA, time the ways to convolve first: faster, but a resume may differ in its last bits", panel=RUN),
    ] = False
    compile: Annotated[bool, Opt("compile the networks first (pays for a large flow on a GPU)", panel=RUN)] = False
    threads: Annotated[int | None, Opt("processor threads", min=1, max=1024, panel=RUN, free=True)] = None
    sample_every: Annotated[
        int | None, Opt("epochs between sample grids; by default a tenth of the run", min=1, panel=RUN, free=True)
    ] = None
    save_every: Annotated[float, Opt("epochs between saved states", min=0.001, panel=RUN, free=True)] = 1.0
    max_minutes: Annotated[float | None, Opt("save and stop after this time", min=0, panel=RUN, free=True)] = None
    quiet: Annotated[bool, Opt("print no progress", panel=RUN, free=True)] = False
    json: Annotated[bool, Opt("print the metrics lines on stdout", panel=RUN, free=True)] = False
