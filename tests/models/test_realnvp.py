"""The flow's laws, with weights that are not the identity start: inverses, log-determinants, and mass one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from math import log, prod
from pathlib import Path

import pytest
import torch
from conftest import tiny_config
from torch import Tensor, nn

import genctl
from genctl import data
from genctl.errors import UsageError
from genctl.evaluation.bounds import bits_per_dim, bound, round_trip
from genctl.models.base import Batch, build
from genctl.models.realnvp.bijections import (
    Bijection,
    Chain,
    Flatten,
    Logit,
    MultiScale,
    Rearrange,
    SpaceToDepth,
    Standardize,
    log_standard_normal,
)
from genctl.models.realnvp.config import SIZES, RealNVPConfig
from genctl.models.realnvp.mixture import MixtureCoupling
from genctl.models.realnvp.model import RealNVP
from genctl.models.realnvp.networks import (
    GatedBlock,
    checkerboard,
    fully_connected,
    partitions,
    residual_network,
    squeeze,
)
from genctl.models.realnvp.steps import Coupling, Mix
from genctl.runs import load
from genctl.seeds import generator, noise
from genctl.types import Shape

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
precise = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
USUAL = RealNVPConfig.estimators[0].name
every_arch = pytest.mark.parametrize("arch", ["conv", "mlp", "multiscale"])


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator("normal", *shape), dtype=torch.float64)


def wake(module: nn.Module, scale: float = 0.01) -> nn.Module:
    """Draw each zero-initialised layer from N(0, scale^2): the couplings are no longer the identity."""
    random = generator("wake")
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d) and not layer.weight.any():
                for p in layer.parameters():
                    p.copy_(scale * torch.randn(p.shape, generator=random))
    return module


def coupling(spatial: bool, first_stays: bool) -> Coupling:
    """Return a coupling of sizes (2, 3) with weights that are not zero."""
    sizes = (2, 3)
    kept, moved = sizes if first_stays else sizes[::-1]
    torch.manual_seed(0)
    network = residual_network(kept, 2 * moved, 4, 1) if spatial else fully_connected(kept, 2 * moved, 8)
    part = wake(Coupling(network, sizes, first_stays, spatial), 0.3)
    assert isinstance(part, Coupling)
    with torch.no_grad():
        part.bound.copy_(torch.linspace(0.5, 1.5, moved).reshape(part.bound.shape))
    return part


def mixture(spatial: bool, first_stays: bool) -> MixtureCoupling:
    """Return a coupling of three logistics, of sizes (2, 3), with weights that are not zero."""
    kept, moved = (2, 3) if first_stays else (3, 2)
    torch.manual_seed(0)
    network = residual_network(kept, 11 * moved, 4, 1) if spatial else fully_connected(kept, 11 * moved, 8)
    part = wake(MixtureCoupling(network, (2, 3), first_stays, spatial, 3), 0.3)
    assert isinstance(part, MixtureCoupling)
    return part


def standardize(shape: Shape) -> Standardize:
    part = Standardize(shape)
    part.initialize(5 + 3 * normal(64, *shape).float())
    return part


def multiscale() -> MultiScale:
    squeezed = [Chain(SpaceToDepth(), standardize((4, 4, 4))), Chain(SpaceToDepth(), standardize((8, 2, 2)))]
    return MultiScale(squeezed, [(4, 4, 4), (8, 2, 2)])


def mix(channels: int) -> Mix:
    """Return a mixing that is no rotation any more."""
    torch.manual_seed(0)
    part = Mix(channels)
    with torch.no_grad():
        for p in part.parameters():
            p.add_(0.3 * torch.randn(p.shape))
    return part


PARTS: dict[str, tuple[Callable[[], Bijection], tuple[int, ...]]] = {
    "standardize": (lambda: standardize((2, 4, 3)), (2, 4, 3)),
    "activation normalization": (lambda: standardize((5, 1, 1)), (5, 2, 3)),
    "mix": (lambda: mix(5), (5, 2, 3)),
    "rearrange": (lambda: Rearrange([2, 0, 4, 1, 3]), (5, 2, 3)),
    "space to depth": (SpaceToDepth, (3, 4, 6)),
    "flatten": (lambda: Flatten((2, 3, 4)), (2, 3, 4)),
    "spatial coupling, first stays": (lambda: coupling(True, True), (5, 3, 2)),
    "spatial coupling, second stays": (lambda: coupling(True, False), (5, 3, 2)),
    "flat coupling, first stays": (lambda: coupling(False, True), (5,)),
    "flat coupling, second stays": (lambda: coupling(False, False), (5,)),
    "spatial mixture, first stays": (lambda: mixture(True, True), (5, 3, 2)),
    "flat mixture, second stays": (lambda: mixture(False, False), (5,)),
    "chain": (lambda: Chain(Rearrange([4, 2, 0, 1, 3]), coupling(True, True), coupling(True, False)), (5, 2, 3)),
    "multiscale": (multiscale, (1, 8, 8)),
    "logit": (lambda: Logit(1e-5), (1, 4, 4)),
}
every_part = pytest.mark.parametrize("name", PARTS)


def inputs(name: str, n: int = 64) -> Tensor:
    """Return float64 inputs of a part: pixels in (0, 256) for the logit, with both ends, else N(0, 1)."""
    _, shape = PARTS[name]
    if name != "logit":
        return normal(n, *shape)
    x = 256 * torch.rand(n, *shape, generator=generator("pixels"), dtype=torch.float64)
    x[0] = torch.linspace(1e-3, 256 - 1e-3, prod(shape), dtype=torch.float64).reshape(shape)
    return x


def pixels(shape: Shape, n: int = 256) -> Tensor:
    """Return uint8 images whose grey values differ in their mean and spread."""
    centre = 256 * torch.rand(1, *shape, generator=generator("centre"))
    return (centre + 60 * torch.randn(n, *shape, generator=generator("spread"))).clamp(0, 255).to(torch.uint8)


def flow(arch: str, shape: Shape, scale: float = 0.01, **options: object) -> RealNVP:
    """Return a small flow, initialized on images, with no layer left at zero."""
    torch.manual_seed(0)
    small = tiny_config("realnvp", arch) if not options else RealNVPConfig(arch=arch, **options)
    model = build(small, shape)
    assert isinstance(model, RealNVP)
    wake(model.couplings, scale)
    wake(model.dequantization, scale)
    model.initialize(pixels(shape))
    assert all(p.any() for part in model.modules() if isinstance(part, Coupling) for p in part.parameters())
    return model


# Inverses


@precise
@every_part
def test_a_part_is_undone_by_its_inverse(name, dtype):
    part, x = PARTS[name][0]().to(dtype), inputs(name).to(dtype)
    with torch.no_grad():
        y, log_det = part(x)
        back, log_det_back = part.inverse(y)
    assert back.shape == x.shape and log_det.shape == log_det_back.shape == (len(x),)
    relative = (back - x).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
    assert relative.max() < TOLERANCE[dtype]
    assert (log_det + log_det_back).abs().max() / x[0].numel() < TOLERANCE[dtype]


def dequantized(x: Tensor, dtype: torch.dtype) -> Tensor:
    return (x + torch.rand(x.shape, generator=generator("u"), dtype=torch.float64)).to(dtype)


@precise
@every_arch
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 8)])
def test_a_flow_is_undone_by_its_inverse(arch, shape, dtype):
    relative, log_det = round_trip(flow(arch, shape).to(dtype), dequantized(pixels(shape), dtype))
    assert relative < TOLERANCE[dtype]
    assert log_det < TOLERANCE[dtype]


@precise
@every_arch
def test_the_default_flow_on_mnist_is_undone_by_its_inverse(arch, dtype):
    torch.manual_seed(0)
    model, x = build(RealNVPConfig(arch=arch), (1, 28, 28)), data.load("mnist", train_size=200).train.pixels
    model.initialize(x)
    wake(model.couplings)
    relative, log_det = round_trip(model.to(dtype), dequantized(x[:20], dtype))
    assert relative < TOLERANCE[dtype]
    assert log_det < TOLERANCE[dtype]


@every_arch
def test_a_latent_is_found_again(arch):
    model = flow(arch, (1, 8, 8)).double()
    z = normal(20, *model.latent_shape)
    with torch.no_grad():
        y, _ = model.inverse(z)
        assert y.min() > 0 and y.max() < 256
        torch.testing.assert_close(model(y)[0], z, atol=1e-8, rtol=0)


@every_arch
def test_images_come_back_exactly_from_their_latents(arch):
    x = pixels((1, 8, 8), 64)
    x[0], x[1] = 0, 255
    model = flow(arch, (1, 8, 8))
    with torch.no_grad():
        assert torch.equal(255 * model.decode(model.encode(x)), x.float())


# Log-determinants


def log_det_by_autograd(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return log |det of the Jacobian| of function at one input x [1, ...]."""
    jacobian = torch.autograd.functional.jacobian(lambda flat: function(flat.view(x.shape)).flatten(), x.flatten())
    return torch.linalg.slogdet(jacobian).logabsdet


