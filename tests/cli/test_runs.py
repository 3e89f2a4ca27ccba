"""`runs` says what each run is and does, and `prune` deletes what nobody needs, and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import Cli, tiny_flags

from genctl.checkpoint import manifest, schema
from genctl.checkpoint.manifest import Manifest
from genctl.runs import folder as run_folder
from genctl.runs import listing, prune
from genctl.runs.lock import in_use, lock, owner

DATA = {"name": "bars", "digest": "d"}
ABOUT = {"model": "vae", "config": {}, "schedule_epochs": 3, "threads": 1, "device": "cpu", "dataset": DATA}


def make(name: str, day: int, values: list[float], weights: bool = True, states: int = 2, **more: object) -> Path:
    """Make a run of three epochs, with a line for each validation value."""
    folder = Path("checkpoints") / name
    (folder / "samples").mkdir(parents=True)
    about = {**ABOUT, "train": {"epochs": 3}, "started": f"2026-01-{day:02d}T12:00:00+00:00", **more}
    (folder / "config.json").write_text(json.dumps(about))
    lines = [{"epoch": i + 1, "step": i + 1, "seconds": 100.5, "validation_nats": v} for i, v in enumerate(values)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for step in range(states):
        (folder / f"state-{step:08d}.safetensors").write_bytes(bytes(1000))
    if weights:
        sealed = Manifest(
            model="vae", config={}, train={}, shape=(1, 1, 1), dataset=DATA, role="weights", step=1, epoch=1
        )
        (folder / run_folder.WEIGHTS).write_bytes(manifest.seal((2).to_bytes(8, "little") + b"{}", sealed))
    (folder / "samples" / "epoch-001.png").write_bytes(bytes(500))
    return folder


@pytest.fixture
def runs(cli: Cli) -> Cli:
    """Return the command line beside four runs."""
    make("b", 1, [9.5, 7.25, 8.0])
    make("a", 2, [12.0, 11.0, 10.0])
    make("c", 3, [6.0])
    make("d", 4, [], ended="failed", why="the disk is full")
    return cli


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("started", "dcab"),
        ("name", "abcd"),
        ("best", "cbad"),
        ("epochs", "abcd"),
        ("time", "abcd"),
        ("state", "dabc"),
        ("disk", "dcab"),
    ],
)
def test_runs_come_in_the_order_that_is_asked_for(runs: Cli, sort: str, order: str) -> None:
    for i, name in enumerate("bacd") if sort == "disk" else ():
        (Path("checkpoints") / name / "samples" / "more").write_bytes(bytes(10_000 * (i + 1)))
    rows = json.loads(runs("runs", "--sort", sort, "--json").out)
    assert "".join(row["run"][-1] for row in rows) == order


def test_a_run_says_how_it_is(runs: Cli) -> None:
    rows = {row["run"][-1]: row for row in json.loads(runs("runs", "--json").out)}
    assert [rows[name]["state"] for name in "abcd"] == ["finished", "finished", "stopped", "failed"]
    assert (rows["b"]["value"], rows["b"]["best"], rows["b"]["seconds"]) == (
        7.25,
        "7.25 nats (binarized dynamic)",
        301.5,
    )
    assert rows["d"]["why"] == "the disk is full"
    files = [path for path in Path("checkpoints/b").rglob("*") if path.is_file()]
    assert rows["b"]["bytes"] == sum(path.stat().st_size for path in files)
    text = runs("runs").out.splitlines()
    assert text[1].endswith("failed: the disk is full") and "01-04 12:00" in text[1]
    assert text[4].split()[3:-3] == ["3/3", "7.25", "nats", "(binarized", "dynamic)", "01-01", "12:00", "5", "min"]
    assert "genctl: --sort is one of started, name, " in runs("runs", "--sort", "size").err


def test_of_the_metrics_the_last_and_the_best_line_are_parsed(runs: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    real = schema.parse
    monkeypatch.setattr(schema, "parse", lambda text: parsed.append(text) or real(text))
    listing.listing_of(make("e", 5, [5.0, 4.0, 3.0, 7.0, 6.0]))
    assert [json.loads(text).get("epoch") for text in parsed] == [None, 5, 3]


def test_a_holder_signs_and_nobody_else(runs: Cli) -> None:
    folder = Path("checkpoints/c")
    assert owner(folder) is None
    with lock(folder):
        assert (in_use(folder), owner(folder)) == (True, os.getpid())
    (folder / "lock").write_text("no number")
    assert owner(folder) is None
    rows = json.loads(runs("runs", "--json").out)
    assert {row["pid"] for row in rows} == {None}


def left() -> list[str]:
    return sorted(f"{path.parent.name}/{path.name[:5]}" for path in Path("checkpoints").glob("*/*.safetensors"))


WEIGHTS = ["a/model", "b/model", "c/model", "d/model"]


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        ("prune --yes", "ab"),
        ("prune --yes --unfinished", "abcd"),
        ("prune --yes a c", "a"),
        ("prune -y checkpoints/c --unfinished", "c"),
    ],
)
def test_prune_deletes_states_and_no_weights(runs: Cli, words: str, gone: str) -> None:
    answer = runs(*words.split())
    assert (answer.code, answer.err) == (0, "")
    assert f"deleted {2 * len(gone)} files; {2 * len(gone)} kB are free" in answer.out
    assert left() == sorted(WEIGHTS + [f"{name}/state" for name in "abcd" if name not in gone for _ in range(2)])
    assert len(list(Path("checkpoints").rglob("*.png"))) == 4


def test_prune_lists_finished_runs_first_and_deletes_nothing_unasked(
    runs: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("checkpoints/b/.model.safetensors.123.tmp").write_bytes(bytes(70))
    before = left()
    answer = runs("prune", "--unfinished")
    assert (answer.code, answer.err) == (2, "genctl: nothing was deleted, for nobody can be asked here; give --yes.\n")
    rows = [line.split() for line in answer.out.splitlines()[1:-1]]
    assert [(row[0][12], row[1]) for row in rows] == [(c, "state") for c in "aabbccdd"] + [("b", "leftover")]
    assert answer.out.splitlines()[-1].split() == ["together", "8.07", "kB"]
    found = json.loads(runs("prune", "--unfinished", "--json").out)
    assert (len(found["files"]), found["bytes"], found["deleted"]) == (9, 8070, 0)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    assert runs("prune").code == 0
    assert left() == before
    monkeypatch.setattr("typer.confirm", lambda *_, **__: True)
    assert "deleted 5 files" in runs("prune").out
    assert runs("prune", "--yes").out == "nothing to delete: no finished run has a training state\n"


def test_prune_takes_weights_only_of_runs_that_are_named(runs: Cli) -> None:
    assert runs("prune", "--weights", "--yes").code == 2
    assert runs("prune", "a", "--weights", "--yes").code == 0
    assert [name for name in left() if name.startswith("a")] == []
    assert Path("checkpoints/a/metrics.jsonl").exists()


def test_the_only_weights_stay_in_their_state(cli: Cli) -> None:
    make("a", 1, [1.0, 1.0, 1.0], weights=False)
    assert "nothing to delete" in cli("prune", "--yes").out
    assert left() == ["a/state", "a/state"]


def test_prune_leaves_a_run_that_is_trained(runs: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with lock(Path("checkpoints/c")):
        assert "checkpoints/c" not in runs("prune", "--unfinished").out
        answer = runs("prune", "c", "--unfinished", "--yes")
        assert (answer.code, "c is in use" in answer.err) == (7, True)
    files = prune.spare([listing.listing_of(Path("checkpoints") / name) for name in "abc"], unfinished=True)
    with lock(Path("checkpoints/a")):
        with Path("checkpoints/c/metrics.jsonl").open("a") as metrics:  # it was resumed since
            metrics.write('{"epoch": 2, "step": 2}\n')
        gone, problems = prune.remove(files)
    assert {file.run.folder.name for file in gone} == {"b"}
    assert len(problems) == 2 and "in use" in problems[0] and "went on in the meantime" in problems[1]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("prune nothing --yes", 4, "there is no checkpoint or run nothing; `genctl runs` lists the runs."),
        ("prune bad --yes", 4, "checkpoints/bad is not the folder of a run: it has no readable config.json"),
    ],
)
def test_prune_of_what_is_no_run(runs: Cli, words: str, code: int, text: str) -> None:
    Path("checkpoints/bad").mkdir()
    answer = runs(*words.split())
    assert (answer.code, answer.err.startswith(f"genctl: {text}")) == (code, True), answer.err


def test_a_training_that_fails_says_why_in_its_run(
    cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error:\n out of luck")

    with monkeypatch.context() as patch:
        patch.setattr("genctl.training.experiment.Run.end_epoch", fail)
        with pytest.raises(RuntimeError):
            cli("train", "vae", *tiny_flags("vae", "mlp"), "--dataset", data_folder, "--epochs", 1, "--device", "cpu")
    assert cli("runs").out.splitlines()[-1].endswith("failed: CUDA error: out of luck")
    assert cli("train", "vae", "--resume", "latest").code == 0
    assert (run_folder.read_config(Path("checkpoints/vae-001")).why, cli("runs").out[-9:]) == ("", "finished\n")
