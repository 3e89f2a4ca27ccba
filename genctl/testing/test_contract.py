"""What a config promises is what the model is; shapes, moves and learning."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from ..config import LEVELS
from ..errors import UsageError
from ..generation import sampling
from ..models.base import CAPABILITIES, Batch, Decodes, Encodes, Loss, Samples, Scores, build
from ..models.blocks import Stack
from ..training.loop import Training, fit
from ..types import Shape
from .cases import (
    IMAGES,
    SHAPE,
    Case,
    cases_of,
    copied,
    different,
    each_preview,
    labels_for,
    perturb,
    pixels,
    run,
    scores,
    start,
    without_effect,
)

Losses = Callable[[Batch], Iterator[Loss]]


def test_the_config_promises_exactly_what_the_model_is(case: Case) -> None:
    model = build(case.config, SHAPE)
    assert case.kind.can == {word for word, kind in CAPABILITIES.items() if isinstance(model, kind)}


def test_players_share_out_all_parameters(case: Case) -> None:
    model = build(case.config, SHAPE)
    owned = [p for player in model.players() for p in player.parameters]
    assert len(owned) == len({id(p) for p in owned})
    assert {id(p) for p in owned} == {id(p) for p in model.parameters()}


def check_end_to_end(case: Case, shape: Shape) -> None:
    """Train three steps on images of the shape, then use all that the model can do."""
    training = start(case, shape=shape)
    x = pixels(16, shape)
    for step in fit(training, x, labels_for(training.model, len(x)), last=3, horizon=3):
        assert all(torch.isfinite(value) for value in step.terms.values())
    model = training.best.eval()
    pictures: list[Tensor] = []
    if isinstance(model, Samples):
        pictures += [sampling.sample(model, 5, options=chosen) for chosen in each_preview(model)]
    if isinstance(model, Decodes):
        pictures.append(sampling.decode(model, sampling.latents(model, 0, 5), labels_for(model, 5)))
    for images in pictures:
        assert images.shape == (5, *shape)
        assert 0 <= images.min() <= images.max() <= 1
    if isinstance(model, Encodes):
        z = sampling.encode(model, x, labels_for(model, len(x)))
        assert len(z) == 16 and torch.isfinite(z).all()
        assert not isinstance(model, Decodes) or z.shape[1:] == model.latent_shape
    if isinstance(model, Scores):
        for values in scores(model, x).values():
            assert values.shape == (16,) and torch.isfinite(values).all()


def test_a_model_learns_from_images_that_are_changed_at_random(case: Case) -> None:
    """One that `augments` passes real and generated images through the change; of others the batch is changed."""
    training = start(case, flip=True, shift=2, crop=1, rotate=20.0)
    augment, learned = training.augment, set()
    assert augment is not None

    def watched(x: Tensor) -> Tensor:
        learned.add(x.requires_grad)
        return augment(x)

    training.augment = watched
    run(training, 2)
    assert training.failure() is None
    assert learned == ({True, False} if training.model.augments else {False})


def test_the_layers_of_a_decoder_make_what_it_decodes(case: Case) -> None:
    model = build(case.config, SHAPE).eval()
    layers = model.decoder_layers() if isinstance(model, Decodes) else ()
    if isinstance(model, Decodes) and layers:
        z, y = sampling.latents(model, 0, 5), labels_for(model, 5)
        assert torch.equal(Stack(*layers)(z, y), model.decode(z, y))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 12)])
def test_a_model_works_on_divisible_shapes(case: Case, shape: Shape) -> None:
    check_end_to_end(case, shape)


@pytest.mark.parametrize("shape", [(1, 6, 6), (2, 5, 7)])
def test_on_any_shape_a_model_works_or_names_what_does(case: Case, shape: Shape) -> None:
    try:
        build(case.config, shape)
    except UsageError as error:
        alternative = re.search(r"use --arch (\w+)", str(error))
        assert alternative, error
        case = next(each for each in cases_of(case.name) if dict(each.options)["arch"] == alternative[1])
    check_end_to_end(case, shape)


def test_every_parameter_receives_a_gradient(case: Case) -> None:
    model = start(case).model
    perturb(model)
    players = {player.name: player for player in model.players()}
    names = {p: name for name, p in model.named_parameters()}
    largest: dict[str, float] = {}
    for loss in model.losses(Batch(pixels(), labels_for(model, IMAGES), torch.tensor(0), torch.tensor(0.0))):
        own = players[loss.player].parameters
        found = torch.autograd.grad(loss.minimise, own, allow_unused=True)
        largest |= {names[p]: 0.0 if g is None else g.abs().max().item() for p, g in zip(own, found, strict=True)}
    assert largest.keys() == set(names.values())
    assert {name for name, size in largest.items() if size < 1e-6} <= without_effect(model)


def spy(training: Training) -> list[tuple[str, set[str]]]:
    """Return a list that will hold each move's player and the parameters that it moved."""
    moves: list[tuple[str, set[str]]] = []
    model, losses = training.model, training.model.losses

    def watched(batch: Batch) -> Iterator[Loss]:
        for loss in losses(batch):
            before = copied(dict(model.named_parameters()))
            yield loss
            moves.append((loss.player, different(before, dict(model.named_parameters()))))

    model.losses = watched  # type: ignore[method-assign]
    return moves


