"""A GPU rounds where a training lets it, and nowhere else; a processor never does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from genctl import checkpoint, precision
from genctl.likelihood import BLOCK, GPU_BLOCKS, together

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def settings() -> tuple[str, str, bool, bool]:
    """Return how a GPU multiplies, convolves, whether it times its ways first, and whether it must repeat itself."""
    conv, cudnn = torch.backends.cudnn.conv.fp32_precision, torch.backends.cudnn  # type: ignore[attr-defined]
    return torch.backends.cuda.matmul.fp32_precision, conv, cudnn.benchmark, cudnn.deterministic


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Put torch's own settings back."""
    matmul, cudnn, before = torch.backends.cuda.matmul, torch.backends.cudnn, settings()
    yield
    matmul.fp32_precision, cudnn.conv.fp32_precision = before[:2]  # type: ignore[attr-defined]
    cudnn.benchmark, cudnn.deterministic = before[2:]


def test_a_model_on_a_gpu_is_float32_and_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert checkpoint.device_of("auto") == CUDA
    assert settings() == ("ieee", "ieee", False, True)


@pytest.mark.parametrize(("kind", "tune"), [("tf32", True), ("tf32", False), ("float32", True), ("float32", False)])
def test_a_training_rounds_and_tunes_as_it_was_asked_and_nobody_after_it(kind: str, tune: bool) -> None:
    precision.exact()
    exact = settings()
    with pytest.raises(ZeroDivisionError), precision.arithmetic(kind, tune, CUDA):
        products = "tf32" if kind == "tf32" else "ieee"
        assert settings() == (products, products, tune, True)
        raise ZeroDivisionError
    assert settings() == exact


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


def test_a_gpu_evaluates_more_images_together() -> None:
    assert (together(CPU), together(CUDA)) == (BLOCK, GPU_BLOCKS * BLOCK)
