"""Where verbs look for runs and put pictures, and what they print to be typed."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from conftest import Cli, tiny_flags

from genctl.cli import arguments
from genctl.runs import folder as run_folder


@pytest.fixture
def train(cli: Cli, data_folder: Path):
    """Return a function that trains a tiny VAE for an epoch."""
    tiny = [*tiny_flags("vae", "mlp"), "--dataset", data_folder, "--epochs", 1, "--device", "cpu"]
    return lambda *more: cli("train", "vae", *tiny, *more)


def test_verify_goes_into_the_folders_of_a_folder(cli: Cli, train) -> None:
    train()
    shutil.copy("checkpoints/vae-001/model.safetensors", "checkpoints/loose.safetensors")
    whole = cli("verify", "checkpoints")
    assert (whole.code, whole.out.count("whole ")) == (0, 3)
    path = Path("checkpoints/vae-001/model.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    answer = cli("verify", "checkpoints")
    assert (answer.code, answer.out.count("whole "), answer.out.count("damaged ")) == (4, 2, 1)


def test_a_diverged_run_is_listed_so_until_it_goes_on(cli: Cli, train) -> None:
    assert train("--lr", 1e30, "--clip", 0, "--batch-size", 20, "--epochs", 3).code == 5
    run = Path("checkpoints/vae-001")
    assert "  diverged: the loss " in cli("runs").out.splitlines()[-1]
    config = run / "config.json"
    config.write_text(config.read_text().replace("1e+30", "0.001"))
    assert cli("train", "vae", "--resume", run).code == 0
    assert run_folder.read_config(run).ended == ""
    assert cli("runs").out.splitlines()[-1].endswith("finished")


@pytest.mark.parametrize("way", ["--runs", "GENCTL_RUNS"])
def test_runs_are_found_where_they_are_said_to_be(cli: Cli, train, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    train("--out", "else where", "--name", "mine")
    train("--out", "else where", "--name", "newest")
    more = ["--runs", "else where"] if way == "--runs" else []
    if not more:
        monkeypatch.setenv(way, "else where")
        assert "else where/mine" in cli("runs").out
        assert train("--name", "there").code == 0 and Path("else where/there").is_dir()
        shutil.rmtree("else where/there")
    assert cli("sample", "vae", *more, "--means").out == "else where/newest/sample-vae.png\n"
    assert cli("sample", "mine", "--means", *more).out == "else where/mine/sample-vae.png\n"
    assert cli("reconstruct", "vae", "mine", *more).out == "else where/mine/reconstruct-vae.png\n"
    assert "else where/newest" in cli("show", "vae", *more).out
    assert cli("train", "vae", "--resume", "mine", *(["--out", "else where"] if more else [])).code == 0


def test_pictures_are_numbered(tmp_path: Path) -> None:
    assert arguments.free(tmp_path, "sample-gan").name == "sample-gan.png"
    (tmp_path / "sample-gan.png").touch()
    assert arguments.free(tmp_path, "sample-gan").name == "sample-gan-2.png"
    (tmp_path / "sample-gan-2.png").symlink_to("gone")
    assert arguments.free(tmp_path, "sample-gan").name == "sample-gan-3.png"


@pytest.mark.parametrize(
    ("out", "why"),
    [("no/where.png", "no is no folder"), ("a.png/b.png", "a.png is no folder"), ("folder.png", "it is a folder")],
)
def test_an_impossible_place_is_found_before_the_weights_are_loaded(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, out: str, why: str
) -> None:
    Path("a.png").touch()
    Path("folder.png").mkdir()
    monkeypatch.setattr("genctl.runs.load.load_model", lambda *_: pytest.fail("loaded"))
    answer = cli("sample", "vae", "--out", out)
    assert (answer.code, answer.err) == (3, f"genctl: {out} cannot be written: {why}; choose another --out.\n")


def test_printed_commands_can_be_typed(cli: Cli, train) -> None:
    answer = train("--name", "a b;rm")
    last = answer.err.splitlines()[-1]
    assert last == "next: genctl sample vae 'checkpoints/a b;rm'"
    assert cli(*shlex.split(last)[2:]).code == 0
    assert "genctl train vae --resume 'checkpoints/a b;rm'" in train("--name", "a b;rm").err
    assert cli("train", "vae", "--resume", "checkpoints/a b;rm").err.splitlines()[-1] == last


def test_what_is_used_is_said_once(cli: Cli, train, monkeypatch: pytest.MonkeyPatch) -> None:
    train()
    used = []
    monkeypatch.setattr("genctl.api.compare", lambda sources, **_: used.extend(sources))
    monkeypatch.setattr("genctl.cli.evaluate.tables.comparison", lambda _: "")
    monkeypatch.setattr("genctl.cli.evaluate.show", lambda *_: None)
    answer = cli("compare", "vae", "vae-001", "vae")
    assert (answer.code, len(used)) == (0, 3)
    assert answer.err == "using checkpoints/vae-001/model.safetensors\n"
