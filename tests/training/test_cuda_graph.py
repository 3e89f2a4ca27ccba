"""A step that is captured once and replayed must read nothing from the host, and do what a step does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import isfinite
from typing import Any

import pytest
import torch
from conftest import TINY, HostReads, bars, tiny_config
from torch import Tensor

from genctl.device import device_of, exact, place
from genctl.errors import UsageError
from genctl.models.base import Batch, build
from genctl.training import cuda_graph, loop, state
from genctl.training.loop import Training, fit
from genctl.training.precision import in_bfloat16

STEPS = 9
FORMS = [*((name, arch, {}) for name, arch in TINY)]
FORMS += [("vae", "mlp", {"objective": "iwae", "particles": 6, "resample": 2, "gradient": "doubly"})]
CHANGES = {"flip": True, "shift": 2, "crop": 2, "rotate": 20.0}
BY_CLASS = {"conditional": True, "classes": 4}
FORMS += [("vae", "mlp", {**BY_CLASS, "prior": "class"}), ("gan", "dcgan", {**BY_CLASS, "pack": 2} | CHANGES)]
FORMS += [("vae", "mlp", {"prior": "flow", "prior_couplings": 2, "prior_hidden": 4, "kl_warmup": 0.5})]
FORMS += [("gan", "resnet", {**BY_CLASS, "gradient_penalty": "r1+r2"}), ("realnvp", "conv", BY_CLASS | CHANGES)]
FORMS += [("realnvp", "multiscale", {"coupling": "mixture", "components": 2})]
every_model = pytest.mark.parametrize(("name", "arch", "options"), FORMS)


def start(name: str, arch: str, options: dict[str, Any], kind: str = "cpu", **shared: Any) -> Training:
    """Return a training of a small model, its gradients unclipped: a clip looks at the norm where that is free."""
    shared |= {key: value for key, value in options.items() if key in CHANGES}
    config = replace(tiny_config(name, arch), **{key: value for key, value in options.items() if key not in CHANGES})
    torch.manual_seed(0)
    model = place(build(config, (1, 8, 8)), device_of(kind))
    return Training(model, config.train_config(batch_size=16, lr=1e-3, clip=0.0, **shared))


def steps(training: Training) -> Iterator[loop.Step]:
    """Return a few steps on the small images."""
    images, labels = bars(120)
    device = training.device
    return fit(training, images[:, None].to(device, torch.uint8), labels.to(device), STEPS, STEPS)


@every_model
def test_a_step_reads_nothing_on_the_host(name: str, arch: str, options: dict[str, Any]) -> None:
    training = start(name, arch, options)
    taken, reads = steps(training), []
    next(taken)
    original = training.moves

    def watched(batch: Batch) -> dict[str, Tensor]:
        with HostReads() as mode:
            terms = original(batch)
        reads.append(mode.count)
        return terms

    training.moves = watched  # type: ignore[method-assign]
    list(steps(training))
    assert reads == [0] * (STEPS - 1) if training.model.replayable else True


def test_the_watch_sees_a_read() -> None:
    with HostReads() as mode:
        bool(torch.ones(()) > 0)
    assert mode.count == 1


@every_model
def test_a_step_of_refilled_tensors_is_the_step_itself(name: str, arch: str, options: dict[str, Any]) -> None:
    whole, refilled = start(name, arch, options), start(name, arch, options)
    list(steps(whole))
    original, kept = refilled.moves, []

    def moves(batch: Batch) -> dict[str, Tensor]:
        """Stand in for a replay: the first batch's tensors, with the values of this one."""
        kept.append(
            kept[0] if kept else replace(batch, x=batch.x.clone(), y=None if batch.y is None else batch.y.clone())
        )
        for mine, theirs in ((kept[0].x, batch.x), (kept[0].y, batch.y)):
            if mine is not None:
                mine.copy_(theirs)
        return original(kept[0])

    refilled.moves = moves  # type: ignore[method-assign]
    list(steps(refilled))
    assert kept[0].step is refilled.clock and kept[0].progress is refilled.progress
    same(whole, refilled)


def same(one: Training, other: Training) -> None:
    """Assert that two trainings are equal to the bit."""
    a, b = state.tensors_of(one), state.tensors_of(other)
    assert a.keys() == b.keys()
    assert not [key for key in a if not torch.equal(a[key], b[key])]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@every_model
