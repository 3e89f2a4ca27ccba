"""A run ends when its validation bound has not fallen for N epochs, wherever it was interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Cli, tiny_flags
from soak import bytes_but_id, metric_lines
from test_experiment import stop_after

from genctl.evaluation.bounds import Bound
from genctl.runs import folder as run_folder
from genctl.training import validation

SHARED = ("--epochs", 12, "--batch-size", 50, "--device", "cpu", "--threads", 1, "--quiet", "--sample-every", 100)
BOUNDS = {1: 30.0, 2: 10.0, 3: 20.0, 4: 9.0, 5: 9.0, 6: 12.0}  # ends after 6: an equal bound is no better one


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let validation give a bound that depends on the epoch alone."""
    measure = validation.Validation.measure

    def at(self: validation.Validation, model: object, means: object, epoch: int, step: int) -> dict[str, float]:
        with monkeypatch.context() as patch:
            found = torch.tensor([BOUNDS.get(epoch, 8.0)])
            patch.setattr(validation, "bound", lambda *_, **__: Bound(found, found, found, found))
            return measure(self, model, means, epoch, step)  # type: ignore[arg-type]

    monkeypatch.setattr(validation.Validation, "measure", at)


@pytest.mark.parametrize(
    ("bounds", "waited"),
    [({}, 0), ({1: 3.0}, 0), ({1: 3.0, 2: 4.0, 3: 3.5}, 2), ({1: 3.0, 2: 3.0}, 1), ({4: 5.0, 7: 6.0}, 3)],
)
def test_the_epochs_without_a_lower_bound_are_counted(bounds: dict[int, float], waited: int) -> None:
    assert run_folder.unimproved(bounds) == waited


@pytest.mark.usefixtures("scripted")
def test_a_run_ends_at_the_same_epoch_with_the_same_bits_however_often_it_was_stopped(
    cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ("train", "vae", *tiny_flags("vae", "mlp"), "--dataset", data_folder, *SHARED, "--patience", 2)
    assert cli(*train, "--name", "whole").code == 0
    for step, words in ((5, [*train, "--name", "parts"]), (10, ["train", "vae", "--resume", "parts"])):
        with monkeypatch.context() as patch:
            stop_after(patch, step)
            assert cli(*words).code == 143
    assert cli("train", "vae", "--resume", "parts").code == 0
    whole, parts = Path("checkpoints/whole"), Path("checkpoints/parts")
    assert [line["epoch"] for line in metric_lines(whole)] == [1, 2, 3, 4, 5, 6]
    assert metric_lines(whole) == metric_lines(parts)
    (state,) = run_folder.states(whole)
    for name in (state.name, run_folder.WEIGHTS):
        assert bytes_but_id(whole / name) == bytes_but_id(parts / name)
    rows = {line.split()[0]: line.split() for line in cli("runs").out.splitlines()[1:]}
    assert "finished" in rows["checkpoints/parts"] and "6/12" in rows["checkpoints/parts"]
    again = cli("train", "vae", "--resume", "parts", "--epochs", 20)
    assert again.code == 0
    ended = "checkpoints/parts has ended at epoch 6: no better validation in 2 epochs; for more, raise --patience."
    assert again.err.splitlines() == [ended, "next: genctl sample vae checkpoints/parts"]
    longer = cli("train", "vae", "--resume", "parts", "--patience", 3)
    assert longer.code == 0 and "has ended at epoch 10: no better validation in 3 epochs" in longer.err
    assert run_folder.read_config(parts).train["patience"] == 3


def test_a_model_without_a_validation_bound_has_nothing_to_wait_for(cli: Cli, data_folder: Path) -> None:
    answer = cli("train", "gan", "--patience", 3, "--dataset", data_folder)
    assert (answer.code, answer.err) == (
        2,
        "genctl: --patience waits for the validation bound, and gan has none; leave it out.\n",
    )
