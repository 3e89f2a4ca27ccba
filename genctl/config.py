"""What may be chosen: a model's options and those of its training, readable without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, get_args, get_type_hints

from .errors import UsageError
from .values import check, plain

Resumable = Literal[  # what a resume does with an option
    "no",  # it shapes the run: another value is refused
    "longer",  # it shapes the run, but a new value may be given, and is written into it
    "moved",  # it says where the same data lie now, and is written into the run
    "yes",  # a new value holds for this command; without one the run's own holds
    "once",  # it is of one command, and never taken from the run
    "folder",  # it finds the run
]


MOST_DEPTH = 1_000  # layers, blocks, levels: what a deep network is made of
MOST_WIDTH = 1 << 16  # units or channels of a layer
MOST = {int: 2**31 - 1, float: 1e30}  # of an option that names no maximum


@dataclass(frozen=True)
class Opt:
    """What a field's annotation adds to its type: help, an inclusive range, and all rules of the option."""

    help: str
    min: float | None = None
    max: float | None = None
    requires: Mapping[str, str] = field(default_factory=dict)  # other option -> its values that this one belongs to
    resumable: Resumable = "no"
    panel: str = "Model"
    acts: Literal["noise", "decoder", "draw"] = "noise"  # of a sampling option: where it acts


def options_of(config: type[Any]) -> Mapping[str, tuple[Any, Opt]]:
    """Return (type, Opt) of each field that is an option, in the order of the dataclass."""
    known: Any = config  # a class is always hashable
    return _options(known)


@cache
def _options(config: Any) -> Mapping[str, tuple[Any, Opt]]:
    hints = get_type_hints(config, include_extras=True)  # slow: each annotation is compiled
    annotated = {f.name: get_args(hints[f.name])[:2] for f in fields(config)}
    return {name: (pair[0], pair[1]) for name, pair in annotated.items() if len(pair) == 2 and isinstance(pair[1], Opt)}


def flag(field: str) -> str:
    """Return a field's name as it is typed: latent_dim -> --latent-dim."""
    return "--" + field.replace("_", "-")


