"""A share of a batch has its rows of the whole batch's noise, and what is over the batch is over all shares."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from genctl.errors import UsageError
from genctl.models.blocks import BatchNorm1d, BatchNorm2d
from genctl.ranks.shares import Share, even, over_batch, within
from genctl.seeds import noise, random_16_bits, seed_step

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("images", "shares", "together", "counts"),
    [(8, 2, 1, [4, 4]), (8, 3, 1, [3, 3, 2]), (7, 3, 1, [3, 2, 2]), (8, 3, 2, [4, 2, 2]), (2, 3, 1, [1, 1, 0])],
)
def test_a_batch_is_divided_evenly(images: int, shares: int, together: int, counts: list[int]) -> None:
    assert even(images, shares, together) == counts


DRAWS: list[tuple[Callable[[int], Tensor], int, int]] = [  # a draw of n images, the batches in it, the images of a row
    (lambda n: noise("normal", (n, 3), CPU), 1, 1),
    (lambda n: noise("uniform", (2, n, 1), CPU, images=1).movedim(1, 0), 1, 1),
    (lambda n: noise("uniform", (n // 2, 1), CPU), 1, 2),
    (lambda n: random_16_bits((n, 5), CPU), 1, 1),
    (lambda n: random_16_bits((2 * n, 5), CPU), 2, 1),
    (lambda n: random_16_bits((n, 5), CPU, 2), 2, 2),  # real packs of two, then generated ones: as many rows as images
    (lambda n: random_16_bits((n // 2, 5), CPU, 2), 1, 2),
]


@pytest.mark.parametrize(("draw", "batches", "together"), DRAWS)
def test_shares_have_the_rows_of_one_draw(draw: Callable[[int], Tensor], batches: int, together: int) -> None:
    seed_step(CPU, "shares")
    whole = draw(12).unflatten(0, (batches, -1))
    counts, kept = even(12, 3, together) if together == 1 else [6, 4, 2], []
    for own_list in (None, []):
        parts = []
        for i in range(3):
            if own_list is None or i == 0:
                seed_step(CPU, "shares")
            with within(Share(counts, i, drawn=own_list)):
                parts.append(draw(counts[i]).unflatten(0, (batches, -1)))
        kept.append(torch.cat(parts, 1))
    assert torch.equal(kept[0], whole) and torch.equal(kept[1], whole)


def test_noise_that_is_not_for_a_share_is_an_error() -> None:
    with within(Share([4, 4], 0)), pytest.raises(RuntimeError, match="3 rows"):
        noise("normal", (3, 2), CPU)


def test_without_the_other_shares_there_is_no_mean_over_the_batch() -> None:
    with within(Share([4, 4], 0)), pytest.raises(UsageError, match="accumulate"):
        over_batch(torch.zeros(2))


def twin(tensor: Tensor) -> None:
    """Add up what two processes hold whose shares have the same images: each has its own in its own slot."""
    tensor.add_(tensor.flip(0))


def slopes(norm: nn.Module, x: Tensor, weight: Tensor) -> list[Tensor]:
    """Return the outputs of a batch norm, and what a penalty on the slope of a loss has as gradients."""
    x = x.clone().requires_grad_()
    y = norm(x)
    (slope,) = torch.autograd.grad((y * weight).pow(3).sum(), x, create_graph=True)
    wanted = [x, *norm.parameters()]
    return [y, slope, *torch.autograd.grad(slope.square().sum() + y.pow(4).sum(), wanted)]


@pytest.mark.parametrize(("kind", "shape"), [(BatchNorm1d, (5, 3)), (BatchNorm2d, (5, 3, 2, 2))])
def test_batch_norm_is_over_all_shares_and_so_are_both_its_derivatives(kind: type, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, *shape, dtype=torch.float64)
    whole, own = kind(3).double(), kind(3).double()
    expected = slopes(whole, torch.cat([x, x]), torch.cat([weight, weight]))
    with within(Share([5, 5], 0, sum=twin)):
        found = slopes(own, x, weight)
    for ours, theirs in zip(found[:3], expected[:3], strict=True):
        torch.testing.assert_close(ours, theirs[:5], rtol=1e-10, atol=1e-10)
    for ours, theirs in zip(found[3:], expected[3:], strict=True):
        torch.testing.assert_close(2 * ours, theirs, rtol=1e-10, atol=1e-10)  # of the parameters each has half
    for name, buffer in whole.named_buffers():
        torch.testing.assert_close(own.get_buffer(name), buffer, rtol=1e-6, atol=1e-6)


def test_batch_norm_without_shares_is_torch_s_own() -> None:
    torch.manual_seed(0)
    x, own, torchs = torch.randn(6, 3), BatchNorm1d(3), nn.BatchNorm1d(3)
    assert torch.equal(own(x), torchs(x)) and torch.equal(own.eval()(x), torchs.eval()(x))


def test_a_mean_over_the_batch_weighs_shares_by_their_images() -> None:
    mean = torch.tensor([2.0], requires_grad=True)
    with within(Share([3, 1], 0, sum=lambda t: t.add_(torch.tensor([[0.0], [6.0]])))):
        assert over_batch(mean).item() == 3  # (3 * 2 + 1 * 6) / 4
