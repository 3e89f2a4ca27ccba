"""Adam (Kingma & Ba 2015, arXiv:1412.6980) and AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), fused.

m <- beta1 m + (1 - beta1) g    v <- beta2 v + (1 - beta2) g^2
w <- w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

The update is torch's own fused kernel, to the bit what torch.optim does with fused=True. Making an optimizer of
torch.optim imports torch's compiler, which costs each training 0.7 s and 160 MB, so it is called here directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..models.base import Player

EPS = 1e-8
STATE = ("step", "exp_avg", "exp_avg_sq")  # what is kept for a parameter: t, m, v


@dataclass(frozen=True)
class RateGroup:
    """Parameters that step alike; the rate is a tensor, which a captured step sees change."""

    parameters: list[nn.Parameter]
    lr: Tensor
    lr_scale: float
    weight_decay: float


class Adam:
    """A player's optimizer: its state is made at a parameter's first step, and all of it can be read."""

    def __init__(self, player: Player, lr: float, device: torch.device) -> None:
        self.chosen = player.optimizer
        self.groups = [
            RateGroup(
                group.parameters,
                torch.tensor(lr * group.lr_scale, device=device),
                group.lr_scale,
                self.chosen.weight_decay if group.weight_decay is None else group.weight_decay,
            )
            for group in player.groups
        ]
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters of all groups."""
        return [p for group in self.groups for p in group.parameters]

    def set_rate(self, lr: float) -> None:
        """Set each group's learning rate to its share of this one."""
        for group in self.groups:
            group.lr.fill_(lr * group.lr_scale)

    @torch.no_grad()
    def step(self) -> None:
        """Move each parameter that has a gradient."""
        for group in self.groups:
            moving: list[Tensor] = [p for p in group.parameters if p.grad is not None]
            if moving:
                self.update(group, moving, [p.grad for p in moving if p.grad is not None])

    def update(self, group: RateGroup, moving: list[Tensor], gradients: list[Tensor]) -> None:
        """Call the fused kernel on some parameters of a group."""
        entries = [self.state.get(p) or self.fresh(p) for p in moving]
        steps, m, v = ([entry[name] for entry in entries] for name in STATE)
        torch._foreach_add_(steps, 1)
        update = {"adam": torch._fused_adam_, "adamw": torch._fused_adamw_}[self.chosen.kind]
        beta1, beta2 = self.chosen.betas
        update(
            moving,
            gradients,
            m,
            v,
            [],
            steps,
            lr=group.lr,
            beta1=beta1,
            beta2=beta2,
            weight_decay=group.weight_decay,
            eps=EPS,
            amsgrad=False,
            maximize=False,
        )

    def fresh(self, parameter: Tensor) -> dict[str, Tensor]:
        """Set and return the state of a parameter before its first step, laid out in memory as the parameter is."""
        t, m, v = torch.zeros((), device=parameter.device), torch.zeros_like(parameter), torch.zeros_like(parameter)
        self.state[parameter] = dict(zip(STATE, (t, m, v), strict=True))
        return self.state[parameter]


def learners(freeze: str | None, players: Mapping[str, Player]) -> dict[str, Player]:
    """Return the players that --freeze does not name, and take the gradients of the others away.

    Raises UsageError for a name of no player, or where none would learn.
    """
    names = {name.strip() for name in (freeze or "").split(",")} - {""}
    unknown, known = sorted(names - set(players)), ", ".join(players)
    if unknown:
        raise UsageError(f"--freeze is for players of this model ({known}); not {unknown[0]!r}.")
    if names == set(players):
        raise UsageError(f"--freeze {freeze} leaves no player to learn; leave it out.")
    for p in (p for name in names for p in players[name].parameters):
        p.requires_grad_(False)
    return {name: player for name, player in players.items() if name not in names}
