"""The GAN: its networks, its value, whose move touches what, and its labels."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from math import exp, log
from typing import get_args

import pytest
import torch
from conftest import HostReads, tiny_config
from torch import Tensor, nn
from torch.nn import functional as F

from genctl.config import TrainConfig, options_of
from genctl.errors import UsageError
from genctl.generation import sampling
from genctl.models.base import Batch, Loss, build
from genctl.models.gan.config import GANConfig
from genctl.models.gan.losses import LOSSES
from genctl.models.gan.model import GAN, value
from genctl.models.gan.networks import Dropout, Residual
from genctl.models.gan.penalties import PENALTIES
from genctl.seeds import generator
from genctl.training.loop import EMA_EVERY, Training, fit

SHAPE = (1, 8, 8)
LINEAR = nn.Linear
every_arch = pytest.mark.parametrize("arch", ["mlp", "dcgan", "resnet"])
with_dropout = pytest.mark.parametrize("arch", ["mlp", "dcgan"])


def pixels(n: int = 16) -> Tensor:
    return torch.randint(0, 256, (n, *SHAPE), generator=generator("gan"), dtype=torch.uint8)


def test_the_residual_networks_have_two_scales_and_no_normalization_or_dropout():
    model = build(GANConfig(arch="resnet", channels=4), (3, 8, 12))
    sizes: list[tuple[int, ...]] = []
    for layer in (*model.generator, *model.discriminator):
        if isinstance(layer, Residual):
            layer.register_forward_hook(lambda _, inputs, output: sizes.append(output.shape[1:]))
            x = torch.randn(2, layer.branch[1].in_channels, 4, 4)
            assert torch.equal(layer.branch(x), layer.branch[3].bias[:, None, None].expand_as(x))  # nearly shallow
    assert model.discriminator(model.generator(torch.zeros(2, 100))).shape == (2, 1)
    assert sizes == [(8, 2, 3), (4, 4, 6), (4, 4, 6), (8, 2, 3)]
    names = {type(layer).__name__ for layer in model.modules()}
    assert not {name for name in names if "Norm" in name or "Dropout" in name}


def kinds(network: nn.Module) -> list[type[nn.Module]]:
    return [type(layer) for layer in network]


def widths(network: nn.Module, kind: type[nn.Module]) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in network if isinstance(layer, kind)]


# Networks


def test_the_fully_connected_networks_have_their_sizes():
    model = build(GANConfig(), (1, 28, 28))
    assert widths(model.generator, LINEAR) == [(100, 128), (128, 256), (256, 512), (512, 1024), (1024, 784)]
    assert widths(model.discriminator, LINEAR) == [(784, 512), (512, 256), (256, 1)]
    assert [layer.num_features for layer in model.generator if isinstance(layer, nn.BatchNorm1d)] == [256, 512, 1024]
    assert nn.Tanh in kinds(model.generator) and nn.Tanh not in kinds(model.discriminator)


def test_the_convolutional_networks_halve_the_image_twice():
    model = build(GANConfig(arch="dcgan", channels=4), (3, 8, 12))
    sizes: list[tuple[int, ...]] = []
    for layer in model.discriminator:
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, inputs, output: sizes.append(output.shape[1:]))
    assert model.discriminator(torch.zeros(2, 3, 8, 12)).shape == (2, 1)
    assert sizes == [(4, 4, 6), (8, 2, 3)]
    assert model.generator(torch.zeros(2, 100)).shape == (2, 3, 8, 12)


@with_dropout
def test_d_has_dropout_and_no_batch_norm(arch):
    model = build(GANConfig(arch=arch, dropout=0.4), SHAPE)
    dropped = {layer.dropped for layer in model.discriminator if isinstance(layer, Dropout)}
    assert dropped == {round(0.4 * 2**16)}
    assert not any("BatchNorm" in kind.__name__ for kind in kinds(model.discriminator))
    assert any("BatchNorm" in kind.__name__ for kind in kinds(model.generator))


@every_arch
def test_real_and_generated_images_have_one_range(arch):
    model = build(tiny_config("gan", arch), SHAPE)
    seen: list[Tensor] = []
    model.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    ends = torch.tensor([0, 255], dtype=torch.uint8).repeat(4)[:, None, None, None].expand(8, *SHAPE)
    list(model.losses(Batch(ends, None, 0, 0.0)))
    real, fake = seen[0].chunk(2)
    assert torch.equal(real.unique(), torch.tensor([-1.0, 1.0]))
    assert fake.abs().max() < 1
    model.eval()
    z = sampling.latents(model, 0, 64)
    torch.testing.assert_close(2 * sampling.decode(model, z) - 1, model.generator(z).detach())


# The value


def test_the_value_of_an_undecided_d_is_minus_log_4():
    zeros = torch.zeros(5, 1)
    assert value(zeros, zeros).item() == pytest.approx(-log(4), rel=1e-6)


def test_the_value_is_the_mean_of_log_d_and_of_log_one_minus_d():
    real, fake = torch.randn(2, 50, 1, generator=generator("value"), dtype=torch.float64)
    truth = torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(fake)).log().mean()
    torch.testing.assert_close(value(real, fake), truth)


# Moves


@every_arch
def test_d_s_loss_reaches_d_alone(arch):
    model = build(tiny_config("gan", arch), SHAPE)
    d, _ = model.losses(Batch(pixels(), None, 0, 0.0))
    assert d.player == "discriminator"
    assert all(
        g is None for g in torch.autograd.grad(d.minimise, list(model.generator.parameters()), allow_unused=True)
    )


@every_arch
@pytest.mark.parametrize("mover", [0, 1])
def test_a_move_leaves_the_other_player_alone(arch, mover):
    model = build(tiny_config("gan", arch), SHAPE)
    with torch.no_grad():
        for p in model.parameters():  # away from 0, where the residual branches start
            p.add_(0.05 * torch.randn(p.shape, generator=generator("start")))
    training = Training(model, model.config.train_config(batch_size=16, lr=0.01))
    losses, networks = model.losses, [model.discriminator, model.generator]
    states: list[list[list[Tensor]]] = []  # of D and G, before the first move and after each

    def watched(batch: Batch):
        for loss in losses(batch):
            states.append([[p.detach().clone() for p in network.parameters()] for network in networks])
            yield loss
        states.append([[p.detach().clone() for p in network.parameters()] for network in networks])

    model.losses = watched
    next(fit(training, pixels(), None, 1, 1))
    before, after = states[mover], states[mover + 1]
    assert all(torch.equal(a, b) for a, b in zip(before[1 - mover], after[1 - mover], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(before[mover], after[mover], strict=True))


@every_arch
def test_g_s_loss_is_non_saturating(arch):
    model = build(tiny_config("gan", arch), SHAPE)
    model.discriminator = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    with torch.no_grad():
        model.discriminator[1].weight.zero_()
        model.discriminator[1].bias.fill_(-20.0)  # D is sure: log(1 - D) would have no gradient
    _, g = model.losses(Batch(pixels(), None, 0, 0.0))
    assert g.player == "generator"
    assert g.minimise.item() == pytest.approx(20, rel=1e-5)  # -log D


# Losses

REAL, FAKE = torch.tensor([[2.0], [-0.5], [0.25]]).double(), torch.tensor([[1.0], [0.5], [-3.0]]).double()


def mean(*terms: float) -> float:
    return sum(terms) / len(terms)


def s(t: float) -> float:
    """Return log(1 + exp t)."""
    return log(1 + exp(t))


HAND = {  # D's loss and G's on REAL and FAKE, term by term
    "non-saturating": (mean(s(-2), s(0.5), s(-0.25)) + mean(s(1), s(0.5), s(-3)), mean(s(-1), s(-0.5), s(3))),
    "saturating": (mean(s(-2), s(0.5), s(-0.25)) + mean(s(1), s(0.5), s(-3)), -mean(s(1), s(0.5), s(-3))),
    "hinge": (mean(0, 1.5, 0.75) + mean(2, 1.5, 0), -mean(1, 0.5, -3)),
    "wasserstein": (mean(1, 0.5, -3) - mean(2, -0.5, 0.25), -mean(1, 0.5, -3)),
    "relativistic": (mean(s(-1), s(1), s(-3.25)), mean(s(1), s(-1), s(3.25))),
}
every_loss = pytest.mark.parametrize("loss", list(LOSSES))


def test_every_loss_is_offered_and_tested():
    assert list(get_args(options_of(GANConfig)["loss"][0])) == list(LOSSES) == list(HAND)


@every_loss
def test_a_loss_is_its_formula(loss):
    losses, (d, g) = LOSSES[loss], HAND[loss]
    soft = [torch.zeros(2, 3, 1).double()] if losses.labels else []
    assert losses.d(REAL, FAKE, *soft).item() == pytest.approx(d, rel=1e-12)
    assert losses.g(REAL if losses.pairs else None, FAKE).item() == pytest.approx(g, rel=1e-12)


@every_loss
def test_a_descent_of_g_s_loss_raises_d_s_opinion_and_a_descent_of_d_s_parts_the_two(loss):
    losses, real, fake = LOSSES[loss], REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    soft = [torch.zeros(2, 3, 1).double()] if losses.labels else []
    slope_real, slope_fake = torch.autograd.grad(losses.d(real, fake, *soft), (real, fake))
    assert (slope_real <= 0).all() and slope_real.sum() < 0 < slope_fake.sum() and (slope_fake >= 0).all()
    assert (torch.autograd.grad(losses.g(REAL, fake), fake)[0] < 0).all()


@every_loss
@every_arch
def test_a_model_plays_its_loss(loss, arch):
    model = build(tiny_config("gan", arch), SHAPE)
    hard = {"label_noise": 0.0} if LOSSES[loss].labels else {}
    weightless = {"gradient_penalty": "wasserstein", "gamma": 0.0} if loss == "wasserstein" else {}
    model.config = replace(model.config, loss=loss, **hard, **weightless)
    model.discriminator = Mean()
    model.generator = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Unflatten(1, SHAPE))
    torch.manual_seed(0)
    d, g = model.losses(Batch(pixels(), None, 0, 0.0))
    torch.manual_seed(0)
    real = pixels().float().div(127.5).sub(1).flatten(1).mean(1, keepdim=True)
    fake = model.generator(torch.randn(16, 4)).flatten(1).mean(1, keepdim=True)
    soft = [torch.zeros(2, 16, 1)] if LOSSES[loss].labels else []
    torch.testing.assert_close(d.minimise, LOSSES[loss].d(real, fake, *soft))
    torch.testing.assert_close(g.minimise, LOSSES[loss].g(real, fake))
    assert d.terms["d_accuracy"].item() == pytest.approx((real > fake).float().mean().item())
    assert ("value" in d.terms) is LOSSES[loss].labels


class Mean(nn.Module):
    """A discriminator whose logit is the mean pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).mean(1, keepdim=True)


