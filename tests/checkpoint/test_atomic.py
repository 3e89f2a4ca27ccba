"""A file is replaced whole or not at all, whatever call fails and however."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from genctl.checkpoint import atomic

OLD, NEW = b"old" * 100, b"new" * 200
CALLS = ("open", "write", "fsync", "replace", "close")  # of os
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither modes nor limits of this kind")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return a file with old content, alone in its folder."""
    path = tmp_path / "folder" / "file.bin"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


def only_file(path: Path) -> bool:
    """Tell whether nothing lies beside the file."""
    return list(path.parent.iterdir()) == [path]


def observe(monkeypatch: pytest.MonkeyPatch, before: Callable[[str, Any], None]) -> None:
    """Call before(name, first argument) ahead of each of os's calls; a failing close still closes."""
    for name in CALLS:
        real = getattr(os, name)

        def wrapped(*arguments: Any, name: str = name, real: Callable[..., Any] = real) -> Any:
            try:
                before(name, arguments[0])
            except BaseException:
                if name == "close":
                    real(*arguments)
                raise
            return real(*arguments)

        monkeypatch.setattr(os, name, wrapped)


@contextmanager
def limit(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as on a disk that fills up."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("data", [NEW, b"", bytes(range(256)) * 5000], ids=["longer", "empty", "binary"])
def test_write_replaces_the_whole_file(target: Path, data: bytes) -> None:
    atomic.write(target, data)
    assert target.read_bytes() == data
    assert only_file(target)


def test_short_writes_are_gone_on_with(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:7]))
    atomic.write(target, NEW)
    assert target.read_bytes() == NEW


def test_write_makes_a_file_that_is_not_there(target: Path) -> None:
    fresh = target.with_name("fresh.bin")
    atomic.write(fresh, NEW)
    assert fresh.read_bytes() == NEW
    assert sorted(p.name for p in target.parent.iterdir()) == ["file.bin", "fresh.bin"]


def test_a_reader_with_the_file_open_keeps_the_old_content(target: Path) -> None:
    with target.open("rb") as reader:
        atomic.write(target, NEW)
        assert reader.read() == OLD


def test_the_content_is_durable_before_the_name_and_the_name_before_the_end(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = []

    def note(name: str, what: Any) -> None:
        if name == "fsync":
            kind = "folder" if stat.S_ISDIR(os.fstat(what).st_mode) else f"{os.fstat(what).st_size} bytes"
            events.append(f"sync {kind}")
        elif name == "replace":
            events.append("rename")

    observe(monkeypatch, note)
    atomic.write(target, NEW)
    folder = [] if sys.platform == "win32" else ["sync folder"]
    assert events == [f"sync {len(NEW)} bytes", "rename", *folder]


FULL, BROKEN = OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EIO, "I/O error")


@pytest.mark.parametrize("error", [FULL, BROKEN, KeyboardInterrupt(), MemoryError()], ids=repr)
def test_any_call_may_fail(error: BaseException, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first call fail, then the second, and so on, until a write makes fewer."""
    made: list[str] = []
    for n in count(1):
        target.write_bytes(OLD)
        made.clear()

        def fail(name: str, _: Any, n: int = n) -> None:
            made.append(name)
            if len(made) == n:
                raise error

        with monkeypatch.context() as patch:
            observe(patch, fail)
            if not fails(target, type(error)):
                break
        assert target.read_bytes() == (NEW if "replace" in made[: n - 1] else OLD), made
        assert only_file(target), made
    assert {"fsync", "replace"} <= set(made) and len(made) == n - 1
    assert target.read_bytes() == NEW and only_file(target)


def fails(target: Path, kind: type[BaseException]) -> bool:
    """Tell whether a write ends with this error."""
    try:
        atomic.write(target, NEW)
    except kind:
        return True
    return False


KILLED_AT = """
import os, signal, sys
from pathlib import Path
from genctl.checkpoint import atomic

left = int(sys.argv[2])

def counted(real):
    def call(*arguments):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)
    return call

for name in ("open", "write", "fsync", "replace", "close"):
    setattr(os, name, counted(getattr(os, name)))
