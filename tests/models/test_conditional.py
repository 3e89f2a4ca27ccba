"""Models of p(x|y): the class reaches every part, and what is claimed of it is so."""

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest
import torch
from strangers import TallyConfig
from torch import Tensor
from torch.distributions import Normal

from genctl.config import Estimator
from genctl.errors import UsageError
from genctl.evaluation.bounds import bound, marginal_bound, round_trip
from genctl.evaluation.frechet_kernel import frechet_distance, frechet_in_class
from genctl.generation import sampling
from genctl.models.base import Batch, build
from genctl.models.gan.config import GANConfig
from genctl.models.gan.penalties import r1_and_r2
from genctl.models.realnvp.config import RealNVPConfig
from genctl.models.vae.config import VAEConfig
from genctl.seeds import generator
from genctl.testing import test_contract as laws
from genctl.testing.cases import CLASSES, SHAPE, Case, labels_for, perturb, pixels

VAE_FLAT = {"arch": "mlp", "latent_dim": 2, "hidden": 8}
IWAE = {**VAE_FLAT, "objective": "iwae", "particles": 3, "gradient": "doubly", "resample": 2, "layers": 2}
LADDER = {"arch": "ladder", "channels": 4, "blocks": 1, "levels": 2, "latent_channels": 1}
DCGAN = {"arch": "dcgan", "latent_dim": 4, "channels": 2}
FLOW = {"channels": 4, "global_hidden": 8, "couplings": 2, "global_couplings": 1}
FORMS = [  # beside those in `small`, which keep all laws
    ("vae", {**IWAE, "prior": "class"}),
    ("vae", {**IWAE, "prior": "flow", "prior_hidden": 4}),
    ("vae", {"arch": "conv", "latent_dim": 3, "channels": 2}),
    ("vae", LADDER),
    ("gan", {"arch": "mlp", "latent_dim": 4, "loss": "hinge", "gradient_penalty": "r1+r2"}),
    ("gan", {"arch": "resnet", "latent_dim": 4, "channels": 2, "loss": "relativistic", "gradient_penalty": "r1"}),
    ("gan", {**DCGAN, "loss": "wasserstein", "gradient_penalty": "wasserstein", "pack": 2}),
    ("realnvp", {"arch": "conv", "mixing": "conv1x1", "dequantization_couplings": 1, **FLOW}),
    ("realnvp", {"arch": "multiscale", **FLOW}),
]
every_form = pytest.mark.parametrize(
    ("name", "options"), FORMS, ids=lambda value: value if isinstance(value, str) else ""
)


def case_of(name: str, options: dict) -> Case:
    return Case(name, tuple({**options, "conditional": True}.items()))


def awake(config, shape=SHAPE):
    """Return a conditional model away from its start, of three classes."""
    torch.manual_seed(0)
    model = build(replace(config, conditional=True, classes=3), shape)
    perturb(model, 0.2)
    return model.eval()


@every_form
def test_every_form_trains_draws_and_scores(name: str, options: dict) -> None:
    laws.check_end_to_end(case_of(name, options), SHAPE)


@every_form
def test_every_parameter_of_every_form_learns(name: str, options: dict) -> None:
    of_differences = (
        {"loss": "non-saturating"} if "loss" in options else {}
    )  # others have no use for the bias of D's logit
    laws.test_every_parameter_receives_a_gradient(case_of(name, {**options, **of_differences}))


@every_form
def test_the_class_matters_and_a_mixture_lies_between(name: str, options: dict) -> None:
    model = build(case_of(name, options).config, SHAPE)
    perturb(model, 0.2)
    z = sampling.latents(model.eval(), 0, 3)
    one, other = (sampling.decode(model, z, torch.full((3,), label)) for label in (0, 1))
    assert not torch.equal(one, other)
    weights = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0.5, 0.5, 0, 0]])
    mixed = sampling.decode(model, z, weights)
    torch.testing.assert_close(mixed[:2], torch.stack([one[0], other[1]]))
    if name != "realnvp":  # whose images are rounded
        assert not torch.equal(mixed[2], one[2]) and not torch.equal(mixed[2], other[2])
    if "score" in model.config.can:
        scored = [model.log_weights(pixels(3), 2, generator("x"), "", torch.full((3,), label)) for label in (0, 1)]
        assert (scored[0] != scored[1]).all()


@pytest.mark.parametrize("config", [RealNVPConfig(arch="mlp", depth=2, hidden=8), RealNVPConfig(arch="conv", **FLOW)])
def test_a_conditional_flow_starts_as_the_one_without_classes(config) -> None:
    models = []
    for classes in (0, CLASSES):
        torch.manual_seed(0)
        models.append(build(replace(config, conditional=classes > 0, classes=classes), SHAPE).eval())
    z = sampling.latents(models[0], 0, 4)
    plain, given = models[0].decode(z), models[1].decode(z, labels_for(models[1], 4))
    assert torch.equal(plain, given)


