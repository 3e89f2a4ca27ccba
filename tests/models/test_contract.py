"""Models at the ends of the contract go through every verb, by the same door as a stranger's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated

import numpy
import pytest
import torch
from conftest import Cli
from strangers import TallyConfig, Trio, TrioConfig

from genctl.checkpoint import tensors as checkpoint
from genctl.cli.app import VERBS, app
from genctl.cli.options import verb_command
from genctl.config import Opt, SamplingOptions, options_of
from genctl.models import registry
from genctl.models.base import build
from genctl.training.loop import Training, fit
from genctl.training.optimizers import Adam

FAST = ("--epochs", 2, "--batch-size", 20, "--threads", 1, "--quiet", "--sample-every", 1)


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the two models be installed."""
    points = {"tally": "strangers:TallyConfig", "trio": "strangers:TrioConfig"}
    found = {name: EntryPoint(name, value, registry.GROUP) for name, value in points.items()}
    monkeypatch.setattr(registry, "plug_ins", lambda: found)


@pytest.fixture
def tally(strangers: None, cli: Cli, data_folder: Path) -> Cli:
    """Return the command line with a trained, conditional tally."""
    answer = cli("train", "tally", "--conditional", "--dataset", data_folder, *FAST)
    assert answer.code == 0, answer.err
    assert answer.err.count("warning: epoch 1: the tally is only a tally.") == 1
    return cli