atomic.write(Path(sys.argv[1]), b"new" * 200)
"""


@POSIX
def test_killed_at_any_call_the_file_is_old_or_new_and_the_rest_is_cleared_away(target: Path) -> None:
    """Kill a writer at its first call, another at its second, and so on, until one makes fewer calls."""
    other = target.with_name(".mine.tmp")  # not a writer's
    other.write_text("")
    environment = {**os.environ, "PYTHONPATH": str(Path(atomic.__file__).parents[2])}
    found = []
    for n in count(1):
        target.write_bytes(OLD)
        code = subprocess.run([sys.executable, "-S", "-c", KILLED_AT, target, str(n)], env=environment).returncode
        if code == 0:
            break
        assert code == -signal.SIGKILL
        found.append(target.read_bytes())
        atomic.remove_leftovers(target.parent)
        assert sorted(target.parent.iterdir()) == [other, target]
    assert target.read_bytes() == NEW
    assert found == sorted(found, reverse=True) and set(found) == {OLD, NEW}


@POSIX
def test_a_disk_that_fills_up_leaves_the_old_file(target: Path) -> None:
    with limit(1000), pytest.raises(OSError):
        atomic.write(target, bytes(1_000_000))
    assert target.read_bytes() == OLD
    assert only_file(target)


def test_a_missing_folder_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic.write(tmp_path / "no" / "file", NEW)
    assert not (tmp_path / "no").exists()


def test_a_folder_is_not_replaced(target: Path) -> None:
    folder = target.parent
    with pytest.raises(OSError):
        atomic.write(folder, NEW)
    assert only_file(target)
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("links", [1, 2])
def test_write_goes_through_links_to_the_real_file(links: int, target: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = target
    for i in range(links):
        (elsewhere / f"link{i}").symlink_to(path)
        path = elsewhere / f"link{i}"
    atomic.write(path, NEW)
    assert path.is_symlink()
    assert target.read_bytes() == NEW and not target.is_symlink()
    assert only_file(target) and len(list(elsewhere.iterdir())) == links


def test_write_makes_the_file_that_a_link_points_to(target: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(target.with_name("later"))
    atomic.write(link, NEW)
    assert link.is_symlink() and target.with_name("later").read_bytes() == NEW


def test_the_temporary_lies_in_the_folder_of_the_real_file(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to(target)
    sources = []
    observe(monkeypatch, lambda name, what: sources.append(Path(what)) if name == "replace" else None)
    atomic.write(link, NEW)
    assert [source.parent for source in sources] == [target.parent.resolve()]
    assert sources[0].name.startswith(".") and sources[0].name.endswith(".tmp")


@POSIX
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
@pytest.mark.parametrize("write", ["write", "append_line"])
def test_the_mode_follows_the_umask(write: str, umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        atomic.write(tmp_path / "x", NEW) if write == "write" else atomic.append_line(tmp_path / "x", "line")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode


def test_append_line_adds_one_line(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    for line in ("one", "", "zwei ü"):
        atomic.append_line(path, line)
    assert path.read_bytes() == "one\n\nzwei ü\n".encode()


def test_append_line_is_one_write_with_its_newline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: written.append(bytes(data)) or real(file, data))
    atomic.append_line(tmp_path / "lines", "x" * 10_000)
    assert written == [b"x" * 10_000 + b"\n"]


@POSIX
def test_a_line_that_a_full_disk_cuts_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    atomic.append_line(path, "x" * 990)
    with limit(1000), pytest.raises(OSError):
        atomic.append_line(path, "y" * 100)
    assert path.read_text() == "x" * 990 + "\n"


def test_two_writers_do_not_overwrite_each_other(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with path.open("a") as other:
        atomic.append_line(path, "first")
        other.write("second\n")
    atomic.append_line(path, "third")
    assert path.read_text().splitlines() == ["first", "second", "third"]


def test_nothing_stays_open(tmp_path: Path) -> None:
    if not Path("/dev/fd").is_dir():
        pytest.skip("no list of open files here")
    before = len(os.listdir("/dev/fd"))
    for i in range(20):
        atomic.write(tmp_path / "x", NEW)
        atomic.append_line(tmp_path / "y", str(i))
    assert len(os.listdir("/dev/fd")) == before
