"""The training loop's parts: rates, order, moving average, clipping and seeds."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import bars, tiny_config
from torch import Tensor

from genctl import seeds
from genctl.config import TrainConfig
from genctl.models.base import Batch, Group, Optimizer, Player, build
from genctl.seeds import generator, random_16_bits, seed_for, seed_step
from genctl.training.loop import EMA_EVERY, Training, clip, fit, order_of, steps_per_epoch
from genctl.training.optimizers import Adam
from genctl.training.schedule import rate

SHAPE = (1, 8, 8)
GOLDEN = (
    3_417_720_042_644_671_963  # seed_for("sample", 0, 1): another value would change all samples of released weights
)
SCHEDULES = ["constant", "cosine", "one-cycle"]


def pixels(n: int = 32) -> Tensor:
    return bars(n)[0].to(torch.uint8)[:, None]


def start(name: str = "vae", arch: str = "mlp", **options: object) -> Training:
    torch.manual_seed(0)
    chosen = {"batch_size": 8, "lr": 0.01, **options}
    return Training(build(tiny_config(name, arch), SHAPE), TrainConfig(**chosen))


def run(training: Training, last: int, horizon: int = 20) -> Training:
    for _ in fit(training, pixels(), None, last, horizon):
        pass
    return training


def test_what_depends_on_the_data_is_set_in_training_mode(monkeypatch):
    training, modes = start(), []
    training.best.eval()  # a picture was drawn of the untrained weights
    monkeypatch.setattr(type(training.model), "initialize", lambda model, x: modes.append(model.training))
    training.initialize(pixels())
    assert modes == [True]


# Rates


@pytest.mark.parametrize(
    ("schedule", "first", "last"), [("constant", 1, 1), ("cosine", 1, 0.01), ("one-cycle", 0.1, 0)]
)
def test_a_schedule_has_its_ends(schedule, first, last):
    assert rate(schedule, 0.0) == pytest.approx(first)
    assert rate(schedule, 1 - 1e-9) == pytest.approx(last, abs=1e-12)


@pytest.mark.parametrize(("schedule", "after"), [("constant", 1), ("cosine", 0.01), ("one-cycle", 0.01)])
def test_an_extended_run_goes_on_at_a_small_rate(schedule, after):
    assert rate(schedule, 1.0) == after


@pytest.mark.parametrize(("schedule", "peak"), [("constant", None), ("cosine", 0.0), ("one-cycle", 0.1)])
def test_a_schedule_peaks_at_the_chosen_rate_without_jumps(schedule, peak):
    progress = [i / 1000 for i in range(1000)]
    rates = [rate(schedule, p) for p in progress]
    assert max(rates) == pytest.approx(1) and min(rates) >= 0
    assert max(abs(a - b) for a, b in pairwise(rates)) < 0.01
    if peak is not None:
        top = progress.index(peak)
        assert rates[top] == pytest.approx(1)
        assert rates[: top + 1] == sorted(rates[: top + 1])
        assert rates[top:] == sorted(rates[top:], reverse=True)


def test_cosine_and_one_cycle_are_half_way_in_the_middle_of_their_fall():
    assert rate("cosine", 0.5) == pytest.approx((1 + 0.01) / 2)
    assert rate("one-cycle", 0.55) == pytest.approx(0.5)
    assert rate("one-cycle", 0.05) == pytest.approx(0.55)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("name", "arch"), [("vae", "mlp"), ("gan", "dcgan")])
def test_each_step_of_each_player_has_the_schedule_s_rate(name, arch, schedule):
    training = start(name, arch, schedule=schedule, lr=0.002)
    for step in fit(training, pixels(), None, last=6, horizon=6):
        truth = 0.002 * rate(schedule, (step.step - 1) / 6)
        for optimizer in training.optimizers.values():
            assert optimizer.groups[0].lr.item() == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_beyond_the_horizon_the_last_rate_stays(schedule):
    training = start(schedule=schedule)
    for step in fit(training, pixels(), None, last=9, horizon=5):
        if step.step > 5:
            truth = 0.01 * rate(schedule, 1.0)
            assert training.optimizers["vae"].groups[0].lr.item() == pytest.approx(truth, rel=1e-6, abs=1e-12)


def test_steps_before_the_horizon_do_not_know_of_the_last():
    short, long = run(start(schedule="cosine"), 5, horizon=6), start(schedule="cosine")
    for step in fit(long, pixels(), None, last=12, horizon=6):
        if step.step == 5:
            break
    assert all(torch.equal(a, b) for a, b in zip(short.model.parameters(), long.model.parameters(), strict=True))


def test_a_rate_of_0_moves_nothing():
    training = run(start(lr=0.0), 1)  # the start may depend on the data
    before = [p.clone() for p in training.model.parameters()]
    run(training, 3)
    assert all(torch.equal(a, b) for a, b in zip(before, training.model.parameters(), strict=True))


# Order


@pytest.mark.parametrize("n", [1, 2, 100])
def test_an_order_is_a_permutation(n):
    assert order_of(3, n, 0).sort().values.tolist() == list(range(n))


def test_an_order_is_a_pure_function_of_seed_and_epoch():
    first = order_of(0, 100, 0)
    torch.manual_seed(5)
    assert torch.equal(order_of(0, 100, 0), first)
    assert not torch.equal(order_of(1, 100, 0), first)
    assert not torch.equal(order_of(0, 100, 1), first)


@pytest.mark.parametrize(
    ("images", "batch", "steps"), [(100, 10, 10), (109, 10, 10), (110, 10, 11), (9, 10, 1), (1, 1, 1)]
)
def test_an_epoch_has_its_full_batches_and_at_least_one_step(images, batch, steps):
    assert steps_per_epoch(images, batch) == steps


def batches(images: int, size: int, last: int) -> list[tuple[Tensor, Tensor]]:
    """Return the images and labels of each step, with images that are all of one grey, their index."""
    training = start(batch_size=size)
    seen: list[tuple[Tensor, Tensor]] = []
    losses = training.model.losses

    def watched(batch: Batch):
        seen.append((batch.x[:, 0, 0, 0], batch.y))
        yield from losses(batch)

    training.model.losses = watched
    index = torch.arange(images)
    grey = index.to(torch.uint8)[:, None, None, None].expand(images, *SHAPE)
    for _ in fit(training, grey, index, last, last):
        pass
    return seen


def test_an_epoch_takes_each_image_at_most_once_in_its_order():
    seen = batches(30, 8, 6)  # three steps an epoch, 24 of 30 images
    assert all(torch.equal(x, y.to(torch.uint8)) for x, y in seen)
    for epoch in (0, 1):
        taken = torch.cat([y for _, y in seen[3 * epoch : 3 * epoch + 3]])
        assert torch.equal(taken, order_of(epoch, 30, 0)[:24])


def test_fewer_images_than_a_batch_are_one_batch():
    seen = batches(5, 8, 2)
    assert [sorted(y.tolist()) for _, y in seen] == [[0, 1, 2, 3, 4]] * 2


def test_steps_count_and_totals_are_the_sums_of_an_epoch():
    training, sums = start(), {}
    for step in fit(training, pixels(), None, last=10, horizon=10):
        assert step.step == training.step
        if (step.step - 1) % 4 == 0:
            sums = dict.fromkeys(step.terms, 0.0)
        sums = {name: total + step.terms[name].item() for name, total in sums.items()}
        assert {name: t.item() for name, t in training.totals.items()} == pytest.approx(sums, rel=1e-5)
    assert training.step == 10


# The moving average


def test_the_average_is_the_one_computed_by_hand():
    training, decay = start("gan", "dcgan", ema=0.95), 0.95**EMA_EVERY
    expected, checked = {}, 0
    for step in fit(training, pixels(), None, last=3 * EMA_EVERY + 1, horizon=40):
        now = {name: t.clone() for name, t in training.model.state_dict().items()}
        if step.step == 1:
            torch.manual_seed(0)
            expected = {name: t.clone() for name, t in build(tiny_config("gan", "dcgan"), SHAPE).state_dict().items()}
        if step.step % EMA_EVERY == 0:
            n, checked = step.step // EMA_EVERY, checked + 1
            keep = min(decay, (1 + n) / (10 + n))
            for name, t in now.items():
                mixed = keep * expected[name] + (1 - keep) * t if t.is_floating_point() else t
                expected[name] = mixed.clone()
        average = training.best.state_dict()
        assert average.keys() == expected.keys()
        for name, t in average.items():
            torch.testing.assert_close(t, expected[name], atol=1e-6, rtol=1e-5)
    assert checked == 3


def test_the_average_s_memory_is_at_most_the_chosen_decay():
    training = start(ema=0.9)
    training.step = 10_000 * EMA_EVERY
    before = [p.clone() for p in training.ema.parameters()]
    with torch.no_grad():
        for p in training.model.parameters():
            p.add_(1)
    training.update_average()
    for a, b in zip(before, training.ema.parameters(), strict=True):
        torch.testing.assert_close(b, a + (1 - 0.9**EMA_EVERY))


def test_the_average_starts_from_the_initialized_weights():
    training = start("realnvp", "mlp", ema=0.9)
    run(training, 1)
    assert training.ema.standardize.mu.abs().max() > 0.1
    assert not any(p.requires_grad for p in training.ema.parameters())


def test_without_an_average_the_weights_are_the_best():
    training = start(ema=0.0)
    assert training.ema is None and training.best is training.model


# Clipping


@pytest.mark.parametrize("clip", [0.0, 0.01, 1e6])
@pytest.mark.parametrize(("name", "arch"), [("vae", "mlp"), ("gan", "dcgan")])
def test_clipping_limits_the_norm_of_each_player(name, arch, clip):
    training, free = start(name, arch, clip=clip), start(name, arch)
    norms = []
    for each in (training, free):
        next(fit(each, pixels(), None, 1, 1))
        first = next(iter(each.players.values()))  # the later movers meet another opponent
        norms.append(sqrt(sum(p.grad.square().sum().item() for p in first.parameters)))
    assert norms[1] > 0.02
    assert norms[0] == pytest.approx(clip if clip == 0.01 else norms[1], rel=1e-3)
    for player in training.players.values():
        norm = sqrt(sum(p.grad.square().sum().item() for p in player.parameters))
        assert not clip or norm <= clip * 1.001


# Seeds


def test_a_seed_is_stable():
    assert seed_for("sample", 0, 1) == GOLDEN
    raw = hashlib.blake2b(b"sample\x1f0\x1f1", digest_size=8).digest()
    assert int.from_bytes(raw, "big") >> 1 == GOLDEN


def test_a_seed_separates_its_arguments():
    purposes = [("a", 1, 2), ("a", 12), ("a", 2, 1), ("a1", 2), ("a", 1, 2, 0), ("b", 1, 2), ("a", "", 12), ("a",)]
    found = [seed_for(*purpose) for purpose in purposes]
    assert len(set(found)) == len(purposes)
    assert all(0 <= seed < 2**63 for seed in found)


def test_a_generator_is_new_for_each_call_and_seeded_by_its_purpose():
    one, again, other = (torch.rand(5, generator=generator("g", i)) for i in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_a_step_s_seed_decides_the_default_generator_alone():
    cpu = torch.device("cpu")
    seed_step(cpu, 0, 7)
    one = torch.rand(5)
    torch.rand(3)
    seed_step(cpu, 0, 7)
    assert torch.equal(torch.rand(5), one)
    seed_step(cpu, 0, 8)
    assert not torch.equal(torch.rand(5), one)


def test_each_step_has_noise_of_its_own(monkeypatch):
    asked: list[tuple[object, ...]] = []
    original = seeds.seed_for
    monkeypatch.setattr(seeds, "seed_for", lambda *purpose: asked.append(purpose) or original(*purpose))
    run(start(seed=3), 4)
    steps = [purpose for purpose in asked if purpose[0] == 3]
    assert steps == [(3, "initialize"), (3, 0), (3, 1), (3, 2), (3, 3)]


# Optimizers


def two_groups() -> tuple[torch.nn.Parameter, torch.nn.Parameter, list[Group]]:
    """Return parameters at 1 with a gradient of 1, the second in a group at a tenth of the rate."""
    brisk, gentle = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    for p in (brisk, gentle):
        p.grad = torch.ones(3)
    return brisk, gentle, [Group([brisk]), Group([gentle], 0.1)]


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_a_group_steps_at_its_share_of_the_rate(kind):
    brisk, gentle, groups = two_groups()
    Adam(Player("flow", groups, Optimizer(kind)), 0.5, torch.device("cpu")).step()
    torch.testing.assert_close(brisk.detach(), torch.full((3,), 0.5))  # Adam's first step is the rate itself
    torch.testing.assert_close(gentle.detach(), torch.full((3,), 0.95))


def test_a_decoupled_decay_pulls_by_the_rate_of_the_group():
    brisk, gentle, groups = two_groups()
    Adam(Player("flow", groups, Optimizer("adamw", weight_decay=0.2)), 0.5, torch.device("cpu")).step()
    torch.testing.assert_close(brisk.detach(), torch.full((3,), 0.5 - 0.5 * 0.2))
    torch.testing.assert_close(gentle.detach(), torch.full((3,), 0.95 - 0.05 * 0.2))


def test_a_group_may_have_a_decay_of_its_own():
    brisk, gentle, _ = two_groups()
    groups = [Group([brisk]), Group([gentle], 1.0, 0.0)]
    Adam(Player("flow", groups, Optimizer("adamw", weight_decay=0.2)), 0.5, torch.device("cpu")).step()
    torch.testing.assert_close(brisk.detach(), torch.full((3,), 0.5 - 0.5 * 0.2))
    torch.testing.assert_close(gentle.detach(), torch.full((3,), 0.5))


@pytest.mark.parametrize(
    ("chosen", "kind"),
    [
        (Optimizer(), torch.optim.Adam),
        (Optimizer(betas=(0.5, 0.9)), torch.optim.Adam),
        (Optimizer(weight_decay=0.2), torch.optim.Adam),  # an L2 penalty
        (Optimizer("adamw", (0.9, 0.95), 0.2), torch.optim.AdamW),
    ],
)
def test_a_step_is_that_of_torch_s_own_optimizer_to_the_bit(chosen: Optimizer, kind: Any) -> None:
    (ours, *_), (theirs, *_) = two_groups(), two_groups()
    adam = Adam(Player("flow", [Group([ours])], chosen), 0.1, torch.device("cpu"))
    truth = kind([theirs], torch.tensor(0.1), chosen.betas, weight_decay=chosen.weight_decay, fused=True)
    for t in range(4):
        ours.grad = theirs.grad = torch.randn(3, generator=generator("gradient", t))
        adam.set_rate(0.1 / (1 + t))
        truth.param_groups[0]["lr"].fill_(0.1 / (1 + t))
        adam.step()
        truth.step()
        assert torch.equal(ours, theirs)
        assert all(torch.equal(adam.state[ours][name], entry) for name, entry in truth.state[theirs].items())


def test_a_parameter_without_a_gradient_stays_and_has_no_state() -> None:
    brisk, gentle, groups = two_groups()
    gentle.grad = None
    adam = Adam(Player("flow", groups), 0.1, torch.device("cpu"))
    adam.step()
    assert gentle.eq(1).all() and gentle not in adam.state and brisk in adam.state


def test_a_training_does_not_import_torch_s_compiler(tmp_path: Path) -> None:
    code = "import sys, genctl; genctl.train('vae', epochs=1, train_size=200, out=sys.argv[1], hidden=8)"
    check = f"{code}; assert not {{'torch._dynamo', 'torch._inductor', 'sympy'}} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", check, str(tmp_path)], check=True)


def test_the_schedule_writes_the_rate_of_each_group():
    training = start("realnvp", "mlp", schedule="cosine", lr=0.002)
    scales = [group.lr_scale for group in training.optimizers["flow"].groups]
    assert scales == [1.0, 0.1]
    for step in fit(training, pixels(), None, last=4, horizon=4):
        truth = 0.002 * rate("cosine", (step.step - 1) / 4)
        found = [group.lr.item() for group in training.optimizers["flow"].groups]
        assert found == pytest.approx([truth, 0.1 * truth], rel=1e-6)


# Noise


def test_random_16_bits_are_uniform_and_independent_of_their_neighbours() -> None:
    torch.manual_seed(0)
    x = random_16_bits((1 << 18, 4), torch.device("cpu")).int() + 2**15  # a column for each quarter of a draw
    n = len(x)
    assert (x.min(), x.max()) == (0, 2**16 - 1)
    for byte in (x & 255, x >> 8):
        counts = torch.stack([torch.bincount(byte[:, i], minlength=256) for i in range(4)]).double()
        chi_squared = ((counts - n / 256).square() / (n / 256)).sum(1)  # 255 degrees of freedom, deviation 22.6
        assert (chi_squared - 255).abs().max() < 5 * 22.6
    assert (torch.corrcoef(x.T.double()) - torch.eye(4)).abs().max() < 5 / n**0.5
    assert random_16_bits((3, 5), torch.device("cpu")).shape == (3, 5)


def test_a_clip_that_does_not_bite_changes_no_bit_and_one_that_does_scales_the_joint_norm() -> None:
    ps = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))]
    for p, grad in zip(ps, ([3.0, 0.0], [4.0]), strict=True):
        p.grad = torch.tensor(grad)
    clip(ps, 5.0)
    assert [p.grad.tolist() for p in ps] == [[3.0, 0.0], [4.0]]
    clip(ps, 0.5)
    assert torch.cat([p.grad for p in ps]).tolist() == pytest.approx([0.3, 0.0, 0.4], rel=1e-5)
    ps[0].grad[0] = torch.nan
    clip(ps, 0.5)
    assert torch.cat([p.grad for p in ps]).isnan().all()  # as torch's own: a run ends at what is not finite
