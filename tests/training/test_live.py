"""The page of a training: written while it runs and at its end, at no cost to a bit of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Cli, tiny_flags
from soak import differences

from genctl.models.base import Diagnosis
from genctl.models.vae.model import VAE
from genctl.runs import alarms
from genctl.training import live

PARTS = ("Samples", "Curves", "Manifold", "Reconstructions", "Interpolation", "Nearest training images")


def words(model: str, data: Path, *more: object) -> list[object]:
    """Return the words that train a tiny model for 3 epochs."""
    shared = ["--dataset", data, "--batch-size", 20, "--epochs", 3, "--sample-every", 1, "--device", "cpu"]
    return ["train", model, *tiny_flags(model, "mlp"), *shared, "--threads", 1, "--quiet", *more]


def page(name: str) -> str:
    """Return a run's page."""
    return Path(f"checkpoints/{name}/report.html").read_text()


def parts(text: str) -> list[str]:
    """Return the parts that a page has."""
    return [part for part in PARTS if f">{part}</h2>" in text]


def state(text: str) -> str:
    found = re.search(r'<span class="state \w*">(\w+)<', text)
    return found[1] if found else ""


@pytest.fixture
def at_leisure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a page take as long as it takes."""
    monkeypatch.setattr(live, "MOST", 100.0)
    monkeypatch.setattr(live, "SHARE", 1e6)


@pytest.mark.parametrize("model", ["vae", "gan"])
def test_a_training_is_the_same_to_the_bit_with_a_page(
    cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch, at_leisure: None, model: str
) -> None:
    monkeypatch.setattr(live, "EVERY", 0.0)
    monkeypatch.setattr("genctl.training.experiment.REFRESH", 0.0)
    assert cli(*words(model, data_folder, "--name", "with")).code == 0
    monkeypatch.setattr(live.Page, "write", lambda *_: None)
    monkeypatch.setattr(live, "portrait", lambda *_: live.Portrait())
    assert cli(*words(model, data_folder, "--name", "without")).code == 0
    assert not Path("checkpoints/without/report.html").exists()
    assert differences(Path("checkpoints/with"), Path("checkpoints/without")) == []
    expected = {"vae": PARTS, "gan": [p for p in PARTS if p != "Reconstructions"]}
    assert (state(page("with")), parts(page("with"))) == ("finished", list(expected[model]))


def test_while_it_runs_the_page_has_curves_and_the_last_samples(
    cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real = live.gather.write

    def write(path: Path, *what: object, **how: object) -> None:
        real(path, *what, **how)
        seen.append(path.read_text())

    monkeypatch.setattr(live.gather, "write", write)
    monkeypatch.setattr(live, "SHARE", 0.0)
    monkeypatch.setattr(live, "EVERY", 0.0)
    monkeypatch.setattr("genctl.training.experiment.REFRESH", 0.0)
    assert cli(*words("vae", data_folder)).code == 0
    running, last = seen[-2], seen[-1]
    assert (state(running), state(last)) == ("running", "finished")
    assert parts(running) == ["Samples", "Curves"] and '"refresh": 0.0' in running and '"refresh": null' in last
    counts = [len(re.search(r'\["Means", (.*?\]\])', text)[1].split("],")) for text in (running, last)]
    assert counts == [1, 4]
    assert "Not drawn, to keep the training quick: " in last


def test_pages_are_some_seconds_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(live, "monotonic", lambda: now[0])
    written: list[float] = []

    def write(page: live.Page, *_: object) -> None:
        page.written = now[0]
        written.append(now[0])

    monkeypatch.setattr(live.Page, "write", write)
    page = live.Page(None, None)  # type: ignore[arg-type]
    for now[0] in (100.5, 101.0, 109.0, 110.5, 111.0, 121.0):
        page.refresh()
    assert written == [100.5, 110.5, 121.0]


def test_a_run_that_was_stopped_or_diverged_has_a_page_that_says_so(
    cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(*words("gan", data_folder, "--max-minutes", 0)).code == 0
    assert state(page("gan-001")) == "stopped" and '"refresh": null' in page("gan-001")
    assert cli("train", "gan", "--resume", "gan-001", "--quiet").code == 0
    assert state(page("gan-001")) == "finished"
    assert cli(*words("vae", data_folder, "--lr", 1e20)).code == 5
    assert state(page("vae-001")) == "diverged"


def test_alarms_are_kept_with_the_run_and_forgotten_with_their_epochs(
    cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say = {1: ["units sleep: 3"], 2: ["units sleep: 2"], 3: []}
    monkeypatch.setattr(VAE, "diagnose", lambda self, epoch: Diagnosis({}, say[min(3, calls())]))
    count = iter(range(1, 100))
    calls = lambda: next(count)  # noqa: E731
    assert cli(*words("vae", data_folder, "--save-every", 1)).code == 0
    run = Path("checkpoints/vae-001")
    found = alarms.read(run)
    assert [(line["epoch"], line["step"], line["over"]) for line in found] == [(1, 5, False), (3, 15, True)]
    assert "units sleep: 3" in page("vae-001") and 'li class="over"' in page("vae-001")
    alarms.drop_after(run, 14)
    assert alarms.read(run) == found[:1]
    (run / alarms.FILE).write_text('{"epoch": "<b>"}\nno JSON\n' + (run / alarms.FILE).read_text())
    assert alarms.read(run) == found[:1]


def test_an_alarm_that_cannot_be_kept_ends_nothing(
    cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(alarms, "append", full)
    answer = cli(*words("gan", data_folder))
    assert (answer.code, answer.err.count("warning: a line of alarms.jsonl failed")) == (0, 1)
