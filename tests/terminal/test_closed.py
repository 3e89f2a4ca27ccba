"""Streams that are closed before genctl starts, and Ctrl-C while libraries are imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import tiny_flags

import genctl
from genctl import __main__ as start

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such descriptors")
ROOT = str(Path(genctl.__file__).parents[1])


def shell(line: str, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell in which "$@" is genctl with these words."""
    command = ["sh", "-c", line, "sh", sys.executable, "-m", "genctl", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)


@POSIX
@pytest.mark.parametrize(
    ("line", "words", "code", "out", "err"),
    [
        ('"$@" 2>&-', "runs --json", 0, "[]\n", ""),
        ('"$@" 2>&-', "sample nothing", 2, "", ""),
        ('"$@" >&-', "runs", 1, "", "genctl: stdout is closed, so what was to be printed is lost.\n"),
        ('"$@" >&- 2>&- <&-', "runs", 1, "", ""),
        ('"$@" <&-', "runs --json", 0, "[]\n", ""),
    ],
)
def test_a_closed_stream_is_no_other_one(line: str, words: str, code: int, out: str, err: str, tmp_path: Path) -> None:
    answer = shell(line, tmp_path, *words.split())
    assert (answer.returncode, answer.stdout, answer.stderr) == (code, out, err)


@POSIX
def test_a_training_does_without_streams(data_folder: Path, tmp_path: Path) -> None:
    flags = [*tiny_flags("vae", "mlp"), "--dataset", data_folder, "--epochs", 1, "--device", "cpu"]
    answer = shell('"$@" 2>&-', tmp_path, "train", "vae", *flags, "--json")
    assert (answer.returncode, json.loads(answer.stdout)["epoch"]) == (0, 1)
    run = tmp_path / "checkpoints" / "vae-001"
    assert (run / "metrics.jsonl").read_text() == answer.stdout


@POSIX
def test_ctrl_c_in_an_import_is_no_traceback(tmp_path: Path) -> None:
    body = "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    [0] * 10**7\n"
    (tmp_path / "typer.py").write_text(body + "except BaseException as error:\n    raise ImportError from error\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    words = [sys.executable, "-m", "genctl", "runs"]

    def heed() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in the background ignores it, and so would its children

    answer = subprocess.run(words, capture_output=True, text=True, env=environment, preexec_fn=heed)
    assert (answer.returncode, answer.stderr) == (130, "")


def test_ctrl_c_elsewhere_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        start.leave(signal.SIGINT, sys._getframe())

    def interrupted() -> int:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("genctl.cli.app.main", interrupted)
    try:
        assert start.run() == 130
    finally:
        signal.signal(signal.SIGINT, before)
