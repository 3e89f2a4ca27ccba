"""What lies in the cache folder is checked each time, and a rule belongs to data, not to a name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from conftest import Cli, bars, write_idx
from test_download import Mirror, mirror  # noqa: F401 - a fixture

from genctl import data
from genctl.data import download, images, stacked_mnist
from genctl.errors import DataError
from genctl.evaluation import train_classifier
from genctl.terminal.reporter import Reporter

IMAGES = "train-images-idx3-ubyte"


class Heard(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def other_images(path: Path) -> None:
    """Write valid images of another data set."""
    write_idx(path, bars(30)[0].flip(0))


def test_a_file_that_is_not_the_data_set_s_is_fetched_again(mirror: Mirror) -> None:  # noqa: F811
    digest = data.load("fashion-mnist").digest
    path = download.cache_folder() / "fashion-mnist" / f"{IMAGES}.gz"
    for spoil in (other_images, lambda path: path.write_bytes(path.read_bytes()[:-1])):
        spoil(path)
        heard = Heard()
        assert data.load("fashion-mnist", reporter=heard).digest == digest
        assert heard.said == [f"warning: {path} is damaged, or not fashion-mnist's; fetching it again."]


def test_without_a_network_the_file_is_named(mirror: Mirror) -> None:  # noqa: F811
    folder = download.fetch("fashion-mnist")
    other_images(folder / f"{IMAGES}.gz")
    mirror.mode, heard = "503", Heard()
    with pytest.raises(DataError, match=f"{IMAGES}.gz: .*put its files into {folder} by hand"):
        data.load("fashion-mnist", reporter=heard)
    assert f"{folder / IMAGES}.gz is damaged" in heard.said[0]


def test_an_unpacked_file_beside_the_checked_ones_is_not_read(mirror: Mirror) -> None:  # noqa: F811
    digest = data.load("fashion-mnist").digest
    other_images(download.cache_folder() / "fashion-mnist" / IMAGES)
    assert data.load("fashion-mnist").digest == digest


def test_a_user_without_a_home_gets_a_sentence(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    answer = cli("train", "vae", "--dataset", "fashion-mnist")
    assert answer.code == 3
    assert answer.err == "genctl: there is no home folder to keep a cache in; set XDG_CACHE_HOME to a folder.\n"


def test_the_validation_rule_belongs_to_the_digest(data_folder: Path, tmp_path: Path, monkeypatch) -> None:
    shutil.copytree(data_folder, tmp_path / "mnist")
    found = data.load(str(tmp_path / "mnist"))
    assert (found.name, found.digest == images.MNIST) == ("mnist", False)
    assert found.validation.places.tolist() != list(range(100, 120))
    assert torch.equal(found.validation.places, data.load(str(data_folder)).validation.places)
    monkeypatch.setattr(images, "MNIST", found.digest)
    assert data.load(str(data_folder)).validation.places.tolist() == list(range(100, 120))


def test_the_digest_of_mnist_is_that_of_its_images() -> None:
    found = data.load("mnist")
    assert found.digest == images.MNIST
    assert found.validation.places.tolist() == list(range(50_000, 60_000))


def test_the_features_of_stacked_digits_are_not_for_a_folder_of_that_name(
    data_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(data_folder, tmp_path / stacked_mnist.NAME)
    found = data.load(str(tmp_path / stacked_mnist.NAME))
    assert not train_classifier.features_for(found).by_channel


def test_a_classifier_in_the_cache_is_checked_each_time(data_folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(train_classifier, "LEAST_STEPS", 1)
    found = data.load(str(data_folder))
    usual = train_classifier.features_for(found).digest
    (path,) = (tmp_path / "cache" / "genctl" / "features").iterdir()
    whole = path.read_bytes()

    def foreign(path: Path) -> None:
        shutil.copy(train_classifier.SHIPPED, path)

    problems = {"is damaged": lambda path: path.write_bytes(whole[:-1] + b"x"), "is of another data set": foreign}
    for problem, spoil in {**problems, "is cut short": lambda path: path.write_bytes(whole[:-1])}.items():
        spoil(path)
        heard = Heard()
        assert train_classifier.features_for(found, heard).digest == usual
        assert problem in heard.said[0] and heard.said[0].endswith("Training another in its place.")
        heard = Heard()
        train_classifier.features_for(found, heard)
        assert heard.said == []
