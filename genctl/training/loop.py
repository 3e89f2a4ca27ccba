"""The training loop, the only one: it plays any number of players and yields each step."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter

import torch
from torch import Tensor, nn

from ..config import TrainConfig
from ..cores import Cores, indifferent
from ..data.pieces import Pieces
from ..errors import UsageError
from ..models.base import Batch, Loss, Model
from ..ranks.group import here
from ..seeds import seed_step
from .augmentation import augment_of, to_bytes
from .cuda_graph import Replayed
from .division import Division
from .feed import at, batches, order_of, steps_per_epoch
from .optimizers import Adam, learners
from .precision import arithmetic, in_bfloat16
from .schedule import Schedule, rate

EMA_EVERY = 8  # steps between updates of the average: as good as every step, and nearly free


@dataclass(frozen=True)
class Step:
    """What a step leaves to read; its tensors are valid until the next step."""

    step: int  # steps done, this one included
    terms: dict[str, Tensor]  # scalars on the device


class Training:
    """All that a training carries from one step to the next: a resume restores exactly this."""

    def __init__(self, model: Model, config: TrainConfig) -> None:
        if config.compile:
            check_compiler()
        if config.precision == "bf16" and not list(model.networks()):
            raise UsageError("--precision bf16 is not for this model: it names no networks that may round.")
        self.model = model
        self.config = config
        self.device = model.device
        self.augment = augment_of(config, model.shape)
        self.ranks = here()
        self.division = Division(self.ranks, model, config.batch_size, config.accumulate)
        self.players = {player.name: player for player in model.players()}
        learning = learners(config.freeze, self.players)
        owned = {name: {id(p) for p in player.parameters} for name, player in learning.items()}
        self.parameters = {  # in the model's order, on which the last bits of a gradient's norm depend
            name: [p for p in model.parameters() if id(p) in ids] for name, ids in owned.items()
        }
        self.optimizers = {name: Adam(p, config.lr, self.device) for name, p in learning.items()}
        self.still = [part for part in model.modules() if frozen(part)]
        self.ema = copy.deepcopy(model).requires_grad_(False) if config.ema else None
        self.initial: Mapping[str, Tensor] = {}  # weights of another run to start from
        self.step = 0
        self.lr = 0.0  # of the last step
        self.totals: dict[str, Tensor] = {}  # sums of the terms over this epoch so far
        # On the device, so that a captured step sees them change: the steps done, and their share of the run.
        self.clock = torch.zeros((), dtype=torch.int64, device=self.device)
        self.progress = torch.zeros((), device=self.device)
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

    def initialize(self, x: Tensor) -> None:
        """Set what depends on the data before the first step; x is uint8 [N, C, H, W]."""
        seed_step(self.device, self.config.seed, "initialize")
        self.model.train().initialize(x)
        self.ranks.copy(list(self.model.state_dict().values()))  # machines may round differently
        self.begin_from(self.initial)

    def begin_from(self, tensors: Mapping[str, Tensor]) -> None:
        """Start from these tensors of the model, now and after what depends on the data was set."""
        self.initial = tensors
        self.model.load_state_dict({**self.model.state_dict(), **tensors})
        if self.ema is not None:
            self.ema.load_state_dict(self.model.state_dict())

    def adapt(self) -> None:
        """Let networks round, and compile, where that was asked for; their names and the average are untouched."""
        for network in self.model.networks() if self.config.precision == "bf16" and self.device.type == "cuda" else ():
            in_bfloat16(network)
        for part in self.model.compiled() if self.config.compile else ():
            part.compile()

    def prepare(self, schedule: Schedule) -> None:
        """Set what the next step reads of the host: the noise's seed, the clock and the learning rates."""
        progress, of_rate = schedule.progress(self.step)
        seed_step(self.device, self.config.seed, self.step)
        self.clock.fill_(self.step)
        self.progress.fill_(progress)
        self.lr = self.config.lr * rate(self.config.schedule, of_rate)
        for optimizer in self.optimizers.values():
            optimizer.set_rate(self.lr)
        if not self.model.training:  # the caller may have sampled in between
            self.model.train()
        for part in self.still:  # no dropout, and batch norm's averages stay
            part.eval()

    def moves(self, batch: Batch) -> dict[str, Tensor]:
        """Take one step: each move that the model yields, in its order; return the terms of all."""
        terms: dict[str, Tensor] = {}
        with arithmetic(self.config.precision, self.config.tune, self.device):
            for losses in self.division.moves(self.played, batch):
                loss = self.descend(losses)
                self.note_divergence(loss.player, torch.stack([loss.minimise, *loss.terms.values()]).detach().sum())
                terms.update({name: value.detach() for name, value in loss.terms.items()})
        return terms

    def played(self, batch: Batch) -> Iterator[Loss]:
        """Yield the model's moves on the batch, or on a share of it, whose images are changed first where asked for."""
        yield from self.model.losses(self.augmented(batch))

    def augmented(self, batch: Batch) -> Batch:
        """Return the batch with its images changed at random, if that was chosen, or with the way to change them."""
        if self.augment is None:
            return batch
        if self.model.augments:
            return replace(batch, augment=self.augment)
        return replace(batch, x=to_bytes(self.augment(batch.x.float())))

    def descend(self, losses: Iterable[Loss]) -> Loss:
        """Let the player of a move step along its gradient, clipped; return its loss over the whole batch.

        A frozen player's loss is only read.
        """
        passes: list[Loss] = []
        for loss in losses:
            parameters = self.parameters.get(loss.player, [])
            for p in parameters if not passes else ():
                p.grad = None
            if parameters:
                loss.minimise.backward(inputs=parameters)
            passes.append(loss._replace(minimise=loss.minimise.detach()))
        # The seam: the gradients of several processes are summed here, before they are clipped.
        whole = self.division.sum(passes, parameters)
        if not parameters:
            return whole
        if self.config.clip:
            clip(parameters, self.config.clip)
        self.optimizers[whole.player].step()
        return whole

    def note_divergence(self, player: str, loss: Tensor) -> None:
        """Keep on the device the first step at which this player's loss, or what it reports, was not finite."""
        first = self.diverged[list(self.players).index(player)]
        first.copy_(torch.where((first == 0) & ~torch.isfinite(loss), self.clock + 1, first))

    def finish_step(self, terms: Mapping[str, Tensor], first_of_epoch: bool) -> None:
        """Count the step, add its terms to the epoch's sums, and move the average."""
        self.step += 1
        if first_of_epoch:
            self.totals = {}
        for name, value in terms.items():
            self.totals[name] = self.totals[name] + value if name in self.totals else value.clone()
        self.update_average()

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


