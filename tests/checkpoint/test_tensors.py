"""Tensors go into one file and come back to the bit; a file that is not sound brings one sentence, never code."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from conftest import TINY, Cli, tiny_config
from torch import Tensor, nn

from genctl.checkpoint import manifest, sealing
from genctl.checkpoint import tensors as checkpoint
from genctl.checkpoint.manifest import Manifest
from genctl.device import device_of
from genctl.errors import CheckpointError, UsageError
from genctl.models.base import build
from genctl.runs import load

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]
SHAPE = (1, 8, 8)


def about(name: str = "vae", arch: str = "mlp", role: str = "weights") -> Manifest:
    """Return the manifest of a small model."""
    return Manifest(
        model=name,
        config=tiny_config(name, arch).to_dict(),
        train={},
        shape=SHAPE,
        dataset={"name": "bars", "digest": "d"},
        role=role,
        step=1,
        epoch=1,
    )


def bits(tensor: Tensor) -> bytes:
    """Return a tensor's bytes."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def write_forged(path: Path, tensors: dict[str, Any], payload: bytes, more: dict[str, Any] | None = None) -> None:
    """Write a file with these entries, a good manifest and the right digest."""
    metadata = {"genctl": about().to_json(), "sha256": sealing.NO_DIGEST, **(more or {})}
    text = json.dumps({"__metadata__": metadata, **tensors}, separators=(",", ":")).encode()
    blank = len(text).to_bytes(8, "little") + text + payload
    path.write_bytes(blank.replace(sealing.NO_DIGEST.encode(), hashlib.sha256(blank).hexdigest().encode(), 1))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (2, 3, 4)], ids=str)
def test_tensors_come_back_to_the_bit(dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensor = (100 * torch.randn(shape, generator=generator)).to(dtype)
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, {"t": tensor, "other": torch.ones(1)}, about())
    loaded, tensors = checkpoint.load(path)
    assert loaded == about()
    assert tensors["t"].dtype == dtype and tensors["t"].shape == shape
    assert bits(tensors["t"]) == bits(tensor)


def test_values_that_are_not_finite_and_signed_zeros_come_back(tmp_path: Path) -> None:
    tensor = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45])
    checkpoint.save(tmp_path / "x.safetensors", {"t": tensor}, about())
    assert bits(checkpoint.load(tmp_path / "x.safetensors")[1]["t"]) == bits(tensor)


def test_views_shared_storage_and_gradients_are_plain_values_in_the_file(tmp_path: Path) -> None:
    whole = torch.arange(12.0, requires_grad=True)
    tensors = {"a": whole, "b": whole, "turned": whole.view(3, 4).t(), "part": whole[3:5]}
    checkpoint.save(tmp_path / "x.safetensors", tensors, about())
    loaded = checkpoint.load(tmp_path / "x.safetensors")[1]
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
    assert loaded.keys() == tensors.keys()


def test_the_same_state_is_the_same_bytes(tmp_path: Path) -> None:
    a, b = torch.arange(3.0), torch.arange(4)
    checkpoint.save(tmp_path / "first.safetensors", {"a": a, "b": b}, about())
    checkpoint.save(tmp_path / "second.safetensors", {"b": b.clone(), "a": a.clone()}, about())
    assert (tmp_path / "first.safetensors").read_bytes() == (tmp_path / "second.safetensors").read_bytes()


def test_saving_what_was_loaded_is_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    checkpoint.save(first, build(tiny_config("gan", "dcgan"), (1, 28, 28)).state_dict(), about())
    loaded, tensors = checkpoint.load(first)
    checkpoint.save(second, tensors, loaded)
    assert first.read_bytes() == second.read_bytes()


def test_another_value_is_another_digest(tmp_path: Path) -> None:
    digests = set()
    for value in (0.0, -0.0, 1.0):
        checkpoint.save(tmp_path / "x.safetensors", {"a": torch.tensor(value)}, about())
        digests.add(manifest.read_header(tmp_path / "x.safetensors").digest)
    assert len(digests) == 3


