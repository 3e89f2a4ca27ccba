"""The verbs on a small diffusion model: its sampling options, and a likelihood that says what its numbers are worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from conftest import Cli, tiny_flags

import genctl
from genctl import data
from genctl.cli.app import main

WIDTH = 8  # of the images


@pytest.fixture(scope="module")
def folder(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run of p(x), one of p(x|y), and one of a guide for the first."""
    folder = tmp_path_factory.mktemp("diffusion")
    data = ["--dataset", str(data_folder), "--epochs", "1", "--device", "cpu", "--quiet", "--out", str(folder)]
    small = [*tiny_flags("diffusion", "mlp"), "--batch-size", "16", "--guide", "0", "--ema", "0"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "diffusion", *data, *small, "--name", "plain"]) == 0
        assert main(["train", "diffusion", *data, *small, "--name", "classes", "--conditional"]) == 0
        guide = ["--guide", "4", "--freeze", "diffusion"]
        assert main(["train", "diffusion", *data, *small, *guide, "--init", "plain", "--name", "led"]) == 0
    return folder


TABLE: list[tuple[str, int, str]] = [
    ("sample {plain} -n 3 --sampler heun --sampler-steps 3", 0, "sample-diffusion"),
    ("sample {plain} -n 3 --sampler euler --sampler-steps 1", 0, "sample-diffusion"),
    ("reconstruct {plain} -n 3 --sampler-steps 2", 0, "reconstruct-diffusion"),
    ("interpolate {plain} --between-test-images --sampler-steps 2", 0, "interpolate-diffusion"),
    ("manifold {plain} --steps 2 --sampler euler", 0, "manifold-diffusion"),
    ("sample {classes} --class 0-3 -n 2 --guidance 3", 0, "sample-diffusion"),
    ("interpolate {classes} --from-class 0 --to-class 1 --guidance 2", 0, "interpolate-diffusion"),
    ("sample {led} -n 3", 0, "sample-diffusion"),
    ("reconstruct {led} -n 3 --guidance 1", 0, "reconstruct-diffusion"),
    ("interpolate {led} --between-test-images --guidance 1.5", 0, "interpolate-diffusion"),
    ("eval-bpd {classes} --images 2 --ode-steps 2", 0, "log p(x|y)"),
    ("eval-bpd {plain} --images 4 --ode-steps 4", 0, "Runge-Kutta of order 4, 4 steps"),
    ("eval-bpd {plain} --images 4 --estimator elbo -k 3", 0, "elbo, K = 3 (an upper bound on -log p"),
    ("sample {plain} --guidance 2", 2, "--guidance is for a model of --conditional or with a --guide; leave it out."),
    ("sample {plain} --sampler rk4", 2, "--sampler is one of euler, heun, dpm; not 'rk4'."),
    ("sample {plain} --sampler-steps 0", 2, "--sampler-steps must be at least 1; not 0."),
    ("sample {plain} --ode-steps 9", 2, "--ode-steps does not act in sample; it is for compare, eval-bpd."),
    ("eval-bpd {plain} --sampler dpm", 2, "--sampler does not act in eval-bpd; it is for sample"),
    ("eval-bpd {plain} --estimator dequantization", 2, "diffusion has no estimator dequantization; it has: ode, elbo."),
    ("sample vae --sampler-steps 9", 2, "--sampler-steps is for diffusion, not for vae; leave it out."),
    ("train diffusion --class-dropout 0.5", 2, "--class-dropout belongs to --conditional; give that too."),
    ("train diffusion --hidden 9", 2, "--hidden belongs to --arch mlp, not to --arch unet."),
    ("explain diffusion", 0, "Lipman et al. 2023"),
    ("explain vea", 2, "there is no model 'vea'. Did you mean vae?"),
]


