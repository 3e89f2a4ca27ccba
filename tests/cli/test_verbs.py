"""Every verb on small trained models, and a table of what bad input gets."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import urllib.error
from collections.abc import Callable
from dataclasses import replace
from math import log
from pathlib import Path

import numpy
import pytest
import safetensors.torch
import torch
from conftest import TINY, Answer, Cli, bars, tiny_flags, write_idx
from PIL import Image
from torch import Tensor

from genctl import __version__, api, data
from genctl.checkpoint import manifest
from genctl.checkpoint import tensors as checkpoint
from genctl.cli.app import main
from genctl.data import nearest
from genctl.models import registry
from genctl.models.base import build
from genctl.models.vae.config import VAEConfig
from genctl.runs import find, load
from genctl.runs import folder as run_folder
from genctl.runs.lock import lock

FORMS = [f"{model}-{arch}" for model, arch in TINY]
CODERS = [form for form in FORMS if not form.startswith("gan")]
LENGTH = {"vae": 20, "gan": 12, "realnvp": 2, "diffusion": 1}  # epochs until the samples are of more than one class
RATE = {"vae": 0.01, "gan": 0.002, "realnvp": 0.016, "diffusion": 0.002}


@pytest.fixture(scope="module")
def trained(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a short run of each tiny model; run MODEL-ARCH is the folder of that name."""
    root = tmp_path_factory.mktemp("trained")
    for model, arch in TINY:
        of_model = ["--epochs", str(LENGTH[model]), "--lr", str(RATE[model]), "--sample-every", "100"]
        of_model += ["--no-start-at-mean"] if model == "vae" else []  # a few steps from the mean: all of one class
        shared = ["--dataset", str(data_folder), "--batch-size", "20", "--device", "cpu", "--threads", "1", "--quiet"]
        name = ["--out", str(root), "--name", f"{model}-{arch}"]
        assert main(["train", model, *tiny_flags(model, arch), *of_model, *shared, *name]) == 0
    return root


@pytest.fixture
def use(cli: Cli, trained: Path, tmp_path: Path) -> Cli:
    """Return the command line in a folder whose checkpoints/ holds the trained runs."""
    shutil.copytree(trained, tmp_path / "checkpoints")
    return cli


def weights_of(form: str) -> str:
    return f"checkpoints/{form}/model.safetensors"


def array_of(answer: Answer) -> Tensor:
    """Return the uint8 images [N, H, W, C] of the .npz whose path a command printed."""
    assert answer.code == 0, answer.err
    with numpy.load(answer.out.strip()) as found:
        return torch.from_numpy(found["images"])


