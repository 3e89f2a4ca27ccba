"""evaluate and compare on the command line, over small data whose features are trained here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from conftest import bars, tiny_config, write_idx

from genctl import data
from genctl.checkpoint import tensors
from genctl.checkpoint.manifest import Manifest
from genctl.evaluation import features, sample_quality, train_classifier
from genctl.generation import image_grid, sampling
from genctl.models.base import build
from genctl.models.diffusion.config import DiffusionConfig

FIGURES = {"frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage"}
FIGURES |= {"modes", "mode_kl", "mode_kl_data", "memorized"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(train_classifier, "LEAST_STEPS", 60)


def save(path: Path, name: str, arch: str, folder: Path, **manifest) -> Path:
    """Write weights of a small model of the folder's images, as random as they are at first."""
    torch.manual_seed(0)
    config, found = tiny_config(name, arch), data.load(str(folder))
    about = {"name": found.name, "digest": found.digest, "train_images": len(found.train)}
    said = {"train": {}, "dataset": about, "role": "weights", "step": 1, "epoch": 3, **manifest}
    said |= {"model": name, "config": config.to_dict(), "shape": found.train.shape}
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors.save(path, build(config, found.train.shape).state_dict(), Manifest(**said))
    return path


def save_array(path: Path, pixels: torch.Tensor) -> Path:
    image_grid.save(path, pixels / 255, columns=1)
    return path


@pytest.fixture
def gan(tmp_path, data_folder):
    return save(tmp_path / "gan.safetensors", "gan", "mlp", data_folder)


def record(answer) -> dict:
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_a_model_is_measured_beside_the_floor(cli, gan, data_folder):
    found = record(cli("evaluate", gan, "--dataset", data_folder, "--samples", 50, "--json"))
    assert found.keys() >= FIGURES and found["floor"].keys() >= FIGURES
    assert found["interval"].keys() == FIGURES - {"modes"}
    assert all(low <= found[name] <= high for name, (low, high) in found["interval"].items())
    assert all(low >= 0 for name, (low, _) in found["interval"].items() if name != "kernel_distance")
    assert all(found["interval"][name][1] <= 1 for name in ("precision", "recall", "coverage", "memorized"))
    assert (found["samples"], found["reference_images"], found["split"], found["seed"]) == (50, 40, "test", 0)
    assert found["k"] == {"precision": 3, "density": 5}
    assert found["features"].keys() == {"name", "kind", "sha256", "test_accuracy"}
    assert found["frechet_distance"] > 5 * found["floor"]["frechet_distance"]  # random weights
    assert found["floor"]["coverage"] > 0.7 > found["coverage"]
    assert sum(found["class_shares"]) == pytest.approx(1)
    again = record(cli("evaluate", gan, "--dataset", data_folder, "--samples", 50, "--json"))
    assert {**again, "samples_per_second": 0} == {**found, "samples_per_second": 0}
    other = record(cli("evaluate", gan, "--dataset", data_folder, "--samples", 50, "--seed", 1, "--json"))
    assert other["frechet_distance"] != found["frechet_distance"]


def test_the_table_says_what_the_figures_are_of(cli, gan, data_folder):
    text = cli("evaluate", gan, "--dataset", data_folder, "--samples", 50).out
    for name in FIGURES | {"95 % interval", "floor", "40 test images of bars", "classifier of bars"}:
        assert name in text


def test_the_images_that_sample_writes_have_the_figures_of_their_model(cli, gan, data_folder, tmp_path):
    model = record(cli("evaluate", gan, "--dataset", data_folder, "--samples", 80, "--json"))
    assert cli("sample", gan, "-n", 80, "--out", "x.npz").code == 0
    file = record(cli("evaluate", "x.npz", "--dataset", data_folder, "--json"))
    assert {name: file[name] for name in FIGURES} == {name: model[name] for name in FIGURES}
    few = record(cli("evaluate", "x.npz", "--dataset", data_folder, "--samples", 30, "--json"))
    assert few["samples"] == 30


def test_a_folder_of_pictures_has_the_figures_of_its_array(cli, data_folder, tmp_path):
    from PIL import Image

    found = data.load(str(data_folder))
    (tmp_path / "pictures").mkdir()
    for i, image in enumerate(found.validation.pixels):
        Image.fromarray(image[0].numpy()).save(tmp_path / "pictures" / f"{i:02d}.png")
    save_array(tmp_path / "x.npz", found.validation.pixels)
    answers = [record(cli("evaluate", what, "--dataset", data_folder, "--json")) for what in ("pictures", "x.npz")]
    for name in FIGURES:
        assert answers[0][name] == answers[1][name] == answers[0]["floor"][name]


