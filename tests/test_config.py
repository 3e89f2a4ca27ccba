"""Options are described once, in a dataclass, and hold their ranges for every caller."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import Any, Literal, get_args, get_origin

import pytest
import torch

from genctl.config import MOST, Checked, ModelConfig, Opt, TrainConfig, flag, options_of
from genctl.errors import UsageError
from genctl.models import registry

MODELS = [registry.load(name) for name in registry.BUILT_IN]
CONFIGS: list[type[Checked]] = [*MODELS, *dict.fromkeys(kind.sampling for kind in MODELS), TrainConfig]
OPTIONS = [
    pytest.param(kind, name, type_, opt, id=f"{kind.__name__}.{name}")
    for kind in CONFIGS
    for name, (type_, opt) in options_of(kind).items()
]
each_option = pytest.mark.parametrize(("kind", "name", "type_", "opt"), OPTIONS)
each_model = pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.name)


def number(type_: Any) -> type | None:
    """Return int or float for an option that is a number, or may be one."""
    return next((t for t in (type_, *get_args(type_)) if t in (int, float)), None)


def options(wanted: Any) -> Any:
    """Parametrize over the options whose parameters satisfy `wanted(type, opt)`."""
    return pytest.mark.parametrize(("kind", "name", "type_", "opt"), [p for p in OPTIONS if wanted(*p.values[2:])])


def refused(kind: type[Checked], name: str, value: Any) -> bool:
    """Tell whether the config refuses the value in a sentence that names the option."""
    with pytest.raises(UsageError) as caught:
        kind(**{name: value})
    return flag(name) in str(caught.value)


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_the_defaults_are_in_their_ranges(kind: type[Checked]) -> None:
    kind()


@each_option
def test_every_option_is_described(kind: type[Checked], name: str, type_: Any, opt: Opt) -> None:
    assert isinstance(opt, Opt)
    assert len(opt.help) > 3 and not opt.help.endswith(".") and "\n" not in opt.help
    assert opt.panel and (opt.panel in ("Optimization", "Data", "Augmentation", "Run")) == (kind is TrainConfig)


@each_option
def test_every_option_has_a_default(kind: type[Checked], name: str, type_: Any, opt: Opt) -> None:
    field = next(f for f in dataclasses.fields(kind) if f.name == name)  # type: ignore[arg-type]
    assert field.default is not dataclasses.MISSING


def choices_of(kind: type[Checked], name: str) -> tuple[Any, ...]:
    """Return what an option on which others depend may be."""
    type_ = options_of(kind)[name][0]
    return (False, True) if type_ is bool else get_args(type_)


NEEDED = {("prior", "class"): {"conditional": True}}  # beside one choice of an option


def form_of(kind: type[Checked], name: str, choice: Any = None) -> dict[str, Any]:
    """Return what must be chosen beside an option, or beside this choice of it."""
    known, usual = options_of(kind), kind()
    found: dict[str, Any] = dict(NEEDED.get((name, choice), {}))
    for other, values in known[name][1].requires.items():
        if str(getattr(usual, other)) not in values.split():
            found[other] = next(choice for choice in choices_of(kind, other) if str(choice) in values.split())
    return found


@options(lambda type_, opt: number(type_) is not None)
def test_every_number_has_a_lower_end_and_keeps_it(kind: type[Checked], name: str, type_: Any, opt: Opt) -> None:
    assert opt.min is not None
    as_number = number(type_) or float
    assert getattr(kind(**form_of(kind, name), **{name: as_number(opt.min)}), name) == opt.min
    below = opt.min - 1 if as_number is int else math.nextafter(opt.min, -math.inf)
    assert refused(kind, name, below)


@options(lambda type_, opt: opt.max is not None)
def test_every_upper_end_is_kept(kind: type[Checked], name: str, type_: Any, opt: Opt) -> None:
    assert opt.max is not None and number(type_) is not None
    as_number = number(type_) or float
    assert getattr(kind(**form_of(kind, name), **{name: as_number(opt.max)}), name) == opt.max
    above = opt.max + 1 if as_number is int else math.nextafter(opt.max, math.inf)
    assert refused(kind, name, above)


@options(lambda type_, opt: number(type_) is not None and opt.max is None)
def test_a_number_without_an_upper_end_has_that_of_all(kind: type[Checked], name: str, type_: Any, opt: Opt) -> None:
    most = MOST[number(type_)]
    assert refused(kind, name, most + 1 if isinstance(most, int) else math.nextafter(most, math.inf))


@options(lambda type_, opt: number(type_) is float)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_must_be_finite(kind: type[Checked], name: str, type_: Any, opt: Opt, value: float) -> None:
    assert refused(kind, name, value)


@options(lambda type_, opt: get_origin(type_) is Literal)
def test_a_choice_is_among_its_choices(kind: type[Checked], name: str, type_: Any, opt: Opt) -> None:
    for choice in get_args(type_):
        assert getattr(kind(**form_of(kind, name, choice), **{name: choice}), name) == choice
    left_to_another = kind.__dataclass_fields__[name].default is None
    for value in ("nonsense", "", 1) if left_to_another else ("nonsense", "", None, 1):
        assert refused(kind, name, value)
    with pytest.raises(UsageError, match=re.escape(", ".join(get_args(type_)))):
        kind(**{name: "nonsense"})


@options(lambda type_, opt: type(None) in get_args(type_))
def test_what_may_be_left_out_may_be_none(kind: type[Checked], name: str, type_: Any, opt: Opt) -> None:
    assert getattr(kind(**{name: None}), name) is None


BELONGING = [  # (config, option, other option, a choice of that one under which the option has no place)
    pytest.param(kind, name, other, choice, id=f"{kind.__name__}.{name}-{other}={choice}")
    for kind in CONFIGS
    for name, (_, opt) in options_of(kind).items()
    for other, values in opt.requires.items()
    for choice in choices_of(kind, other)
    if str(choice) not in values.split()
]
each_belonging = pytest.mark.parametrize(("kind", "name", "other", "choice"), BELONGING)


@options(lambda type_, opt: opt.requires)
def test_what_an_option_belongs_to_is_a_choice_of_another(kind: type[Checked], name: str, type_: Any, opt: Opt) -> None:
    for other, values in opt.requires.items():
        choices = {str(choice) for choice in choices_of(kind, other)}
        assert set() < set(values.split()) < choices, "else it would belong to none, or to all"


def unusual(config: Checked, name: str) -> Any:
    """Return a value of an option that is in its range and not its default."""
    type_, opt = options_of(type(config))[name]
    as_number, default = number(type_), config.default_of(name)
    low = opt.min or 0
    next_to_it = low + 1 if opt.max is None else min(low + 1, opt.max)
    candidates = get_args(type_) if get_origin(type_) is Literal else [not default]
    candidates = [as_number(low), as_number(next_to_it)] if as_number else candidates
    return next(value for value in candidates if value != default)


@each_belonging
def test_an_option_of_another_form_is_refused(kind: type[Checked], name: str, other: str, choice: Any) -> None:
    form = {**form_of(kind, name), **form_of(kind, other, choice), other: choice}
    config = kind(**form)
    belongs = " or ".join(options_of(kind)[name][1].requires[other].split())
    sentence = f"{flag(name)} belongs to {flag(other)} {belongs}, not to {flag(other)} {choice}."
    if belongs == "True":
        sentence = f"{flag(name)} belongs to {flag(other)}; give that too."
    own, another = getattr(config, name), unusual(config, name)
    for make, value in ((kind, another), (kind.of, another), (kind.of, own)):
        with pytest.raises(UsageError) as caught:
            make(**form, **{name: value})
        assert str(caught.value) == sentence
    assert kind(**form, **{name: own}) == config


@each_belonging
def test_a_file_may_hold_options_of_other_forms(kind: type[Checked], name: str, other: str, choice: Any) -> None:
    config = kind(**{**form_of(kind, name), **form_of(kind, other, choice), other: choice})
    stored = {**dataclasses.asdict(config), name: unusual(config, name)}  # type: ignore[call-overload]
    assert kind.from_dict(stored) == config


@options(lambda type_, opt: opt.requires)
def test_an_option_of_its_own_form_is_taken_and_comes_back(
    kind: type[Checked], name: str, type_: Any, opt: Opt
) -> None:
    form = form_of(kind, name)
    value = unusual(kind(**form), name)
    form |= form_of(kind, name, value)
    for config in (kind(**form, **{name: value}), kind.of(**form, **{name: value})):
        assert getattr(config, name) == value
        assert kind.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config  # type: ignore[call-overload]


def test_the_largest_seed_is_one_that_torch_takes() -> None:
    for seed in (0, 2**32, 2**63 - 1):
        torch.Generator().manual_seed(TrainConfig(seed=seed).seed)
    with pytest.raises(UsageError, match="--seed"):
        TrainConfig(seed=2**64)


@each_model
def test_a_model_shares_no_option_with_the_training(kind: type[ModelConfig]) -> None:
    assert not options_of(kind).keys() & options_of(TrainConfig).keys()


@each_model
def test_the_models_defaults_are_options_of_the_training(kind: type[ModelConfig]) -> None:
    assert kind.defaults
    assert kind.defaults.keys() <= options_of(TrainConfig).keys()


@each_model
def test_the_models_defaults_lie_over_the_shared_ones(kind: type[ModelConfig]) -> None:
    shared = dataclasses.asdict(TrainConfig())
    assert dataclasses.asdict(kind.train_config()) == {**shared, **kind.defaults}


@each_model
def test_what_is_typed_lies_over_the_models_defaults(kind: type[ModelConfig]) -> None:
    typed = {"epochs": 7, "batch_size": 3, "lr": 0.5, "schedule": "constant", "ema": 0.25, "clip": 9.0, "seed": 5}
    chosen = dataclasses.asdict(kind.train_config(**typed))
    assert chosen == {**dataclasses.asdict(TrainConfig()), **kind.defaults, **typed}
    assert kind.defaults == registry.load(kind.name).defaults


@each_model
def test_what_is_typed_keeps_its_range(kind: type[ModelConfig]) -> None:
    with pytest.raises(UsageError, match="--epochs must be at least 1; not 0"):
        kind.train_config(epochs=0)


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_a_config_comes_back_from_its_json(kind: type[Checked]) -> None:
    config = kind()
    stored = json.loads(json.dumps(dataclasses.asdict(config)))  # type: ignore[call-overload]
    assert kind.from_dict(stored) == config


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_a_name_that_is_not_known_is_refused(kind: type[Checked]) -> None:
    with pytest.raises(UsageError, match="has no option colour, taste; upgrade"):
        kind.from_dict({"taste": 1, "colour": "red"})


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_a_stored_value_keeps_its_range(kind: type[Checked]) -> None:
    name, low = next((n, o.min) for n, (_, o) in options_of(kind).items() if o.min is not None)
    with pytest.raises(UsageError, match=flag(name)):
        kind.from_dict({name: low - 1})


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_a_config_cannot_be_changed_nor_filled_by_position(kind: type[Checked]) -> None:
    config = kind()
    name = next(iter(options_of(kind)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, name, getattr(config, name))
    with pytest.raises(TypeError):
        kind(getattr(config, name))  # type: ignore[call-arg]


def test_a_flag_is_a_field_with_dashes() -> None:
    assert flag("latent_dim") == "--latent-dim"
    assert flag("lr") == "--lr"
