"""The VAE's other likelihoods, objectives and forms, against sums over all levels, autograd and quadrature."""

from __future__ import annotations

from itertools import pairwise
from math import log, sqrt

import pytest
import torch
from conftest import TINY, bars
from torch import Tensor
from torch.distributions import Normal

from genctl.config import LEVELS
from genctl.data import Images
from genctl.errors import UsageError
from genctl.evaluation import bounds as likelihood
from genctl.evaluation.bounds import bound
from genctl.generation import sampling
from genctl.models import base
from genctl.models.base import Batch, Loss
from genctl.models.vae import ladder
from genctl.models.vae.config import VAEConfig, VAESampling
from genctl.models.vae.importance import kl_to_standard_normal, log_normal, systematic
from genctl.models.vae.ladder import TopDown
from genctl.models.vae.likelihoods import Bernoulli, Logistics, likelihood_of, log_bernoulli
from genctl.models.vae.model import VAE
from genctl.seeds import generator
from genctl.training.loop import Training, fit

ELBO, IWAE, PRIOR = VAEConfig.estimators
MEANS = VAESampling(means=True)
ARCHS = [arch for name, arch in TINY if name == "vae"]
LIKELIHOODS = ["bernoulli", "discretized-logistic", "mixture"]
every_arch = pytest.mark.parametrize("arch", ARCHS)
every_likelihood = pytest.mark.parametrize("kind", LIKELIHOODS)
levels_only = pytest.mark.parametrize("kind", LIKELIHOODS[1:])


def build(arch: str = "mlp", scale: float = 0.1, **options: object) -> VAE:
    """Return a small model whose weights are moved away from their start."""
    torch.manual_seed(2)
    model = base.build(VAEConfig(arch=arch, **{**TINY["vae", arch], **options}), (1, 8, 8))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(scale * torch.randn_like(p))
    return model


def grey(n: int = 16) -> Tensor:
    return bars(n)[0].to(torch.uint8)[:, None]


def binary(n: int = 16) -> Tensor:
    return (grey(n) > 127).to(torch.uint8) * 255


def observed(model: VAE, n: int = 16) -> Tensor:
    return grey(n) if model.config.pixels == LEVELS else binary(n)


def one_loss(model: VAE, x: Tensor, progress: float = 1.0, seed: int = 0) -> Loss:
    torch.manual_seed(seed)
    (loss,) = model.losses(Batch(x, None, torch.tensor(0), torch.tensor(progress)))
    return loss


# 256 levels


def logistics(kind: str) -> Logistics:
    found = likelihood_of(VAEConfig(likelihood=kind, components=3 if kind == "mixture" else 5))
    assert isinstance(found, Logistics)
    return found


def some_theta(p_x: Logistics, scale: float, n: int = 40) -> Tensor:
    """Return theta [n, P, 1, 1] in float64."""
    return scale * torch.randn(n, p_x.P, 1, 1, generator=generator("theta"), dtype=torch.float64)


def all_levels(n: int) -> Tensor:
    """Return each level as an image, for every theta: [256, n, 1, 1, 1] over [0, 1]."""
    return (torch.arange(256, dtype=torch.float64) / 255).reshape(256, 1, 1, 1, 1).expand(256, n, 1, 1, 1)


@levels_only
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0, 30.0])
def test_the_256_levels_have_probabilities_that_sum_to_one(kind, scale):
    p_x = logistics(kind)
    theta = some_theta(p_x, scale)
    total = p_x.log_prob(all_levels(len(theta)), theta).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros_like(total), atol=1e-9, rtol=0)