def test_the_classes_of_a_vae_and_a_gan_differ_from_the_start() -> None:
    for config in (VAEConfig(**VAE_FLAT), VAEConfig(arch="conv"), GANConfig(), GANConfig(arch="resnet")):
        torch.manual_seed(0)
        model = build(replace(config, conditional=True, classes=3), SHAPE)
        first = model.decoder[1] if config.name == "vae" else model.generator[1]
        assert first.embedding.std().item() == pytest.approx(1, rel=0.3)


def test_a_model_of_p_x_does_not_look_at_labels() -> None:
    for config in (VAEConfig(**VAE_FLAT), GANConfig(**DCGAN), RealNVPConfig(arch="mlp", depth=2, hidden=8)):
        model = build(config, SHAPE)
        assert model.given(torch.zeros(4)) is None
        found = []
        for y in (None, torch.arange(8) % 4):
            torch.manual_seed(0)
            found.append([loss.minimise.item() for loss in model.losses(Batch(pixels(8), y, 0, 0.0))])
        assert found[0] == found[1]


# VAE


def test_the_weights_of_a_prior_by_class_are_those_in_z() -> None:
    """The contract's latent is e; in z = mu_y + sigma_y e the density ratio is the same."""
    model = awake(VAEConfig(**VAE_FLAT, conditional=True, prior="class")).double()
    y, x = torch.arange(6) % 3, (pixels(6) > 127).to(torch.uint8) * 255
    found = model.log_weights(x, 4, generator("w"), "elbo", y)
    noise = torch.randn((4, 6, 2), generator=generator("w"), dtype=torch.float64)
    prior, *layers = model.decoder
    mu_y, sigma_y = prior.mu[y], prior.log_sigma[y].exp()
    mu, logvar = model.encoder(x.double() / 255, y).chunk(2, dim=1)
    q = Normal(mu_y + sigma_y * mu, sigma_y * (logvar / 2).exp())
    z = q.loc + q.scale * noise
    h = z.flatten(0, 1)
    for layer in layers:
        h = layer(h, y.repeat(4)) if hasattr(layer, "embedding") else layer(h)
    theta = h.unflatten(0, (4, 6))
    log_p = model.p_x.log_prob(x.double() / 255, theta)
    wanted = log_p + Normal(mu_y, sigma_y).log_prob(z).sum(-1) - q.log_prob(z).sum(-1)
    torch.testing.assert_close(found, wanted)


def test_the_prior_estimator_decodes_each_image_for_its_own_class() -> None:
    model, x, y = awake(VAEConfig(**VAE_FLAT)), pixels(6), torch.tensor([2, 0, 2, 1, 1, 0])
    x = (x > 127).to(torch.uint8) * 255
    found = model.log_weights(x, 5, generator("w"), "prior", y)
    eps = torch.randn((5, 2), generator=generator("w"))
    for i, label in enumerate(y):
        theta = model.decoder(eps, label.expand(5))
        torch.testing.assert_close(found[:, i], model.p_x.log_prob((x[i : i + 1] / 255), theta[:, None])[:, 0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prior": "class"}, "--prior class belongs to --conditional; give that too."),
        (
            {**LADDER, "conditional": True, "prior": "class"},
            "--prior belongs to --arch mlp or conv, not to --arch ladder",
        ),
        ({"conditional": True, "classes": 2, "class_counts": [1, 2, 3]}, "no numbers of images of 2 classes"),
        ({"conditional": True, "classes": 2, "class_counts": [1, -2]}, "no numbers of images of 2 classes"),
        ({"conditional": True, "classes": 2, "class_counts": [0, 0]}, "no numbers of images of 2 classes"),
        ({"conditional": True, "classes": -1}, "no numbers of images of -1 classes"),
    ],
)
def test_what_is_not_of_classes_is_refused(options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        VAEConfig(**options)


# GAN


def test_the_discriminator_projects_on_the_classes_of_all_that_it_judges_together() -> None:
    model = awake(GANConfig(**DCGAN, pack=2))
    D, y = model.discriminator, torch.tensor([[0, 2], [1, 1]])
    x = torch.randn(2, 2, 8, 8, generator=generator("x"))
    f = D.features(x)
    V = D.V.reshape(2, 3, -1)  # places, classes, features
    wanted = torch.stack([D.psi(f)[i, 0] + f[i] @ (V[0, y[i, 0]] + V[1, y[i, 1]]) for i in range(2)])
    torch.testing.assert_close(D(x, y)[:, 0], wanted)


def test_the_penalty_is_of_the_discriminator_of_the_images_own_classes() -> None:
    model = awake(GANConfig(**DCGAN, gradient_penalty="r1+r2")).double()
    x, fake = torch.randn(2, 4, *SHAPE, generator=generator("p"), dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 1])
    found = r1_and_r2(lambda images: model.judge(model.discriminator, y, images), x, fake)
    slopes = []
    for images in (x, fake):
        for i in range(4):
            image = images[i : i + 1].clone().requires_grad_()
            (slope,) = torch.autograd.grad(model.discriminator(image, y[i : i + 1, None]).sum(), image)
            slopes.append(slope.square().sum())
    torch.testing.assert_close(found, torch.stack(slopes).mean())


