"""Laws that every registered model keeps in each of its forms: a new model is tested by being registered."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch
from conftest import TINY, bars, tiny_config
from torch import Tensor, nn

from genctl.checkpoint import tensors as checkpoint
from genctl.checkpoint.manifest import Manifest
from genctl.config import options_of
from genctl.types import Shape
from genctl.device import place
from genctl.errors import UsageError
from genctl.evaluation import bounds
from genctl.generation import sampling
from genctl.models import registry
from genctl.models.base import CAPABILITIES, Batch, Decodes, Encodes, Loss, Model, Scores
from genctl.runs import load
from genctl.seeds import generator
from genctl.training import state
from genctl.training.loop import Training, fit

SHAPE = (1, 8, 8)
BATCH = 8
IMAGES = 32  # four batches an epoch


def archs(name: str) -> tuple[str, ...]:
    """Return the choices of a model's --arch."""
    return get_args(options_of(registry.load(name))["arch"][0])


CASES = [(name, arch) for name in registry.names() for arch in archs(name)]
every_model = pytest.mark.parametrize(("name", "arch"), CASES)


def pixels(n: int = IMAGES, shape: Shape = SHAPE) -> Tensor:
    """Return uint8 images [n, *shape]: bars for SHAPE, else noise."""
    if shape == SHAPE:
        return bars(n)[0].to(torch.uint8)[:, None]
    return torch.randint(0, 256, (n, *shape), generator=generator("pixels"), dtype=torch.uint8)


def start(name: str, arch: str, seed: int = 0, shape: Shape = SHAPE, **options: object) -> Training:
    """Return a training of a small model at its step 0."""
    torch.manual_seed(seed)
    model = place(tiny_config(name, arch).build(shape), torch.device("cpu"))
    chosen = {"batch_size": BATCH, "seed": seed, "schedule": "cosine", "ema": 0.99, "clip": 1.0, **options}
    return Training(model, registry.load(name).train_config(**chosen))


def advance(training: Training, last: int, x: Tensor | None = None) -> Iterator[int]:
    """Train to the step `last`, yielding the number of steps done."""
    x = pixels() if x is None else x
    for step in fit(training, x, None, last, horizon=20):
        yield step.step


def run(training: Training, last: int, x: Tensor | None = None) -> Training:
    """Train to the step `last`."""
    for _ in advance(training, last, x):
        pass
    return training


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in tensors.items()}


def different(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    """Return the names whose tensors are not the same bits, or that only one side has."""
    return {name for name in a.keys() | b.keys() if name not in a or name not in b or not torch.equal(a[name], b[name])}


def perturb(model: Model, scale: float = 0.05) -> None:
    """Move all weights away from their start, where zero-initialised layers hide what is before them."""
    noise = generator("perturb")
    with torch.no_grad():
        for p in model.parameters():
            p.add_(scale * torch.randn(p.shape, generator=noise))


def without_effect(model: nn.Module) -> set[str]:
    """Return the biases whose effect a batch norm right behind them takes away."""
    names = {p: name for name, p in model.named_parameters()}
    return {
        names[layer.bias]
        for stack in model.modules()
        if isinstance(stack, nn.Sequential)
        for layer, after in zip(stack, list(stack)[1:], strict=False)
        if isinstance(after, nn.modules.batchnorm._BatchNorm) and getattr(layer, "bias", None) is not None
    }


# What a config promises


def test_every_model_and_arch_has_a_small_form():
    assert set(CASES) == set(TINY)


@every_model
def test_the_config_promises_exactly_what_the_model_is(name, arch):
    model = tiny_config(name, arch).build(SHAPE)
    assert registry.load(name).can == {word for word, kind in CAPABILITIES.items() if isinstance(model, kind)}


@every_model
def test_players_share_out_all_parameters(name, arch):
    model = tiny_config(name, arch).build(SHAPE)
    owned = [p for player in model.players() for p in player.parameters]
    assert len(owned) == len({id(p) for p in owned})
    assert {id(p) for p in owned} == {id(p) for p in model.parameters()}


# Shapes


def check_end_to_end(name: str, arch: str, shape: Shape) -> None:
    """Train three steps on images of the shape, then use all that the model can do."""
    training = start(name, arch, shape=shape)
    x = pixels(16, shape)
    for step in fit(training, x, None, last=3, horizon=3):
        assert all(torch.isfinite(value) for value in step.terms.values())
    model = training.best.eval()
    if isinstance(model, Decodes):
        z, u = sampling.noise(model, 0, 5)
        mean = sampling.decode(model, z)
        for images in (mean, model.draw(z, u)):
            assert images.shape == (5, *shape)
            assert 0 <= images.min() <= images.max() <= 1
    if isinstance(model, Encodes):
        z = sampling.encode(model, x)
        assert z.shape == (16, *model.latent_shape) and torch.isfinite(z).all()
    if isinstance(model, Scores):
        assert torch.isfinite(bounds.bound(model, x, K=2).tight).all()


@every_model
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 12)])
def test_a_model_works_on_divisible_shapes(name, arch, shape):
    check_end_to_end(name, arch, shape)


