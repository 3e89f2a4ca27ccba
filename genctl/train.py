"""The training loop, the only one: it plays any number of players and yields each step."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, pi
from operator import itemgetter

import torch
from torch import Tensor, nn

from .config import TrainConfig
from .model import Batch, Model, Player
from .seeds import generator, seed_step

EMA_EVERY = 8  # steps between updates of the average: as good as every step, and nearly free


@dataclass(frozen=True)
class Step:
    """What a step leaves to read; its tensors are valid until the next step."""

    step: int  # steps done, this one included
    terms: dict[str, Tensor]  # scalars on the device


def rate(schedule: str, progress: float) -> float:
    """Return the share of the peak learning rate at a progress in [0, 1].

    one-cycle (Smith & Topin 2019, arXiv:1708.07120) rises over the first tenth and falls as a cosine. A run that
    is extended goes on at a hundredth.
    """
    if schedule == "constant":
        return 1.0
    if progress >= 1:
        return 0.01
    if schedule == "cosine":
        return 0.01 + 0.99 * (1 + cos(pi * progress)) / 2
    if progress < 0.1:
        return 0.1 + 0.9 * progress / 0.1
    return (1 + cos(pi * (progress - 0.1) / 0.9)) / 2


class Training:
    """All that a training carries from one step to the next: a resume restores exactly this."""

    def __init__(self, model: Model, config: TrainConfig) -> None:
        self.model = model
        self.config = config
        self.device = model.device
        self.players = {player.name: player for player in model.players()}
        self.optimizers = {name: adam(player, config.lr, self.device) for name, player in self.players.items()}
        self.ema = copy.deepcopy(model).requires_grad_(False) if config.ema else None
        self.step = 0
        self.totals: dict[str, Tensor] = {}  # sums of the terms over this epoch so far
        # For each player the first step whose loss was not finite, 0 for none: read only now and then.
        self.diverged = torch.zeros(len(self.players), dtype=torch.int64, device=self.device)

    @property
    def best(self) -> Model:
        """Return the weights to use: the moving average where there is one."""
        return self.ema if self.ema is not None else self.model

    def failure(self) -> str | None:
        """Return what was not finite first, None if nothing; reading it waits for the device."""
        failed = [(step, name) for step, name in zip(self.diverged.tolist(), self.players, strict=True) if step]
        if failed:
            step, name = min(failed, key=itemgetter(0))
            return f"the loss of the {name} was not finite at step {step}"
        if not torch.stack([t.isfinite().all() for t in floats(self.model)]).all():
            return f"the weights were not finite at step {self.step}"  # a finite loss may have a gradient that is not
        return None

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the average towards the weights; its memory grows with the run up to the chosen decay."""
        if self.ema is None or self.step % EMA_EVERY:
            return
        updates = self.step / EMA_EVERY
        decay = min(self.config.ema**EMA_EVERY, (1 + updates) / (10 + updates))
        average, current = floats(self.ema), floats(self.model)
        torch._foreach_lerp_(average, current, 1 - decay)
        for ours, theirs in zip(self.ema.buffers(), self.model.buffers(), strict=True):
            if not ours.is_floating_point():
                ours.copy_(theirs)


def floats(model: nn.Module) -> list[Tensor]:
    """Return the model's parameters and floating-point buffers."""
    return [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]


GENTLE = 0.1  # share of the rate for a player's gentle parameters


def adam(player: Player, lr: float, device: torch.device) -> torch.optim.Optimizer:
    """Return the player's Adam; its rates are tensors that the schedule writes."""
    apart = {id(p) for p in player.gentle}
    groups = []
    for share, wanted in ((1.0, False), (GENTLE, True)):
        parameters = [p for p in player.parameters if (id(p) in apart) is wanted]
        if parameters:
            rate = torch.tensor(lr * share, device=device)
            groups.append({"params": parameters, "lr": rate, "share": share})
    return torch.optim.Adam(groups, betas=player.betas, fused=device.type in ("cpu", "cuda"))


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the full batches in an epoch; what does not fill one is left for another epoch's order."""
    return max(1, images // batch_size)


def order_of(epoch: int, images: int, seed: int) -> Tensor:
    """Return the epoch's order, a pure function of (seed, epoch)."""
    return torch.randperm(images, generator=generator("order", seed, epoch))


def fit(training: Training, pixels: Tensor, labels: Tensor | None, last: int, horizon: int) -> Iterator[Step]:
    """Train up to the step `last`, yielding after each; the schedule ends at the step `horizon`."""
    config, model, size = training.config, training.model, training.config.batch_size
    per_epoch, order = steps_per_epoch(len(pixels), size), None
    if training.step == 0:
        seed_step(training.device, config.seed, "initialize")
        model.initialize(pixels[order_of(0, len(pixels), config.seed)[:1024].to(pixels.device)])
        if training.ema is not None:
            training.ema.load_state_dict(model.state_dict())
    while training.step < last:
        epoch, i = divmod(training.step, per_epoch)
        if order is None or i == 0:
            order = order_of(epoch, len(pixels), config.seed).to(pixels.device)
        index = order[i * size : (i + 1) * size]
        y = None if labels is None else labels[index]
        batch = Batch(pixels[index], y, training.step, min(1.0, training.step / horizon))
        terms = play(training, batch)
        if i == 0:
            training.totals = {}
        for name, value in terms.items():
            training.totals[name] = training.totals[name] + value if name in training.totals else value.clone()
        yield Step(training.step, terms)


def play(training: Training, batch: Batch) -> dict[str, Tensor]:
    """Take one step: for each move that the model yields, descend, clip, and step its player."""
    config, model = training.config, training.model
    seed_step(training.device, config.seed, batch.step)
    model.train()  # the caller may have sampled in between
    lr = config.lr * rate(config.schedule, batch.progress)
    terms: dict[str, Tensor] = {}
    for loss in model.losses(batch):
        player, optimizer = training.players[loss.player], training.optimizers[loss.player]
        optimizer.zero_grad(set_to_none=True)
        loss.minimise.backward(inputs=player.parameters)
        if config.clip:
            nn.utils.clip_grad_norm_(player.parameters, config.clip)
        for group in optimizer.param_groups:
            group["lr"].fill_(lr * group["share"])
        optimizer.step()
        note_divergence(training, loss.player, loss.minimise.detach(), batch.step + 1)
        terms.update({name: value.detach() for name, value in loss.terms.items()})
    training.step = batch.step + 1
    training.update_average()
    return terms


def note_divergence(training: Training, player: str, loss: Tensor, step: int) -> None:
    """Keep on the device the first step at which this player's loss was not finite."""
    first = training.diverged[list(training.players).index(player)]
    first.copy_(torch.where((first == 0) & ~torch.isfinite(loss), step, first))
