"""--freeze: a player that does not learn keeps its weights to the bit, and all that is the run's goes on without it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Cli, tiny_flags

from genctl.checkpoint import manifest
from genctl.checkpoint import tensors as checkpoint
from genctl.errors import UsageError
from genctl.models import registry
from genctl.testing.cases import Case, cases_of, copied, different, manifest_of, run, start
from genctl.training import loop, state

CASES = [case for name in registry.BUILT_IN for case in cases_of(name)]
PLAYERS = {case: len(start(case).players) for case in CASES}
SEVERAL = [case for case, n in PLAYERS.items() if n > 1]
ALONE = [case for case, n in PLAYERS.items() if n == 1]


def test_both_kinds_of_models_are_there() -> None:
    assert SEVERAL
    assert ALONE


@pytest.mark.parametrize("case", SEVERAL, ids=str)
def test_a_frozen_player_keeps_its_weights_and_the_others_learn(case: Case) -> None:
    for name in start(case).players:
        training = start(case, freeze=name)
        names = {id(p): n for n, p in training.model.named_parameters()}
        still = {names[id(p)] for p in training.players[name].parameters}
        before = copied(dict(training.model.named_parameters()))
        parts = [part for part in training.model.children() if loop.frozen(part)]
        whole = [copied(part.state_dict()) for part in parts]
        assert parts
        run(training, 9)
        assert not any(different(kept, part.state_dict()) for kept, part in zip(whole, parts, strict=True))
        moved = different(before, dict(training.model.named_parameters()))
        assert not moved & still
        assert moved == before.keys() - still
        assert training.ema is not None
        averaged = dict(training.ema.named_parameters())
        assert all(torch.equal(before[n], averaged[n]) for n in still)


@pytest.mark.parametrize("case", SEVERAL, ids=str)
def test_a_training_with_a_frozen_player_resumes_to_the_bit(case: Case, tmp_path: Path) -> None:
    name = next(iter(start(case).players))
    whole = state.tensors_of(run(start(case, freeze=name), 12))
    training, path = run(start(case, freeze=name), 5), tmp_path / "state.safetensors"
    checkpoint.save(path, state.tensors_of(training), manifest_of(training, "state"))
    about, tensors = checkpoint.load(path)
    fresh = start(case, freeze=name)
    state.restore(fresh, tensors, path)
    fresh.step = about.step
    assert not different(whole, state.tensors_of(run(fresh, 12)))
    assert not [n for n in tensors if n.startswith(f"optimizer/{name}/")]


@pytest.mark.parametrize("case", ALONE, ids=str)
def test_who_learns_alone_cannot_be_frozen(case: Case) -> None:
    (name,) = start(case).players
    with pytest.raises(UsageError, match=f"--freeze {name} leaves no player to learn"):
        start(case, freeze=name)


def test_wrong_players_and_no_weights_are_one_sentence(cli: Cli, data_folder: Path) -> None:
    small = [*tiny_flags("gan", "mlp"), "--dataset", data_folder, "--epochs", 1, "--device", "cpu", "--ema", 0]
    assert cli("train", "gan", *small, "--name", "first").code == 0
    answer = cli("train", "gan", *small, "--freeze", "generator")
    assert answer.code == 2
    assert answer.err == "genctl: --freeze keeps weights of --init as they are; give both, or leave it out.\n"
    answer = cli("train", "gan", *small, "--init", "first", "--freeze", "critic")
    assert answer.code == 2
    assert answer.err == "genctl: --freeze is for players of this model (discriminator, generator); not 'critic'.\n"
    answer = cli("train", "gan", *small, "--init", "first", "--freeze", "discriminator", "--name", "second")
    assert answer.code == 0
    assert cli("train", "gan", "--resume", "second", "--epochs", 2, "--device", "cpu").code == 0
    first, second = (checkpoint.load(Path("checkpoints") / n / "model.safetensors")[1] for n in ("first", "second"))
    moved = different(first, second)
    assert moved
    assert not [n for n in moved if n.startswith("discriminator")]


def test_the_models_own_name_is_its_newest_run_and_a_wrong_name_leaves_nothing(cli: Cli, data_folder: Path) -> None:
    small = [*tiny_flags("gan", "mlp"), "--dataset", data_folder, "--epochs", 1, "--device", "cpu", "--quiet"]
    for name in ("first", "second"):
        assert cli("train", "gan", *small, "--name", name, "--seed", len(name)).code == 0
    assert cli("train", "gan", *small, "--init", "gan", "--name", "third").code == 0
    second, third = (manifest.read_header(Path("checkpoints") / n / "model.safetensors") for n in ("second", "third"))
    assert third.manifest.train["init"] == second.digest
    assert cli("train", "gan", *small, "--init", "fourth", "--name", "fifth").code == 4
    assert sorted(path.name for path in Path("checkpoints").iterdir() if path.is_dir()) == ["first", "second", "third"]
