"""TensorBoard's own reader finds in a run's event files what its metrics and its sample grids hold."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path

import numpy
import pytest
from conftest import Cli, tiny_flags
from PIL import Image
from soak import differences

from genctl.runs import folder as run_folder

RUN = Path("checkpoints/vae-001")
needs = pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed: genctl[tensorboard]")


def options(data: Path, *more: object) -> list[object]:
    """Return the words that train a tiny model for 3 epochs."""
    shared = ["--dataset", data, "--batch-size", 20, "--epochs", 3, "--sample-every", 1, "--device", "cpu"]
    return ["train", "vae", *tiny_flags("vae", "mlp"), *shared, *more]


def read(folder: Path):
    """Return TensorBoard's reader of a run, with all that is in it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    return found


@needs
@pytest.mark.filterwarnings("default")  # of the package and what it needs
def test_its_reader_finds_metrics_and_grids_and_a_resume_adds_to_them(cli: Cli, data_folder: Path) -> None:
    assert cli(*options(data_folder, "--tensorboard", "--quiet")).code == 0
    assert cli("train", "vae", "--resume", RUN, "--epochs", 5, "--quiet").code == 0  # the run keeps the option
    found = read(RUN)
    lines = run_folder.read_metrics(RUN)
    for name in ("negative_elbo", "validation_nats", "lr", "images_per_second"):
        values = [(event.step, pytest.approx(event.value)) for event in found.Scalars(name)]
        assert values == [(line["epoch"], line[name]) for line in lines]
    assert set(found.Tags()["images"]) == {"samples", "samples-means"}
    grids = found.Images("samples")
    assert [event.step for event in grids][:4] == [0, 1, 2, 3] and grids[-1].step == 5
    with (
        Image.open(io.BytesIO(grids[2].encoded_image_string)) as mine,
        Image.open(RUN / "samples/epoch-002.png") as own,
    ):
        inner = numpy.asarray(own)
        factor = inner.shape[0] // 52
        whole = inner[2 * factor : -2 * factor : factor, 2 * factor : -2 * factor : factor]
        assert (numpy.asarray(mine.convert("L")) == whole).all()


@needs
@pytest.mark.filterwarnings("default")
def test_events_and_a_view_change_no_bit(cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genctl.terminal.progress.blocks_fit", lambda: True)
    assert cli(*options(data_folder), "--name", "without").code == 0
    assert cli(*options(data_folder, "--tensorboard", "--show", "--sample-every", 9), "--name", "with").code == 0
    assert differences(Path("checkpoints/without"), Path("checkpoints/with")) == []


def test_without_the_package_nothing_is_trained(cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genctl.training.events.find_spec", lambda _: None)
    answer = cli(*options(data_folder, "--tensorboard"))
    assert (answer.code, Path("checkpoints").exists()) == (2, False)
    assert answer.err == "genctl: --tensorboard needs a package; install it: pip install 'genctl[tensorboard]'\n"
