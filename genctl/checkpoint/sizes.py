"""How large a network may be that is built from what a file or a user says.

It is built on torch's meta device first, where a tensor has a shape and no memory. What it asks for is counted as it
asks, so that a build of a billion layers ends early.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import CheckpointError, GenctlError, OutOfResources
from .manifest import MOST_TENSORS, Header
from .tensors import Spec, compare, specs, specs_of

RANDOM = (torch.rand, torch.randn)
COPYING = (torch.tensor, torch.as_tensor)  # their numbers exist already
COPIES = 4  # of the weights in training: themselves, their gradients, and Adam's two moments
Network = TypeVar("Network", bound=nn.Module)


class TooLarge(Exception):
    """A network asks for more than its limit: how many tensors and numbers so far."""


@dataclass(frozen=True)
class Limit:
    """What a network may ask for while it is built; buffers that no file holds have room beside the weights."""

    tensors: int
    numbers: int

    @classmethod
    def of(cls, header: Header) -> Limit:
        """Return the limit of what a file holds."""
        entries = header.tensors.values()
        return cls(1000 + 3 * len(entries), 2**20 + 2 * sum(prod(entry["shape"]) for entry in entries))


def memory() -> int:
    """Return the bytes of memory that this machine has, as far as it says so."""
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 1 << 36


def machine() -> Limit:
    """Return the limit of what can be trained here, and saved: a state has five tensors a parameter."""
    return Limit(MOST_TENSORS // 5, memory() // (4 * COPIES))


class Counted(TorchFunctionMode):
    """Counts the new tensors that are asked for against a limit; those of the meta device take no memory."""

    def __init__(self, limit: Limit) -> None:
        super().__init__()
        self.limit, self.tensors, self.numbers = limit, 0, 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Raise TooLarge rather than make a tensor beyond the limit."""
        given = dict(kwargs or {})
        if any(isinstance(value, Tensor) for value in args):
            return func(*args, **given)
        on_meta = str(given.get("device")) == "meta"
        if on_meta and func in RANDOM:  # torch loads its decompositions for one, a second's work
            func = torch.empty
            given.pop("generator", None)
        if not on_meta:
            self.count(0 if func in COPYING else asked(args))
            return func(*args, **given)
        made = func(*args, **given)
        self.count(made.numel() if isinstance(made, Tensor) else 0)
        return made

    def count(self, numbers: int) -> None:
        """Count a tensor of so many numbers."""
        self.tensors += 1
        self.numbers += numbers
        if self.tensors > self.limit.tensors or self.numbers > self.limit.numbers:
            raise TooLarge(f"{self.tensors:,} tensors of {self.numbers:,} numbers and more")


def asked(args: tuple[Any, ...]) -> int:
    """Return how many numbers a call such as torch.empty(sizes) or torch.arange(n) makes, by its arguments."""
    if args and isinstance(args[0], (list, tuple)):
        return prod(args[0]) if all(isinstance(n, int) for n in args[0]) else 0
    return max((n for n in args if isinstance(n, int)), default=1)


@contextmanager
def counted(limit: Limit) -> Iterator[None]:
    """Within, new tensors count against a limit; gradients are on or off after it as before.

    A build that is cut short inside of torch.no_grad() leaves that block by a call that would count, and raise, too.
    """
    with torch.set_grad_enabled(torch.is_grad_enabled()), Counted(limit):
        yield


def plan(make: Callable[[], Network], limit: Limit) -> dict[str, Spec] | None:
    """Return the tensors of a network without making one; raise TooLarge.

    None for a network that reads values while it is built: on the meta device there are none.
    """
    try:
        with torch.random.fork_rng(devices=[]), counted(limit), torch.device("meta"):
            return specs(make().state_dict())
    except TooLarge:
        raise
    except Exception as error:  # the network may be another package's; what is wrong will come up again without meta
        if "overflow" in str(error).lower():
            raise TooLarge("more numbers than can be counted") from error
        return None


def possible(make: Callable[[], Network], name: str) -> Network:
    """Return a network of typed options; raise OutOfResources, before it is made, if it cannot be trained here."""
    limit = machine()
    try:
        plan(make, limit)
    except TooLarge as error:
        room = f"{limit.numbers:,} numbers ({4 * COPIES * limit.numbers / 1e9:.0f} GB with gradients and moments)"
        raise OutOfResources(
            f"a {name} of these options is too large: it asks for {error}; this machine has room for {room},"
            f" a file for {limit.tensors:,} tensors; choose smaller options."
        ) from error
    return make()


def fitting(make: Callable[[], Network], header: Header, path: Path) -> Network:
    """Return a network that a file describes, with random weights; raise CheckpointError unless the tensors fit.

    The header is compared first. What reads values while it is built is built under the same limit.
    """
    limit = Limit.of(header)
    try:
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
            own = plan(make, limit)
            if own is not None:
                compare(own, specs_of(header), path)
                return make()
            with counted(limit):
                return make()
    except CheckpointError:
        raise
    except TooLarge as error:
        raise CheckpointError(
            f"{path} does not fit the model it names: that asks for {error}; the file holds"
            f" {len(header.tensors):,} tensors."
        ) from error
    except Exception as error:  # options that a builder does not take, in whatever way it says so
        reason = str(error) if isinstance(error, GenctlError) else f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{path} cannot be rebuilt: {reason}") from error
