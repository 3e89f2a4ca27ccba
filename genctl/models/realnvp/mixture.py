"""Couplings of mixtures of logistics (Ho et al. 2019, Flow++, arXiv:1902.00275, section 3.2).

The part that moves goes through a mixture's distribution function, back to the real line, and then the affine map:

    y = logit F(x) exp(s) + t,    F(x) = sum_k pi_k sigmoid((x - mu_k) r_k),    r_k = 1 / s_k

With alpha_k = pi_k sigmoid(v_k) / F and beta_k = pi_k sigmoid(-v_k) / (1 - F), v_k = (x - mu_k) r_k, the slope is

    d logit F / dx = F'/F + F'/(1 - F) = sum_k r_k c_k,    c_k = alpha_k sigmoid(-v_k) + beta_k sigmoid(v_k)

which has no difference and no small denominator in it, far out in the tails too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .steps import Coupling

SPREAD = 1.0  # the means lie over [-SPREAD, SPREAD] at the start: equal components would stay equal
WIDEST = 3.0  # |log s_k| stays below it, so that |d log slope / dx| < 2 exp(WIDEST), and halvings make a line of it
HALVINGS = 16  # of the bracket in which x is searched
NEWTON = 4  # steps after them, each of which squares the error; one more has a gradient


class Shares(NamedTuple):
    """Where x lies in its mixture, each [N, K, ...]; of v, r, alpha and beta see above."""

    v: Tensor
    r: Tensor
    soft: Tensor  # log r = raw soft
    up: Tensor  # sigmoid(v)
    down: Tensor  # sigmoid(-v)
    alpha: Tensor
    beta: Tensor


def inverse_scale(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Return r = exp(raw soft) and soft = 1 / (1 + |raw| / WIDEST), whose product with raw stays within WIDEST."""
    soft = raw.abs().div_(WIDEST).add_(1).reciprocal_()
    return (raw * soft).exp_(), soft


def shares(x: Tensor, theta: Tensor) -> tuple[Tensor, Shares]:
    """Return logit F(x) [N, ...] and what it is made of; theta [N, 3, K, ...] holds log pi, mu and the raw log r.

    pi_k sigmoid(v_k) ~ exp(log pi_k + min(v_k, 0)) max(sigmoid(v_k), sigmoid(-v_k)), and the largest exponent is taken
    out of each sum. The sum of pi, which F and 1 - F share, is not needed.
    """
    log_pi, mu, raw = theta.unbind(1)
    r, soft = inverse_scale(raw)
    v = (x.unsqueeze(1) - mu).mul_(r)
    up, down = v.sigmoid(), v.neg().sigmoid_()
    larger = torch.maximum(up, down)
    alpha = v.clamp_max(0).add_(log_pi)
    beta = alpha - v
    m, n = alpha.amax(1, keepdim=True), beta.amax(1, keepdim=True)
    alpha, beta = alpha.sub_(m).exp_().mul_(larger), beta.sub_(n).exp_().mul_(larger)
    a, b = alpha.sum(1, keepdim=True), beta.sum(1, keepdim=True)  # of F and 1 - F; no less than 1/2
    logit = (m - n + (a / b).log()).squeeze(1)
    return logit, Shares(v, r, soft, up, down, alpha.div_(a), beta.div_(b))


def slope_of(found: Shares) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return d logit F / dx [N, ...], and the two terms of c and r c, [N, K, ...] each."""
    below, above = found.alpha * found.down, found.beta * found.up
    each = (below + above).mul_(found.r)
    slope = each.sum(1)
    return slope.clamp_min_(torch.finfo(slope.dtype).tiny), below, above, each


class _LogitMixture(torch.autograd.Function):
    """Logit F and the log of its slope; a backward pass of products alone, where autograd would keep thirty arrays."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        logit, found = shares(x, theta)
        slope, *terms = slope_of(found)
        v, r, soft, up, down, alpha, beta = found
        ctx.save_for_backward(logit, slope, v, r, soft, alpha, beta, down.sub_(up), *terms)
        return logit, slope.log()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients; r c / slope is a component's share in the density, and pi = F alpha + (1 - F) beta."""
        logit, slope, v, r, soft, alpha, beta, tilt, below, above, each = ctx.saved_tensors
        dy, dl = (d.unsqueeze(1) for d in gradients)
        F = logit.sigmoid().unsqueeze(1)
        d_theta = v.new_empty(len(v), 3, *v.shape[1:])
        d_log_pi, d_mu, d_raw = d_theta.unbind(1)
        gamma = each * (dl / slope.unsqueeze(1))  # the share, times dl
        torch.addcmul(gamma, alpha, dy - dl * (1 - F), out=d_log_pi).addcmul_(beta, dy + dl * F, value=-1)
        dv = (below * (dy - dl)).addcmul_(above, dy + dl).addcmul_(gamma, tilt)
        torch.addcmul(gamma, dv, v, out=d_raw).mul_(soft).mul_(soft)
        torch.mul(dv.neg_(), r, out=d_mu)
        return -d_mu.sum(1), d_theta


