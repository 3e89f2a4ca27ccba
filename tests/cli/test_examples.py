"""The examples in each verb's help run as they stand, and help and epochs fit a terminal of 80 columns."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Cli

from genctl import data
from genctl.cli.app import LISTINGS, VERBS
from genctl.cli.examples import EXAMPLES
from genctl.data import Dataset
from genctl.models import registry


def test_each_verb_has_two() -> None:
    assert set(EXAMPLES) == {"train", *VERBS, *LISTINGS}
    assert all(len(pair) == 2 for pair in EXAMPLES.values())


def test_they_run_in_their_order(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the first images of each part of MNIST, for time."""
    load = data.load

    def small(*arguments: Any, **more: Any) -> Dataset:
        found = load(*arguments, **more)
        parts = {name: found.split(name) for name in ("train", "validation", "test")}
        return replace(found, **{name: part.take(torch.arange(min(len(part), 2000))) for name, part in parts.items()})

    monkeypatch.setattr(data, "load", small)
    epochs = []
    for verb, pair in EXAMPLES.items():
        models = ["realnvp", "gan", "vae"] if verb == "train" else [""]
        for example in [line.format(model=model) for model in models for line in pair]:
            program, *words = shlex.split(example)
            answer = cli(*words)
            assert (program, answer.code) == ("genctl", 0), (example, answer.err)
            assert answer.out or verb == "train", example
            epochs += [line for line in answer.err.splitlines() if line.startswith("epoch ")]
        shutil.rmtree(
            "checkpoints/gan-001", ignore_errors=True
        )  # after two epochs it draws one class; what ships serves
    assert len(epochs) == 6 and max(map(len, epochs)) <= 80
    assert Path("gan.npz").is_file() and Path("checkpoints/vae-001/interpolate-vae.png").is_file()


@pytest.mark.parametrize(
    "words", [[verb] for verb in (*VERBS, *LISTINGS)] + [["train", name] for name in registry.BUILT_IN], ids=" ".join
)
def test_the_help_shows_them_and_fits_80_columns(words: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    answer = cli(*words, "-h")
    assert answer.code == 0 and max(map(len, answer.out.splitlines())) <= 80
    text = " ".join(answer.out.split())
    assert all(line.format(model=words[-1]) in text for line in EXAMPLES[words[0]])
    assert "…" not in text
