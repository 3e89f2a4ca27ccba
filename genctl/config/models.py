"""What a model declares of itself: its options, what it can do, how it is sampled, and of what its likelihood is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from ..errors import UsageError
from .options import Checked, Opt, options_of
from .training import TrainConfig


@dataclass(frozen=True)
class Estimator:
    """One way to a likelihood: what it is to -log p(x), and what K draws an image do to it."""

    name: str
    bound: Literal["exact -log p", "upper bound on -log p", "estimate of -log p"] = "upper bound on -log p"
    draws: Literal["none", "mean", "log-mean-exp"] = "log-mean-exp"  # how the K weights are put together
    shared: bool = False  # the same draws for all images
    images: int | None = None  # how many it is of, if no number is given: fewer than all where each takes long
    together: int | None = None  # images evaluated together where each takes long, so that progress shows
    gap_to: str = ""  # the estimator of the same draws whose distance from this one is reported


class Pixels(NamedTuple):
    """What a likelihood is of, and the unit that is usual for it."""

    name: str
    about: str
    unit: Literal["bits/dim", "nats"]


LEVELS = Pixels("256 levels", "as they are", "bits/dim")
GIVEN = ", given the class"  # what follows these names for log p(x|y), which is no rival of log p(x)


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(Checked):
    """What may be chosen when images are drawn; a model class has a dataclass of its own."""

    def for_likelihood(self) -> Self | None:
        """Return these options where one of them acts in a likelihood, and None for a model that has no such option."""
        return self if any(opt.acts == "likelihood" for _, opt in options_of(type(self)).values()) else None

    def for_given_images(self) -> Self:
        """Return these options as they hold for latents of given images, which are to decode to those images."""
        return self


@dataclass(frozen=True, kw_only=True)
class Tempered(SamplingOptions):
    """Of a model whose latent is N(0, I)."""

    temperature: Annotated[float, Opt("standard deviation of the latent noise", min=0, max=1000)] = 1.0


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Checked):
    """A model's passport: its name, its options, what it can do, and where its class is."""

    name: ClassVar[str]
    model: ClassVar[str]  # "package.module:Class", imported when a model is built
    can: ClassVar[frozenset[str]]  # a subset of {"sample", "decode", "encode", "score"}
    sampling: ClassVar[type[SamplingOptions]] = SamplingOptions
    previews: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}  # a run's sample grids: ending -> sampling options
    estimators: ClassVar[tuple[Estimator, ...]] = ()  # of the likelihood; the first is that of one draw
    small: ClassVar[Sequence[Mapping[str, Any]]] = ({},)  # small forms, one of each --arch, for genctl.testing
    quick: ClassVar[Mapping[str, Any]] = {}  # sampling options that are quick, for genctl.testing
    defaults: ClassVar[Mapping[str, Any]] = {}  # what the paper chose among TrainConfig's fields

    conditional: bool = False  # p(x|y): a model that can be declares it again, as an option
    classes: int = 0  # of a conditional model's data; not typed
    class_counts: tuple[int, ...] = ()  # training images of each class, where they are known; not typed

    def __post_init__(self) -> None:
        """Raise UsageError also for counts that are not those of the classes."""
        super().__post_init__()
        counts = tuple(self.class_counts)  # a list where they come from a file
        whole = all(type(n) is int and n >= 0 for n in (self.classes, *counts))
        if not whole or (counts and (len(counts) != self.classes or not sum(counts))):
            raise UsageError(f"class_counts are no numbers of images of {self.classes} classes: {list(counts)}.")
        object.__setattr__(self, "class_counts", counts)

    @property
    def pixels(self) -> Pixels:
        """Return what the likelihood is of."""
        return LEVELS

    def to_dict(self) -> dict[str, Any]:
        """Return all options as JSON has them."""
        values = asdict(self) | {"class_counts": list(self.class_counts)}
        typed = options_of(type(self))
        return {name: value for name, value in values.items() if name in typed or value}

    @classmethod
    def train_config(cls, **chosen: Any) -> TrainConfig:
        """Return the training options: the shared defaults, the model's own, then what was chosen."""
        return TrainConfig(**{**cls.defaults, **chosen})

    @classmethod
    def estimator(cls, name: str | None, K: int = 1) -> Estimator:
        """Return the estimator of this name, or the usual one for K draws; raise UsageError if there is none."""
        if name is None:
            tighter = [e for e in cls.estimators if e.draws == "log-mean-exp" and not e.shared]
            return tighter[0] if K > 1 and tighter else cls.estimators[0]
        found = next((e for e in cls.estimators if e.name == name), None)
        if found is None:
            offered = ", ".join(e.name for e in cls.estimators)
            raise UsageError(f"{cls.name} has no estimator {name}; it has: {offered}.")
        return found
