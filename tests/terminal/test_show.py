"""What a terminal is shown: pictures, curves, and the words beside the bar; and what gets none of it."""

from __future__ import annotations

import io

import numpy
import pytest
from rich.console import Console

from genctl.terminal import blocks, console, course, progress, view
from genctl.terminal.blocks import Lines
from genctl.terminal.progress import Terminal
from genctl.terminal.reporter import Both, Course, Reporter


class Screen(io.StringIO):
    """A stream that says it is a terminal, and can write Unicode."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Screen:
    """Return a terminal of 80 x 24 with 24-bit colours, which rich writes to instead of stderr."""
    found = Screen()
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("TERM", "xterm-256color"), ("COLORTERM", "truecolor"), ("COLUMNS", "80"), ("LINES", "24")):
        monkeypatch.setenv(name, value)
    own = Console(file=found, force_terminal=True)
    assert (own.width, own.color_system) == (80, "truecolor")
    monkeypatch.setattr(console, "stderr", lambda: Console(file=found, force_terminal=True))
    monkeypatch.setattr(view, "stderr", console.stderr)
    monkeypatch.setattr(console, "say", lambda text: print(console.plain(text), file=found))
    return found


def images(n: int = 25, side: int = 28, *channels: int) -> numpy.ndarray:
    return (numpy.arange(n * side * side * (channels or (1,))[0]) % 251).astype("u1").reshape(n, side, side, *channels)


def text_of(lines: list[blocks.Line], **how: object) -> str:
    out = Screen()
    Console(file=out, force_terminal=True, width=80, color_system="truecolor", **how).print(Lines(lines), end="")
    return out.getvalue()


def test_two_pixels_are_a_character_in_their_colours() -> None:
    picture = numpy.array([[0, 0, 255], [0, 128, 255], [7, 7, 7]], dtype="u1")
    first, second = text_of(blocks.half_blocks(picture)).splitlines()
    black, white = "48;2;0;0;0m", "48;2;255;255;255m"
    assert first == f"\x1b[{black} \x1b[0m\x1b[38;2;128;128;128;{black}▄\x1b[0m\x1b[{white} \x1b[0m"
    assert second == "\x1b[38;2;0;0;0;48;2;7;7;7m▄▄▄\x1b[0m"  # equal cells share a segment
    red = numpy.array([[[255, 0, 0]], [[0, 0, 255]]], dtype="u1")
    assert text_of(blocks.half_blocks(red)) == "\x1b[38;2;0;0;255;48;2;255;0;0m▄\x1b[0m\n"


@pytest.mark.parametrize(
    ("shape", "size"),
    [((25, 28), (80, 40)), ((1, 28), (28, 14)), ((9, 28), (80, 40)), ((4, 8, 3), (18, 9))],
)
def test_a_sheet_fits_the_width_and_is_never_enlarged(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    lines = blocks.as_wide(images(*shape), round(shape[0] ** 0.5), 80)
    widths = {sum(len(part.text) for part in line) for line in lines}
    assert (widths, len(lines)) == ({size[0]}, size[1])


def test_images_with_other_channels_stand_below_each_other() -> None:
    assert blocks.sheet(images(2, 8, 2), 2).shape == (16, 18)


@pytest.mark.parametrize(("room", "seen"), [((80, 24), (74, 22)), ((20, 9), (14, 7)), ((5, 9), None), ((40, 3), None)])
def test_a_view_has_as_many_images_as_can_be_seen(room: tuple[int, int], seen: tuple[int, int] | None) -> None:
    lines = blocks.as_many(images(), *room)
    assert (not lines) if seen is None else (sum(len(p.text) for p in lines[0]), len(lines)) == seen


def test_curves_have_their_range_and_their_names() -> None:
    series = {"train": [(i, 200.0 / i) for i in range(1, 21)], "validation": [(1, 150.0), (20, 12.0)], "none": []}
    lines = ["".join(part.text for part in line) for line in blocks.curves(series, 40, 8, {"-log 4": 5.0})]
    assert len(lines) == 8 and max(map(len, lines)) <= 40
    assert lines[0].split() == ["train", "validation"]
    assert (lines[1].split()[0], lines[-1].split()[0]) == ("150", "5")  # the first tenth may leave the picture
    assert all(0x2800 <= ord(c) < 0x2900 for line in lines[1:] for c in line if not c.isascii())
    assert blocks.curves({"one": [(1, 2.0)]}, 40, 8, {}) != [] == blocks.curves({"one": []}, 40, 8, {})
    narrow = blocks.curves(series, 12, 8, {})
    assert [sum(len(part.text) for part in line) for line in narrow] == [10, *[12] * 7]  # one name has room
    assert blocks.curves(series, 11, 8, {}) == []


def test_a_picture_is_drawn_on_a_terminal(screen: Screen) -> None:
    view.draw(images(4), 2)
    assert screen.getvalue().count("\n") == 29 and "▄" in screen.getvalue()


@pytest.mark.parametrize(
    ("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("COLUMNS", "19"), ("TERM", "unknown")]
)
def test_nothing_is_drawn_elsewhere(screen: Screen, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    view.draw(images(4), 2)
    assert screen.getvalue() == "" and not progress.Terminal(show=True).each_epoch


@pytest.mark.parametrize("forced", [False, True])
def test_a_pipe_stays_clean_whatever_is_forced(
    forced: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if forced:
        monkeypatch.setenv("FORCE_COLOR", "1")
    terminal = Terminal(show=True)
    terminal.start(0, 10, SHOWN, COURSE)
    terminal.samples(0, "", images())
    terminal.step(3, {"negative_elbo": 1.0}, 5.0)
    terminal.epoch(LINES[0], 2)
    terminal.close()
    view.draw(images(4), 2)
    assert (capsys.readouterr().err, terminal.each_epoch) == (
        "epoch 1/2  train 120  validation 110  best 110 (1)  1.0 s  0 s left\n",
        False,
    )


SHOWN = {"train": "negative_elbo", "validation": "validation_nats"}
LINES = [
    {"epoch": 1, "step": 5, "seconds": 1.0, "negative_elbo": 120.0, "validation_nats": 110.0},
    {"epoch": 2, "step": 10, "seconds": 1.0, "negative_elbo": 100.0, "validation_nats": 115.0},
]
COURSE = Course("nats per image", {"goal": 80.0}, 5)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time, in a list of one."""
    now = [100.0]
    monkeypatch.setattr(course, "monotonic", lambda: now[0])
    return now


