"""The training of the classifier whose hidden layer compares images.

    python -m genctl.evaluation.train_classifier mnist genctl/data/mnist/classifier.safetensors

No choice is made on the validation images: evaluation takes them for its floor as images that the features never saw.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import data
from ..checkpoint import manifest, tensors
from ..checkpoint.manifest import Manifest
from ..errors import CheckpointError, DataError
from ..pictures.cache import cache_folder
from ..seeds import generator, seed_step
from ..terminal.console import result
from ..terminal.reporter import SILENT, Reporter
from .features import BLOCK, ROLE, SHIPPED, Classifier, Features, load

EPOCHS, LEAST_STEPS, BATCH, PEAK, DECAY = 12, 200, 128, 3e-3, 0.998
TURN, STRETCH, SHIFT = 0.2, 0.12, 0.15  # radians; share of the size; share of half the side (2 pixels of 28)


def distort(x: Tensor) -> Tensor:
    """Return the images [N, C, H, W], each turned, stretched and shifted a little at random."""
    N = len(x)
    angle, *stretches = torch.empty(3, N).uniform_(-1, 1)
    angle, (a, b) = TURN * angle, (1 + STRETCH * s for s in stretches)
    shift = SHIFT * torch.empty(2, N).uniform_(-1, 1)
    rows = torch.stack([a * angle.cos(), -b * angle.sin(), shift[0], a * angle.sin(), b * angle.cos(), shift[1]], 1)
    grid = F.affine_grid(rows.reshape(N, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def epochs_of(images: int) -> int:
    """Return the epochs of a training: more for small data sets."""
    return max(EPOCHS, -(-LEAST_STEPS // (images // min(BATCH, images))))


@torch.random.fork_rng(devices=[])
def train(dataset: data.Dataset, seed: int = 0, reporter: Reporter = SILENT) -> Classifier:
    """Return a classifier of the training images: the moving average of its weights, in evaluation mode."""
    images, labels = dataset.train.pixels, dataset.train.labels
    assert labels is not None  # noqa: S101 - the caller has looked
    batch = min(BATCH, len(images))
    steps, epochs = len(images) // batch, epochs_of(len(images))
    seed_step(torch.device("cpu"), "classifier", seed)
    net = Classifier(dataset.train.shape, int(labels.max()) + 1).train()
    average = copy.deepcopy(net).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=PEAK, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=epochs * steps, pct_start=0.2)
    with reporter.counting(epochs * steps * batch) as advance:
        for epoch in range(epochs):
            order = torch.randperm(len(images), generator=generator("classifier", seed, epoch))
            for index in order[: steps * batch].split(batch):
                _, logits = net(distort(images[index] / 255))
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(logits, labels[index]).backward()
                optimizer.step()
                schedule.step()
                follow(average, net, min(DECAY, (1 + schedule.last_epoch) / (10 + schedule.last_epoch)))
                advance(batch)
    return average


@torch.no_grad()
def follow(average: Classifier, net: Classifier, decay: float) -> None:
    """Move the average towards the net, its running statistics too."""
    for mine, theirs in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, 1 - decay)
        else:
            mine.copy_(theirs)


@torch.no_grad()
def accuracy(net: Classifier, images: data.Images) -> float:
    """Return the share of images that the classifier labels rightly."""
    assert images.labels is not None  # noqa: S101
    pairs = zip(images.pixels.split(BLOCK), images.labels.split(BLOCK), strict=True)
    right = sum(int((net(x / 255)[1].argmax(1) == y).sum()) for x, y in pairs)
    return right / len(images)


def save(path: Path, net: Classifier, dataset: data.Dataset, seed: int = 0) -> None:
    """Write the classifier as a sealed file that says what it was trained on and how well it labels."""
    accuracies = {
        "validation_accuracy": accuracy(net, dataset.validation),
        "test_accuracy": accuracy(net, dataset.test) if dataset.test.labels is not None else float("nan"),
    }
    batch, epochs = min(BATCH, len(dataset.train)), epochs_of(len(dataset.train))
    about = Manifest(
        model="classifier",
        config={"classes": net.head[-1].out_features},
        train={"epochs": epochs, "batch_size": batch, "lr": PEAK, "ema": DECAY, "seed": seed},
        shape=dataset.train.shape,
        dataset={"name": dataset.name, "digest": dataset.digest, "train_images": len(dataset.train)},
        role=ROLE,
        step=epochs * (len(dataset.train) // batch),
        epoch=epochs,
        metrics={name: value for name, value in accuracies.items() if value == value},
        versions=tensors.versions(),
    )
    tensors.save(path, net.state_dict(), about)


def features_for(dataset: data.Dataset, reporter: Reporter = SILENT) -> Features:
    """Return the features of a data set: those that ship, those in the cache, or newly trained ones.

    The data set must have labels, and be split as by default.
    """
    if dataset.digest == data.stacked_mnist.digest_of(data.images.MNIST):
        return load(SHIPPED, by_channel=True)
    if dataset.digest == data.images.MNIST:
        return load(SHIPPED)
    path = cache_folder() / "features" / f"{dataset.digest[:16]}.safetensors"
    kept = cached(path, dataset, reporter)
    if kept is not None:
        return kept
    reporter.say(f"training the features of {dataset.name} once, on {len(dataset.train):,} images, for {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, train(dataset, reporter=reporter), dataset)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); set XDG_CACHE_HOME elsewhere.") from error
    return load(path)


def cached(path: Path, dataset: data.Dataset, reporter: Reporter) -> Features | None:
    """Return the features of the cache, checked each time; None where they are damaged, or of other data."""
    if not path.exists():
        return None
    try:
        if manifest.read(path).dataset.get("digest") != dataset.digest:
            raise CheckpointError(f"{path} is of another data set than {dataset.name}.")
        return load(path)
    except CheckpointError as error:
        reporter.say(f"warning: {error} Training another in its place.")
        return None


if __name__ == "__main__":
    found = data.load(sys.argv[1])
    save(Path(sys.argv[2]), train(found), found)
    result(f"{sys.argv[2]}: {manifest.read(Path(sys.argv[2])).metrics}")
