"""Threads follow the load of other processes, and the bits of what is computed do not."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch

from genctl import cores
from genctl.config import TrainConfig
from genctl.cores import Cores, indifferent, threads_for
from genctl.models import registry
from genctl.models.base import build
from genctl.testing.cases import bars
from genctl.training.loop import Training, fit

FORMS = [("vae", "mlp"), ("realnvp", "mlp")]


@pytest.mark.parametrize(
    ("others", "threads"), [(0.0, 4), (0.4, 4), (0.6, 3), (1.0, 3), (3.0, 1), (4.0, 1), (9.0, 1), (-0.2, 4)]
)
def test_threads_are_what_others_leave(others, threads):
    assert threads_for(4, others, most=4) == threads
    assert threads_for(4, others, most=2) == min(threads, 2)


def test_a_look_follows_the_load_and_the_end_restores(monkeypatch):
    seconds = iter([0.0, 100.0, 200.0, 200.0])  # of other processes: busy, busy, idle
    monkeypatch.setattr(cores, "used_by_others", lambda: next(seconds))
    monkeypatch.setattr(cores, "EVERY", 0.0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with Cores() as watch:
            watch.follow = True  # where there is no /proc/stat as well
            seen = []
            for _ in range(3):
                watch.look()
                seen.append(torch.get_num_threads())
        assert seen[:2] == [1, 1]
        assert seen[2] == 2 or threads_for(2, 0.0, 2) == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not cores.STAT.exists(), reason="this system has no /proc/stat")
def test_what_others_use_is_counted_and_our_own_work_is_not():
    def used(seconds):
        start, before = time.monotonic(), cores.used_by_others()
        while time.monotonic() - start < seconds:
            pass
        return cores.used_by_others() - before

    alone = used(0.3)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        beside = used(0.3)
        other.kill()
    assert alone > -0.1
    assert beside > 0.05


@pytest.mark.parametrize(("name", "arch"), FORMS)
def test_the_bits_do_not_depend_on_threads(name, arch):
    """At the sizes of the defaults: smaller steps would never be divided among threads."""
    config = registry.load(name)(arch=arch)
    x = bars(256, size=28)[0][:, None].to(torch.uint8)
    weights = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            torch.manual_seed(0)
            model = build(config, (1, 28, 28))
            assert indifferent(model)
            training = Training(model, TrainConfig(epochs=1, batch_size=128, lr=1e-3, clip=100.0))
            for _ in fit(training, x, None, last=3, horizon=3):
                pass
            weights.append([p.detach().clone() for p in model.parameters()])
        finally:
            torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize(("name", "arch"), [("vae", "conv"), ("gan", "mlp"), ("gan", "dcgan"), ("realnvp", "conv")])
def test_a_model_with_convolutions_or_batch_norm_keeps_its_threads(name, arch):
    assert not indifferent(build(registry.load(name)(arch=arch), (1, 28, 28)))
