"""A training run in its folder: its files, and that nothing is lost whatever stops it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from itertools import count
from pathlib import Path
from subprocess import Popen
from time import sleep

import pytest
import torch
from conftest import TINY, Answer, Cli, tiny_flags
from PIL import Image
from soak import bytes_but_id, metric_lines
from torch import Tensor

from genctl.checkpoint import atomic, manifest
from genctl.checkpoint import tensors as checkpoint
from genctl.config import options_of
from genctl.errors import Diverged
from genctl.evaluation.bounds import Bound
from genctl.models import registry
from genctl.models.base import build
from genctl.models.gan.model import GAN
from genctl.models.vae.model import VAE
from genctl.runs import folder as run_folder
from genctl.runs.lock import lock
from genctl.runs.store import Store
from genctl.terminal.reporter import Reporter
from genctl.training import experiment, start

MODELS = {"vae": "mlp", "gan": "mlp", "realnvp": "conv"}
ON_ONE_THREAD = ["--device", "cpu", "--threads", "1"]

Train = Callable[..., Answer]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Give the signals back after each test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def train(cli: Cli, data_folder: Path) -> Train:
    """Return a function that trains a tiny model for 3 epochs of 5 steps, with more options after its own."""

    def run(model: str, *more: object) -> Answer:
        shared = ["--dataset", data_folder, "--epochs", 3, "--batch-size", 20, "--sample-every", 100, "--save-every", 1]
        tiny = tiny_flags(model, MODELS[model])
        return cli("train", model, *tiny, *shared, *ON_ONE_THREAD, *more)

    return run


def tensors(path: Path) -> dict[str, Tensor]:
    return checkpoint.load(path)[1]


def assert_same_run(one: Path, other: Path) -> None:
    """Hold two runs together: metrics, and every tensor and byte of the weights and of the newest state."""
    assert metric_lines(one) == metric_lines(other)
    assert run_folder.states(one)[0].name == run_folder.states(other)[0].name
    for name in (run_folder.WEIGHTS, run_folder.states(one)[0].name):
        ours, theirs = tensors(one / name), tensors(other / name)
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
        assert bytes_but_id(one / name) == bytes_but_id(other / name)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("model", MODELS)
def test_a_run_leaves_its_files(train: Train, model: str) -> None:
    assert train(model, "--sample-every", 1).code == 0
    folder = Path("checkpoints") / f"{model}-001"
    found = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {"lock", "alarms.jsonl"}
    states = {"state-00000015.safetensors"}  # a longer run needs no more
    expected = {"model.safetensors", "config.json", "metrics.jsonl", "samples", "curves.png", "report.html"}
    assert found == expected | states
    pictures = {f"epoch-{epoch:03d}.png" for epoch in range(4)}
    if model == "vae":
        pictures |= {name.replace(".png", "-means.png") for name in pictures}
    assert {path.name for path in (folder / "samples").iterdir()} == pictures
    for path in [*folder.glob("samples/*"), folder / "curves.png"]:
        with Image.open(path) as picture:
            picture.verify()
    assert (folder / "samples" / "epoch-000.png").read_bytes() != (folder / "samples" / "epoch-003.png").read_bytes()


METRICS = {
    "vae": {"negative_elbo", "reconstruction", "kl", "active_units"},
    "gan": {"d_loss", "g_loss", "value", "d_accuracy", "sample_spread", "smallest_class"},
    "realnvp": {"nll"},
}
VALIDATION = {"bits_per_dim", "validation_nats", "validation_bits_per_dim"}


@pytest.mark.parametrize("model", MODELS)
def test_metrics_have_a_line_per_epoch(train: Train, model: str) -> None:
    train(model)
    text = Path(f"checkpoints/{model}-001/metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert text.endswith("\n")
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 5), (2, 10), (3, 15)]
    scores = VALIDATION if model != "gan" else set()
    for line in lines:
        assert set(line) == {"epoch", "step", "lr", "seconds", "images_per_second"} | METRICS[model] | scores
        assert line["images_per_second"] == pytest.approx(100 / line["seconds"], rel=0.1)
    if model == "vae":
        sums = [line["reconstruction"] + line["kl"] for line in lines]
        assert sums == pytest.approx([line["negative_elbo"] for line in lines], rel=1e-5)
        assert lines[0]["bits_per_dim"] == pytest.approx(lines[0]["negative_elbo"] / (64 * 0.693147), rel=1e-5)


def test_the_speed_counts_images_that_there_are(train: Train) -> None:
    train("vae", "--batch-size", 500)
    lines = [json.loads(line) for line in Path("checkpoints/vae-001/metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert line["images_per_second"] * line["seconds"] == pytest.approx(100, rel=0.5)  # not 500


def test_an_epoch_in_pieces_counts_the_seconds_of_all(cli: Cli, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count()
    monkeypatch.setattr("genctl.training.experiment.monotonic", lambda: float(next(clock)))  # a second a look
    train("vae", "--max-minutes", 0)
    for _ in range(4):
        assert cli("train", "vae", "--resume", "vae-001", "--max-minutes", 0).code == 0
    lines = [json.loads(line) for line in Path("checkpoints/vae-001/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1]
    assert lines[0]["seconds"] >= 5  # one for each step, all taken by a process of its own


def test_config_holds_every_effective_option(train: Train, data_folder: Path) -> None:
    before = datetime.now().astimezone()
    train("vae", "--seed", 7)
    about = json.loads(Path("checkpoints/vae-001/config.json").read_text())
    assert before <= datetime.fromisoformat(about["started"]) <= datetime.now().astimezone()
    assert about["model"] == "vae"
    assert {"arch": "mlp", "latent_dim": 2, "hidden": 8, "binarize": "dynamic"}.items() <= about["config"].items()
    assert about["config"].keys() == options_of(registry.load("vae")).keys()
    expected = {"epochs": 3, "batch_size": 20, "lr": 3e-3, "schedule": "cosine", "ema": 0.999, "seed": 7}
    assert expected.items() <= about["train"].items()
    assert about["train"]["dataset"] == str(data_folder)
    assert (about["device"], about["threads"]) == ("cpu", 1)
    assert about["versions"]["torch"] == torch.__version__
    assert about["command"][0] == "genctl"
    header = manifest.read(Path("checkpoints/vae-001/model.safetensors"))
    assert header.dataset["digest"] == about["dataset"]["digest"]
    assert header.config == about["config"]


def test_sample_every_chooses_the_epochs(train: Train) -> None:
    train("gan", "--epochs", 5, "--sample-every", 2)
    names = sorted(path.name for path in Path("checkpoints/gan-001/samples").iterdir())
    assert names == [f"epoch-{epoch:03d}.png" for epoch in (0, 1, 2, 4, 5)]


def test_a_new_run_never_touches_an_older_one(train: Train) -> None:
    train("vae")
    before = content(Path("checkpoints/vae-001"))
    train("vae", "--lr", 0.01)
    train("gan")
    assert sorted(path.name for path in Path("checkpoints").iterdir()) == ["gan-001", "vae-001", "vae-002"]
    assert content(Path("checkpoints/vae-001")) == before
    assert metric_lines(Path("checkpoints/vae-002")) != metric_lines(Path("checkpoints/vae-001"))


def test_numbers_go_on_after_the_highest(train: Train) -> None:
    Path("checkpoints/vae-007").mkdir(parents=True)
    Path("checkpoints/vae-old").mkdir()
    train("vae")
    assert Path("checkpoints/vae-008/model.safetensors").exists()
    assert not list(Path("checkpoints/vae-007").iterdir())


def test_the_same_seed_is_the_same_run_and_another_is_not(train: Train) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train("gan", "--name", name, "--seed", seed)
    assert_same_run(Path("checkpoints/a"), Path("checkpoints/b"))
    assert metric_lines(Path("checkpoints/a")) != metric_lines(Path("checkpoints/c"))


def test_training_ends_with_the_line_to_type_next(train: Train, cli: Cli) -> None:
    last = train("vae").err.splitlines()[-1]
    assert last == "next: genctl sample vae checkpoints/vae-001"
    assert cli(*last.removeprefix("next: genctl ").split()).code == 0


def script_validation(monkeypatch: pytest.MonkeyPatch, *nats: float) -> None:
    """Let validation give these values, one an epoch."""
    values = iter(nats)
    monkeypatch.setattr(
        "genctl.training.validation.bound", lambda *_, **__: Bound(*[torch.tensor([float(next(values))])] * 4)
    )


@pytest.mark.parametrize(("model", "nats", "best"), [("vae", (30, 10, 20, 15), 2), ("realnvp", (10, 30, 20, 15), 1)])
def test_the_weights_are_those_of_the_best_epoch(
    train: Train, monkeypatch: pytest.MonkeyPatch, model: str, nats: tuple[float, ...], best: int
) -> None:
    train(model, "--epochs", best, "--schedule", "constant", "--name", "short")
    script_validation(monkeypatch, *nats)
    train(model, "--epochs", 4, "--schedule", "constant", "--name", "long")
    short, long = (Path("checkpoints") / name / run_folder.WEIGHTS for name in ("short", "long"))
    assert manifest.read(long).epoch == best
    assert manifest.read(long).metrics["validation_nats"] == min(nats)
    assert manifest.read(run_folder.states(long.parent)[0]).progress["best"] == min(nats)
    expected, found = state_weights(short), tensors(long)
    assert all(torch.equal(t, expected[name]) for name, t in found.items())


def state_weights(weights: Path) -> dict[str, Tensor]:
    """Return the moving average in the newest state beside a weights file."""
    state = tensors(run_folder.states(weights.parent)[0])
    return {name.removeprefix("ema/"): t for name, t in state.items() if name.startswith("ema/")}


@pytest.mark.parametrize(("model", "flags"), [*((model, ()) for model in MODELS), ("gan", ("--ema", 0, "--clip", 1))])
def test_a_resume_in_mid_epoch_is_as_if_never_stopped(
    train: Train, cli: Cli, model: str, flags: tuple[object, ...]
) -> None:
    assert train(model, "--name", "whole", *flags).code == 0
    stopped = train(model, "--name", "parts", "--max-minutes", 0, *flags)
    assert stopped.code == 0
    back = f"genctl train {model} --resume checkpoints/parts"
    assert f"saved after step 1 of 15; go on with: {back}\n" in stopped.err
    again = cli(*back.split()[1:], "--max-minutes", 0)
    assert "resuming checkpoints/parts after step 1 of 15" in again.err
    assert "saved after step 2 of 15" in again.err
    final = cli("train", model, "--resume", "parts", "--save-every", 0.7)
    assert final.code == 0
    assert_same_run(Path("checkpoints/whole"), Path("checkpoints/parts"))


@pytest.mark.parametrize("model", MODELS)
def test_a_resume_at_the_end_of_an_epoch_is_as_if_never_stopped(
    train: Train, cli: Cli, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(model, "--name", "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 10)
        assert train(model, "--name", "parts").code == 143
    assert cli("train", model, "--resume", "latest").code == 0
    assert_same_run(Path("checkpoints/whole"), Path("checkpoints/parts"))


def test_a_resume_remembers_the_best_epoch(train: Train, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    script_validation(monkeypatch, 10, 30, 20)
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        assert train("vae").code == 143
    assert cli("train", "vae", "--resume", "latest").code == 0
    assert manifest.read(Path("checkpoints/vae-001") / run_folder.WEIGHTS).epoch == 1


def test_a_resume_keeps_better_weights_of_an_epoch_after_its_state(
    train: Train, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("vae", "--name", "whole", "--epochs", 4)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "save_state", lambda *_: None)  # as if killed before the first was due
        assert train("vae", "--name", "parts", "--epochs", 4).code == 0
    weights = Path("checkpoints/parts") / run_folder.WEIGHTS
    best = weights.read_bytes()
    assert manifest.read(weights).epoch > 1
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        assert cli("train", "vae", "--resume", "parts").code == 143
    assert weights.read_bytes() == best
    assert cli("train", "vae", "--resume", "parts").code == 0
    assert_same_run(Path("checkpoints/whole"), Path("checkpoints/parts"))


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_weights_that_were_lost_are_written_again(
    train: Train, cli: Cli, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object]
) -> None:
    script_validation(monkeypatch, 10, 30, 20)
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        assert train("vae").code == 143
    weights = Path("checkpoints/vae-001") / run_folder.WEIGHTS
    damage(weights)
    assert cli("train", "vae", "--resume", "latest").code == 0
    assert manifest.read(weights).epoch == 3


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let a SIGTERM come during this step."""
    fit = experiment.fit

    def with_signal(*arguments: object) -> Iterator[object]:
        for done in fit(*arguments):
            if done.step == step:
                os.kill(os.getpid(), signal.SIGTERM)
            yield done

    monkeypatch.setattr(experiment, "fit", with_signal)