def test_the_generator_is_asked_for_the_classes_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = awake(GANConfig(**DCGAN)).train(), []
    forward = model.generator.forward
    monkeypatch.setattr(model.generator, "forward", lambda z, y=None: seen.append(y) or forward(z, y))
    y = torch.arange(8) % 3
    list(model.losses(Batch(pixels(8), y, 0, 0.0)))
    assert len(seen) == 1 and torch.equal(seen[0], y)


# Flow


@pytest.mark.parametrize("options", [{"arch": "mlp", "depth": 2, "hidden": 8}, {"arch": "conv", **FLOW}])
def test_a_conditional_flow_is_a_bijection_for_each_class(options: dict) -> None:
    model = awake(RealNVPConfig(**options)).double()
    x = pixels(6) + torch.rand(6, *SHAPE, generator=generator("u"), dtype=torch.float64)
    y = torch.arange(6) % 3
    assert max(round_trip(model, x, y)) < 1e-9
    z, log_det = model.forward(x, y)
    back, _ = model.inverse(z, (y + 1) % 3)
    assert (back - x).abs().amax((1, 2, 3)).min() > 1e-3  # another class's inverse is another one
    jacobian = torch.autograd.functional.jacobian(lambda t: model.forward(t, y[:1])[0].flatten(), x[:1])
    torch.testing.assert_close(jacobian.reshape(64, 64).slogdet().logabsdet, log_det[0])


# Likelihood


EXACT = Estimator("exact", bound="exact -log p", draws="none")


def tally(counts: tuple[int, ...] = (), shape=(1, 1, 2)):
    model = build(TallyConfig(conditional=True, classes=3, class_counts=counts), shape)
    with torch.no_grad():
        model.logits.normal_(0, 2, generator=torch.Generator().manual_seed(0))
    return model.double()


@pytest.mark.parametrize("counts", [(), (5, 3, 2), (1, 0, 3)])
def test_the_marginal_is_the_sum_over_the_classes(counts: tuple[int, ...]) -> None:
    model = tally(counts)
    x = torch.randint(0, 256, (150, 1, 1, 2), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    p_y = torch.tensor(counts or (1, 1, 1)).double() / (sum(counts) or 3)
    p = model.logits.softmax(-1)  # [classes, D, 256]
    each = torch.stack([p[c, 0, x[:, 0, 0, 0].long()] * p[c, 1, x[:, 0, 0, 1].long()] for c in range(3)])
    found = marginal_bound(model, x, 1, EXACT)
    torch.testing.assert_close(found.tight, -(p_y @ each).log())
    torch.testing.assert_close(found.mean, found.tight)


def test_the_marginal_sums_to_one_over_all_images() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(256, 1, 1, 1)
    found = marginal_bound(tally((5, 3, 2), (1, 1, 1)), levels, 1, EXACT)
    assert (-found.tight).exp().sum().item() == pytest.approx(1)


def test_the_marginal_of_a_vae_is_between_its_best_class_and_that_class_alone() -> None:
    model, x = awake(VAEConfig(**VAE_FLAT)), (pixels(8) > 127).to(torch.uint8) * 255
    iwae = VAEConfig.estimator("iwae")
    each = torch.stack([bound(model, x, 3, iwae, y=torch.full((8,), c)).tight for c in range(3)])
    found = marginal_bound(model, x, 3, iwae).tight
    assert (found >= each.amin(0) - 1e-9).all() and (found <= each.amin(0) + log(3) + 1e-9).all()


# Drawing


def test_classes_are_drawn_by_their_share_and_never_one_that_the_data_lack() -> None:
    model = tally((0, 30, 10))
    y = sampling.classes_of(model, 3, 2000)
    assert y is not None and not (y == 0).any()
    assert (y == 1).double().mean().item() == pytest.approx(0.75, abs=0.04)
    assert torch.equal(sampling.classes_of(model, 3, 5, first=40), y[40:45])


# Quality


def test_the_distance_within_classes_sees_what_the_distance_of_all_does_not() -> None:
    real = torch.randn(200, 3, generator=generator("real")) + 5 * (torch.arange(200) % 2)[:, None]
    labels = torch.arange(200) % 2
    assert frechet_in_class(real, labels, real, labels) == pytest.approx(0, abs=1e-6)
    swapped = frechet_in_class(real, 1 - labels, real, labels)
    assert swapped > 50 and frechet_distance(real, real) < 1e-6
    parts: list[Tensor] = [real[labels == c] for c in (0, 1)]
    assert swapped == pytest.approx(frechet_distance(parts[1], parts[0]))