@levels_only
def test_a_level_s_probability_is_the_difference_of_two_sigmoids(kind):
    p_x = logistics(kind)
    theta = some_theta(p_x, 0.5)
    weight, mean, log_scale = theta.reshape(len(theta), 3, p_x.M).unbind(1)
    mu, s = 127.5 + 127.5 * mean, 127.5 * log_scale.exp()
    for x in (1, 100, 254):
        bins = torch.sigmoid((x + 0.5 - mu) / s) - torch.sigmoid((x - 0.5 - mu) / s)
        truth = (weight.softmax(-1) * bins).sum(-1).log()
        one = torch.full((len(theta), 1, 1, 1), x / 255, dtype=torch.float64)
        torch.testing.assert_close(p_x.log_prob(one, theta), truth)


@levels_only
@pytest.mark.parametrize("mean", [-1e4, -30.0, 0.0, 30.0, 1e4])
@pytest.mark.parametrize("log_scale", [-50.0, -7.0, 0.0, 7.0, 50.0])
def test_the_extreme_tails_are_finite_with_their_gradients(kind, mean, log_scale):
    p_x = logistics(kind)
    parts = torch.tensor([0.0, mean, log_scale]).repeat_interleave(p_x.M)
    theta = parts.reshape(1, -1, 1, 1).clone().requires_grad_()
    for x in (0.0, 1 / 255, 0.5, 254 / 255, 1.0):
        value = p_x.log_prob(torch.full((1, 1, 1, 1), x), theta).sum()
        (gradient,) = torch.autograd.grad(value, theta)
        assert value.isfinite() and value <= 1e-6
        assert gradient.isfinite().all()


@levels_only
def test_the_mean_and_the_draws_are_those_of_the_256_levels(kind):
    p_x = logistics(kind)
    theta = some_theta(p_x, 0.7, n=8)
    p = p_x.log_prob(all_levels(8), theta).exp()  # [256, 8]
    truth = (p * torch.arange(256, dtype=torch.float64)[:, None]).sum(0) / 255
    torch.testing.assert_close(p_x.mean(theta).flatten(), truth)
    middles = (p.cumsum(0) - p / 2)[:, :, None, None, None]  # u in the middle of each level's interval
    wide = (p > 1e-9)[:, :, None, None, None]
    drawn = p_x.draw(theta.expand(256, *theta.shape), middles)
    assert torch.equal(drawn[wide], all_levels(8)[wide])
    ends = torch.tensor([0.0, 1 - 2**-24], dtype=torch.float64).reshape(2, 1, 1, 1, 1).expand(2, 8, 1, 1, 1)
    found = p_x.draw(theta.expand(2, *theta.shape), ends)
    assert 0 <= found.min() <= found.max() <= 1


# All forms


@every_arch
@every_likelihood
def test_every_form_trains_and_draws_with_every_likelihood(arch, kind):
    config = VAEConfig(arch=arch, likelihood=kind, kl_warmup=0.5, **TINY["vae", arch])
    torch.manual_seed(0)
    training = Training(base.build(config, (3, 8, 12)), config.train_config(batch_size=8))
    x = torch.randint(0, 256, (16, 3, 8, 12), generator=generator("forms"), dtype=torch.uint8)
    for step in fit(training, x, None, 3, 3):
        assert all(value.isfinite() for value in step.terms.values())
    model = training.best.eval()
    for images in (sampling.sample(model, 3), sampling.sample(model, 3, options=MEANS)):
        assert images.shape == (3, 3, 8, 12) and 0 <= images.min() <= images.max() <= 1
    drawn = sampling.sample(model, 3)
    levels = 255 * drawn if kind != "bernoulli" else drawn
    torch.testing.assert_close(levels, levels.round())


@every_arch
@every_likelihood
def test_draws_of_the_posterior_and_of_the_prior_estimate_the_same_evidence(arch, kind):
    model, K = build(arch, likelihood=kind, scale=0.02).double(), 3000
    x = observed(model, 3)
    with torch.no_grad():
        log_w = [model.log_weights(x, K, generator("both"), way) for way in ("iwae", "prior")]
    means = [w.logsumexp(0) - log(K) for w in log_w]
    errors = [(w - w.max(0).values).exp().std(0) / (w - w.max(0).values).exp().mean(0) / sqrt(K) for w in log_w]
    assert max(e.max() for e in errors) < 0.2, "too uncertain to tell"
    assert ((means[0] - means[1]).abs() < 5 * (errors[0] ** 2 + errors[1] ** 2).sqrt() + 1e-6).all()


