"""The processes of one command, which torchrun has started: how they meet, add up, and hear of each other.

Rank 0 speaks and writes. What is said between processes is numbers and JSON: nothing is unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from ..errors import Lost, UsageError
from . import meeting


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those of a command; alone, it has nobody to hear of and waits for nothing."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Tell whether this is the process that speaks and writes."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> None:
        """Add a tensor up over all processes, in place."""
        if self.world > 1:
            with met():
                dist.all_reduce(tensor)

    def most(self, *values: float) -> list[float]:
        """Return the largest of each value over all processes."""
        if self.world == 1:
            return list(values)
        found = torch.tensor(values, dtype=torch.float64)
        with met():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return found.tolist()

    def copy(self, tensors: list[Tensor]) -> None:
        """Make these tensors what they are in rank 0; those of one type go together."""
        for dtype in dict.fromkeys(t.dtype for t in tensors) if self.world > 1 else ():
            alike = [t for t in tensors if t.dtype == dtype]
            flat = torch.cat([t.reshape(-1) for t in alike])
            with met():
                dist.broadcast(flat, 0)
            for tensor, whole in zip(alike, flat.split([t.numel() for t in alike]), strict=True):
                tensor.copy_(whole.view_as(tensor))

    def tell(self, value: Any = None) -> Any:
        """Return what rank 0 says, something that JSON holds."""
        if self.world == 1:
            return value
        text = torch.tensor(list(json.dumps(value if self.leads else None).encode()), dtype=torch.uint8)
        size = torch.tensor(len(text))
        self.copy([size])
        if not self.leads:
            text = torch.empty(int(size), dtype=torch.uint8)
        self.copy([text])
        return json.loads(bytes(text.tolist()))

    def span(self, n: int, block: int = 1, rank: int | None = None) -> tuple[int, int]:
        """Return which of n items a process works on, from and to: whole blocks of them, the last may be cut."""
        blocks, r = -(-n // block), self.rank if rank is None else rank
        return min(n, blocks * r // self.world * block), min(n, blocks * (r + 1) // self.world * block)

    def gather(self, part: Tensor, n: int, block: int = 1) -> Tensor:
        """Return the n items of all processes in their order, to the bit; part holds those of span(n, block)."""
        if self.world == 1:
            return part
        spans = [self.span(n, block, rank) for rank in range(self.world)]
        pieces = [part if r == self.rank else part.new_empty(b - a, *part.shape[1:]) for r, (a, b) in enumerate(spans)]
        for r, piece in enumerate(pieces):
            if len(piece):
                held = piece.contiguous()
                with met():
                    dist.broadcast(held, r)
                pieces[r] = held
        return torch.cat(pieces)

    @contextmanager
    def one_after_another(self, what: str) -> Iterator[None]:
        """Within, the first process of each machine goes before the others: what it leaves in a cache, they find."""
        if self.world == 1 or not meeting.launched():
            yield
            return
        if meeting.local_rank():
            with met():
                meeting.in_turn(what)
        yield
        if not meeting.local_rank():
            with met():
                meeting.go_on(what)


ALONE = Ranks()


@contextmanager
def met() -> Iterator[None]:
    """Turn what torch raises when a process is gone into Lost."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise Lost("another process of this command has ended, or its connection is lost.") from error


_together: list[Ranks] = []


def here() -> Ranks:
    """Return the processes that this one works with; a process group that somebody else has made is none of ours."""
    return _together[-1] if _together else ALONE


@contextmanager
def working(ranks: Ranks) -> Iterator[Ranks]:
    """Within, this process works with others, whose process group is there."""
    _together.append(ranks)
    try:
        yield ranks
    finally:
        _together.pop()


@contextmanager
def joined(device: str = "auto") -> Iterator[Ranks]:
    """Within, the processes that torchrun has started work together; a process of its own is alone.

    Raises UsageError for a device that they cannot share.
    """
    if not meeting.launched() or meeting.world() == 1 or _together:
        yield here()
        return
    backend, rank, world = backend_for(device), meeting.rank(), meeting.world()
    with met():
        store = meeting.own_store()
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=meeting.PATIENCE)
    with working(Ranks(rank, world)) as ranks:
        yield ranks
    dist.destroy_process_group()  # not after a failure: the others may be gone, and a farewell could wait for ever


def backend_for(device: str) -> str:
    """Return what connects the processes, and take this process's GPU."""
    wanted = torch.cuda.is_available() if device == "auto" else device == "cuda"
    if device == "mps" or (device == "auto" and not wanted and torch.backends.mps.is_available()):
        raise UsageError("several processes compute on CPUs or on NVIDIA GPUs; add --device cpu.")
    if not wanted or not torch.cuda.is_available():  # a device that is not there is refused where it is looked for
        return "gloo"
    there, needed = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if needed > there:
        raise UsageError(
            f"{needed} processes need a GPU each, and {there} are here; start {there}, or add --device cpu."
        )
    torch.cuda.set_device(meeting.local_rank())
    return "cpu:gloo,cuda:nccl"