@pytest.mark.parametrize("block", [7, 64])
def test_no_figure_depends_on_how_many_images_are_worked_on_together(cli, gan, data_folder, monkeypatch, block):
    before = record(cli("evaluate", gan, "--dataset", data_folder, "--samples", 70, "--json"))
    monkeypatch.setattr(features, "BLOCK", block)
    monkeypatch.setattr(sample_quality, "PIECE", sampling.BLOCK)
    for module in ("precision_recall", "frechet_kernel"):
        monkeypatch.setattr(f"genctl.evaluation.{module}.CHUNK", block)
    after = record(cli("evaluate", gan, "--dataset", data_folder, "--samples", 70, "--json"))
    for name in FIGURES:
        assert after[name] == pytest.approx(before[name], rel=1e-5, abs=1e-7)


def test_a_copied_training_set_is_memorized(cli, data_folder, tmp_path):
    found = data.load(str(data_folder))
    save_array(tmp_path / "x.npz", found.train.pixels)
    copied = record(cli("evaluate", "x.npz", "--dataset", data_folder, "--json"))
    assert copied["memorized"] == 1
    assert copied["floor"]["memorized"] < 0.2
    assert copied["coverage"] > 0.9


def test_a_sample_that_lacks_one_class_shows_it(cli, data_folder, tmp_path):
    test = data.load(str(data_folder)).test
    save_array(tmp_path / "x.npz", test.pixels[test.labels != 2])
    found = record(cli("evaluate", "x.npz", "--dataset", data_folder, "--json"))
    assert found["modes"] == 3 < found["floor"]["modes"] == 4
    assert found["class_shares"][2] == 0
    assert found["mode_kl"] == pytest.approx(numpy.log(4 / 3))
    assert found["coverage"] == pytest.approx(0.75, abs=0.02)
    assert found["precision"] == 1


def test_modes_alone(cli, gan, data_folder):
    found = record(cli("evaluate", gan, "--dataset", data_folder, "--modes", "--samples", 500, "--json"))
    assert found["samples"] == 500 and 1 <= found["modes"] <= 4
    assert found["floor"]["mode_kl_data"] == pytest.approx(3 / 1_000, rel=0.8)
    assert "frechet_distance" not in found
    assert "training images" in cli("evaluate", gan, "--dataset", data_folder, "--modes", "--samples", 50).out