@every_arch
def test_the_loss_and_the_bound_of_evaluation_agree(arch):
    model, x = build(arch), binary(8)
    losses = [one_loss(model, x, seed=seed).terms["negative_elbo"].item() for seed in range(200)]
    mean, error = torch.tensor(losses).mean(), torch.tensor(losses).std() / sqrt(200)
    assert abs(bound(model, x, 500, ELBO).mean.mean() - mean) < 5 * error + 0.02


@every_arch
@every_likelihood
def test_the_bound_of_an_image_does_not_depend_on_the_pieces(arch, kind, monkeypatch):
    model = build(arch, likelihood=kind)
    x = observed(model, 6)
    whole = bound(model, x, 50, IWAE)
    told: list[int] = []
    per_image = [bound(model, x[i : i + 1], 16, PRIOR).tight for i in range(6)]
    torch.testing.assert_close(bound(model, x, 16, PRIOR, advance=told.append).tight, torch.cat(per_image))
    assert sum(told) == 6
    for draws in (16, 40):  # decoded together
        monkeypatch.setattr(likelihood, "MOST_AT_ONCE", draws * likelihood.BLOCK * 64)
        pieces = bound(model, x, 50, IWAE)
        torch.testing.assert_close(pieces.tight, whole.tight, atol=1e-3, rtol=1e-5)
        torch.testing.assert_close(pieces.mean, whole.mean, atol=1e-3, rtol=1e-5)


@every_arch
def test_block_means_over_one_set_of_draws_only_fall_with_the_block_size(arch):
    model, x = build(arch), binary(4)
    with torch.no_grad():
        log_w = model.log_weights(x, 64, generator("blocks"), "iwae")
    bounds = [(log_w.unflatten(0, (-1, K)).logsumexp(1) - log(K)).mean() for K in (1, 2, 4, 8, 16, 32, 64)]
    assert all(loose < tight for loose, tight in pairwise(bounds))


def test_a_1_d_latent_agrees_with_gauss_hermite_quadrature():
    import numpy

    model, x = build(latent_dim=1, hidden=4).double(), binary(6)
    nodes, weights = numpy.polynomial.hermite_e.hermegauss(120)  # for the weight exp(-z^2 / 2)
    z, w = torch.tensor(nodes)[:, None], torch.tensor(weights) / sqrt(2 * torch.pi)
    with torch.no_grad():
        log_p = log_bernoulli(x.double() / 255, model.decoder(z)[:, None].expand(-1, len(x), -1, -1, -1))
    truth = -(log_p + w.log()[:, None]).logsumexp(0)
    K = 20_000
    for estimator in (IWAE, PRIOR):
        found = bound(model, x, K, estimator).tight
        with torch.no_grad():
            log_w = model.log_weights(x, 5000, generator("spread"), estimator.name)
        relative = (log_w - log_w.max(0).values).exp()
        error = relative.std(0) / relative.mean(0) / sqrt(K)
        assert error.max() < 0.05
        assert ((found - truth).abs() < 5 * error).all()


# Objectives


def test_the_iwae_loss_is_the_negative_log_mean_exp_of_the_weights():
    model, x = build(objective="iwae", particles=7), binary()
    loss = one_loss(model, x)
    torch.manual_seed(0)
    seen = model.p_x.visit(x)
    found = model.infer(seen, torch.randn(7, len(x), 2))
    log_w = model.p_x.log_prob(seen, found.theta) + log_normal(found.z) - log_normal(found.z, found.mu, found.logvar)
    truth = -log_w.exp().mean(0).log().mean()
    torch.testing.assert_close(loss.terms["negative_iwae"], truth)
    of_loss, of_truth = (torch.autograd.grad(each, list(model.parameters())) for each in (loss.minimise, truth))
    torch.testing.assert_close(of_loss, of_truth)
    torch.testing.assert_close(loss.terms["negative_elbo"], -log_w.mean())
    assert loss.terms["negative_iwae"] < loss.terms["negative_elbo"]
    assert (model.negative_bound, model.validation_draws) == ("negative_iwae", 7)


