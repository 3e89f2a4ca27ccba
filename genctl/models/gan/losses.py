"""What D and G minimise, by the name of --loss: functions of the logits D(x) and D(G(z)), [N, 1] each.

Means over the batch are written E; s(t) = log(1 + exp t), so -log D = s(-D) and -log(1 - D) = s(D) for a logit D.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


class Losses(NamedTuple):
    """One loss: D's, then G's, and what they take beside the logits."""

    d: Callable[..., Tensor]
    g: Callable[..., Tensor]
    labels: bool = False  # D is trained on labels, which may be soft
    pairs: bool = False  # G's loss looks at the logits of real images too

    @property
    def odds(self) -> bool:
        """Tell whether the best D(x) is log p(x)/q(x), q being G's density, or that and a constant."""
        return self.labels or self.pairs


def cross_entropy(real: Tensor, fake: Tensor, noise: Tensor) -> Tensor:
    """Return D's cross-entropy, E[s(-D(x))] + E[s(D(G(z)))] where noise [2, N, 1] is 0.

    Labels of real images are 1 - noise[0], of fakes noise[1]: symmetric, so D = 1/2 stays the fixed point.
    """
    d_loss = F.binary_cross_entropy_with_logits(real, 1 - noise[0])
    return d_loss + F.binary_cross_entropy_with_logits(fake, noise[1])


def non_saturating(real: Tensor | None, fake: Tensor) -> Tensor:
    """Return E[-log D(G(z))] (Goodfellow et al. 2014, arXiv:1406.2661)."""
    return F.softplus(-fake).mean()


def saturating(real: Tensor | None, fake: Tensor) -> Tensor:
    """Return E[log(1 - D(G(z)))], the game of V itself: no gradient where D is sure (Goodfellow et al. 2014)."""
    return -F.softplus(fake).mean()


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] (Lim & Ye 2017, arXiv:1705.02894)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def critic(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[D(G(z))] - E[D(x)], less the Wasserstein-1 distance for the best D of slope 1 (Arjovsky et al. 2017)."""
    return fake.mean() - real.mean()


def lift(real: Tensor | None, fake: Tensor) -> Tensor:
    """Return -E[D(G(z))], the generator's side of both the hinge and the Wasserstein loss (arXiv:1701.07875)."""
    return -fake.mean()


def relativistic_d(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[s(D(G(z)) - D(x))] over pairs of a real and a generated image (Huang et al. 2024, arXiv:2501.05441)."""
    return F.softplus(fake - real).mean()


def relativistic_g(real: Tensor, fake: Tensor) -> Tensor:
    """Return E[s(D(x) - D(G(z)))]: G wants its image above the real one of the pair (Huang et al. 2024)."""
    return F.softplus(real - fake).mean()


LOSSES = {
    "non-saturating": Losses(cross_entropy, non_saturating, labels=True),
    "saturating": Losses(cross_entropy, saturating, labels=True),
    "hinge": Losses(hinge, lift),
    "wasserstein": Losses(critic, lift),
    "relativistic": Losses(relativistic_d, relativistic_g, pairs=True),
}
