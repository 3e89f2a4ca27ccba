"""Features for any data: which compare what, random ones are a constant, a file of one's own is no code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
import torch
from conftest import Cli, bars, tiny_config, write_idx
from PIL import Image
from torch import nn

import genctl
from genctl import data
from genctl.checkpoint import manifest, tensors
from genctl.checkpoint.manifest import Manifest
from genctl.data import Reading
from genctl.errors import CheckpointError, UsageError
from genctl.evaluation import features, own_features, random_network, train_classifier
from genctl.evaluation.features import WIDTH, Classifier, Features
from genctl.models.base import build
from genctl.runs import records

COMPARED = {"frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage", "memorized"}
OF_CLASSES = {"modes", "mode_kl", "mode_kl_data", "class_shares", "class_accuracy"}
SHAPES = [(3, 28, 28), (3, 32, 32), (1, 64, 64), (3, 96, 96), (3, 24, 40), (1, 5, 3), (2, 1, 9)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def quick(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train small classifiers, and keep them from other tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(train_classifier, "LEAST_STEPS", 15)


def record(answer) -> dict:
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def colours(n: int) -> numpy.ndarray:
    grey = bars(n)[0].numpy().astype(numpy.uint8)
    return numpy.stack([grey, 255 - grey, grey // 2], axis=-1)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Return an array of coloured images without labels."""
    numpy.save(tmp_path / "bare.npy", colours(120))
    return tmp_path / "bare.npy"


