"""A training step that several processes take together, or one in passes: as one process takes it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from time import monotonic

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..models.base import Batch, Loss, Model
from ..models.blocks import BatchNorm1d, BatchNorm2d
from ..ranks.group import Ranks
from ..ranks.shares import AT_ONCE, Share, even, within

ASKED = 0.5  # seconds between questions to the other processes whether to stop
APART = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)  # torch's own see a share alone
KNOWN = (BatchNorm1d, BatchNorm2d)

Play = Callable[[Batch], Iterator[Loss]]  # the moves of a step; nothing is computed before it is asked for


class Division:
    """Which images of a batch each process computes, and in which passes.

    What a model yields for its share are means over it. Weighted by its images, the gradients of all shares sum up to
    that of the whole batch, and so do the terms.
    """

    def __init__(self, ranks: Ranks, model: Model, batch: int, passes: int = 1) -> None:
        self.ranks = ranks
        check(model, ranks, batch, passes)
        counts = even(batch, ranks.world * passes, model.batch_multiple)
        first = ranks.rank * passes
        add_up = ranks.sum if passes == 1 else None
        self.shares = [Share(counts, first + i, add_up) for i in range(passes)]
        self.divided = len(counts) > 1

    @property
    def mine(self) -> slice:
        """Return which of a batch's images this process computes."""
        first, last = self.shares[0], self.shares[-1]
        return slice(first.first, last.first + last.count)

    def moves(self, play: Play, batch: Batch) -> Iterator[Iterable[Loss]]:
        """Yield for each move of a step its losses, one a pass, weighted; each is computed when it is asked for."""
        if not self.divided:
            yield from ([loss] for loss in play(batch))
            return
        noise: list[Tensor] | None = [] if len(self.shares) > 1 else None
        passes = [(share.anew(noise), play(part)) for share, part in self.parts(batch)]
        while (loss := weighted(*passes[0])) is not None:
            yield chain([loss], (found for found in (weighted(*each) for each in passes[1:]) if found is not None))

    def parts(self, batch: Batch) -> Iterator[tuple[Share, Batch]]:
        """Yield each pass with its images."""
        start = self.shares[0].first
        for share in self.shares:
            own = slice(share.first - start, share.first - start + share.count)
            yield share, replace(batch, x=batch.x[own], y=None if batch.y is None else batch.y[own])

    def sum(self, losses: list[Loss], parameters: Iterable[nn.Parameter]) -> Loss:
        """Return a move's loss over the whole batch, and sum the gradients of all processes: one flat tensor."""
        player, minimise, terms = losses[0]
        if not self.divided:
            return losses[0]
        values = torch.stack([torch.stack([loss.minimise, *loss.terms.values()]) for loss in losses]).sum(0)
        if self.ranks.world > 1:
            gradients = [p.grad for p in parameters if p.grad is not None]
            flat = torch.cat([*(g.reshape(-1) for g in gradients), values])
            self.ranks.sum(flat)
            *summed, values = flat.split([*(g.numel() for g in gradients), len(values)])
            for gradient, whole in zip(gradients, summed, strict=True):
                gradient.copy_(whole.view_as(gradient))
        minimise, *rest = values.unbind()
        return Loss(player, minimise, dict(zip(terms, rest, strict=True)))


def weighted(share: Share, play: Iterator[Loss]) -> Loss | None:
    """Return the next loss of a share, times its part of the batch; None at the end of the step."""
    with within(share):
        loss = next(play, None)
    if loss is None:
        return None
    terms = {name: share.weight * value.detach() for name, value in loss.terms.items()}
    return Loss(loss.player, share.weight * loss.minimise, terms)


def check(model: Model, ranks: Ranks, batch: int, passes: int) -> None:
    """Raise UsageError where a model's batch cannot be divided so."""
    shares = ranks.world * passes
    if batch // model.batch_multiple < shares and shares > 1:
        raise UsageError(
            f"a batch of {batch} images cannot be divided into {shares} shares; raise --batch-size, or use fewer"
            " processes or a smaller --accumulate."
        )
    if passes > 1 and model.at_once:
        raise UsageError(AT_ONCE)
    foreign = [type(m).__name__ for m in model.modules() if isinstance(m, APART) and not isinstance(m, KNOWN)]
    if shares > 1 and foreign:
        raise UsageError(
            f"{foreign[0]} of {model.config.name} does not know the rest of a batch; train it in one process at once."
        )


class Question:
    """Asks all processes whether to stop, at steps that each of them knows; alone, at each step."""

    def __init__(self, ranks: Ranks, step: int) -> None:
        self.ranks, self.asked, self.at, self.next = ranks, step, monotonic(), step + 1

    def __call__(self, step: int, must: bool, number: int, late: bool) -> tuple[int, bool]:
        """Return the signal that any process got, and whether the time is up for any; must: ask at this step."""
        if self.ranks.world == 1:
            return number, late
        if step < self.next and not must:
            return 0, False
        signal, up, seconds = self.ranks.most(number, late, monotonic() - self.at)
        steps = int((step - self.asked) * ASKED / max(seconds, 1e-6))
        self.asked, self.at, self.next = step, monotonic(), step + max(1, min(steps, 10_000))
        return int(signal), bool(up)
