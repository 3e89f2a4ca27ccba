"""The VAE's mathematics, against torch.distributions, quadrature and the data."""

from __future__ import annotations

from math import log, sqrt

import pytest
import torch
from conftest import bars
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from genctl import data
from genctl.data import Images
from genctl.evaluation.bounds import bound
from genctl.models.base import Batch, build
from genctl.models.vae import likelihoods
from genctl.models.vae.config import VAEConfig
from genctl.models.vae.importance import kl_to_standard_normal, log_normal
from genctl.models.vae.likelihoods import log_bernoulli
from genctl.models.vae.model import VAE
from genctl.seeds import generator
from genctl.training.loop import Training, fit


def draw(*shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=generator("vae", *shape), dtype=torch.float64)


def diagonal(mu: Tensor, logvar: Tensor) -> Independent:
    return Independent(Normal(mu, torch.exp(0.5 * logvar)), 1)


ELBO = VAEConfig.estimators[0]


# Closed forms


def test_kl_agrees_with_torch_distributions():
    mu, logvar = draw(50, 7, scale=2), draw(50, 7).clone()
    truth = kl_divergence(diagonal(mu, logvar), diagonal(torch.zeros_like(mu), torch.zeros_like(mu)))
    torch.testing.assert_close(kl_to_standard_normal(mu, logvar), truth)


@pytest.mark.parametrize(("mu", "variance", "kl"), [(0.0, 1.0, 0.0), (0.1, 1.0, 0.005), (100.0, 100.0, 5047.197)])
def test_kl_of_known_values(mu, variance, kl):
    found = kl_to_standard_normal(torch.full((1, 1), mu).double(), torch.full((1, 1), log(variance)).double())
    assert found.item() == pytest.approx(kl, abs=5e-4 if kl > 1 else 1e-9)


def test_log_normal_agrees_with_torch_distributions():
    z, mu, logvar = draw(4, 50, 7, scale=3), draw(50, 7), draw(50, 7, scale=2)
    torch.testing.assert_close(log_normal(z, mu, logvar), diagonal(mu, logvar).log_prob(z))
    standard = diagonal(torch.zeros(7).double(), torch.zeros(7).double())
    torch.testing.assert_close(log_normal(z), standard.log_prob(z))


def test_log_bernoulli_agrees_with_torch_distributions():
    logits, x = draw(4, 50, 1, 3, 5, scale=5), (draw(50, 1, 3, 5) > 0).double()
    truth = Independent(Bernoulli(logits=logits, validate_args=False), 3).log_prob(x)
    torch.testing.assert_close(log_bernoulli(x, logits), truth)


# The bound


def one_dimensional() -> VAE:
    """Return a VAE with a 1-d latent in float64 whose decoder and posterior do depend on their inputs."""
    torch.manual_seed(1)
    model = build(VAEConfig(latent_dim=1, hidden=8), (1, 2, 3)).double()
    with torch.no_grad():
        for p in model.decoder.parameters():
            p.mul_(3)
        model.encoder[-1].bias.add_(torch.tensor([0.2, 1.0]))  # a posterior that is not nearly the prior
    return model


def binary(x: Tensor) -> Tensor:
    """Return pixels of 0 and 255 as numbers 0 and 1."""
    return x.double() / 255


def some_images() -> Tensor:
    """Return binary images [16, 1, 2, 3]."""
    return torch.randint(0, 2, (16, 1, 2, 3), generator=generator("images")).to(torch.uint8) * 255


@torch.no_grad()
def log_evidence(model: VAE, x: Tensor) -> Tensor:
    """Return log p(x) = log of the integral of p(x|z) N(z; 0, 1) by the trapezoidal rule, [N]."""
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)[:, None]
    p_x = Independent(Bernoulli(logits=model.decoder(z)[:, None], validate_args=False), 3).log_prob(binary(x))
    integrand = p_x + Normal(0.0, 1.0).log_prob(z)  # [grid, N]
    return integrand.logsumexp(0) + torch.log(z[1] - z[0])


def test_quadrature_is_over_a_latent_that_matters():
    model, x = one_dimensional(), some_images()
    weights = model.log_weights(x, 1000, generator("matters"), "prior")
    assert weights.std(0).mean() > 0.5


def test_evidence_of_all_images_sums_to_one():
    every = (torch.arange(64)[:, None] >> torch.arange(6) & 1).to(torch.uint8).reshape(64, 1, 2, 3) * 255
    assert log_evidence(one_dimensional(), every).exp().sum().item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("estimator", [e.name for e in VAEConfig.estimators])
def test_the_bound_of_many_draws_is_the_evidence(estimator):
    model, x, K = one_dimensional(), some_images(), 20_000
    with torch.no_grad():
        log_w = model.log_weights(x, K, generator("evidence"), estimator)
    error = (log_w - log_w.mean(0)).exp().std(0) / (log_w - log_w.mean(0)).exp().mean(0) / sqrt(K)
    assert error.max() < 0.03, "too uncertain to tell"
    truth = log_evidence(model, x)
    assert ((log_w.logsumexp(0) - log(K) - truth).abs() < 5 * error).all()