def test_the_bar_says_what_a_person_wants_to_know(clock: list[float]) -> None:
    told = course.Progress(0, 20, SHOWN, COURSE)
    assert told.bar_line(200) == "epoch 1/4  nats per image  goal = 80"
    clock[0] += 2
    told.at(2, {"negative_elbo": 123.456, "kl": 7.0}, 1234.5)
    assert (
        told.bar_line(200) == "epoch 1/4  train 123.5  18 s left  epoch 3 s  1,234 images/s  nats per image  goal = 80"
    )
    clock[0] += 4
    told.ended(LINES[0])
    clock[0] += 12
    told.ended(LINES[1])
    told.at(12, {"negative_elbo": 90.0}, 99.0)
    clock[0] += 3
    assert told.bar_line(66) == "epoch 3/4  train 90  validation 115  best 110 (1)  19 s left"
    assert told.bar_line(4) == ""
    assert told.log_line(LINES[1], 4) == "epoch 2/4  train 100  validation 115  best 110 (1)  1.0 s  19 s left"
    told.at(20, {}, 1.0)
    assert "epoch 4/4" in told.bar_line(80) and "left" not in told.bar_line(80)


def test_a_resume_knows_the_best_of_before(clock: list[float]) -> None:
    told = course.Progress(7, 20, SHOWN, Course("nats", {}, 5, LINES[:1]))
    clock[0] += 3
    told.at(8, {"nll": 1.0}, 5.0)
    assert told.bar_line(80) == "epoch 2/4  train 120  validation 110  nll 1  best 110 (1)  36 s left  epoch 6 s"
    clock[0] += 3
    told.ended(LINES[1])  # two fifths of it were trained before
    assert told.epoch_seconds is None


def test_a_training_shows_samples_and_curves_beside_the_bar(screen: Screen) -> None:
    terminal = Terminal(show=True)
    terminal.samples(0, "", images())
    terminal.samples(0, "-means", images(1))
    terminal.start(0, 20, SHOWN, COURSE)
    terminal.epoch(LINES[0], 4)
    terminal.say("warning:\x1b[2J something")
    terminal.step(6, {"negative_elbo": 90.0}, 99.0)
    assert terminal.each_epoch
    assert "▄" in screen.getvalue() and "train" in screen.getvalue()
    drawn = terminal.view.pictures()
    assert len(drawn) == 15  # two rows of three
    assert max(sum(len(part.text) for part in line) for line in drawn) <= 80
    assert terminal.view.pictures() is drawn  # made once an epoch
    terminal.close()
    assert "warning:\\u001b[2J something\n" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[2K")  # it is gone


def test_a_short_or_dumb_terminal_has_what_fits(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "7")
    terminal = Terminal(show=True)
    terminal.start(0, 20, SHOWN, COURSE)
    assert terminal.view.pictures() == []
    terminal.close()
    monkeypatch.setenv("TERM", "dumb")
    before = screen.getvalue()
    terminal.start(0, 20, SHOWN, COURSE)
    terminal.epoch(LINES[0], 4)
    terminal.close()
    assert screen.getvalue() == f"{before}epoch 1/4  train 120  validation 110  best 110 (1)  1.0 s  0 s left\n"


def test_two_reporters_hear_the_same() -> None:
    class Heard(Reporter):
        each_epoch = True

        def __init__(self) -> None:
            self.heard: list[str] = []

        def __getattribute__(self, name: str) -> object:
            if name in ("say", "start", "samples", "step", "epoch", "close"):
                return lambda *_: self.heard.append(name)
            return super().__getattribute__(name)

    one, two = Heard(), Heard()
    both = Both(one, two)
    both.say("x")
    both.start(0, 1, {})
    both.samples(0, "", images(1))
    both.step(1, {}, 1.0)
    both.epoch({}, 1)
    both.close()
    with both.counting(1) as advance:
        advance(1)
    assert one.heard == two.heard == ["say", "start", "samples", "step", "epoch", "close"]
    assert both.each_epoch and not Both(Reporter(), Reporter()).each_epoch
