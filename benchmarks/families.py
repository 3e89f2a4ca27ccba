"""The table of all families beside each other: a row for each default that ships, and for the example's model."""

from __future__ import annotations

from math import prod
from pathlib import Path

from genctl.checkpoint.manifest import read_header

from .rows import ROOT, Record, Rows, checkpoint, command, qualities, read, table, times

DEFAULTS = ("vae", "gan", "realnvp", "diffusion")


def parameters(record: Record) -> int:
    """Return how many numbers the file of a checkpoint holds."""
    stored = read_header(ROOT / record["checkpoint"]).tensors.values()
    return sum(prod(tensor["shape"]) for tensor in stored)


def families() -> str:
    """Return a row for each family's default: likelihood where there is one, quality, training, speed, size."""
    known: dict[str, Record] = {}
    for r in read("likelihoods"):
        best = known.get(r["checkpoint"])
        if best is None or r["value"] < best["value"]:
            known[r["checkpoint"]] = r
    clear = {r["checkpoint"]: f"{r['clear']:.1%}" for r in read("votes")}
    examples = read("examples")
    exact = {r["weights"]: r for r in examples if r["verb"] == "eval-bpd"}
    trained = times()
    rows: Rows = [
        *(
            [
                *(checkpoint(r), likelihood(known.get(r["checkpoint"])), *judgement(r)),
                "-" if r["means"] else clear.get(r["checkpoint"], "-"),
                *(trained[r["checkpoint"]], f"{r['samples_per_second']:,.0f}", f"{parameters(r):,}", command(r)),
            ]
            for r in qualities()
            if Path(r["checkpoint"]).stem in DEFAULTS
        ),
        *(
            [
                *(r["model"], likelihood(exact.get(r["weights"])), *judgement(r), "-"),
                f"{r['training_seconds']:,.0f} s of one core",
                *(f"{r['samples_per_second']:,.1f}", f"{r['numbers']:,}", command(r)),
            ]
            for r in examples
            if r["verb"] == "evaluate"
        ),
    ]
    figures = "Fréchet distance|precision|recall|clear by neighbours|training"
    size = "samples a second, one thread|numbers in the file"
    return table(f"checkpoint|likelihood|{figures}|{size}|command and record", rows)


def judgement(r: Record) -> list[str]:
    """Return the figures of a family's samples."""
    return [f"{r[name]:.3f}" for name in ("frechet_distance", "precision", "recall")]


def likelihood(r: Record | None) -> str:
    """Return the tightest bound of a model, and what it is."""
    if r is None:
        return "none"
    return f"{r['value']:.3f} {r['unit']} ({r['estimator']}, K = {r['K']:,}; {r['data']})"
