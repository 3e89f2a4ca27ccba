"""A player's optimizer, with a rate for each group of its parameters that the schedule writes."""

from __future__ import annotations

import torch

from ..models.base import Player

KINDS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
STATE = ("step", "exp_avg", "exp_avg_sq")  # what both keep for a parameter
LIKE_THE_PARAMETER = ("exp_avg", "exp_avg_sq")


def optimizer_of(player: Player, lr: float, device: torch.device) -> torch.optim.Optimizer:
    """Return the optimizer that a player declares; its rates are tensors, which a captured step sees change."""
    chosen = player.optimizer
    groups = [
        {"params": group.parameters, "lr": torch.tensor(lr * group.lr_scale, device=device), "lr_scale": group.lr_scale}
        for group in player.groups
    ]
    return KINDS[chosen.kind](
        groups,
        betas=chosen.betas,
        weight_decay=chosen.weight_decay,
        fused=device.type in ("cpu", "cuda"),
        capturable=device.type == "cuda",
    )
