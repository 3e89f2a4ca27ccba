"""Drawing images: each from noise of its own, in blocks of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from conftest import bars, tiny_config
from torch import Tensor, nn

from genctl.config import Tempered
from genctl.generation import sampling
from genctl.generation.sampling import BLOCK, decode, encode, noise, sample
from genctl.models.base import Noise, build
from genctl.models.vae.config import VAEConfig, VAESampling

SHAPE = (1, 8, 8)
MEANS = VAESampling(means=True)


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return build(tiny_config("vae", "mlp"), SHAPE).eval()


# Noise


def test_noise_depends_on_seed_and_index_alone(vae):
    z, u = noise(vae.noise_shapes, 7, 10)
    assert z.shape == (10, 2) and u.shape == (10, *SHAPE)
    torch.manual_seed(99)
    later_z, later_u = noise(vae.noise_shapes, 7, 3, first=5)
    assert torch.equal(later_z, z[5:8]) and torch.equal(later_u, u[5:8])
    other_z, other_u = noise(vae.noise_shapes, 8, 10)
    assert not (z == other_z).any()
    assert (u == other_u).float().mean() < 0.01
    assert len(z.unique()) == z.numel()


def test_drawing_noise_leaves_the_default_generator_alone(vae):
    before = torch.get_rng_state()
    sample(vae, 5)
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_is_normal_and_uniform(vae):
    z, u = noise(vae.noise_shapes, 0, 2000)
    assert z.mean().abs() < 0.08 and abs(z.var() - 1) < 0.12
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.002
    assert torch.corrcoef(torch.stack([z[:, 0], u[:, 0, 0, 0]]))[0, 1].abs() < 0.12


def test_the_latent_does_not_depend_on_what_is_drawn_behind_it(vae):
    first, *_ = vae.noise_shapes
    assert torch.equal(noise([first], 3, 20)[0], noise(vae.noise_shapes, 3, 20)[0])


def test_what_is_drawn_is_of_the_kinds_and_shapes_in_their_order():
    shapes = [Noise("uniform", (500,)), Noise("normal", ()), Noise("uniform", ()), Noise("normal", (30, 20))]
    drawn = noise(shapes, 1, 40)
    assert [tuple(t.shape) for t in drawn] == [(40, *each.shape) for each in shapes]
    assert all((t.min() < 0) == (each.kind == "normal") for each, t in zip(shapes, drawn, strict=True))
    assert noise([], 1, 5) == []


def test_a_class_is_of_seed_and_index_and_there_is_none_without_classes(vae):
    assert sampling.classes_of(vae, 0, 5) is None
    vae.config = replace(vae.config, classes=10)
    y = sampling.classes_of(vae, 3, 500)
    assert torch.equal(sampling.classes_of(vae, 3, 7, first=100), y[100:107])
    assert torch.equal(y.unique(), torch.arange(10))
    assert not torch.equal(sampling.classes_of(vae, 4, 500), y)


# Blocks


def sizes_seen(vae, monkeypatch, method: str) -> list[int]:
    """Return a list that will hold the batch size of each call of the method."""
    sizes: list[int] = []
    function = getattr(vae, method)

    def watched(x: Tensor, *more: object) -> Tensor:
        sizes.append(len(x))
        return function(x, *more)

    monkeypatch.setattr(vae, method, watched)
    return sizes


@pytest.mark.parametrize(("n", "blocks"), [(1, 1), (BLOCK, 1), (BLOCK + 1, 2), (2 * BLOCK + 3, 3)])
def test_all_blocks_have_one_size(vae, monkeypatch, n, blocks):
    z, x = sampling.latents(vae, 0, n), torch.zeros(n, *SHAPE, dtype=torch.uint8)
    for function, argument, method in ((decode, z, "decode"), (encode, x, "encode")):
        sizes = sizes_seen(vae, monkeypatch, method)
        assert len(function(vae, argument)) == n
        assert sizes == [BLOCK] * blocks


def test_blocks_give_what_the_model_gives(vae):
    z, x = sampling.latents(vae, 0, 100), bars(100)[0].to(torch.uint8)[:, None]
    with torch.no_grad():
        torch.testing.assert_close(decode(vae, z), vae.decode(z))
        torch.testing.assert_close(encode(vae, x), vae.encode(x))
    assert not decode(vae, z).requires_grad and not encode(vae, x).requires_grad


class Heard(nn.Module):
    """A model that returns of each image its latent and its class, or -1 for none."""

    device = torch.device("cpu")
    config = VAEConfig(classes=7)
    noise_shapes = (Noise("normal", (1,)),)

    def decode(self, z: Tensor, y: Tensor | None = None, options: object = None) -> Tensor:
        return torch.stack([z[:, 0], torch.full((len(z),), -1.0) if y is None else y.float()], 1)

    encode = decode

    def draw(self, noise: Sequence[Tensor], y: Tensor | None = None, options: object = None) -> Tensor:
        return self.decode(noise[0], y, options)


@pytest.mark.parametrize("function", [decode, encode])
def test_each_image_keeps_its_class(function):
    z, y = torch.arange(150.0)[:, None], torch.arange(150) % 7
    assert torch.equal(function(Heard(), z, y), torch.stack([z[:, 0], y.float()], 1))
    assert (function(Heard(), z)[:, 1] == -1).all()


# Samples


def test_a_sample_is_a_draw_around_the_mean(vae):
    z, u = noise(vae.noise_shapes, 3, 20)
    means = sample(vae, 20, seed=3, options=MEANS)
    assert torch.equal(means, decode(vae, z))
    assert torch.equal(sample(vae, 20, seed=3), (u < means).float())
    assert len(means.unique()) > 100


def test_temperature_scales_the_latent(vae):
    z, u = noise(vae.noise_shapes, 0, 6)
    assert torch.equal(sample(vae, 6, options=replace(MEANS, temperature=0.5)), decode(vae, 0.5 * z))
    cold = sample(vae, 6, options=replace(MEANS, temperature=0.0))
    assert torch.equal(cold, cold[:1].expand_as(cold))
    drawn = sample(vae, 6, options=VAESampling(temperature=0.5))
    assert torch.equal(drawn, (u < decode(vae, 0.5 * z)).float())  # and not the noise of the draw


def test_the_seed_is_0_by_default(vae):
    assert torch.equal(sample(vae, 4), sample(vae, 4, seed=0))
    assert not torch.equal(sample(vae, 4), sample(vae, 4, seed=1))


def test_an_image_has_the_class_that_is_asked_for_or_one_of_its_own():
    y = torch.arange(150) % 5
    asked, own = sample(Heard(), 150, y=y), sample(Heard(), 150)
    assert torch.equal(asked[:, 1], y.float())
    assert torch.equal(own[:, 1], sampling.classes_of(Heard(), 0, 150).float())
    assert torch.equal(asked[:, 0], own[:, 0])
    assert torch.equal(sample(Heard(), 20, first=130), own[130:])


@pytest.mark.parametrize(("name", "arch"), [("gan", "dcgan"), ("realnvp", "mlp")])
def test_a_deterministic_decoder_draws_its_latent_alone_and_is_its_own_sample(name, arch):
    alone = {"candidates": 1} if name == "gan" else {}
    model = build(replace(tiny_config(name, arch), **alone), SHAPE).eval()
    assert list(model.noise_shapes) == [Noise("normal", model.latent_shape)]
    options = Tempered(temperature=0.5)
    assert torch.equal(sample(model, 3), decode(model, sampling.latents(model, 0, 3)))
    assert torch.equal(sample(model, 3, options=options), decode(model, sampling.latents(model, 0, 3, options)))
    assert torch.equal(sampling.latents(model, 0, 3, options), 0.5 * sampling.latents(model, 0, 3))
