"""Fewer threads while other processes want the cores.

A parallel region ends when its last thread does. Where another process holds a core, all threads wait at the end of
each of a step's hundreds of regions, and a training on two threads falls behind one on a single thread. Matrix
products, sums and elementwise functions give the same bits on any number of threads, so that number may follow the
load. The gradient of a convolution to its weights and the statistics of batch norm are sums over the batch in as many
parts as there are threads: models with these keep theirs in training.
"""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

import torch
from torch import nn

EVERY = 0.5  # seconds between looks
TICK = 100  # of a second, Linux's unit of a process's time
STAT = Path("/proc/stat")
SUMS_BY_THREAD = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase)
USER, NICE, SYSTEM, IRQ, SOFTIRQ = 0, 1, 2, 5, 6  # columns of a line of /proc/stat


def indifferent(model: nn.Module) -> bool:
    """Tell whether a step of this model has the same bits on any number of threads."""
    return not any(isinstance(part, SUMS_BY_THREAD) for part in model.modules())


def used_by_others() -> float:
    """Return the seconds, since the start of the machine, for which other processes had the cores that we may use.

    Processes of a lower priority than ours give way and are not counted. Raises OSError where there is no /proc/stat.
    """
    ours = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    columns = [USER, SYSTEM, IRQ, SOFTIRQ] + [NICE] * (os.nice(0) > 0)
    with STAT.open(encoding="ascii") as file:
        lines = [line.split() for line in file if line.startswith("cpu")]
    used = sum(int(line[1 + column]) for line in lines if line[0] in ours for column in columns)
    mine = os.times()
    return used / TICK - mine.user - mine.system


def threads_for(cores: int, others: float, most: int) -> int:
    """Return how many threads, at most most, suit cores of which others are in use by other processes."""
    return max(1, min(most, round(cores - others)))


class Cores:
    """Within `with Cores() as cores`, each cores.look() lets torch's threads follow the load; the end restores them.

    On systems without /proc/stat it does nothing.
    """

    def __init__(self, follow: bool = True) -> None:
        self.follow = follow and STAT.exists()

    def __enter__(self) -> Self:
        self.most = torch.get_num_threads()
        self.follow = self.follow and self.most > 1
        self.looked = monotonic()
        self.used = used_by_others() if self.follow else 0.0
        return self

    def look(self) -> None:
        """Set the number of threads by the load since the last look, if that was a while ago."""
        if not self.follow or monotonic() - self.looked < EVERY:
            return
        now, used = monotonic(), used_by_others()
        threads = threads_for(len(os.sched_getaffinity(0)), (used - self.used) / (now - self.looked), self.most)
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)
        self.looked, self.used = now, used

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.follow:
            torch.set_num_threads(self.most)
