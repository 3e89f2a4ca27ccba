"""A resumed training is the uninterrupted one to the bit, and a resume that forgets anything is noticed."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ..checkpoint import tensors as checkpoint
from ..training import state
from ..training.loop import Training
from .cases import (
    Case,
    advance,
    different,
    manifest_of,
    perturb,
    run,
    start,
)

EXACT: dict[str, Any] = {"schedule": "one-cycle", "ema": 0.9}
LAST, CHECKED = 17, (12, 17)  # the average moves at 8 and 16; the epochs end at 4, 8, 12, 16


def trace(training: Training) -> dict[str, Tensor]:
    """Train to the end and return every tensor of the state at the end, at an epoch's end, and each rate."""
    found: dict[str, Tensor] = {}
    for step in advance(training, LAST):
        for name, optimizer in training.optimizers.items():
            found |= {f"{step}/rate/{name}/{i}": g.lr.clone() for i, g in enumerate(optimizer.groups)}
        if step in CHECKED:
            found |= {f"{step}/{name}": t.clone() for name, t in state.tensors_of(training).items()}
    return found


def interrupted(case: Case, pause: int, path: Path) -> tuple[dict[str, Tensor], Training]:
    """Return the tensors that a run has after `pause` steps, through a file, and a new training to put them into."""
    training = run(start(case, **EXACT), pause)
    checkpoint.save(path, state.tensors_of(training), manifest_of(training, "state"))
    del training
    about, tensors = checkpoint.load(path)
    fresh = start(case, **EXACT)
    perturb(fresh.model)  # nothing of the right state may be there by chance
    if fresh.ema is not None:
        perturb(fresh.ema, 0.1)
    kept = fresh.model.state_dict()
    for name, buffer in fresh.model.named_buffers():
        if buffer.is_floating_point() and name in kept:  # one that no file holds is a constant
            buffer.add_(0.1)
    fresh.step = about.step
    return tensors, fresh


@pytest.mark.parametrize("pause", [3, 8, 10])  # before the average has moved; at an epoch's end; in mid-epoch
def test_a_resumed_training_is_the_uninterrupted_one_to_the_bit(
    case: Case, pause: int, tmp_path: Path, whole: dict[str, Tensor]
) -> None:
    assert all(any(key.startswith(f"{step}/totals/") for key in whole) for step in CHECKED)
    tensors, resumed = interrupted(case, pause, tmp_path / "state.safetensors")
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
def whole(case: Case) -> dict[str, Tensor]:
    """Return the trace of an uninterrupted run."""
    return trace(start(case, **EXACT))


@pytest.mark.parametrize("kind", KINDS)
def test_a_resume_that_forgets_any_kind_of_state_is_noticed(
    case: Case, kind: str, tmp_path: Path, whole: dict[str, Tensor]
) -> None:
    saved, resumed = interrupted(case, 10, tmp_path / "state.safetensors")
    tensors = forget(kind, saved, resumed)
    if tensors is None:
        assert kind == "buffers"  # a model may have none of these; everything else every training has
        return
    state.restore(resumed, tensors, tmp_path)
    after = {key: t for key, t in whole.items() if int(key.split("/")[0]) > 10}
    assert different(trace(resumed), after)


def test_the_state_holds_every_kind(case: Case) -> None:
    training = run(start(case, **EXACT), 3)
    tensors = state.tensors_of(training)
    by_kind: dict[str, set[str]] = defaultdict(set)
    for key in tensors:
        by_kind[key.split("/")[0]].add(key)
    weights = training.model.state_dict()
    assert by_kind["model"] == {f"model/{key}" for key in weights}
    assert by_kind["ema"] == {f"ema/{key}" for key in weights}
    assert len(by_kind["optimizer"]) == 3 * len(list(training.model.parameters()))