@every_arch
def test_a_dark_border_does_not_darken_the_start(arch):
    x = torch.zeros(64, 1, 8, 8, dtype=torch.uint8)
    x[:, :, 2:6, 2:6] = 200
    model = build(arch, start_at_mean=True, scale=0)
    model.initialize(x)
    assert sampling.sample(model, 20, options=MEANS).mean().item() == pytest.approx(200 / 255 / 4, abs=0.05)


def test_resampling_takes_each_draw_as_often_as_its_weight_says():
    torch.manual_seed(1)
    v = torch.randn(9, 4000).mul(2).softmax(0)
    kept = systematic(v, 3)
    assert kept.shape == (3, 4000)
    counts = torch.nn.functional.one_hot(kept, 9).sum(0).T  # [K, N]
    assert ((counts - 3 * v).abs() < 1).all()
    none = torch.tensor([[0.0], [1.0], [0.0]]).expand(-1, 50_000)
    assert (systematic(none, 7) == 1).all()  # no draw without weight
    same = torch.nn.functional.one_hot(systematic(v[:, :1].expand(-1, 50_000), 3), 9).sum(0).double().mean(0)
    torch.testing.assert_close(same, 3 * v[:, 0].double(), atol=0.01, rtol=0)


def gradients(draws: int = 4000, progress: float = 1.0, **options: object) -> Tensor:
    """Return 20 estimates of the gradient for one image, each the mean of many, [20, parameters]."""
    model = build(objective="iwae", **options)
    x, found = binary()[3:4].expand(draws, -1, -1, -1), []
    for seed in range(20):
        loss = one_loss(model, x, progress, seed).minimise
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]))
    return torch.stack(found).double()


@pytest.mark.parametrize("progress", [0.3, 1.0])
@pytest.mark.parametrize(
    "options", [{"gradient": "doubly"}, {"resample": 2}, {"gradient": "doubly", "resample": 2}], ids=str
)
def test_the_cheaper_and_quieter_gradients_are_the_plain_one_in_the_mean(options, progress):
    shared = {"scale": 0.5, "particles": 5, "kl_warmup": 0.6, "progress": progress}
    gap = gradients(**shared) - gradients(**shared, **options)  # of the same draws
    error = gap.std(0) / sqrt(20)
    differs = error > 1e-6 * error.max()  # doubly: the encoder's alone
    away = gap.mean(0)[differs].abs() / error[differs]
    assert 0.3 < away.median() < 1.2  # the median size of a normal variable is 0.67
    assert away.max() < 8
    assert gap[:, ~differs].abs().max() < 1e-4


def test_the_doubly_reparameterized_gradient_of_the_encoder_has_less_noise():
    plain, doubly = (gradients(draws=100, particles=64, gradient=each) for each in ("plain", "doubly"))
    first = slice(0, 64 * 4)  # the encoder's first weights
    assert doubly[:, first].var(0).sum() < 0.05 * plain[:, first].var(0).sum()


def test_an_image_is_encoded_once_whatever_the_particles():
    model, seen = build(objective="iwae", particles=5), []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    one_loss(model, binary())
    assert seen == [16]


@pytest.mark.parametrize("shape", [(5, 3), (3,)])
def test_the_gradient_of_log_bernoulli_is_that_of_autograd(shape):
    logits = (20 * torch.randn(*shape, 1, 2, 4, generator=generator("logits"), dtype=torch.float64)).requires_grad_()
    x = (torch.rand(3, 1, 2, 4, generator=generator("x")) < 0.5).double()
    assert torch.autograd.gradcheck(lambda own: log_bernoulli(x, own), logits)