@every_model
@pytest.mark.parametrize("shape", [(1, 6, 6), (2, 5, 7)])
def test_on_any_shape_a_model_works_or_names_what_does(name, arch, shape):
    try:
        tiny_config(name, arch).build(shape)
    except UsageError as error:
        alternative = re.search(r"use --arch (\w+)", str(error))
        assert alternative, error
        arch = alternative[1]
    check_end_to_end(name, arch, shape)


# Moves


@every_model
def test_every_parameter_receives_a_gradient(name, arch):
    model = start(name, arch).model
    perturb(model)
    players = {player.name: player for player in model.players()}
    names = {p: name for name, p in model.named_parameters()}
    largest: dict[str, float] = {}
    for loss in model.losses(Batch(pixels(), None, 0, 0.0)):
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


@every_model
def test_a_move_changes_its_own_player_in_full_and_nothing_else(name, arch):
    training = start(name, arch)
    perturb(training.model)
    moves = spy(training)
    run(training, 1)
    names = {p: name for name, p in training.model.named_parameters()}
    assert {player for player, _ in moves} == set(training.players)
    for player, moved in moves:
        own = {names[p] for p in training.players[player].parameters}
        assert own - without_effect(training.model) <= moved <= own


# Seeds


@every_model
def test_the_same_seed_gives_the_same_weights_and_training(name, arch):
    one, other = start(name, arch), start(name, arch)
    assert not different(one.model.state_dict(), other.model.state_dict())
    torch.manual_seed(123)  # what was drawn before does not matter
    assert not different(state.tensors_of(run(one, 5)), state.tensors_of(run(other, 5)))


@every_model
def test_another_seed_gives_other_weights(name, arch):
    one, other = start(name, arch), start(name, arch, seed=1)
    assert different(one.model.state_dict(), other.model.state_dict())
    run(one, 3), run(other, 3)  # what starts as a constant has moved now
    parameters = {name for name, _ in one.model.named_parameters()}
    assert different(one.model.state_dict(), other.model.state_dict()) >= parameters


@every_model
def test_another_seed_gives_another_training_of_the_same_weights(name, arch):
    one, other = start(name, arch), start(name, arch, seed=1)
    other.model.load_state_dict(one.model.state_dict())
    run(one, 1, pixels(BATCH)), run(other, 1, pixels(BATCH))  # all images in a batch: only the noise differs
    assert different(state.tensors_of(one), state.tensors_of(other))


# Samples


@every_model
def test_image_i_does_not_depend_on_how_many_are_drawn(name, arch):
    model = run(start(name, arch), 2).model.eval()
    if not isinstance(model, Decodes):
        pytest.skip("decodes nothing")
    most = sampling.sample(model, 70, seed=5)
    assert most[0].ne(most[1]).any()
    for n in (1, 3, 64):
        assert torch.equal(sampling.sample(model, n, seed=5), most[:n])


@every_model
def test_sampling_in_mid_training_changes_nothing(name, arch):
    plain, watched = run(start(name, arch, ema=0.0), 6), start(name, arch, ema=0.0)
    for _ in advance(watched, 6):
        model = watched.best.eval()
        if isinstance(model, Decodes):
            sampling.sample(model, 5)
        if isinstance(model, Scores):
            bounds.bound(model, pixels(4), K=2)
    assert not different(state.tensors_of(plain), state.tensors_of(watched))


# Files


