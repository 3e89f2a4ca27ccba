"""What is built from a file or a typed option is counted on the meta device before anything is allocated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TINY, tiny_config
from torch import nn

from genctl.checkpoint import manifest, sizes, tensors
from genctl.checkpoint.manifest import Header, Manifest
from genctl.checkpoint.sizes import Limit
from genctl.errors import CheckpointError, OutOfResources
from genctl.models.base import build, class_of

DATA = {"name": "bars", "digest": "d"}
ABOUT = Manifest(model="vae", config={}, train={}, shape=(1, 2, 2), dataset=DATA, role="weights", step=1, epoch=1)
PLENTY = Limit(10**6, 10**9)


def header_of(module: nn.Module, folder: Path) -> Header:
    """Return the header of a file with a module's weights."""
    tensors.save(folder / "x.safetensors", module.state_dict(), ABOUT)
    return manifest.read_header(folder / "x.safetensors")


class Seen(nn.Module):
    """Notes on which device its weight is made."""

    def __init__(self, size: int, devices: list[str]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        devices.append(self.weight.device.type)


class Reads(nn.Module):
    """Reads a value while it is built, which the meta device has none of."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.count = int(torch.ones(3).sum().item())
        self.weight = nn.Parameter(torch.zeros(size))


def test_a_network_that_does_not_fit_is_never_made(tmp_path: Path) -> None:
    devices: list[str] = []
    header = header_of(nn.Linear(2, 2), tmp_path)
    with pytest.raises(CheckpointError, match="weight is "):
        sizes.fitting(lambda: Seen(7, devices), header, tmp_path)
    assert devices == ["meta"]


def test_a_network_that_fits_is_made_once(tmp_path: Path) -> None:
    devices: list[str] = []
    sizes.fitting(lambda: Seen(7, devices), header_of(Seen(7, []), tmp_path), tmp_path)
    assert devices == ["meta", "cpu"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.ModuleList(nn.Linear(2, 2) for _ in range(10**12)),
        lambda: nn.Linear(10**6, 10**6),
        lambda: nn.Linear(2**62, 2**62),
        lambda: Reads(10**10),
        lambda: nn.Sequential(Reads(2), *(Reads(2) for _ in range(10**12))),
    ],
    ids=["endless", "wide", "wider than can be counted", "wide and not for meta", "endless and not for meta"],
)
def test_a_build_that_asks_for_more_than_the_file_holds_ends(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="asks for"):
        sizes.fitting(make, header_of(nn.Linear(2, 2), tmp_path), tmp_path)


class Constant(Reads):
    """Holds values of its own, which are no sizes."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.register_buffer("scale", torch.tensor([10**6, 10**6, 10**6], device="cpu"))


def test_values_are_no_sizes(tmp_path: Path) -> None:
    assert sizes.fitting(lambda: Constant(5), header_of(Constant(5), tmp_path), tmp_path).count == 3


def test_what_reads_values_is_built_all_the_same(tmp_path: Path) -> None:
    assert sizes.plan(lambda: Reads(5), PLENTY) is None
    assert sizes.fitting(lambda: Reads(5), header_of(Reads(5), tmp_path), tmp_path).count == 3


@pytest.mark.parametrize(("name", "arch"), TINY)
def test_the_plan_is_the_model_and_leaves_its_first_weights_alone(name: str, arch: str) -> None:
    config, shape = tiny_config(name, arch), (1, 8, 8)
    torch.manual_seed(3)
    plain = class_of(config)(config, shape).state_dict()
    torch.manual_seed(3)
    built = build(config, shape).state_dict()
    assert sizes.plan(lambda: class_of(config)(config, shape), PLENTY) == tensors.specs(plain)
    assert all(torch.equal(built[key], plain[key]) for key in plain)


def test_typed_options_that_this_machine_has_no_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "memory", lambda: 16_000)
    with pytest.raises(OutOfResources, match=r"asks for .* and more; this machine has room for 1,000 numbers"):
        sizes.possible(lambda: nn.Linear(100, 100), "model")
    sizes.possible(lambda: nn.Linear(10, 10), "model")


def test_a_build_that_is_cut_short_within_no_grad_leaves_gradients_on() -> None:
    with pytest.raises(sizes.TooLarge):
        sizes.plan(lambda: nn.Sequential(*(nn.Linear(2, 2) for _ in range(100))), Limit(1, 1))

    def ones() -> nn.Module:
        with torch.no_grad():
            return nn.ParameterList([torch.empty(2) for _ in range(9)])

    with pytest.raises(sizes.TooLarge):
        sizes.plan(ones, Limit(3, 100))
    assert torch.is_grad_enabled()
    with torch.no_grad(), pytest.raises(sizes.TooLarge):
        sizes.plan(ones, Limit(3, 100))
        assert not torch.is_grad_enabled()