def test_free_bits_have_no_gradient_where_a_dimension_uses_fewer():
    free, plain, x = build(free_bits=1000.0), build(), binary()
    losses = [one_loss(model, x) for model in (free, plain)]
    assert losses[0].terms["negative_elbo"] == losses[1].terms["negative_elbo"]
    assert losses[0].minimise.item() == pytest.approx(losses[1].terms["reconstruction"].item() + 2 * 1000)
    (of_kl,) = torch.autograd.grad(losses[0].minimise - losses[0].terms["reconstruction"], free.encoder[1].weight)
    assert of_kl.abs().max() < 1e-3


def test_free_bits_that_all_dimensions_use_change_nothing():
    losses = [one_loss(build(free_bits=bits), binary()).minimise.item() for bits in (0.0, 1e-9)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_free_bits_of_a_ladder_are_those_of_a_level():
    model = build("ladder", free_bits=1000.0)
    assert isinstance(model.decoder, TopDown)
    loss = one_loss(model, binary())
    assert loss.minimise.item() == pytest.approx(loss.terms["reconstruction"].item() + 2 * 1000)


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 0.0), (0.1, 0.25), (0.4, 1.0), (1.0, 1.0)])
def test_the_kl_comes_in_over_its_share_of_the_run(progress, weight):
    loss = one_loss(build(kl_warmup=0.4), binary(), progress)
    terms = loss.terms
    assert loss.minimise.item() == pytest.approx((terms["reconstruction"] + weight * terms["kl"]).item(), rel=1e-6)
    assert terms["negative_elbo"].item() == pytest.approx((terms["reconstruction"] + terms["kl"]).item(), rel=1e-6)
    iwae = [build(kl_warmup=share, objective="iwae", particles=3) for share in (0.4, 0.0)]
    warm, plain = (torch.autograd.grad(one_loss(m, binary(), progress).minimise, m.encoder[1].weight)[0] for m in iwae)
    assert torch.allclose(warm, plain, rtol=1e-5) == (weight == 1)


@every_arch
@every_likelihood
def test_the_output_starts_at_the_mean_of_the_data(arch, kind):
    x = torch.full((64, 1, 8, 8), 60, dtype=torch.uint8)
    x[::2] = 100
    models = [build(arch, likelihood=kind, start_at_mean=start, scale=0) for start in (False, True)]
    means = []
    for model in models:
        model.initialize(x)
        means.append(sampling.sample(model, 20, options=MEANS).mean().item())
    assert abs(means[1] - 80 / 255) < 0.08
    assert means[0] != means[1]


def test_active_units_are_those_whose_mean_varies():
    model = build(latent_dim=3)
    with torch.no_grad():
        model.encoder[-1].weight[1] = 0  # the mean of the second dimension
    train = Images(grey(40), None, torch.arange(40), "test/train")
    assert model.diagnose(base.Epoch({}, train, binary(40), pytest.fail)) == base.Diagnosis({"active_units": 2})


def test_a_posterior_that_has_collapsed_is_a_warning():
    model = build(latent_dim=3)
    with torch.no_grad():
        model.encoder[-1].weight.zero_()
    train = Images(grey(40), None, torch.arange(40), "test/train")
    found = model.diagnose(base.Epoch({}, train, binary(40), pytest.fail))
    assert found.metrics == {"active_units": 0}
    assert [sentence.split(";")[0] for sentence in found.warnings] == [
        "none of the 3 latent dimensions is in use: the posterior has collapsed, or the training has just begun"
    ]


# The ladder


