"""Weights that another tool has edited are sealed anew for who meant it, and only if they load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from conftest import Cli, tiny_config
from torch import Tensor

from genctl.checkpoint import manifest, tensors
from genctl.checkpoint.manifest import Manifest
from genctl.errors import GenctlError
from genctl.models.base import build
from genctl.runs.load import load_model
from genctl.runs.reseal import reseal

SHAPE = (1, 8, 8)
ABOUT = Manifest(
    model="vae",
    config=tiny_config("vae", "mlp").to_dict(),
    train={},
    shape=SHAPE,
    dataset={"name": "bars", "digest": "d"},
    role="weights",
    step=1,
    epoch=1,
    metrics={"validation_nats": 1.0},
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Return a sealed file of a small VAE."""
    path = tmp_path / "vae.safetensors"
    tensors.save(path, build(tiny_config("vae", "mlp"), SHAPE).state_dict(), ABOUT)
    return path


def resave(path: Path, found: dict[str, Tensor]) -> None:
    """Write tensors as another tool does: it keeps the metadata, and knows of no seal."""
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    safetensors.torch.save_file(found, path, metadata)


EDITS = {
    "bf16": (lambda name, t: (name, t.bfloat16()), "tensors of BF16 now float32"),
    "prefix": (lambda name, t: (f"_orig_mod.{name}", t), "names without _orig_mod."),
    "inner prefix": (lambda name, t: (name.replace(".", "._orig_mod.", 1), t), "names without _orig_mod."),
    "values": (lambda name, t: (name, t * 2), "values or the header were changed"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_edited_weights_are_called_so_and_can_be_sealed_anew(edit: str, weights: Path, cli: Cli) -> None:
    change, words = EDITS[edit]
    before = tensors.read(weights)
    resave(weights, dict(change(name, t) for name, t in before.items()))
    answer = cli("verify", weights)
    assert answer.code == 4 and answer.out.startswith(f"edited   {weights} was edited since it was sealed")
    answer = cli("sample", weights)
    assert answer.code == 4 and f"genctl verify {weights} --reseal OUT" in answer.err
    answer = cli("verify", weights, "--reseal", "new.safetensors")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("new.safetensors: ") and words in answer.out
    model, about = load_model(Path("new.safetensors"))
    assert about == replace(ABOUT, metrics={})
    factor = 2 if edit == "values" else 1
    for name, tensor in model.state_dict().items():
        assert torch.allclose(tensor, factor * before[name], rtol=0.01)


def test_a_whole_file_is_not_sealed_again(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(GenctlError, match="is whole"):
        reseal(weights, tmp_path / "new.safetensors")
    assert not (tmp_path / "new.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: {**found, "more": torch.ones(1)}, "more is unknown"),
        (lambda found: {**found, "encoder.1.bias": torch.ones(3)}, "encoder.1.bias is"),
        (lambda found: {**found, "encoder.1.bias": torch.full((8,), torch.nan)}, "not finite"),
        (lambda found: {**found, "_orig_mod.encoder.1.bias": torch.ones(8)}, "twice"),
    ],
    ids=["another tensor", "another shape", "NaN", "twice"],
)
def test_what_would_not_load_is_not_sealed(change: object, words: str, weights: Path, tmp_path: Path) -> None:
    resave(weights, change(tensors.read(weights)))  # type: ignore[operator]
    with pytest.raises(GenctlError, match=words):
        reseal(weights, tmp_path / "new.safetensors")
    assert not (tmp_path / "new.safetensors").exists()


def test_a_state_and_a_name_that_exists_are_refused(weights: Path, tmp_path: Path, cli: Cli) -> None:
    state = tmp_path / "state.safetensors"
    tensors.save(state, tensors.read(weights), replace(ABOUT, role="state"))
    assert cli("verify", state, "--reseal", "new.safetensors").code == 2
    assert cli("verify", weights, "--reseal", state).code == 2
    assert cli("verify", weights, state, "--reseal", "new.safetensors").code == 2
    assert cli("verify", tmp_path, "--reseal", "new.safetensors").code == 2
    assert manifest.check(state).manifest.role == "state"