@pytest.mark.parametrize(("words", "code", "text"), TABLE, ids=lambda value: value if isinstance(value, str) else "")
def test_the_verbs_of_diffusion(words: str, code: int, text: str, folder: Path, cli: Cli) -> None:
    runs = {name: folder / name for name in ("plain", "classes", "led")}
    found = [word.format(**runs) for word in words.split()]
    answer = cli(*found)
    assert answer.code == code, answer.err
    assert text in " ".join((answer.out + answer.err).split())


def test_more_steps_make_other_pictures_of_the_same_noise(folder: Path, cli: Cli) -> None:
    drawn = {}
    for steps in (1, 2, 30, 60):
        words = ("-n", 4, "--sampler", "heun", "--sampler-steps", steps, "--out", "x.npz")
        assert cli("sample", folder / "plain", *words).code == 0
        drawn[steps] = numpy.load("x.npz")["images"].astype(float)
        Path("x.npz").unlink()
    apart = [numpy.abs(drawn[a] - drawn[b]).mean() for a, b in ((1, 2), (30, 60))]
    assert apart[1] < apart[0] / 5


def test_a_record_says_what_its_numbers_are_worth(folder: Path, cli: Cli) -> None:
    found = json.loads(cli("eval-bpd", folder / "plain", "--images", 5, "--ode-steps", 8, "--json").out)
    numerics = found["numerics"]
    assert numerics["divergence"] == "exact" and "8 steps" in numerics["solver"]
    assert abs(numerics["half_step_bits_per_dim"]) < 0.5 and numerics["checked_images"] == 5
    assert (found["bound"], found["data"], found["images"]) == ("upper bound on -log p", "256 levels", 5)
    text = " ".join(cli("eval-bpd", folder / "plain", "--images", 5, "--ode-steps", 8).out.split())
    assert "solver Runge-Kutta of order 4, 8 steps" in text and "half step" in text


def test_an_epoch_says_where_something_is_learned(folder: Path) -> None:
    line = json.loads((folder / "plain" / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"residual", "negative_elbo", "error_noisy", "error_middle", "error_fine", "sample_ink"} <= line.keys()
    assert (folder / "plain" / "curves.png").is_file()
    assert torch.isfinite(torch.tensor(line["validation_bits_per_dim"]))


def test_a_guide_changes_images_and_no_likelihood(folder: Path, cli: Cli) -> None:
    def of(run: str, *how: object) -> Any:
        assert cli("sample", folder / run, "-n", 4, "--out", "x.npz", *how).code == 0
        images = numpy.load("x.npz")["images"]
        Path("x.npz").unlink()
        return images

    plain, led, without = of("plain"), of("led"), of("led", "--guidance", 1)
    assert (plain == without).all() and (plain != led).any()
    assert (of("led", "--guidance", 1.5) == led).all()
    bounds = [
        json.loads(cli("eval-bpd", folder / run, "--images", 4, "--json").out)["value"] for run in ("plain", "led")
    ]
    assert bounds[0] == bounds[1]


def test_a_given_image_is_found_again_without_the_guide(folder: Path, data_folder: Path) -> None:
    x = data.load(str(data_folder)).test.pixels[:4]
    plain, led = genctl.load(folder / "plain"), genctl.load(folder / "led")
    assert torch.equal(plain.encode(x), led.encode(x))
    assert torch.equal(plain.reconstruct(x), led.reconstruct(x))
    assert not torch.equal(plain.reconstruct(x), led.reconstruct(x, guidance=2.0))
    assert torch.equal(led.decode(led.encode(x, guidance=2.0), guidance=2.0), led.reconstruct(x, guidance=2.0))


def test_a_network_that_its_file_lacks_is_not_kept(folder: Path, data_folder: Path, cli: Cli) -> None:
    small = [*tiny_flags("diffusion", "mlp"), "--dataset", data_folder, "--epochs", 1, "--device", "cpu"]
    answer = cli("train", "diffusion", *small, "--hidden", 24, "--init", folder / "plain", "--freeze", "diffusion")
    assert answer.code == 2
    assert "tensors have no equal there (network.condition" in answer.err
    assert answer.err.endswith("choose the same --arch and sizes.\n")