@every_part
def test_a_part_s_log_det_is_the_jacobian_s(name):
    part = PARTS[name][0]().double()
    for x in inputs(name, 3).split(1):
        y, log_det = part(x)
        truth = log_det_by_autograd(lambda x: part(x)[0], x)
        torch.testing.assert_close(log_det[0], truth, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(part.inverse(y)[1][0], -truth, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("arch", "shape"), [("conv", (1, 4, 4)), ("conv", (3, 4, 4)), ("multiscale", (1, 4, 4)), ("mlp", (1, 3, 3))]
)
def test_a_flow_s_log_det_is_the_jacobian_s(arch, shape):
    model = flow(arch, shape, scale=0.2).double()
    for x in dequantized(pixels(shape, 3), torch.float64).split(1):
        z, log_det = model(x)
        truth = log_det_by_autograd(lambda x: model(x)[0], x)
        assert abs(log_det.item() + prod(shape) * log(256)) > 1, "the couplings and the logit have a part in it"
        torch.testing.assert_close(log_det[0], truth, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(model.inverse(z)[1][0], -truth, atol=1e-6, rtol=1e-6)


def test_log_density_is_the_normal_s_by_the_change_of_variables():
    model, y = flow("conv", (1, 4, 4)).double(), dequantized(pixels((1, 4, 4), 5), torch.float64)
    with torch.no_grad():
        z, log_det = model(y)
        truth = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1) + log_det
        torch.testing.assert_close(model.log_density(y), truth)
        torch.testing.assert_close(log_standard_normal(z) + log_det, truth)


# Mass


def two_pixels(dequantization: str) -> RealNVP:
    """Return a flow of 1 x 2 images whose mass is far from the ends of (0, 256), where draws would be too uneven."""
    options = {"depth": 4, "hidden": 8, "dequantization": dequantization, "dequantization_couplings": 1}
    model = flow("mlp", (1, 1, 2), scale=0.3, **options)
    model.initialize((128 + 30 * normal(1000, 1, 1, 2)).clamp(0, 255).to(torch.uint8))
    if dequantization == "variational":  # wide as the logistic, or the draws that matter are too rare
        with torch.no_grad():
            model.dequantization.couplings[0].network[-1].bias[:2] = 0.85
    return model.double()


every_dequantization = pytest.mark.parametrize("dequantization", ["uniform", "variational"])


@torch.no_grad()
@every_dequantization
def test_the_probabilities_of_all_images_of_two_pixels_sum_to_one(dequantization):
    model = two_pixels(dequantization)
    levels = torch.arange(256, dtype=torch.uint8)
    every = torch.cartesian_prod(levels, levels).reshape(65_536, 1, 1, 2)
    K = 8
    p = model.log_weights(every, K, generator("mass"), USUAL).exp()  # [K, 65536]
    error = (p.var(0) / K).sum().sqrt().item()
    assert error < 2e-3, "too uncertain to tell"
    assert p.mean(0).sum().item() == pytest.approx(1, abs=5 * error)


@every_dequantization
def test_the_mass_is_not_spread_evenly(dequantization):
    with torch.no_grad():
        log_p = two_pixels(dequantization).log_weights(pixels((1, 1, 2)), 1, generator("even"), USUAL)[0]
    assert log_p.std() > 1


# The checkerboard


def squares(shape: Shape) -> Tensor:
    """Return (h + w) % 2 of each pixel, [C, H, W]."""
    C, H, W = shape
    return torch.tensor([[[(h + w) % 2 for w in range(W)] for h in range(H)] for _ in range(C)])


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 3, 5), (3, 2, 4)])
def test_the_flat_checkerboard_has_the_even_squares_first(shape):
    order, (even, odd) = checkerboard(shape)
    colours = squares(shape).flatten()[torch.tensor(order)]
    assert sorted(order) == list(range(prod(shape)))
    assert colours.tolist() == [0] * even + [1] * odd


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 8)])
def test_the_squeezed_checkerboard_is_the_one_of_full_resolution(shape):
    stage = flow("multiscale", shape).couplings.stages[0]
    squeeze = Chain(*stage.parts[:2])
    first, second = squeeze(squares(shape)[None].float())[0].chunk(2, dim=1)
    assert first.eq(0).all() and second.eq(1).all()


