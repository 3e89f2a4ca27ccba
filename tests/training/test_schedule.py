"""More epochs than a run was started for: what the rate does then, and that it does the same after a kill."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import Answer, Cli, tiny_flags

from genctl.errors import CheckpointError
from genctl.runs import folder as run_folder
from genctl.training.schedule import HOW, Extension, Schedule

STEPS = 5  # in an epoch of the run below


@pytest.fixture
def short(cli: Cli, data_folder: Path) -> Cli:
    """Return the command line beside a finished run of two epochs, checkpoints/short."""
    assert train(cli, data_folder, 2, "short").code == 0
    return cli


def train(cli: Cli, data: Path, epochs: int, name: str, *more: object) -> Answer:
    shared = ["--dataset", data, "--batch-size", 20, "--sample-every", 100, "--device", "cpu", "--threads", 1]
    flags = [*tiny_flags("vae", "mlp"), "--kl-warmup", 0.8, *shared, *more]
    return cli("train", "vae", *flags, "--epochs", epochs, "--name", name)


def copy_of(name: str, to: str) -> Path:
    return Path(shutil.copytree(f"checkpoints/{name}", f"checkpoints/{to}"))


def rates(folder: str) -> list[float]:
    return [line["lr"] for line in run_folder.read_metrics(Path("checkpoints") / folder)]


def kept(folder: Path) -> dict[str, object]:
    """Return all that a further resume depends on, and the metrics but for their times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    times = ("seconds", "images_per_second")
    newest = run_folder.states(folder)[0]
    files = {path.name: path.read_bytes() for path in (folder / run_folder.WEIGHTS, newest)}
    said = run_folder.read_config(folder)
    return {
        **files,
        "metrics": [{k: v for k, v in line.items() if k not in times} for line in lines],
        "extensions": said.extensions,
        "schedule": said.schedule_epochs,
    }


@pytest.mark.parametrize(
    ("how", "before", "after"),
    [
        ("hold", (0.9, 0.9), [(1, 1), (1, 1)]),
        ("stretch", (0.9, 0.9), [(0.5, 0.5), (0.75, 0.75)]),
        ("restart", (0.9, 0.9), [(1, 0), (1, 0.5)]),
    ],
)
def test_what_each_extension_makes_of_the_progress(
    how: str, before: tuple[float, float], after: list[tuple[float, float]]
) -> None:
    schedule = Schedule(20, 5).extended(Extension(20, 8, how))
    assert schedule.progress(18) == before  # what was done stays what it was
    assert [schedule.progress(step) for step in (20, 30)] == after
    assert schedule.progress(40) == schedule.progress(99) == (1, 1)
    assert schedule.last_epoch == 8


def test_an_extension_takes_the_place_of_those_that_a_lost_state_took_along() -> None:
    schedule = Schedule(20, 5).extended(Extension(20, 8, "restart")).extended(Extension(10, 6, "stretch"))
    assert [known.step for known in schedule.extensions] == [10]


SOUND = {"step": 5, "epochs": 3, "how": "hold"}


@pytest.mark.parametrize(
    "values", [5, None, "abc", [{}], [5], [{**SOUND, "step": "5"}], [{**SOUND, "how": "on"}], [{**SOUND, "at": 1}]]
)
def test_extensions_of_a_file_are_sound_or_refused(values: object) -> None:
    assert Extension.from_json([SOUND]) == [Extension(5, 3, "hold")]
    with pytest.raises(CheckpointError, match="the extensions in config"):
        Extension.from_json(values)


@pytest.mark.parametrize("how", HOW)
def test_an_extension_that_is_interrupted_is_the_uninterrupted_one_to_the_bit(short: Cli, how: str) -> None:
    whole, parts = copy_of("short", "whole"), copy_of("short", "parts")
    assert short("train", "vae", "--resume", "whole", "--epochs", 5, "--extend", how).code == 0
    assert short("train", "vae", "--resume", "parts", "--epochs", 5, "--extend", how, "--max-minutes", 0).code == 0
    assert run_folder.states(parts)[0].name == f"state-{2 * STEPS + 1:08d}.safetensors"
    run_folder.states(parts)[0].unlink()  # killed before the first state of its own: it starts from the old one
    assert short("train", "vae", "--resume", "parts", "--max-minutes", 0).code == 0
    assert short("train", "vae", "--resume", "parts").code == 0
    assert kept(parts) == kept(whole)
    more = [short("train", "vae", "--resume", name, "--epochs", 7).code for name in ("whole", "parts")]
    assert (more, kept(parts)) == ([0, 0], kept(whole))


@pytest.mark.parametrize("how", HOW)
def test_the_rate_is_logged_and_said(short: Cli, data_folder: Path, how: str) -> None:
    copy_of("short", how)
    answer = short("train", "vae", "--resume", how, "--epochs", 4, "--extend", how)
    assert answer.code == 0
    peak, found = 0.003, rates(how)
    assert found[:2] == rates("short")
    train(short, data_folder, 4, "whole")
    expected = {"hold": [peak / 100] * 2, "stretch": rates("whole")[2:], "restart": rates("short")}[how]
    assert found[2:] == pytest.approx(expected)
    first = {"hold": peak / 100, "stretch": 0.00152, "restart": peak}[how]
    assert f"--extend {how}: the learning rate goes from {first:.3g} to {found[-1]:.3g} (peak: 0.003)\n" in answer.err


def test_a_run_that_is_stretched_before_its_end_goes_on_as_a_longer_one(cli: Cli, data_folder: Path) -> None:
    train(cli, data_folder, 3, "early", "--max-minutes", 0)
    answer = cli("train", "vae", "--resume", "early", "--epochs", 6)
    assert "--extend stretch: " in answer.err
    train(cli, data_folder, 6, "whole")
    assert rates("early") == rates("whole")


def test_after_its_end_the_schedule_restarts_if_nothing_is_said(short: Cli) -> None:
    answer = short("train", "vae", "--resume", "short", "--epochs", 3)
    assert "--extend restart: the learning rate goes from 0.003 to " in answer.err


def test_a_constant_rate_has_nothing_to_extend(cli: Cli, data_folder: Path) -> None:
    train(cli, data_folder, 1, "flat", "--schedule", "constant")
    assert "--extend hold: the learning rate goes from 0.003 to 0.003" in (
        cli("train", "vae", "--resume", "flat", "--epochs", 2).err
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "--resume short --extend hold",
            "--extend is for more epochs; give a larger --epochs than 2, or leave it out.",
        ),
        ("--resume short --epochs 2 --extend hold", "--extend is for more epochs; give a larger --epochs than 2, or"),
        ("--epochs 3 --extend hold", "--extend is for more epochs of a run; give --resume RUN --epochs N, or leave it"),
        ("--resume short --epochs 3 --extend on", "--extend is one of hold, stretch, restart; not 'on'."),
    ],
)
def test_extend_is_for_more_epochs(short: Cli, words: str, sentence: str) -> None:
    before = kept(Path("checkpoints/short"))
    answer = short("train", "vae", *words.split())
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines()[-1].startswith(f"genctl: {sentence}")
    assert kept(Path("checkpoints/short")) == before
