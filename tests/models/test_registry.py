"""Models are found by name, the built-in ones and those of other packages by the same door."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pytest
from conftest import Cli

from genctl.config import ModelConfig
from genctl.errors import UsageError
from genctl.models import registry
from genctl.models.base import build

STRANGER = """
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from genctl.config import Estimator, ModelConfig, Opt, SamplingOptions


@dataclass(frozen=True, kw_only=True)
class StrangerConfig(ModelConfig):
    '''A model from elsewhere.'''

    name: ClassVar = "stranger"
    model: ClassVar = "nowhere.to.be.found:Stranger"
    can: ClassVar = frozenset({"sample", "decode"})
    size: Annotated[int, Opt("size", min=1)] = 3
    kind: Annotated[Literal["a", "b"] | None, Opt("kind")] = None
    conditional: Annotated[bool, Opt("learn p(x|y)")] = False


@dataclass(frozen=True, kw_only=True)
class AnotherConfig(StrangerConfig):
    '''Another one.'''

    name: ClassVar = "another"


NOTHING = None
number = 5
"""
BROKEN = {
    "no module": "no_such_module_anywhere:Config",
    "no attribute": "stranger:Missing",
    "fails": "failing:Config",
    "no code": "torn:Config",
    "no class": "stranger:number",
    "null": "stranger:NOTHING",
    "a function": "json:dumps",
    "another class": "json:JSONDecoder",
    "exits": "leaving:Config",
}
PREAMBLE = (
    STRANGER.split("@dataclass")[0]
    + """
class Bare(ModelConfig):
    model: ClassVar = "nowhere:Model"
    can: ClassVar = frozenset({"sample"})

class Base(Bare):
    name: ClassVar = "bad"

