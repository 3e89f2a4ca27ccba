"""Pages made by hand: records of a small run, of a hostile one, and of several."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from genctl.checkpoint import atomic
from genctl.config import ModelConfig
from genctl.generation import exported, latent_paths, portrait, sampling
from genctl.generation.image_grid import png
from genctl.models.base import Decodes, build
from genctl.models.vae.config import VAEConfig
from genctl.page.page import render
from genctl.page.records import (
    Curves,
    Frame,
    Nearest,
    Page,
    Pair,
    Picture,
    Plane,
    Point,
    Portrait,
    RunRecord,
    Setting,
    Table,
)
from genctl.runs.folder import RunConfig

SHAPE = (1, 8, 8)
EPOCHS = 6
LIKELIHOOD = {"verb": "eval-bpd", "value": 98.75, "unit": "nats", "standard_error": 0.31, "bits_per_dim": 0.18}
LIKELIHOOD |= {"nats": 98.75, "bound": "upper bound on -log p", "estimator": "iwae", "K": 50, "data": "binarized"}
LIKELIHOOD |= {"pixels": "a fixed draw", "split": "test", "images": 40, "weights": "ab" * 32}
QUALITY = {"verb": "evaluate", "samples": 500, "reference_images": 40, "dataset": "bars", "split": "test"}
QUALITY |= {
    "frechet_distance": 12.5,
    "interval": {"frechet_distance": [11.0, 14.0]},
    "floor": {"frechet_distance": 0.5},
}


def grey(value: int, size: int = 8) -> bytes:
    """Return a PNG of one grey."""
    buffer = io.BytesIO()
    Image.new("L", (size, size), value).save(buffer, format="png")
    return buffer.getvalue()


def decoder(config: ModelConfig, seed: int = 1) -> Decodes:
    """Return a small decoder whose images differ from place to place."""
    torch.manual_seed(seed)
    model = build(config, SHAPE).eval()
    assert isinstance(model, Decodes)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.7)
    return model


def plane_of(model: Decodes, steps: int = 5) -> Plane:
    """Return the plane of a small decoder."""
    small = exported.exported(model.decoder_layers())
    assert small is not None
    z = latent_paths.quantile_grid(steps, portrait.LOW, portrait.HIGH)
    checked = sampling.decode(model, torch.tensor(portrait.CHECKED))
    return Plane(
        low=portrait.LOW,
        high=portrait.HIGH,
        shape=SHAPE,
        steps=steps,
        tiles=png(portrait.tiled(sampling.decode(model, z), steps)),
        layers=small.operations,
        weights=small.bytes(),
        checks=[(z, x.numpy().tobytes()) for z, x in zip(portrait.CHECKED, checked, strict=True)],
        points=[Point(0.25, 0.75, 0), Point(0.5, 0.5, 1)],
        classes=["cat", "dog"],
    )


def vae() -> Decodes:
    return decoder(VAEConfig(arch="mlp", latent_dim=2, hidden=8))


def record(name: str = "vae-001", word: str = "plain", **changes: Any) -> RunRecord:
    """Return a run's record in which each name that may come from a file holds this word."""
    about = RunConfig(
        model="vae",
        config={"latent_dim": 2},
        train={"epochs": EPOCHS, "dataset": word},
        schedule_epochs=EPOCHS,
        started="2026-01-01T00:00:00+00:00",
        dataset={"name": word, "digest": "d" * 64},
        device="cpu",
        threads=1,
    )
    lines = [
        {
            "epoch": i + 1,
            "step": 5 * i + 5,
            "seconds": 1.5,
            "train": 200.5 - 10 * i,
            "held": 190.5 - 5 * i,
            word: 0.1 * i,
        }
        for i in range(EPOCHS)
    ]
    frames = {
        kind: [Frame(epoch, grey(30 * epoch + shift, 12)) for epoch in range(EPOCHS + 1)]
        for kind, shift in (("Means", 0), (f"Samples {word}", 9))
    }
    drawn = Portrait(
        reconstructions=Picture(grey(90, 60), f"rows {word}"),
        interpolation=Picture(grey(91, 60), "paths"),
        manifold=Picture(grey(92, 60), "a surface"),
        plane=replace(plane_of(vae()), classes=[word, "dog"]),
        nearest=Nearest([Pair(grey(10), grey(20), 1.25, word)] * 4, 2.5, 100),
    )
    made = RunRecord(
        name=name,
        about=about,
        family="Variational autoencoder",
        state="finished",
        lines=lines,
        parameters=1234,
        best="165.50 nats",
        of=word,
        curves=Curves(unit="nats", series={"train": "train", f"validation {word}": "held"}, levels={word: 170.0}),
        frames=frames,
        portrait=drawn,
        evaluations=[{**LIKELIHOOD, "data": word}, {**QUALITY, "dataset": word}, {"verb": word}],
        alarms=[
            {"epoch": 2, "step": 10, "alarm": f"units sleep {word}", "over": False},
            {"epoch": 4, "step": 20, "alarm": "units sleep", "over": True},
        ],
        settings={"Model": [Setting("--latent-dim", 2, True), Setting(word, word, False)]},
        commands=[("the training", f"genctl train vae {word}")],
    )
    return replace(made, **changes)


def page(*runs: RunRecord, **changes: Any) -> bytes:
    """Return a page's file."""
    table = Table(["model", "frechet"], [["vae", "1.5"], ["floor", "0.5"]], ["  bounds    of -log p"])
    comparison = table if len(runs) > 1 else None
    made = Page(
        runs=runs,
        written="2026-01-01T00:00:00.000+00:00",
        version="0.0",
        comparison=comparison,
        command="genctl report x",
    )
    return render(replace(made, **changes))


def write(folder: Path, content: bytes) -> str:
    """Write a page; return its address."""
    path = folder / "report.html"
    atomic.write(path, content)
    return path.as_uri()
