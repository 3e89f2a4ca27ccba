"""Trains small forms in several processes at once, and tells how far they end from one process.

    python -m genctl.testing.in_ranks FOLDER NAMES...

writes FOLDER/found.json: for each form, of two and of three processes, the largest difference of a value of the state,
in float64; of two also the relative L2 over all weights, in float32, and 1 where images or likelihoods are not the same
bits.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from ..evaluation import bounds
from ..generation import sampling
from ..models.base import Samples, Scores
from ..ranks.group import ALONE, Ranks, here, working
from ..training import state
from .cases import Case, cases_of, labels_for, perturb, pixels, run, start

SOON = timedelta(minutes=2)  # in which a process that failed before it met the others ends them
STEPS = 5  # an epoch has four; 8 images are 4 and 4, or 3, 3 and 2
CHANGED: dict[torch.dtype, dict[str, Any]] = {torch.float32: {}, torch.float64: {"flip": True, "shift": 1}}  # images
DCGAN = {"arch": "dcgan", "latent_dim": 4, "channels": 2}
FURTHER: dict[str, list[dict[str, Any]]] = {  # forms whose losses look at a batch in other ways
    "vae": [
        {"arch": "mlp", "latent_dim": 2, "hidden": 8, "free_bits": 0.06},
        {"arch": "mlp", "latent_dim": 2, "hidden": 8, "objective": "iwae", "particles": 4, "resample": 2},
    ],
    "gan": [
        {**DCGAN, "loss": "wasserstein", "gradient_penalty": "wasserstein", "pack": 2},
        {**DCGAN, "loss": "relativistic", "gradient_penalty": "r1+r2"},
    ],
}


def forms_of(name: str) -> list[Case]:
    """Return the forms of a model that the law is held for."""
    return [*cases_of(name), *(Case(name, tuple(form.items())) for form in FURTHER.get(name, []))]


def trained(case: Case, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the state after some steps; in float64 all that a model makes float is float64, and images are changed."""
    single = torch.Tensor.float
    torch.set_default_dtype(dtype)
    try:
        torch.Tensor.float = single if dtype == torch.float32 else torch.Tensor.double  # type: ignore[method-assign]
        return {name: t.clone() for name, t in state.tensors_of(run(start(case, **CHANGED[dtype]), STEPS)).items()}
    finally:
        torch.Tensor.float = single  # type: ignore[method-assign]
        torch.set_default_dtype(torch.float32)


def largest(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Return the largest difference of a value, relative to its size where that is above 1."""
    assert ours.keys() == theirs.keys()
    return max(((ours[n] - theirs[n]).abs() / theirs[n].abs().clamp_min(1)).max().item() for n in ours)


def relative(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Return |ours - theirs| / |theirs| over all weights."""
    names = [name for name in ours if name.startswith("model/") and ours[name].is_floating_point()]
    off, size = ([(f(n)).square().sum() for n in names] for f in (lambda n: ours[n] - theirs[n], lambda n: theirs[n]))
    return (torch.stack(off).sum() / torch.stack(size).sum()).sqrt().item()


@torch.no_grad()
def sliced(case: Case) -> bool:
    """Tell whether several processes have other images or likelihoods than one; each takes whole blocks of them."""
    model, ranks = start(case).best.eval(), here()
    quick = model.config.sampling(**model.config.quick)
    perturb(model)
    same = True
    if isinstance(model, Samples):
        same &= torch.equal(*(sampling.sample(model, 70, options=quick, ranks=r) for r in (ranks, ALONE)))
    if isinstance(model, Scores):
        x, y, how = pixels(130), labels_for(model, 130), quick.for_likelihood()
        for e in model.config.estimators:
            ours, theirs = (bounds.bound(model, x, 1, e, y=y, options=how, ranks=r) for r in (ranks, ALONE))
            same &= torch.equal(ours.tight, theirs.tight) and torch.equal(ours.mean, theirs.mean)
    return not same


def work(folder: Path, rank: int, names: list[str]) -> None:
    """Train each form in one process, then in several, as one of three."""
    torch.set_num_threads(1)
    forms = [case for name in names for case in forms_of(name)]
    small = [case for name in names for case in cases_of(name)]
    single, double = torch.float32, torch.float64
    forms_in = {single: small, double: forms}
    alone = {dtype: [trained(case, dtype) for case in chosen] for dtype, chosen in forms_in.items() if rank == 0}
    found: dict[str, float] = {}
    for world, dtype in ((2, single), (2, double), (3, double)):
        if rank < world:
            meet = f"file://{folder}/meet-{world}-{dtype}"
            dist.init_process_group("gloo", meet, rank=rank, world_size=world, timeout=SOON)
            with working(Ranks(rank, world)):
                together = [trained(case, dtype) for case in forms_in[dtype]]
                for case in small if dtype == single else ():
                    found[f"bits of {case.name} {dict(case.options)}"] = float(sliced(case))
            for case, ours, theirs in zip(forms_in[dtype], together, alone.get(dtype, []), strict=False):
                far = largest if dtype == double else relative
                found[f"{world} processes, {dtype}, {case.name} {dict(case.options)}"] = far(ours, theirs)
            dist.destroy_process_group()
    if rank == 0:
        (folder / "found.json").write_text(json.dumps(found))


def main(folder: Path, names: list[str]) -> int:
    """Start three processes, with all that is imported already; return the number of those that fail."""
    for name in names:
        for case in forms_of(name):
            start(case)
    forks = hasattr(os, "fork")
    way = multiprocessing.get_context("fork") if forks else multiprocessing.get_context("spawn")
    processes = [way.Process(target=work, args=(folder, rank, names)) for rank in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return sum(process.exitcode != 0 for process in processes)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