@dataclass(frozen=True, kw_only=True)
"""
)
UNSOUND = {  # the body of a config's class -> what is said of it
    "Bare): pass": "Config has no name",
    "ModelConfig): name = 'bad'; can = frozenset()": "Config has no model",
    "ModelConfig): name = 'bad'; model = 'a:B'": "Config has no can",
    "Bare): name = 'good'": "Config names itself 'good'",
    "Base): model = 'nowhere.Model'": "Config.model is not of the form package.module:Class",
    "Base): model = Base": "Config.model is not of the form package.module:Class",
    "Base): can = {'sample'}": "Config.can is no frozenset of sample, decode, encode, score",
    "Base): can = frozenset({'sample', 'dream'})": "Config.can is no frozenset of sample, decode, encode, score",
    "Base): can = frozenset({'score'})": "Config scores, but has no estimators",
    "Base): size: int = 3": "Config.size is not Annotated with an Opt",
    "Base): size: Annotated[int, 'help'] = 3": "Config.size is not Annotated with an Opt",
    "Base): epochs: Annotated[int, Opt('help')] = 3": "Config.epochs: --epochs is an option of genctl's own",
    "Base): help: Annotated[int, Opt('help')] = 3": "Config.help: --help is an option of genctl's own",
    "Base): sizes: Annotated[list[int], Opt('help')] = field(default_factory=list)": (
        "Config.sizes is of a type that cannot be typed as an option"
    ),
    "Base): size: Annotated[int | list[int], Opt('help')] = 3": (
        "Config.size is of a type that cannot be typed as an option"
    ),
    "Base): sampling = ModelConfig": "Config.sampling is no SamplingOptions",
    "Base): sampling = None": "Config.sampling is no SamplingOptions",
    "SamplingOptions): heat: float = 1.0\nclass Config(Base): sampling = Config": (
        "Config.heat is not Annotated with an Opt"
    ),
    "SamplingOptions): seed: Annotated[int, Opt('help')] = 1\nclass Config(Base): sampling = Config": (
        "Config.seed: --seed is an option of genctl's own"
    ),
}


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Put a stranger's modules where they can be imported."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "stranger.py").write_text(STRANGER)
    (folder / "failing.py").write_text("raise RuntimeError('out of luck')\n")
    (folder / "torn.py").write_text("def (\n")
    (folder / "leaving.py").write_text("raise SystemExit('bye')\n")
    monkeypatch.syspath_prepend(str(folder))
    return monkeypatch


def install(patch: pytest.MonkeyPatch, **points: str) -> None:
    """Let these entry points be installed."""
    found = {name: EntryPoint(name, value, registry.GROUP) for name, value in points.items()}
    patch.setattr(registry, "plug_ins", lambda: found)


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_a_built_in_model_is_loaded_by_its_own_name(name: str) -> None:
    kind = registry.load(name)
    assert issubclass(kind, ModelConfig) and kind.name == name
    assert registry.known(name)


def test_built_in_models_need_no_look_at_the_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> dict[str, EntryPoint]:
        raise AssertionError("entry points were read")

    monkeypatch.setattr(registry, "plug_ins", fail)
    assert all(registry.known(name) and registry.load(name) for name in registry.BUILT_IN)


@pytest.mark.parametrize(
    ("word", "meant"),
    [("vea", "vae"), ("VAE", "vae"), ("gann", "gan"), ("realnvp2", "realnvp"), ("real-nvp", "realnvp"), ("zzz", "")],
)
def test_an_unknown_model_is_answered_with_a_near_one(word: str, meant: str) -> None:
    assert not registry.known(word)
    with pytest.raises(UsageError) as caught:
        registry.load(word)
    message = str(caught.value)
    assert repr(word) in message and "Models: vae, gan, realnvp, diffusion" in message
    assert (f"Did you mean {meant}?" in message) if meant else ("Did you mean" not in message)


@pytest.mark.parametrize("verb", ["train", "sample", "manifold", "eval-bpd", "show"])
def test_every_verb_answers_a_misspelt_model_so(verb: str, cli: Cli) -> None:
    answer = cli(verb, "vea")
    assert answer.code == 2 and answer.out == ""
    assert "Did you mean vae?" in answer.err and answer.err.count("\n") == 1


def test_a_model_of_another_package_is_loaded_by_name(plug_in: pytest.MonkeyPatch, cli: Cli) -> None:
    install(plug_in, stranger="stranger:StrangerConfig", another="stranger:AnotherConfig")
    assert registry.names() == [*registry.BUILT_IN, "another", "stranger"]
    assert registry.known("stranger") and registry.load("stranger").name == "stranger"
    assert registry.usable() == registry.names() and registry.problems() == []
    assert "A model from elsewhere" in cli("models").out
    assert "--size" in cli("train", "stranger", "--help").out


def test_a_stranger_does_not_take_the_name_of_a_built_in_model(plug_in: pytest.MonkeyPatch) -> None:
    install(plug_in, vae="stranger:StrangerConfig")
    assert registry.load("vae").name == "vae"
    assert registry.names() == list(registry.BUILT_IN)


def test_a_stranger_is_suggested_too(plug_in: pytest.MonkeyPatch) -> None:
    install(plug_in, stranger="stranger:StrangerConfig")
    with pytest.raises(UsageError, match="Did you mean stranger"):
        registry.load("strangr")


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plug_in_is_one_sentence(kind: str, plug_in: pytest.MonkeyPatch) -> None:
    install(plug_in, bad=BROKEN[kind])
    with pytest.raises(UsageError, match=r"'bad'.* cannot be loaded: .") as caught:
        registry.load("bad")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("body", UNSOUND)
def test_a_plug_in_that_does_not_keep_the_contract_is_refused_with_what_it_lacks(
    body: str, plug_in: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = f"unsound_{list(UNSOUND).index(body)}"
    (tmp_path / "elsewhere" / f"{name}.py").write_text(f"{PREAMBLE}class Config({body}\n")
    install(plug_in, bad=f"{name}:Config")
    with pytest.raises(UsageError) as caught:
        registry.load("bad")
    assert str(caught.value) == f"the model 'bad' cannot be loaded: {UNSOUND[body]}"
    assert registry.problems() == [str(caught.value)] and registry.usable() == list(registry.BUILT_IN)


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_a_built_in_model_keeps_the_contract_too(name: str) -> None:
    assert registry.check(name, registry.load(name)) is registry.load(name)


def test_a_class_that_is_not_there_is_found_when_the_model_is_built(plug_in: pytest.MonkeyPatch) -> None:
    install(plug_in, stranger="stranger:StrangerConfig")
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        build(registry.load("stranger")(), (1, 8, 8))


def test_a_class_that_is_no_model_is_not_built() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Config(ModelConfig):
        model: ClassVar = "json:JSONDecoder"

    with pytest.raises(TypeError, match="json:JSONDecoder is no Model"):
        build(Config(), (1, 8, 8))


def test_an_interrupt_while_a_plug_in_is_loaded_is_an_interrupt(plug_in: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "interrupted.py").write_text("raise KeyboardInterrupt\n")
    install(plug_in, bad="interrupted:Config")
    with pytest.raises(KeyboardInterrupt):
        registry.load("bad")


@pytest.mark.parametrize("words", [("train", "bad"), ("train", "bad", "--help"), ("sample", "bad")], ids=" ".join)
def test_a_broken_plug_in_ends_its_command_with_a_sentence(
    words: tuple[str, ...], plug_in: pytest.MonkeyPatch, cli: Cli
) -> None:
    install(plug_in, bad=BROKEN["fails"])
    answer = cli(*words)
    assert answer.code == 2 and answer.err.count("\n") == 1
    assert "out of luck" in answer.err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("models",), 0, "realnvp"),
        (("models", "--json"), 0, '"realnvp"'),
        (("train", "--help"), 0, "realnvp"),
        (("eval-bpd", "gan"), 2, "gan has no likelihood"),
        (("sample", "vea"), 2, "Did you mean vae?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
@pytest.mark.parametrize("kind", ["fails", "a function"])
def test_a_broken_plug_in_leaves_the_other_models_alone(
    kind: str, words: tuple[str, ...], code: int, text: str, plug_in: pytest.MonkeyPatch, cli: Cli
) -> None:
    install(plug_in, bad=BROKEN[kind])
    answer = cli(*words)
    assert answer.code == code
    assert text in answer.out + answer.err


def test_models_as_json_say_what_each_can(cli: Cli) -> None:
    rows = {row["model"]: row for row in json.loads(cli("models", "--json").out)}
    assert list(rows) == list(registry.BUILT_IN)
    assert all(set(row["can"]) == registry.load(name).can for name, row in rows.items())
