"""Runs are found by what is written in them, never by the age of a file, and belong to one process at a time."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli

from genctl.checkpoint import manifest
from genctl.checkpoint.manifest import Manifest
from genctl.errors import CheckpointError, DataError, GenctlError, RunInUse, UsageError
from genctl.runs import find
from genctl.runs import folder as run_folder
from genctl.runs.lock import in_use, lock

HOLD = """
import sys
from pathlib import Path
from genctl.runs.lock import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
DATA = {"name": "bars", "digest": "d"}
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no lock")


def write_weights(path: Path, model: str) -> Path:
    """Write a sealed file that names its model."""
    about = Manifest(
        model=model,
        config={},
        train={},
        shape=(1, 1, 1),
        dataset=DATA,
        role="weights",
        step=1,
        epoch=1,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(manifest.seal((2).to_bytes(8, "little") + b"{}", about))
    return path


def make_run(folder: Path, model: str, started: str, weights: bool = True) -> Path:
    """Make a run folder."""
    folder.mkdir(parents=True)
    about = {
        "model": model,
        "config": {},
        "train": {"epochs": 1},
        "started": started,
        "dataset": DATA,
    }
    about |= {"schedule_epochs": 1, "threads": 1, "device": "cpu"}
    (folder / "config.json").write_text(json.dumps(about))
    if weights:
        write_weights(folder / run_folder.WEIGHTS, model)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with genctl installed elsewhere and without weights."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(find, "__file__", str(tmp_path / "site" / "genctl" / "runs" / "find.py"))
    return folder


def test_the_newest_run_is_the_one_that_started_last(here: Path) -> None:
    late = make_run(here / "checkpoints" / "a", "vae", "2026-01-02T00:00:00+00:00")
    early = make_run(here / "checkpoints" / "b", "vae", "2026-01-01T00:00:00+00:00")
    for age, folder in enumerate((early, late)):
        for path in (folder / "config.json", folder / run_folder.WEIGHTS, folder):
            os.utime(path, (1e9 - age, 1e9 - age))
    assert [p.name for p in run_folder.all_runs()] == ["b", "a"]
    assert find.resolve("vae").folder.name == "a"


def test_a_second_is_divided(here: Path) -> None:
    make_run(here / "checkpoints" / "b", "vae", "2026-01-01T00:00:00+00:00")
    make_run(here / "checkpoints" / "a", "vae", "2026-01-01T00:00:00.000001+00:00")
    assert [p.name for p in run_folder.all_runs()] == ["b", "a"]


def test_the_newest_run_is_of_the_model_and_has_weights(here: Path) -> None:
    root = here / "checkpoints"
    make_run(root / "vae-001", "vae", "2026-01-01")
    make_run(root / "vae-002", "vae", "2026-01-02", weights=False)
    make_run(root / "vae-003", "gan", "2026-01-03")
    source = find.resolve("vae")
    assert source == find.Source("vae", Path("checkpoints/vae-001/model.safetensors"), Path("checkpoints/vae-001"))


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", "{}", '{"model": "vae"}', "\udcff"])
def test_a_folder_that_is_no_run_is_passed_over_and_named_when_asked_for(text: str, here: Path) -> None:
    good = make_run(here / "checkpoints" / "good", "vae", "2026-01-01")
    bad = here / "checkpoints" / "bad"
    bad.mkdir()
    (bad / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    assert [p.name for p in run_folder.all_runs()] == [good.name]
    with pytest.raises(CheckpointError, match="not the folder of a run"):
        run_folder.read_config(bad)


def wrong(**entries: Any) -> bytes:
    """Return a run's config.json with other entries."""
    about = {"model": "vae", "config": {}, "train": {"epochs": 1}, "started": "2026", "dataset": DATA}
    return json.dumps({**about, "schedule_epochs": 1, "threads": 1, "device": "cpu", **entries}).encode()


BAD_CONFIGS = {
    "empty": (b"", "Expecting value"),
    "torn": (wrong()[:-9], "Unterminated string"),
    "not UTF-8": (b'{"model": "\xff"}', "config.json is not UTF-8"),
    "nested": (wrong(config=json.loads("[" * 900 + "]" * 900)), "nested too deep"),
    "huge": (b" " * (1 << 21), "config.json has 2,097,152 bytes"),
    "NaN": (wrong(threads=float("nan")), "NaN is no JSON"),
    "a list": (b"[]", "it is not an object"),
    "lacking": (b"{}", "it lacks model"),
    "started": (wrong(started=5), "its started is not a text"),
    "epochs": (wrong(train={}), "its train lacks epochs"),
    "epochs of text": (wrong(train={"epochs": "1"}), "its train.epochs is not a whole number"),
    "train_size": (wrong(train={"epochs": 1, "train_size": 1.5}), "its train.train_size is not a whole number"),
    "dataset": (wrong(dataset=None), "its dataset is not an object"),
    "digest": (wrong(dataset={"name": "bars"}), "its dataset lacks digest"),
    "data set's name": (wrong(dataset={"name": 5, "digest": "d"}), "its dataset.name is not a text"),
    "versions": (wrong(versions=[]), "its versions is not an object"),
    "command": (wrong(command=[1]), "its command is not a list, each a text"),
}
LINE = '{"epoch": 1, "step": 5, "seconds": 0.5, "images_per_second": 9, "validation_nats": null}\n'
BAD_METRICS = {
    "no JSON": (b"x\n", "line 1"),
    "torn within": (LINE.encode() + LINE[:9].encode() + b"\n" + LINE.encode(), "line 2"),
    "not UTF-8": (b"\xff\n", "not UTF-8"),
    "zeros": (b"\0\0\0\n", "line 1"),
    "no object": (b"5\n", "it is not an object"),
    "no step": (b'{"epoch": 1}\n', "it lacks step"),
    "epoch of text": (b'{"epoch": "1", "step": 1}\n', "its epoch is not a whole number"),
    "seconds": (b'{"epoch": 1, "step": 1, "seconds": "1"}\n', "its seconds is not a number"),
    "a metric": (b'{"epoch": 1, "step": 1, "validation_nats": "1"}\n', "its validation_nats is not a number or null"),
    "nested": (b'{"epoch": 1, "step": 1, "x": ' + b"[" * 900 + b"]" * 900 + b"}\n", "nested too deep"),
}


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        pytest.param(file, *bad[kind], id=f"{file}-{kind}")
        for file, bad in (("config.json", BAD_CONFIGS), ("metrics.jsonl", BAD_METRICS))
        for kind in bad
    ],
)
def test_a_bad_run_is_one_row_that_says_what_is_wrong(
    file: str, content: bytes, words: str, here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    good = make_run(here / "checkpoints" / "good", "vae", "2026-01-01")
    (good / "metrics.jsonl").write_text(LINE)
    bad = make_run(here / "checkpoints" / "strange", "vae", "2026-01-02")
    (bad / file).write_bytes(content)
    answer = cli("runs")
    rows = answer.out.splitlines()
    assert (answer.code, answer.err, len(rows)) == (0, "", 3)
    cells = rows[1].split()
    assert (cells[:5], cells[-1]) == (["checkpoints/good", "vae", "bars", "1/1", "-"], "finished")
    assert rows[2].startswith("checkpoints/strange") and "unreadable: " in rows[2] and words in rows[2]
    assert json.loads(cli("runs", "--json").out)[1]["model"] == "-"


@POSIX
@pytest.mark.parametrize("file", ["config.json", "metrics.jsonl"])
def test_a_pipe_in_a_run_does_not_hang_the_listing(
    file: str, here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    bad = make_run(here / "checkpoints" / "strange", "vae", "2026-01-02")
    (bad / file).unlink(missing_ok=True)
    os.mkfifo(bad / file)
    assert f"{file} is not a regular file" in cli("runs").out


@pytest.mark.parametrize(
    ("there", "name"),
    [
        ([], "vae-001"),
        (["vae-001"], "vae-002"),
        (["vae-001", "vae-007", "vae-003"], "vae-008"),
        (["vae-009", "vae-0010"], "vae-011"),
        (["vae-999"], "vae-1000"),
        (["vae-1000", "vae-999"], "vae-1001"),
        (["gan-004", "vae-old", "vae-conv-012", "my-vae-005", "vae-1x", "vae"], "vae-001"),
    ],
)
def test_a_new_run_has_the_number_after_the_highest(there: list[str], name: str, tmp_path: Path) -> None:
    for other in there:
        (tmp_path / other).mkdir()
    assert run_folder.next_name("vae", tmp_path) == name
    assert run_folder.next_name("vae", tmp_path / "missing") == "vae-001"


def test_a_file_or_a_dead_link_takes_a_number_too(tmp_path: Path) -> None:
    (tmp_path / "vae-001").write_text("")
    (tmp_path / "vae-002").symlink_to("gone")
    assert run_folder.make_folder(str(tmp_path), None, "vae").name == "vae-003"


@pytest.mark.parametrize(
    ("model", "checkpoint", "found"),
    [
        ("vae", None, "checkpoints/vae-002/model.safetensors"),
        ("vae", "vae-001", "checkpoints/vae-001/model.safetensors"),
        ("vae", "checkpoints/vae-001", "checkpoints/vae-001/model.safetensors"),
        ("vae", "checkpoints/vae-001/model.safetensors", "checkpoints/vae-001/model.safetensors"),
        ("vae", "other.safetensors", "other.safetensors"),
        ("vae-001", None, "checkpoints/vae-001/model.safetensors"),
        ("checkpoints/gan-001", None, "checkpoints/gan-001/model.safetensors"),
        ("other.safetensors", None, "other.safetensors"),
        ("./other.safetensors", None, "other.safetensors"),
        ("named", None, "named"),
    ],
)
def test_given_then_newest(model: str, checkpoint: str | None, found: str, here: Path) -> None:
    for name, started in (("vae-001", "2026-01-01"), ("vae-002", "2026-01-02"), ("gan-001", "2026-01-03")):
        make_run(here / "checkpoints" / name, name[:3], started)
    write_weights(here / "other.safetensors", "vae")
    write_weights(here / "named", "gan")
    write_weights(here.parent / "site" / "genctl" / "weights" / "vae.safetensors", "vae")
    source = find.resolve(model, checkpoint)
    assert source.path == Path(found) and source.folder == Path(found).parent
    assert source.model == manifest.read(Path(found)).model
    assert not source.shipped


def test_a_path_here_goes_before_a_run_of_that_name(here: Path) -> None:
    make_run(here / "checkpoints" / "mine", "vae", "2026-01-01")
    make_run(here / "mine", "vae", "2026-01-01")
    assert find.resolve("vae", "mine").path == Path("mine/model.safetensors")


def test_a_model_goes_before_a_folder_of_its_name(here: Path) -> None:
    make_run(here / "vae", "gan", "2026-01-01")
    newest = make_run(here / "checkpoints" / "vae-001", "vae", "2026-01-01")
    assert find.resolve("vae").folder.name == newest.name


@pytest.mark.parametrize("place", ["site/genctl/weights", "site/checkpoints"])
def test_without_a_run_the_weights_that_ship_are_used(place: str, here: Path) -> None:
    weights = write_weights(here.parent / place / "vae.safetensors", "vae")
    make_run(here / "checkpoints" / "vae-001", "vae", "2026-01-01", weights=False)
    assert find.resolve("vae") == find.Source("vae", weights, Path(), shipped=True)


def test_without_weights_anywhere_the_next_step_is_named(here: Path) -> None:
    with pytest.raises(CheckpointError, match="genctl train vae"):
        find.resolve("vae")


def test_another_model_than_the_file_holds_is_refused(here: Path) -> None:
    make_run(here / "checkpoints" / "vae-001", "vae", "2026-01-01")
    with pytest.raises(CheckpointError, match="holds a vae, not a gan"):
        find.resolve("gan", "vae-001")


@pytest.mark.parametrize(
    ("model", "checkpoint", "error", "words"),
    [
        ("vea", None, UsageError, "Did you mean vae"),
        ("vea", "vae-001", UsageError, "Did you mean vae"),
        ("vae", "gone", CheckpointError, "no checkpoint or run gone.*genctl runs"),
        ("gone/model.safetensors", None, CheckpointError, "no checkpoint or run"),
        ("gone.pt", None, CheckpointError, "no checkpoint or run"),
        ("vae", "empty", CheckpointError, "holds no model.safetensors"),
        ("empty", None, CheckpointError, "holds no model.safetensors"),
        ("vae", "", CheckpointError, "holds no model.safetensors"),
        ("vae", "x" * 300, CheckpointError, "no checkpoint or run"),
        ("x" * 300, None, GenctlError, "x" * 300),
        ("./" + "x" * 300, None, CheckpointError, "no checkpoint or run"),
    ],
)
def test_what_is_not_there_is_one_sentence(
    model: str, checkpoint: str | None, error: type[GenctlError], words: str, here: Path
) -> None:
    (here / "empty").mkdir()
    with pytest.raises(error, match=words):
        find.resolve(model, checkpoint)


def test_states_come_the_newest_first(tmp_path: Path) -> None:
    for step in (9, 100_000_000, 99_999_999, 20):
        (tmp_path / f"state-{step:08d}.safetensors").write_text("")
    assert [int(p.stem[6:]) for p in run_folder.states(tmp_path)] == [100_000_000, 99_999_999, 20, 9]


def test_only_states_of_genctl_are_taken_and_removed(tmp_path: Path) -> None:
    kept = {"model.safetensors", "state-best.safetensors", "state-00000001 (copy).safetensors", "state-00000002.bak"}
    for name in [*kept, *(f"state-{step:08d}.safetensors" for step in (1, 2, 3))]:
        (tmp_path / name).write_text("")
    run_folder.prune_states(tmp_path)
    newest = {"state-00000003.safetensors", "state-00000002.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == kept | newest


@pytest.mark.parametrize(
    ("text", "epochs"),
    [
        ("", []),
        ('{"epoch": 1, "step": 5}\n', [1]),
        ('{"epoch": 1, "step": 5}\n{"epoch": 2, "step": 9}\n', [1, 2]),
        ('{"epoch": 1, "step": 5}\n{"epoch": 2', [1]),
        ('{"epoch": 1, "step": 5}\n{"epoch": 2, "step": 9}', [1]),
        ('{"epo', []),
    ],
)
def test_a_torn_last_line_of_the_metrics_is_left_out(text: str, epochs: list[int], tmp_path: Path) -> None:
    assert run_folder.read_metrics(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text(text)
    assert [line["epoch"] for line in run_folder.read_metrics(tmp_path)] == epochs


@POSIX
def test_a_run_has_one_holder(tmp_path: Path) -> None:
    assert not in_use(tmp_path)
    with lock(tmp_path):
        assert in_use(tmp_path)
        with pytest.raises(RunInUse, match="in use"), lock(tmp_path):
            pass
        assert in_use(tmp_path)
    assert not in_use(tmp_path)


@POSIX
def test_a_failure_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock(tmp_path):
        raise ZeroDivisionError
    with lock(tmp_path):
        pass


@POSIX
def test_looking_makes_no_lock(tmp_path: Path) -> None:
    in_use(tmp_path)
    assert list(tmp_path.iterdir()) == []


@POSIX
def test_another_process_holds_until_it_is_killed(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(Path(manifest.__file__).parents[2])}
    with subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert in_use(tmp_path)
        with pytest.raises(RunInUse), lock(tmp_path):
            pass
        holder.kill()
        holder.wait()
    assert not in_use(tmp_path)


@POSIX
def test_a_lock_that_cannot_be_written_is_bad_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"), lock(tmp_path / "gone"):
        pass


@POSIX
def test_a_folder_that_may_only_be_read_is_not_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lock").write_text("")
    real = open

    def read_only(path: Any, mode: str = "r", *rest: Any) -> Any:
        if "r" not in mode:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, mode, *rest)

    monkeypatch.setattr("builtins.open", read_only)
    assert not in_use(tmp_path)


def test_folders_are_numbered_and_made_with_their_parents(tmp_path: Path) -> None:
    made = [run_folder.make_folder(str(tmp_path / "a" / "b"), None, "vae") for _ in range(3)]
    named = run_folder.make_folder(str(tmp_path / "a" / "b"), "best", "vae")
    assert [p.name for p in [*made, named]] == ["vae-001", "vae-002", "vae-003", "best"]
    assert all((p / "samples").is_dir() for p in [*made, named])


def test_two_that_start_at_once_get_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vae-001").mkdir()
    names = iter(["vae-001", "vae-002"])
    monkeypatch.setattr(run_folder, "next_name", lambda *_: next(names))
    assert run_folder.make_folder(str(tmp_path), None, "vae").name == "vae-002"


def test_a_name_that_exists_is_refused_and_the_resume_is_named(tmp_path: Path) -> None:
    folder = run_folder.make_folder(str(tmp_path), "mine", "vae")
    (folder / "kept").write_text("")
    with pytest.raises(UsageError, match=f"exists.*genctl train vae --resume {folder}"):
        run_folder.make_folder(str(tmp_path), "mine", "vae")
    assert (folder / "kept").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a/", "../a"])
def test_a_name_that_is_no_plain_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        run_folder.make_folder(str(tmp_path / "out"), name, "vae")
    assert list(tmp_path.iterdir()) == []


def never_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a search for a free name end after three rounds."""
    rounds = iter(range(3))
    real = run_folder.next_name

    def counted(*arguments: Any) -> str:
        next(rounds)
        return real(*arguments)

    monkeypatch.setattr(run_folder, "next_name", counted)


@pytest.mark.parametrize("name", [None, "mine"])
@pytest.mark.parametrize("kind", ["file", "below a file", "dead link", "too long"])
def test_a_place_where_no_folder_can_be_is_bad_data(
    kind: str, name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_twice(monkeypatch)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "gone" / "away")
    out = {"file": "file", "below a file": "file/sub", "dead link": "link", "too long": "x" * 300}[kind]
    with pytest.raises(DataError, match="--out"):
        run_folder.make_folder(str(tmp_path / out), name, "vae")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("name", [None, "mine"])
@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EIO])
def test_a_folder_that_cannot_be_made_says_why(
    code: int, name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(DataError, match=f"{os.strerror(code)}.*--out"):
        run_folder.make_folder(str(tmp_path), name, "vae")
