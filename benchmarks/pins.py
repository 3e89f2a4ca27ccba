"""Are two commits of genctl equal to the bit? Each records what it makes; then the two records are compared.

    PYTHONPATH=OLDER python benchmarks/pins.py record before
    PYTHONPATH=NEWER python benchmarks/pins.py record after --older before
    python benchmarks/pins.py compare before after

A record holds digests of pictures, evaluations, metrics and final states: of the weights that ship, and of short runs
of every form. `--older` also resumes the half-done runs that the other commit left, and holds that they end the same.
Threads are one, so that the machine's load decides no bit. About ten minutes each.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

TIMES = {"seconds", "images_per_second", "samples_per_second", "training_seconds", "checkpoint"}  # not results
DATA = ["--train-size", "300", "--validation", "120", "--device", "cpu", "--threads", "1", "--quiet"]
SHIPPED = ("vae", "vae-2d", "vae-iwae", "vae-ladder", "gan", "gan-stacked", "realnvp", "realnvp-large")
FORMS = {  # short runs: name -> model and options
    "vae-mlp": "vae --prior shared --hidden 40",
    "vae-2d": "vae --prior shared --latent-dim 2 --hidden 40 --layers 2 --activation tanh --binarize static"
    " --kl-warmup 0.5",
    "vae-conv": "vae --arch conv --channels 4 --blocks 1 --free-bits 0.1",
    "vae-ladder": "vae --arch ladder --channels 8 --blocks 1 --latent-channels 2 --free-bits 0.5",
    "vae-iwae": "vae --hidden 40 --objective iwae --particles 6 --gradient doubly --resample 2 --binarize threshold",
    "vae-mixture": "vae --hidden 40 --likelihood mixture --components 3 --no-start-at-mean",
    "vae-logistic": "vae --arch conv --channels 4 --likelihood discretized-logistic",
    "gan-mlp": "gan --schedule cosine --dropout 0.3",
    "gan-dcgan": "gan --arch dcgan --channels 8 --loss hinge --pack 2",
    "gan-resnet": "gan --arch resnet --channels 8 --loss relativistic --gradient-penalty r1+r2 --g-lr-share 0.5",
    "gan-wasserstein": "gan --loss wasserstein --gradient-penalty wasserstein --clip 1",
    "realnvp-conv": "realnvp --size small --lr 1e-2 --channels 8 --global-hidden 16 --mixing conv1x1",
    "realnvp-multiscale": "realnvp --size small --lr 1e-2 --arch multiscale --couplings 2 --channels 8"
    " --global-couplings 1 --global-hidden 16",
    "realnvp-mlp": "realnvp --size small --lr 1e-2 --arch mlp --depth 2 --hidden 32 --dequantization uniform --ema 0",
}
PICTURES = {  # name -> verb and options; those that a model lacks are refused, and that is recorded too
    "sample": "sample -n 9 --seed 3",
    "cold": "sample -n 70 --temperature 0.7",
    "means": "sample -n 9 --means",
    "reconstruct": "reconstruct -n 12",
    "interpolate": "interpolate --steps 5 --rows 2 --seed 1",
    "slerp": "interpolate --between-test-images --path slerp",
    "manifold": "manifold --steps 5",
    "from-images": "manifold --steps 4 --from-images --seed 2",
}
NUMBERS = {
    "bpd": "eval-bpd --images 150",
    "bpd-3": "eval-bpd --images 150 -k 3 --seed 1",
    "prior": "eval-bpd --images 150 -k 4 --estimator prior",
    "elbo": "eval-bpd --images 150 -k 2 --estimator elbo --split validation",
    "evaluate": "evaluate --samples 200",
}


def digest(data: bytes) -> str:
    """Return a short SHA-256."""
    return hashlib.sha256(data).hexdigest()[:24]


def of_picture(path: Path) -> str:
    """Return the digest of a picture's pixels, or of an array's images: not of what the file says of itself."""
    import numpy
    from PIL import Image

    if path.suffix == ".npz":
        with numpy.load(path) as found:
            pixels = found["images"]
    else:
        with Image.open(path) as picture:
            pixels = numpy.asarray(picture)
    return digest(str(pixels.shape).encode() + pixels.tobytes())


def call(words: list[str]) -> tuple[int, str]:
    """Run a command in this process; return its exit code and what it printed on stdout."""
    from genctl.cli.app import main

    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        code = main(words)
    return code, out.getvalue().strip()


def plain(value: Any) -> Any:
    """Return a document without times and paths."""
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in sorted(value.items()) if name not in TIMES}
    return [plain(entry) for entry in value] if isinstance(value, list) else value


def of_file(path: Path) -> str:
    """Return the digest of a checkpoint without the times in its manifest."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    manifest = plain(json.loads(header.pop("__metadata__")["genctl"]))
    return digest(json.dumps([manifest, header], sort_keys=True).encode() + data[8 + length :])


