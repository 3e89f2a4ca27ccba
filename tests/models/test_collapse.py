"""Alarms of a collapse: they hear hand-made ones, and real images raise none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from genctl import data
from genctl.checkpoint import tensors
from genctl.models.base import Diagnosis
from genctl.models.gan import collapse as alarms
from genctl.models.gan import networks
from genctl.models.gan.model import GAN

N = alarms.SAMPLES


@pytest.fixture(scope="module")
def mnist() -> data.Dataset:
    """Return MNIST as it is split by default."""
    return data.load("mnist")


def real(mnist: data.Dataset) -> Tensor:
    """Return validation images as if they were samples."""
    return mnist.validation.pixels[:N] / 255


def test_real_images_raise_no_alarm(mnist):
    found, sentences = alarms.look(real(mnist), mnist.train, d_accuracy=0.7)
    assert sentences == []
    assert found["sample_spread"] == pytest.approx(1, abs=0.1)
    assert 0.05 < found["smallest_class"] < 0.1


def test_one_image_for_all_z_is_a_collapse_and_lacks_nine_classes(mnist):
    found, (collapse, missing) = alarms.look(real(mnist)[:1].expand(N, -1, -1, -1), mnist.train)
    assert found == {"sample_spread": 0.0, "smallest_class": 0.0}
    assert collapse == "the samples differ by 0% of what real images do: G has collapsed, or just begun"
    assert missing.startswith("of 500 samples hardly any looks like class ") and missing.endswith("G lacks modes")


def test_a_lost_class_is_named(mnist):
    without = mnist.validation.pixels[mnist.validation.labels != 7][:N] / 255
    found, sentences = alarms.look(without, mnist.train)
    assert sentences == ["of 500 samples hardly any looks like class 7: G lacks modes"]
    assert found["smallest_class"] < 0.025


@pytest.mark.parametrize(("scale", "alarmed"), [(0.3, False), (0.2, True)])
def test_the_limit_is_a_quarter_of_the_real_images_distance(mnist, scale, alarmed):
    unlabelled = replace(mnist.train, labels=None)
    found, sentences = alarms.look(scale * real(mnist), unlabelled)
    assert bool(sentences) is alarmed
    assert found == {"sample_spread": pytest.approx(scale, rel=0.1)}


@pytest.mark.parametrize(("accuracy", "alarmed"), [(None, False), (0.98, False), (0.995, True)])
def test_a_d_that_is_always_right_is_an_alarm(mnist, accuracy, alarmed):
    _, sentences = alarms.look(real(mnist), replace(mnist.train, labels=None), accuracy)
    assert sentences == (["D ranked 99.5% of all pairs rightly, so G learns little from it"] if alarmed else [])


def test_samples_that_are_not_numbers_are_an_alarm(mnist):
    _, sentences = alarms.look(torch.full((N, 1, 28, 28), torch.nan), replace(mnist.train, labels=None))
    assert len(sentences) == 1


def test_rare_classes_are_not_missed(mnist):
    labels = torch.arange(len(mnist.train)) % 1000
    found, sentences = alarms.look(real(mnist), replace(mnist.train, labels=labels))
    assert sentences == [] and set(found) == {"sample_spread"}


def test_the_mean_distance_of_pairs_is_that_of_their_table():
    x = torch.tensor([0.0, 3.0, 4.0]).view(3, 1, 1, 1)
    assert alarms.spread(x) == pytest.approx((3 + 4 + 1) / 3)


class Constant(nn.Module):
    """A generator of one image whatever z is, and whatever it learns."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> Tensor:
        return self.net(0 * z).tanh() * 1e-3


def test_a_training_whose_generator_is_constant_says_so_once(cli, data_folder, monkeypatch):
    def constant(config, shape):
        _, D = networks.mlp(config, shape)
        return Constant(nn.Sequential(nn.Linear(config.latent_dim, 64), nn.Unflatten(1, shape))), D

    monkeypatch.setitem(networks.BUILDERS, "mlp", constant)
    command = ("train", "gan", "--dataset", data_folder, "--batch-size", 20, "--epochs", 2)
    answer = cli(*command)
    assert answer.code == 0
    assert answer.err.count("the samples differ by 0% of what real images do") == 1
    assert "warning: epoch 1: the samples differ by 0% of what real images do" in answer.err
    lines = [json.loads(line) for line in Path("checkpoints/gan-001/metrics.jsonl").read_text().splitlines()]
    assert [line["sample_spread"] for line in lines] == pytest.approx([0, 0], abs=1e-3)
    assert all(line["smallest_class"] == 0 and 0 <= line["d_accuracy"] <= 1 for line in lines)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_looking_changes_nothing_of_a_training(cli, data_folder, monkeypatch, ema):
    command = ("train", "gan", "--dataset", data_folder, "--batch-size", 20, "--epochs", 2, "--ema", ema)
    cli(*command, "--name", "watched")
    monkeypatch.setattr(GAN, "diagnose", lambda self, epoch: Diagnosis())
    cli(*command, "--name", "plain")
    watched, plain = (Path("checkpoints", name) for name in ("watched", "plain"))
    one, other = (json.loads((f / "metrics.jsonl").read_text().splitlines()[-1]) for f in (watched, plain))
    assert {name: one[name] for name in ("d_loss", "g_loss")} == {name: other[name] for name in ("d_loss", "g_loss")}
    a, b = (tensors.load(f / "model.safetensors")[1] for f in (watched, plain))
    assert all(torch.equal(a[name], b[name]) for name in a)