def test_the_elbo_is_the_evidence_less_the_kl_to_the_true_posterior():
    model, x = one_dimensional(), some_images()
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        mu, logvar = model.encoder(binary(x)).chunk(2, dim=1)
        log_q = Normal(mu[:, 0], torch.exp(0.5 * logvar[:, 0])).log_prob(z)  # [grid, N]
        log_joint = log_bernoulli(binary(x), model.decoder(z)[:, None]) + Normal(0.0, 1.0).log_prob(z)
    gap = (log_q.exp() * (log_q - log_joint)).sum(0) * (z[1] - z[0]) + log_evidence(model, x)  # KL(q || p(z|x))
    assert (gap > 0).all()
    elbo = -bound(model, x, 20_000, ELBO).mean
    with torch.no_grad():
        error = model.log_weights(x, 1000, generator("spread"), "elbo").std(0) / sqrt(20_000)
    assert ((elbo - (log_evidence(model, x) - gap)).abs() < 5 * error).all()


def test_the_loss_is_the_negative_elbo_in_nats_per_image():
    model, x = one_dimensional().float(), some_images()
    torch.manual_seed(0)
    batch = Batch(x.repeat(2000, 1, 1, 1), None, 0, 0.0)
    (loss,) = model.losses(batch)
    assert loss.terms["negative_elbo"].item() == pytest.approx(bound(model, x, 5000, ELBO).mean.mean().item(), abs=0.05)
    parts = loss.terms["reconstruction"] + loss.terms["kl"]
    assert loss.minimise.item() == pytest.approx(parts.item(), rel=1e-6)
    mu, logvar = model.encoder(binary(x).float()).chunk(2, dim=1)
    assert loss.terms["kl"].item() == pytest.approx(kl_to_standard_normal(mu, logvar).mean().item(), rel=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_random_weights_cost_about_543_nats_on_mnist(seed):
    torch.manual_seed(seed)
    model = build(VAEConfig(), (1, 28, 28))
    images = data.load("mnist", train_size=200).train
    with torch.no_grad():
        (loss,) = model.losses(Batch(images.pixels, None, 0, 0.0))
    D_ln_2 = 543.4  # the cost of undecided pixels; logits that are not quite zero and the KL add a little
    assert D_ln_2 < loss.minimise.item() < D_ln_2 + 10
    assert loss.terms["kl"] < 5


# Binarization


def seen_by_encoder(model: VAE, x: Tensor) -> Tensor:
    """Return what the encoder gets of a batch in training."""
    seen: list[Tensor] = []
    hook = model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    list(model.losses(Batch(x, None, 0, 0.0)))
    hook.remove()
    return seen[0]


def test_a_dynamic_draw_is_binary_with_the_grey_value_as_its_mean():
    torch.manual_seed(0)
    grey = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    n = 4000
    drawn = seen_by_encoder(build(VAEConfig(latent_dim=1, hidden=2), (1, 16, 16)), grey.expand(n, 1, 16, 16))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    mean, p = drawn.mean(0).flatten(), torch.arange(256) / 255
    assert mean[0] == 0 and mean[255] == 1
    assert ((mean - p).abs() <= 5 * (p * (1 - p) / n).sqrt()).all()


def test_over_all_draws_a_grey_value_is_white_as_often_as_it_says(monkeypatch):
    draws = torch.arange(-(2**15), 2**15).to(torch.int16).reshape(256, 1, 16, 16)
    monkeypatch.setattr(likelihoods, "random_16_bits", lambda shape, device: draws)
    for v in range(256):
        white = likelihoods.Bernoulli(VAEConfig()).visit(torch.full(draws.shape, v, dtype=torch.uint8)).sum()
        assert white == round(2**16 * v / 255)


def visits(binarize: str) -> list[Tensor]:
    """Return what the encoder sees of the same image, one a batch, in six steps."""
    x = bars(1)[0].to(torch.uint8)[:, None]
    images = Images(x, None, torch.tensor([3]), "test/train")
    config = VAEConfig(latent_dim=1, hidden=2, binarize=binarize)
    training = Training(build(config, (1, 8, 8)), config.train_config(batch_size=1))
    seen: list[Tensor] = []
    training.model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    for _ in fit(training, training.model.training_images(images), None, 6, 6):
        pass
    assert torch.equal(seen[0].unique(), torch.tensor([0.0, 1.0]))
    return seen


def test_a_dynamic_draw_is_new_at_each_visit():
    first, *others = visits("dynamic")
    assert all(not torch.equal(first, other) for other in others)


def test_a_static_draw_is_the_one_of_evaluation_at_each_visit():
    images = Images(bars(1)[0].to(torch.uint8)[:, None], None, torch.tensor([3]), "test/train")
    for seen in visits("static"):
        assert torch.equal(255 * seen, images.binarized().float())


def test_a_threshold_cuts_at_one_half_at_each_visit():
    for seen in visits("threshold"):
        assert torch.equal(seen[0, 0], (bars(1)[0][0] >= 128).float())


def test_a_sample_is_a_bernoulli_draw_of_the_mean():
    theta = torch.logit(torch.tensor([0.0, 0.3])).expand(5000, 1, 1, 2)
    drawn = likelihoods.Bernoulli(VAEConfig()).draw(theta, torch.rand(theta.shape, generator=generator("draw")))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn[..., 0].sum() == 0
    assert drawn[..., 1].mean().item() == pytest.approx(0.3, abs=5 * sqrt(0.21 / 5000))
