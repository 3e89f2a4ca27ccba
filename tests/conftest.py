"""Small data, small models, and the command line called in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from genctl.cli.app import main
from genctl.config import ModelConfig
from genctl.models import registry
from genctl.testing.cases import bars

torch.set_num_threads(1)  # the models of the tests are too small for more

# The small form of each model and --arch, without its --arch: the first that the model has.
TINY: dict[tuple[str, str], dict[str, object]] = {}
for _name in registry.BUILT_IN:
    for _form in registry.load(_name).small:
        TINY.setdefault((_name, _form["arch"]), {key: value for key, value in _form.items() if key != "arch"})


def tiny_config(name: str, arch: str) -> ModelConfig:
    """Return the config of a small model."""
    return registry.load(name)(arch=arch, **TINY[name, arch])


def tiny_flags(name: str, arch: str) -> list[str]:
    """Return the same options as they are typed."""
    pairs = [(f"--{key.replace('_', '-')}", str(value)) for key, value in TINY[name, arch].items()]
    return ["--arch", arch, *[word for pair in pairs for word in pair]]


class HostReads(TorchDispatchMode):
    """Counts the values that leave the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def write_idx(path: Path, values: Tensor) -> None:
    """Write a uint8 tensor as an IDX file."""
    sizes = b"".join(n.to_bytes(4, "big") for n in values.shape)
    path.write_bytes(bytes([0, 0, 8, values.dim()]) + sizes + values.to(torch.uint8).numpy().tobytes())


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the cache folder of the tests apart from the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of IDX files: 120 training and 40 test images of 8 x 8 with labels."""
    folder = tmp_path_factory.mktemp("data") / "bars"
    folder.mkdir()
    for prefix, n in (("train", 120), ("t10k", 40)):
        images, labels = bars(n)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)
    return folder


@pytest.fixture(scope="session")
def small_weights(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with NAME.safetensors for each of small.FORMS."""
    import small  # which imports this file

    folder = tmp_path_factory.mktemp("small")
    for name, config in small.FORMS.items():
        small.write(folder / f"{name}.safetensors", config, data_folder)
    return folder


@dataclass(frozen=True)
class Answer:
    """What a command left."""

    code: int
    out: str
    err: str


Cli = Callable[..., Answer]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Return a function that runs `genctl ARGUMENTS...` in an empty folder of its own (tmp_path)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run
