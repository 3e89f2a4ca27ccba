"""The same seed gives the same weights, training and images; what is drawn or written in between changes nothing."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from ..checkpoint import tensors as checkpoint
from ..generation import sampling
from ..models.base import Samples, Scores
from ..runs import load
from ..training import state
from .cases import (
    BATCH,
    Case,
    advance,
    different,
    each_preview,
    epoch_of,
    manifest_of,
    pixels,
    run,
    scores,
    start,
    what_it_does,
)


def test_the_same_seed_gives_the_same_weights_and_training(case: Case) -> None:
    one, other = start(case), start(case)
    assert not different(one.model.state_dict(), other.model.state_dict())
    torch.manual_seed(123)  # what was drawn before does not matter
    assert not different(state.tensors_of(run(one, 5)), state.tensors_of(run(other, 5)))


def test_another_seed_gives_other_weights(case: Case) -> None:
    one, other = start(case), start(case, seed=1)
    assert different(one.model.state_dict(), other.model.state_dict())
    run(one, 3), run(other, 3)  # what starts as a constant has moved now
    parameters = {name for name, _ in one.model.named_parameters()}
    assert different(one.model.state_dict(), other.model.state_dict()) >= parameters


def test_another_seed_gives_another_training_of_the_same_weights(case: Case) -> None:
    one, other = start(case), start(case, seed=1)
    other.model.load_state_dict(one.model.state_dict())
    run(one, 1, pixels(BATCH)), run(other, 1, pixels(BATCH))  # all images in a batch: only the noise differs
    assert different(state.tensors_of(one), state.tensors_of(other))


def test_image_i_does_not_depend_on_how_many_are_drawn(case: Case) -> None:
    model = run(start(case), 2).model.eval()
    if not isinstance(model, Samples):
        assert "sample" not in case.kind.can
        return
    for options in each_preview(model):
        most = sampling.sample(model, 70, seed=5, options=options)
        assert most[0].ne(most[1]).any()
        for n in (1, 3, 64):
            assert torch.equal(sampling.sample(model, n, seed=5, options=options), most[:n])
        assert torch.equal(sampling.sample(model, 3, seed=5, options=options, first=66), most[66:69])


def test_sampling_in_mid_training_changes_nothing(case: Case) -> None:
    plain, watched = run(start(case, ema=0.0), 6), start(case, ema=0.0)
    for _ in advance(watched, 6):
        model = watched.best.eval()
        if isinstance(model, Samples):
            sampling.sample(model, 5)
        if isinstance(model, Scores):
            scores(model, pixels(4))
        model.diagnose(epoch_of(model))
    assert not different(state.tensors_of(plain), state.tensors_of(watched))


def test_a_diagnosis_is_of_finite_numbers_and_sentences_without_their_end(case: Case) -> None:
    model = run(start(case), 2).best.eval()
    metrics, warnings = model.diagnose(epoch_of(model))
    assert all(math.isfinite(value) for value in metrics.values())
    assert all(not sentence.endswith(".") and "\n" not in sentence for sentence in warnings)


def test_weights_come_back_from_a_file_with_the_same_outputs(case: Case, tmp_path: Path) -> None:
    training = run(start(case), 9)
    path = tmp_path / "model.safetensors"
    for model in (training.model, training.best):
        checkpoint.save(path, model.state_dict(), manifest_of(training, "weights"))
        loaded, _ = load.load_model(path)
        assert not different(what_it_does(loaded), what_it_does(model.eval()))
        assert what_it_does(loaded)
