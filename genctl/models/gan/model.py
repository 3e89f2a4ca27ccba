"""The generative adversarial network (Goodfellow et al. 2014, arXiv:1406.2661).

    min_G max_D V(D, G) = E_x[log D(x)] + E_z[log(1 - D(G(z)))],    z ~ N(0, I)

At the optimum D = 1/2 everywhere and V = -log 4. D is a logit here, so log D = -softplus(-D). What else the players may
minimise is in losses.py. Given a class y, G(z, y) and D(x, y) play for each class (Mirza & Osindero 2014,
arXiv:1411.1784): G is asked for the classes of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import SamplingOptions
from ...errors import UsageError
from ...seeds import noise
from ...types import Shape
from ..base import Batch, Decodes, Diagnosis, Epoch, Group, Loss, Noise, Optimizer, Player, Plot
from ..blocks import FromSigned
from . import collapse
from .config import CHOICE, GANConfig, GANSampling
from .losses import LOSSES
from .networks import BUILDERS
from .penalties import PENALTIES


def value(real: Tensor, fake: Tensor) -> Tensor:
    """Return V(D, G) with hard labels from the logits of real and of generated images."""
    return -F.softplus(-real).mean() - F.softplus(fake).mean()


class GAN(Decodes):
    """Two players: the discriminator D moves first, then the generator G, on the same G(z)."""

    smallest_batch = 2  # batch norm
    augments = True
    config: GANConfig

    def __init__(self, config: GANConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.plot = Plot("loss", {"D": "d_loss", "G": "g_loss"})
        if LOSSES[config.loss].labels:
            series = {"D loss": "d_loss", "G loss": "g_loss", "V(D, G)": "value"}
            self.plot = Plot("nats", series, {"-log 4": -log(4)})
        self.latent_shape = (config.latent_dim,)
        self.generator, self.discriminator = BUILDERS[config.arch](config, shape)
        self.batch_multiple = config.pack
        self.at_once = config.arch != "resnet"  # G has batch norm

    def players(self) -> list[Player]:
        """Return D and G with the momenta of Radford et al. 2016; G may have a rate of its own (arXiv:1706.08500).

        D's decay, decoupled, keeps it from learning the images by heart. G's is against specks. Adam steps as far by a
        small gradient as by a large one, so the weights of a pixel that the data hardly light wander, until some z
        lights it. An L2 penalty goes through Adam too and holds these weights more than others (both decays:
        Loshchilov & Hutter 2019, arXiv:1711.05101).
        """
        D, G, share = self.discriminator, self.generator, self.config.g_lr_share
        last = [p for p in G.parameters() if p.dim() == 2][-1]  # of --arch mlp: each pixel has a row of its own
        others = [p for p in G.parameters() if p is not last]
        decoupled, coupled = (Optimizer(kind, betas=(0.5, 0.999)) for kind in ("adamw", "adam"))
        return [
            Player("discriminator", [Group(list(D.parameters()), 1.0, self.config.d_decay)], decoupled),
            Player("generator", [Group(others, share), Group([last], share, self.config.g_decay)], coupled),
        ]

    def networks(self) -> list[nn.Module]:
        """Return G and D; but a penalty's derivatives of D are exact."""
        return [self.generator] if self.config.gradient_penalty != "none" else [self.generator, self.discriminator]

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """Yield D's move, then G's on the same G(z)."""
        G, losses, y = self.generator, LOSSES[self.config.loss], self.given(batch.y)
        D: Callable[..., Tensor] = partial(self.judge, self.discriminator, y)
        x = batch.x.float().div_(127.5).sub_(1)
        z = noise("normal", (len(x), *self.latent_shape), x.device)
        fake = G(z) if y is None else G(z, y)
        see = partial(self.seen, batch)
        x, fake = see(self.packed(x)), self.packed(fake)
        shown = see(fake.detach())
        soft = [self.config.label_noise * noise("uniform", (2, len(x), 1), x.device, images=1)] if losses.labels else []
        real_logits, fake_logits = D(torch.cat([x, shown])).chunk(2)  # [N, 1] each
        d_loss = losses.d(real_logits, fake_logits, *soft)
        terms = {"d_loss": d_loss, **self.look(real_logits, fake_logits)}
        if self.config.gradient_penalty != "none":
            exact = partial(self.judge, self.discriminator.forward, y)  # not what --compile makes of D
            terms["penalty"] = PENALTIES[self.config.gradient_penalty](exact, x, shown)  # without its weight
            d_loss = d_loss + self.config.gamma * terms["penalty"]
        yield Loss("discriminator", d_loss, terms)
        with torch.no_grad():
            beside = D(x) if losses.pairs else None
        g_loss = losses.g(beside, D(see(fake)))
        yield Loss("generator", g_loss, {"g_loss": g_loss})

    def judge(self, D: Callable[..., Tensor], y: Tensor | None, images: Tensor) -> Tensor:
        """Return D's logits [N/m, 1] of packed images, whose classes y [N] repeat where x and G(z) are one batch."""
        if y is None:
            return D(images)
        together = y.reshape(-1, self.config.pack)  # [N/m, m]
        return D(images, together.repeat(len(images) // len(together), 1))

    def seen(self, batch: Batch, images: Tensor) -> Tensor:
        """Return packed images as D sees them, real and generated ones alike (Zhao et al. 2020, arXiv:2006.10738).

        Each is changed by a draw of its own, and G learns through the change: it is not taught to draw changed images.
        """
        return images if batch.augment is None else self.packed(batch.augment(images.reshape(-1, *self.shape)))

    def packed(self, images: Tensor) -> Tensor:
        """Return [N, C, H, W] as [N/m, mC, H, W], which D sees together: a lack of variety shows (arXiv:1712.04086)."""
        N, C, H, W = images.shape
        m = self.config.pack
        return images.reshape(N // m, m * C, H, W) if m > 1 else images

    @torch.no_grad()
    def look(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Return the share of pairs that D ranks rightly, and V where that is played."""
        terms = {"d_accuracy": (real > fake).float().mean()}
        return terms | ({"value": value(real, fake)} if LOSSES[self.config.loss].labels else {})

    def diagnose(self, epoch: Epoch) -> Diagnosis:
        """Look at samples of G, not of D's choice, for a collapse, and at whether D still teaches G."""
        samples = epoch.samples(collapse.SAMPLES, GANSampling(choice=0))
        return Diagnosis(*collapse.look(samples, epoch.train, epoch.means.get("d_accuracy")))

    @property
    def noise_shapes(self) -> Sequence[Noise]:
        """Return the latent's noise; then that of the other candidates, and what decides among all K."""
        K = self.config.candidates if self.config.pack == 1 else 1  # of images judged together none is chosen
        own = Noise("normal", self.latent_shape)
        return [own, Noise("normal", (K - 1, *self.latent_shape)), Noise("uniform", (K,))] if K > 1 else [own]

    def draw(self, noise: Sequence[Tensor], y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
        """Return one of K candidates G(z_k), with a probability in proportion to exp(w D(G(z_k))), [N, C, H, W].

        The best D is log p(x)/q(x), q being G's density. So at w = 1 this draws from D's idea of p as K grows; at
        w = 0 from q, and a larger w trusts G less. Azadi et al. 2019, arXiv:1810.06758, choose one by one instead.
        """
        w = self.weight_of_choice(options)
        if w == 0:
            return super().draw(noise, y, options)
        first, others, u = noise
        N, K = u.shape
        e = torch.cat([first.unsqueeze(1), others], 1).flatten(0, 1)  # [N K, latent_dim]
        y = self.given(y)
        y = None if y is None else y.repeat_interleave(K)
        x = self.decode(self.latent([e], options), y)  # [N K, C, H, W]
        logits = self.judge(self.discriminator, y, 2 * x - 1).view(N, K)
        k = (w * logits - torch.log(-torch.log(u))).argmax(1)  # a draw of softmax(w D): Gumbel's way
        return x.unflatten(0, (N, K))[torch.arange(N, device=u.device), k]

    def weight_of_choice(self, options: SamplingOptions | None) -> float:
        """Return w: 0 where D has no say; raise UsageError where one is asked for and there are no candidates."""
        w = options.choice if isinstance(options, GANSampling) else None
        if len(self.noise_shapes) == 1:
            if w:
                raise UsageError(
                    "--choice is for a GAN of --candidates, which this one was trained without; leave it out."
                )
            return 0.0
        if w is None:
            return CHOICE if LOSSES[self.config.loss].odds else 0.0
        return w

    def decode(self, z: Tensor, y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
        """Return G(z), moved from [-1, 1] to [0, 1]."""
        y = self.given(y)
        return ((self.generator(z) if y is None else self.generator(z, y)) + 1) / 2

    def decoder_layers(self) -> Sequence[nn.Module]:
        """Return the layers of G, and the move from [-1, 1] to [0, 1]."""
        return [*self.generator.children(), FromSigned()]
