"""Your own pictures through every verb: a table of options and of faults."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from conftest import Answer, Cli, tiny_flags, write_idx
from PIL import Image

from genctl import data
from genctl.checkpoint import manifest
from genctl.pictures import splits
from genctl.runs import folder as run_folder
from genctl.testing.cases import bars

CPU = ("--device", "cpu", "--quiet", "--sample-every", 99, "--batch-size", 32)


def colours(n: int = 120) -> numpy.ndarray:
    """Return n coloured bars [n, 8, 8, 3]."""
    grey = bars(n)[0].numpy().astype(numpy.uint8)
    return numpy.stack([grey, 255 - grey, grey // 2], axis=-1)


def write(folder: Path, n: int = 120) -> Path:
    """Write n coloured pictures of four classes."""
    for i, (image, label) in enumerate(zip(colours(n), bars(n)[1].tolist(), strict=True)):
        target = folder / f"class {label}" / f"{i:03d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(target)
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return write(tmp_path / "mine")


def trained(cli: Cli, model: str, arch: str, *words: object) -> Answer:
    answer = cli("train", model, *tiny_flags(model, arch), "--dataset", "mine", "--epochs", 1, *CPU, *words)
    assert answer.code == 0, answer.err
    return answer


def test_every_verb_follows(cli: Cli, mine: Path) -> None:
    said = trained(cli, "vae", "mlp", "--likelihood", "mixture").err
    assert "mine: 120 pictures, 8 x 8, colour, 4 classes; train / validation / test: " in said
    about = manifest.read(Path("checkpoints/vae-001/model.safetensors"))
    assert about.shape == (3, 8, 8)
    assert about.dataset["split"].startswith("by digest") and about.dataset["duplicates"] == 0
    first = sorted(map(str, mine.rglob("*.png")))[:4]
    for words in (
        ("sample", "vae"),
        ("reconstruct", "vae"),
        ("reconstruct", "vae", "--images", *first[:3], "--out", "a.png"),
        ("reconstruct", "--images", *first[:3], "vae", "--out", "b.png"),
        ("interpolate", "vae", "--images", *first, "--steps", 3),
        ("interpolate", "vae", "--between-test-images"),
        ("manifold", "vae", "--from-images", "--steps", 3),
        ("eval-bpd", "vae"),
    ):
        answer = cli(*words)
        assert answer.code == 0, (words, answer.err)
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    shutil.move("mine", "moved")
    answer = cli("eval-bpd", "vae", "--dataset", "moved", "--json")
    assert json.loads(answer.out)["dataset"] == "moved"


def test_pictures_of_ones_own_are_above_their_reconstructions(cli: Cli, mine: Path) -> None:
    trained(cli, "realnvp", "mlp", "--image-channels", 1, "--image-size", "4x6")
    files = sorted(mine.rglob("*.png"))[:2]
    answer = cli("reconstruct", "realnvp", "--images", *files, "--out", "x.npz")
    with numpy.load(answer.out.strip()) as found:
        above, below = found["images"].reshape(2, 2, 4, 6)
    assert numpy.abs(above.astype(int) - below).max() <= 1
    answer = cli("interpolate", "realnvp", "--images", *files, "--steps", 3, "--out", "y.npz")
    with numpy.load(answer.out.strip()) as found:
        path = found["images"][..., 0]
    ends = path[[0, -1]]
    assert len(path) == 5 and numpy.abs(ends.astype(int) - above).max() <= 1


def test_a_gan_finds_the_latents_of_pictures_by_descent(cli: Cli, mine: Path) -> None:
    trained(cli, "gan", "mlp")
    answer = cli("sample", "gan", "-n", 2, "--out", "own.npz")
    with numpy.load(answer.out.strip()) as found:
        own = found["images"]
    for i, image in enumerate(own):
        Image.fromarray(image).save(f"own-{i}.png")
    answer = cli("reconstruct", "gan", "--images", "own-0.png", "own-1.png", "--out", "x.npz")
    said = next(line for line in answer.err.splitlines() if "found by descent" in line)
    assert "a root mean squared error of 0.00" in said  # its own pictures are in its range
    with numpy.load(answer.out.strip()) as found:
        assert numpy.abs(found["images"][2:].astype(int) - own).mean() < 3
    assert cli("interpolate", "gan", "--images", "own-0.png", "own-1.png", "--steps", 1).code == 0


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        (["--image-size", "6"], (3, 6, 6)),
        (["--image-size", "4x10", "--fit", "pad", "--background", "#ff0000"], (3, 4, 10)),
        (["--fit", "stretch", "--image-size", "12"], (3, 12, 12)),
    ],
)
def test_options_of_reading_shape_the_run_and_are_kept(
    cli: Cli, mine: Path, words: list[str], shape: tuple[int, int, int]
) -> None:
    trained(cli, "gan", "mlp", *words)
    assert manifest.read(Path("checkpoints/gan-001/model.safetensors")).shape == shape
    answer = cli("train", "gan", "--resume", "latest", "--epochs", 2, "--quiet")  # reads the same data again
    assert answer.code == 0, answer.err
    answer = cli("train", "gan", "--resume", "latest", "--epochs", 3, "--image-size", "7")
    assert answer.code == 2 and "--image-size is " in answer.err


def test_a_resume_of_pictures_is_exact(cli: Cli, mine: Path) -> None:
    for name, epochs in (("whole", 2), ("halves", 1)):
        flags = [*tiny_flags("vae", "mlp"), "--dataset", "mine", "--epochs", epochs, "--schedule", "constant", *CPU]
        assert cli("train", "vae", *flags, "--name", name).code == 0
    assert cli("train", "vae", "--resume", "halves", "--epochs", 2).code == 0
    whole, halves = (run_folder.states(Path("checkpoints") / name)[0].read_bytes() for name in ("whole", "halves"))
    start = [8 + int.from_bytes(content[:8], "little") for content in (whole, halves)]
    assert whole[start[0] :] == halves[start[1] :]


def test_skipped_pictures_stand_in_the_manifest(cli: Cli, mine: Path) -> None:
    (mine / "class 0" / "bad.png").write_bytes(b"")
    answer = cli("train", "gan", "--dataset", "mine")
    assert answer.code == 3 and "class 0/bad.png: it is empty." in answer.err and "--skip-broken" in answer.err
    said = trained(cli, "gan", "mlp", "--skip-broken").err
    assert "warning: mine: 1 files were left out (--skip-broken): class 0/bad.png." in said
    assert manifest.read(Path("checkpoints/gan-001/model.safetensors")).dataset["skipped"] == 1


def test_evaluate_reads_what_training_reads(cli: Cli, tmp_path: Path) -> None:
    Path(tmp_path / "out" / "deep").mkdir(parents=True)
    for i in range(12):
        Image.new("I;16", (28, 28), i * 1000).save(tmp_path / "out" / "deep" / f"{i}.tif")
    assert cli("evaluate", "out", "--modes").code == 0
    (tmp_path / "out" / "x.png").write_bytes(b"")
    answer = cli("evaluate", "out", "--modes")
    assert answer.code == 3 and "1 of 13 files cannot be read as a picture: x.png: it is empty." in answer.err


def test_a_run_may_start_from_anothers_weights(cli: Cli, mine: Path) -> None:
    trained(cli, "vae", "mlp", "--name", "first")
    first = Path("checkpoints/first/model.safetensors")
    answer = trained(cli, "vae", "mlp", "--name", "second", "--init", "first", "--lr", 0, "--ema", 0)
    assert "start anew" not in answer.err
    one, two = first.read_bytes(), Path("checkpoints/second/model.safetensors").read_bytes()
    assert one[8 + int.from_bytes(one[:8], "little") :] == two[8 + int.from_bytes(two[:8], "little") :]
    about = manifest.read(Path("checkpoints/second/model.safetensors"))
    assert about.train["init"] == manifest.read_header(first).digest
    assert "init" not in manifest.read(first).train
    assert cli("train", "vae", "--resume", "second", "--epochs", 2).code == 0
    assert manifest.read(Path("checkpoints/second/model.safetensors")).train["init"] == about.train["init"]
    answer = trained(cli, "vae", "mlp", "--name", "third", "--init", first, "--image-channels", 1)
    assert "tensors have no equal in checkpoints/first/model.safetensors and start anew: " in answer.err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("train gan --dataset mine --image-size 0", 2, "--image-size must be of 1 to 4096 pixels a side; not 0."),
        ("train gan --dataset mine --image-size x", 2, "--image-size is N or HxW in pixels, such as 32 or 48x64; not"),
        ("train gan --dataset mine --image-channels 2", 2, "--image-channels is 1 (grey) or 3 (colour); not 2."),
        ("train gan --dataset mine --fit squeeze", 2, "--fit is one of crop, pad, stretch; not 'squeeze'."),
        (
            "train gan --dataset mine --background bluish",
            2,
            "--background is a colour's name or #rrggbb; not 'bluish'.",
        ),
        ("train gan --dataset mine --split half", 2, "--split is one of default, digest; not 'half'."),
        ("train gan --dataset stacked-mnist --image-size 8", 2, "stacked-mnist has a size, channels and splits of its"),
        (
            "train vae --arch conv --dataset mine --image-size 10",
            2,
            "--arch conv needs a height and width divisible by 4",
        ),
        ("train gan --dataset mine --init nowhere", 4, "there is no checkpoint or run nowhere;"),
        ("train gan --dataset mine --init mine", 4, "mine/model.safetensors cannot be read: No such file"),
        ("reconstruct gan", 2, "gan cannot encode an image; for reconstruct there are: vae, realnvp, diffusion."),
        ("reconstruct vae --images nowhere.png", 3, "nowhere.png cannot be read: No such file or directory."),
        ("reconstruct vae --images mine", 3, "mine cannot be read: it is a folder."),
        ("interpolate vae --images {one}", 2, "--images needs two pictures for each row; not 1."),
        ("interpolate vae --images {one} {one} --rows 2", 2, "--images are the ends themselves; leave out --rows,"),
        ("data nowhere", 3, "there is no data set or folder 'nowhere'. Data sets: mnist"),
        ("data mine --out x.gif", 2, "--out x.gif must end in .png."),
        ("data mine --out nowhere/x.png", 3, "nowhere/x.png cannot be written: No such file or directory; choose"),
        ("data one.png", 3, "one.png is no data set; give a folder of pictures or of IDX files, or a .zip, .npz or"),
        ("cache nothing --clear", 3, "holds no nothing; it holds"),
    ],
)
def test_a_fault_is_a_sentence(cli: Cli, mine: Path, words: str, code: int, sentence: str) -> None:
    one = str(sorted(mine.rglob("*.png"))[0])
    shutil.copy(one, "one.png")
    answer = cli(*(word.format(one="one.png") for word in words.split()))
    last = answer.err.splitlines()[-1]
    assert (answer.code, last.startswith("genctl: ")) == (code, True), answer.err
    assert sentence in last and last.endswith(".")
    assert "Traceback" not in answer.err


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    """Return a folder of IDX files without labels: one test image, and 18 for training."""
    folder = tmp_path / "grey"
    folder.mkdir()
    for prefix, n in (("train", 18), ("t10k", 1)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", bars(n)[0])
    return folder


NAMED = [  # of a model conditional on the names of the folders
    (["sample", "vae", "--class", "class 2"], 0, ""),
    (["sample", "vae", "--class", "class 0-class 3", "-n", 3], 0, ""),
    (["sample", "vae", "--class", "class 9"], 2, "has no class class 9; its classes are class 0, class 1, class 2, c"),
    (["interpolate", "vae", "--from-class", "class 0", "--to-class", "class 3"], 0, ""),
    (
        ["interpolate", "vae", "--between-test-images", "--from-class", "3"],
        2,
        "has no class 3; its classes are class",
    ),
    (["manifold", "vae", "--steps", 3, "--class", "class 1"], 0, ""),
    (["reconstruct", "vae"], 0, ""),
    (["reconstruct", "vae", "--images", "mine/class 0/000.png"], 2, "is conditional, and files have no class"),
    (["eval-bpd", "vae"], 0, ""),
    (["show", "vae"], 0, ""),
    (["train", "vae", "--resume", "vae-001", "--epochs", 2], 0, ""),
]


def test_folders_are_classes_by_name(cli: Cli, mine: Path) -> None:
    trained(cli, "vae", "mlp", "--likelihood", "mixture", "--conditional")
    about = manifest.read(Path("checkpoints/vae-001/model.safetensors"))
    assert about.dataset["classes"] == ["class 0", "class 1", "class 2", "class 3"]
    assert sum(about.config["class_counts"]) == about.dataset["train_images"]
    for words, code, text in NAMED:
        answer = cli(*words)
        assert answer.code == code and text in answer.err, (words, answer.err)
    assert manifest.read(Path("checkpoints/vae-001/model.safetensors")).dataset == about.dataset


def test_a_model_of_all_classes_takes_the_names_of_the_data(cli: Cli, mine: Path) -> None:
    trained(cli, "vae", "mlp", "--likelihood", "mixture")
    words = ("interpolate", "vae", "--between-test-images", "--from-class", "class 0")
    assert cli(*words).code == 0
    answer = cli(*words, "--rows", 50)
    assert answer.code == 2 and "no image of class class 0 is left" in answer.err


def test_names_that_are_no_text_are_classes_as_they_are_shown(cli: Cli, mine: Path) -> None:
    for label, name in enumerate([b"\xff", b"a\x1bb"]):
        (mine / f"class {label}").rename(mine / os.fsdecode(name))
    trained(cli, "vae", "mlp", "--likelihood", "mixture", "--conditional")
    about = manifest.read(Path("checkpoints/vae-001/model.safetensors"))
    assert set(about.dataset["classes"]) == {"\\udcff", "a\\x1bb", "class 2", "class 3"}
    assert cli("sample", "vae", "--class", "\\udcff").code == 0


def test_more_classes_than_a_checkpoint_names_are_refused(
    cli: Cli, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genctl.training.start.MOST_CLASSES", 3)
    answer = cli("train", "vae", "--conditional", "--dataset", "mine", *CPU)
    assert answer.code == 2 and "mine has 4 classes, more than 3; leave out --conditional." in answer.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("interpolate vae --between-test-images", "1 images are too few for 1 pairs of different ones; give fewer"),
        ("manifold vae --from-images", "--from-images spans four validation images, and there are 3; leave it out."),
    ],
)
def test_too_few_images_are_a_sentence(cli: Cli, grey: Path, words: str, sentence: str) -> None:
    assert cli("train", "vae", *tiny_flags("vae", "mlp"), "--dataset", grey, "--epochs", 1, *CPU).code == 0
    answer = cli(*words.split())
    assert answer.code == 2 and answer.err.splitlines()[-1].startswith(f"genctl: {sentence}")


def test_data_says_what_is_there(cli: Cli, mine: Path) -> None:
    shutil.copy(mine / "class 0" / "000.png", mine / "class 1" / "twin.png")
    (mine / "bad.webp").write_bytes(b"")
    (mine / ".DS_Store").write_bytes(b"")
    answer = cli("data", "mine", "--json", "--out", "sheet.png")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["pictures"] == 121 and found["sizes"] == {"8 x 8": 121} and found["modes"] == {"RGB": 121}
    assert found["classes"] == {"class 0": 30, "class 1": 31, "class 2": 30, "class 3": 30}
    assert found["broken"] == [["bad.webp", "it is empty"]] and found["passed_over"] == [".DS_Store"]
    assert found["duplicates"]["groups"] == [["class 0/000.png", "class 1/twin.png"]]
    assert sum(found["splits"].values()) == 121 and found["shape"] == [3, 8, 8]
    with Image.open("sheet.png") as picture:
        assert (picture.mode, picture.size[0] % 102, picture.size[1] % 42) == ("RGB", 0, 0)
    text = cli("data", "mine").out
    for line in (
        "mine: 121 pictures",
        "classes   class 0: 30, ",
        "broken    1 (bad.webp: it is empty)",
        "copies    1 (class",
    ):
        assert line in text


def test_data_knows_files_with_an_order_too(cli: Cli, data_folder: Path) -> None:
    found = json.loads(cli("data", data_folder, "--json").out)
    assert (found["pictures"], found["split"]) == (160, "as the files give them")
    assert found["splits"] == {"train": 100, "validation": 20, "test": 40}
    assert json.loads(cli("data", data_folder, "--json", "--split", "digest").out)["splits"]["test"] == 40
    assert json.loads(cli("data", data_folder, "--json", "--image-size", 4).out)["shape"] == [1, 4, 4]


def test_the_cache_is_listed_and_cleared(cli: Cli, mine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "is empty" in cli("cache").out
    assert cli("data", "mine").code == 0
    held = json.loads(cli("cache", "--json").out)["held"]
    assert [(entry["name"], entry["files"]) for entry in held] == [("pictures", 1)] and held[0]["bytes"] > 120 * 192
    assert json.loads(cli("cache", "pictures", "--clear", "--json").out)["removed"] == held
    assert "is empty" in cli("cache").out


def test_pictures_need_no_torch_to_be_looked_at(mine: Path) -> None:
    code = "import sys; from genctl.cli.app import main; main(['data', 'mine']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=mine.parent, capture_output=True).returncode == 0


def test_idx_files_and_their_export_train_alike(cli: Cli, tmp_path: Path) -> None:
    """The same pictures as IDX and as PNG files: the same digests, splits and numbers where both go by digest."""
    (tmp_path / "idx").mkdir()
    for prefix, part, n in (("train", "train", 120), ("t10k", "test", 40)):
        images, labels = bars(n)
        images[3] = images[7]  # a duplicate
        write_idx(tmp_path / "idx" / f"{prefix}-images-idx3-ubyte", images)
        write_idx(tmp_path / "idx" / f"{prefix}-labels-idx1-ubyte", labels)
        for i, (image, label) in enumerate(zip(images.numpy().astype(numpy.uint8), labels.tolist(), strict=True)):
            target = tmp_path / "png" / part / str(label) / f"{i:03d}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(target)
    digests = [
        {splits.digest(row) for name in ("train", "validation", "test") for row in rows_of(place, name)}
        for place in ("idx", "png")
    ]
    assert digests[0] == digests[1] and len(digests[0]) > 100
    for place in ("idx", "png"):
        words = ("--dataset", place, "--split", "digest", "--epochs", 1, "--name", place)
        assert cli("train", "realnvp", *tiny_flags("realnvp", "mlp"), *words, *CPU).code == 0
    files = [Path("checkpoints", place, "model.safetensors") for place in ("idx", "png")]
    weights = [file.read_bytes()[8 + int.from_bytes(file.read_bytes()[:8], "little") :] for file in files]
    assert weights[0] == weights[1]
    about = [manifest.read(file) for file in files]
    assert about[0].dataset["digest"] == about[1].dataset["digest"] and about[0].metrics == about[1].metrics
    found = [json.loads(cli("eval-bpd", "realnvp", file, "--json").out) for file in files]
    assert found[0]["nats"] == found[1]["nats"]


def rows_of(place: str, split: str) -> numpy.ndarray:
    """Return the pictures of a split as IDX files and folders divide them by default, [N, H, W, C]."""
    return data.load(place).split(split).pixels.permute(0, 2, 3, 1).numpy()
