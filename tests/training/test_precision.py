"""A GPU rounds where a training lets it, and nowhere else; a processor never does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from conftest import tiny_config

from genctl.device import device_of, exact
from genctl.errors import UsageError
from genctl.evaluation.bounds import BLOCK, GPU_BLOCKS, together
from genctl.models.base import Model, build
from genctl.training import loop, precision
from genctl.training.loop import Training

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def settings() -> tuple[str, str, bool, bool]:
    """Return how a GPU multiplies, convolves, whether it times its ways first, and whether it must repeat itself."""
    conv, cudnn = torch.backends.cudnn.conv.fp32_precision, torch.backends.cudnn  # type: ignore[attr-defined]
    return torch.backends.cuda.matmul.fp32_precision, conv, cudnn.benchmark, cudnn.deterministic


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Put torch's own settings back."""
    cudnn, before = torch.backends.cudnn, (*settings(), torch.backends.mkldnn.matmul.fp32_precision)
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.fp32_precision, cudnn.conv.fp32_precision = before[:2]  # type: ignore[attr-defined]
    cudnn.benchmark, cudnn.deterministic, torch.backends.mkldnn.matmul.fp32_precision = before[2:]


def by_the_new_name() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"


CALLERS = [lambda: None, lambda: torch.set_float32_matmul_precision("high"), by_the_new_name]
every_caller = pytest.mark.parametrize("caller", CALLERS, ids=["nothing", "old name", "new name"])


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings()
    for there, kind in ((True, CUDA), (False, CPU)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        assert device_of("auto") == kind
    assert settings() == before


@every_caller
def test_a_model_on_a_gpu_is_float32_and_repeatable_and_what_the_caller_has_set_comes_back(
    caller: Callable[[], None],
) -> None:
    torch.backends.cuda.matmul.fp32_precision = "none"  # as torch starts
    caller()
    before = settings()
    with pytest.raises(ZeroDivisionError), exact(CUDA):
        assert settings() == ("ieee", "ieee", False, True)
        raise ZeroDivisionError
    assert settings() == before


@every_caller
def test_a_processor_trains_whatever_the_caller_has_set_and_leaves_it(caller: Callable[[], None]) -> None:
    torch.backends.cuda.matmul.fp32_precision = "none"
    caller()
    before = settings()
    with precision.arithmetic("tf32", True, CPU):
        assert torch.equal(torch.full((4, 4), 1 + 2**-20) @ torch.eye(4), torch.full((4, 4), 1 + 2**-20))
    assert settings() == before


def test_on_a_processor_nothing_is_set_but_the_threads() -> None:
    before = (*settings(), torch.get_num_threads())
    with exact(CPU):
        assert (*settings(), torch.get_num_threads()) == before
    with pytest.raises(ZeroDivisionError), exact(CPU, threads=before[-1] + 1):
        assert (*settings(), torch.get_num_threads()) == (*before[:-1], before[-1] + 1)
        raise ZeroDivisionError
    assert (*settings(), torch.get_num_threads()) == before


@pytest.mark.parametrize(("kind", "tune"), [("tf32", True), ("tf32", False), ("float32", True), ("float32", False)])
def test_a_training_rounds_and_tunes_as_it_was_asked_and_nobody_after_it(kind: str, tune: bool) -> None:
    with exact(CUDA):
        before = settings()
        with pytest.raises(ZeroDivisionError), precision.arithmetic(kind, tune, CUDA):
            products = "tf32" if kind == "tf32" else "ieee"
            assert settings() == (products, products, tune, True)
            raise ZeroDivisionError
        assert settings() == before


def test_a_processor_multiplies_in_float32_in_training_too() -> None:
    before, x = settings(), torch.full((128, 300), 1 + 2**-20)
    with precision.arithmetic("tf32", True, CPU):
        assert torch.equal(x @ torch.eye(300), x)
        assert torch.equal(torch.nn.functional.linear(x, torch.eye(300)), x)
        assert torch.get_float32_matmul_precision() == ("medium" if precision.onednn_keeps_float32() else "highest")
    assert settings()[1:] == before[1:]
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_processor_that_would_round_is_not_let(monkeypatch: pytest.MonkeyPatch) -> None:
    exactly = torch.Tensor.__matmul__

    def rounds(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        free = torch.get_float32_matmul_precision() == "medium"
        return exactly(a.bfloat16().float() if free else a, b)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounds)
    precision.onednn_keeps_float32.cache_clear()
    try:
        with precision.arithmetic("float32", False, CPU):
            assert torch.get_float32_matmul_precision() == "highest"
    finally:
        precision.onednn_keeps_float32.cache_clear()


def test_a_network_in_bfloat16_rounds_in_training_alone_and_returns_float32() -> None:
    torch.manual_seed(0)
    network, x = (
        torch.nn.Sequential(torch.nn.Linear(50, 40), torch.nn.ReLU(), torch.nn.Linear(40, 3)),
        torch.randn(8, 50),
    )
    exact, names = network(x), list(network.state_dict())
    precision.in_bfloat16(network)
    rounded = network(x)
    rounded.sum().backward()
    assert rounded.dtype == torch.float32 and list(network.state_dict()) == names
    assert 0 < (rounded - exact).abs().max() < 0.02
    assert {p.dtype for p in network.parameters()} == {p.grad.dtype for p in network.parameters() if p.grad is not None}
    assert torch.equal(network.eval()(x), exact)


@pytest.mark.parametrize(("kind", "device", "lowered"), [("bf16", "cuda", 1), ("tf32", "cuda", 0), ("bf16", "cpu", 0)])
def test_networks_round_on_a_gpu_where_that_was_asked_for(
    kind: str, device: str, lowered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("realnvp", "multiscale")
    training = Training(build(config, (1, 8, 8)), config.train_config(precision=kind))
    training.device, calls = torch.device(device), []
    monkeypatch.setattr(loop, "in_bfloat16", calls.append)
    training.adapt()
    assert calls == (list(training.model.networks()) if lowered else [])


def test_a_model_without_networks_that_may_round_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config("vae", "mlp")
    model = build(config, (1, 8, 8))
    monkeypatch.setattr(type(model), "networks", Model.networks)
    with pytest.raises(UsageError, match="--precision bf16 is not for this model"):
        Training(model, config.train_config(precision="bf16"))


def test_a_copy_of_a_network_in_bfloat16_has_weights_of_its_own() -> None:
    network, x = torch.nn.Linear(3, 2), torch.ones(1, 3)
    precision.in_bfloat16(network)
    other = copy.deepcopy(network)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    assert other(x).tolist() == [[0, 0]] != network(x).tolist()


def test_a_gpu_evaluates_more_images_together() -> None:
    assert (together(CPU), together(CUDA)) == (BLOCK, GPU_BLOCKS * BLOCK)
