"""The options that the training of every model shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from .options import Checked, Opt, Resumable, flag, options_of

OPTIMIZATION, DATA, AUGMENTATION, RUN = "Optimization", "Data", "Augmentation", "Run"
DATA_SETS = ("mnist", "stacked-mnist", "fashion-mnist", "kmnist", "emnist", "cifar10", "cifar100")  # by name
MANY = 10**9  # epochs or images: more than any run has


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Checked):
    """The options that every model's training shares."""

    epochs: Annotated[
        int,
        Opt("number of epochs in all, also after a resume", min=1, max=MANY, panel=OPTIMIZATION, resumable="longer"),
    ] = 40
    patience: Annotated[
        int | None,
        Opt(
            "stop when validation has not improved for N epochs",
            min=1,
            max=MANY,
            panel=OPTIMIZATION,
            resumable="longer",
        ),
    ] = None
    batch_size: Annotated[int, Opt("images per step", min=1, max=MANY, panel=OPTIMIZATION)] = 128
    accumulate: Annotated[
        int,
        Opt("passes of a step: less memory, the same result", min=1, max=MANY, panel=OPTIMIZATION, resumable="yes"),
    ] = 1
    lr: Annotated[float, Opt("peak learning rate", min=0, max=1e30, panel=OPTIMIZATION)] = 1e-3
    schedule: Annotated[
        Literal["constant", "cosine", "one-cycle"],
        Opt("learning-rate schedule", panel=OPTIMIZATION),
    ] = "constant"
    extend: Annotated[
        Literal["hold", "stretch", "restart"] | None,
        Opt("schedule of epochs that --resume adds", panel=OPTIMIZATION, resumable="once"),
    ] = None
    clip: Annotated[float, Opt("gradient clipping: largest norm per player; 0 is off", min=0, panel=OPTIMIZATION)] = 0.0
    ema: Annotated[
        float, Opt("decay of the moving average of the weights; 0 is off", min=0, max=0.999999, panel=OPTIMIZATION)
    ] = 0.0
    dataset: Annotated[
        str,
        Opt("a name (mnist, cifar10, ...), or a path of pictures or arrays", panel=DATA, resumable="moved"),
    ] = "mnist"
    image_size: Annotated[str | None, Opt("N or HxW pixels; by default as they are, else 32 or 64", panel=DATA)] = None
    image_channels: Annotated[
        int | None, Opt("1 (grey) or 3 (colour); by default the pictures' own", min=1, max=3, panel=DATA)
    ] = None
    fit: Annotated[Literal["crop", "pad", "stretch"], Opt("where height and width have another ratio", panel=DATA)] = (
        "crop"
    )
    background: Annotated[str, Opt("colour behind pictures with alpha: a name or #rrggbb", panel=DATA)] = "white"
    split: Annotated[
        Literal["default", "digest"],
        Opt("divide IDX files and named data by digest, as pictures always are", panel=DATA),
    ] = "default"
    skip_broken: Annotated[bool, Opt("leave out pictures that cannot be read", panel=DATA)] = False
    flip: Annotated[bool, Opt("mirror half of the training images", panel=AUGMENTATION)] = False
    shift: Annotated[int, Opt("move them by up to N pixels", min=0, max=10_000, panel=AUGMENTATION)] = 0
    crop: Annotated[int, Opt("enlarge a part, up to N pixels smaller", min=0, max=10_000, panel=AUGMENTATION)] = 0
    rotate: Annotated[float, Opt("turn them by up to X degrees", min=0, max=180, panel=AUGMENTATION)] = 0.0
    train_size: Annotated[int | None, Opt("use only the first N training images", min=1, panel=DATA)] = None
    validation: Annotated[
        int | None,
        Opt("validation images; by default a sixth of the training images, at most 10,000", min=1, panel=DATA),
    ] = None
    init: Annotated[str | None, Opt("weights to start from: a file, a run, or MODEL for its newest", panel=RUN)] = None
    freeze: Annotated[str | None, Opt("players that do not learn: they keep the weights of --init", panel=RUN)] = None
    out: Annotated[str, Opt("folder that holds the runs, or $GENCTL_RUNS", panel=RUN, resumable="folder")] = (
        "checkpoints"
    )
    name: Annotated[str | None, Opt("name of the run's folder", panel=RUN, resumable="folder")] = None
    resume: Annotated[
        str | None, Opt("run to continue: a folder, a name, or latest", panel=RUN, resumable="folder")
    ] = None
    seed: Annotated[int, Opt("random seed of weights, data order and noise", min=0, max=2**63 - 1, panel=RUN)] = 0
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], Opt("device to compute on", panel=RUN, resumable="yes")
    ] = "auto"
    precision: Annotated[
        Literal["bf16", "tf32", "float32"],
        Opt("CUDA precision in training: TF32 matmuls, or bfloat16 autocast", panel=RUN),
    ] = "tf32"
    tune: Annotated[
        bool,
        Opt("CUDA: autotune convolutions; faster, but a resume may differ in its last bits", panel=RUN),
    ] = False
    compile: Annotated[bool, Opt("torch.compile the networks; worth it for a large flow on a GPU", panel=RUN)] = False
    threads: Annotated[int | None, Opt("CPU threads", min=1, max=1024, panel=RUN, resumable="yes")] = None
    sample_every: Annotated[
        int | None, Opt("epochs between sample grids; by default a tenth of the run", min=1, panel=RUN, resumable="yes")
    ] = None
    save_every: Annotated[
        float | None,
        Opt(
            "epochs between saved states; by default a few seconds of training",
            min=0.001,
            max=MANY,
            panel=RUN,
            resumable="yes",
        ),
    ] = None
    max_minutes: Annotated[float | None, Opt("save and stop after X minutes", min=0, panel=RUN, resumable="once")] = (
        None
    )
    show: Annotated[bool, Opt("draw samples and curves in the terminal", panel=RUN, resumable="once")] = False
    tensorboard: Annotated[
        bool, Opt("write TensorBoard's event files into the run's folder too", panel=RUN, resumable="yes")
    ] = False
    quiet: Annotated[bool, Opt("show no progress", panel=RUN, resumable="once")] = False
    json: Annotated[bool, Opt("print each epoch's metrics as a line of JSON", panel=RUN, resumable="once")] = False

    def shaping(self) -> dict[str, Any]:
        """Return the options that shape the weights, which a checkpoint records; of --init, a path, its own way."""
        return {name: getattr(self, name) for name in resumable("no", "longer") if name != "init"}


def augmentation_in(train: Mapping[str, Any]) -> str:
    """Return how a training augmented its images, as it is typed; "" for images as they are, and for older files."""
    chosen = {flag(name): train.get(name) for name in ("flip", "shift", "crop", "rotate")}
    return " ".join(name if value is True else f"{name} {value:g}" for name, value in chosen.items() if value)


def resumable(*kinds: Resumable) -> list[str]:
    """Return the training options of these kinds."""
    return [name for name, (_, opt) in options_of(TrainConfig).items() if opt.resumable in kinds]