def test_a_move_changes_its_own_player_in_full_and_nothing_else(case: Case) -> None:
    training = start(case)
    perturb(training.model)
    moves = spy(training)
    run(training, 1)
    names = {p: name for name, p in training.model.named_parameters()}
    assert {player for player, _ in moves} == set(training.players)
    for player, moved in moves:
        own = {names[p] for p in training.players[player].parameters}
        assert own - without_effect(training.model) <= moved <= own


def test_steps_lower_the_bound(case: Case) -> None:
    if "score" not in case.kind.can:
        return
    x = pixels(16)
    rate = 2 * case.kind.train_config().lr
    training = run(start(case, batch_size=16, ema=0.0, lr=rate, schedule="constant"), 1, x)
    model = training.model
    assert isinstance(model, Scores)
    observed = (x > 127).to(torch.uint8) * 255 if model.config.pixels != LEVELS else x
    before = scores(model.eval(), observed, K=8)
    run(training, 150, observed)
    after = scores(model.eval(), observed, K=8)
    for estimator, values in after.items():
        assert values.mean() < before[estimator].mean() - 5


def test_a_finite_training_has_no_divergence(case: Case) -> None:
    assert run(start(case), 5).diverged.tolist() == [0] * len(start(case).players)


def who_sees(case: Case, broken: str) -> set[str]:
    """Return the players whose loss is not finite where the weights of one are not."""
    training = start(case)
    with torch.no_grad():
        for p in training.players[broken].parameters:
            p.fill_(torch.nan)
    batch = Batch(pixels(), labels_for(training.model, IMAGES), torch.tensor(0), torch.tensor(0.0))
    return {loss.player for loss in training.model.losses(batch) if not loss.minimise.isfinite()}


def test_the_first_loss_that_is_not_finite_is_noted_with_its_player(case: Case) -> None:
    players = list(start(case).players)
    for i, broken in enumerate(players):
        training = start(case)
        losses = training.model.losses

        def infinite_at_step_3(batch: Batch, losses: Losses = losses, broken: str = broken) -> Iterator[Loss]:
            for loss in losses(batch):
                hit = batch.step == 2 and loss.player == broken
                yield loss._replace(minimise=loss.minimise * float("inf")) if hit else loss

        training.model.losses = infinite_at_step_3  # type: ignore[method-assign]
        run(training, 2)
        assert training.diverged.tolist() == [0] * len(players)
        run(training, 5)
        assert training.diverged[i] == 3
        sees = who_sees(case, broken)
        due = [(4 if j < i else 3) if name in sees else 0 for j, name in enumerate(players)]
        assert training.diverged.tolist() == due, (
            "who moved before meets the damage a step later, who moves after at once"
        )
