"""Couplings of mixtures of logistics: the density, the inverse and the gradients against the plain formulas."""

from __future__ import annotations

import pytest
import torch
from test_realnvp import TOLERANCE, dequantized, flow, normal, pixels, precise
from torch import Tensor

from genctl.errors import UsageError
from genctl.models.base import build
from genctl.models.realnvp.bijections import log_standard_normal
from genctl.models.realnvp.config import RealNVPConfig
from genctl.models.realnvp.mixture import WIDEST, MixtureCoupling, inverse_mixture, logit_mixture
from genctl.models.realnvp.model import RealNVP
from genctl.models.realnvp.steps import Coupling

K, D = 4, 6
FORMS = {
    "conv": {"couplings": 4, "channels": 4, "global_couplings": 1, "global_hidden": 8, "mixing": "conv1x1"},
    "multiscale": {"couplings": 2, "channels": 4, "global_couplings": 1, "global_hidden": 8},
    "mlp": {"depth": 4, "hidden": 16},
}
every_form = pytest.mark.parametrize("arch", FORMS)


def mixtures(n: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return n points [n, D] and mixtures theta [n, 3, K, D]."""
    return 3 * normal(n, D), scale * normal(n, 3, K, D)


def plain(x: Tensor, theta: Tensor) -> Tensor:
    """Return logit F(x) by its formula, in numbers rather than in logs."""
    log_pi, mu, raw = theta.unbind(1)
    s = torch.exp(-raw / (1 + raw.abs() / WIDEST))
    return torch.logit((log_pi.softmax(1) * torch.sigmoid((x[:, None] - mu) / s)).sum(1))


def mixed(arch: str, shape: tuple[int, int, int] = (1, 8, 8), scale: float = 0.1) -> RealNVP:
    return flow(arch, shape, scale, coupling="mixture", **FORMS[arch])


def test_the_map_and_its_slope_are_those_of_the_paper():
    x, theta = mixtures(50)
    x.requires_grad_()
    y, log_slope = logit_mixture(x, theta)
    truth = plain(x, theta)
    torch.testing.assert_close(y, truth)
    torch.testing.assert_close(log_slope, torch.autograd.grad(truth.sum(), x)[0].log())


def test_the_gradients_are_those_of_differences():
    x, theta = (t.requires_grad_() for t in mixtures(2))
    assert torch.autograd.gradcheck(logit_mixture, (x, theta))
    assert torch.autograd.gradcheck(inverse_mixture, (x, theta))


@precise
def test_far_out_the_map_is_the_line_of_the_widest_component(dtype):
    theta = normal(1, 3, K, D).to(dtype)
    raw = theta[:, 2]
    least = (raw / (1 + raw.abs() / WIDEST)).amin(1)
    for x in (-1e4, 1e4):
        y, log_slope = logit_mixture(torch.full((1, D), x, dtype=dtype), theta)
        assert torch.isfinite(y).all() and y.sign().unique().tolist() == [1 if x > 0 else -1]
        torch.testing.assert_close(log_slope, least, atol=1e-3, rtol=0)


@precise
@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_a_mixture_is_undone_by_its_inverse(scale, dtype):
    x, theta = (t.to(dtype) for t in mixtures(500, scale))
    y, log_slope = logit_mixture(x, theta)
    back, log_slope_back = inverse_mixture(y, theta)
    relative = (back - x).norm(dim=1) / x.norm(dim=1)
    assert relative.max() < {torch.float32: 1e-5, torch.float64: 1e-13}[dtype]
    assert (log_slope + log_slope_back).abs().max() < 10 * TOLERANCE[dtype]


def test_the_density_integrates_to_one():
    _, theta = mixtures(1)
    x = torch.linspace(-200, 200, 400_001, dtype=torch.float64)[:, None].expand(-1, D)
    y, log_slope = logit_mixture(x, theta)
    p = torch.exp(-y.square() / 2 + log_slope) / (2 * torch.pi) ** 0.5
    torch.testing.assert_close(torch.trapezoid(p, x, dim=0), torch.ones(D).double(), atol=1e-9, rtol=0)


@torch.no_grad()
def test_the_density_of_two_pixels_integrates_to_one():
    couplings = mixed("mlp", (1, 1, 2), 0.2).couplings.double()
    v = torch.linspace(-40, 40, 801, dtype=torch.float64)
    z, log_det = couplings(torch.cartesian_prod(v, v).reshape(-1, 1, 1, 2))
    p = torch.exp(log_standard_normal(z) + log_det).reshape(801, 801)
    assert max(p[edge].max() for edge in (0, -1, (slice(None), 0), (slice(None), -1))) < 1e-7
    assert torch.trapezoid(torch.trapezoid(p, v), v).item() == pytest.approx(1, abs=1e-4)


@precise
@every_form
def test_a_flow_of_mixtures_is_undone_by_its_inverse(arch, dtype):
    model, x = mixed(arch).to(dtype), dequantized(pixels((1, 8, 8)), dtype)
    with torch.no_grad():
        z, log_det = model(x)
        back, log_det_back = model.inverse(z)
    assert ((back - x).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)).max() < TOLERANCE[dtype]
    assert (log_det + log_det_back).abs().max() / 64 < TOLERANCE[dtype]


@every_form
def test_a_new_flow_is_nearly_the_identity_and_its_components_differ(arch):
    torch.manual_seed(0)
    model, x = (
        build(RealNVPConfig(arch=arch, coupling="mixture", **FORMS[arch]), (1, 8, 8)),
        normal(50, 1, 8, 8).float(),
    )
    parts = [part for part in model.couplings.modules() if isinstance(part, MixtureCoupling)]
    assert parts
    z, log_det = model.couplings(x)
    assert (log_det / 64).abs().max() < 0.5 and 0.5 < z.std() < 1.5
    for part in parts:
        means = part.network[-1].bias.unflatten(0, (2 + 3 * part.K, -1))[2 + part.K : 2 + 2 * part.K]
        assert (means.diff(dim=0) > 0).all()


@pytest.mark.parametrize("arch", ["conv", "multiscale"])
def test_couplings_over_the_whole_image_and_of_the_noise_are_affine(arch):
    model = mixed(arch)
    assert [type(p) for p in model.couplings.modules() if isinstance(p, Coupling)].count(Coupling) == 1
    assert not any(isinstance(p, MixtureCoupling) for p in model.dequantization.modules())


def test_components_belong_to_a_mixture():
    with pytest.raises(UsageError, match="--components belongs to --coupling mixture, not to --coupling affine"):
        RealNVPConfig(coupling="affine", components=3)
    small = RealNVPConfig(size="small")
    older = {name: value for name, value in small.to_dict().items() if name not in ("coupling", "components")}
    assert RealNVPConfig.from_dict(older) == small and small.coupling == "affine"


def test_the_default_is_of_mixtures_and_a_fully_connected_flow_is_not():
    assert RealNVPConfig().coupling == "mixture"
    assert RealNVPConfig(arch="mlp").coupling == "affine" == RealNVPConfig.from_dict({"arch": "conv"}).coupling
