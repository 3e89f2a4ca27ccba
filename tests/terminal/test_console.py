"""Where words go, and what streams without colours, letters or readers make of them."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Cli, tiny_flags

from genctl.checkpoint import manifest
from genctl.checkpoint.manifest import Manifest
from genctl.models import registry
from genctl.runs import folder as run_folder
from genctl.terminal import console
from genctl.terminal.progress import Terminal
from genctl.terminal.reporter import Reporter


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def ascii_stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii")


def test_messages_go_to_stderr_and_results_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("working")
    console.result("42")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("42\n", "working\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe λ \\x 9%", "größe λ \\x 9%"),
        ("a\x1b[2Jb", "a\\u001b[2Jb"),
        ("a\r\nwhole    b", "a\\u000d\\u000awhole    b"),
        ("a\x9bb\x7f", "a\\u009bb\\u007f"),
        ("a\u202eb\u2028c", "a\\u202eb\\u2028c"),
    ],
    ids=repr,
)
def test_nothing_that_is_printed_steers_the_terminal(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.say(text)
    console.result(text, "next")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (f"{shown}\nnext\n", f"{shown}\n")


EVIL = "\x1b]0;x\x07\r\nwhole    \x9b2J\u202e"


def evil_file(path: Path) -> None:
    """Write a sealed file in which every text tries to steer the terminal."""
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    text = json.dumps({EVIL: entry}).encode()
    about = Manifest(
        model=EVIL,
        config={EVIL: EVIL},
        train={EVIL: 1},
        shape=(1, 1, 1),
        dataset={"name": EVIL, "digest": EVIL},
        role=EVIL,
        step=1,
        epoch=1,
        metrics={EVIL: 1.0},
        versions={EVIL: EVIL},
    )
    path.write_bytes(manifest.seal(len(text).to_bytes(8, "little") + text + bytes(4), about))


def evil_run(folder: Path) -> None:
    """Write a run's config.json in which every text tries to steer the terminal."""
    folder.mkdir(parents=True)
    about = {"model": EVIL, "config": {EVIL: EVIL}, "train": {"epochs": 1, EVIL: EVIL}, "schedule_epochs": 1}
    about |= {"started": EVIL, "dataset": {"name": EVIL, "digest": EVIL}, "device": EVIL, "threads": 1}
    (folder / "config.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    "words",
    [
        *(["show"], ["show", "--json"], ["verify"], ["verify", "--json"], ["sample"], ["sample", "vae"], ["eval-bpd"]),
        *(["verify", "--reseal", "new"], ["evaluate"], ["reconstruct"]),
    ],
    ids=" ".join,
)
def test_no_text_of_a_file_steers_the_terminal(words: list[str], cli: Cli) -> None:
    evil_file(Path("evil.safetensors"))
    Path(f"{EVIL}.safetensors").write_bytes(Path("evil.safetensors").read_bytes()[:-1])
    for name in ("evil.safetensors", f"{EVIL}.safetensors"):
        first, *rest = words
        answer = cli(first, *(rest if "vae" in rest else []), name, *(word for word in rest if word != "vae"))
        said = answer.out + answer.err
        assert said and all(c.isprintable() or c == "\n" for c in said)
        assert not any(line.startswith("whole    \\u009b") for line in said.splitlines())
        if "--json" in words and answer.code == 0:
            json.loads(answer.out)


def test_no_text_of_a_run_steers_the_terminal(cli: Cli) -> None:
    evil_run(Path("checkpoints/evil"))
    evil_run(Path("checkpoints") / EVIL.replace("/", ""))
    answer = cli("runs")
    assert answer.code == 0 and answer.out.count("\n") == 3
    assert all(c.isprintable() or c == "\n" for c in answer.out)


@pytest.mark.parametrize(("name", "write"), [("stdout", console.result), ("stderr", console.say)])
def test_an_ascii_stream_gets_escapes(monkeypatch: pytest.MonkeyPatch, name: str, write) -> None:
    stream = ascii_stream()
    monkeypatch.setattr(sys, name, stream)
    console.escape()
    write("größe λ")
    assert stream.buffer.getvalue() == b"gr\\xf6\\xdfe \\u03bb\n"


