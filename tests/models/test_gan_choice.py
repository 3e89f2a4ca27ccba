"""What a GAN's samples are: one of several candidates, by D's odds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import tiny_config
from torch import Tensor, nn

from genctl.errors import UsageError
from genctl.generation import sampling
from genctl.models.base import build
from genctl.models.gan.config import GANConfig, GANSampling
from genctl.models.gan.model import GAN
from genctl.testing.cases import epoch_of, perturb

SHAPE = (1, 8, 8)
PLAIN, NONE = (0.0, 3e-4), (0.0, 0.0)  # weight decay of D and of G, in the plain form and elsewhere
every_arch = pytest.mark.parametrize("arch", ["mlp", "dcgan", "resnet"])


def gan(**options: object) -> GAN:
    """Return a small GAN whose weights are away from their start."""
    torch.manual_seed(0)
    config = replace(tiny_config("gan", "mlp"), **options)
    model = build(config, SHAPE).eval()
    perturb(model)
    return model  # type: ignore[return-value]


class Halves(nn.Module):
    """A generator: white for the largest quarter of z_1, black for the rest; or the class as a grey level."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        level = torch.where(z[:, 0] > 0.6744898, 1.0, -1.0) if y is None else y / 8 - 1  # a quarter is white
        return level[:, None, None, None].expand(len(z), *SHAPE)


