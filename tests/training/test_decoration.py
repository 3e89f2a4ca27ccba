"""Pictures, alarms and lines of the log: they come after the state, and their failure never ends a training."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import matplotlib
import pytest
import torch
from conftest import Cli, tiny_flags, write_idx
from soak import differences

from genctl.generation import curves, image_grid
from genctl.models.gan import collapse
from genctl.models.gan.model import GAN
from genctl.runs import folder as run_folder
from genctl.terminal.progress import Terminal
from genctl.training import live, pictures


def options(model: str, data: Path) -> list[object]:
    """Return the words that train a tiny model for 3 epochs."""
    shared = ["--dataset", data, "--batch-size", 20, "--epochs", 3, "--sample-every", 1, "--device", "cpu"]
    return ["train", model, *tiny_flags(model, "mlp"), *shared]


def fail(*_: object, **__: object) -> None:
    raise RuntimeError("no font,\nno picture")


@pytest.mark.parametrize(
    ("owner", "name", "what"),
    [
        (image_grid, "save", "drawing samples/epoch-NNN.png"),
        (curves, "curves", "drawing curves.png"),
        (pictures.sampling, "sample", "drawing samples/epoch-NNN.png"),
        (GAN, "diagnose", "the diagnosis of an epoch"),
        (Terminal, "epoch", "a line of the log"),
        (live.gather, "write", "writing report.html"),
        (live, "portrait", "drawing for the page"),
    ],
)
def test_a_decoration_that_fails_is_one_warning(
    cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, what: str
) -> None:
    monkeypatch.setattr(owner, name, fail)
    answer = cli(*options("gan", data_folder))
    assert answer.code == 0
    assert answer.err.count(f"warning: {what} failed (no font, no picture); the training goes on without.\n") == 1
    assert run_folder.states(Path("checkpoints/gan-001"))[0].name == "state-00000015.safetensors"
    assert len(run_folder.read_metrics(Path("checkpoints/gan-001"))) == 3


def test_the_state_comes_first(cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill in the first picture after the start: its epoch is safe, and the resume draws it."""
    real = image_grid.save

    def killed(path: Path, **how: object) -> None:
        if path.name == "epoch-001.png":
            raise KeyboardInterrupt
        real(path, **how)

    assert cli(*options("gan", data_folder), "--name", "whole").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(image_grid, "save", killed)
        assert cli(*options("gan", data_folder), "--name", "parts").code == 130
    parts = Path("checkpoints/parts")
    assert [path.name for path in run_folder.states(parts)] == ["state-00000005.safetensors"]
    assert cli("train", "gan", "--resume", parts).code == 0
    assert differences(Path("checkpoints/whole"), parts) == []
    assert (parts / "samples" / "epoch-001.png").exists()


def test_a_user_s_matplotlibrc_changes_no_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [tmp_path / "usual.png", tmp_path / "with.png"]
    curves.curves(drawn[0], [1, 2], {"train": [1.0, None]}, "nats")
    with matplotlib.rc_context({"text.usetex": True, "lines.linewidth": 9}):
        curves.curves(drawn[1], [1, 2], {"train": [1.0, None]}, "nats")
        assert matplotlib.rcParams["text.usetex"]  # given back
    assert drawn[0].read_bytes() == drawn[1].read_bytes()


def test_matplotlib_says_nothing_of_its_caches(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("matplotlib.font_manager")
    before = logging.getLogger("matplotlib").level
    with curves.plain_style():
        assert not log.isEnabledFor(logging.WARNING)
    assert logging.getLogger("matplotlib").level == before


def test_images_that_are_all_the_same_have_no_spread(cli: Cli, data_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(data_folder, tmp_path / "same")
    write_idx(tmp_path / "same" / "train-images-idx3-ubyte", torch.full((120, 8, 8), 7))
    answer = cli(*options("gan", tmp_path / "same"))
    assert (answer.code, "failed" in answer.err) == (0, False)
    last = json.loads((Path("checkpoints/gan-001") / "metrics.jsonl").read_text().splitlines()[-1])
    assert "sample_spread" not in last and "smallest_class" in last
    assert collapse.spread(torch.zeros(3, 1, 2, 2)) == 0


def test_a_figure_that_is_not_finite_is_left_out(cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genctl.models.base import Diagnosis

    monkeypatch.setattr(GAN, "diagnose", lambda *_: Diagnosis({"odd": float("nan"), "even": 2.0}))
    assert cli(*options("gan", data_folder)).code == 0
    line = run_folder.read_metrics(Path("checkpoints/gan-001"))[-1]
    assert ("odd" in line, line["even"]) == (False, 2.0)