def test_safetensors_itself_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {f"t{i}": torch.arange(6).reshape(2, 3).to(dtype) for i, dtype in enumerate(DTYPES)}
    checkpoint.save(path, tensors, about())
    found = safetensors.torch.load_file(path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("place", [0, 9, 100, -1, -5])
def test_a_flipped_bit_is_found_when_a_file_is_loaded(place: int, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, {"a": torch.arange(3.0)}, about())
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        checkpoint.load(path)


def old_and_new_pickles() -> dict[str, bytes]:
    """Return what torch.save and pickle write."""
    zipped, legacy = io.BytesIO(), io.BytesIO()
    torch.save({"w": torch.ones(2)}, zipped)
    torch.save({"w": torch.ones(2)}, legacy, _use_new_zipfile_serialization=False)
    plain = {f"pickle {n}": pickle.dumps({"w": [1.0] * 9}, protocol=n) for n in (2, 3, 4, 5)}
    return {"zip": zipped.getvalue(), "legacy": legacy.getvalue(), **plain}


PICKLES = old_and_new_pickles()


@pytest.mark.parametrize("kind", PICKLES)
def test_a_pickle_is_refused_with_a_word_on_why(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(PICKLES[kind])
    for read in (checkpoint.load, manifest.read):
        with pytest.raises(CheckpointError, match="never unpickles"):
            read(path)


class Trap:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("trap.mark", "w"))


def test_code_in_a_pickle_does_not_run(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Trap()))
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Trap(), protocol=0))
    for words in (("sample", "vae", "model.pt"), ("show", "model.pt"), ("sample", "model.safetensors")):
        answer = cli(*words)
        assert answer.code == 4
        assert answer.err.count("\n") == 1
    assert not (tmp_path / "trap.mark").exists()


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def test_write_forged_is_sound_itself(tmp_path: Path) -> None:
    write_forged(tmp_path / "x.safetensors", {"a": ONE}, bytes(4))
    assert checkpoint.load(tmp_path / "x.safetensors")[1]["a"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("tensors", "payload", "metadata"),
    [
        pytest.param({"a": {**ONE, "shape": {}}}, bytes(4), {}, id="shape that is an object"),
        pytest.param({"a": {**ONE, "shape": ""}}, bytes(4), {}, id="shape that is a string"),
        pytest.param({"a": {"dtype": "F32", "shape": [0, 2**70], "data_offsets": [0, 0]}}, b"", {}, id="huge shape"),
        pytest.param({"a": {"dtype": "F32", "shape": [0, 2**63], "data_offsets": [0, 0]}}, b"", {}, id="large shape"),
        pytest.param({"\ud800": ONE}, bytes(4), {}, id="name that is no text"),
        pytest.param({"a": {**ONE, "x": float("nan")}}, bytes(4), {}, id="NaN in the header"),
        pytest.param({"a": ONE}, bytes(4), {"n": 5}, id="metadata that are no text"),
    ],
)
def test_a_forged_file_with_the_right_digest_is_refused(
    tensors: dict[str, Any], payload: bytes, metadata: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    write_forged(path, tensors, payload, metadata)
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        checkpoint.load(path)


def module() -> nn.Module:
    """Return a module with four tensors."""
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


def test_fill_puts_every_tensor_in_its_place() -> None:
    ours, theirs = module(), module()
    checkpoint.fill(ours, theirs.state_dict(), Path("x"))
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_fill_lists_all_that_is_wrong_and_changes_nothing() -> None:
    ours = module()
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    tensors = {name: tensor + 1 for name, tensor in before.items()}
    del tensors["0.bias"]
    tensors["extra"] = torch.ones(1)
    tensors["0.weight"] = torch.ones(2, 3)
    tensors["1.weight"] = torch.ones(1, 3, dtype=torch.float64)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.fill(ours, tensors, Path("some/file"))
    message = str(caught.value)
    for words in ("some/file", "0.bias is missing", "extra is unknown", "0.weight is", "1.weight is"):
        assert words in message
    assert "[2, 3]" in message and "[3, 2]" in message and "float64" in message
    assert all(torch.equal(before[name], tensor) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize("wrong", ["missing", "unknown", "shape", "dtype"])
def test_fill_refuses_each_kind_of_misfit_alone(wrong: str) -> None:
    ours = module()
    before = [p.clone() for p in ours.parameters()]
    tensors = {name: tensor + 1 for name, tensor in ours.state_dict().items()}
    if wrong == "missing":
        del tensors["1.bias"]
    else:
        name = "more" if wrong == "unknown" else "1.bias"
        tensors[name] = torch.zeros(2 if wrong == "shape" else 1, dtype=torch.float16 if wrong == "dtype" else None)
    with pytest.raises(CheckpointError, match="does not fit"):
        checkpoint.fill(ours, tensors, Path("x"))
    assert all(torch.equal(a, b) for a, b in zip(before, ours.parameters(), strict=True))


def test_fill_says_how_many_more_are_wrong() -> None:
    tensors = {**module().state_dict(), **{f"extra{i}": torch.ones(1) for i in range(8)}}
    with pytest.raises(CheckpointError, match="and 3 more"):
        checkpoint.fill(module(), tensors, Path("x"))


@pytest.mark.parametrize(("name", "arch"), TINY)
def test_a_loaded_model_has_the_weights_and_is_ready_to_use(name: str, arch: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model = build(tiny_config(name, arch), SHAPE)
    described = about(name, arch)
    checkpoint.save(path, model.state_dict(), described)
    loaded, found = load.load_model(path)
    assert found == described
    assert type(loaded) is type(model) and not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_training_state_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "state-00000001.safetensors"
    checkpoint.save(path, build(tiny_config("vae", "mlp"), SHAPE).state_dict(), about(role="state"))
    with pytest.raises(CheckpointError, match=r"training state.*model\.safetensors"):
        load.load_model(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "vea"}, "vea"),
        ({"config": {"colour": "red"}}, "colour"),
        ({"config": {"latent_dim": 0}}, "--latent-dim"),
        ({"config": {"latent_dim": "two"}}, "rebuilt"),
        ({"config": {"latent_dim": 2.5, "hidden": 8}}, "rebuilt"),
        ({"config": {"arch": "cubist"}}, "--arch"),
        ({"config": {"hidden": 9, "latent_dim": 2}}, "does not fit"),
        ({"shape": (1, 7, 7)}, "does not fit"),
    ],
)
def test_a_manifest_that_does_not_fit_its_weights_is_refused(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    weights = build(tiny_config("vae", "mlp"), SHAPE).state_dict()
    checkpoint.save(path, weights, replace(about(), **change))
    with pytest.raises(CheckpointError, match=words) as caught:
        load.load_model(path)
    assert str(path) in str(caught.value)


def test_a_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device_of("auto") == torch.device("cpu")
    for name in ("cuda", "mps"):
        with pytest.raises(UsageError, match=f"--device {name}.*auto"):
            device_of(name)


def test_auto_takes_the_gpu_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of("auto").type == "cuda"
    assert device_of("cpu").type == "cpu"