class Odds(nn.Module):
    """A discriminator that says by what odds an image is real: 6 : 1 for white, 1 : 1 for the rest."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return torch.tensor(6.0).log() * (x[:, :1, 0, 0] > 0.99)


def known(K: int, **options: object) -> GAN:
    """Return a GAN of known odds with K candidates."""
    model = gan(candidates=K, **options)
    model.generator, model.discriminator = Halves(), Odds()
    model.register_parameter("where", nn.Parameter(torch.zeros(1)))
    return model


@pytest.mark.parametrize(("w", "white"), [(0.0, 1 / 4), (1.0, 6 / 9), (0.5, 6**0.5 / (6**0.5 + 3))])
def test_samples_have_the_density_of_g_times_ds_odds(w, white):
    x = sampling.sample(known(200), 3000, options=GANSampling(choice=w))
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert (x[:, 0, 0, 0] == 1).float().mean().item() == pytest.approx(white, abs=0.03)


def test_of_few_candidates_the_choice_is_among_those_drawn():
    """Of two, both black 9/16 of the time, both white 1/16, else 6 to 1."""
    x = sampling.sample(known(2), 4000, options=GANSampling(choice=1))
    assert (x[:, 0, 0, 0] == 1).float().mean().item() == pytest.approx(1 / 16 + 6 / 16 * 6 / 7, abs=0.03)


def test_all_candidates_are_of_the_class_that_is_asked_for():
    model = known(4, conditional=True, classes=5)
    y = torch.arange(70) % 5
    assert torch.equal(sampling.sample(model, 70, y=y)[:, 0, 0, 0], y / 16)


@every_arch
def test_without_a_choice_a_sample_is_the_latents_own_image(arch):
    torch.manual_seed(0)
    model = build(replace(tiny_config("gan", arch), candidates=4), SHAPE).eval()
    own = sampling.decode(model, sampling.latents(model, 0, 70))
    assert torch.equal(sampling.sample(model, 70, options=GANSampling(choice=0)), own)
    model.config = replace(model.config, candidates=1)
    assert torch.equal(sampling.sample(model, 70), own)


def test_a_choice_is_one_of_the_candidates_and_has_their_temperature():
    model = gan(candidates=3)
    options = GANSampling(choice=50, temperature=0.5)
    z, others, _ = sampling.noise(model.noise_shapes, 0, 64)
    images = sampling.decode(model, 0.5 * torch.cat([z[:, None], others], 1).flatten(0, 1))
    apart = (
        (images.unflatten(0, (64, 3)) - sampling.sample(model, 64, options=options)[:, None]).flatten(2).abs().amax(2)
    )
    assert (apart.amin(1) < 1e-5).all()
    assert len(apart.argmin(1).unique()) == 3


@pytest.mark.parametrize(
    ("loss", "chooses"),
    [("non-saturating", True), ("saturating", True), ("relativistic", True), ("hinge", False), ("wasserstein", False)],
)
def test_by_default_d_chooses_where_it_learns_odds(loss, chooses):
    model = gan(loss=loss, candidates=4)
    own = sampling.sample(model, 16, options=GANSampling(choice=0))
    assert torch.equal(sampling.sample(model, 16), own) != chooses
    assert not torch.equal(sampling.sample(model, 16, options=GANSampling(choice=3)), own)


@pytest.mark.parametrize(
    ("chosen", "candidates", "dropout", "decays"),
    [
        ({}, 32, 0.0, PLAIN),
        ({"latent_dim": 50, "label_noise": 0.1}, 32, 0.0, PLAIN),
        ({"candidates": 1}, 1, 0.3, NONE),
        ({"candidates": 4}, 4, 0.0, PLAIN),
        ({"candidates": 4, "dropout": 0.1}, 4, 0.1, NONE),
        ({"g_decay": 0.0, "d_decay": 0.0}, 32, 0.0, NONE),
        ({"g_decay": 1e-3, "arch": "mlp", "conditional": True}, 1, 0.3, (0.0, 1e-3)),
        ({"d_decay": 1.0, "arch": "dcgan"}, 1, 0.3, (1.0, 0.0)),
        ({"dropout": 0.3}, 1, 0.3, NONE),
        ({"dropout": 0.0}, 1, 0.0, NONE),
        ({"arch": "dcgan"}, 1, 0.3, NONE),
        ({"arch": "dcgan", "candidates": 8}, 8, 0.0, NONE),
        ({"arch": "resnet", "candidates": 8}, 8, 0.3, NONE),
        ({"conditional": True}, 1, 0.3, NONE),
        ({"conditional": True, "candidates": 8}, 8, 0.0, NONE),
        ({"loss": "hinge"}, 1, 0.3, NONE),
        ({"gradient_penalty": "r1"}, 1, 0.3, NONE),
        ({"pack": 2}, 1, 0.3, NONE),
    ],
    ids=str,
)
def test_a_new_training_of_the_plain_form_lets_d_choose(chosen, candidates, dropout, decays):
    config = GANConfig.of(**chosen)
    assert (config.candidates, config.dropout) == (candidates, dropout)
    assert (config.d_decay, config.g_decay) == decays


def test_a_file_from_before_the_choice_has_none():
    stored = GANConfig.of().to_dict()
    now = GANConfig.from_dict(stored)
    assert (now.candidates, now.d_decay, now.g_decay) == (32, *PLAIN)
    for name in ("candidates", "d_decay", "g_decay"):
        stored.pop(name)
    before = GANConfig.from_dict(stored)
    assert (before.candidates, before.d_decay, before.g_decay) == (1, *NONE)


def test_no_choice_without_candidates():
    model = gan(candidates=1)
    with pytest.raises(UsageError, match="--choice is for a GAN of --candidates"):
        sampling.sample(model, 1, options=GANSampling(choice=1))
    assert torch.equal(sampling.sample(model, 1, options=GANSampling(choice=0)), sampling.sample(model, 1))


def test_images_that_are_judged_together_are_not_chosen():
    assert len(gan(pack=2).noise_shapes) == 1
    with pytest.raises(UsageError, match="--pack shows D several images at once"):
        GANConfig.of(pack=2, candidates=16)
    assert GANConfig.of(pack=2, candidates=1).candidates == 1


def test_a_collapse_is_looked_for_in_gs_own_images():
    model = known(16)
    found = model.diagnose(epoch_of(model))
    model.config = replace(model.config, candidates=1)
    assert found == model.diagnose(epoch_of(model))