@every_arch
@pytest.mark.parametrize("place", [0, 1])
def test_a_checkerboard_coupling_moves_one_colour_by_the_other(arch, place):
    shape = (1, 8, 8)
    couplings = flow(arch, shape, scale=0.2).couplings
    parts = couplings.stages[0].parts if arch == "multiscale" else couplings.parts
    before, step, x = Chain(*parts[:2]), parts[2 + place], normal(1, *shape).float()
    moving = squares(shape) == (1 - place)

    def apply(x: Tensor) -> Tensor:
        return before.inverse(step(before(x)[0])[0])[0]

    assert torch.equal(apply(x)[0] != x[0], moving)
    jacobian = torch.autograd.functional.jacobian(lambda x: apply(x[None])[0].flatten(), x[0]).flatten(1)
    own = jacobian - torch.diag(jacobian.diag())
    assert (own[~moving.flatten()] == 0).all()
    assert (own[:, moving.flatten()] == 0).all()
    assert (own[moving.flatten()][:, ~moving.flatten()] != 0).any()


def test_the_partitions_are_squares_then_rows_then_squares_again():
    shape = (3, 4, 8)
    stage = flow("multiscale", shape).couplings.stages[0]
    squeeze, to_squares, to_rows, back = [part for part in stage.parts if isinstance(part, SpaceToDepth | Rearrange)]
    rows = torch.arange(4)[:, None].expand(shape) % 2
    for parts, wanted in [
        ((squeeze, to_squares), squares(shape)),
        ((squeeze, to_squares, to_rows), rows),
        ((squeeze, to_squares, to_rows, back), squares(shape)),
    ]:
        first, second = Chain(*parts)(wanted[None].float())[0].chunk(2, dim=1)
        assert first.eq(0).all() and second.eq(1).all()