def saved(path: Path, name: str, dataset: Path, **train: object) -> Path:
    """Write weights of a small model of these data, as random as they are at first."""
    config, found = tiny_config(name, "mlp"), data.load(dataset, reading=Reading.of(train))
    about = {"name": found.name, "digest": found.digest, "train_images": len(found.train)}
    said = {"train": train, "dataset": about, "role": "weights", "step": 1, "epoch": 3}
    said |= {"model": name, "config": config.to_dict(), "shape": found.train.shape}
    torch.manual_seed(0)
    tensors.save(path, build(config, found.train.shape).state_dict(), Manifest(**said))
    return path


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_networks_take_any_size_and_colour(shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BLOCK", 4)
    x = torch.randint(0, 256, (3, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    vectors, labels = random_network.features_of(shape)(x)
    assert vectors.shape == (3, WIDTH) and vectors.std(0).min() > 0 and not len(labels)
    vectors, labels = Features(Classifier(shape, 4).eval(), "", "")(x)
    assert vectors.shape == (3, WIDTH) and labels.shape == (3,)


def test_random_weights_are_a_constant_of_the_shape() -> None:
    before = torch.get_rng_state()
    one, other = random_network.features_of((1, 8, 8)), random_network.features_of((3, 8, 8))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.digest == "f6774a457a15026540cdf78ad1d4a06fc5fff4f3030bcc2c5a085c3931709154" != other.digest
    torch.manual_seed(7)
    assert random_network.features_of((1, 8, 8)).digest == one.digest
    assert one.about()["name"] == "convolutional network of random weights, seed 0"


def test_without_labels_random_weights_compare_and_say_so(cli: Cli, bare: Path) -> None:
    gan, flow = (saved(Path(f"{name}.safetensors"), name, bare) for name in ("gan", "realnvp"))
    shared = ("--dataset", bare, "--samples", 30)
    found = record(cli("evaluate", gan, *shared, "--json"))
    assert found.keys() >= COMPARED and not (found.keys() | found["floor"].keys()) & OF_CLASSES
    assert found["interval"].keys() == COMPARED and found["classes"] == 0
    assert found["features"]["kind"] == "random" and "takes a classifier" in found["features"]["left_out"]
    assert found["frechet_distance"] > 3 * found["floor"]["frechet_distance"]
    text = cli("evaluate", gan, *shared).out
    for words in (
        "frechet_distance (random)",
        "  memorized  ",
        "left out  modes, class shares and class acc",
    ):
        assert words in text
    assert "convolutional network of random weights, seed 0, sha256 " in text
    head = cli("compare", gan, flow, *shared).out.splitlines()[0]
    assert "frechet (random)  kernel (random)  precision (random)" in head and "modes" not in head
    assert "  memorized  " in head  # which is of pixels


def test_figures_of_two_kinds_of_features_share_no_column(cli: Cli, data_folder: Path, tmp_path: Path) -> None:
    numpy.savez(tmp_path / "x.npz", images=data.load(str(data_folder)).validation.pixels.permute(0, 2, 3, 1).numpy())
    shared = ("evaluate", "x.npz", "--dataset", data_folder, "--json")
    own, other = record(cli(*shared)), record(cli(*shared, "--features", "random"))
    assert own.keys() >= COMPARED | {"modes", "class_shares"} and not other.keys() & OF_CLASSES
    assert own["memorized"] == other["memorized"] and own["frechet_distance"] != other["frechet_distance"]
    assert (own["features"]["kind"], other["features"]["kind"]) == ("classifier", "random")
    empty = dict.fromkeys(records.SampleQuality.__dataclass_fields__)
    for kind, head in (("classifier", "recall"), ("random", "recall (random)"), ("given", "recall (given)")):
        like = records.SampleQuality(**empty | {"features": {"kind": kind}})
        assert (like.column("recall"), like.column("memorized")) == (head, "memorized")


def small(shape: tuple[int, int, int] = (3, 8, 8)) -> nn.Sequential:
    """Return layers of every kind of argument."""
    C = shape[0]
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.BatchNorm2d(C, affine=False), nn.Conv2d(C, 8, (3, 2), stride=(2, 1), padding=1, bias=False)),
        nn.LeakyReLU(0.3),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Dropout(0.9),
        nn.Conv2d(8, 8, 1, groups=2),
        nn.GroupNorm(2, 8),
        nn.AdaptiveAvgPool2d((2, 1)),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


def test_a_network_of_ones_own_compares(cli: Cli, bare: Path, tmp_path: Path) -> None:
    net = small()
    genctl.save_features("own.safetensors", net, (3, 8, 8), "eyes of mine")
    found = data.load(str(bare))
    made = own_features.load(Path("own.safetensors"), found)
    x = found.test.pixels
    with torch.no_grad():
        assert torch.allclose(made(x)[0], net.eval()(x / 255), atol=1e-6)
    numpy.savez("x.npz", images=colours(150)[120:])
    answer = record(cli("evaluate", "x.npz", "--dataset", bare, "--features", "own.safetensors", "--json"))
    assert answer.keys() >= COMPARED and not answer.keys() & OF_CLASSES
    said = answer["features"]
    assert (said["name"], said["kind"]) == ("eyes of mine", "given")
    assert said["sha256"] == manifest.read_header(Path("own.safetensors")).digest
    assert cli("verify", "own.safetensors").code == 0


def forged(path: Path, layers: str, weights: dict[str, torch.Tensor]) -> Path:
    """Seal a file of features that says what it likes of itself."""
    about = {"name": "x", "digest": ""}
    config = {"layers": layers}
    said = Manifest(
        model="layers", config=config, train={}, shape=(3, 8, 8), dataset=about, role="features", step=0, epoch=0
    )
    tensors.save(path, weights, said)
    return path


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> data.Dataset:
    """Return coloured images without labels."""
    path = tmp_path_factory.mktemp("found") / "x.npy"
    numpy.save(path, colours(120))
    return data.load(path)


LINEAR = {"in_features": 192, "out_features": 4, "bias": True}
CONV = {"in_channels": 3, "out_channels": 4, "kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
POOL = {"kernel_size": 2, "stride": 2, "padding": 0, "ceil_mode": False}


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([["system", {}]], "a layer is [name, arguments], the name one of Conv2d, Linear"),
        ([["Module", {}]], "a layer is [name, arguments]"),
        (["Flatten"], "a layer is [name, arguments]"),
        ([], "its layers are no list of 1 to 1,000"),
        ({"Flatten": {}}, "its layers are no list"),
        ([["Flatten", {"start_dim": 1}]], "Flatten has the arguments none"),
        ([["Linear", {"in_features": 4}]], "Linear has the arguments in_features, out_features, bias"),
        ([["Linear", LINEAR | {"bias": "yes"}]], "bias of Linear is no number"),
        ([["Linear", LINEAR | {"in_features": -1}]], "in_features of Linear is below 0"),
        ([["Linear", LINEAR | {"in_features": 10**9}]], "does not fit the model it names"),
        ([["Conv2d", CONV | {"bias": True, "groups": 0}]], "cannot be rebuilt"),
        ([["Conv2d", CONV | {"bias": True}]], "0.weight is missing"),
        ([["Flatten", {}], ["Linear", LINEAR]], "is unknown"),
        ("\\", "cannot be rebuilt"),
    ],
    ids=str,
)
def test_a_forged_file_is_a_sentence(found: data.Dataset, tmp_path: Path, layers: object, words: str) -> None:
    text = layers if isinstance(layers, str) else json.dumps(layers)
    path = forged(tmp_path / "own.safetensors", text, {"0.bias": torch.zeros(4)})
    with pytest.raises(CheckpointError) as error:
        own_features.load(path, found)
    assert words in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([["MaxPool2d", POOL | {"kernel_size": 10**9}]], "cannot be applied to images of 3 x 8 x 8: "),
        ([["AdaptiveAvgPool2d", {"output_size": 10**5}]], "a layer makes 30,000,000,000 numbers of one image"),
        ([["AdaptiveAvgPool2d", {"output_size": 50}]], "it makes 7,500 features of an image; at most 4,096"),
        ([["AdaptiveAvgPool2d", {"output_size": 0}]], "it makes 0 features of an image"),
        ([["BatchNorm1d", {"num_features": 3, "eps": 0.1, "affine": False}]], "cannot be applied to images"),
    ],
    ids=str,
)
def test_what_layers_would_make_is_counted_first(
    found: data.Dataset, tmp_path: Path, layers: list[object], words: str
) -> None:
    text = json.dumps(layers)
    path = forged(tmp_path / "own.safetensors", text, own_features.Layers(text).state_dict())
    with pytest.raises(CheckpointError) as error:
        own_features.load(path, found)
    assert words in str(error.value)