def test_a_ladder_s_noise_is_its_latent():
    """Drawn from q, its z has the density that the prior and q state for it: checked by the change of variables."""
    model, x = build("ladder").double(), (binary(3) / 255).double()
    assert isinstance(model.decoder, TopDown)
    noise = torch.randn(1, 3, *model.latent_shape, generator=generator("ladder"), dtype=torch.float64)
    found = model.infer(x, noise)
    torch.testing.assert_close(found.theta[0], model.decoder(found.z[0]))
    truth = torch.zeros(3, dtype=torch.float64)
    h = model.decoder.start.expand(3, *model.decoder.start.shape)
    for level, d, e in zip(
        model.decoder.levels, model.encoder(x), found.z[0].split(model.decoder.dims, 1), strict=True
    ):
        mu, logvar = level.prior(h).flatten(1).chunk(2, 1)
        mu_q, logvar_q = level.infer(h, d)
        scale = torch.exp(0.5 * logvar)
        z = mu + scale * e
        p, q = Normal(mu, scale), Normal(mu + scale * mu_q, scale * torch.exp(0.5 * logvar_q))
        truth = truth + (p.log_prob(z) - q.log_prob(z)).sum(1)
        h = level(h, e)
    torch.testing.assert_close(found.log_ratio()[0], truth)


def test_a_level_that_asks_for_an_endless_width_is_held():
    model = build("ladder")
    assert isinstance(model.decoder, TopDown)
    noise, last = torch.ones(2, *model.latent_shape), model.decoder.levels[0].prior[-1]
    images = []
    for logvar in (ladder.WIDEST, 1e4):
        with torch.no_grad():
            last.bias[len(last.bias) // 2 :] = logvar
        images.append(model.decode(noise))
    assert torch.isfinite(images[1]).all()
    torch.testing.assert_close(images[0], images[1], atol=0.05, rtol=0)  # beside the width the head's own small part


def test_a_ladder_s_reconstruction_is_of_the_means_of_all_levels():
    model, x = build("ladder"), binary(3)
    assert isinstance(model.decoder, TopDown)
    z = model.encode(x)
    found = model.infer(x / 255, torch.zeros(1, *z.shape))
    torch.testing.assert_close(z, found.z[0])
    torch.testing.assert_close(model.decode(z), torch.sigmoid(found.theta[0]))


def test_levels_as_many_as_asked_for():
    config = VAEConfig(arch="ladder", levels=4, channels=2, latent_channels=3)
    model = base.build(config, (1, 8, 8))
    assert isinstance(model.decoder, TopDown)
    assert model.decoder.dims == [3 * 4, 3 * 4, 3 * 4, 3 * 16]
    assert config.depth == 2


# What may be chosen


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"likelihood": "mixture", "binarize": "static"}, "--binarize belongs to --likelihood bernoulli"),
        ({"components": 3}, "--components belongs to --likelihood mixture"),
        ({"objective": "iwae", "free_bits": 0.5}, "--free-bits belongs to --objective elbo"),
        ({"gradient": "doubly"}, "--gradient belongs to --objective iwae"),
        (
            {"objective": "iwae", "gradient": "doubly", "arch": "ladder"},
            "--gradient belongs to --arch mlp or conv, not to --arch ladder",
        ),
        ({"objective": "iwae", "particles": 4, "resample": 5}, "--resample must be at most --particles; not 5 of 4"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        VAEConfig(**options)


def test_two_hidden_layers_of_tanh():
    model = base.build(VAEConfig(layers=2, hidden=200, latent_dim=50, activation="tanh"), (1, 28, 28))
    kinds = [type(layer).__name__ for layer in model.encoder]
    assert kinds == ["Flatten", "Linear", "Tanh", "Linear", "Tanh", "Linear"]
    assert isinstance(model.p_x, Bernoulli)


def test_the_kl_of_draws_sums_the_last_dimension():
    mu = torch.randn(2, 3, 4, generator=generator("kl"))
    assert kl_to_standard_normal(mu, mu).shape == (2, 3)