@every_arch
def test_every_pixel_is_moved(arch):
    model = flow(arch, (1, 8, 8))
    moved = (model.couplings(normal(1, 1, 8, 8).float())[0]).sort().values
    assert not torch.isin(normal(1, 1, 8, 8).float(), moved).any()


# Parts


def test_standardized_pixels_have_mean_0_and_variance_1():
    x = 5 + 3 * normal(200, 2, 3, 4) + 10 * normal(2, 3, 4)
    part = Standardize((2, 3, 4)).double()
    part.initialize(x)
    y, _ = part(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(2, 3, 4).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(y.var(0, correction=0), torch.ones(2, 3, 4).double())


def test_a_flow_standardizes_its_first_images():
    x = pixels((1, 8, 8), 500)
    model = build(tiny_config("realnvp", "conv"), (1, 8, 8))
    torch.manual_seed(0)
    model.initialize(x)
    y, _ = model.standardize(model.logit(dequantized(x, torch.float32))[0])
    assert y.mean(0).abs().max() < 0.2
    assert (y.std(0) - 1).abs().max() < 0.2


def test_a_new_flow_is_no_more_than_logit_and_standardize():
    model, x = build(RealNVPConfig(coupling="affine"), (1, 8, 8)), dequantized(pixels((1, 8, 8), 5), torch.float32)
    _, log_det = model.couplings(normal(5, 1, 8, 8).float())
    assert (log_det == 0).all()
    torch.testing.assert_close(model(x)[0].sort().values, model.logit(x)[0].flatten(1).sort().values)


def test_the_logit_is_that_of_the_paper():
    alpha = 0.05
    y, log_det = Logit(alpha)(torch.tensor([[0.0], [64.0], [256.0]], dtype=torch.float64))
    p = torch.tensor([[alpha / 2], [alpha / 2 + (1 - alpha) / 4], [1 - alpha / 2]], dtype=torch.float64)
    torch.testing.assert_close(y, torch.logit(p))
    torch.testing.assert_close(log_det, (log((1 - alpha) / 256) - p.log() - (1 - p).log())[:, 0])


def test_a_coupling_is_the_paper_s_with_a_bounded_scale():
    part, x = coupling(False, True).double(), normal(20, 5)
    raw, t = part.network(x[:, :2]).chunk(2, dim=1)
    s = part.bound * torch.tanh(raw)
    y, log_det = part(x)
    assert torch.equal(y[:, :2], x[:, :2])
    torch.testing.assert_close(y[:, 2:], x[:, 2:] * s.exp() + t)
    torch.testing.assert_close(log_det, s.sum(1))
    _, far = part(1e6 * x)
    assert far.abs().max() <= part.bound.sum() + 1e-9


def test_half_of_the_channels_leave_after_the_first_scale():
    stages = [Chain(SpaceToDepth()), Chain(SpaceToDepth())]
    x = torch.arange(64.0).reshape(1, 1, 8, 8)
    z, _ = MultiScale(stages, [(4, 4, 4), (8, 2, 2)])(x)
    squeezed = stages[0](x)[0]
    assert torch.equal(z[0, :32], squeezed[:, 2:].flatten())
    assert torch.equal(z[0, 32:], stages[1](squeezed[:, :2])[0].flatten())


def test_space_to_depth_puts_a_block_s_corners_into_channels():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    y, _ = SpaceToDepth()(x)
    assert y[0, :, 0, 0].tolist() == [0, 1, 4, 5]
    assert y[0, :, 1, 1].tolist() == [10, 11, 14, 15]


def test_a_block_s_halves_are_those_of_the_image():
    shape = (3, 8, 8)
    row, column = torch.arange(8)[:, None].expand(shape), torch.arange(8).expand(shape)
    wanted = [squares(shape), row % 2, column % 2, (row // 2 + column // 2) % 2]
    for order, side in zip(partitions(3, 2), wanted, strict=True):
        first, second = Chain(squeeze(2), Rearrange(order))(side[None].float())[0].chunk(2, dim=1)
        assert first.eq(0).all() and second.eq(1).all()


def test_the_halves_change_after_each_pair_of_couplings():
    shape = (1, 8, 8)
    options = {"couplings": 8, "channels": 4, "global_couplings": 0, "dequantization": "uniform"}
    parts, seen = flow("conv", shape, **options).couplings.parts, []
    for i, part in enumerate(parts):
        if isinstance(part, Coupling) and part.first_stays:
            ids = Chain(*[p for p in parts[:i] if not isinstance(p, Coupling)])(torch.arange(64.0).reshape(1, *shape))[
                0
            ]
            seen.append(set(ids[0, :8].flatten().tolist()))
    assert len(seen) == 4 and len({frozenset(half) for half in seen}) == 4


def test_a_mixing_is_the_matrix_of_its_factors():
    part, x = mix(5).double(), normal(4, 5, 2, 3)
    L, U = part.L.tril(-1) + torch.eye(5), part.U.triu(1) + torch.diag(part.sign * part.log_s.exp())
    y, log_det = part(x)
    torch.testing.assert_close(y, torch.einsum("ij,njhw->nihw", part.P @ L @ U, x))
    torch.testing.assert_close(log_det, 6 * torch.linalg.slogdet(part.P @ L @ U).logabsdet.expand(4))


def test_a_mixing_starts_as_a_rotation():
    x = normal(4, 16, 2, 3).float()
    y, log_det = Mix(16)(x)
    torch.testing.assert_close(y.square().sum(1), x.square().sum(1))
    torch.testing.assert_close(log_det, torch.zeros(4), atol=1e-4, rtol=0)
    assert (y - x).abs().max() > 0.1


@torch.no_grad()
def test_each_activation_normalization_starts_with_mean_0_and_variance_1():
    model, x = flow("conv", (1, 8, 8), scale=0.3), pixels((1, 8, 8), 400)
    y = model.standardize(model.logit(dequantized(x, torch.float32))[0])[0]
    model.couplings.initialize(y)
    normalized = 0
    for part in model.couplings.parts:
        y = part(y)[0]
        if isinstance(part, Standardize):
            normalized += 1
            assert y.mean((0, 2, 3)).abs().max() < 1e-4
            assert (y.var((0, 2, 3), correction=0) - 1).abs().max() < 1e-3
    assert normalized == 2


def test_a_gated_block_can_leave_its_input_alone():
    block, x = GatedBlock(4), normal(2, 4, 5, 5).float()
    with torch.no_grad():
        block.body[-1].bias[4:] = -100
        assert torch.equal(block(x), x)
        block.body[-1].bias[4:] = 100
        torch.testing.assert_close(block(x), x + block.body(x)[:, :4])


# Dequantization


def variational(arch: str, shape: Shape) -> RealNVP:
    options = {"depth": 2, "hidden": 32} if arch == "mlp" else {"couplings": 2, "channels": 4, "global_couplings": 0}
    return flow(arch, shape, scale=0.3, dequantization_couplings=2, **options)


@pytest.mark.parametrize(("arch", "shape"), [("conv", (1, 4, 4)), ("multiscale", (1, 4, 4)), ("mlp", (1, 3, 3))])
def test_the_noise_s_density_is_that_of_the_normal_by_the_change_of_variables(arch, shape):
    model = variational(arch, shape).double()
    for x in pixels(shape, 3).split(1):
        e = normal(1, *shape)
        u, log_q = model.dequantization(x, e)
        assert 0 < u.min() < u.max() < 1
        change = log_det_by_autograd(lambda e, x=x: model.dequantization(x, e)[0], e)
        torch.testing.assert_close(log_q[0], torch.distributions.Normal(0.0, 1.0).log_prob(e).sum() - change)


@pytest.mark.parametrize("arch", ["conv", "mlp"])
def test_the_noise_depends_on_the_image_and_on_its_other_half(arch):
    model, e = variational(arch, (1, 8, 8)), normal(1, 1, 8, 8).float()
    u = model.dequantization(torch.zeros(1, 1, 8, 8), e)[0]
    assert (model.dequantization(torch.full((1, 1, 8, 8), 255), e)[0] - u).abs().min() > 0
    jacobian = torch.autograd.functional.jacobian(
        lambda e: model.dequantization(torch.zeros(1, 1, 8, 8), e)[0].flatten(), e
    ).reshape(64, 64)
    colour = squares((1, 8, 8)).flatten().bool()
    assert (jacobian[colour][:, ~colour] != 0).any() and (jacobian[~colour][:, colour] != 0).any()


@precise
def test_a_coupling_with_a_context_is_undone_by_its_inverse(dtype):
    torch.manual_seed(0)
    part = wake(Coupling(fully_connected(2 + 4, 2 * 3, 8), (2, 3), True, False), 0.3).to(dtype)
    x, context = normal(20, 5).to(dtype), normal(20, 4).to(dtype)
    y, log_det = part(x, context=context)
    back, log_det_back = part.inverse(y, context=context)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(log_det, -log_det_back)
    assert (part(x, context=context + 1)[0] != y).any()


def test_training_minimises_what_evaluation_reports():
    model, x = variational("conv", (1, 8, 8)), pixels((1, 8, 8), 2000)
    with torch.no_grad():
        (loss,) = model.losses(Batch(x, None, 0, 0.0))
        log_w = model.log_weights(x, 1, generator("same"), USUAL)[0]
    error = (2 * log_w.var() / len(x)).sqrt().item()
    assert loss.minimise.item() == pytest.approx(-log_w.mean().item(), abs=5 * error)


@every_arch
@every_dequantization
@torch.no_grad()
def test_bits_per_dim_do_not_depend_on_the_batch(arch, dequantization):
    sizes = {"depth": 2, "hidden": 8} if arch == "mlp" else {"channels": 4}
    model, x = flow(arch, (1, 8, 8), dequantization=dequantization, **sizes), pixels((1, 8, 8), 6)
    e = noise(model.dequantization.kind, (6, 1, 8, 8), torch.device("cpu"))
    y, log_q = model.dequantize(x, e)
    whole = model.log_density(y) - log_q
    for i in range(6):
        y, log_q = model.dequantize(x[i : i + 1], e[i : i + 1])
        torch.testing.assert_close((model.log_density(y) - log_q)[0], whole[i], atol=1e-3, rtol=1e-5)


# Sizes


@pytest.mark.parametrize("size", SIZES)
def test_a_size_fills_what_was_not_typed(size):
    assert {name: getattr(RealNVPConfig(size=size), name) for name in SIZES[size]} == SIZES[size]
    typed = RealNVPConfig(size=size, channels=7, global_couplings=0)
    assert asdict(typed) == asdict(RealNVPConfig(size=size)) | {"channels": 7, "global_couplings": 0}
    assert RealNVPConfig.from_dict(asdict(typed)) == typed


@pytest.mark.parametrize("arch", ["conv", "mlp"])
def test_a_size_of_another_form_is_refused(arch):
    with pytest.raises(UsageError, match=f"--size large is of --arch multiscale, not of {arch}; leave one of them"):
        RealNVPConfig(size="large", arch=arch)


def test_an_unknown_size_is_refused():
    with pytest.raises(UsageError, match="--size is one of small, medium, large; not 'huge'"):
        RealNVPConfig(size="huge")


def test_a_checkpoint_from_before_there_were_sizes_is_of_the_form_that_was():
    old = {"couplings": 2, "channels": 16, "blocks": 1, "global_couplings": 4, "global_hidden": 512}
    flat = {"depth": 8, "hidden": 1024, "alpha": 1e-5}
    conv = RealNVPConfig.from_dict({"arch": "conv", **old, **flat})
    assert (conv.arch, conv.dequantization, conv.couplings) == ("multiscale", "uniform", 2)
    mlp = RealNVPConfig.from_dict({"arch": "mlp", **old, **flat})
    assert (mlp.arch, mlp.dequantization) == ("mlp", "uniform")


def test_the_shipped_weights_fit():
    path = Path(genctl.__file__).parent.parent / "checkpoints" / "realnvp.safetensors"
    model, _ = load.load_model(path)
    assert isinstance(model, RealNVP)
    x = data.load("mnist").validation.pixels[:200]
    assert bits_per_dim(bound(model, x, 1, *RealNVPConfig.estimators).tight.mean().item(), (1, 28, 28)) < 1.4


# The bound


def test_a_draw_adds_uniform_noise_of_density_one():
    model, x = flow("multiscale", (1, 4, 4)), pixels((1, 4, 4), 6)
    u = torch.rand(3, 6, 1, 4, 4, generator=generator("draws"))
    with torch.no_grad():
        log_w = model.log_weights(x, 3, generator("draws"), USUAL)
        for k in range(3):
            torch.testing.assert_close(log_w[k], model.log_density(x + u[k]), atol=1e-4, rtol=1e-5)
