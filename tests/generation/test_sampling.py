"""Drawing images: each from noise of its own, in blocks of one size."""

from __future__ import annotations

import pytest
import torch
from conftest import bars, tiny_config
from torch import Tensor

from genctl.generation import sampling
from genctl.generation.sampling import BLOCK, decode, encode, noise, sample

SHAPE = (1, 8, 8)


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return tiny_config("vae", "mlp").build(SHAPE).eval()


# Noise


def test_noise_depends_on_seed_and_index_alone(vae):
    z, u = noise(vae, 7, 10)
    assert z.shape == (10, 2) and u.shape == (10, *SHAPE)
    torch.manual_seed(99)
    later_z, later_u = noise(vae, 7, 3, first=5)
    assert torch.equal(later_z, z[5:8]) and torch.equal(later_u, u[5:8])
    other_z, other_u = noise(vae, 8, 10)
    assert not (z == other_z).any()
    assert (u == other_u).float().mean() < 0.01
    assert len(z.unique()) == z.numel()


def test_drawing_noise_leaves_the_default_generator_alone(vae):
    before = torch.get_rng_state()
    sample(vae, 5)
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_is_normal_and_uniform(vae):
    z, u = noise(vae, 0, 2000)
    assert z.mean().abs() < 0.08 and abs(z.var() - 1) < 0.12
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.002
    assert torch.corrcoef(torch.stack([z[:, 0], u[:, 0, 0, 0]]))[0, 1].abs() < 0.12


# Blocks


def sizes_seen(vae, monkeypatch, method: str) -> list[int]:
    """Return a list that will hold the batch size of each call of the method."""
    sizes: list[int] = []
    function = getattr(vae, method)

    def watched(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return function(x)

    monkeypatch.setattr(vae, method, watched)
    return sizes


@pytest.mark.parametrize(("n", "blocks"), [(1, 1), (BLOCK, 1), (BLOCK + 1, 2), (2 * BLOCK + 3, 3)])
def test_all_blocks_have_one_size(vae, monkeypatch, n, blocks):
    z, x = noise(vae, 0, n)[0], torch.zeros(n, *SHAPE, dtype=torch.uint8)
    for function, argument, method in ((decode, z, "decode"), (encode, x, "encode")):
        sizes = sizes_seen(vae, monkeypatch, method)
        assert len(function(vae, argument)) == n
        assert sizes == [BLOCK] * blocks


def test_blocks_give_what_the_model_gives(vae):
    z, x = noise(vae, 0, 100)[0], bars(100)[0].to(torch.uint8)[:, None]
    with torch.no_grad():
        torch.testing.assert_close(decode(vae, z), vae.decode(z))
        torch.testing.assert_close(encode(vae, x), vae.encode(x))
    assert not decode(vae, z).requires_grad and not encode(vae, x).requires_grad


# Samples


def test_a_sample_is_a_draw_around_the_mean(vae):
    z, u = noise(vae, 3, 20)
    means = sample(vae, 20, seed=3, means=True)
    assert torch.equal(means, decode(vae, z))
    assert torch.equal(sample(vae, 20, seed=3), (u < means).float())
    assert len(means.unique()) > 100


def test_temperature_scales_the_latent(vae):
    z, _ = noise(vae, 0, 6)
    assert torch.equal(sample(vae, 6, temperature=0.5, means=True), decode(vae, 0.5 * z))
    cold = sample(vae, 6, temperature=0.0, means=True)
    assert torch.equal(cold, cold[:1].expand_as(cold))


def test_the_seed_is_0_by_default(vae):
    assert torch.equal(sample(vae, 4), sample(vae, 4, seed=0))
    assert not torch.equal(sample(vae, 4), sample(vae, 4, seed=1))


def test_a_deterministic_decoder_is_its_own_sample():
    model = tiny_config("gan", "dcgan").build(SHAPE).eval()
    assert torch.equal(sampling.sample(model, 3), sampling.sample(model, 3, means=True))