class Odd(nn.ReLU):
    """A layer of a class of its own."""


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([nn.Softmax(1)], "features are made of Conv2d, Linear"),
        ([Odd()], "features are made of"),
        ([nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")], "has an argument that a file of features cannot"),
        ([nn.Conv2d(3, 4, 3, padding="same")], "are no features of images [3, 8, 8]"),
        ([nn.Conv2d(1, 4, 3)], "are no features of images [3, 8, 8]"),
        ([nn.MaxPool2d(2, dilation=3)], "has an argument that a file of features cannot"),
    ],
    ids=str,
)
def test_what_a_file_cannot_hold_is_not_written(tmp_path: Path, layers: list[nn.Module], words: str) -> None:
    with pytest.raises(UsageError) as error:
        genctl.save_features(tmp_path / "own.safetensors", nn.Sequential(*layers), (3, 8, 8), "x")
    assert words in str(error.value) and not any(tmp_path.iterdir())


def test_the_features_that_are_named_must_fit(cli: Cli, bare: Path) -> None:
    numpy.savez("x.npz", images=colours(40))
    genctl.save_features("grey.safetensors", small((1, 8, 8)), (1, 8, 8), "grey")
    broken = small()
    broken[-1].bias.data[0] = torch.inf
    genctl.save_features("broken.safetensors", broken, (3, 8, 8), "broken")
    model = saved(Path("gan.safetensors"), "gan", bare)
    for verb, name, code, words in (
        (
            "evaluate x.npz",
            "grey.safetensors",
            2,
            "grey.safetensors takes images of 1 x 8 x 8; those of bare.npy are 3 x 8 x 8.",
        ),
        ("evaluate gan.safetensors", "broken.safetensors", 4, "broken.safetensors holds weights that are not finite."),
        ("compare gan.safetensors", model, 4, "holds weights of gan, not features."),
        ("compare gan.safetensors", "nowhere.safetensors", 4, "nowhere.safetensors cannot be read"),
        ("evaluate gan.safetensors", "x.npz", 4, "x.npz is not a safetensors file"),
    ):
        answer = cli(*verb.split(), "--dataset", bare, "--features", name, "--samples", 20)
        assert answer.code == code and words in answer.err.splitlines()[-1], answer.err


