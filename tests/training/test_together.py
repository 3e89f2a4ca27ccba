"""Passes and processes train as one, and a run that torchrun starts anew goes on to the same bits."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import Cli
from soak import differences, metric_lines, process
from soak_ranks import TORCHRUN, train
from torch import nn
from torch.distributed import TCPStore

from genctl.checkpoint import tensors as checkpoint
from genctl.errors import Lost, UsageError
from genctl.ranks import meeting
from genctl.ranks.group import Ranks
from genctl.terminal.signals import StopRequest
from genctl.testing.cases import Case, pixels, run, start
from genctl.testing.in_ranks import forms_of, relative
from genctl.training import experiment, state
from genctl.training.division import Division, Question

TINY = [
    "--arch",
    "mlp",
    "--hidden",
    "8",
    "--latent-dim",
    "2",
    "--batch-size",
    "20",
    "--device",
    "cpu",
    "--threads",
    "1",
]
FORMS = [case for name in ("vae", "gan", "realnvp") for case in forms_of(name)]


def words(folder: Path, *more: str) -> list[str]:
    """Return the arguments of a tiny training."""
    return [*TINY, "--dataset", str(folder), "--epochs", "2", *more]


@pytest.mark.parametrize("case", FORMS, ids=lambda case: f"{case}-{len(case.options)}")
def test_passes_train_as_one_step_or_are_refused(case: Case) -> None:
    """8 images are 3, 3 and 2; packs of two are 4, 2 and 2."""
    if start(case).model.at_once:
        with pytest.raises(UsageError, match="leave out --accumulate"):
            start(case, accumulate=3)
        return
    whole, found = (state.tensors_of(run(start(case, accumulate=n), 5, pixels())) for n in (1, 3))
    assert relative(found, whole) < 1e-5
    for name, total in whole.items():
        if name.startswith("totals/"):
            torch.testing.assert_close(found[name], total, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("batch", "passes", "part", "said"),
    [
        (2, 1, None, "a batch of 2 images"),
        (8, 3, None, "9 shares"),
        (8, 1, nn.BatchNorm1d(2), "BatchNorm1d of vae"),
        (8, 1, nn.Dropout(), "Dropout of vae"),
    ],
)
def test_what_cannot_be_divided_is_a_sentence(batch: int, passes: int, part: nn.Module | None, said: str) -> None:
    model = start(forms_of("vae")[0]).model
    model.part = part
    with pytest.raises(UsageError, match=said):
        Division(Ranks(0, 3), model, batch, passes)


def test_the_processes_are_asked_at_steps_that_all_know(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(Ranks, "most", lambda self, *values: asked.append(1) or [15, False, 0.001])
    question = Question(Ranks(0, 2), 10)
    assert question(11, False, 0, False) == (15, False)  # at the first step, and then twice a second
    assert [question(step, False, 0, False) for step in (12, 13)] == [(0, False)] * 2
    assert question(14, True, 0, False) == (15, False) and len(asked) == 2
    assert Question(Ranks(), 0)(1, False, 2, True) == (2, True)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Pretend that torchrun has started this process; what is returned starts the next attempt."""
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    place = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    place |= {"MASTER_PORT": str(server.port), "TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)

    def begin(count: int) -> None:
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(count))
        meeting.store.cache_clear(), meeting.attempt.cache_clear()

    begin(0)
    yield begin
    meeting.store.cache_clear(), meeting.attempt.cache_clear()