def test_where_d_is_sure_the_saturating_gradient_is_gone_and_the_other_is_not():
    def slope(loss: str) -> float:
        fake = torch.full((1, 1), -20.0, requires_grad=True)
        return torch.autograd.grad(LOSSES[loss].g(None, fake), fake)[0].item()

    assert slope("saturating") == pytest.approx(-exp(-20), rel=1e-3)
    assert slope("non-saturating") == pytest.approx(-1, rel=1e-6)


# Penalties


class Linear(nn.Module):
    """The discriminator D(x) = <w, x> + 3."""

    def __init__(self, norm: float) -> None:
        super().__init__()
        w = torch.randn(SHAPE, generator=generator("w"), dtype=torch.float64)
        self.w = nn.Parameter(norm * w / w.norm())

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.w).flatten(1).sum(1, keepdim=True) + 3


def pair(n: int = 5) -> tuple[Tensor, Tensor]:
    """Return real and generated images in float64."""
    return torch.randn(2, n, *SHAPE, generator=generator("pair"), dtype=torch.float64).unbind()


def test_every_penalty_is_offered():
    assert list(get_args(options_of(GANConfig)["gradient_penalty"][0])) == ["none", *PENALTIES]


@pytest.mark.parametrize("norm", [0.5, 1.0, 3.0])
def test_penalties_of_a_linear_d_depend_on_its_weight_alone(norm):
    found = {name: penalty(Linear(norm), *pair()).item() for name, penalty in PENALTIES.items()}
    half = norm**2 / 2
    assert found == pytest.approx({"r1": half, "r2": half, "r1+r2": 2 * half, "wasserstein": (norm - 1) ** 2}, abs=1e-9)