def test_training_gives_the_signals_back(train: Train) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    train("vae", "--epochs", 1)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


LONG = {"vae": (12, 2), "gan": (6, 5), "realnvp": (6, 5)}  # epochs and batch size: half a second of training or more
MOMENT = "optimizer/vae/encoder.1.weight/exp_avg"
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither these signals nor the lock")


def per_epoch(model: str) -> int:
    return 100 // LONG[model][1]


def long_command(model: str, data_folder: Path) -> list[str]:
    """Return the words that train a tiny model for long enough to be stopped."""
    epochs, size = LONG[model]
    shared = ["--dataset", data_folder, "--epochs", epochs, "--batch-size", size, "--sample-every", 100]
    return ["train", model, *tiny_flags(model, MODELS[model]), *map(str, shared), *ON_ONE_THREAD]


@pytest.fixture(scope="module")
def uninterrupted(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a model to its long run that nothing stopped."""
    from genctl.cli.app import main

    @cache
    def run(model: str) -> Path:
        root = tmp_path_factory.mktemp("whole")
        assert main([*long_command(model, data_folder), "--quiet", "--out", str(root)]) == 0
        return root / f"{model}-001"

    return run


def process_of(model: str, data_folder: Path, *more: str, script: Sequence[str] = ("-m", "genctl")) -> Popen[str]:
    """Start the long training in a process of its own."""
    root = str(Path(registry.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, *script, *long_command(model, data_folder), *more]
    return Popen(words, stderr=subprocess.PIPE, text=True, env=environment)


def signal_at(process: Popen[str], *when: tuple[str, int]) -> tuple[int, str]:
    """Send each signal once a line of stderr starts so, one after the other; return exit code and stderr."""
    left = list(when)
    with process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if left and line.startswith(left[0][0]):
                process.send_signal(left.pop(0)[1])
        return process.wait(), "".join(lines)


@POSIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(
    cli: Cli, data_folder: Path, uninterrupted: Callable[[str], Path], number: int, code: int
) -> None:
    found, err = signal_at(process_of("vae", data_folder), ("epoch 2/", number))
    assert found == code
    message = err.splitlines()[-1]
    assert message.startswith("genctl: saved after step ")
    step = int(message.split()[4])
    assert 2 * per_epoch("vae") < step < LONG["vae"][0] * per_epoch("vae")
    assert message.endswith("go on with: genctl train vae --resume checkpoints/vae-001")
    assert run_folder.states(Path("checkpoints/vae-001"))[0].name == f"state-{step:08d}.safetensors"
    assert json.loads(Path("checkpoints/vae-001/config.json").read_text())["command"][:3] == ["genctl", "train", "vae"]
    assert cli("train", "vae", "--resume", "vae-001").code == 0
    assert_same_run(uninterrupted("vae"), Path("checkpoints/vae-001"))


SAVING_WITHOUT_END = """
import os, signal, stat, sys, time
from genctl.cli.app import main

sync = os.fsync

def slow(descriptor):
    noted = signal.getsignal(signal.SIGINT) == signal.SIG_DFL  # the first signal
    if noted and stat.S_ISREG(os.fstat(descriptor).st_mode):
        print("saving", file=sys.stderr, flush=True)
        time.sleep(600)
    sync(descriptor)

os.fsync = slow
sys.exit(main())
"""


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_in_a_save_leaves_at_once_and_the_older_states_are_whole(
    cli: Cli, data_folder: Path, uninterrupted: Callable[[str], Path], number: int
) -> None:
    process = process_of("vae", data_folder, script=("-c", SAVING_WITHOUT_END))
    code, err = signal_at(process, ("epoch 2/", number), ("saving", number))
    assert code == -number
    assert err.splitlines()[-1] == "saving"
    folder = Path("checkpoints/vae-001")
    n = per_epoch("vae")
    assert len(list(folder.glob(".*.tmp"))) == 1
    assert cli("verify", folder).code == 0
    newest = manifest.read(run_folder.states(folder)[0]).step
    assert newest >= n and newest % n == 0
    assert f"resuming {folder} after step {newest} " in cli("train", "vae", "--resume", "vae-001").err
    assert_same_run(uninterrupted("vae"), folder)
    assert not list(folder.glob(".*.tmp"))


@POSIX
@pytest.mark.parametrize("model", MODELS)
def test_a_killed_run_goes_on_to_the_same_bits(
    cli: Cli, data_folder: Path, uninterrupted: Callable[[str], Path], model: str
) -> None:
    n = per_epoch(model)
    folder = Path(f"checkpoints/{model}-001")
    with process_of(model, data_folder, "--save-every", str((n - 1) / n)) as process:
        while len(run_folder.states(folder)) < 2:  # the second lies in the second epoch, and none at the end of one
            assert process.poll() is None, process.stderr.read()
            sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    newest, last = manifest.read(run_folder.states(folder)[0]).step, n * LONG[model][0]
    assert n < newest < last and newest % n != 0
    answer = cli("train", model, "--resume", "latest")
    assert answer.code == 0
    assert f"resuming {folder} after step {newest} of {last}" in answer.err
    assert_same_run(uninterrupted(model), folder)
    assert not list(folder.glob(".*.tmp"))


def test_pictures_change_nothing_of_the_training(train: Train) -> None:
    train("vae", "--name", "few", "--sample-every", 100)
    train("vae", "--name", "many", "--sample-every", 1)
    assert_same_run(Path("checkpoints/few"), Path("checkpoints/many"))
    assert len(list(Path("checkpoints/many/samples").iterdir())) == 8


def saved_steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Note the step of each state that is saved, and how many there are after it."""
    save, noted = Store.save_state, []

    def save_state(store: Store, *arguments: object) -> None:
        save(store, *arguments)
        kept = run_folder.states(store.folder)
        noted.append((manifest.read(kept[0]).step, len(kept)))

    monkeypatch.setattr(Store, "save_state", save_state)
    return noted


@pytest.mark.parametrize("model", MODELS)
def test_saving_often_changes_nothing_and_keeps_two_states_until_the_end(
    train: Train, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    train(model, "--name", "few", "--save-every", 2)
    noted = saved_steps(monkeypatch)
    train(model, "--name", "many", "--save-every", 0.2)
    assert noted == [(1, 1), *((step, 2) for step in range(2, 15)), (15, 1)]
    assert_same_run(Path("checkpoints/few"), Path("checkpoints/many"))


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [
        ({True: 1e8, False: 1e9}, [5, 15]),
        ({True: 0.0, False: 1e9}, [5, 10, 15]),
        ({True: 0.0, False: 0.0}, list(range(1, 16))),
    ],
)
def test_by_default_the_first_epoch_is_saved_then_what_time_says_and_the_end(
    cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: dict[bool, float], steps: list[int]
) -> None:
    monkeypatch.setattr(experiment, "SAVE_AFTER", seconds)
    noted = saved_steps(monkeypatch)
    few = ["--dataset", data_folder, "--epochs", 3, "--batch-size", 20, *ON_ONE_THREAD]
    assert cli("train", "vae", *tiny_flags("vae", "mlp"), *few).code == 0
    assert [step for step, _ in noted] == steps


def test_a_save_that_failed_waits_for_its_time_again(
    cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "SAVE_AFTER", {True: 1e8, False: 1e9})
    noted = saved_steps(monkeypatch)
    fail_once(monkeypatch, "weights", 5)
    few = ["--dataset", data_folder, "--epochs", 3, "--batch-size", 20, *ON_ONE_THREAD]
    assert cli("train", "vae", *tiny_flags("vae", "mlp"), *few).code == 0
    assert [step for step, _ in noted] == [15]


@pytest.mark.parametrize("model", MODELS)
def test_a_larger_epochs_goes_on(train: Train, cli: Cli, model: str) -> None:
    train(model, "--schedule", "constant", "--epochs", 2, "--name", "longer")
    answer = cli("train", model, "--resume", "longer", "--epochs", 4)
    assert answer.code == 0
    assert "resuming checkpoints/longer after step 10 of 20" in answer.err
    train(model, "--schedule", "constant", "--epochs", 4, "--name", "whole")
    longer, whole = Path("checkpoints/longer"), Path("checkpoints/whole")
    assert metric_lines(longer) == metric_lines(whole)
    weights, expected = tensors(longer / run_folder.WEIGHTS), tensors(whole / run_folder.WEIGHTS)
    assert all(torch.equal(weights[name], t) for name, t in expected.items())
    assert json.loads((longer / "config.json").read_text())["train"]["epochs"] == 4
    assert "checkpoints/longer has 4 epochs already" in cli("train", model, "--resume", "longer").err


@pytest.mark.parametrize(
    ("model", "player"), [("vae", "vae"), ("gan", "discriminator|generator"), ("realnvp", "flow|validation images")]
)
def test_a_far_too_high_rate_diverges(train: Train, model: str, player: str) -> None:
    answer = train(model, "--lr", 1e30, "--clip", 0)
    assert answer.code == 5
    assert any(word in answer.err for word in player.split("|"))
    assert "lower --lr" in answer.err
    assert "Traceback" not in answer.err
    assert_all_finite(Path(f"checkpoints/{model}-001"))


def assert_all_finite(folder: Path) -> None:
    for path in folder.glob("*.safetensors"):
        bad = [name for name, t in tensors(path).items() if t.is_floating_point() and not t.isfinite().all()]
        assert bad == [], path.name


def spoil(monkeypatch: pytest.MonkeyPatch, kind: type, player: str, step: int, term: Callable) -> None:
    """Add term(a parameter) to what the player minimises at this step."""
    losses = kind.losses

    def spoiled(self, batch) -> Iterator[object]:
        for loss in losses(self, batch):
            if loss.player == player and batch.step + 1 == step:
                weight = next(p for p in self.players() if p.name == player).parameters[0]
                loss = loss._replace(minimise=loss.minimise + term(weight))
            yield loss

    monkeypatch.setattr(kind, "losses", spoiled)


@pytest.mark.parametrize(
    ("model", "kind", "player"), [("vae", VAE, "vae"), ("gan", GAN, "discriminator"), ("gan", GAN, "generator")]
)
def test_divergence_names_step_and_player_and_keeps_the_last_good_state(
    train: Train, cli: Cli, monkeypatch: pytest.MonkeyPatch, model: str, kind: type, player: str
) -> None:
    train(model, "--name", "whole")
    with monkeypatch.context() as patch:
        spoil(patch, kind, player, 8, lambda weight: weight.sum() * torch.nan)
        answer = train(model, "--name", "parts")
    assert answer.code == 5
    folder = Path("checkpoints/parts")
    assert f"the loss of the {player} was not finite at step 8; the last good state is {folder}/state-" in answer.err
    assert [path.name for path in run_folder.states(folder)] == ["state-00000005.safetensors"]
    assert manifest.read(folder / run_folder.WEIGHTS).step == 5
    assert len(metric_lines(folder)) == 1
    assert_all_finite(folder)
    assert cli("train", model, "--resume", "parts").code == 0  # the accident does not come again
    assert_same_run(Path("checkpoints/whole"), folder)


@pytest.mark.parametrize("model", MODELS)
def test_weights_that_are_not_finite_are_never_written(
    train: Train, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """A finite loss may have a gradient that is not: here that of the root of zero."""
    kind = type(build(registry.load(model)(), (1, 8, 8)))
    player = {"vae": "vae", "gan": "generator", "realnvp": "flow"}[model]
    spoil(monkeypatch, kind, player, 10, lambda weight: (weight - weight.detach()).square().sum().sqrt())
    answer = train(model, "--clip", 0)
    folder = Path(f"checkpoints/{model}-001")
    assert_all_finite(folder)
    assert answer.code == 5
    assert [path.name for path in run_folder.states(folder)] == ["state-00000005.safetensors"]
    assert len(metric_lines(folder)) == 1


def test_a_broken_newest_state_falls_back_to_the_one_before(train: Train, cli: Cli) -> None:
    train("vae", "--name", "whole")
    train("vae", "--name", "parts", "--max-minutes", 0)
    cli("train", "vae", "--resume", "parts", "--max-minutes", 0)
    folder = Path("checkpoints/parts")
    newest = run_folder.states(folder)[0]
    assert newest.name == "state-00000002.safetensors"
    spoiled = bytearray(newest.read_bytes())
    spoiled[-1] ^= 1
    newest.write_bytes(spoiled)
    answer = cli("train", "vae", "--resume", "parts")
    assert answer.code == 0
    assert f"warning: {newest} was edited since it was sealed, or is damaged" in answer.err
    assert "Trying the state before it." in answer.err
    assert f"resuming {folder} after step 1 of 15" in answer.err
    assert_same_run(Path("checkpoints/whole"), folder)


def test_the_optimizer_s_state_is_matched_by_name(train: Train, cli: Cli) -> None:
    train("vae", "--epochs", 1)
    path = run_folder.states(Path("checkpoints/vae-001"))[0]
    about, found = checkpoint.load(path)
    before = path.read_bytes()
    checkpoint.save(path, dict(reversed(found.items())), about)
    assert path.read_bytes() == before  # no order to go by
    found["optimizer/vae/another.weight/exp_avg"] = found.pop("optimizer/vae/encoder.1.weight/exp_avg")
    checkpoint.save(path, found, about)
    answer = cli("train", "vae", "--resume", "latest", "--epochs", 2)
    assert answer.code == 4
    assert answer.err == f"genctl: {path} lacks 'encoder.1.weight/exp_avg' of the optimizer.\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: {**found, MOMENT: found[MOMENT][:1].clone()}, f"another shape or type of '{MOMENT[14:]}'"),
        (lambda found: {**found, MOMENT: found[MOMENT].double()}, f"another shape or type of '{MOMENT[14:]}'"),
        (lambda found: {n: t for n, t in found.items() if not n.startswith("totals/")}, "lacks the sums of its epoch"),
        (lambda found: {n: torch.ones(2) if n[:7] == "totals/" else t for n, t in found.items()}, "lacks the sums"),
        (lambda found: {**found, "model/more": torch.ones(1)}, "more is unknown"),
    ],
    ids=["moment's shape", "moment's type", "no sums", "sums' shape", "another tensor"],
)
def test_a_sealed_state_of_another_form_is_one_sentence(
    change: Callable[[dict], dict], words: str, train: Train, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("vae", "--epochs", 1)
    path = run_folder.states(Path("checkpoints/vae-001"))[0]
    about, found = checkpoint.load(path)
    checkpoint.save(path, change(found), about)
    monkeypatch.setattr(checkpoint, "read", lambda path: pytest.fail("its tensors are read"))
    answer = cli("train", "vae", "--resume", "latest", "--epochs", 2)
    assert answer.code == 4 and answer.err.startswith(f"genctl: {path}") and words in answer.err


def test_a_state_that_names_no_versions_goes_on_with_a_warning(train: Train, cli: Cli) -> None:
    train("vae", "--epochs", 1)
    path = run_folder.states(Path("checkpoints/vae-001"))[0]
    about, found = checkpoint.load(path)
    checkpoint.save(path, found, replace(about, versions={}))
    answer = cli("train", "vae", "--resume", "latest", "--epochs", 2)
    assert answer.code == 0 and "warning: torch before: unknown, now:" in answer.err


def test_a_state_whose_weights_are_not_finite_is_passed_over(train: Train, cli: Cli) -> None:
    train("vae", "--name", "parts", "--epochs", 1)
    folder = Path("checkpoints/parts")
    before = folder / "state-00000005.safetensors"
    kept = before.read_bytes()
    assert cli("train", "vae", "--resume", "parts", "--epochs", 2).code == 0
    before.write_bytes(kept)  # a finished run has but one
    newest = run_folder.states(folder)[0]
    about, found = checkpoint.load(newest)
    found["model/decoder.0.weight"][0, 0] = torch.nan
    checkpoint.save(newest, found, about)
    answer = cli("train", "vae", "--resume", "parts", "--epochs", 3)
    assert answer.code == 0
    assert f"warning: {newest} holds weights that are not finite. Trying the state before it.\n" in answer.err
    assert f"resuming {folder} after step 5 of 15\n" in answer.err


def test_no_whole_state_is_a_sentence(train: Train, cli: Cli) -> None:
    train("vae", "--epochs", 1)
    folder = Path("checkpoints/vae-001")
    for path in run_folder.states(folder):
        path.write_bytes(path.read_bytes()[:100])
    before = content(folder)
    answer = cli("train", "vae", "--resume", folder, "--epochs", 2)
    assert answer.code == 4
    assert f"genctl: {folder} holds no whole state to go on from; train anew with another --name.\n" in answer.err
    assert content(folder) == before


def test_a_state_of_another_model_is_refused(train: Train, cli: Cli) -> None:
    train("vae", "--epochs", 1, "--name", "a")
    train("vae", "--epochs", 1, "--name", "b", "--hidden", 9)
    state, other = run_folder.states(Path("checkpoints/a"))[0], run_folder.states(Path("checkpoints/b"))[0]
    about, found = checkpoint.load(other)
    checkpoint.save(state, found, replace(about, run=manifest.run_of(manifest.read(state))))  # its model, our run's id
    answer = cli("train", "vae", "--resume", "a", "--epochs", 2)
    assert answer.code == 4
    assert "does not fit the model it names" in answer.err


@POSIX
def test_a_folder_in_use_is_left_alone(train: Train, cli: Cli) -> None:
    train("vae", "--epochs", 1)
    folder = Path("checkpoints/vae-001")
    before = content(folder)
    with lock(folder):
        answer = cli("train", "vae", "--resume", folder, "--epochs", 2)
    said = f"genctl: {folder} is in use: another process trains there; wait for its end, or stop it.\n"
    assert (answer.code, answer.err) == (7, said)
    assert content(folder) == before
    assert cli("train", "vae", "--resume", folder, "--epochs", 2).code == 0


def fail_once(monkeypatch: pytest.MonkeyPatch, role: str, step: int) -> None:
    """Let the disk be full when the file of this role and step is first written."""
    save, failing = checkpoint.save, [(role, step)]

    def full(path: Path, values: dict, about: manifest.Manifest) -> None:
        if (about.role, about.step) in failing:
            failing.clear()
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save(path, values, about)

    monkeypatch.setattr(checkpoint, "save", full)


@pytest.mark.parametrize("role", ["state", "weights"])
@pytest.mark.parametrize("model", ["vae", "gan"])
def test_a_failing_save_warns_and_goes_on(train: Train, monkeypatch: pytest.MonkeyPatch, model: str, role: str) -> None:
    train(model, "--name", "whole")
    fail_once(monkeypatch, role, 10)
    answer = train(model, "--name", "parts")
    assert answer.code == 0
    assert "warning: " in answer.err
    assert "No space left on device" in answer.err
    whole, parts = Path("checkpoints/whole"), Path("checkpoints/parts")
    assert metric_lines(parts) == metric_lines(whole)
    for name in (run_folder.WEIGHTS, "state-00000015.safetensors"):
        assert bytes_but_id(parts / name) == bytes_but_id(whole / name)


def test_the_best_weights_are_written_later_if_not_at_once(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    script_validation(monkeypatch, 10, 20, 30)
    fail_once(monkeypatch, "weights", 5)
    answer = train("vae")
    assert "warning: model.safetensors was not written (No space left on device)" in answer.err
    folder = Path("checkpoints/vae-001")
    best = manifest.read(run_folder.states(folder)[0]).progress["best"]
    assert manifest.read(folder / run_folder.WEIGHTS).metrics["validation_nats"] == best


def test_a_failing_last_save_ends_with_6_and_keeps_the_states_before_it(
    train: Train, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("vae", "--name", "whole")
    with monkeypatch.context() as patch:
        fail_once(patch, "state", 15)
        answer = train("vae", "--name", "parts")
    folder = Path("checkpoints/parts")
    assert answer.code == 6
    sentence = f"genctl: the state of step 15 was not written in {folder} (No space left on device); "
    assert answer.err.splitlines()[-1].startswith(sentence)
    names = [path.name for path in run_folder.states(folder)]
    assert names == ["state-00000010.safetensors", "state-00000005.safetensors"]
    assert cli("train", "vae", "--resume", folder).code == 0
    assert_same_run(Path("checkpoints/whole"), folder)


@pytest.mark.parametrize(("failing", "code"), [({2}, 0), ({2, 3}, 0), (set(range(2, 9)), 6)])
def test_a_line_of_the_metrics_that_was_not_written_comes_later(
    train: Train, cli: Cli, monkeypatch: pytest.MonkeyPatch, failing: set[int], code: int
) -> None:
    """The disk is full at some calls: no state goes ahead of its lines, and the last failure ends with 6."""
    append, calls = atomic.append_line, count(1)

    def full(path: Path, line: str) -> None:
        if path.name == "metrics.jsonl" and next(calls) in failing:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        append(path, line)

    train("vae", "--name", "whole")
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "append_line", full)
        answer = train("vae", "--name", "parts")
    assert answer.code == code
    assert "warning: a line of metrics.jsonl was not written (No space left on device)" in answer.err
    parts = Path("checkpoints/parts")
    newest = manifest.read(run_folder.states(parts)[0]).step
    assert newest == (5 if code else 15) == metric_lines(parts)[-1]["step"]
    assert cli("train", "vae", "--resume", "parts").code == 0
    assert_same_run(Path("checkpoints/whole"), parts)


def test_out_of_memory_ends_with_6_and_keeps_the_states_before_it(
    train: Train, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = experiment.fit

    def too_large(*arguments: object) -> Iterator[object]:
        for done in fit(*arguments):
            if done.step == 12:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")
            yield done

    train("gan", "--name", "whole")
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "fit", too_large)
        answer = train("gan", "--name", "parts")
    folder = Path("checkpoints/parts")
    assert answer.code == 6
    assert answer.err.splitlines()[-1] == "genctl: out of memory at --batch-size 20; try a smaller one."
    assert run_folder.states(folder)[0].name == "state-00000010.safetensors"
    assert cli("train", "gan", "--resume", folder).code == 0
    assert_same_run(Path("checkpoints/whole"), folder)


def test_a_run_stopped_before_its_first_state_starts_anew(
    train: Train, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("gan", "--name", "whole")
    with monkeypatch.context() as patch:
        patch.setattr("genctl.training.experiment.fit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert train("gan", "--name", "parts").code == 130
    answer = cli("train", "gan", "--resume", "parts")
    assert answer.code == 0
    assert "checkpoints/parts has no saved state yet; starting from its first step." in answer.err
    assert_same_run(Path("checkpoints/whole"), Path("checkpoints/parts"))


def test_json_is_one_object_per_epoch_and_nothing_else(train: Train) -> None:
    answer = train("vae", "--json")
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert answer.out == Path("checkpoints/vae-001/metrics.jsonl").read_text()


def test_quiet_prints_nothing(train: Train) -> None:
    answer = train("realnvp", "--quiet")  # which has nothing to warn of
    assert (answer.code, answer.out, answer.err) == (0, "", "")


class Heard(Reporter):
    """Keeps what it hears, by what it is."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.starts: list[tuple[int, int]] = []
        self.steps: list[int] = []
        self.terms: set[str] = set()
        self.epochs: list[dict[str, object]] = []
        self.closed = 0

    def say(self, message: str) -> None:
        self.said.append(message)

    def start(self, step: int, last: int, *more: object) -> None:
        self.starts.append((step, last))

    def step(self, step: int, terms: Mapping[str, float], images_per_second: float) -> None:
        assert images_per_second > 0
        self.steps.append(step)
        self.terms |= set(terms)

    def epoch(self, line: Mapping[str, object], epochs: int) -> None:
        assert epochs == 3
        self.epochs.append(dict(line))

    def close(self) -> None:
        self.closed += 1


def chosen(data_folder: Path, **more: object) -> dict[str, object]:
    """Return the options of the tiny training, as a Python caller gives them."""
    shared = {"dataset": str(data_folder), "epochs": 3, "batch_size": 20, "device": "cpu", "threads": 1}
    return {**TINY["vae", "mlp"], **shared, **more}


@pytest.mark.parametrize(("refresh", "steps"), [(0.0, list(range(1, 16))), (1e9, [])])
def test_a_reporter_hears_all_of_a_training_and_no_stream_does(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture, refresh: float, steps: list[int]
) -> None:
    monkeypatch.setattr(experiment, "REFRESH", refresh)
    heard = Heard()
    folder = start.train("vae", chosen(data_folder, out=str(tmp_path)), reporter=heard)
    assert tuple(capfd.readouterr()) == ("", "")
    assert (heard.starts, heard.steps, heard.closed) == ([(0, 15)], steps, 1)
    assert heard.terms == ({"negative_elbo", "reconstruction", "kl"} if steps else set())
    assert heard.epochs == run_folder.read_metrics(folder)
    said = [sentence for sentence in heard.said if "latent dimensions is in use" not in sentence]  # it has just begun
    assert len(said) == 2 and said[1] == f"next: genctl sample vae {folder}"


def test_a_quiet_training_looks_for_a_divergence_too(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "REFRESH", 0.0)
    spoil(monkeypatch, VAE, "vae", 3, lambda weight: weight.sum() * torch.nan)
    heard = Heard()
    with pytest.raises(Diverged, match="the loss of the vae was not finite at step 3"):
        start.train("vae", chosen(data_folder, out=str(tmp_path), quiet=True), reporter=heard)
    assert (heard.steps, heard.said, heard.closed) == ([1, 2], [], 1)  # not at the end of the epoch


def test_plain_output_is_a_line_per_epoch(train: Train) -> None:
    answer = train("vae")
    assert answer.out == ""
    lines = [line for line in answer.err.splitlines() if "latent dimensions is in use" not in line]
    assert lines[0] == ("training vae on 100 images of bars in checkpoints/vae-001; epochs show: -ELBO, nats per image")
    assert [line.split("  ")[0] for line in lines[1:-1]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    last = run_folder.read_metrics(Path("checkpoints/vae-001"))[-1]
    shown = f"  train {last['negative_elbo']:.4g}  validation {last['validation_nats']:.4g}  best "
    assert shown in lines[-2] and lines[-2].endswith(f"  {last['seconds']:.1f} s")
    assert lines[1].endswith(" s left")