def manifest_of(training: Training, role: str) -> Manifest:
    config = training.model.config
    options = {field: getattr(config, field) for field in options_of(type(config))}
    return Manifest(
        model=config.name, config=options, train={}, shape=SHAPE, dataset={}, role=role, step=training.step, epoch=0
    )


def what_it_does(model: Model) -> dict[str, Tensor]:
    """Return the outputs of all that the model can do, for the same inputs."""
    found = {}
    if isinstance(model, Decodes):
        found["sample"] = sampling.sample(model, 5)
    if isinstance(model, Encodes):
        found["encode"] = sampling.encode(model, pixels(5))
    if isinstance(model, Scores):
        found["score"] = bounds.bound(model, pixels(5), K=2).tight
    return found


@every_model
def test_weights_come_back_from_a_file_with_the_same_outputs(name, arch, tmp_path):
    training = run(start(name, arch), 9)
    path = tmp_path / "model.safetensors"
    for model in (training.model, training.best):
        checkpoint.save(path, model.state_dict(), manifest_of(training, "weights"))
        loaded, _ = load.load_model(path)
        assert not different(what_it_does(loaded), what_it_does(model.eval()))
        assert what_it_does(loaded)


# An exact resume

EXACT = {"schedule": "one-cycle", "ema": 0.9}
LAST, CHECKED = 17, (12, 17)  # the average moves at 8 and 16; the epochs end at 4, 8, 12, 16


def trace(training: Training) -> dict[str, Tensor]:
    """Train to the end and return every tensor of the state at the end, at an epoch's end, and each rate."""
    found = {}
    for step in advance(training, LAST):
        for name, optimizer in training.optimizers.items():
            found |= {f"{step}/rate/{name}/{i}": g["lr"].clone() for i, g in enumerate(optimizer.param_groups)}
        if step in CHECKED:
            found |= {f"{step}/{name}": t.clone() for name, t in state.tensors_of(training).items()}
    return found


def interrupted(name: str, arch: str, pause: int, path: Path) -> tuple[dict[str, Tensor], Training]:
    """Return the tensors that a run has after `pause` steps, through a file, and a new training to put them into."""
    training = run(start(name, arch, **EXACT), pause)
    checkpoint.save(path, state.tensors_of(training), manifest_of(training, "state"))
    del training
    about, tensors = checkpoint.load(path)
    fresh = start(name, arch, **EXACT)
    perturb(fresh.model)  # nothing of the right state may be there by chance
    if fresh.ema is not None:
        perturb(fresh.ema, 0.1)
    for buffer in fresh.model.buffers():
        if buffer.is_floating_point():
            buffer.add_(0.1)
    fresh.step = about.step
    return tensors, fresh


@every_model
@pytest.mark.parametrize("pause", [3, 8, 10])  # before the average has moved; at an epoch's end; in mid-epoch
def test_a_resumed_training_is_the_uninterrupted_one_to_the_bit(name, arch, pause, tmp_path):
    whole = trace(start(name, arch, **EXACT))
    assert all(any(key.startswith(f"{step}/totals/") for key in whole) for step in CHECKED)
    tensors, resumed = interrupted(name, arch, pause, tmp_path / "state.safetensors")
    state.restore(resumed, tensors, tmp_path)
    after = {key: t for key, t in whole.items() if int(key.split("/")[0]) > pause}
    assert not different(trace(resumed), after)


def is_buffer(name: str, training: Training) -> bool:
    """Tell whether an entry model/... is a buffer rather than a parameter."""
    return name.removeprefix("model/") in {key for key, _ in training.model.named_buffers()}


def forget(kind: str, tensors: dict[str, Tensor], fresh: Training) -> dict[str, Tensor] | None:
    """Return the tensors with one kind as in a new training, or None if this training has none of that kind."""
    if kind == "counter":
        fresh.step -= 1
        return tensors
    new = state.tensors_of(fresh)  # model and average of a new training
    belongs = {
        "parameters": lambda name: name.startswith("model/") and not is_buffer(name, fresh),
        "buffers": lambda name: name.startswith("model/") and is_buffer(name, fresh),
        "ema": lambda name: name.startswith("ema/"),
        "totals": lambda name: name.startswith("totals/"),
    }.get(kind, lambda name: name.startswith("optimizer/") and name.endswith("/" + kind))
    chosen = {name for name in tensors if belongs(name)}
    if kind == "totals":
        return {name: t for name, t in tensors.items() if name not in chosen}
    kept = {name: new.get(name, torch.zeros_like(t)) if name in chosen else t for name, t in tensors.items()}
    return kept if chosen else None