def of_run(folder: Path) -> dict[str, str]:
    """Return the digests of a run's weights, newest state, metrics and pictures."""
    found = {"weights": of_file(folder / "model.safetensors"), "state": of_file(max(folder.glob("state-*")))}
    lines = [plain(json.loads(line)) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found["metrics"] = digest(json.dumps(lines).encode())
    return found | {path.name: of_picture(path) for path in sorted(folder.glob("samples/*.png"))}


def trainings(older: Path | None) -> Iterator[tuple[str, str]]:
    """Train every form, unbroken and in two parts; resume the parts that the other commit left."""
    for form, words in FORMS.items():
        options = [*words.split(), *DATA, "--epochs", "2", "--batch-size", "50", "--sample-every", "1"]
        assert call(["train", *options, "--out", "runs", "--name", form])[0] == 0, form
        assert call(["train", *options, "--out", "halves", "--name", form, "--max-minutes", "0"])[0] == 0, form
        shutil.copytree(f"halves/{form}", f"resumed/{form}")
        yield from resumed(form, Path("resumed") / form, "resumed")
        yield from ((f"{form} {name}", value) for name, value in of_run(Path("runs") / form).items())
        if older is not None:
            shutil.copytree(older / "halves" / form, f"older/{form}")
            yield from resumed(form, Path("older") / form, "resumed")


def resumed(form: str, folder: Path, label: str) -> Iterator[tuple[str, str]]:
    """Go on with a half-done run to its end."""
    model = form.partition("-")[0]
    assert call(["train", model, "--resume", str(folder), "--quiet", "--threads", "1"])[0] == 0, folder
    yield from ((f"{form} {label} {name}", value) for name, value in of_run(folder).items() if name != "metrics")


def verbs(name: str, path: str) -> Iterator[tuple[str, str]]:
    """Run every verb on a checkpoint."""
    for title, words in PICTURES.items():
        for end in (".png", ".npz"):
            verb, *options = words.split()
            out = f"{name}-{title}{end}"
            code, _ = call([verb, path, *options, "--out", out])
            yield f"{name} {title}{end}", of_picture(Path(out)) if code == 0 else f"exit code {code}"
    for title, words in NUMBERS.items():
        verb, *options = words.split()
        code, text = call([verb, path, *options, "--json"])
        yield f"{name} {title}", digest(json.dumps(plain(json.loads(text))).encode()) if code == 0 else f"exit {code}"


def record(folder: Path, older: Path | None) -> None:
    """Write folder/pins.json."""
    import torch

    import genctl

    torch.set_num_threads(1)
    weights = Path(genctl.__file__).parents[1] / "checkpoints"
    folder.mkdir(parents=True)
    pins: dict[str, str] = {}
    with chdir(folder):
        for name in SHIPPED:
            add(pins, verbs(name, str(weights / f"{name}.safetensors")))
        add(pins, trainings(older))
        for form in FORMS:
            add(pins, verbs(f"run {form}", f"runs/{form}"))
        code, text = call(["compare", "vae", "gan", "realnvp", "--samples", "200", "--json"])
        pins["compare"] = digest(json.dumps(plain(json.loads(text))).encode()) if code == 0 else f"exit {code}"
        Path("pins.json").write_text(json.dumps(pins, indent=1, sort_keys=True))
    print(f"{len(pins)} pins of {weights.parent} in {folder}")


def add(pins: dict[str, str], found: Iterator[tuple[str, str]]) -> dict[str, str]:
    """Keep what was found; a resumed run that ends otherwise than the one before it is an error at once."""
    for name, value in found:
        if pins.setdefault(name, value) != value:
            sys.exit(f"{name} is not the same after a resume of the other commit's run")
    return pins


def compare(before: Path, after: Path) -> None:
    """Print what differs; exit with 1 if anything does."""
    a, b = (json.loads((folder / "pins.json").read_text()) for folder in (before, after))
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name):
            print(f"{name}: {a.get(name)} before, {b.get(name)} after")
    print(f"{sum(a.get(name) == b.get(name) for name in a)} of {len(a)} are the same")
    sys.exit(a != b)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["record", "compare"])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--older", type=Path, help="a record whose half-done runs are resumed")
    chosen = parser.parse_args()
    if chosen.what == "record":
        record(chosen.folders[0], chosen.older and chosen.older.resolve())
    else:
        compare(*chosen.folders)