def test_the_record_is_kept_with_the_run(cli, tmp_path, data_folder):
    path = save(tmp_path / "run" / "model.safetensors", "gan", "mlp", data_folder)
    (tmp_path / "run" / "config.json").write_text(json.dumps({"train": {"dataset": str(data_folder)}}))
    first = record(cli("evaluate", path, "--samples", 20, "--json"))
    cli("evaluate", "run", "--samples", 10, "--modes")
    lines = [json.loads(line) for line in (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()]
    assert lines[0] == first
    assert [line["verb"] for line in lines] == ["evaluate", "evaluate"]


def test_the_features_are_trained_once_and_kept(cli, gan, data_folder, cache):
    cli("evaluate", gan, "--dataset", data_folder, "--samples", 10)
    kept = list((cache / "genctl" / "features").iterdir())
    before = [path.stat().st_mtime_ns for path in kept]
    answer = cli("evaluate", gan, "--dataset", data_folder, "--samples", 10)
    assert "training the features" not in answer.err
    assert [path.stat().st_mtime_ns for path in kept] == before and len(kept) == 1
    assert cli("verify", kept[0]).code == 0
    content = kept[0].read_bytes()
    kept[0].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    answer = cli("evaluate", gan, "--dataset", data_folder, "--samples", 10)
    assert answer.code == 0 and "Training another in its place." in answer.err
    assert cli("verify", kept[0]).code == 0
    kept[0].write_bytes(content)


def test_two_trainings_give_the_same_features(data_folder, monkeypatch):
    monkeypatch.setattr(train_classifier, "LEAST_STEPS", 1)
    found = data.load(str(data_folder))
    a, b = (train_classifier.train(found).state_dict() for _ in range(2))
    assert all(torch.equal(a[name], b[name]) for name in a)


def bare_folder(folder: Path, n: int = 40) -> Path:
    folder.mkdir()
    for prefix in ("train", "t10k"):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", bars(n)[0])
    return folder


def test_what_cannot_be_measured_is_said_in_a_sentence(cli, gan, data_folder, tmp_path):
    bare = bare_folder(tmp_path / "bare")
    save_array(tmp_path / "x.npz", data.load(str(data_folder)).test.pixels)
    save_array(tmp_path / "few.npz", data.load(str(data_folder)).test.pixels[:5])
    (tmp_path / "empty").mkdir()
    for arguments, code, words in [
        ((gan, "--dataset", data_folder, "--samples", 5), 3, "too few"),
        (("few.npz", "--dataset", data_folder), 3, "too few"),
        (("x.npz", "--dataset", bare, "--modes"), 2, "random weights, seed 0 knows none; leave it out."),
        (("x.npz", "gan", "--dataset", data_folder), 3, "is not the data set mnist that"),
        (("x.npz", "--means", "--dataset", data_folder), 2, "leave out --means"),
        (("x.npz",), 3, "28"),  # of MNIST, by default
        (("missing.npz",), 3, "missing.npz"),
        (("empty",), 3, "no pictures"),
        (("nothing",), 2, "nothing"),
        ((gan, "--dataset", bare), 3, "is not the data set"),
    ]:
        answer = cli("evaluate", *arguments)
        assert (answer.code, answer.out) == (code, "") and words in answer.err, arguments
        assert len(answer.err.strip().splitlines()[-1]) < 400
    small = bare_folder(tmp_path / "small", 24)
    assert "too few images" in cli("evaluate", "x.npz", "--dataset", small).err


def test_models_of_one_data_set_stand_in_one_table(cli, tmp_path, data_folder):
    paths = [
        save(tmp_path / f"{name}-{arch}.safetensors", name, arch, data_folder)
        for name, arch in (("vae", "mlp"), ("gan", "mlp"), ("realnvp", "mlp"))
    ]
    run = [*paths, "--dataset", data_folder, "--samples", 40]
    found = record(cli("compare", *run, "--json"))
    assert [row["model"] for row in found["rows"]] == ["vae", "gan", "realnvp"]
    assert found["floor"].keys() >= FIGURES
    for row in found["rows"]:
        assert row.keys() >= FIGURES | {"parameters", "epochs", "training_seconds", "samples_per_second", "likelihood"}
        assert row["epochs"] == 3 and row["training_seconds"] is None
    assert found["rows"][1]["likelihood"] is None
    assert [found["rows"][i]["likelihood"]["unit"] for i in (0, 2)] == ["nats", "bits/dim"]
    single = record(cli("evaluate", paths[0], *run[3:], "--json"))
    assert {name: single[name] for name in FIGURES} == {name: found["rows"][0][name] for name in FIGURES}
    bound = record(cli("eval-bpd", paths[2], "--dataset", data_folder, "--json"))
    assert found["rows"][2]["likelihood"]["value"] == bound["bits_per_dim"]

    text = cli("compare", *run).out
    head, *rows = text.splitlines()[:5]
    assert "one draw an image (K = 1)" in text
    assert "(K = 1)" not in cli("compare", paths[1], *run[3:]).out
    nats, bits = head.index("nats ("), head.index("bits/dim (")
    assert rows[0][nats] != "-" == rows[0][bits]
    assert rows[1][nats] == "-" == rows[1][bits]
    assert rows[2][nats] == "-" != rows[2][bits]
    assert rows[3].startswith("floor")


def test_a_likelihood_of_fewer_images_is_told_as_such(cli, tmp_path, data_folder, monkeypatch):
    ode = replace(DiffusionConfig.estimators[0], images=3)
    monkeypatch.setattr(DiffusionConfig, "estimators", (ode, DiffusionConfig.estimators[1]))
    paths = [save(tmp_path / f"{name}.safetensors", name, "mlp", data_folder) for name in ("realnvp", "diffusion")]
    run = ["compare", *paths, "--dataset", data_folder, "--samples", 40, "--ode-steps", 1, "--sampler-steps", 1]
    text = cli(*run).out
    assert "images    the likelihood of diffusion is of a fixed choice of 3\n" in text
    assert "likelihood of realnvp" not in text


def test_a_model_s_own_split_decides_what_is_memorized_and_what_the_floor_is_of(cli, tmp_path, data_folder):
    default, own = (save(tmp_path / f"{n}.safetensors", "gan", "mlp", data_folder, train=split) for n, split in SPLITS)
    shared = ("--dataset", data_folder, "--samples", 40)
    one, other = (record(cli("evaluate", path, *shared, "--json")) for path in (default, own))
    assert (one["train_images"], one["validation_images"]) == (100, 20)
    assert (other["train_images"], other["validation_images"]) == (112, 8)
    assert "one of 112 training images" in (text := cli("evaluate", own, *shared).out)
    assert "floor     the same figures of 8 validation images, which neither a model nor the features saw" in text
    found = data.load(str(data_folder), validation=8)
    judge = sample_quality.Judge.of(data.load(str(data_folder)), [found])
    assert torch.equal(judge.unseen.places, found.validation.places)
    assert torch.equal(judge.train.places, found.train.places)
    copies = judge.figures(found.train.pixels[100:], seed=0, errors=False)[0]  # trained on, not so by default
    assert copies["memorized"] == 1
    assert not set(judge.unseen.places.tolist()) & set(judge.train.places.tolist())


SPLITS = [("default", {}), ("own", {"train_size": None, "validation": 8})]


def test_models_of_different_splits_are_judged_by_what_none_of_them_saw(cli, tmp_path, data_folder):
    paths = [
        save(tmp_path / f"{n}.safetensors", "gan", "mlp", data_folder, train=split)
        for n, split in [*SPLITS, ("few", {"train_size": 30, "validation": None})]
    ]
    shared = ("--dataset", data_folder, "--samples", 20)
    found = record(cli("compare", *paths, *shared, "--json"))
    assert {(row["train_images"], row["validation_images"]) for row in found["rows"]} == {(112, 8)}
    assert "splits    differ: memorized is of what any model" in cli("compare", *paths, *shared).out
    alike = cli("compare", paths[0], paths[0], *shared).out
    assert "splits    differ" not in alike and "one of 100 training images" in alike
    few = record(cli("compare", paths[2], *shared, "--json"))["rows"][0]
    assert (few["train_images"], few["validation_images"]) == (30, 20)


def test_the_means_of_a_model_that_draws_are_another_row(cli, tmp_path, data_folder):
    path = save(tmp_path / "vae.safetensors", "vae", "mlp", data_folder)
    arguments = ("compare", path, "--dataset", data_folder, "--samples", 20)
    assert cli(*arguments).out.splitlines()[1].startswith("vae ")
    assert cli(*arguments, "--means").out.splitlines()[1].startswith("vae (means) ")


def test_the_sampling_options_that_were_chosen_are_in_the_record_and_the_figures(cli, gan, data_folder):
    shared = ("evaluate", gan, "--dataset", data_folder, "--samples", 40, "--json")
    plain, narrow = record(cli(*shared)), record(cli(*shared, "--temperature", 0))
    assert "temperature" not in plain and narrow["temperature"] == 0
    assert narrow["modes"] == 1 and narrow["frechet_distance"] != plain["frechet_distance"]
    assert record(cli(*shared, "--temperature", 1))["frechet_distance"] == plain["frechet_distance"]


def test_in_a_comparison_each_model_takes_the_sampling_options_that_it_has(cli, tmp_path, data_folder):
    paths = [save(tmp_path / f"{name}.safetensors", name, "mlp", data_folder) for name in ("gan", "vae")]
    found = record(cli("compare", *paths, "--dataset", data_folder, "--samples", 20, "--means", "--json"))
    assert [row["means"] for row in found["rows"]] == [False, True]


def test_models_of_different_data_are_not_compared(cli, tmp_path, data_folder, gan):
    other = tmp_path / "others"
    other.mkdir()
    for prefix, n in (("train", 60), ("t10k", 20)):
        write_idx(other / f"{prefix}-images-idx3-ubyte", bars(n)[0])
    answer = cli("compare", gan, save(tmp_path / "b.safetensors", "gan", "mlp", other))
    assert answer.code == 2 and "different data (bars and others)" in answer.err


def test_the_shipped_classifier_is_small_and_right():
    assert features.SHIPPED.stat().st_size <= 2_000_000
    found = features.load(features.SHIPPED)
    assert found.test_accuracy >= 0.994
    chosen = data.load("mnist").test.choose(1_000)
    vectors, labels = found(chosen.pixels)
    assert (labels == chosen.labels).float().mean() > 0.985
    assert vectors.var(0).mean() == pytest.approx(1, abs=0.3)


def test_stacked_digits_have_the_features_of_each_digit():
    plain, stacked = features.load(features.SHIPPED), features.load(features.SHIPPED, by_channel=True)
    digits = data.load("mnist").test.pixels[:6]
    vectors, labels = plain(digits)
    wide, triple = stacked(digits.reshape(2, 3, 28, 28))
    assert torch.allclose(wide, vectors.reshape(2, 3 * features.WIDTH), atol=1e-5)
    assert triple.tolist() == [100 * a + 10 * b + c for a, b, c in labels.reshape(2, 3).tolist()]