def test_under_torchrun_a_second_signal_asks_too(attempts) -> None:
    """A terminal and torchrun both send one; the state is to be saved."""
    with StopRequest() as stop:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == signal.SIGTERM


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next training end at a step as if it were killed."""

    def ask(self: Question, now: int, must: bool, number: int, late: bool) -> tuple[int, bool]:
        if now == step:
            monkeypatch.undo()
            raise RuntimeError("killed")
        return number, late

    monkeypatch.setattr(experiment.Question, "__call__", ask)


def test_the_next_attempt_goes_on_to_the_same_bits(
    cli: Cli, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempts
) -> None:
    command = ["train", "vae", *words(data_folder, "--save-every", "0.2")]
    with pytest.MonkeyPatch.context() as patch:
        killed_at(7, patch)
        with pytest.raises(RuntimeError, match="killed"):
            cli(*command)
    attempts(1)
    answer = cli(*command)
    assert answer.code == 0 and "after step 6 of 10" in answer.err
    (folder,) = (tmp_path / "checkpoints").iterdir()  # it had no name
    attempts(2)
    assert cli(*command).code == 0  # it has finished
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert cli(*command, "--name", "whole").code == 0
    assert differences(tmp_path / "checkpoints" / "whole", folder) == []


def test_an_extension_that_was_begun_is_not_begun_again(cli: Cli, data_folder: Path, tmp_path: Path, attempts) -> None:
    command = ["train", "vae", *words(data_folder, "--save-every", "0.2", "--name", "x")]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TORCHELASTIC_RUN_ID")
        assert cli(*command).code == 0
    longer = ["train", "vae", "--resume", "x", "--epochs", "4", "--extend", "restart"]
    with pytest.MonkeyPatch.context() as patch:
        killed_at(13, patch)
        with pytest.raises(RuntimeError, match="killed"):
            cli(*longer)
    attempts(1)
    assert cli(*longer).code == 0
    assert [line["epoch"] for line in metric_lines(tmp_path / "checkpoints" / "x")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("more", "code", "again"),
    [
        (["--lr", "1e30"], 5, 5),  # diverged
        (["--latent-dim", "0"], 2, 2),
        (["--dataset", "gone"], 3, None),  # a disk may come back
    ],
)
def test_what_no_restart_mends_is_said_once_and_not_tried_again(
    cli: Cli, data_folder: Path, attempts, more: list[str], code: int, again: int | None
) -> None:
    answer = cli("train", "vae", *words(data_folder, *more))
    assert answer.code == code and f"genctl: exit code {code};" in answer.err
    assert meeting.ended() == again
    attempts(1)
    later = cli("train", "vae", *words(data_folder, *more))
    assert later.code == code and bool(later.err) == (again is None)


def test_the_first_with_an_error_speaks(cli: Cli, monkeypatch: pytest.MonkeyPatch, attempts) -> None:
    assert [meeting.speaks(3), meeting.speaks(3)] == [True, False]
    attempts(1)
    assert meeting.speaks(3)
    monkeypatch.setenv("RANK", "1")
    assert cli("models").out == ""  # rank 0 speaks
    attempts(2)
    assert "mea" in cli("train", "vea").err  # but for an error


def test_one_that_lost_the_others_waits_for_their_reason(cli: Cli, monkeypatch: pytest.MonkeyPatch, attempts) -> None:
    monkeypatch.setattr(meeting, "GRACE", 0.0)

    def lose(*_: object) -> None:
        raise Lost("another process is gone.")

    monkeypatch.setattr("genctl.training.start.start", lose)
    assert meeting.speaks(3)
    assert (cli("train", "vae").code, cli("train", "vae").err) == (1, "")
    attempts(1)
    assert "gone" in cli("train", "vae").err


def launched(*arguments: str) -> tuple[int, str]:
    """Run genctl in two processes; return torchrun's exit code and what was said."""
    with process(*arguments, module=[word if word != "3" else "1" for word in TORCHRUN]) as torchrun:
        said = torchrun.communicate(timeout=300)[0]
    return torchrun.returncode, said


def test_torchrun_trains_as_one_process_does(cli: Cli, data_folder: Path, tmp_path: Path) -> None:
    command = ["train", "vae", *words(data_folder, "--out", str(tmp_path / "runs"))]
    code, said = launched(*command, "--name", "two")
    assert code == 0, said
    assert said.count("training vae") == said.count("epoch 2/2") == said.count("next:") == 1
    assert cli(*command, "--name", "one").code == 0
    ours, theirs = (
        {f"model/{name}": t for name, t in checkpoint.load(tmp_path / "runs" / name / "model.safetensors")[1].items()}
        for name in ("two", "one")
    )
    assert relative(ours, theirs) < 1e-4
    answer = cli("train", "vae", "--resume", str(tmp_path / "runs" / "two"), "--epochs", "3")
    assert answer.code == 0 and "processes before: 2, now: 1; the bits may differ" in answer.err


