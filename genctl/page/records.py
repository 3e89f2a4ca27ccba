"""What a page shows. Whoever writes one gathers these; a part that was not gathered is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..runs.folder import RunConfig
from ..types import Shape


class Frame(NamedTuple):
    """The samples of one epoch."""

    epoch: int
    png: bytes


class Picture(NamedTuple):
    """A grid of images, one screen pixel for each of theirs."""

    png: bytes
    alt: str  # what it shows, for who does not see it
    scale: int = 2  # screen pixels of a pixel at most


class Pair(NamedTuple):
    """A sample, and the training image that is nearest to it."""

    sample: bytes
    near: bytes
    distance: float  # Euclidean, of pixels in [0, 1]
    label: str = ""  # the training image's class


class Nearest(NamedTuple):
    """Samples beside their nearest training images."""

    pairs: Sequence[Pair]
    usual: float  # median distance of unseen images to theirs
    train_images: int


class Point(NamedTuple):
    """Where an image lies on a plane of latents, in [0, 1]."""

    right: float
    up: float
    label: int


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A 2-d latent as a place: quantiles of both coordinates over [low, high]."""

    low: float
    high: float
    shape: Shape
    steps: int  # tiles on a side
    tiles: bytes  # PNG of steps x steps images without a border, the top row first
    layers: Sequence[Mapping[str, Any]] = ()  # the decoder, one operation after another; empty: tiles alone
    weights: bytes = b""  # float32, little-endian: what the layers name by place and number
    checks: Sequence[tuple[Sequence[float], bytes]] = ()  # latents and the images that torch makes of them
    points: Sequence[Point] = ()  # test images, by class
    classes: Sequence[str] = ()  # names of the classes of the points
    given: str = ""  # the class of all images, of a conditional model


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """What costs time to draw of a model."""

    reconstructions: Picture | None = None
    interpolation: Picture | None = None
    manifold: Picture | None = None
    plane: Plane | None = None
    nearest: Nearest | None = None
    left_out: Sequence[str] = ()  # parts for which there was no time


@dataclass(frozen=True, kw_only=True)
class Curves:
    """What the large plot shows."""

    unit: str = ""
    series: Mapping[str, str] = field(default_factory=dict)  # label -> metric
    levels: Mapping[str, float] = field(default_factory=dict)  # label -> height


class Setting(NamedTuple):
    """An option of a run."""

    name: str  # as it is typed
    value: Any
    changed: bool  # from the default


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run."""

    name: str
    about: RunConfig
    family: str  # what the model is, in words
    state: str  # finished, running, stopped, diverged
    lines: Sequence[Mapping[str, Any]] = ()  # of metrics.jsonl
    done: float = 0.0  # share of the steps
    parameters: int | None = None
    best: str = ""  # with its unit
    of: str = ""  # what the best value is a likelihood of
    curves: Curves = Curves()
    frames: Mapping[str, Sequence[Frame]] = field(default_factory=dict)  # what they are -> the samples, by epoch
    portrait: Portrait = Portrait()
    evaluations: Sequence[Mapping[str, Any]] = ()  # of evaluations.jsonl, the oldest first
    alarms: Sequence[Mapping[str, Any]] = ()  # of alarms.jsonl
    settings: Mapping[str, Sequence[Setting]] = field(default_factory=dict)  # panel -> options
    commands: Sequence[tuple[str, str]] = ()  # what a command is for, and the command


class Table(NamedTuple):
    """A comparison: a row a model."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]  # what the figures are of


@dataclass(frozen=True, kw_only=True)
class Page:
    """Runs, and what they are beside each other."""

    runs: Sequence[RunRecord]
    written: str  # ISO 8601, UTC
    version: str
    comparison: Table | None = None
    command: str = ""  # that writes this page
    refresh: float | None = None  # seconds after which an open page looks again; None: nothing new will come