class Checked:
    """A dataclass whose options keep their ranges and belong together, for Python callers and old files too."""

    def __post_init__(self) -> None:
        """Raise UsageError for the first option that is out of its range, or of another form than is chosen."""
        for name, (kind, opt) in options_of(type(self)).items():
            most = MOST.get(plain(kind)) if opt.max is None else opt.max
            check(flag(name), getattr(self, name), kind, opt.min, most)
        self.check_together(name for name in options_of(type(self)) if getattr(self, name) != self.default_of(name))

    def default_of(self, name: str) -> Any:
        """Return the default of an option."""
        return type(self).__dataclass_fields__[name].default  # type: ignore[attr-defined]

    def check_together(self, chosen: Iterable[str]) -> None:
        """Raise UsageError if one of the chosen options belongs to another form."""
        known = options_of(type(self))
        for name in chosen:
            for other, values in known[name][1].requires.items():
                if str(getattr(self, other)) not in values.split():
                    if values == "True":
                        raise UsageError(f"{flag(name)} belongs to {flag(other)}; give that too.")
                    belongs = f"{flag(other)} {' or '.join(values.split())}"
                    raise UsageError(f"{flag(name)} belongs to {belongs}, not to {flag(other)} {getattr(self, other)}.")

    @classmethod
    def of(cls, **chosen: Any) -> Self:
        """Build from what a user chose; an option of another form is refused even at its default."""
        unknown = sorted(chosen.keys() - options_of(cls).keys())
        if unknown:
            raise UsageError(f"{cls.__name__} has no option {', '.join(unknown)}.")
        config = cls(**chosen)
        config.check_together(chosen)
        return config

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from a file's JSON; raise UsageError for a name this version does not know.

        Options of other forms are left out: their defaults may have changed since.
        """
        unknown = sorted(set(values) - {f.name for f in fields(cls)})  # type: ignore[arg-type]
        if unknown:
            raise UsageError(f"{cls.__name__} has no option {', '.join(unknown)}; upgrade genctl.")
        known = options_of(cls)
        rules = {name: known[name][1].requires if name in known else {} for name in values}
        has = {
            name: all(str(values.get(o)) in v.split() for o, v in rules[name].items() if o in values) for name in rules
        }
        return cls(**{name: value for name, value in values.items() if has[name]})


@dataclass(frozen=True)
class Estimator:
    """One way to a likelihood: what it is to -log p(x), and what K draws an image do to it."""

    name: str
    bound: Literal["exact -log p", "upper bound on -log p", "estimate of -log p"] = "upper bound on -log p"
    draws: Literal["none", "mean", "log-mean-exp"] = "log-mean-exp"  # how the K weights are put together
    shared: bool = False  # the same draws for all images
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


OPTIMIZATION, DATA, RUN = "Optimization", "Data", "Run"
MANY = 10**9  # epochs or images: more than any run has


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Checked):
    """The options that every model's training shares."""

    epochs: Annotated[
        int,
        Opt("number of epochs in all, also after a resume", min=1, max=MANY, panel=OPTIMIZATION, resumable="longer"),
    ] = 40
    batch_size: Annotated[int, Opt("images per step", min=1, max=MANY, panel=OPTIMIZATION)] = 128
    lr: Annotated[float, Opt("peak learning rate", min=0, max=1e30, panel=OPTIMIZATION)] = 1e-3
    schedule: Annotated[
        Literal["constant", "cosine", "one-cycle"],
        Opt("learning-rate schedule", panel=OPTIMIZATION),
    ] = "constant"
    extend: Annotated[
        Literal["hold", "stretch", "restart"] | None,
        Opt(
            "beside --resume RUN --epochs N: the schedule stays at its end, becomes that of N epochs, or starts anew"
            " for those that are left; by default restart, before its end stretch",
            panel=OPTIMIZATION,
            resumable="once",
        ),
    ] = None
    clip: Annotated[float, Opt("gradient clipping: largest norm per player; 0 is off", min=0, panel=OPTIMIZATION)] = 0.0
    ema: Annotated[
        float, Opt("decay of the moving average of the weights; 0 is off", min=0, max=0.999999, panel=OPTIMIZATION)
    ] = 0.0
    dataset: Annotated[
        str,
        Opt(
            "mnist, stacked-mnist, fashion-mnist, kmnist, emnist, cifar10, cifar100, or a path: a folder or zip of"
            " pictures (sub-folders are classes), .npz, .npy, IDX files",
            panel=DATA,
            resumable="moved",
        ),
    ] = "mnist"
    image_size: Annotated[
        str | None, Opt("N or HxW pixels; by default the pictures' own, or 32 or 64 where they differ", panel=DATA)
    ] = None
    image_channels: Annotated[
        int | None, Opt("1 (grey) or 3 (colour); by default the pictures' own", min=1, max=3, panel=DATA)
    ] = None
    fit: Annotated[Literal["crop", "pad", "stretch"], Opt("where height and width have another ratio", panel=DATA)] = (
        "crop"
    )
    background: Annotated[str, Opt("colour behind pictures with alpha: a name or #rrggbb", panel=DATA)] = "white"
    split: Annotated[
        Literal["default", "digest"],
        Opt("divide IDX files and named data by digest, as pictures always are", panel=DATA),
    ] = "default"
    skip_broken: Annotated[bool, Opt("leave out pictures that cannot be read", panel=DATA)] = False
    train_size: Annotated[int | None, Opt("use only the first N training images", min=1, panel=DATA)] = None
    validation: Annotated[
        int | None,
        Opt("validation images; by default a sixth of the training images, at most 10,000", min=1, panel=DATA),
    ] = None
    init: Annotated[str | None, Opt("weights to start from, of a run on other data: a file or run", panel=RUN)] = None
    out: Annotated[str, Opt("folder that holds the runs, or $GENCTL_RUNS", panel=RUN, resumable="folder")] = (
        "checkpoints"
    )
    name: Annotated[str | None, Opt("name of the run's folder", panel=RUN, resumable="folder")] = None
    resume: Annotated[
        str | None, Opt("run to continue: a folder, a name, or latest", panel=RUN, resumable="folder")
    ] = None
    seed: Annotated[int, Opt("random seed of weights, data order and noise", min=0, max=2**63 - 1, panel=RUN)] = 0
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], Opt("device to compute on", panel=RUN, resumable="yes")
    ] = "auto"
    precision: Annotated[
        Literal["bf16", "tf32", "float32"],
        Opt("CUDA precision in training: TF32 matmuls, or bfloat16 autocast", panel=RUN),
    ] = "tf32"
    tune: Annotated[
        bool,
        Opt("CUDA: autotune convolutions; faster, but a resume may differ in its last bits", panel=RUN),
    ] = False
    compile: Annotated[bool, Opt("torch.compile the networks; worth it for a large flow on a GPU", panel=RUN)] = False
    threads: Annotated[int | None, Opt("CPU threads", min=1, max=1024, panel=RUN, resumable="yes")] = None
    sample_every: Annotated[
        int | None, Opt("epochs between sample grids; by default a tenth of the run", min=1, panel=RUN, resumable="yes")
    ] = None
    save_every: Annotated[
        float | None,
        Opt(
            "epochs between saved states; by default a few seconds of training",
            min=0.001,
            max=MANY,
            panel=RUN,
            resumable="yes",
        ),
    ] = None
    max_minutes: Annotated[float | None, Opt("save and stop after X minutes", min=0, panel=RUN, resumable="once")] = (
        None
    )
    quiet: Annotated[bool, Opt("show no progress", panel=RUN, resumable="once")] = False
    json: Annotated[bool, Opt("print each epoch's metrics as a line of JSON", panel=RUN, resumable="once")] = False

    def shaping(self) -> dict[str, Any]:
        """Return the options that shape the weights, which a checkpoint records; of --init, a path, its own way."""
        return {name: getattr(self, name) for name in resumable("no", "longer") if name != "init"}


def resumable(*kinds: Resumable) -> list[str]:
    """Return the training options of these kinds."""
    return [name for name, (_, opt) in options_of(TrainConfig).items() if opt.resumable in kinds]
