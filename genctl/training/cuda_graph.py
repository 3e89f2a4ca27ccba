"""A training step as one CUDA graph: on a GPU a small model waits for launches, not for arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..models.base import Batch

WARM_UP = 3  # steps taken as usual first, for what is set up at the first use (cuBLAS, optimizer states)


class Replayed:
    """Calls `moves` for the first steps, then captures one call and replays it with each batch's images.

    Noise differs at each replay: the default generator's seed is read when a graph starts, not when it was captured.
    """

    def __init__(self, moves: Callable[[Batch], dict[str, Tensor]]) -> None:
        self.moves = moves
        self.stream = torch.cuda.Stream()  # capture and warm-up share one that is not the default
        self.steps = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Take the step; the terms are overwritten by the next."""
        self.steps += 1
        if self.steps <= WARM_UP:
            return self.warm_up(batch)
        graph = self.graph or self.capture(batch)
        self.batch.x.copy_(batch.x)
        if self.batch.y is not None and batch.y is not None:
            self.batch.y.copy_(batch.y)
        graph.replay()
        return self.terms

    def warm_up(self, batch: Batch) -> dict[str, Tensor]:
        """Take the step as usual, on the stream of the capture."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            terms = self.moves(batch)
        torch.cuda.current_stream().wait_stream(self.stream)
        return terms

    def capture(self, batch: Batch) -> torch.cuda.CUDAGraph:
        """Record the step without taking it; what it reads must stay where it is: copies of x and y, and scalars."""
        y = None if batch.y is None else batch.y.clone()
        self.batch = Batch(batch.x.clone(), y, batch.step, batch.progress)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=self.stream):
            self.terms = self.moves(self.batch)
        return self.graph
