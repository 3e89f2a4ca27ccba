"""Forge checkpoints: true files whose manifest or header lies, under the right digest, and what reading them costs.

python tests/checkpoint/forge.py 100000 reads so many and prints how many brought anything but a model or a
CheckpointError, and the most seconds and memory that one took.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import safetensors.torch
import torch

from genctl.checkpoint import sealing
from genctl.checkpoint.manifest import Manifest
from genctl.errors import CheckpointError
from genctl.models import registry
from genctl.models.base import build
from genctl.runs.load import load_model

SHAPE = (1, 8, 8)
ODD: list[Any] = [
    *(0, 1, 2, 3, 7, -1, 64, 999, 1000, 10**6, 10**9, 2**31 - 1, 2**31, 2**62, 2**63, 2**64, 10**30),
    *(0.5, -0.0, 1e-300, 1e308, -1e30, True, False, None, "", "x", "mlp", "conv", "\x1b[2J", "\r\nwhole", "\ud800"),
    *([], [1], {}, {"a": 1}, [[[[[[[[[1]]]]]]]]], "9" * 400),
]
SHAPES = [[1, 2**31 - 1, 2**31 - 1], [2**24, 1, 1], [1, 4096, 4096], [3, 1000, 1000], [1, 4, 4], [1, 7, 7], [1, 8], []]


def sources() -> list[tuple[dict[str, Any], dict[str, Any], bytes]]:
    """Return manifest, tensors' entries and data of each model's small forms."""
    found = []
    torch.manual_seed(0)
    for name in registry.BUILT_IN:
        for form in registry.load(name).small:
            config = registry.load(name)(**form)
            if config.conditional:
                config = replace(config, classes=3, class_counts=(5, 0, 2))
            about = Manifest(
                model=name,
                config=config.to_dict(),
                train={"epochs": 1, "train_size": None, "validation": None},
                shape=SHAPE,
                dataset={"name": "bars", "digest": "d", "train_images": 100, "classes": ["cat", "dog", "owl"]},
                role="weights",
                step=1,
                epoch=1,
                metrics={"validation_nats": 1.0},
                versions={"genctl": "0", "torch": "2"},
            )
            data = safetensors.torch.save(build(config, SHAPE).state_dict())
            length = int.from_bytes(data[:8], "little")
            entries = json.loads(data[8 : 8 + length])
            found.append((json.loads(about.to_json()), entries, data[8 + length :]))
    return found


def sealed(about: Any, entries: dict[str, Any], data: bytes) -> bytes:
    """Return a file of these parts under the right digest."""
    metadata = {"genctl": json.dumps(about), "sha256": sealing.NO_DIGEST}
    text = json.dumps({"__metadata__": metadata, **entries}, separators=(",", ":")).encode()
    blank = len(text).to_bytes(8, "little") + text + data
    return blank.replace(sealing.NO_DIGEST.encode(), hashlib.sha256(blank).hexdigest().encode(), 1)


def forged(about: dict[str, Any], entries: dict[str, Any], data: bytes, chance: random.Random) -> bytes:
    """Return a file with one to three lies in it."""
    about, entries = json.loads(json.dumps(about)), json.loads(json.dumps(entries))
    for _ in range(chance.choice((1, 1, 2, 3))):
        match chance.randrange(8):
            case 0 | 1 | 2:  # an option of the model
                about["config"][chance.choice([*about["config"], "colour"])] = chance.choice(ODD)
            case 3:
                about["shape"] = chance.choice([*SHAPES, [chance.choice(ODD[:16]) for _ in range(3)]])
            case 4:  # any other entry
                part = chance.choice([about, *(value for value in about.values() if isinstance(value, dict))])
                part[chance.choice([*part, "more"])] = chance.choice(ODD)
            case 5:
                part = chance.choice([about, about["config"] if isinstance(about.get("config"), dict) else about])
                part.pop(chance.choice(list(part) or [""]), None)
            case 6:  # a tensor's entry
                name = chance.choice(list(entries))
                entries[name] = {**entries[name], chance.choice(("dtype", "shape", "x")): chance.choice(ODD)}
            case 7:  # a tensor's name
                name = chance.choice(list(entries))
                entries[chance.choice(("_orig_mod." + name, "../x", "\x1b]0;", name + "\u202e"))] = entries.pop(name)
        if not isinstance(about.get("config"), dict):
            break
    return sealed(about, entries, data)


def files(n: int, seed: int) -> Iterator[bytes]:
    """Yield n forged files, the same ones for the same seed."""
    chance, known = random.Random(seed), sources()
    for _ in range(n):
        yield forged(*chance.choice(known), chance)


def peak() -> float:
    """Return the most memory that this process has had, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def read_all(n: int, seed: int, folder: Path) -> tuple[Counter[str], float, list[str]]:
    """Read n forged files; return how each ended, the most seconds that one took, and what should not be."""
    path, ends, slowest, wrong = folder / "forged.safetensors", Counter[str](), 0.0, []
    for i, data in enumerate(files(n, seed)):
        path.write_bytes(data)
        started = monotonic()
        try:
            load_model(path)
            ends["loaded"] += 1
        except CheckpointError:
            ends["refused"] += 1
        except Exception as error:
            ends["wrong"] += 1
            wrong.append(f"file {i} of seed {seed}: {type(error).__name__}: {error}"[:300])
        slowest = max(slowest, monotonic() - started)
        if i % 1000 == 999:
            print(f"{i + 1}: {dict(ends)}, {slowest:.2f} s, {peak():.0f} MB", file=sys.stderr, flush=True)
    return ends, slowest, wrong


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as place:
        counted, longest, faults = read_all(number, int(sys.argv[2]) if len(sys.argv) > 2 else 0, Path(place))
    print("\n".join(faults[:20]))
    print(f"{number} files: {dict(counted)}; the slowest {longest:.2f} s, the most memory {peak():.0f} MB")