KINDS = ["parameters", "buffers", "ema", "totals", "step", "exp_avg", "exp_avg_sq", "counter"]


@pytest.fixture(scope="module")
def whole_traces() -> dict[tuple[str, str], dict[str, Tensor]]:
    """Return a cache of uninterrupted runs, by model and arch."""

    class Traces(dict):
        def __missing__(self, case):
            return self.setdefault(case, trace(start(*case, **EXACT)))

    return Traces()


@every_model
@pytest.mark.parametrize("kind", KINDS)
def test_a_resume_that_forgets_any_kind_of_state_is_noticed(name, arch, kind, tmp_path, whole_traces):
    tensors, resumed = interrupted(name, arch, 10, tmp_path / "state.safetensors")
    tensors = forget(kind, tensors, resumed)
    if tensors is None:
        assert kind == "buffers"  # a model may have none of these; everything else every training has
        return
    state.restore(resumed, tensors, tmp_path)
    after = {key: t for key, t in whole_traces[name, arch].items() if int(key.split("/")[0]) > 10}
    assert different(trace(resumed), after)


@every_model
def test_the_state_holds_every_kind(name, arch):
    training = run(start(name, arch, **EXACT), 3)
    tensors = state.tensors_of(training)
    by_kind = defaultdict(set)
    for key in tensors:
        by_kind[key.split("/")[0]].add(key)
    weights = training.model.state_dict()
    assert by_kind["model"] == {f"model/{key}" for key in weights}
    assert by_kind["ema"] == {f"ema/{key}" for key in weights}
    assert len(by_kind["optimizer"]) == 3 * len(list(training.model.parameters()))


# Learning


@pytest.mark.parametrize(("name", "arch"), [(name, arch) for name, arch in CASES if "score" in registry.load(name).can])
def test_steps_lower_the_bound(name, arch):
    x = pixels(16)
    rate = 2 * registry.load(name).train_config().lr
    training = run(start(name, arch, batch_size=16, ema=0.0, lr=rate, schedule="constant"), 1, x)
    model = training.model
    assert isinstance(model, Scores)
    observed = (x > 127).to(torch.uint8) * 255 if model.data.startswith("binarized") else x
    before = bounds.bound(model.eval(), observed, K=8).tight.mean()
    run(training, 150, observed)
    after = bounds.bound(model.eval(), observed, K=8).tight.mean()
    assert after < before - 5


# Divergence


@every_model
def test_a_finite_training_has_no_divergence(name, arch):
    assert run(start(name, arch), 5).diverged.tolist() == [0] * len(start(name, arch).players)


@every_model
def test_the_first_loss_that_is_not_finite_is_noted_with_its_player(name, arch):
    players = list(start(name, arch).players)
    for i, broken in enumerate(players):
        training = start(name, arch)
        losses = training.model.losses

        def infinite_at_step_3(batch: Batch, losses=losses, broken=broken) -> Iterator[Loss]:
            for loss in losses(batch):
                hit = batch.step == 2 and loss.player == broken
                yield loss._replace(minimise=loss.minimise * float("inf")) if hit else loss

        training.model.losses = infinite_at_step_3  # type: ignore[method-assign]
        run(training, 2)
        assert training.diverged.tolist() == [0] * len(players)
        run(training, 5)
        assert training.diverged[i] == 3
        assert all(training.diverged[:i] == 4), "who moved before it met the damage a step later"
        assert all(training.diverged[i:] == 3), "who moved after it met the damage at once"


def test_a_term_that_is_not_finite_is_noted_too():
    training = start("vae", "mlp")
    losses = training.model.losses

    def nan_at_step_3(batch: Batch) -> Iterator[Loss]:
        for loss in losses(batch):
            told = {name: value * float("nan") for name, value in loss.terms.items()}
            yield loss._replace(terms=told) if batch.step == 2 else loss

    training.model.losses = nan_at_step_3  # type: ignore[method-assign]
    run(training, 5)
    assert training.diverged.tolist() == [3]