def test_an_ascii_stderr_does_not_stop_a_command(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = ascii_stream()
    monkeypatch.setattr(sys, "stderr", stream)
    assert cli("sample", "größe.safetensors").code == 4
    assert b"gr\\xf6\\xdfe.safetensors" in stream.buffer.getvalue()


@pytest.mark.parametrize("words", ["-h", "train realnvp -h", "models", "runs"])
def test_a_narrow_ascii_terminal_gets_help_and_listings(cli: Cli, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    stream = ascii_stream()
    monkeypatch.setattr(sys, "stdout", stream)
    for name, value in (("COLUMNS", "20"), ("TERM", "dumb"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    answer = cli(*words.split())
    assert (answer.code, answer.err) == (0, "")
    assert len(stream.buffer.getvalue()) > 40


def ends(out: int, *words: str) -> tuple[int, str]:
    """Return exit code and stderr of a command in a process of its own that writes to a file descriptor."""
    environment = {**os.environ, "PYTHONPATH": str(Path(registry.__file__).parents[2])}
    environment.pop("PYTHONUNBUFFERED", None)  # what is left in the buffer is what complains
    command = [sys.executable, "-m", "genctl", *words]
    answer = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, env=environment)
    return answer.returncode, answer.stderr


@pytest.mark.parametrize("words", ["models", "train vae -h"])
def test_a_reader_that_leaves_ends_a_listing_without_a_word(words: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert ends(writer, *words.split()) == (1, "")
    finally:
        os.close(writer)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_listing_onto_a_full_disk_is_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        assert ends(full.fileno(), "models") == (6, "genctl: the disk is full; free some space.\n")


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(errno.ENOSPC, "No space left on device")], ids=repr)
def test_training_survives_a_stdout_that_nobody_reads(
    cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    monkeypatch.setattr(sys, "stdout", Closed())
    flags = [*tiny_flags("vae", "mlp"), "--dataset", data_folder, "--epochs", 2, "--device", "cpu", "--json"]
    answer = cli("train", "vae", *flags)
    assert (answer.code, answer.err.splitlines()[-1]) == (0, "next: genctl sample vae checkpoints/vae-001")
    assert len(run_folder.read_metrics(Path("checkpoints/vae-001"))) == 2


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O operation on closed file"), OSError("gone")])
def test_a_stderr_that_nobody_reads_is_ignored(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    monkeypatch.setattr(sys, "stderr", Closed())
    console.say("nobody reads this")


def test_no_escape_codes_without_a_terminal(
    cli: Cli, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    flags = [*tiny_flags("vae", "mlp"), "--dataset", data_folder, "--epochs", 1, "--device", "cpu"]
    answers = [cli("train", "vae", *flags), cli("eval-bpd", "vae"), cli("sample", "vae"), cli("runs")]
    assert [answer.code for answer in answers] == [0, 0, 0, 0]
    for answer in answers:
        assert "\x1b" not in answer.out + answer.err
        assert "\r" not in answer.out + answer.err


LINE = {"epoch": 1, "step": 5, "seconds": 0.5, "images_per_second": 200.0, "negative_elbo": 120.0, "kl": 7.0}
SHOWN = {"train": "negative_elbo", "validation": "validation_nats"}


def bar_on(screen: Screen, monkeypatch: pytest.MonkeyPatch, **how: bool) -> Terminal:
    """Return a reporter of a training of ten steps whose stderr is this screen."""
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal(**how)
    terminal.start(0, 10, SHOWN)
    return terminal


def test_a_terminal_gets_a_bar_with_the_terms_of_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    terminal = bar_on(screen, monkeypatch)
    terminal.step(4, {"negative_elbo": 123.456}, 1234.5)
    terminal.epoch(LINE, 2)
    terminal.close()
    text = screen.getvalue()
    assert "40%" in text
    assert "train 123.5" in text
    assert "1,234 images/s" in text
    assert "epoch 1/2  train 120  0.5 s  " in text


def test_a_terminal_that_goes_away_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    terminal = bar_on(Screen(), monkeypatch)
    terminal.view.console.print = terminal.view.live.stop = gone
    terminal.epoch(LINE, 2)
    terminal.close()


def test_a_quiet_training_shows_nothing_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    terminal = bar_on(screen, monkeypatch, quiet=True)
    terminal.step(1, {"negative_elbo": 123.456}, 1234.5)
    terminal.epoch(LINE, 2)
    terminal.close()
    assert screen.getvalue() == ""


def test_json_lines_go_to_stdout_and_no_epoch_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Screen()
    terminal = bar_on(screen, monkeypatch, as_json=True)
    terminal.epoch(LINE, 2)
    terminal.close()
    assert json.loads(capsys.readouterr().out) == LINE
    assert "epoch 1/2" not in screen.getvalue()


def test_counting_shows_a_bar_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Terminal().counting(10) as advance:
        advance(10)
    assert capsys.readouterr().err.strip() == ""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with Terminal().counting(10, "pictures") as advance:
        advance(10)
    assert "pictures" in screen.getvalue() and "100%" in screen.getvalue()


def test_a_reporter_says_nothing_unless_told_to(capfd: pytest.CaptureFixture[str]) -> None:
    silent = Reporter()
    silent.say("working")
    with silent.counting(None) as advance:
        advance(1)
    silent.start(0, 10, SHOWN)
    silent.step(1, {"kl": 1.0}, 1.0)
    silent.epoch(LINE, 2)
    silent.close()
    assert tuple(capfd.readouterr()) == ("", "")
