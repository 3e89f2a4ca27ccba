"""The VAE's learned prior, against quadrature, autograd and the forms whose bits it leaves alone."""

from __future__ import annotations

from math import log, sqrt

import pytest
import torch
from conftest import bars
from torch import Tensor

from genctl.errors import UsageError
from genctl.generation import sampling
from genctl.models.base import build
from genctl.models.vae.config import VAEConfig
from genctl.models.vae.likelihoods import log_bernoulli
from genctl.models.vae.model import VAE
from genctl.seeds import generator
from genctl.testing.cases import perturb
from genctl.training.again import needed

SMALL = {"arch": "mlp", "latent_dim": 2, "hidden": 8, "prior": "flow", "prior_couplings": 3, "prior_hidden": 4}


def awake(scale: float = 0.3, shape=(1, 2, 3), **options: object) -> VAE:
    """Return a model in float64 whose prior is far from N(0, I)."""
    torch.manual_seed(1)
    model = build(VAEConfig(**{**SMALL, **options}), shape).double()
    perturb(model, scale)
    with torch.no_grad():
        model.encoder[-1].bias[-2:] += 1.5  # wider than the posterior, so that importance weights are even
    return model.eval()


def grid(side: int = 251, end: float = 15.0) -> tuple[Tensor, float]:
    """Return the places [side^2, 2] of a square, and the area of each."""
    line = torch.linspace(-end, end, side, dtype=torch.float64)
    return torch.cartesian_prod(line, line), (2 * end / (side - 1)) ** 2


def some_images() -> Tensor:
    """Return binary images [8, 1, 2, 3]."""
    return torch.randint(0, 2, (8, 1, 2, 3), generator=generator("images")).to(torch.uint8) * 255


@torch.no_grad()
@pytest.mark.parametrize("y", [None, 1])
def test_the_prior_is_a_density_and_its_draws_are_of_it(y: int | None) -> None:
    model = awake(**({} if y is None else {"conditional": True, "classes": 3}))
    prior, (z, area) = model.decoder.prior, grid()
    p = prior.log_prob(z, None if y is None else torch.full((len(z),), y)).exp()
    assert (p.sum() * area).item() == pytest.approx(1, abs=1e-4)
    e = torch.randn(40_000, 2, generator=generator("e"), dtype=torch.float64)
    drawn = prior(e, None if y is None else torch.full((len(e),), y))
    mean, square = (p @ z * area), (p @ z.square() * area)
    assert (mean.abs() + (square - mean**2 - 1).abs()).max() > 0.1, "too near N(0, I) to tell"
    for moment, of in ((mean, drawn), (square, drawn.square())):
        assert ((of.mean(0) - moment).abs() < 5 * of.std(0) / sqrt(len(e))).all()


@torch.no_grad()
@pytest.mark.parametrize("estimator", [e.name for e in VAEConfig.estimators])
def test_the_bound_of_many_draws_is_the_evidence(estimator: str) -> None:
    """log p(x) = log of the integral of p(x|z) p(z) over z, all three in z; the contract's latent is e = f(z)."""
    model, x, K = awake(0.2), some_images(), 20_000
    z, area = grid()
    prior, *layers = model.decoder
    log_p = log_bernoulli(x.double() / 255, torch.nn.Sequential(*layers)(z)[:, None])  # [grid, N]
    truth = (log_p + prior.log_prob(z)[:, None]).logsumexp(0) + log(area)
    log_w = model.log_weights(x, K, generator("evidence"), estimator)
    w = (log_w - log_w.mean(0)).exp()
    error = w.std(0) / w.mean(0) / sqrt(K)
    assert error.max() < 0.05, "too uncertain to tell"
    assert ((log_w.logsumexp(0) - log(K) - truth).abs() < 5 * error).all()


def test_the_loss_is_the_elbo_of_its_draws() -> None:
    """At draws of noise +-1 the density of q is that of its entropy."""
    model, x = awake(), some_images().double() / 255
    eps = torch.randn(5, 8, 2, generator=generator("signs"), dtype=torch.float64).sign()
    found = model.infer(x, eps)
    loss, log_w = model.elbo(x, found, 0.5), model.p_x.log_prob(x, found.theta) + found.log_ratio()
    terms = loss.terms
    torch.testing.assert_close(terms["negative_elbo"], -log_w.mean())
    torch.testing.assert_close(terms["reconstruction"] + terms["kl"], -log_w.mean())
    torch.testing.assert_close(loss.minimise, terms["reconstruction"] + terms["kl"] / 2)


