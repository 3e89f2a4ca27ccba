"""An option: its type, range and rules, and the dataclasses that keep them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Literal, Self, get_args, get_type_hints

from ..errors import UsageError
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
    acts: Literal["noise", "decoder", "draw", "likelihood"] = "noise"  # of a sampling option: where it acts


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