def test_r1_looks_at_real_images_r2_at_generated_ones_and_the_last_between_them():
    class Bowl(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.square().flatten(1).sum(1, keepdim=True) / 2  # its slope is x

    x, fake = torch.full((4000, 1, 1, 1), 2.0).double(), torch.full((4000, 1, 1, 1), 4.0).double()
    assert PENALTIES["r1"](Bowl(), x, fake).item() == pytest.approx(2)
    assert PENALTIES["r2"](Bowl(), x, fake).item() == pytest.approx(8)
    assert PENALTIES["r1+r2"](Bowl(), x, fake).item() == pytest.approx(10)
    torch.manual_seed(0)  # E(2 + 2u - 1)^2 = 13/3
    assert PENALTIES["wasserstein"](Bowl(), x, fake).item() == pytest.approx(13 / 3, rel=0.03)


@pytest.mark.parametrize("penalty", list(PENALTIES))
@every_arch
def test_the_gradient_of_a_penalty_is_that_of_finite_differences(arch, penalty):
    D = build(tiny_config("gan", arch), SHAPE).discriminator.double().train()
    with torch.no_grad():
        for p in D.parameters():  # away from what starts at 0
            p.add_(0.1 * torch.randn(p.shape, generator=generator("D"), dtype=torch.float64))
    x, fake = pair(3)

    def value_at() -> Tensor:
        torch.manual_seed(1)  # the same units dropped, the same points between
        return PENALTIES[penalty](D, x, fake)

    weights = [p for p in D.parameters() if p.dim() > 1]
    slopes = torch.autograd.grad(value_at(), weights)
    for p, slope in zip(weights, slopes, strict=True):
        step = 1e-8 * torch.randn(p.shape, generator=generator("step"), dtype=torch.float64)
        with torch.no_grad():
            p.add_(step)
        above = value_at().item()
        with torch.no_grad():
            p.sub_(2 * step)
        below = value_at().item()
        with torch.no_grad():
            p.add_(step)
        assert (slope * step).sum().item() == pytest.approx((above - below) / 2, rel=1e-4, abs=1e-12)


@every_arch
def test_a_penalty_counts_with_its_weight_and_reaches_d_alone(arch):
    def d_move(gamma: float) -> tuple[GAN, Loss]:
        torch.manual_seed(0)
        config = replace(tiny_config("gan", arch), loss="relativistic", gradient_penalty="r1+r2", gamma=gamma)
        model = build(config, SHAPE)
        torch.manual_seed(0)
        return model, next(iter(model.losses(Batch(pixels(), None, 0, 0.0))))

    (_, light), (model, heavy) = d_move(0.0), d_move(7.0)
    assert heavy.terms["penalty"].item() == pytest.approx(light.terms["penalty"].item())
    assert (heavy.minimise - light.minimise).item() == pytest.approx(7 * heavy.terms["penalty"].item(), rel=1e-4)
    found = torch.autograd.grad(heavy.minimise, list(model.generator.parameters()), allow_unused=True)
    assert all(g is None for g in found)


@every_arch
@pytest.mark.parametrize(
    ("loss", "penalty"), list(zip(HAND, ["r1", "r2", "r1+r2", "wasserstein", "r1+r2"], strict=True))
)
def test_a_penalized_training_reads_nothing_and_moves_all_weights(arch, loss, penalty):
    torch.manual_seed(0)
    config = replace(tiny_config("gan", arch), loss=loss, gradient_penalty=penalty, gamma=1.0)
    training = Training(build(config, SHAPE), config.train_config(batch_size=8))
    before = [p.clone() for p in training.model.parameters() if p.dim() > 1]
    with HostReads() as reads:
        for _ in range(3):
            training.moves(Batch(pixels(8), None, 0, 0.0))
    assert reads.count == 0
    after = [p for p in training.model.parameters() if p.dim() > 1]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert training.failure() is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"gamma": 1.0}, "--gamma belongs to --gradient-penalty r1 or r2 or r1+r2 or wasserstein, not to "),
        (
            {"loss": "hinge", "label_noise": 0.1},
            "--label-noise belongs to --loss non-saturating or saturating, not to ",
        ),
    ],
)
def test_options_that_do_not_go_together_get_a_sentence(options, sentence):
    with pytest.raises(UsageError, match=re.escape(sentence)):
        GANConfig(**options)