def test_a_classifier_names_classes_of_its_own_data_alone(cli: Cli, data_folder: Path, tmp_path: Path) -> None:
    found = data.load(str(data_folder))
    train_classifier.save(tmp_path / "own.safetensors", train_classifier.train(found), found)
    for prefix in ("train", "t10k"):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", bars(60)[0])
    numpy.savez("x.npz", images=found.validation.pixels[:, 0].numpy())
    own, other = (
        record(cli("evaluate", "x.npz", "--dataset", place, "--features", "own.safetensors", "--json"))
        for place in (data_folder, tmp_path)
    )
    assert own.keys() >= COMPARED | {"modes"} and own["features"]["test_accuracy"] is not None
    assert other.keys() >= COMPARED and not other.keys() & OF_CLASSES
    assert {found["features"]["name"] for found in (own, other)} == {"classifier of bars"}
    assert own["features"]["kind"] == other["features"]["kind"] == "given"


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Return a folder of labelled pictures of two sizes, half transparent."""
    for i, (image, label) in enumerate(zip(colours(140), bars(140)[1].tolist(), strict=True)):
        target = tmp_path / "mixed" / str(label) / f"{i:03d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(image).convert("RGBA")
        picture.putalpha(Image.fromarray(image[..., 0]))
        picture.resize((8, 8) if i % 2 else (12, 8)).save(target)
    return tmp_path / "mixed"


READ = ("--image-size", "8", "--fit", "pad", "--background", "#00ff00")


def test_pictures_are_read_as_the_data_set(cli: Cli, mixed: Path, tmp_path: Path) -> None:
    """A folder of the data set's own test pictures has the figures of these, and no other way of reading has."""
    from genctl.pictures import splits

    reading = Reading.of({"image_size": 8, "fit": "pad", "background": "#00ff00"})
    test = data.load(mixed, reading=reading).test
    original = Reading.of({"background": "#00ff00"})
    (tmp_path / "out").mkdir()
    known = {splits.digest(numpy.asarray(pixels(path, original))): path for path in mixed.rglob("*.png")}
    kept = sorted(digest for digest in known if int.from_bytes(digest[:8], "big") / 2**64 >= 0.9)
    for i, digest in enumerate(kept):
        known[digest].rename(tmp_path / "out" / f"{i:03d}.png")
    assert len(kept) == len(test) > 6
    for i in range(len(kept)):
        Image.open(tmp_path / "out" / f"{i:03d}.png").save(mixed / "0" / f"back-{i}.png")
    numpy.savez("test.npz", images=test.pixels.permute(0, 2, 3, 1).numpy())
    shared = ("--dataset", mixed, "--features", "random", "--json")
    want = record(cli("evaluate", "test.npz", *shared, *READ))
    found = record(cli("evaluate", "out", *shared, *READ))
    assert {name: found[name] for name in COMPARED} == {name: want[name] for name in COMPARED}
    assert found["image_size"] == "8" and found["fit"] == "pad"
    answer = cli("evaluate", "out", *shared)
    assert answer.code == 3 and "If both are to be resized: --image-size." in answer.err


def pixels(path: Path, reading: object) -> numpy.ndarray:
    from genctl.pictures.sources import Folder, Item

    return Folder(path.parent, listed=False).pixels(Item(path.name, ()), reading)


def test_a_checkpoint_says_how_its_data_are_read(cli: Cli, mixed: Path) -> None:
    train = {"image_size": "8", "fit": "pad", "background": "#00ff00", "validation": 9, "train_size": None}
    gan = saved(Path("gan.safetensors"), "gan", mixed, **train)
    shared = ("--dataset", mixed)
    found = record(cli("evaluate", gan, *shared, "--samples", 20, "--json"))
    assert (found["features"]["name"], found["validation_images"]) == ("classifier of mixed", 9)
    own = record(cli("evaluate", mixed / "1", gan, *shared, "--json"))
    assert (own["data_of"], own["validation_images"]) == ("gan.safetensors", 9)
    named = record(cli("evaluate", mixed / "1", "--dataset", mixed, *READ, "--json"))
    assert own["dataset_digest"] == named["dataset_digest"]
    for name in ("frechet_distance", "precision", "coverage"):
        assert own[name] == named[name]
    for words, sentence in (
        (("evaluate", mixed / "1", gan, "--fit", "pad"), "leave out --fit."),
        (
            ("evaluate", "gan", "--image-size", 8),
            "how they are read; leave out --image-size.",
        ),
    ):
        answer = cli(*words)
        assert answer.code == 2 and sentence in answer.err
    (mixed / "1" / "bad.png").write_bytes(b"")
    answer = cli("evaluate", mixed / "1", "--dataset", mixed, *READ, "--skip-broken")
    assert answer.code == 0 and "1 files were left out (--skip-broken): bad.png: it is empty." in answer.err
