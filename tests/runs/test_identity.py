"""A run is itself: no process writes into another's folder, and no resume goes on from another's state."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import Cli, tiny_flags

from genctl.checkpoint import atomic, manifest
from genctl.errors import CheckpointError, DataError, RunInUse
from genctl.runs import folder as run_folder
from genctl.runs.lock import Held, identity, in_use, lock
from genctl.runs.store import Store
from genctl.terminal.reporter import SILENT

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither the lock nor FIFOs")
RUN, OTHER = Path("checkpoints/a"), Path("checkpoints/b")


@pytest.fixture
def flags(data_folder: Path) -> list[object]:
    """Return the options of a tiny training of 3 epochs of 5 steps."""
    shared = ["--dataset", data_folder, "--batch-size", 20, "--sample-every", 100, "--device", "cpu", "--threads", 1]
    return ["train", "vae", *tiny_flags("vae", "mlp"), *shared, "--epochs", 3]


@pytest.fixture
def stopped(cli: Cli, flags: list[object]) -> Cli:
    """Return the command line beside a run that was stopped after its first step."""
    assert cli(*flags, "--name", RUN.name, "--max-minutes", 0).code == 0
    return cli


def test_the_same_state_has_the_same_digest_in_every_run(stopped: Cli, flags: list[object]) -> None:
    assert stopped("train", "vae", "--resume", RUN).code == 0
    assert stopped(*flags, "--name", OTHER.name).code == 0
    one, other = (run_folder.states(run)[0] for run in (RUN, OTHER))
    assert manifest.read_header(one).digest == manifest.read_header(other).digest
    ids = [manifest.run_of(manifest.read(path)).encode() for path in (one, other)]
    assert ids == [run_folder.read_config(run).id.encode() for run in (RUN, OTHER)]
    assert ids[0] != ids[1]
    assert one.read_bytes().replace(*ids) == other.read_bytes()


def test_a_state_of_another_run_is_passed_over_and_left_alone(stopped: Cli, flags: list[object]) -> None:
    assert stopped(*flags, "--name", OTHER.name, "--seed", 1, "--epochs", 9).code == 0
    foreign = RUN / run_folder.states(OTHER)[0].name
    shutil.copy(run_folder.states(OTHER)[0], foreign)
    answer = stopped("train", "vae", "--resume", RUN)
    assert f"warning: {foreign} is a state of another run. Trying the state before it." in answer.err
    assert (answer.code, "after step 1 of 15" in answer.err) == (0, True)
    names = [path.name for path in run_folder.states(RUN)]
    assert names == [foreign.name, "state-00000015.safetensors"]


def test_a_run_of_before_there_were_ids_goes_on(stopped: Cli) -> None:
    config, state = RUN / "config.json", run_folder.states(RUN)[0]
    run = run_folder.read_config(RUN).id
    config.write_text(config.read_text().replace(f'"id": "{run}",', ""))
    header = manifest.read_header(state)
    plain = manifest.Manifest(**{name: value for name, value in vars(header.manifest).items() if name != "run"})
    state.write_bytes(manifest.seal(state.read_bytes(), plain))
    assert manifest.run_of(manifest.read(state)) == identity(RUN) == ""
    assert stopped("train", "vae", "--resume", RUN).code == 0
    assert manifest.run_of(manifest.read(run_folder.states(RUN)[0])) == ""


def test_a_copied_run_goes_on(stopped: Cli) -> None:
    shutil.copytree(RUN, OTHER)
    assert [stopped("train", "vae", "--resume", run).code for run in (RUN, OTHER)] == [0, 0]
    name = run_folder.states(RUN)[0].name
    assert (RUN / name).read_bytes() == (OTHER / name).read_bytes()


def remade(run: Path) -> None:
    run.rename(run.with_name("gone"))
    shutil.copytree(run.with_name("gone"), run)


def emptied(run: Path) -> None:
    (run / "config.json").unlink()


def taken(run: Path) -> None:
    path = run / "config.json"
    path.write_text(path.read_text().replace(run_folder.read_config(run).id, "f" * 32))


@POSIX
@pytest.mark.parametrize("change", [shutil.rmtree, remade, emptied, taken])
def test_a_folder_that_is_no_longer_the_run_s_is_not_written(stopped: Cli, change) -> None:
    about = manifest.read(run_folder.states(RUN)[0])
    with lock(RUN) as held:
        held.run = run_folder.read_config(RUN).id
        store = Store(held, SILENT)
        store.append_metrics({"epoch": 1})
        change(RUN)
        before = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()}
        writes = (
            lambda: store.save_weights({}, about, last=False),
            lambda: store.save_state({}, about, last=True),
            lambda: store.append_metrics({"epoch": 2}),
            lambda: store.drop_metrics_after(0),
            lambda: store.decoration("a picture").__enter__(),
        )
        for write in writes:
            with pytest.raises(DataError, match="deleted, moved or replaced while the training ran"):
                write()
    assert {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()} == before


@POSIX
def test_pruning_keeps_to_the_folder_that_is_held(tmp_path: Path) -> None:
    names = [f"state-{step:08d}.safetensors" for step in (1, 2, 3)]
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        for name in names:
            (tmp_path / run / name).write_text("")
    with lock(tmp_path / "a") as held:
        (tmp_path / "a").rename(tmp_path / "moved")
        (tmp_path / "b").rename(tmp_path / "a")
        run_folder.prune_states(tmp_path / "a", newest=tmp_path / "a" / names[2], descriptor=held.descriptor)
        run_folder.prune_states(tmp_path / "gone", newest=tmp_path / "gone" / names[2], descriptor=held.descriptor)
    assert len(run_folder.states(tmp_path / "a")) == 3


@POSIX
def test_a_deleted_lock_lets_no_second_trainer_in(stopped: Cli) -> None:
    with lock(RUN):
        (RUN / "lock").unlink()
        assert in_use(RUN)
        with pytest.raises(RunInUse), lock(RUN):
            pass
    assert not in_use(RUN)


@POSIX
def test_a_trainer_waits_out_those_who_look(tmp_path: Path) -> None:
    import fcntl

    for path in (tmp_path, tmp_path / "lock"):
        (tmp_path / "lock").touch()
        looking = os.open(path, os.O_RDONLY)
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.05, os.close, [looking]).start()
        with lock(tmp_path):
            assert in_use(tmp_path)


@POSIX
def test_disks_that_know_no_lock_of_a_folder_have_that_of_the_file(tmp_path: Path, monkeypatch) -> None:
    import fcntl
    import stat

    real = fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock(tmp_path):
        assert in_use(tmp_path)
        with pytest.raises(RunInUse), lock(tmp_path):
            pass


@pytest.mark.parametrize("left", [[], ["samples/"], ["samples/", "lock"], ["samples/", "lock", ".config.json.7.tmp"]])
def test_a_start_that_was_cut_short_is_no_dead_end(cli: Cli, flags: list[object], left: list[str]) -> None:
    RUN.mkdir(parents=True)
    for name in left:
        (RUN / name).mkdir() if name.endswith("/") else (RUN / name).touch()
    answer = cli("train", "vae", "--resume", RUN)
    assert (answer.code, answer.err) == (2, f"genctl: {RUN} was never begun; start it: genctl train vae --name a\n")
    assert cli(*flags, "--name", RUN.name, "--epochs", 1).code == 0


def test_a_full_disk_at_the_start_is_no_dead_end(cli: Cli, flags: list[object], monkeypatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write", full)
        assert cli(*flags, "--name", RUN.name).code == 6
    assert cli(*flags, "--name", RUN.name, "--epochs", 1).code == 0


@pytest.mark.parametrize("kept", ["config.json", "model.safetensors", "notes.txt", "samples/epoch-000.png"])
def test_a_folder_with_anything_else_in_it_exists(cli: Cli, flags: list[object], kept: str) -> None:
    (RUN / kept).parent.mkdir(parents=True)
    (RUN / kept).touch()
    answer = cli(*flags, "--name", RUN.name)
    assert (answer.code, f"{RUN} exists" in answer.err) == (2, True)


def test_the_faster_of_two_starts_has_the_folder(cli: Cli, flags: list[object], monkeypatch) -> None:
    real = run_folder.make_folder

    def slow(*arguments: object) -> Path:
        folder = real(*arguments)
        (folder / "config.json").touch()  # another process has begun, and ended
        return folder

    monkeypatch.setattr("genctl.training.start.make_folder", slow)
    answer = cli(*flags, "--name", RUN.name)
    assert (answer.code, f"{RUN} exists" in answer.err) == (2, True)


def test_latest_is_no_name(cli: Cli, flags: list[object]) -> None:
    answer = cli(*flags, "--name", "latest")
    assert (answer.code, "--name latest would be another run" in answer.err) == (2, True)


@POSIX
@pytest.mark.parametrize(
    ("name", "words", "code"),
    [
        ("config.json", "runs", 0),
        ("config.json", "train vae --resume checkpoints/a", 4),
        ("config.json", "sample vae checkpoints/a", 0),
        ("metrics.jsonl", "train vae --resume checkpoints/a", 4),
        ("lock", "runs", 0),
        ("lock", "train vae --resume checkpoints/a", 3),
        ("evaluations.jsonl", "eval-bpd vae checkpoints/a --images 10", 0),
        ("model.safetensors", "verify checkpoints/a", 4),
    ],
)
def test_a_fifo_hangs_no_verb(stopped: Cli, name: str, words: str, code: int, data_folder: Path) -> None:
    if words.startswith(("sample", "eval")):
        assert stopped("train", "vae", "--resume", RUN).code == 0
    (RUN / name).unlink(missing_ok=True)
    os.mkfifo(RUN / name)
    more = ["--dataset", data_folder] if words.startswith("eval") else []
    answer = stopped(*words.split(), *more)
    assert answer.code == code, answer.err


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not a regular file"):
        atomic.read(tmp_path)
    with pytest.raises(OSError, match="not a regular file"):
        atomic.append_line(Path(os.devnull), "x")


def test_no_descriptor_is_needed_where_there_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"id": "x"}')
    Held(tmp_path, None, "x").check()


@POSIX
def test_races_mix_and_lose_nothing() -> None:
    script = Path(__file__).with_name("races.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(atomic.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(script), "--races", "4"]
    answer = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert (answer.returncode, answer.stdout.split(": ")[-1]) == (0, "0 runs mixed or lost\n"), answer.stderr


def test_a_flipped_bit_in_an_id_is_another_run_or_no_state(tmp_path: Path) -> None:
    about = manifest.Manifest(
        model="vae", config={}, train={}, shape=(1, 1, 1), dataset={}, role="state", step=1, epoch=1
    )  # fmt: skip
    whole = manifest.seal((2).to_bytes(8, "little") + b"{}", manifest.of_run(about, "0123456789abcdef" * 2))
    place = whole.index(b'"run":"') + 7
    for bit in range(8 * 32):
        data = bytearray(whole)
        data[place + bit // 8] ^= 1 << bit % 8
        try:
            header = manifest.parse(bytes(data), len(data), tmp_path)
        except CheckpointError:
            continue
        assert manifest.run_of(header.manifest) not in ("", "0123456789abcdef" * 2)
        manifest.verify(bytes(data), header, tmp_path)
