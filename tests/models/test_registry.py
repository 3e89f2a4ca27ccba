"""Models are found by name, the built-in ones and those of other packages by the same door."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from conftest import Cli

from genctl.config import ModelConfig
from genctl.errors import UsageError
from genctl.models import registry

STRANGER = """
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from genctl.config import ModelConfig, Opt


@dataclass(frozen=True, kw_only=True)
class StrangerConfig(ModelConfig):
    '''A model from elsewhere.'''

    name: ClassVar = "stranger"
    can: ClassVar = frozenset({"decode"})
    size: Annotated[int, Opt("size", min=1)] = 3

    def build(self, shape):
        raise NotImplementedError


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
}


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Put a stranger's modules where they can be imported."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "stranger.py").write_text(STRANGER)
    (folder / "failing.py").write_text("raise RuntimeError('out of luck')\n")
    (folder / "torn.py").write_text("def (\n")
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
    assert repr(word) in message and "Models: vae, gan, realnvp" in message
    assert (f"Did you mean {meant}?" in message) if meant else ("Did you mean" not in message)


@pytest.mark.parametrize("verb", ["train", "sample", "manifold", "eval-bpd", "show"])
def test_every_verb_answers_a_misspelt_model_so(verb: str, cli: Cli) -> None:
    answer = cli(verb, "vea")
    assert answer.code == 2 and answer.out == ""
    assert "Did you mean vae?" in answer.err and answer.err.count("\n") == 1


def test_a_model_of_another_package_is_loaded_by_name(plug_in: pytest.MonkeyPatch, cli: Cli) -> None:
    install(plug_in, stranger="stranger:StrangerConfig", another="stranger:StrangerConfig")
    assert registry.names() == [*registry.BUILT_IN, "another", "stranger"]
    assert registry.known("stranger") and registry.load("stranger").name == "stranger"
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
