"""Data sets fetched from a server on this machine: whole, checked and kept, or not there at all."""

from __future__ import annotations

import errno
import gzip
import hashlib
import threading
import urllib.error
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from conftest import Cli, bars, write_idx

from genctl import data
from genctl.checkpoint import atomic
from genctl.data import download
from genctl.errors import DataError


class Mirror:
    """A server of files that can be told to misbehave, and what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.mode = "good"
        self.asked: list[str] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rsplit("/", 1)[-1]
                mirror.asked.append(name)
                mirror.answer(self, mirror.files.get(name))

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes | None) -> None:
        handler.close_connection = True
        if self.mode == "no http":
            handler.wfile.write(b"SSH-2.0-OpenSSH\r\n")
            return
        if body is None or self.mode.isdecimal():
            handler.send_error(int(self.mode))
            return
        handler.send_response(200)
        if self.mode == "chunks":  # a first chunk, and then the line is cut
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            handler.wfile.write(b"ffff\r\n" + body[:100])
            return
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.mode == "cut":
            body = body[: len(body) // 2]
        if self.mode == "changed":
            body = bytes(len(body))
        handler.wfile.write(body)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Return a server that stands in for the address of fashion-mnist; the cache is in tmp_path."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Mirror()
    for prefix, n in (("train", 30), ("t10k", 6)):
        for what, values in zip(("images-idx3", "labels-idx1"), bars(n), strict=True):
            name = f"{prefix}-{what}-ubyte"
            write_idx(tmp_path / name, values)
            server.files[f"{name}.gz"] = gzip.compress((tmp_path / name).read_bytes(), mtime=0)
    stand_in(monkeypatch, [server.address], server.files)
    yield server
    server.close()


def stand_in(monkeypatch: pytest.MonkeyPatch, addresses: list[str], files: dict[str, bytes]) -> None:
    sums = [(name, hashlib.md5(body, usedforsecurity=False).hexdigest()) for name, body in files.items()]
    monkeypatch.setattr(download, "_torchvision", lambda _: (addresses, sums))


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache" / "genctl" / "fashion-mnist").iterdir())


def test_files_land_once(mirror: Mirror, tmp_path: Path) -> None:
    found = data.load("fashion-mnist")
    assert (found.name, len(found.train), len(found.validation), len(found.test)) == ("fashion-mnist", 25, 5, 6)
    assert torch.equal(found.test.pixels[:, 0], bars(6)[0].to(torch.uint8))
    assert cached(tmp_path) == sorted(mirror.files)
    assert sorted(mirror.asked) == sorted(mirror.files)
    data.load("fashion-mnist")
    assert len(mirror.asked) == 4  # not asked again


def test_only_what_is_missing_is_fetched(mirror: Mirror, tmp_path: Path) -> None:
    folder = download.fetch("fashion-mnist")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    mirror.asked.clear()
    download.fetch("fashion-mnist")
    assert mirror.asked == ["t10k-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("changed", "its MD5 is"),
        ("cut", ""),
        ("404", "Not Found"),
        ("503", "Service Unavailable"),
        ("chunks", ""),
        ("no http", ""),
    ],
)
def test_a_failed_download_leaves_nothing(mirror: Mirror, tmp_path: Path, mode: str, reason: str) -> None:
    mirror.mode = mode
    with pytest.raises(DataError) as caught:
        data.load("fashion-mnist")
    message = str(caught.value)
    assert message.startswith("cannot download ")
    assert mirror.address in message
    assert str(tmp_path / "cache" / "genctl" / "fashion-mnist") in message
    assert reason in message
    assert "--dataset mnist" in message
    assert "\n" not in message
    assert cached(tmp_path) == []


def test_a_file_is_under_its_name_only_when_all_of_it_is_there(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written in one piece by the writer of checkpoints, which no kill tears."""
    write, written = atomic.write, []

    def watched(path: Path, data: bytes) -> None:
        assert cached(tmp_path) == sorted(written)
        written.append(path.name)
        assert data == mirror.files[path.name]
        write(path, data)

    monkeypatch.setattr(atomic, "write", watched)
    download.fetch("fashion-mnist")
    assert sorted(written) == cached(tmp_path) == sorted(mirror.files)


def test_a_full_disk_ends_a_download_with_6(mirror: Mirror, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(atomic, "write", full)
    answer = cli("train", "vae", "--dataset", "fashion-mnist")
    assert answer.code == 6
    assert answer.err.splitlines()[-1].startswith("genctl: the disk is full (")
    assert len(mirror.asked) == 1


def test_a_failed_download_ends_with_3(mirror: Mirror, cli: Cli) -> None:
    mirror.mode = "404"
    answer = cli("train", "vae", "--dataset", "fashion-mnist")
    assert (answer.code, answer.out) == (3, "")
    assert f"genctl: cannot download {mirror.address}train-images-idx3-ubyte.gz" in answer.err
    assert not Path("checkpoints").exists()


def test_no_network_gets_a_sentence(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    stand_in(monkeypatch, ["http://example.invalid/"], {"train-images-idx3-ubyte.gz": b""})
    answer = cli("train", "vae", "--dataset", "fashion-mnist")
    assert answer.code == 3
    assert answer.err == (
        "genctl: cannot download http://example.invalid/train-images-idx3-ubyte.gz: Temporary failure in name"
        f" resolution. Without a network, put its files into {tmp_path}/cache/genctl/fashion-mnist by hand,"
        " or use the built-in --dataset mnist.\n"
    )


def test_files_put_there_by_hand_need_no_network(mirror: Mirror, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "genctl" / "fashion-mnist"
    folder.mkdir(parents=True)
    for name, body in mirror.files.items():
        (folder / name).write_bytes(body)
    assert len(data.load("fashion-mnist").test) == 6
    assert mirror.asked == []


def test_the_second_mirror_is_used_when_the_first_is_dead(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = Mirror()
    dead.close()
    stand_in(monkeypatch, [dead.address, mirror.address], mirror.files)
    assert len(data.load("fashion-mnist").test) == 6
    assert cached(tmp_path) == sorted(mirror.files)


def test_all_dead_mirrors_are_named(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = Mirror()
    dead.close()
    mirror.mode = "404"
    stand_in(monkeypatch, [dead.address, mirror.address], mirror.files)
    with pytest.raises(DataError) as caught:
        data.load("fashion-mnist")
    assert dead.address in str(caught.value)
    assert mirror.address in str(caught.value)


def test_a_cache_that_cannot_be_made_gets_a_sentence(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be made \(Not a directory\); set XDG_CACHE_HOME elsewhere\."):
        data.load("fashion-mnist")


@pytest.mark.parametrize("name", download.SETS)
def test_torchvision_still_names_addresses_and_sums(name: str) -> None:
    pytest.importorskip("torchvision", exc_type=ImportError)
    addresses, resources = download._torchvision(name)
    assert all(address.startswith("http") and address.endswith("/") for address in addresses)
    assert sorted(file for file, _ in resources) == sorted(f"{file}.gz" for file in TORCHVISION_FILES)
    assert all(len(md5) == 32 for _, md5 in resources)


TORCHVISION_FILES = [f"{p}-{w}-ubyte" for p in ("train", "t10k") for w in ("images-idx3", "labels-idx1")]