def assert_grid(answer: Answer, form: str, rows: int, columns: int, verb: str) -> None:
    """Hold that a command printed the path of a grid of 8 x 8 images, and on stderr the weights it used."""
    model = form.split("-")[0]
    assert (answer.code, answer.err) == (0, f"using {weights_of(form)}\n")
    assert answer.out == f"checkpoints/{form}/{verb}-{model}.png\n"
    height, width = 10 * rows + 2, 10 * columns + 2
    factor = max(1, -(-320 // max(height, width)))
    with Image.open(answer.out.strip()) as picture:
        assert (picture.format, picture.size) == ("PNG", (factor * width, factor * height))


@pytest.mark.parametrize("form", FORMS)
def test_sample(use: Cli, form: str) -> None:
    assert_grid(use("sample", weights_of(form)), form, 5, 5, "sample")


@pytest.mark.parametrize(("n", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (7, 3, 3), (70, 8, 9)])
def test_sample_grids_are_nearly_square(use: Cli, n: int, rows: int, columns: int) -> None:
    assert_grid(use("sample", "checkpoints/vae-mlp", "-n", n), "vae-mlp", rows, columns, "sample")


@pytest.mark.parametrize("form", FORMS)
def test_image_i_does_not_depend_on_how_many(use: Cli, form: str) -> None:
    few, many, other = (
        array_of(use("sample", f"checkpoints/{form}", "--out", f"{name}.npz", "-n", n, "--seed", seed))
        for name, n, seed in (("few", 3, 5), ("many", 70, 5), ("other", 3, 6))
    )
    assert many.shape == (70, 8, 8, 1)
    assert torch.equal(many[:3], few)
    assert not torch.equal(other, few)


def test_vae_samples_are_drawn_and_means_are_not(use: Cli) -> None:
    drawn = array_of(use("sample", "vae", "vae-mlp", "--out", "drawn.npz"))
    means = array_of(use("sample", "vae", "vae-mlp", "--out", "means.npz", "--means"))
    assert set(drawn.unique().tolist()) == {0, 255}
    assert len(means.unique()) > 10
    assert ((drawn == 255).float().mean() - (means / 255).mean()).abs() < 0.05


def test_temperature_zero_is_one_image(use: Cli) -> None:
    cold = array_of(use("sample", "gan", "gan-mlp", "--out", "x.npz", "--temperature", 0))
    assert (cold == cold[0]).all()


@pytest.mark.parametrize("form", CODERS)
def test_reconstruct(use: Cli, form: str) -> None:
    assert_grid(use("reconstruct", weights_of(form)), form, 4, 10, "reconstruct")


def test_reconstructions_lie_below_their_images(use: Cli, data_folder: Path) -> None:
    x = array_of(use("reconstruct", "realnvp", "realnvp-conv", "-n", 13, "--out", "x.npz"))
    assert x.shape == (40, 8, 8, 1)  # pairs of rows of ten, the last filled up
    chosen = data.load(str(data_folder)).test.choose(13).pixels.permute(0, 2, 3, 1)
    originals, back = torch.cat([x[:10], x[20:23]]), torch.cat([x[10:20], x[30:33]])
    assert torch.equal(originals, chosen)
    assert (back.int() - chosen.int()).abs().max() <= 1  # a bijection gives the image back
    assert not x[23:30].any()


@pytest.mark.parametrize("form", FORMS)
def test_interpolate(use: Cli, form: str) -> None:
    assert_grid(use("interpolate", weights_of(form), "--steps", 7), form, 1, 9, "interpolate")


def classes(images: Tensor, folder: Path) -> list[int]:
    """Return the class of each image [N, H, W, C] by its nearest training images."""
    train = data.load(str(folder)).train
    labels, _ = nearest.vote(images.permute(0, 3, 1, 2) / 255, train.pixels, train.labels)
    return labels.tolist()


@pytest.mark.parametrize("form", FORMS)
def test_interpolation_ends_are_of_different_classes(use: Cli, data_folder: Path, form: str) -> None:
    x = array_of(use("interpolate", f"checkpoints/{form}", "--rows", 3, "--steps", 2, "--out", "x.npz"))
    assert x.shape == (12, 8, 8, 1)
    x = x.reshape(3, 4, 8, 8, 1)
    for first, last in zip(classes(x[:, 0], data_folder), classes(x[:, -1], data_folder), strict=True):
        assert first != last
    assert not torch.equal(x[0], x[1])


@pytest.mark.parametrize(("first", "last"), [(0, 3), (2, 1)])
def test_interpolation_between_wanted_classes(use: Cli, data_folder: Path, first: int, last: int) -> None:
    wanted = ["--from-class", first, "--to-class", last]
    x = array_of(use("interpolate", "realnvp", "realnvp-conv", *wanted, "--out", "x.npz"))
    found = classes(x, data_folder)
    assert (len(x), found[0], found[-1]) == (9, first, last)


def test_interpolation_paths_share_their_ends(use: Cli) -> None:
    straight, round_ = (
        array_of(use("interpolate", "gan", "gan-dcgan", "--path", path, "--out", f"{path}.npz"))
        for path in ("linear", "slerp")
    )
    assert torch.equal(straight[[0, -1]], round_[[0, -1]])
    assert not torch.equal(straight[1:-1], round_[1:-1])


@pytest.mark.parametrize("form", ["vae-mlp", "realnvp-mlp"])
def test_interpolation_between_test_images(use: Cli, data_folder: Path, form: str) -> None:
    answer = use("interpolate", f"checkpoints/{form}", "--between-test-images", "--steps", 3, "--out", "x.npz")
    x = array_of(answer)
    assert len(x) == 5
    if form == "realnvp-mlp":  # the ends are test images themselves
        test = data.load(str(data_folder)).test
        gap = (x[[0, -1]].permute(0, 3, 1, 2).int().unsqueeze(1) - test.pixels.int()).abs().amax((2, 3, 4))
        assert gap.amin(1).max() <= 1
        ends = test.labels[gap.argmin(1)]
        assert ends[0] != ends[1]


def test_interpolation_without_labels_takes_the_farthest(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "grey"
    folder.mkdir()
    for prefix, n in (("train", 60), ("t10k", 10)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", bars(n)[0])
    tiny = [*tiny_flags("realnvp", "mlp"), "--epochs", 1, "--dataset", folder, "--device", "cpu", "--quiet"]
    assert cli("train", "realnvp", *tiny).code == 0
    assert array_of(cli("interpolate", "realnvp", "--rows", 2, "--out", "x.npz")).shape == (18, 8, 8, 1)
    answer = cli("interpolate", "realnvp", "--from-class", 1)
    assert answer.code == 2
    assert "genctl: grey has no labels; leave out --from-class and --to-class.\n" in answer.err


@pytest.mark.parametrize("form", FORMS)
def test_manifold(use: Cli, form: str) -> None:
    assert_grid(use("manifold", weights_of(form)), form, 15, 15, "manifold")


def test_manifold_of_two_dimensions_is_a_grid_of_quantiles(use: Cli) -> None:
    wide = array_of(use("manifold", "vae", "vae-mlp", "--steps", 5, "--out", "a.npz"))
    same = use("manifold", "vae", "vae-mlp", "--steps", 5, "--out", "b.npz", "--quantiles", 0.0001, 0.9999)
    narrow = use("manifold", "vae", "vae-mlp", "--steps", 5, "--out", "c.npz", "--quantiles", 0.4, 0.6)
    assert wide.shape == (25, 8, 8, 1)
    assert torch.equal(wide, array_of(same))
    spread = [x.float().std(0).mean() for x in (wide, array_of(narrow))]
    assert spread[1] < spread[0] / 2
    model, _ = load.load_model(Path(weights_of("vae-mlp")))
    middle = model.decode(torch.zeros(1, 2)).permute(0, 2, 3, 1)[0] * 255
    assert (wide[12] - middle).abs().max() <= 1  # the median of both is the origin


@pytest.mark.parametrize("form", ["vae-mlp", "vae-conv", "realnvp-conv"])
def test_manifold_from_images_starts_at_an_image(use: Cli, form: str) -> None:
    flags = ["--from-images", "--steps", 4]
    one, two = (
        array_of(use("manifold", f"checkpoints/{form}", *flags, "--seed", seed, "--out", f"{seed}.npz"))
        for seed in (0, 1)
    )
    assert one.shape == (16, 8, 8, 1)
    assert not torch.equal(one, two)


def test_ways_to_name_the_weights(use: Cli, tmp_path: Path) -> None:
    shutil.copy(weights_of("gan-mlp"), "mine.safetensors")
    ways = {
        ("gan-mlp",): weights_of("gan-mlp"),
        ("checkpoints/gan-mlp",): weights_of("gan-mlp"),
        (weights_of("gan-mlp"),): weights_of("gan-mlp"),
        (tmp_path / weights_of("gan-mlp"),): str(tmp_path / weights_of("gan-mlp")),
        ("gan", "gan-mlp"): weights_of("gan-mlp"),
        ("gan", "mine.safetensors"): "mine.safetensors",
        ("mine.safetensors",): "mine.safetensors",
        ("gan",): weights_of("gan-resnet"),  # the newest run
    }
    pictures, already = {}, {}
    for words, used in ways.items():
        nth = already[Path(used).resolve()] = already.get(Path(used).resolve(), 0) + 1
        answer = use("sample", *words)
        assert (answer.code, answer.err) == (0, f"using {used}\n")
        number = f"-{nth}" if nth > 1 else ""  # an older picture is never overwritten
        assert answer.out == f"{Path(used).parent / f'sample-gan{number}.png'}\n"
        pictures[words] = Path(answer.out.strip()).read_bytes()
    assert pictures["gan-mlp",] == pictures["mine.safetensors",] != pictures["gan",]


def test_the_newest_run_is_the_one_that_started_last(use: Cli) -> None:
    path = Path("checkpoints/gan-mlp/config.json")
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "started": "2999-01-01T00:00:00+00:00"}))
    assert use("sample", "gan").err == f"using {weights_of('gan-mlp')}\n"


def test_shipped_weights_are_used_without_runs(cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "shipped", lambda model: trained / f"{model}-mlp" / "model.safetensors")
    answer = cli("sample", "gan")
    assert answer.err == f"using {trained}/gan-mlp/model.safetensors (ships with genctl)\n"
    assert answer.out == "sample-gan.png\n"  # here, not beside the package's weights
    assert Path("sample-gan.png").exists()


@pytest.mark.parametrize("name", ["x.png", "x.npz"])
def test_out_chooses_place_and_format(use: Cli, name: str) -> None:
    answer = use("sample", "gan-mlp", "--out", name)
    assert answer.out == f"{name}\n"
    assert Path(name).read_bytes()[:2] == {"x.png": b"\x89P", "x.npz": b"PK"}[name]
    assert not Path("checkpoints/gan-mlp/sample-gan.png").exists()


KEYS = {
    *(
        "model",
        "value",
        "unit",
        "standard_error",
        "bound",
        "estimator",
        "K",
        "data",
        "pixels",
        "dataset",
        "digest",
        "split",
    ),
    *("images", "train_images", "alpha", "seed", "weights", "checkpoint"),
    *("bits_per_dim", "bits_per_dim_error", "nats", "nats_error"),
}


@pytest.mark.parametrize("form", CODERS)
def test_eval_bpd_json(use: Cli, form: str) -> None:
    quick = ["--ode-steps", 1] if form.startswith("diffusion") else []
    answer = use("eval-bpd", weights_of(form), "--json", *quick)
    assert (answer.code, answer.err) == (0, f"using {weights_of(form)}\n")
    record = json.loads(answer.out)
    assert record.keys() >= KEYS
    assert record["bits_per_dim"] == pytest.approx(record["nats"] / (64 * log(2)))
    assert record["bits_per_dim_error"] == pytest.approx(record["nats_error"] / (64 * log(2)))
    assert record["nats"] > 0 < record["standard_error"]
    usual = {"vae": ("elbo", "binarized dynamic"), "realnvp": ("dequantization", "256 levels")}
    estimator, of = usual.get(form.split("-")[0], ("ode", "256 levels"))
    expected = {"model": form.split("-")[0], "estimator": estimator, "K": 1, "data": of, "split": "test", "images": 40}
    assert expected.items() <= record.items()
    value, error = ("nats", "nats_error") if form.startswith("vae") else ("bits_per_dim", "bits_per_dim_error")
    assert (record["value"], record["standard_error"]) == (record[value], record[error])
    assert record["unit"] == value.replace("_per_", "/")
    assert record["weights"] == manifest.read_header(Path(weights_of(form))).digest
    assert (record["alpha"] is None) == (not form.startswith("realnvp"))
    assert record["checkpoint"] == weights_of(form)
    assert use("eval-bpd", weights_of(form), "--json", *quick).out == answer.out


def test_eval_bpd_reports_the_flows_round_trip(use: Cli) -> None:
    trip = json.loads(use("eval-bpd", "realnvp", "realnvp-conv", "--json").out)["round_trip"]
    assert set(trip) == {"inverse_float32", "log_det_float32", "inverse_float64", "log_det_float64"}
    assert max(trip["inverse_float32"], trip["log_det_float32"]) < 1e-4
    assert max(trip["inverse_float64"], trip["log_det_float64"]) < 1e-10
    text = use("eval-bpd", "realnvp", "realnvp-conv").out
    assert "inverse    largest error " in text
    assert "log_det    largest error " in text


def test_eval_bpd_table(use: Cli) -> None:
    record = json.loads(use("eval-bpd", "vae", "vae-mlp", "--json").out)
    lines = use("eval-bpd", "vae", "vae-mlp").out.splitlines()
    assert lines == [
        f"vae: {record['bits_per_dim']:.4f} +- {record['bits_per_dim_error']:.4f} bits/dim"
        f" = {record['nats']:.2f} +- {record['nats_error']:.2f} nats per image",
        "  estimator  elbo, K = 1 (an upper bound on -log p; lower is better)",
        "  data       bars, binarized dynamic (genctl's own fixed draw of the pixels, trained on fresh draws)",
        "  split      test, 40 images (trained on 100)",
    ]


@pytest.mark.parametrize(
    ("flags", "estimator", "K"),
    [
        ([], "elbo", 1),
        (["--draws", 8], "iwae", 8),
        (["--draws", 8, "--estimator", "elbo"], "elbo", 8),
        (["-k", 8, "--estimator", "prior"], "prior", 8),
    ],
)
def test_eval_bpd_estimators(use: Cli, flags: list[object], estimator: str, K: int) -> None:
    record = json.loads(use("eval-bpd", "vae", "vae-mlp", "--json", *flags).out)
    assert (record["estimator"], record["K"]) == (estimator, K)
    assert ("gap_to_elbo" in record) == (estimator == "iwae")


def test_iwae_is_the_elbo_of_the_same_draws_less_its_gap(use: Cli) -> None:
    elbo, iwae = (
        json.loads(use("eval-bpd", "vae", "vae-mlp", "--json", "--draws", 16, "--estimator", name).out)
        for name in ("elbo", "iwae")
    )
    assert iwae["gap_to_elbo"] > 0
    assert iwae["nats"] == pytest.approx(elbo["nats"] - iwae["gap_to_elbo"])
    assert "nats tighter than the ELBO" in use("eval-bpd", "vae", "vae-mlp", "--draws", 16).out


@pytest.mark.parametrize(
    ("flags", "split", "images"),
    [(["--split", "train"], "train", 100), (["--split", "validation"], "validation", 20), (["--images", 9], "test", 9)],
)
def test_eval_bpd_splits(use: Cli, flags: list[object], split: str, images: int) -> None:
    record = json.loads(use("eval-bpd", "realnvp", "realnvp-mlp", "--json", *flags).out)
    assert (record["split"], record["images"]) == (split, images)


def test_validation_is_what_training_wrote(use: Cli) -> None:
    record = json.loads(use("eval-bpd", "vae", "vae-mlp", "--json", "--split", "validation").out)
    lines = run_folder.read_metrics(Path("checkpoints/vae-mlp"))
    assert record["nats"] == pytest.approx(min(line["validation_nats"] for line in lines))


def write_uniform(path: Path, like: str) -> None:
    """Write a VAE of 256 narrow logistics, one at each level, all of the same weight whatever the latent."""
    about, _ = checkpoint.load(Path(like))
    config = VAEConfig(likelihood="mixture", components=256, latent_dim=2, hidden=2)
    tensors = {name: torch.zeros_like(t) for name, t in build(config, (1, 8, 8)).state_dict().items()}
    at_each = torch.stack([torch.zeros(256), torch.linspace(-1, 1, 256), torch.full((256,), -7.0)])
    tensors["decoder.2.bias"] = at_each.reshape(-1, 1).expand(-1, 64).flatten()
    checkpoint.save(path, tensors, replace(about, config=config.to_dict()))


@pytest.mark.parametrize("flags", [(), ("-k", 4), ("-k", 4, "--estimator", "prior")])
def test_a_uniform_density_is_8_bits_per_dim_through_the_whole_path(use: Cli, data_folder: Path, flags: tuple) -> None:
    write_uniform(Path("uniform.safetensors"), weights_of("vae-mlp"))
    record = json.loads(use("eval-bpd", "uniform.safetensors", "--dataset", data_folder, "--json", *flags).out)
    assert (record["value"], record["unit"]) == (pytest.approx(8.000, abs=5e-4), "bits/dim")
    assert (record["data"], record["pixels"]) == ("256 levels", "as they are")
    assert record["standard_error"] < 1e-4


def test_an_evaluation_of_a_run_is_kept_in_its_folder(use: Cli) -> None:
    kept = Path("checkpoints/vae-mlp/evaluations.jsonl")
    before = len(kept.read_text().splitlines()) if kept.exists() else 0
    record = json.loads(use("eval-bpd", "vae", "vae-mlp", "--json", "--images", 1).out)
    lines = kept.read_text().splitlines()
    assert (len(lines), json.loads(lines[-1])) == (before + 1, record)


def test_an_evaluation_of_weights_alone_is_not_kept(use: Cli, data_folder: Path) -> None:
    shutil.copy(weights_of("vae-mlp"), "mine.safetensors")
    assert use("eval-bpd", "mine.safetensors", "--dataset", data_folder).code == 0
    assert not Path("evaluations.jsonl").exists()


def test_values_of_other_pixels_cannot_stand_in_one_column(use: Cli) -> None:
    vae, flow, other = (
        api.load(weights_of(form)).likelihood(split, images=4)
        for form, split in (("vae-mlp", "test"), ("realnvp-mlp", "test"), ("vae-conv", "validation"))
    )
    assert vae.column == other.column == "nats (binarized dynamic)"
    assert replace(vae, data="binarized static").column != vae.column != flow.column
    assert replace(flow, estimator="elbo").column == flow.column  # a VAE of 256 levels beside it


def test_one_image_has_no_error_and_json_stays_json(use: Cli) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    record = json.loads(use("eval-bpd", "vae", "vae-mlp", "--json", "--images", 1).out, parse_constant=refuse)
    assert record["standard_error"] is record["nats_error"] is record["bits_per_dim_error"] is None
    first = use("eval-bpd", "vae", "vae-mlp", "--images", 1).out.splitlines()[0]
    value = f"{record['bits_per_dim']:.4f} bits/dim = {record['nats']:.2f} nats per image"
    assert first == f"vae: {value} (one image has no standard error)"


def test_moved_data_are_found_where_the_user_says(use: Cli, data_folder: Path) -> None:
    shutil.copy(weights_of("vae-mlp"), "mine.safetensors")
    answer = use("eval-bpd", "mine.safetensors")
    assert answer.code == 3
    assert use("eval-bpd", "mine.safetensors", "--dataset", data_folder).code == 0
    wrong = use("eval-bpd", "mine.safetensors", "--dataset", "mnist")
    assert wrong.code == 3
    assert "mnist is not the data set bars that mine.safetensors was trained on" in wrong.err


def test_models(use: Cli) -> None:
    rows = json.loads(use("models", "--json").out)
    assert [row["model"] for row in rows][:3] == ["vae", "gan", "realnvp"]
    for row in rows:
        assert set(row["can"]) == registry.load(row["model"]).can
    assert {"model": "gan", "arch": ["mlp", "dcgan", "resnet"], "can": ["decode", "sample"]}.items() <= rows[1].items()
    text = use("models").out
    assert all(row["about"] in text for row in rows)


def test_runs(use: Cli) -> None:
    rows = json.loads(use("runs", "--json").out)
    assert [row["run"] for row in rows] == [f"checkpoints/{form}" for form in reversed(FORMS)]  # the newest first
    for row, form in zip(rows, reversed(FORMS), strict=True):
        n = LENGTH[form.split("-")[0]]
        expected = {"model": form.split("-")[0], "data": "bars", "epochs": f"{n}/{n}", "state": "finished"}
        assert expected.items() <= row.items()
        assert (row["best"] == "-") == form.startswith("gan")
        grey = " bits/dim (256 levels)"
        of = {"vae": " nats (binarized dynamic)", "gan": "-", "realnvp": grey, "diffusion": grey}
        assert row["best"].endswith(of[row["model"]])
    lines = use("runs").out.splitlines()
    assert lines[0].split() == ["run", "model", "data", "epochs", "best", "started", "time", "disk", "state"]
    assert len(lines) == 1 + len(FORMS)


def test_runs_tells_running_from_stopped(use: Cli) -> None:
    Path("checkpoints/vae-mlp/metrics.jsonl").write_text("")
    states = {row["run"]: row["state"] for row in json.loads(use("runs", "--json").out)}
    assert states["checkpoints/vae-mlp"] == "stopped"
    with lock(Path("checkpoints/vae-mlp")):
        states = {row["run"]: row["state"] for row in json.loads(use("runs", "--json").out)}
        text = use("runs", "--sort", "state").out.splitlines()
    assert states["checkpoints/vae-mlp"] == "running"
    assert text[-1].startswith("checkpoints/vae-mlp") and text[-1].endswith(f"running (pid {os.getpid()})")


def test_runs_of_an_empty_folder(cli: Cli) -> None:
    assert cli("runs").out == "no runs under checkpoints yet; type: genctl train vae\n"
    assert json.loads(cli("runs", "--json").out) == []


@pytest.mark.parametrize("words", [("vae-mlp",), ("vae", "vae-mlp"), (weights_of("vae-mlp"),)])
def test_show(use: Cli, words: tuple[str, ...]) -> None:
    about = json.loads(use("show", *words, "--json").out)
    assert (about["model"], about["role"], about["shape"]) == ("vae", "weights", [1, 8, 8])
    assert about["config"]["latent_dim"] == 2
    assert about["tensors"]["encoder.1.weight"]["shape"] == [8, 64]
    text = use("show", *words).out
    assert f"sha256      {about['sha256']}" in text
    assert "arch mlp" in text


def test_show_reads_states_too(use: Cli) -> None:
    state = run_folder.states(Path("checkpoints/gan-mlp"))[0]
    assert json.loads(use("show", state, "--json").out)["role"] == "state"


def test_verify(use: Cli) -> None:
    answer = use("verify", *(f"checkpoints/{form}" for form in FORMS))
    assert answer.code == 0
    assert [line.split()[0] for line in answer.out.splitlines()] == ["whole"] * 2 * len(FORMS)
    flip_last_bit(weights_of("gan-mlp"))
    answer = use("verify", "checkpoints/gan-mlp", "--json")
    assert answer.code == 4
    assert [row["whole"] for row in json.loads(answer.out)] == [False, True]


def test_verify_counts_values_that_are_not_finite(use: Cli) -> None:
    """A file whose content is what was written is whole, whatever that was."""
    about, tensors = checkpoint.load(Path(weights_of("vae-mlp")))
    tensors["encoder.1.weight"].flatten()[:3] = torch.tensor([torch.nan, torch.nan, torch.inf])
    checkpoint.save(Path("bad.safetensors"), {**tensors, "encoder.1.bias": torch.full((8,), -torch.inf)}, about)
    answer = use("verify", "bad.safetensors", "--values")
    assert (answer.code, answer.err) == (0, "")
    assert ", nan 2, infinite 9, sha256 " in answer.out
    rows = json.loads(use("verify", "bad.safetensors", weights_of("vae-mlp"), "--values", "--json").out)
    assert [row["values"] for row in rows] == [{"nan": 2, "infinite": 9}, {"nan": 0, "infinite": 0}]
    assert "values" not in json.loads(use("verify", "bad.safetensors", "--json").out)[0]
    flip_last_bit("bad.safetensors")
    answer = use("verify", "bad.safetensors", "--values")
    assert answer.code == 4 and answer.out.startswith("edited   bad.safetensors was edited since it was sealed")


def flip_last_bit(path: str) -> None:
    content = bytearray(Path(path).read_bytes())
    content[-1] ^= 1
    Path(path).write_bytes(content)


def spoil(path: str, names: list[str], value: float) -> None:
    """Write a VAE's weights with some of them replaced, every other one by the negative, under a valid digest."""
    about, tensors = checkpoint.load(Path(weights_of("vae-mlp")))
    for name in names:
        tensors[name].fill_(value)[..., ::2].neg_()
    checkpoint.save(Path(path), tensors, about)


DRAWN = [
    *("sample", "reconstruct", "interpolate", "interpolate --between-test-images", "manifold"),
    *("manifold --from-images", "eval-bpd"),
]


def try_weights(use: Cli, line: str, file: str, folder: Path) -> str:
    """Return the last line of a verb that must end with 4 and write nothing."""
    verb, *flags = line.split()
    answer = use(verb, file, *flags, *([] if verb == "sample" else ["--dataset", folder]))
    assert (answer.code, answer.out) == (4, ""), answer.err
    assert not list(Path().glob("*.png"))
    return answer.err.splitlines()[-1]


@pytest.mark.parametrize("line", [*DRAWN, "evaluate --samples 20", "compare --samples 20"])
def test_weights_that_are_not_finite_end_in_a_sentence(use: Cli, data_folder: Path, line: str) -> None:
    spoil("bad.safetensors", ["encoder.1.bias", "decoder.2.bias"], torch.nan)
    assert try_weights(use, line, "bad.safetensors", data_folder) == (
        "genctl: bad.safetensors holds weights that are not finite (genctl verify --values counts them); "
        "take weights of before the training diverged."
    )


@pytest.mark.parametrize("line", DRAWN)
def test_what_overflows_is_no_picture_and_no_record(use: Cli, data_folder: Path, line: str) -> None:
    spoil("huge.safetensors", ["encoder.1.weight", "encoder.3.weight", "decoder.0.weight", "decoder.2.weight"], 3e38)
    said = try_weights(use, line, "huge.safetensors", data_folder)
    assert said.startswith(("genctl: the model makes images that are not finite; ", "genctl: the likelihood of huge."))


def test_version(cli: Cli) -> None:
    answer = cli("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"genctl {__version__}\n", "")


VERBS = ["train", "sample", "reconstruct", "interpolate", "manifold", "eval-bpd", "models", "runs", "show", "verify"]


@pytest.mark.parametrize("arguments", [["-h"], ["--help"]])
def test_help_names_the_verbs_and_examples(cli: Cli, arguments: list[str]) -> None:
    answer = cli(*arguments)
    assert (answer.code, answer.err) == (0, "")
    assert all(f" {verb} " in answer.out for verb in VERBS)
    assert "genctl interpolate gan --steps 7" in answer.out


@pytest.mark.parametrize("arguments", [[], ["train"]])
def test_nothing_to_do_is_help_and_no_empty_message(cli: Cli, arguments: list[str]) -> None:
    answer = cli(*arguments)
    assert answer.code == 2
    assert "Usage: genctl" in answer.out + answer.err
    assert "genctl: \n" not in answer.err


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help(cli: Cli, verb: str) -> None:
    answer = cli(verb, "-h")
    assert answer.code == 0
    assert f"genctl {verb}" in answer.out


@pytest.mark.parametrize("model", ["vae", "gan", "realnvp", "diffusion"])
def test_training_help_has_panels_and_defaults(cli: Cli, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    answer = cli("train", model, "-h")
    assert answer.code == 0
    assert all(panel in answer.out for panel in ("Model", "Optimization", "Data", "Run"))
    assert f"(default: {registry.load(model).train_config().lr:g})" in answer.out


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [64, 1000])
def test_a_batch_larger_than_the_data_is_all_of_it(cli: Cli, data_folder: Path, form: str, size: int) -> None:
    model, arch = form.split("-")
    flags = [*tiny_flags(model, arch), "--dataset", data_folder, "--train-size", 30, "--epochs", 2, "--quiet"]
    assert cli("train", model, *flags, "--device", "cpu", "--batch-size", size, "--sample-every", 9).code == 0
    steps = [line["step"] for line in run_folder.read_metrics(Path(f"checkpoints/{model}-001"))]
    assert steps == [1, 2]


# (arguments, exit code, what stderr says, with ... for the words of others); {data} is a sound data folder.
BAD = [
    ("train vea", 2, "there is no model 'vea'. Did you mean vae? Models: vae, gan, realnvp, diffusion."),
    ("train VAE", 2, "there is no model 'VAE'. Did you mean vae? Models: vae, gan, realnvp, diffusion."),
    ("sample rnvp", 2, "there is no model 'rnvp'. Did you mean realnvp? Models: vae, gan, realnvp, diffusion."),
    ("show xyz", 2, "there is no model 'xyz'. Models: vae, gan, realnvp, diffusion."),
    ("smaple vae", 2, "No such command 'smaple'. Did you mean 'sample'? Help: genctl -h"),
    ("sample", 2, "Missing argument 'MODEL'. Help: genctl sample -h"),
    ("--nosuch", 2, "No such option: --nosuch. Help: genctl -h"),
    (
        "train vae --latnt-dim 2",
        2,
        "No such option: --latnt-dim (Possible options: --latent-dim). Help: genctl train vae -h",
    ),
    ("sample vae --nosuch", 2, "No such option: --nosuch (Possible options: --out). Help: genctl sample -h"),
    ("sample vae --temperature 1e30", 2, "--temperature must be at most 1000; not 1e+30."),
    ("train vae --latent-dim 0", 2, "--latent-dim must be at least 1; not 0."),
    ("train vae --latent-dim x", 2, "--latent-dim must be a whole number, not 'x'."),
    ("train vae --epochs 1e3", 2, "--epochs must be a whole number, not '1e3'."),
    ("train vae --lr fast", 2, "--lr must be a number, not 'fast'."),
    ("train vae --save-every 1e308", 2, "--save-every must be at most 1000000000; not 1e+308."),
    ("train vae --device gpu", 2, "--device is one of auto, cpu, cuda, mps; not 'gpu'."),
    ("train vae --arch mpl", 2, "--arch is one of mlp, conv, ladder; not 'mpl'."),
    ("train vae --epochs 0", 2, "--epochs must be at least 1; not 0."),
    ("train vae --lr nan", 2, "--lr must be a finite number; not nan."),
    ("train gan --dropout 1", 2, "--dropout must be at most 0.99; not 1.0."),
    ("train gan --ema 1", 2, "--ema must be at most 0.999999; not 1.0."),
    ("train gan --seed -1", 2, "--seed must be at least 0; not -1."),
    ("sample gan -n 0", 2, "--number must be at least 1; not 0."),
    ("sample gan --temperature -1", 2, "--temperature must be at least 0; not -1.0."),
    ("sample gan --temperature hot", 2, "--temperature must be a number, not 'hot'."),
    ("sample gan --means", 2, "--means is for vae, not for gan; leave it out."),
    ("sample realnvp-mlp --means", 2, "--means is for vae, not for realnvp; leave it out."),
    ("compare gan realnvp --means", 2, "--means is for vae, not for gan and realnvp; leave it out."),
    ("interpolate vae --means", 2, "--means does not act in interpolate; it is for sample, evaluate, compare, export."),
    (
        "reconstruct vae --temperature 2",
        2,
        "--temperature does not act in reconstruct; it is for sample, evaluate, compare, export, interpolate, "
        "manifold.",
    ),
    ("interpolate gan --steps 0", 2, "--steps must be at least 1; not 0."),
    ("interpolate gan --path curved", 2, "--path is one of linear, slerp; not 'curved'."),
    ("eval-bpd vae --draws 0", 2, "--draws must be at least 1; not 0."),
    ("eval-bpd vae --split all", 2, "--split is one of train, validation, test; not 'all'."),
    ("manifold vae --quantiles 0.5", 2, "--quantiles takes 2 values with a space between them."),
    ("manifold vae --quantiles 0.1,0.9", 2, "--quantiles takes 2 values with a space between them."),
    ("manifold vae --quantiles 0.1 high", 2, "--quantiles must be a number, not 'high'."),
    ("manifold vae --quantiles nan 0.9", 2, "--quantiles must be a finite number; not nan."),
    *(
        (f"{verb} realnvp --temperature {value}", 2, f"--temperature must be a finite number; not {value}.")
        for verb in ("sample", "interpolate", "manifold", "evaluate", "compare")
        for value in ("nan", "inf", "-inf")
    ),
    ("evaluate gan --samples 1e4", 2, "--samples must be a whole number, not '1e4'."),
    ("sample gan --seed 99999999999999999999", 2, "--seed must be at most ...; not 99999999999999999999."),
    ("manifold vae vae-mlp --quantiles 0.5 0.2", 2, "--quantiles needs 0 < low < high < 1, not 0.5 0.2."),
    ("manifold vae vae-mlp --quantiles 0 0.9", 2, "--quantiles needs 0 < low < high < 1, not 0 0.9."),
    (
        "manifold gan gan-mlp --quantiles 0.1 0.9",
        2,
        "--quantiles is for a 2-d latent; this one has 4 dimensions. Leave it out, or train with --latent-dim 2.",
    ),
    (
        "manifold vae vae-mlp --quantiles 0.1 0.9 --from-images",
        2,
        "--from-images has a grid of its own; leave out --quantiles.",
    ),
    ("train vae --arch conv --hidden 3", 2, "--hidden belongs to --arch mlp, not to --arch conv."),
    (
        "train gan --pack 2 --candidates 4",
        2,
        "--pack shows D several images at once, so it cannot choose one; leave --candidates out.",
    ),
    ("train gan --channels 3", 2, "--channels belongs to --arch dcgan or resnet, not to --arch mlp."),
    ("train realnvp --hidden 3", 2, "--hidden belongs to --arch mlp, not to --arch conv."),
    (
        "train gan --loss hinge --label-noise 0.2",  # its default, and yet it was typed
        2,
        "--label-noise belongs to --loss non-saturating or saturating, not to --loss hinge.",
    ),
    ("eval-bpd gan", 2, "gan has no likelihood; for eval-bpd there are: vae, realnvp, diffusion."),
    ("eval-bpd gan-mlp", 2, "gan has no likelihood; for eval-bpd there are: vae, realnvp, diffusion."),
    (
        "eval-bpd checkpoints/gan-mlp/model.safetensors",
        2,
        "gan has no likelihood; for eval-bpd there are: vae, realnvp, diffusion.",
    ),
    ("reconstruct gan", 2, "gan cannot encode an image; for reconstruct there are: vae, realnvp, diffusion."),
    (
        "interpolate gan --between-test-images",
        2,
        "gan cannot encode an image; for interpolate --between-test-images there are: vae, realnvp, diffusion.",
    ),
    (
        "manifold gan --from-images",
        2,
        "gan cannot encode an image; for manifold --from-images there are: vae, realnvp, diffusion.",
    ),
    ("eval-bpd realnvp --estimator elbo", 2, "realnvp has no estimator elbo; it has: dequantization."),
    ("interpolate vae --from-class 1 --to-class 1", 2, "--from-class and --to-class are both 1; the ends must differ."),
    ("interpolate realnvp realnvp-conv --from-class 9", 2, "bars has no class 9; its classes are 0 to 3."),
    ("sample vae nope.safetensors", 4, "there is no checkpoint or run nope.safetensors; `genctl runs` lists the runs."),
    ("sample nope.safetensors", 4, "there is no checkpoint or run nope.safetensors; `genctl runs` lists the runs."),
    ("sample vae vae-999", 4, "there is no checkpoint or run vae-999; `genctl runs` lists the runs."),
    (
        "sample vae cut.safetensors",
        4,
        "cut.safetensors is not a sound safetensors file: it is cut short or too long: 4,524 bytes of tensors, "
        "4,624 expected.",
    ),
    (
        "sample cut2.safetensors",
        4,
        "cut2.safetensors is not a checkpoint, or is cut short: its header does not fit into the file.",
    ),
    (
        "show void.safetensors",
        4,
        "void.safetensors is not a checkpoint, or is cut short: its header does not fit into the file.",
    ),
    (
        "sample foreign.safetensors",
        4,
        "foreign.safetensors is a safetensors file, but not one of genctl's; genctl reads what it wrote.",
    ),
    (
        "sample flipped.safetensors",
        4,
        "flipped.safetensors was edited since it was sealed, or is damaged: ...verify flipped.safetensors --reseal OUT",
    ),
    (
        "sample vae checkpoints/gan-mlp",
        4,
        "checkpoints/gan-mlp/model.safetensors holds a gan, not a vae; say gan.",
    ),
    (
        "eval-bpd realnvp vae-mlp",
        4,
        "checkpoints/vae-mlp/model.safetensors holds a vae, not a realnvp; say vae.",
    ),
    (
        "sample vae new.pt",
        4,
        "new.pt is not a safetensors file (it looks like a PyTorch pickle; genctl never unpickles). Save its "
        "weights with safetensors, or train anew.",
    ),
    (
        "sample old.pt",
        4,
        "old.pt is not a safetensors file (it looks like a PyTorch pickle; genctl never unpickles). Save its "
        "weights with safetensors, or train anew.",
    ),
    ("sample vae empty", 4, "empty holds no model.safetensors; is it a run, and has it saved?"),
    (
        "sample gan state.safetensors",
        4,
        "state.safetensors is a training state; the weights are in model.safetensors beside it.",
    ),
    ("verify nope", 4, "there is no checkpoint or run nope; `genctl runs` lists the runs."),
    (
        "train vae --dataset {data} --name vae-mlp",
        2,
        "checkpoints/vae-mlp exists; choose another --name, or go on with it: genctl train vae --resume "
        "checkpoints/vae-mlp",
    ),
    ("train vae --dataset {data} --name a/b", 2, "--name 'a/b' must be a plain folder name; use --out for its place."),
    ("train vae --dataset {data} --name ..", 2, "--name '..' must be a plain folder name; use --out for its place."),
    ("train vae --dataset {data} --out file", 3, "file is not a folder; --out must be one."),
    (
        "train vae --dataset {data} --out file/deep",
        3,
        "file/deep cannot be made: Not a directory; choose another --out.",
    ),
    ("sample gan-mlp --out x.jpg", 2, "--out x.jpg must end in .png or .npz."),
    ("manifold gan-mlp --out x", 2, "--out x must end in .png, .npz, .webp or .gif."),
    ("reconstruct vae-mlp --out x.png.txt", 2, "--out x.png.txt must end in .png or .npz."),
    ("interpolate gan-mlp --out x.PDF", 2, "--out x.PDF must end in .png, .npz, .webp or .gif."),
    (
        "sample gan-mlp --out nowhere/x.png",
        3,
        "nowhere/x.png cannot be written: nowhere is no folder; choose another --out.",
    ),
    ("sample gan-mlp --out file/x.png", 3, "file/x.png cannot be written: file is no folder; choose another --out."),
    ("sample gan-mlp --out folder.png", 3, "folder.png cannot be written: it is a folder; choose another --out."),
    (
        "train vae --dataset empty",
        3,
        "empty holds no pictures and no IDX files (train-images-idx3-ubyte); sub-folders are classes, each picture a "
        "file.",
    ),
    (
        "train vae --dataset untested",
        3,
        "untested has no t10k-images-idx3-ubyte (or .gz); a data folder holds train-images-idx3-ubyte and "
        "t10k-images-idx3-ubyte, and labels-idx1-ubyte files if there are labels.",
    ),
    (
        "train vae --dataset magic",
        3,
        "magic/train-images-idx3-ubyte is not an IDX file of bytes: it starts with 89 50 4e 47.",
    ),
    (
        "train vae --dataset short",
        3,
        "short/train-images-idx3-ubyte promises 7,680 bytes and holds 7,184; fetch or copy it again.",
    ),
    (
        "train vae --dataset count",
        3,
        "count/train-images-idx3-ubyte promises 8,192 bytes and holds 7,680; fetch or copy it again.",
    ),
    (
        "train vae --dataset zipped",
        3,
        "zipped/train-images-idx3-ubyte.gz cannot be read (...); fetch or copy it again.",
    ),
    (
        "train vae --dataset labels",
        3,
        "labels/train-labels-idx1-ubyte has (119,) labels for the 120 images of train-images-idx3-ubyte.",
    ),
    (
        "train vae --dataset nonesuch",
        3,
        "there is no data set or folder 'nonesuch'. Data sets: mnist, stacked-mnist, fashion-mnist, kmnist, emnist, "
        "cifar10, cifar100.",
    ),
    (
        "train vae --dataset fashon-mnist",
        3,
        "there is no data set or folder 'fashon-mnist'. Did you mean fashion-mnist? Data sets: mnist, stacked-mnist, "
        "fashion-mnist, kmnist, emnist, cifar10, cifar100.",
    ),
    ("train vae --dataset {data} --train-size 101", 3, "bars has 100 images to train on; --train-size cannot be 101."),
    (
        "train vae --dataset {data} --validation 120",
        3,
        "bars has 120 training images; --validation must leave some of them, so at most 119.",
    ),
    (
        "train vae --dataset fashion-mnist",
        3,
        "cannot download ...genctl/fashion-mnist by hand, or use the built-in --dataset mnist.",
    ),
    (
        "train vae --arch conv --dataset odd",
        2,
        "--arch conv needs a height and width divisible by 4, not 6 x 7; use --arch mlp, or images of 8 x 8.",
    ),
    (
        "train gan --arch dcgan --dataset odd",
        2,
        "--arch dcgan needs a height and width divisible by 4, not 6 x 7; use --arch mlp, or images of 8 x 8.",
    ),
    (
        "train realnvp --dataset odd",
        2,
        "--arch conv needs a height and width divisible by 4, not 6 x 7; use --arch mlp, or images of 8 x 8.",
    ),
    ("train vae --resume vae-mlp --name new", 2, "--name is for a new run; leave it out beside --resume."),
    ("train vae --resume=", 2, "--resume needs a run: a folder, a name, or latest; `genctl runs` lists the runs."),
    ("train vae --resume nope", 2, "there is no run nope; `genctl runs` lists the runs."),
    ("train vae --resume latest --out no", 2, "there is no run of vae under no to resume; start one: genctl train vae"),
    (
        "train vae --resume gan-mlp",
        2,
        "checkpoints/gan-mlp is a run of gan, not of vae; go on with it: genctl train gan --resume checkpoints/gan-mlp",
    ),
    (
        "train vae --resume empty",
        2,
        "empty was never begun; start it: genctl train vae --name empty",
    ),
    (
        "train vae --resume vae-mlp --latent-dim 5 --lr 0.5 --seed 0",
        2,
        "checkpoints/vae-mlp cannot go on with other options: --latent-dim is 2, not 5; --lr is 0.01, not 0.5. "
        "Leave these out.",
    ),
    (
        "train gan --dataset {data} --batch-size 1",
        2,
        "gan needs 2 images in a step; raise --batch-size or --train-size.",
    ),
    (
        "train gan --arch dcgan --dataset {data} --train-size 1",
        2,
        "gan needs 2 images in a step; raise --batch-size or --train-size.",
    ),
    ("train gan --dataset {data} --lr 1e39", 2, "--lr must be at most 1e+30; not 1e+39."),
    (
        "train vae --dataset {data} --seed 99999999999999999999",
        2,
        "--seed must be at most ...; not 99999999999999999999.",
    ),
    (
        "train vae --dataset {data} --latent-dim 1000000000000",
        2,
        "--latent-dim must be at most 65536; not 1000000000000.",
    ),
    (
        "train vae --dataset {data} --hidden 9223372036854775807",
        2,
        "--hidden must be at most 65536; not 9223372036854775807.",
    ),
    ("train vae --dataset {data} --layers 1000000000", 2, "--layers must be at most 1000; not 1000000000."),
    ("train vae --dataset {data} --particles 1000000000", 2, "--particles must be at most 10000; not 1000000000."),
    ("train gan --dataset {data} --batch-size 9999999999", 2, "--batch-size must be at most 1000000000; ..."),
    ("train vae --dataset {data} --save-every 1e308", 2, "--save-every must be at most 1000000000; not 1e+308."),
    (
        "train vae --dataset {data} --hidden 65536 --layers 1000",
        6,
        "a vae of these options is too large: it asks for ...choose smaller options.",
    ),
    (
        "train realnvp --dataset {data} --arch conv --couplings 1000 --blocks 1000",
        6,
        "a realnvp of these options is too large: it asks for 20,002 tensors of ...choose smaller options.",
    ),
    (
        "train vae --resume broken-config",
        4,
        "checkpoints/broken-config is not the folder of a run: config.json: its config is not an object; "
        "`genctl runs` lists the runs.",
    ),
    ("help", 2, "No such command 'help'. Help: genctl -h"),
    ("show", 2, "Missing argument 'MODEL'. Help: genctl show -h"),
    ("train vae now", 2, "Got unexpected extra argument(s) (now). Help: genctl train vae -h"),
    ("train vae --resume", 2, "Option '--resume' requires an argument."),
    ("train vae --threads 100000", 2, "--threads must be at most 1024; not 100000."),
    ("train vae --resume vae-mlp --epochs 0", 2, "--epochs must be at least 1; not 0."),
    (
        "train vae --resume checkpoints/vae-mlp/model.safetensors",
        2,
        "checkpoints/vae-mlp/model.safetensors is a file; go on with its run: genctl train vae --resume "
        "checkpoints/vae-mlp",
    ),
    (
        "train vae --resume vae-mlp --dataset mnist",
        2,
        "mnist is not the data set that checkpoints/vae-mlp was trained on; say where that is with --dataset.",
    ),
    (
        "train vae --dataset file",
        3,
        "file is no data set; give a folder of pictures or of IDX files, or a .zip, .npz or .npy file.",
    ),
    (
        "eval-bpd vae vae-mlp --dataset nowhere",
        3,
        "there is no data set or folder 'nowhere'. Data sets: mnist, stacked-mnist, fashion-mnist, kmnist, emnist, "
        "cifar10, cifar100.",
    ),
    (
        "eval-bpd vae vae-mlp --dataset odd",
        3,
        "odd is not the data set bars that checkpoints/vae-mlp/model.safetensors was trained on; say where that "
        "is with --dataset.",
    ),
    ("sample vae file", 4, "file is not a checkpoint, or is cut short: its header does not fit into the file."),
    ("show checkpoints", 4, "checkpoints holds no model.safetensors; is it a run, and has it saved?"),
]


@pytest.fixture(scope="module")
def bad_things(trained: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of runs, files and data sets that are wrong in the ways the table names."""
    root = tmp_path_factory.mktemp("bad")
    shutil.copytree(trained, root / "checkpoints")
    weights = (root / weights_of("vae-mlp")).read_bytes()
    (root / "cut.safetensors").write_bytes(weights[:-100])
    (root / "cut2.safetensors").write_bytes(weights[:200])
    (root / "void.safetensors").write_bytes(b"")
    (root / "flipped.safetensors").write_bytes(weights)
    flip_last_bit(str(root / "flipped.safetensors"))
    safetensors.torch.save_file({"weight": torch.zeros(3)}, root / "foreign.safetensors")
    torch.save({"weight": torch.zeros(3)}, root / "new.pt")
    torch.save({"weight": torch.zeros(3)}, root / "old.pt", _use_new_zipfile_serialization=False)
    shutil.copy(run_folder.states(root / "checkpoints" / "gan-mlp")[0], root / "state.safetensors")
    (root / "file").write_text("")
    for name in ("empty", "folder.png", "odd"):
        (root / name).mkdir()
    for prefix, n in (("train", 30), ("t10k", 6)):
        write_idx(root / "odd" / f"{prefix}-images-idx3-ubyte", torch.zeros(n, 6, 7))
    broken = root / "checkpoints" / "broken-config"
    shutil.copytree(trained / "vae-mlp", broken)
    about = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**about, "config": 3, "started": "1999"}))
    for name, spoil in SPOILED.items():
        shutil.copytree(data_folder, root / name)
        spoil(root / name / "train-images-idx3-ubyte")
    return root


def spoil_labels(images: Path) -> None:
    write_idx(images.with_name("train-labels-idx1-ubyte"), torch.zeros(119))


def spoil_gzip(images: Path) -> None:
    images.with_name(f"{images.name}.gz").write_bytes(gzip.compress(images.read_bytes())[:-200])
    images.unlink()


SPOILED: dict[str, Callable[[Path], object]] = {
    "untested": lambda path: path.with_name("t10k-images-idx3-ubyte").unlink(),
    "magic": lambda path: path.write_bytes(b"\x89PNG" + path.read_bytes()[4:]),
    "short": lambda path: path.write_bytes(path.read_bytes()[:7200]),
    "count": lambda path: path.write_bytes(path.read_bytes()[:7] + b"\x80" + path.read_bytes()[8:]),
    "zipped": spoil_gzip,
    "labels": spoil_labels,
}


def no_network(*_: object, **__: object) -> None:
    raise urllib.error.URLError("Name or service not known")


@pytest.mark.parametrize(("line", "code", "sentence"), BAD, ids=[line for line, _, _ in BAD])
def test_bad_input_gets_a_sentence(
    cli: Cli,
    bad_things: Path,
    data_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    code: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(bad_things)
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setenv("XDG_CACHE_HOME", str(bad_things / "cache"))
    answer = cli(*(word.format(data=data_folder) for word in line.split()))
    made = [path for path in Path("checkpoints").iterdir() if path.name not in (*FORMS, "broken-config")]
    for folder in made:
        shutil.rmtree(folder)
    said = [text for text in answer.err.splitlines() if not text.startswith(("using ", "training "))]
    assert (answer.code, answer.out) == (code, ""), answer.err
    assert len(said) == 1
    start, dots, end = sentence.partition("...")
    assert said[0].startswith(f"genctl: {start}") and said[0].endswith(end)
    assert dots or said[0] == f"genctl: {sentence}"
    assert "Traceback" not in answer.err
    assert "Errno" not in answer.err
    assert made == []


def test_an_output_folder_is_tried_before_training(
    cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", read_only)
    answer = cli("train", "vae", "--dataset", data_folder, "--device", "cpu")
    assert answer.code == 3
    assert answer.err == "genctl: checkpoints cannot be made: Permission denied; choose another --out.\n"


@pytest.mark.parametrize("words", ["train vae --dataset {data}", "sample gan-mlp"])
def test_a_device_that_is_not_there(use: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    answer = use(*words.format(data=data_folder).split(), "--device", "cuda")
    assert answer.code == 2
    assert answer.err.splitlines()[-1] == "genctl: --device cuda is not available here; use --device auto."


def test_a_finished_run_says_so(use: Cli) -> None:
    answer = use("train", "realnvp", "--resume", "realnvp-mlp", "--epochs", 2, "--batch-size", 20)
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.splitlines() == [
        "checkpoints/realnvp-mlp has 2 epochs already; for more, give a larger --epochs than 2.",
        "next: genctl sample realnvp checkpoints/realnvp-mlp",
    ]


def test_changed_data_stop_a_resume(use: Cli, tmp_path: Path, data_folder: Path) -> None:
    shutil.copytree(data_folder, tmp_path / "mine")
    tiny = [*tiny_flags("vae", "mlp"), "--dataset", tmp_path / "mine", "--device", "cpu", "--max-minutes", 0]
    assert use("train", "vae", *tiny, "--name", "x").code == 0
    flip_last_bit(str(tmp_path / "mine" / "t10k-labels-idx1-ubyte"))
    answer = use("train", "vae", "--resume", "x")
    assert answer.code == 2
    assert f"{tmp_path}/mine is not the data set that checkpoints/x was trained on; say where" in answer.err


def test_running_out_of_memory_or_disk_ends_with_6(use: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "x.png")

    monkeypatch.setattr("genctl.checkpoint.atomic.write", full)
    answer = use("sample", "gan-mlp")
    assert answer.code == 6
    assert answer.err.splitlines()[-1].startswith("genctl: ")
    monkeypatch.setattr("genctl.generation.sampling.sample", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
    answer = use("sample", "gan-mlp")
    assert answer.code == 6
    assert answer.err.splitlines()[-1] == "genctl: out of memory; try a smaller --batch-size or -n."


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)."),
    ],
    ids=str,
)
def test_every_device_out_of_memory_is_a_sentence(use: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr("genctl.generation.sampling.sample", lambda *_, **__: (_ for _ in ()).throw(error))
    answer = use("sample", "gan-mlp")
    assert answer.code == 6
    assert answer.err.splitlines()[-1] == "genctl: out of memory; try a smaller model, --batch-size or -n."
