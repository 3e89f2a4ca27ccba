"""A set larger than memory is trained on and scored in pieces: to the same bits, and no more is made than asked for."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from conftest import Cli, tiny_flags
from soak import bytes_but_id, metric_lines
from torch import Tensor

from genctl.data import pieces
from genctl.data.images import Images
from genctl.data.pieces import Pieces, through
from genctl.evaluation import bounds, precision_recall
from genctl.pictures import store
from genctl.ranks.shares import even
from genctl.runs import folder as run_folder
from genctl.training import feed

CPU = torch.device("cpu")


@pytest.fixture
def mapped(tmp_path: Path) -> Images:
    """Return 50 labelled images in a file that is mapped into memory, some pages long."""
    values = numpy.random.default_rng(0).integers(0, 256, (50, 3, 20, 20), dtype=numpy.uint8)
    values.tofile(tmp_path / "pixels")
    rows = numpy.memmap(tmp_path / "pixels", dtype=numpy.uint8, mode="c", shape=values.shape)
    return Images(torch.from_numpy(rows), torch.arange(50) % 7, torch.arange(50), "some/train")


def test_pieces_are_what_the_whole_is(mapped: Images) -> None:
    found, whole = Pieces(mapped, Images.binarized, CPU), mapped.binarized()
    assert len(found) == 50
    assert torch.equal(found[10:20], whole[10:20])
    index = torch.randperm(50)[:30]
    assert torch.equal(found.gather(index), whole[index])


def test_no_more_is_made_than_is_asked_for(mapped: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(images: Images) -> Tensor:
        made.append(len(images))
        return images.pixels

    assert isinstance(through(mapped, counted, CPU), Tensor)
    monkeypatch.setattr(pieces, "KEPT", mapped.pixels.nbytes - 1)
    large = through(mapped, counted, CPU)
    assert isinstance(large, Pieces) and made == [50]
    first = next(feed.batches(large, mapped.labels, 8, 0, range(2)))
    assert first[0].shape[0] == 8 and set(made[1:]) == {8}
    assert large[:4].data_ptr() == mapped.pixels.data_ptr()  # a slice is no copy


@pytest.mark.parametrize("labels", [True, False])
def test_batches_that_are_read_ahead_are_those_of_the_whole(mapped: Images, labels: bool) -> None:
    y = mapped.labels if labels else None
    steps = range(3, 30)  # from within an epoch, over some
    ahead = feed.batches(Pieces(mapped, lambda images: images.pixels, CPU), y, 8, 5, steps)
    whole = feed.batches(mapped.pixels, y, 8, 5, steps)
    for (x, one), (other, two) in zip(ahead, whole, strict=True):
        assert torch.equal(x, other)
        assert (one is None and two is None) or torch.equal(one, two)


def test_the_disk_is_asked_long_before_a_batch_is_read(mapped: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[tuple[str, tuple[int, ...]]] = []
    monkeypatch.setattr(Pieces, "ask", lambda self, index: events.append(("asked", tuple(index.tolist()))))
    gather = Pieces.gather

    def gathered(self: Pieces, index: Tensor) -> Tensor:
        events.append(("read", tuple(index.tolist())))
        return gather(self, index)

    monkeypatch.setattr(Pieces, "gather", gathered)
    steps = 60
    assert len(list(feed.batches(Pieces(mapped, lambda images: images.pixels, CPU), None, 8, 5, range(steps)))) == steps
    order = [tuple(index.tolist()) for index in feed.indices(50, 8, 5, range(steps))]
    ahead = feed.ASKED - feed.READERS  # as many may be between two words of a reader
    for i in range(steps - ahead):
        assert events.index(("asked", order[i + ahead])) < events.index(("read", order[i]))


@pytest.mark.skipif(sys.platform != "linux", reason="another system is not asked")
def test_what_the_system_is_asked_for_are_the_rows(mapped: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[numpy.ndarray] = []

    class System:
        @staticmethod
        def syscall(number, process, ranges, count, advice, flags) -> None:
            assert (number.value, advice.value, flags.value) == (440, 3, 0)
            text = ctypes.string_at(ranges.value, 16 * count.value)
            calls.append(numpy.frombuffer(text, dtype=numpy.uint64).reshape(-1, 2).astype(numpy.int64))

    monkeypatch.setattr(ctypes, "CDLL", lambda name: System)
    monkeypatch.setattr(pieces, "AT_ONCE", 7)
    index = torch.randperm(50)[:30]
    pieces.ask(mapped.pixels, index)
    assert [len(call) for call in calls] == [7, 7, 7, 7, 2]
    begin, size = mapped.pixels.data_ptr(), 3 * 20 * 20
    for (start, length), i in zip(numpy.concatenate(calls), index.tolist(), strict=True):
        row = begin + i * size
        assert start % mmap.PAGESIZE == 0 and start <= row < start + mmap.PAGESIZE
        assert start + length == row + size


def test_readers_end_with_their_training(mapped: Images) -> None:
    made: list[int] = []

    def slow(images: Images) -> Tensor:
        made.append(len(images))
        return images.pixels

    reading: Iterator[feed.Pair] = feed.batches(Pieces(mapped, slow, CPU), None, 8, 0, range(1000))
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert len(made) <= feed.AHEAD + 1


def test_a_file_larger_than_memory_can_be_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapping that may be written is refused where memory and swap could not hold it."""
    modes: list[str] = []
    original = numpy.memmap
    (tmp_path / "x.pixels").write_bytes(bytes(100))
    monkeypatch.setattr(numpy, "memmap", lambda *a, mode, **k: (modes.append(mode), original(*a, mode=mode, **k))[1])
    assert store.read(tmp_path / "x.pixels") is None and modes == ["r"]