def test_a_wasserstein_loss_asks_for_its_penalty_and_older_configs_load():
    with pytest.raises(UsageError, match="needs a penalty: add --gradient-penalty wasserstein, or none"):
        GANConfig.of(loss="wasserstein")
    for penalty in ("none", "wasserstein", "r1"):
        assert GANConfig.of(loss="wasserstein", gradient_penalty=penalty).gradient_penalty == penalty
    assert GANConfig.from_dict({"loss": "wasserstein"}).gradient_penalty == "none"
    assert GANConfig.of(loss="hinge").gradient_penalty == "none"


# Packs


@every_arch
@pytest.mark.parametrize("penalty", ["none", "wasserstein", "r1+r2"])
def test_d_sees_a_pack_of_images_in_its_channels(arch, penalty):
    model = build(replace(tiny_config("gan", arch), pack=4, gradient_penalty=penalty), (3, 8, 8))
    seen: list[Tensor] = []
    model.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    x = torch.randint(0, 256, (16, 3, 8, 8), generator=generator("pack"), dtype=torch.uint8)
    d, g = model.losses(Batch(x, None, 0, 0.0))
    assert d.minimise.shape == g.minimise.shape == ()
    assert [images.shape for images in seen] == [(8, 12, 8, 8), (4, 12, 8, 8)]  # real and fake, then fake
    assert torch.equal(seen[0][1, 3:6], x[5].float() / 127.5 - 1)  # the second of the second pack
    assert model.generator(torch.zeros(2, 4)).shape == (2, 3, 8, 8)