def frozen(part: nn.Module) -> bool:
    """Tell whether a part of a model has parameters, and none that learns."""
    parameters = list(part.parameters())
    return bool(parameters) and not any(p.requires_grad for p in parameters)


def check_compiler() -> None:
    """Raise UsageError where torch cannot compile: on a CPU it needs a C++ compiler."""
    try:
        torch.compile(torch.neg)(torch.zeros(2))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"--compile does not work here ({reason}); install a C++ compiler, or start a run without --compile."
        ) from error


def floats(model: nn.Module) -> list[Tensor]:
    """Return the model's parameters and floating-point buffers."""
    return [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]


def clip(parameters: list[nn.Parameter], most: float) -> None:
    """Scale the gradients to a joint norm of at most this; on a CPU, only if it is larger."""
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if norm.device.type != "cpu" or not norm <= most:
        nn.utils.clip_grads_with_norm_(parameters, most, norm)


def check_batch(model: Model, size: int) -> None:
    """Raise UsageError where the model cannot take a step of this many images."""
    name, least, together = model.config.name, model.smallest_batch, model.batch_multiple
    if size < least:
        raise UsageError(f"{name} needs {least} images in a step; raise --batch-size or --train-size.")
    if size % together:
        raise UsageError(f"{name} takes {together} images together, so not {size} a step; change --batch-size.")


def fit(
    training: Training, pixels: Tensor | Pieces, labels: Tensor | None, last: int, horizon: int | Schedule
) -> Iterator[Step]:
    """Train up to the step `last`, yielding after each; the schedule ends at the step `horizon`."""
    schedule = horizon if isinstance(horizon, Schedule) else Schedule(horizon)
    config, size = training.config, training.config.batch_size
    division = Division(training.ranks, training.model, min(size, len(pixels)), config.accumulate)
    training.division, per_epoch = division, steps_per_epoch(len(pixels), size)
    if training.step == 0:
        training.initialize(at(pixels, order_of(0, len(pixels), config.seed)[: training.model.initial_images]))
    training.adapt()
    moves = Replayed(training.moves) if training.device.type == "cuda" and training.model.replayable else training.moves
    with Cores(config.threads is None and training.device.type == "cpu" and indifferent(training.model)) as cores:
        for x, y in batches(pixels, labels, size, config.seed, range(training.step, last), division.mine):
            training.prepare(schedule)
            terms = moves(Batch(x, y, training.clock, training.progress))
            training.finish_step(terms, first_of_epoch=training.step % per_epoch == 0)
            yield Step(training.step, terms)
            cores.look()