def test_what_a_reader_meets_ends_the_training(mapped: Images) -> None:
    def broken(images: Images) -> Tensor:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        next(feed.batches(Pieces(mapped, broken, CPU), None, 8, 0, range(9)))


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_several_processes_read_slices_of_one_order(processes: int) -> None:
    whole = list(feed.indices(50, 8, 7, range(20)))
    counts = even(8, processes)
    parts = [slice(sum(counts[:i]), sum(counts[: i + 1])) for i in range(processes)]
    shares = [list(feed.indices(50, 8, 7, range(20), mine=part)) for part in parts]
    for step, index in enumerate(whole):
        assert torch.equal(torch.cat([share[step] for share in shares]), index)


@pytest.mark.parametrize("words", ["vae --binarize static --conditional", "realnvp --arch mlp --depth 2 --hidden 8"])
def test_a_run_on_pieces_is_the_run_on_the_whole(
    cli: Cli, data_folder: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    name, *options = words.split()
    flags = tiny_flags("vae", "mlp") if name == "vae" else []
    shared = ["--dataset", data_folder, "--epochs", 1, "--batch-size", 40, "--device", "cpu", "--threads", 1, "--quiet"]
    answers = []
    for run, kept in (("whole", pieces.KEPT), ("pieces", 0)):
        monkeypatch.setattr(pieces, "KEPT", kept)
        assert cli("train", name, *flags, *options, *shared, "--name", run).code == 0
        answers.append(cli("eval-bpd", f"checkpoints/{run}").out)
    assert answers[0] == answers[1]
    whole, parts = Path("checkpoints/whole"), Path("checkpoints/pieces")
    assert metric_lines(whole) == metric_lines(parts)
    assert bytes_but_id(whole / run_folder.WEIGHTS) == bytes_but_id(parts / run_folder.WEIGHTS)


def test_neighbours_are_found_in_pieces_too(mapped: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = precision_recall.nearest(mapped.pixels[:30], mapped.pixels[20:])
    vectors = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    terms = precision_recall.neighbourhoods(vectors[:20], vectors[20:])
    monkeypatch.setattr(precision_recall, "MOST_PIXELS", 7 * mapped.pixels[0].numel())
    monkeypatch.setattr(precision_recall, "WIDE", 1)
    monkeypatch.setattr(precision_recall, "CHUNK", 60)
    assert precision_recall.rows_of(30) == 2
    assert torch.allclose(precision_recall.nearest(mapped.pixels[:30], mapped.pixels[20:]), whole, rtol=1e-5, atol=10)
    for name, term in precision_recall.neighbourhoods(vectors[:20], vectors[20:]).items():
        assert torch.equal(term, terms[name])


def test_shared_draws_are_the_same_for_every_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    from genctl.testing.cases import cases_of, pixels, start

    model = start(cases_of("vae")[0]).model.eval()
    chosen = model.config.estimator("prior")
    whole = bounds.bound(model, pixels(), 4, chosen).tight  # type: ignore[arg-type]
    monkeypatch.setattr(bounds, "SHARED", 10)
    assert torch.allclose(bounds.bound(model, pixels(), 4, chosen).tight, whole)  # type: ignore[arg-type]
    assert replace(chosen).shared
