"""Augmentation: what it does to images, that it is differentiable, and who is told of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Cli, bars, tiny_config, tiny_flags
from soak import bytes_but_id
from torch import Tensor
from torch.nn import functional as F

from genctl.config import TrainConfig, augmentation_in
from genctl.errors import UsageError
from genctl.models.base import Batch, build
from genctl.runs import folder as run_folder
from genctl.testing.cases import cases_of, run, start
from genctl.training import augmentation, state
from genctl.training.loop import Training

ALL: dict[str, Any] = {"flip": True, "shift": 2, "crop": 3, "rotate": 40}
SHAPE = (2, 7, 10)
FORMS = [ALL, {"rotate": 180}, {"crop": 3}, {"shift": 3, "flip": True}]


def images(n: int = 6, seed: int = 0) -> Tensor:
    """Return float images [n, *SHAPE] with a border of 3."""
    x = torch.randint(0, 256, (n, *SHAPE), generator=torch.Generator().manual_seed(seed)).float()
    x[..., [0, -1], :] = 3
    x[..., :, [0, -1]] = 3
    return x


def with_grid_sample(config: TrainConfig, x: Tensor) -> Tensor:
    """Return the same change by torch's own sampling, whose corners are at -1 and 1."""
    A, t = augmentation.draw(config, x)
    H, W = x.shape[2:]
    y, across = torch.meshgrid(torch.arange(H) - (H - 1) / 2, torch.arange(W) - (W - 1) / 2, indexing="ij")
    s = torch.stack([y, across], -1) @ A.transpose(1, 2)[:, None] + t[:, None, None]  # [N, H, W, 2]
    grid = s.flip(-1) / torch.tensor([(W - 1) / 2, (H - 1) / 2])
    return 3 + F.grid_sample(x - 3, grid, align_corners=True)


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_images_and_gradients_are_those_of_torch_s_own_sampling(options: dict[str, Any]) -> None:
    config = TrainConfig(**options)
    augment = augmentation.augment_of(config, SHAPE)
    assert augment is not None
    weight, found = torch.randn(6, *SHAPE), []
    for way in (augment, lambda x: with_grid_sample(config, x)):
        inner = torch.full((6, SHAPE[0], SHAPE[1] - 2, SHAPE[2] - 2), 5.0, requires_grad=True)
        torch.manual_seed(3)
        made = way(images() + F.pad(inner, (1, 1, 1, 1)))  # the border keeps its mean
        found.append((made.detach(), *torch.autograd.grad((made * weight).sum(), inner)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-4)
    assert not torch.equal(found[0][0], images() + 5)


def test_the_gradient_has_a_gradient() -> None:
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    A = torch.eye(2, dtype=torch.float64) + 0.1 * torch.randn(2, 2, 2, dtype=torch.float64)
    t = torch.randn(2, 2, dtype=torch.float64)

    def sampled(x: Tensor) -> Tensor:
        return augmentation._Resampled.apply(x, A, t, 2.0, False)

    assert torch.autograd.gradgradcheck(lambda x: sampled(x) ** 2, x, fast_mode=True)


def test_whole_pixels_move_to_the_bit_and_each_image_has_its_own_draw() -> None:
    augment = augmentation.augment_of(TrainConfig(flip=True, shift=1), SHAPE)
    assert augment is not None
    x = images(1).expand(400, -1, -1, -1)
    torch.manual_seed(0)
    made = augmentation.to_bytes(augment(x))
    padded = F.pad(images(1), (1, 1, 1, 1), value=3).to(torch.uint8)
    windows = [padded[..., i : i + 7, j : j + 10] for i in range(3) for j in range(3)]
    allowed = torch.cat([w for each in windows for w in (each, each.flip(-1))])
    each = [[torch.equal(one, other) for other in allowed].index(True) for one in made]
    assert sorted(set(each)) == list(range(18)) and max(each.count(i) for i in range(18)) < 50


@pytest.mark.parametrize(
    ("options", "words"),
    [({"shift": 7}, "--shift of images of 7 x 10 is at most 6."), ({"crop": 4}, "--crop of images of 7 x 10 is at")],
)
def test_images_may_not_leave_their_place(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        augmentation.augment_of(TrainConfig(**options), SHAPE)


@pytest.mark.parametrize("options", [{}, {"pack": 2}, {"loss": "relativistic", "gradient_penalty": "r1+r2"}], ids=str)
def test_a_gan_s_judge_sees_real_and_generated_images_through_the_same_change(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = build(replace(tiny_config("gan", "mlp"), **options), (1, 8, 8))
    shown: list[Tensor] = []
    judged: list[Tensor] = []

    def marked(x: Tensor) -> Tensor:
        assert x.shape == (8, 1, 8, 8)
        shown.append(x)
        return 0 * x + len(shown)

    model.discriminator.register_forward_pre_hook(lambda _, inputs: judged.append(inputs[0].detach()))
    x = bars(8)[0][:, None].to(torch.uint8)
    batch = Batch(x, None, torch.zeros(()), torch.zeros(()), marked)
    for loss in model.losses(batch):
        loss.minimise.backward()
    real, held, fake = shown
    assert torch.equal(real, x / 127.5 - 1) and torch.equal(held, fake) and fake.requires_grad
    seen = {value for images in judged for value in images.unique().tolist()}
    assert seen == {1.0, 2.0, 3.0}  # nothing reaches D but by the one way
    generated = [p.grad for p in model.generator.parameters()]
    assert all(g is not None for g in generated)  # G learns through the change


def test_generated_images_learn_through_the_change() -> None:
    training = start(cases_of("gan")[0], **ALL, batch_size=8)
    before = {name: p.clone() for name, p in training.model.generator.named_parameters()}
    run(training, 1)
    assert all(not torch.equal(p, before[name]) for name, p in training.model.generator.named_parameters())


def trained(options: dict[str, Any], last: int, resume_at: int | None = None) -> dict[str, Tensor]:
    """Return the state after `last` steps, through a saved one if asked."""
    training = start(cases_of("vae")[0], **options)
    if resume_at is not None:
        run(training, resume_at)
        saved, training = state.tensors_of(training), start(cases_of("vae")[0], **options)
        state.restore(training, {name: t.clone() for name, t in saved.items()}, Path())
        training.step = resume_at
    return state.tensors_of(run(training, last))


def test_a_resume_goes_on_with_the_same_draws() -> None:
    whole, parts, plain = trained(ALL | {"crop": 1}, 5), trained(ALL | {"crop": 1}, 5, 3), trained({}, 5)
    assert all(torch.equal(t, parts[name]) for name, t in whole.items())
    assert not all(torch.equal(t, plain[name]) for name, t in whole.items())


def test_off_is_no_augmentation_at_all() -> None:
    training = start(cases_of("gan")[0])
    assert isinstance(training, Training) and training.augment is None
    batch = Batch(torch.zeros(1), None, torch.zeros(()), torch.zeros(()))
    assert training.augmented(batch) is batch


def test_it_is_said_wherever_a_likelihood_stands(cli: Cli, data_folder: Path) -> None:
    shared = ["--dataset", data_folder, "--epochs", 2, "--device", "cpu", "--threads", 1, "--quiet"]
    changes = ["--flip", "--shift", 1, "--rotate", 7.5]
    assert cli("train", "vae", *tiny_flags("vae", "mlp"), *shared, *changes, "--name", "whole").code == 0
    assert (
        cli("train", "vae", *tiny_flags("vae", "mlp"), *shared, *changes, "--name", "cut", "--max-minutes", 0).code == 0
    )
    assert cli("train", "vae", "--resume", "cut").code == 0
    whole, cut = (Path("checkpoints", name, run_folder.WEIGHTS) for name in ("whole", "cut"))
    assert bytes_but_id(whole) == bytes_but_id(cut)
    assert "augmented   --flip --shift 1 --rotate 7.5 (in training)" in cli("show", whole).out
    text = cli("eval-bpd", whole).out
    assert "augmented  it was trained on changed images (--flip --shift 1 --rotate 7.5)" in text
    assert json.loads(cli("eval-bpd", whole, "--json").out)["augmentation"] == "--flip --shift 1 --rotate 7.5"
    refused = cli("train", "vae", "--resume", "cut", "--epochs", 3, "--shift", 2)
    assert refused.code == 2 and "--shift is 1, not 2" in refused.err
    assert cli("train", "vae", *shared, "--crop", 5).err.endswith("--crop of images of 8 x 8 is at most 4.\n")


def test_files_of_before_say_nothing() -> None:
    assert augmentation_in({}) == augmentation_in({"flip": False, "shift": 0, "rotate": 0.0}) == ""