def test_a_batch_that_fills_no_packs_gets_a_sentence(cli, data_folder):
    answer = cli("train", "gan", "--dataset", data_folder, "--batch-size", 16, "--pack", 3)
    assert answer.code == 2
    assert "gan takes 3 images together, so not 16 a step; change --batch-size." in answer.err


# Rates and averages


def test_g_has_a_share_of_d_s_rate_at_every_point_of_the_schedule():
    config = replace(tiny_config("gan", "mlp"), g_lr_share=0.25)
    training = Training(build(config, SHAPE), config.train_config(batch_size=8, lr=0.01, schedule="cosine"))
    for _ in fit(training, pixels(), None, 5, 5):
        (d,), of_g = (
            [g.lr.item() for g in training.optimizers[name].groups] for name in ("discriminator", "generator")
        )
        assert of_g == pytest.approx([d / 4] * len(of_g), rel=1e-6)


@pytest.mark.parametrize("gradient", [0.0, 1e4])
@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_a_decay_holds_the_weights_of_pixels_without_a_gradient_and_no_others(decay, gradient):
    """Adam's first step is the rate by whatever it is pulled, unless that is near its eps."""
    training = Training(build(replace(tiny_config("gan", "mlp"), g_decay=decay), SHAPE), TrainConfig(lr=1e-4))
    G = training.model.generator
    before = {name: p.detach().clone() for name, p in G.named_parameters()}
    for p in G.parameters():
        p.grad = torch.full_like(p, gradient)
    training.optimizers["generator"].step()
    for name, p in G.named_parameters():
        pulled = before[name].sign() if decay and p is G[-3].weight and not gradient else bool(gradient)
        torch.testing.assert_close(p.detach(), before[name] - 1e-4 * pulled, rtol=0, atol=1e-5)