def logit_mixture(x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return logit F(x) and log d logit F / dx, both [N, ...], for x [N, ...] and theta [N, 3, K, ...]."""
    logit, log_slope = _LogitMixture.apply(x, theta)
    return logit, log_slope


def logit(x: Tensor, log_pi: Tensor, mu: Tensor, r: Tensor) -> Tensor:
    """Return logit F(x) [N, ...] alone, as shares has it, in fewer operations; the others are [N, K, ...]."""
    v = (x.unsqueeze(1) - mu).mul_(r)
    smaller = v.abs().neg_().exp_().add_(1)  # 1 / max(sigmoid(v), sigmoid(-v))
    alpha = v.clamp_max(0).add_(log_pi)
    beta = alpha - v
    m, n = alpha.amax(1, keepdim=True), beta.amax(1, keepdim=True)
    alpha, beta = alpha.sub_(m).exp_().div_(smaller), beta.sub_(n).exp_().div_(smaller)
    return (m - n + (alpha.sum(1, keepdim=True) / beta.sum(1, keepdim=True)).log()).squeeze(1)


@torch.no_grad()
def search(y: Tensor, theta: Tensor) -> Tensor:
    """Return x with logit F(x) = y: halvings until the slope is nearly the same over the bracket, then Newton's steps.

    A component alone would have x = mu_k + y s_k; that of the mixture lies between the least and the largest of them.
    There are always as many steps, and none looks at a value on the host.
    """
    log_pi, mu, raw = theta.unbind(1)
    r, _ = inverse_scale(raw)
    alone = mu + y.unsqueeze(1) / r
    low, high = alone.amin(1), alone.amax(1)
    for _ in range(HALVINGS):
        x = (low + high) / 2
        left = logit(x, log_pi, mu, r) < y
        low, high = torch.where(left, x, low), torch.where(left, high, x)
    x = (low + high) / 2
    for _ in range(NEWTON):
        now, found = shares(x, theta)
        x = torch.clamp(x + (y - now) / slope_of(found)[0], low, high)
    return x


def inverse_mixture(y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return x with logit F(x) = y, and log dx/dy; a last step of Newton's gives x its derivatives."""
    x = search(y, theta)
    now, log_slope = logit_mixture(x, theta)
    x = x + (y - now) * torch.exp(-log_slope.detach())
    return x, -logit_mixture(x, theta)[1]


class MixtureCoupling(Coupling):
    """A coupling b -> logit F(b) exp(s(a)) + t(a); a steers the mixture too, by 3 K more numbers a dimension."""

    def __init__(self, network: nn.Module, sizes: tuple[int, int], first_stays: bool, spatial: bool, K: int) -> None:
        super().__init__(network, sizes, first_stays, spatial)
        self.K = K
        self._spread(network)

    @torch.no_grad()
    def _spread(self, network: Any) -> None:
        means = network[-1].bias.unflatten(0, (2 + 3 * self.K, -1))[2 + self.K : 2 + 2 * self.K]
        means.copy_(torch.linspace(-SPREAD, SPREAD, self.K, device=means.device)[:, None].expand_as(means))

    def _parts(self, steer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        moved = len(self.bound)
        affine, theta = steer.split([2 * moved, 3 * self.K * moved], dim=1)
        return *self._scale_and_shift(affine), theta.unflatten(1, (3, self.K, moved))

    def forward(self, x: Tensor, given: Tensor | None = None, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logit F(b) exp(s) + t beside a."""
        a, b = self._divide(x)
        s, t, theta = self._parts(self._steer(a, given, context))
        b, log_slope = logit_mixture(b, theta)
        return self._join(a, b * torch.exp(s) + t), (s + log_slope).flatten(1).sum(1)

    def inverse(self, y: Tensor, given: Tensor | None = None, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return F^-1(sigmoid((b - t) exp(-s))) beside a."""
        a, b = self._divide(y)
        s, t, theta = self._parts(self._steer(a, given, context))
        b, log_slope = inverse_mixture((b - t) * torch.exp(-s), theta)
        return self._join(a, b), (log_slope - s).flatten(1).sum(1)


def coupling(network: nn.Module, sizes: tuple[int, int], first_stays: bool, spatial: bool, K: int) -> Coupling:
    """Return a coupling of K logistics, affine for K = 0; its network says 2 + 3 K numbers for each that moves."""
    if K == 0:
        return Coupling(network, sizes, first_stays, spatial)
    return MixtureCoupling(network, sizes, first_stays, spatial, K)