def test_replayed_steps_are_the_steps_themselves_to_the_bit(
    name: str, arch: str, options: dict[str, Any], precision: str, monkeypatch: Any
) -> None:
    with exact(torch.device("cuda")):
        captured = start(name, arch, options, "cuda", precision=precision)
        terms = [{key: value.item() for key, value in step.terms.items()} for step in steps(captured)]
        monkeypatch.setattr(loop, "Replayed", lambda moves: moves)
        eager = start(name, arch, options, "cuda", precision=precision)
        assert [{key: value.item() for key, value in step.terms.items()} for step in steps(eager)] == terms
    same(captured, eager)
    assert cuda_graph.WARM_UP < STEPS


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_replay_draws_new_noise_and_the_same_for_the_same_seed() -> None:
    batch = Batch(
        torch.zeros(4, 1, 1, 1, device="cuda"), None, torch.zeros((), device="cuda"), torch.zeros((), device="cuda")
    )
    replayed = cuda_graph.Replayed(lambda batch: {"u": torch.rand(4, device="cuda")})
    found = []
    for seed in (1, 2, 3, 4, 5, 5, 4):
        torch.cuda.manual_seed(seed)
        found.append(replayed(batch)["u"].tolist())
    assert found[4] == found[5] != found[3] == found[6]


@every_model
@pytest.mark.parametrize("which", ["compiled", "networks"])
def test_every_part_that_compiles_or_rounds_is_called_in_a_step(
    name: str, arch: str, options: dict[str, Any], which: str
) -> None:
    training = start(name, arch, options)
    parts, called = list(getattr(training.model, which)()), []
    for part in parts:
        part.register_forward_hook(lambda part, *_: called.append(part))
    next(steps(training))
    assert parts and set(parts) == set(called)  # a call of another method would not run what is replaced


PENALIZED = [("gan", arch, {"gradient_penalty": "r1+r2"}) for arch in ("mlp", "dcgan", "resnet")]


@pytest.mark.parametrize(("name", "arch", "options"), [*FORMS, *PENALIZED])
def test_networks_in_bfloat16_start_as_the_plain_ones_and_stay_finite(
    name: str, arch: str, options: dict[str, Any]
) -> None:
    plain, lowered = start(name, arch, options), start(name, arch, options)
    networks = list(lowered.model.networks())
    if "gradient_penalty" in options:
        assert networks == [lowered.model.generator]  # the penalty's derivatives of D stay exact
    for network in networks:
        in_bfloat16(network)
    exact, found = (
        [{key: value.item() for key, value in step.terms.items()} for step in steps(training)]
        for training in (plain, lowered)
    )
    assert found[0] == pytest.approx(exact[0], rel=0.05, abs=0.05)
    weights = zip(plain.model.parameters(), lowered.model.parameters(), strict=True)
    assert not all(torch.equal(ours, theirs) for ours, theirs in weights)
    assert all(isfinite(value) for terms in found for value in terms.values())


@pytest.mark.slow  # half a minute of compiling
@pytest.mark.filterwarnings("ignore")  # torch's own, while it traces
@pytest.mark.parametrize(
    ("name", "arch"), [("vae", "mlp"), ("vae", "ladder"), ("realnvp", "conv"), ("realnvp", "multiscale")]
)
def test_compiled_networks_learn_what_the_plain_ones_learn(
    name: str, arch: str, tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, compiled = start(name, arch, {}), start(name, arch, {})
    compiled.config = replace(compiled.config, compile=True)
    try:
        loop.check_compiler()
    except UsageError as error:
        pytest.skip(str(error))
    list(steps(plain))
    list(steps(compiled))
    a, b = state.tensors_of(plain), state.tensors_of(compiled)
    assert a.keys() == b.keys()  # names stay, so a checkpoint does not know
    assert all(torch.allclose(a[key].float(), b[key].float(), atol=1e-4) for key in a)


def test_where_torch_cannot_compile_a_sentence_says_so(monkeypatch: Any) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("No working C++ compiler found\nand more")

    monkeypatch.setattr(torch, "compile", lambda _: refuse)
    with pytest.raises(UsageError, match=r"^--compile does not work here \(No working C\+\+ compiler found\); install"):
        Training(start("vae", "mlp", {}).model, tiny_config("vae", "mlp").train_config(compile=True))