def test_no_latent_an_exact_likelihood_and_classes(tally: Cli) -> None:
    lines = [json.loads(line) for line in Path("checkpoints/tally-001/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["validation_nats"] < lines[0]["validation_nats"] and "mean_level" in lines[-1]
    answer = tally("eval-bpd", "tally")
    assert answer.code == 0 and "exact (exact; lower is better)" in answer.out and "bound" not in answer.out
    record = json.loads(tally("eval-bpd", "tally", "--json").out)
    assert record["bound"] == "exact -log p" and record["unit"] == "bits/dim" and record["K"] == 1
    answer = tally("eval-bpd", "tally", "-k", 3)
    assert answer.code == 2 and "K does not apply" in answer.err
    assert "exact" in tally("eval-bpd", "tally", "-h").out
    show = json.loads(tally("show", "tally", "--json").out)
    counts = show["config"].pop("class_counts")
    assert show["config"] == {"conditional": True, "classes": 4} and sum(counts) == 100
    assert show["dataset"]["classes"] == ["0", "1", "2", "3"]


def test_its_own_sampling_option(tally: Cli) -> None:
    drawn = {}
    for contrast in (1, 50):
        answer = tally("sample", "--contrast", contrast, "tally", "-n", 6, "--out", f"{contrast}.npz")
        assert answer.code == 0, answer.err
        drawn[contrast] = numpy.load(f"{contrast}.npz")["images"]
    assert not numpy.array_equal(drawn[1], drawn[50])
    assert "--contrast" in tally("sample", "tally", "-h").out and "--contrast" in tally("evaluate", "-h").out
    answer = tally("sample", "gan", "--contrast", 2)
    assert (answer.code, answer.err) == (2, "genctl: --contrast is for tally, not for gan; leave it out.\n")
    answer = tally("sample", "tally", "--temperature", 1)
    assert answer.code == 2 and "is for vae, not for tally" in answer.err
    assert [p.name for p in sorted(Path("checkpoints/tally-001/samples").iterdir())] == [
        f"epoch-{i:03d}.png" for i in range(3)
    ]


@pytest.mark.parametrize(("verb", "words"), [("interpolate", "has no latent"), ("manifold", "has no latent")])
def test_what_needs_a_latent_is_refused_in_a_sentence(verb: str, words: str, tally: Cli) -> None:
    answer = tally(verb, "tally")
    assert answer.code == 2 and answer.err.count("\n") == 1
    assert f"tally {words}; for {verb} there are: vae, gan, realnvp, diffusion, trio." in answer.err
    assert tally("reconstruct", "tally").code == 2


def test_it_is_evaluated_compared_and_resumed(tally: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genctl.evaluation.train_classifier.LEAST_STEPS", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path.cwd() / "cache"))
    record = json.loads(tally("evaluate", "tally", "--samples", 30, "--contrast", 2, "--json").out)
    assert (record["model"], record["contrast"], record["means"]) == ("tally", 2.0, False)
    assert tally("train", "trio", "--dataset", data_folder, *FAST).code == 0
    answer = tally("compare", "tally", "trio", "--samples", 30, "--contrast", 2)
    assert answer.code == 0, answer.err
    assert "exact     -log p of tally" in answer.out and "bounds" not in answer.out
    assert tally("train", "tally", "--resume", "latest", "--epochs", 3, "--quiet").code == 0
    assert len(Path("checkpoints/tally-001/metrics.jsonl").read_text().splitlines()) == 3
    answer = tally(
        "train", "tally", "--conditional", "--dataset", data_folder, "--name", "cut", "--max-minutes", 0, *FAST
    )
    assert answer.code == 0
    assert tally("train", "tally", "--resume", "cut", "--quiet").code == 0
    whole, cut = (Path("checkpoints", name, "model.safetensors").read_bytes() for name in ("tally-001", "cut"))
    tally("train", "tally", "--conditional", "--dataset", data_folder, "--name", "whole", *FAST)
    assert Path("checkpoints/whole/model.safetensors").read_bytes() == cut != whole


def test_a_class_is_drawn_for_each_image_by_its_seed_and_place_alone(strangers: None) -> None:
    from genctl.generation import sampling

    model = build(TallyConfig(conditional=True, classes=4), (1, 4, 4))
    with torch.no_grad():
        model.logits.normal_(0, 5, generator=torch.Generator().manual_seed(0))
    whole, part = sampling.sample(model, 9, seed=1), sampling.sample(model, 4, seed=1, first=5)
    assert torch.equal(whole[5:], part)
    asked = sampling.sample(model, 9, seed=1, y=torch.tensor([2] * 9))
    assert not torch.equal(whole, asked)
    classes = sampling.classes_of(model, 1, 9)
    assert classes is not None and torch.equal(whole, sampling.sample(model, 9, seed=1, y=classes))


def test_a_conditional_model_needs_labels(strangers: None, cli: Cli, data_folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in data_folder.glob("*images*"):
        (bare / path.name).write_bytes(path.read_bytes())
    answer = cli("train", "tally", "--conditional", "--dataset", bare, *FAST)
    assert answer.code == 2 and answer.err == "genctl: bare has no labels; --conditional needs them.\n"


def test_three_players_move_in_their_order_with_rates_of_their_own(strangers: None) -> None:
    model = build(TrioConfig(), (1, 4, 4))
    assert isinstance(model, Trio)
    training = Training(model, TrioConfig.train_config(batch_size=4, lr=0.01))
    assert list(training.optimizers) == ["first", "middle", "last"]
    assert training.optimizers["last"].chosen.kind == "adamw"
    assert [group.lr_scale for group in training.optimizers["middle"].groups] == [1.0, 0.1]
    before = {name: p.clone() for name, p in model.named_parameters()}
    step = next(iter(fit(training, torch.full((4, 1, 4, 4), 200, dtype=torch.uint8), None, last=1, horizon=10)))
    assert list(step.terms) == ["first_loss", "middle_loss", "last_loss"]
    assert step.terms["last_loss"] < step.terms["middle_loss"] < step.terms["first_loss"]
    moved = {name: (p - before[name]).abs().max().item() for name, p in model.named_parameters()}
    assert moved["parts.middle.bias"] == pytest.approx(0.001, rel=1e-2)
    assert moved["parts.middle.weight"] == pytest.approx(0.01, rel=1e-2)


def test_three_players_go_through_every_verb(
    strangers: None, cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genctl.evaluation.train_classifier.LEAST_STEPS", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path.cwd() / "cache"))
    train = ("train", "trio", "--dataset", data_folder, *FAST)
    assert cli(*train, "--name", "whole").code == 0
    assert cli(*train, "--name", "cut", "--max-minutes", 0).code == 0
    assert cli("train", "trio", "--resume", "cut", "--quiet").code == 0
    states = [next(Path("checkpoints", name).glob("state-*10.safetensors")) for name in ("whole", "cut")]
    assert (
        len({checkpoint.load(path)[1]["optimizer/middle/parts.middle.bias/exp_avg"].sum().item() for path in states})
        == 1
    )
    assert len({path.with_name("model.safetensors").read_bytes() for path in states}) == 1
    for words in (("sample", "--temperature", 2), ("manifold", "--steps", 3), ("evaluate", "--samples", 30), ("show",)):
        answer = cli(words[0], "trio", *words[1:])
        assert answer.code == 0 and answer.out, answer.err
    answer = cli("interpolate", "trio", "checkpoints/whole", "--steps", 3)
    assert answer.code == 0 or "no image of a second class" in answer.err
    for verb, words in {"eval-bpd": "trio has no likelihood", "reconstruct": "trio cannot encode an image"}.items():
        answer = cli(verb, "trio")
        assert answer.code == 2 and words in answer.err
    assert "trio" in cli("models").out and cli("verify", "checkpoints/whole").code == 0


def test_an_optimizer_has_what_a_player_declares(strangers: None) -> None:
    last = build(TrioConfig(), (1, 4, 4)).players()[2]
    found = Adam(last, 0.5, torch.device("cpu"))
    assert found.chosen.weight_decay == 0.1 and found.groups[0].lr.item() == 0.5


def own_options() -> Iterator[str]:
    """Yield the names of all verbs' own parameters."""
    for verb, function in VERBS.items():
        yield from (p.name for p in verb_command(verb, function, []).params if p.name)


def test_reserved_names_are_those_of_the_verbs() -> None:
    assert set(own_options()) - {"sampling"} == registry.RESERVED - {"number"}
    assert app is not None


@dataclass(frozen=True, kw_only=True)
class Clashing(SamplingOptions):
    """Has the name of an option of interpolate and manifold."""

    steps: Annotated[int, Opt("steps of the sampler")] = 3


def test_a_sampling_option_may_not_have_the_name_of_a_verbs_own() -> None:
    kind = type("ClashingConfig", (TallyConfig,), {"sampling": Clashing})
    with pytest.raises(TypeError, match="--steps is an option of genctl's own"):
        registry.check("tally", kind)
    assert "steps" in options_of(Clashing)


@dataclass(frozen=True, kw_only=True)
class Bare(TallyConfig):
    """Sound but for what a test changes."""

    width: Annotated[int, Opt("width")] = 3


@dataclass(frozen=True, kw_only=True)
class WithoutDefault(TallyConfig):
    """Its option has no default."""

    width: Annotated[int, Opt("width")]


@dataclass(frozen=True, kw_only=True)
class RequiresNothing(TallyConfig):
    """Its option belongs to one that is not there."""

    width: Annotated[int, Opt("width", requires={"arch": "mlp"})] = 3


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        (WithoutDefault, {}, "width has no default"),
        (RequiresNothing, {}, "requires an option that does not exist"),
        (Bare, {"defaults": {"speed": 3}}, "defaults names no option of training"),
        (Bare, {"previews": {"": {"means": True}}}, "previews names no sampling option"),
        (type("Undecorated", (Bare,), {"__annotations__": {"depth": int}, "depth": 2}), {}, "is no @dataclass"),
    ],
)
def test_an_unsound_config_is_refused(kind: type, change: dict, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.check("tally", Bare) is Bare
    for name, value in change.items():
        monkeypatch.setattr(kind, name, value)
    with pytest.raises(TypeError, match=words):
        registry.check("tally", kind)
