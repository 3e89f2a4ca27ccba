"""Files that lie under the right digest: a CheckpointError, before anything is allocated from them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import forge
import pytest

from genctl.errors import CheckpointError
from genctl.runs.load import load_model

KNOWN = forge.sources()
FORMS = {
    f"{about['model']}-{about['config']['arch']}{'-classes' * ('classes' in about['config'])}": (about, *rest)
    for about, *rest in KNOWN
}


def lying(folder: Path, form: str, **lies: Any) -> Path:
    """Write a file of a small model whose manifest says something else, of the config or beside it."""
    about, entries, data = FORMS[form]
    config = {**about["config"], **{name: value for name, value in lies.items() if name in about["config"]}}
    rest = {name: value for name, value in lies.items() if name not in about["config"]}
    path = folder / "lying.safetensors"
    path.write_bytes(forge.sealed({**about, "config": config, **rest}, entries, data))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_the_forms_that_are_forged_are_sound_themselves(form: str, tmp_path: Path) -> None:
    load_model(lying(tmp_path, form))


@pytest.mark.parametrize(
    ("form", "lies", "words"),
    [
        ("vae-mlp", {"hidden": 10**6}, "--hidden must be at most"),
        ("vae-mlp", {"hidden": 60_000}, "does not fit"),
        ("vae-mlp", {"layers": 10**9}, "--layers must be at most"),
        ("vae-mlp", {"layers": 1000, "hidden": 60_000}, "asks for"),
        ("vae-mlp", {"latent_dim": 10**9}, "--latent-dim must be at most"),
        ("vae-mlp", {"shape": [1, 2**31 - 1, 2**31 - 1]}, "unreadable manifest"),
        ("vae-mlp", {"shape": [1, 2**12, 2**12]}, "asks for"),
        ("vae-conv", {"blocks": 10**9}, "--blocks must be at most"),
        ("vae-conv", {"blocks": 1000}, "asks for"),
        ("vae-ladder", {"levels": 10**9}, "--levels must be at most"),
        ("vae-ladder", {"levels": 1000}, "asks for"),
        ("realnvp-conv", {"couplings": 1000, "blocks": 1000}, "asks for"),
        ("realnvp-mlp", {"shape": [1, 2**12, 2**12]}, "asks for"),
        ("gan-resnet", {"channels": 60_000}, "asks for"),
        ("gan-mlp", {"pack": 0.5}, "cannot be rebuilt"),
        ("vae-mlp-classes", {"classes": 2**40}, "its config.classes is not a whole number of 0 to 32768"),
        ("vae-mlp-classes", {"classes": 32_768, "class_counts": []}, "does not fit"),
        ("vae-mlp-classes", {"class_counts": [1]}, "class_counts are no numbers of images of 3 classes"),
        ("vae-mlp-classes", {"class_counts": [1] * 40_000}, "its config.class_counts is not a list of at most 32768"),
        ("vae-mlp-classes", {"class_counts": "abc"}, "its config.class_counts is not a list"),
        (
            "vae-mlp-classes",
            {"dataset": {"name": "b", "digest": "d", "classes": [1, 2, 3]}},
            "its dataset.classes is",
        ),
        ("vae-mlp", {"model": "vea"}, "cannot be rebuilt"),
    ],
    ids=str,
)
def test_a_lie_is_one_sentence(form: str, lies: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = lying(tmp_path, form, **lies)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


def test_forged_files_are_models_or_checkpoint_errors(tmp_path: Path) -> None:
    ends, _, wrong = forge.read_all(100, 0, tmp_path)
    assert wrong == []
    assert ends["loaded"] > 3 and ends["refused"] > 50


def test_the_count_of_faults_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> None:
        raise KeyError("name")

    monkeypatch.setattr(forge, "load_model", broken)
    ends, _, wrong = forge.read_all(3, 0, tmp_path)
    assert ends["wrong"] == len(wrong) == 3 and "KeyError" in wrong[0]


def test_the_same_seed_is_the_same_files() -> None:
    assert list(forge.files(5, 1)) == list(forge.files(5, 1)) != list(forge.files(5, 2))
    assert forge.forged(*KNOWN[0], random.Random(0)) != forge.sealed(*KNOWN[0])


@pytest.mark.slow
def test_many_forged_files(tmp_path: Path) -> None:
    ends, slowest, wrong = forge.read_all(100_000, 1, tmp_path)
    assert wrong == [] and ends["refused"]
    assert slowest < 5 and forge.peak() < 1500