def test_ds_decay_pulls_its_weights_by_their_share_whatever_their_gradients():
    training = Training(build(replace(tiny_config("gan", "mlp"), d_decay=0.5), SHAPE), TrainConfig(lr=0.1))
    D = training.model.discriminator
    before = [p.detach().clone() for p in D.parameters()]
    for p in D.parameters():
        p.grad = torch.zeros_like(p)
    training.optimizers["discriminator"].step()
    for p, w in zip(D.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), w * (1 - 0.1 * 0.5))


@pytest.mark.parametrize("kind", ["running_mean", "running_var", "weight"])
def test_the_average_of_g_holds_its_batch_statistics_too(kind):
    config = tiny_config("gan", "dcgan")
    training = Training(build(config, SHAPE), config.train_config(batch_size=8, lr=0.01, ema=0.9))
    norm = training.model.generator[5]
    average = getattr(norm, kind).detach().double()
    for step in fit(training, pixels(), None, 32, 32):
        if step.step % EMA_EVERY == 0:
            updates = step.step / EMA_EVERY
            decay = min(0.9**EMA_EVERY, (1 + updates) / (10 + updates))
            average = decay * average + (1 - decay) * getattr(norm, kind).detach().double()
    found = getattr(training.best.generator[5], kind)
    torch.testing.assert_close(found.double(), average, rtol=1e-5, atol=1e-6)
    assert not torch.equal(found, getattr(norm, kind))


# Labels


class Constant(nn.Module):
    """A discriminator that gives all images one logit."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(logit))

    def forward(self, x: Tensor) -> Tensor:
        return self.logit.expand(len(x), 1)


class Black(nn.Module):
    """A generator of one image."""

    def forward(self, z: Tensor) -> Tensor:
        return -torch.ones(len(z), 1, 1, 1)


def undecided(logit: float, label_noise: float) -> tuple[Constant, Tensor]:
    """Return a constant D and its loss on many pairs of images that are the same, real and generated."""
    model = build(GANConfig(label_noise=label_noise), (1, 1, 1))
    assert isinstance(model, GAN)
    model.generator, model.discriminator = Black(), Constant(logit)
    torch.manual_seed(0)
    loss = next(iter(model.losses(Batch(torch.zeros(50_000, 1, 1, 1, dtype=torch.uint8), None, 0, 0.0))))
    return model.discriminator, loss.minimise


@pytest.mark.parametrize("label_noise", [0.0, 0.2, 0.5])
def test_d_s_loss_on_the_same_images_is_least_at_one_half(label_noise):
    at = {logit: undecided(logit, label_noise)[1].item() for logit in (-1.0, -0.1, 0.0, 0.1, 1.0)}
    assert min(at, key=at.__getitem__) == 0.0
    D, loss = undecided(0.0, label_noise)
    slope = torch.autograd.grad(loss, D.logit)[0]
    assert abs(slope.item()) < 5 * label_noise * (2 / 12 / 50_000) ** 0.5 + 1e-6


def targets(monkeypatch: pytest.MonkeyPatch, label_noise: float) -> list[Tensor]:
    """Return the labels of real and of generated images that D's loss is given."""
    seen: list[Tensor] = []
    entropy: Callable[..., Tensor] = F.binary_cross_entropy_with_logits

    def watched(logits: Tensor, labels: Tensor, **options: object) -> Tensor:
        seen.append(labels)
        return entropy(logits, labels, **options)

    monkeypatch.setattr(F, "binary_cross_entropy_with_logits", watched)
    undecided(0.0, label_noise)
    return seen


