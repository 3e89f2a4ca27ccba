"""Animations, a file an image, and what every picture says of itself."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy
import pytest
from conftest import Cli, tiny_flags
from PIL import Image

from genctl import __version__
from genctl.checkpoint import manifest
from genctl.cli.app import main
from genctl.errors import DataError
from genctl.generation import animation, captions, many_files

COMMAND = ["genctl", "sample", "vae", "--name", "größe \x1b[2J\udcff λ"]


@pytest.fixture(scope="module")
def trained(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run of 3 epochs of a VAE and of a GAN."""
    root = tmp_path_factory.mktemp("trained")
    for model in ("vae", "gan"):
        shared = ["--dataset", str(data_folder), "--batch-size", "20", "--epochs", "3", "--device", "cpu", "--quiet"]
        assert main(["train", model, *tiny_flags(model, "mlp"), *shared, "--out", str(root)]) == 0
    return root


@pytest.fixture
def use(cli: Cli, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Return the command line in a folder whose checkpoints/ holds the trained runs."""
    shutil.copytree(trained, tmp_path / "checkpoints")
    monkeypatch.setattr(sys, "argv", COMMAND)
    return cli


def frames_of(path: str | Path) -> list[numpy.ndarray]:
    with Image.open(path) as picture:
        found = []
        for i in range(getattr(picture, "n_frames", 1)):
            picture.seek(i)
            found.append(numpy.asarray(picture.convert("RGB")))
        return found


@pytest.mark.parametrize(
    ("words", "form", "frames"),
    [
        ("interpolate gan --rows 3 --steps 4 --out x.webp", "WEBP", 10),  # there and back: 6 + 4
        ("interpolate gan --rows 3 --steps 4 --out x.png --animate", "PNG", 10),
        ("interpolate gan --rows 3 --steps 4 --out x.gif --fps 20", "GIF", 10),
        ("manifold gan --steps 5 --out x.webp", "WEBP", 5),  # f ends where it begins
        ("manifold vae --steps 5 --out x.webp", "WEBP", 8),  # a plane does not
        ("interpolate gan --rows 3 --steps 4 --out x.png", "PNG", 1),
        ("animate vae-001 --out x.png", "PNG", 4),
        ("animate checkpoints/vae-001 --kind means --out x.gif", "GIF", 4),
        ("animate gan --out x.webp", "WEBP", 4),
    ],
)
def test_the_ending_chooses(use: Cli, words: str, form: str, frames: int) -> None:
    answer = use(*words.split())
    assert answer.code == 0, answer.err
    assert answer.out == words.split("--out ")[1].split()[0] + "\n"
    with Image.open(answer.out.strip()) as picture:
        assert (picture.format, getattr(picture, "n_frames", 1)) == (form, frames)
        assert picture.info.get("loop", 0) == 0


def test_frames_are_the_pictures_pixels(use: Cli) -> None:
    """A frame of an interpolation is a column of its grid; WebP and APNG change no pixel."""
    use("interpolate", "gan", "--steps", 4, "--out", "grid.npz")
    with numpy.load("grid.npz") as found:
        images = found["images"]
    for name in ("x.webp", "x.png"):
        assert use("interpolate", "gan", "--steps", 4, "--animate", "--out", name).code == 0
        frames = frames_of(name)
        factor = len(frames[0]) // 12  # an image of 8 x 8 within 2 pixels
        own = [frame[2 * factor : -2 * factor : factor, 2 * factor : -2 * factor : factor, 0] for frame in frames]
        assert [int((a != b).sum()) for a, b in zip(own[:6], images[..., 0], strict=False)] == [0] * 6
        assert (own[6] == own[4]).all()


def test_a_run_is_animated_from_its_first_epoch_to_its_last(use: Cli) -> None:
    assert use("animate", "vae-001").out == "checkpoints/vae-001/animate-vae.webp\n"
    frames = frames_of("checkpoints/vae-001/animate-vae.webp")
    for epoch, frame in enumerate(frames):
        with Image.open(f"checkpoints/vae-001/samples/epoch-{epoch:03d}.png") as grid:
            assert (frame[: -animation.STRIP] == numpy.asarray(grid.convert("RGB"))).all()
        assert frame[-animation.STRIP :].any()  # its epoch
    assert use("animate", "vae-001").out == "checkpoints/vae-001/animate-vae-2.webp\n"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("animate vae --out x.mp4", 2, "--out x.mp4 must end in .webp, .png or .gif."),
        ("animate gan --kind means", 3, "samples has 0 grids epoch-NNN-means.png, fewer than two."),
        ("animate vae --kind nice", 3, "fewer than two; of others there are: means."),
        ("animate realnvp", 4, "there is no run of realnvp under checkpoints; start one: genctl train realnvp"),
        ("animate nothing", 4, "there is no checkpoint or run nothing; `genctl runs` lists the runs."),
        ("animate bad", 3, "checkpoints/bad/samples/epoch-002.png cannot be read as a picture; remove it."),
        ("animate vae --fps 0", 2, "--fps must be at least 0.1; not 0.0."),
        ("interpolate gan --out x.npz --animate", 2, "--out x.npz must end in .webp, .gif or .png."),
        ("sample gan --out x.webp", 2, "--out x.webp must end in .png or .npz."),
        ("sample gan --out full/", 2, "full is not empty; choose another --out for a file an image."),
        ("sample gan --out no/where/", 3, "no/where cannot be written: no is no folder; choose another --out."),
        ("sample gan --out file", 3, "file is no folder; choose another --out."),
    ],
)
def test_a_fault_is_a_sentence(use: Cli, words: str, code: int, sentence: str) -> None:
    Path("full/x").mkdir(parents=True)
    Path("file").touch()
    shutil.copytree("checkpoints/vae-001", "checkpoints/bad")
    Path("checkpoints/bad/samples/epoch-002.png").write_bytes(b"\x89PNG")
    answer = use(*words.split())
    assert (answer.code, answer.out) == (code, "") and answer.err.endswith(f"{sentence}\n"), answer.err


@pytest.mark.parametrize("out", ["digits/", "digits", "made.already/"])
def test_a_file_an_image(use: Cli, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genctl.generation.figures.PIECE", 64)
    Path("made.already").mkdir()
    use("sample", "vae", "-n", 150, "--out", "x.npz", "--seed", 3)
    answer = use("sample", "vae", "-n", 150, "--out", out, "--seed", 3)
    assert (answer.code, answer.out) == (0, f"{out.rstrip('/')}\n")
    names = sorted(os.listdir(out))
    assert (len(names), names[0], names[-1]) == (150, "000000.png", "000149.png")
    with numpy.load("x.npz") as found:
        for i in (0, 1, 63, 64, 149):
            with Image.open(Path(out) / names[i]) as picture:
                assert (numpy.asarray(picture) == found["images"][i, ..., 0]).all()
                assert picture.text["Seed"] == "3"
    assert json.loads(use("data", out, "--json").out)["pictures"] == 150  # a folder like any other


def test_a_failure_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    import torch

    monkeypatch.setattr(many_files, "picture", fail)
    with pytest.raises(OSError, match="No space"):
        many_files.write(tmp_path / "x", [torch.zeros(3, 1, 8, 8)], {})
    assert os.listdir(tmp_path) == []


def test_pictures_say_what_they_are(use: Cli) -> None:
    words = ["sample", "vae", "-n", 30, "--seed", 7]
    for name in ("a.png", "b.png", "a.npz", "b.npz"):
        assert use(*words, "--out", name).code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()  # no time in it
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()
    digest = manifest.read_header(Path("checkpoints/vae-001/model.safetensors")).digest
    said = {
        "Software": f"genctl {__version__}",
        "Command": "genctl sample vae --name 'gr\\xf6\\xdfe \\x1b[2J\\udcff \\u03bb'",
        "Seed": "7",
        "Checkpoint": digest,
    }
    with Image.open("a.png") as picture:
        assert picture.text == said
    content = Path("a.png").read_bytes()
    assert (content.count(b"tEXt"), content.count(b"iTXt"), content.count(b"tIME")) == (4, 0, 0)
    with numpy.load("a.npz") as found:
        assert {name: str(found[name]) for name in found if name != "images"} == {
            key.lower(): text for key, text in said.items()
        }
    assert json.loads(use("data", "a.npz", "--json").out)["pictures"] == 30  # which reads them


def test_texts_change_no_pixel(use: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert use("sample", "vae", "--out", "with.png").code == 0
    monkeypatch.setattr(captions, "texts", lambda _: {})
    assert use("sample", "vae", "--out", "without.png").code == 0
    one, other = frames_of("with.png"), frames_of("without.png")
    assert (one[0] == other[0]).all() and b"tEXt" not in Path("without.png").read_bytes()


def test_animations_and_a_training_s_grids_say_what_they_are(use: Cli) -> None:
    use("interpolate", "gan", "--steps", 2, "--out", "x.webp")
    use("interpolate", "gan", "--steps", 2, "--out", "x.gif")
    run = json.loads(Path("checkpoints/vae-001/config.json").read_text())
    use("animate", "vae-001", "--out", "x.png")
    with Image.open("x.webp") as webp, Image.open("x.gif") as gif, Image.open("x.png") as apng:
        for text in (webp.getexif()[captions.DESCRIPTION], gif.info["comment"].decode()):
            assert "Command: genctl sample vae" in text and "Seed: 0\nCheckpoint: " in text
        assert (apng.text["Run"], apng.text["Seed"]) == (run["id"], "0")
    with Image.open("checkpoints/vae-001/samples/epoch-002-means.png") as grid:
        expected = {"Software": f"genctl {__version__}", "Model": "vae", "Epoch": "2", "Seed": "0"}
        assert grid.text == expected


def test_a_long_training_is_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animation, "MOST_FRAMES", 10)
    (tmp_path / "samples").mkdir()
    for epoch in range(25):
        (tmp_path / f"samples/epoch-{epoch:03d}.png").touch()
    assert [epoch for epoch, _ in animation.kept(tmp_path)] == list(range(0, 25, 3))
    with pytest.raises(DataError):
        animation.kept(tmp_path, "means")


@pytest.mark.parametrize(
    "words", ["sample vae -n 4", "reconstruct vae -n 4", "interpolate gan", "manifold gan --steps 3"]
)
def test_show_draws_what_is_written(use: Cli, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr("genctl.terminal.view.draw", lambda images, columns: drawn.append((images, columns)))
    assert use(*words.split(), "--out", "a.npz").code == 0 and drawn == []
    assert use(*words.split(), "--out", "b.npz", "--show").code == 0
    ((images, columns),) = drawn
    with numpy.load("a.npz") as found:
        assert (images == found["images"][..., 0]).all() and len(images) % columns == 0