def test_a_prior_that_has_not_learned_is_that_of_the_form_without() -> None:
    """Its couplings start as the identity: the same weights, latents and images; the KL is that at the draws."""
    models = []
    for prior in ("shared", "flow"):
        torch.manual_seed(0)
        models.append(build(VAEConfig(arch="mlp", latent_dim=4, hidden=8, prior=prior), (1, 8, 8)).eval())
    plain, learned = models
    moved = {f"{int(name[0]) + 1}{name[1:]}": t for name, t in plain.decoder.state_dict().items()}
    learned.decoder.load_state_dict(moved, strict=False)
    learned.encoder.load_state_dict(plain.encoder.state_dict())
    x = bars(6)[0].to(torch.uint8)[:, None]
    assert torch.equal(sampling.sample(plain, 6), sampling.sample(learned, 6))
    assert torch.equal(plain.encode(x), learned.encode(x))
    each = [model.log_weights(x, 3, generator("w"), "elbo") for model in models]
    torch.testing.assert_close(*each)


def test_what_is_encoded_is_decoded_by_way_of_the_noise() -> None:
    model, x = awake(shape=(1, 8, 8)).float(), bars(6)[0].to(torch.uint8)[:, None]
    found = model.posterior(x)
    assert list(found) == ["latents", "mu", "logvar"] and torch.equal(found["latents"], model.encode(x))
    assert not torch.allclose(found["latents"], found["mu"], atol=0.1)
    wanted = model.p_x.mean(model.decoder(found["mu"], None, 1))
    torch.testing.assert_close(model.decode(model.encode(x)), wanted)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latent_dim": 1}, "--prior flow needs a --latent-dim of at least 2; use --prior shared."),
        ({"free_bits": 0.5}, "--free-bits belongs to --prior shared or class, not to --prior flow"),
        ({"prior": "shared"}, "--prior-couplings belongs to --prior flow, not to --prior shared"),
        ({"arch": "ladder"}, "--prior belongs to --arch mlp or conv, not to --arch ladder"),
    ],
)
def test_what_is_not_of_a_learned_prior_is_refused(options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        VAEConfig(**{"latent_dim": 2, "prior": "flow", "prior_couplings": 3, **options})


PLAIN = ("shared", 1, 500, 0.0)
LEARNED = ("flow", 2, 256, 0.1)
CHOSEN = [  # what is chosen of a new training -> prior, layers, hidden, KL warm-up
    ({}, LEARNED),
    ({"prior": "flow"}, LEARNED),
    ({"latent_dim": 2, "layers": 1, "hidden": 50}, ("flow", 1, 50, 0.1)),
    ({"prior": "flow", "conditional": True}, LEARNED),
    ({"prior": "flow", "arch": "conv"}, ("flow", 1, 500, 0.0)),
    ({"prior": "shared"}, PLAIN),
    ({"latent_dim": 1}, PLAIN),
    ({"arch": "conv"}, PLAIN),
    ({"arch": "ladder"}, PLAIN),
    ({"conditional": True}, PLAIN),
    ({"objective": "iwae"}, PLAIN),
    ({"likelihood": "mixture"}, PLAIN),
    ({"free_bits": 0.5}, PLAIN),
]


@pytest.mark.parametrize(("chosen", "form"), CHOSEN, ids=str)
def test_a_new_training_of_the_plain_form_learns_its_prior(chosen: dict, form: tuple) -> None:
    config = VAEConfig.of(**chosen)
    assert (config.prior, config.layers, config.hidden, config.kl_warmup) == form
    assert VAEConfig.of(**needed(VAEConfig, config.to_dict())) == config
    assert needed(VAEConfig, config.to_dict()).items() <= {**chosen, "prior": config.prior}.items()


def test_a_file_from_before_there_was_a_choice_is_what_it_was_and_is_made_again() -> None:
    old = {"arch": "mlp", "latent_dim": 2, "hidden": 500, "layers": 2}
    config = VAEConfig.from_dict(old)
    assert (config.prior, config.layers, config.hidden, config.kl_warmup) == ("shared", 2, 500, 0.0)
    assert needed(VAEConfig, old) == {"prior": "shared", "latent_dim": 2, "layers": 2}