def test_labels_are_soft_and_noisy_and_never_beyond_0_and_1(monkeypatch):
    real, fake = targets(monkeypatch, 0.2)
    assert 0.8 <= real.min() < 0.801 and 0.999 < real.max() <= 1
    assert 0 <= fake.min() < 0.001 and 0.199 < fake.max() <= 0.2
    assert real.mean().item() == pytest.approx(0.9, abs=0.002)
    assert fake.mean().item() == pytest.approx(0.1, abs=0.002)
    assert torch.corrcoef(torch.stack([real.flatten(), fake.flatten()]))[0, 1].abs() < 0.03


def test_labels_without_noise_are_hard(monkeypatch):
    real, fake = targets(monkeypatch, 0.0)
    assert (real == 1).all() and (fake == 0).all()


# Dropout


def dropped(model: GAN) -> list[float]:
    """Return a list that will hold the share of zeros that each call of D's first dropout makes."""
    shares: list[float] = []
    first = next(layer for layer in model.discriminator if isinstance(layer, Dropout))
    first.register_forward_hook(lambda _, inputs, output: shares.append((output == 0).float().mean().item()))
    return shares


@pytest.mark.parametrize("p", [0.0, 0.3, 0.99])
def test_dropout_keeps_the_mean_and_each_unit_with_the_same_probability(p):
    torch.manual_seed(0)
    x = torch.ones(4000, 250, requires_grad=True)
    out = Dropout(p)(x)
    out.sum().backward()
    assert torch.equal(x.grad, out)  # dropped in both directions
    assert (out == 0).float().mean().item() == pytest.approx(p, abs=2e-3)
    assert out.mean().item() == pytest.approx(1, abs=0.05)
    shares = (out.detach() == 0).float().mean(0)  # of each unit
    assert (shares - p).abs().max() < 5 * (p * (1 - p) / 4000) ** 0.5 + 1e-6


@with_dropout
def test_dropout_is_on_in_both_moves_and_off_when_sampling(arch):
    model = build(replace(tiny_config("gan", arch), dropout=0.3), SHAPE)
    training = Training(model, model.config.train_config(batch_size=16))
    shares = dropped(model)
    for _ in fit(training, pixels(), None, 3, 3):
        model.eval()
        model.discriminator(torch.zeros(16, *SHAPE))  # as a caller that looks in between
    trained, looked = [shares[i] for i in (0, 1, 3, 4, 6, 7)], shares[2::3]
    assert trained == pytest.approx([0.3] * 6, abs=0.1)
    assert looked == [0.0] * 3


@every_arch
def test_a_sample_takes_batch_statistics_from_training(arch):
    model = build(tiny_config("gan", arch), SHAPE)
    training = Training(model, model.config.train_config(batch_size=16))
    for _ in fit(training, pixels(), None, 3, 3):
        pass
    model.eval()
    before = [b.clone() for b in model.buffers()]
    z = sampling.latents(model, 0, 8)
    together, shifted = sampling.decode(model, z), sampling.decode(model, torch.cat([z[:1], 10 * z[1:]]))
    assert torch.equal(together[0], shifted[0])
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))
