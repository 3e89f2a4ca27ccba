"""Features of one's own: a file of a classifier that genctl trained, or of a sequence of torch's plain layers.

Such a file is sealed as a checkpoint is. Its manifest has the role "features", the shape of the images [C, H, W] that
the network takes, scaled to [0, 1], and one of two forms:

    model "classifier", config {"classes": N}: what the cache folder holds for a labelled data set
    model "layers", config {"layers": TEXT}: a JSON list of [name, {argument: value}], names and arguments as in LAYERS

The tensors are those of `nn.Sequential` of these layers ("0.weight", ...), the output is [N, D] or is flattened to it.
Nothing in it is code: a name that is not in LAYERS is refused, and what layers ask for is counted before it is made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import data
from ..checkpoint import manifest, schema, sizes, tensors
from ..checkpoint.manifest import Manifest
from ..errors import CheckpointError, UsageError
from ..pictures.regular import reason
from ..runs.records import CLASSIFIER
from ..types import Shape
from .features import ROLE, Classifier, Features

KIND = "given"
MODEL = "layers"
POOL = ("kernel_size", "stride", "padding", "ceil_mode")
LAYERS: dict[str, tuple[str, ...]] = {  # of torch.nn, each with all arguments that a file names
    "Conv2d": ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias"),
    "Linear": ("in_features", "out_features", "bias"),
    "BatchNorm1d": ("num_features", "eps", "affine"),
    "BatchNorm2d": ("num_features", "eps", "affine"),
    "GroupNorm": ("num_groups", "num_channels", "eps", "affine"),
    **{"MaxPool2d": POOL, "AvgPool2d": POOL},
    **{"AdaptiveMaxPool2d": ("output_size",), "AdaptiveAvgPool2d": ("output_size",)},
    **{"ReLU": (), "GELU": (), "SiLU": (), "Tanh": (), "LeakyReLU": ("negative_slope",), "Flatten": ()},
}
LEFT_OUT = ("Dropout", "Dropout2d", "Identity")  # they do nothing in evaluation
MOST_LAYERS = 1_000
MOST_FEATURES = 4_096
MOST_ACTIVATIONS = 1 << 22  # numbers that a layer makes of one image


class Layers(nn.Sequential):
    """A sequence of plain layers as features; it has no classes."""

    def __init__(self, described: str) -> None:
        super().__init__(*(_built(*entry) for entry in _entries(described)))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Map x [N, C, H, W] in [0, 1] to features [N, D]."""
        return super().forward(x).flatten(1), None


def _entries(described: str) -> list[tuple[str, dict[str, Any]]]:
    """Return names and arguments of the layers; raise ValueError for anything that is not such a list."""
    found = schema.parse(described)
    if not isinstance(found, list) or not 0 < len(found) <= MOST_LAYERS:
        raise ValueError(f"its layers are no list of 1 to {MOST_LAYERS:,}")
    for entry in found:
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and entry[0] in LAYERS):
            raise ValueError(f"a layer is [name, arguments], the name one of {', '.join(LAYERS)}")
        if not isinstance(entry[1], dict) or set(entry[1]) != set(LAYERS[entry[0]]):
            raise ValueError(f"{entry[0]} has the arguments {', '.join(LAYERS[entry[0]]) or 'none'}")
    return [(name, arguments) for name, arguments in found]