@pytest.mark.slow
def test_a_killed_process_is_started_anew_to_the_same_bits(data_folder: Path, tmp_path: Path) -> None:
    options, chance = (
        words(data_folder, "--epochs", "200", "--save-every", "1", "--sample-every", "100"),
        random.Random(0),
    )
    for name, moments in (("whole", []), ("early", [1.0]), ("late", [11.0])):
        assert train("vae", options, tmp_path / name, moments, 300, chance) == (len(moments), "")
    for name in ("early", "late"):
        assert differences(tmp_path / "whole", tmp_path / name) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "sentence", "code"),
    [
        (["--lr", "1e30"], "was not finite", 5),
        (["--hidden", "0"], "--hidden", 2),
        (["--dataset", "gone"], "gone", 3),
        (["--accumulate", "30"], "cannot be divided", 2),
    ],
)
def test_an_error_of_processes_is_said_once(
    data_folder: Path, tmp_path: Path, more: list[str], sentence: str, code: int
) -> None:
    ended, said = launched("train", "vae", *words(data_folder, "--out", str(tmp_path), *more))
    lines = [line for line in said.splitlines() if line.startswith("genctl: ")]
    assert ended != 0 and sentence in lines[0] and f"exit code {code};" in lines[1]
    assert len(lines) == (4 if code == 3 else 2)  # what may be mended is tried once more


@pytest.mark.slow
def test_one_process_that_fails_ends_all_with_its_sentence(data_folder: Path, tmp_path: Path) -> None:
    """The second alone does not find the data; the first waits for it at the first step."""
    options = " ".join(words(Path(data_folder.name), "--out", str(tmp_path)))
    script = f'test "$RANK" = 0 && cd {data_folder.parent}; exec "{sys.executable}" -m genctl train vae {options}'
    one_attempt = [word if word != "3" else "0" for word in TORCHRUN[:-2]]
    with process("sh", "-c", script, module=[*one_attempt, "--no-python"]) as torchrun:
        said = torchrun.communicate(timeout=300)[0]
    lines = [line for line in said.splitlines() if line.startswith("genctl: ")]
    assert torchrun.returncode != 0 and len(lines) == 2, said
    assert f"no data set or folder '{data_folder.name}'" in lines[0] and "exit code 3;" in lines[1]


@pytest.mark.slow
def test_processes_measure_and_draw_the_bits_of_one(data_folder: Path, tmp_path: Path) -> None:
    where = ["--runs", str(tmp_path)]
    assert subprocess_of("train", "vae", *words(data_folder, "--out", str(tmp_path), "--name", "x"))[0] == 0
    for command in (
        ["eval-bpd", str(tmp_path / "x"), "-k", "5", "--json"],
        ["evaluate", str(tmp_path / "x"), "--samples", "1100", "--json"],
    ):
        (code, alone), (codes, together) = subprocess_of(*command), launched(*command)
        assert (code, codes) == (0, 0), together
        ours, theirs = (
            json.loads(next(line for line in said.splitlines() if line.startswith("{"))) for said in (together, alone)
        )
        assert {**ours, "samples_per_second": 0} == {**theirs, "samples_per_second": 0}
    for name, start_it in (("one", subprocess_of), ("two", launched)):
        code, said = start_it(
            "sample", str(tmp_path / "x"), "-n", "100", "--out", str(tmp_path / f"{name}.npz"), *where
        )
        assert code == 0 and said.count(f"{name}.npz") == 1
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def subprocess_of(*arguments: str) -> tuple[int, str]:
    """Run genctl in one process; return its exit code and what was said."""
    with process(*arguments) as child:
        said = child.communicate(timeout=300)[0]
    return child.returncode, said