def _built(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Return a layer; raise ValueError for a value that is no number of 0 or more, true, false or two whole numbers."""
    for key, value in arguments.items():
        parts = value if isinstance(value, list) and len(value) == 2 else [value]
        if not all(type(part) in (int, bool) or (type(part) is float and value is part) for part in parts):
            raise ValueError(f"{key} of {name} is no number")
        if min(parts) < 0:
            raise ValueError(f"{key} of {name} is below 0")
    sizes_ = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    layer: nn.Module = getattr(nn, name)(**sizes_)
    return layer


def save(path: Path, net: nn.Sequential, shape: Shape, name: str) -> None:
    """Write a sequence of torch's plain layers as features of images [C, H, W] in [0, 1], under a name for records.

    Raises UsageError for a layer that such a file cannot hold, and for a network that does not take these images.
    """
    layers = [layer for layer in _flat(net) if type(layer).__name__ not in LEFT_OUT]
    described = json.dumps([_described(layer) for layer in layers])
    weights = nn.Sequential(*layers).state_dict()
    try:
        made = Layers(described).eval()
        made.load_state_dict(weights)
        x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            alike = torch.equal(made(x)[0], nn.Sequential(*layers).eval()(x).flatten(1))
    except (ValueError, TypeError, RuntimeError) as error:
        raise UsageError(f"these layers are no features of images {list(shape)}: {reason(error)}.") from error
    if not alike:
        raise UsageError("a layer has an argument that a file of features cannot hold; see genctl.save_features.")
    about = Manifest(
        model=MODEL,
        config={"layers": described},
        train={},
        shape=shape,
        dataset={"name": name, "digest": ""},
        role=ROLE,
        step=0,
        epoch=0,
        versions=tensors.versions(),
    )
    tensors.save(path, weights, about)


def _described(layer: nn.Module) -> list[Any]:
    """Return a layer's name and arguments; raise UsageError for one that is not in LAYERS."""
    name = type(layer).__name__
    if name not in LAYERS or type(layer) is not getattr(nn, name):
        raise UsageError(f"features are made of {', '.join(LAYERS)}; not of {name}.")
    values = {key: getattr(layer, key) for key in LAYERS[name]}
    if "bias" in values:
        values["bias"] = values["bias"] is not None
    return [name, values]


def _flat(net: nn.Sequential) -> list[nn.Module]:
    """Return the layers of a sequence, those of sequences in it too."""
    return [part for layer in net for part in (_flat(layer) if isinstance(layer, nn.Sequential) else [layer])]


def load(path: Path, found: data.Dataset) -> Features:
    """Return the features of a file for this data set; raise CheckpointError if it is damaged or something else.

    The classes of a classifier count where it was trained on this data set, by its digest. Raises UsageError where the
    network takes images of another shape.
    """
    header = manifest.check(path)
    about, shape = header.manifest, found.train.shape
    if about.role != ROLE or about.model not in (CLASSIFIER, MODEL):
        raise CheckpointError(f"{path} holds {about.role} of {about.model}, not features.")
    if about.shape != shape:
        raise UsageError(f"{path} takes images of {_by(about.shape)}; those of {found.name} are {_by(shape)}.")
    net = sizes.fitting(lambda: _network(about), header, path)
    _check_use(about, path)
    tensors.fill(net, tensors.read(path), path)
    if not all(t.isfinite().all() for t in net.state_dict().values()):
        raise CheckpointError(f"{path} holds weights that are not finite.")
    named = about.model == CLASSIFIER
    return Features(
        net.eval().requires_grad_(False),
        f"classifier of {about.dataset['name']}" if named else about.dataset["name"],
        header.digest,
        about.metrics.get("test_accuracy") if named else None,
        kind=KIND,
        classes=named and about.dataset["digest"] == found.digest and about.config["classes"] == _classes(found),
    )


def _classes(found: data.Dataset) -> int:
    return 0 if found.train.labels is None else int(found.train.labels.max()) + 1


def _network(about: Manifest) -> Classifier | Layers:
    if about.model == CLASSIFIER:
        return Classifier(about.shape, about.config["classes"])
    return Layers(about.config["layers"])


def _by(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def _check_use(about: Manifest, path: Path) -> None:
    """Raise CheckpointError unless the network takes its images, within limits: tried without memory or numbers."""
    if about.model == CLASSIFIER:
        return
    try:
        with torch.device("meta"):
            x = torch.empty(2, *about.shape)
            for layer in Layers(about.config["layers"]).eval():
                x = layer(x)
                if x.numel() > 2 * MOST_ACTIVATIONS:
                    raise ValueError(f"a layer makes {x.numel() // 2:,} numbers of one image")
        D = x.flatten(1).shape[1]
        if len(x) != 2 or not 0 < D <= MOST_FEATURES:
            raise ValueError(f"it makes {D:,} features of an image; at most {MOST_FEATURES:,} are compared")
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        raise CheckpointError(f"{path} cannot be applied to images of {_by(about.shape)}: {reason(error)}.") from error
