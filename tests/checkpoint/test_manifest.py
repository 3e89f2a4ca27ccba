"""A checkpoint's header: canonical, sealed by a digest over every bit, and read without trusting it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from genctl.checkpoint import manifest, sealing
from genctl.checkpoint.manifest import Manifest
from genctl.errors import CheckpointError, Edited

PATH = Path("some.safetensors")
ABOUT = Manifest(
    model="vae",
    config={"latent_dim": 2, "arch": "mlp"},
    train={"lr": 0.001},
    shape=(1, 2, 2),
    dataset={"name": "bars", "digest": "d"},
    role="weights",
    step=3,
    epoch=1,
)
SMALL = manifest.seal(safetensors.torch.save({"w": torch.arange(4.0), "n": torch.tensor([7])}), ABOUT)
LENGTH = int.from_bytes(SMALL[:8], "little")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs")
FUZZ = settings(max_examples=150, deadline=None, database=None)


def check(data: bytes) -> manifest.Header:
    """Read a file's bytes as strictly as a load does."""
    header = manifest.parse(data, len(data), PATH)
    manifest.verify(io.BytesIO(data), header, PATH)
    return header


def file_of(text: bytes, payload: bytes) -> bytes:
    """Return a safetensors file with any header."""
    return len(text).to_bytes(8, "little") + text + payload


def forge(tensors: Any, payload: bytes = bytes(8)) -> bytes:
    """Return a file that carries a good manifest beside these entries, sealed with the right digest."""
    metadata = {"genctl": ABOUT.to_json(), "sha256": sealing.NO_DIGEST}
    blank = file_of(json.dumps({"__metadata__": metadata, **tensors}, separators=(",", ":")).encode(), payload)
    return blank.replace(sealing.NO_DIGEST.encode(), hashlib.sha256(blank).hexdigest().encode(), 1)


def entry(start: Any, stop: Any, shape: Any, dtype: Any = "F32") -> dict[str, Any]:
    """Return a tensor's entry in a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def test_what_was_sealed_is_read_back() -> None:
    header = check(SMALL)
    assert header.manifest == ABOUT
    assert header.size == 8 + LENGTH
    assert header.tensors["w"]["shape"] == [4] and header.tensors["n"]["dtype"] == "I64"


def test_the_tensors_bytes_pass_through_untouched() -> None:
    tensors = safetensors.torch.load(SMALL)
    assert tensors["w"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert tensors["n"].tolist() == [7]


def test_the_digest_is_the_sha256_of_the_file_with_the_digest_zeroed() -> None:
    claimed = check(SMALL).digest.encode()
    assert SMALL.count(claimed) == 1
    assert hashlib.sha256(SMALL.replace(claimed, b"0" * 64)).hexdigest().encode() == claimed


def test_the_header_is_canonical() -> None:
    text = SMALL[8 : 8 + LENGTH]
    header = json.loads(text)
    offsets = [value["data_offsets"] for key, value in header.items() if key != "__metadata__"]
    assert next(iter(header)) == "__metadata__" and list(header["__metadata__"]) == ["genctl", "sha256"]
    assert offsets == sorted(offsets)
    assert LENGTH % 8 == 0
    assert text.rstrip(b" ") == json.dumps(header, separators=(",", ":")).encode()


def test_sealing_again_changes_nothing() -> None:
    assert manifest.seal(SMALL, ABOUT) == SMALL


def test_the_order_of_tensors_and_options_leaves_no_trace() -> None:
    tensors = {"n": torch.tensor([7]), "w": torch.arange(4.0)}
    turned = replace(ABOUT, config=dict(reversed(ABOUT.config.items())))
    assert manifest.seal(safetensors.torch.save(tensors, {"any": "thing"}), turned) == SMALL


@pytest.mark.parametrize("field", [name for name in asdict(ABOUT) if name != "format"])
def test_every_field_is_part_of_the_bytes(field: str) -> None:
    other: dict[str, Any] = {"shape": (3, 2, 2), "model": "gan", "role": "state", "step": 4, "epoch": 2}
    other |= {"dataset": {"name": "bars", "digest": "e"}, "versions": {"torch": "2"}}
    changed = manifest.seal(SMALL, replace(ABOUT, **{field: other.get(field, {"other": 1})}))
    assert check(changed).digest != check(SMALL).digest


def test_a_number_that_is_not_finite_is_never_written() -> None:
    with pytest.raises(ValueError):
        replace(ABOUT, metrics={"loss": float("nan")}).to_json()


def test_every_flipped_bit_is_found() -> None:
    unnoticed = []
    for bit in range(8 * len(SMALL)):
        data = bytearray(SMALL)
        data[bit // 8] ^= 1 << bit % 8
        try:
            check(bytes(data))
            unnoticed.append(bit)
        except CheckpointError:
            pass
    assert unnoticed == []


def test_every_truncation_is_found() -> None:
    for length in range(len(SMALL)):
        with pytest.raises(CheckpointError):
            manifest.parse(SMALL[:length], length, PATH)


@pytest.mark.parametrize("extra", [b"\0", b"x" * 100, SMALL])
def test_bytes_after_the_end_are_found(extra: bytes) -> None:
    with pytest.raises(CheckpointError, match="cut short or too long"):
        check(SMALL + extra)


def test_a_file_cut_short_says_so_before_its_tensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(SMALL[:-1])
    with pytest.raises(CheckpointError, match="cut short"):
        manifest.read(path)


def test_forge_is_sound_itself() -> None:
    good = {"a": entry(0, 4, [1]), "b": entry(4, 8, [1])}
    assert check(forge(good)).tensors == good


@pytest.mark.parametrize(
    "tensors",
    [
        pytest.param({"a": entry(0, 4, [1]), "b": entry(0, 8, [2])}, id="overlap"),
        pytest.param({"a": entry(0, 4, [1]), "b": entry(0, 4, [1])}, id="the same place twice"),
        pytest.param({"b": entry(4, 8, [1])}, id="hole at the start"),
        pytest.param({"a": entry(0, 4, [1])}, id="hole at the end"),
        pytest.param({"a": entry(0, 12, [3])}, id="beyond the end"),
        pytest.param({"a": entry(8, 0, [2])}, id="backwards"),
        pytest.param({"a": entry(-8, 0, [2])}, id="negative place"),
        pytest.param({"a": entry(0, 8, [-1, -2])}, id="negative shape"),
        pytest.param({"a": entry(0, 8, [3])}, id="shape that does not fit"),
        pytest.param({"a": entry(0, 8, [2.0])}, id="shape of floats"),
        pytest.param({"a": entry(0, 8, [True, 2])}, id="shape of booleans"),
        pytest.param({"a": entry(0, 8, {}, "F64")}, id="shape that is an object"),
        pytest.param({"a": entry(0, 8, "", "F64")}, id="shape that is a string"),
        pytest.param({"a": entry(0.0, 8, [2])}, id="place that is a float"),
        pytest.param({"a": entry("0", "8", [2])}, id="place that is a string"),
        pytest.param({"a": entry(0, 8, [2], "F31")}, id="unknown dtype"),
        pytest.param({"a": entry(0, 8, [2], ["F32"])}, id="dtype that is a list"),
        pytest.param({"a": {"dtype": "F32", "shape": [2]}}, id="no place"),
        pytest.param({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, id="no shape"),
        pytest.param({"a": {"shape": [2], "data_offsets": [0, 8]}}, id="no dtype"),
        pytest.param({"a": {**entry(0, 8, [2]), "data_offsets": [0, 4, 8]}}, id="three ends"),
        pytest.param({"a": {**entry(0, 8, [2]), "data_offsets": None}}, id="place that is null"),
        pytest.param({"a": [0, 8]}, id="entry that is a list"),
        pytest.param({"a": "F32"}, id="entry that is a string"),
        pytest.param({"a": {"b": entry(0, 8, [2])}}, id="nested entries"),
        pytest.param({"a": {**entry(0, 8, [2]), "x": 1}}, id="an extra key"),
        pytest.param({"a": entry(0, 8, [2]), "b": entry(8, 8, [2**30, 2**30, 2**30, 0])}, id="a shape that overflows"),
        pytest.param({"a": entry(0, 8, [2]), "b": entry(8, 8, [0, *[2**30] * 10_000])}, id="a shape without end"),
        pytest.param({}, id="no tensor for the bytes"),
    ],
)
def test_forged_entries_are_refused(tensors: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="not a sound safetensors file"):
        check(forge(tensors))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'"text"', id="string"),
        pytest.param(b"5", id="number"),
        pytest.param(b"null", id="null"),
        pytest.param(b"{", id="not JSON"),
        pytest.param(b'{"a":1} x', id="text behind"),
        pytest.param(b"[" * 100_000, id="nested without end"),
        pytest.param(b'{"a":' * 100_000, id="nested objects without end"),
        pytest.param(b'{"\xff\xfe":1}', id="not UTF-8"),
        pytest.param(b'{"\xed\xa0\x80":1}', id="a surrogate in UTF-8"),
        pytest.param("{}".encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"a":%s}' % (b"9" * 5000), id="a number of 5,000 digits"),
        pytest.param(b'{"a":%s}' % (b"[" * 300 + b"]" * 300), id="nested 300 deep"),
        pytest.param(b'{"a":1e999}', id="a number beyond all"),
        pytest.param(b'{"__metadata__":{"a":"\\ud800"}}', id="half a surrogate pair"),
        pytest.param(b'{"__metadata__":[]}', id="metadata that is a list"),
        pytest.param(b'{"__metadata__":null}', id="metadata that is null"),
        pytest.param(b'{"__metadata__":{"genctl":5}}', id="manifest that is no text"),
        pytest.param(b'{"__metadata__":{"genctl":"{}"}}', id="manifest without fields"),
    ],
)
def test_forged_headers_are_refused(text: bytes) -> None:
    with pytest.raises(CheckpointError):
        check(file_of(text, b""))


@pytest.mark.parametrize("length", [LENGTH + len(SMALL), 2**23 + 1, 2**40, 2**63, 2**64 - 1])
def test_an_impossible_length_is_refused_without_being_read(length: int) -> None:
    data = length.to_bytes(8, "little") + SMALL[8:]
    with pytest.raises(CheckpointError, match="does not fit"):
        manifest.parse(data, len(data), PATH)


def test_a_header_over_the_limit_is_refused() -> None:
    text = b"{}" + b" " * manifest.MOST_HEADER_BYTES
    with pytest.raises(CheckpointError, match="does not fit"):
        check(file_of(text, b""))


def test_too_many_tensors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MOST_TENSORS", 1)
    with pytest.raises(CheckpointError, match="too many"):
        check(SMALL)


@pytest.mark.parametrize("key", ["w", "__metadata__"])
def test_a_key_that_stands_twice_is_refused(key: str) -> None:
    text = SMALL[8 : 8 + LENGTH].rstrip()
    again = json.dumps({key: json.loads(text)[key]}).encode()
    data = file_of(text[:-1] + b"," + again[1:], SMALL[8 + LENGTH :])
    with pytest.raises(CheckpointError, match="twice"):
        check(data)


def test_a_header_without_a_digest_is_refused() -> None:
    data = file_of(json.dumps({"__metadata__": {"genctl": ABOUT.to_json()}}).encode(), b"")
    with pytest.raises(CheckpointError, match="digest"):
        check(data)


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580, 0x4B50])
def test_no_header_length_is_taken_for_a_pickle(length: int) -> None:
    """A header of these lengths begins with the bytes of a pickle or a zip, which a length may do."""
    empty = manifest.seal(file_of(b'{"w":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}', bytes(4)), bare(""))
    missing = length - int.from_bytes(empty[:8], "little")
    assert missing >= 0
    sealed = manifest.seal(empty, bare("x" * missing))
    assert int.from_bytes(sealed[:8], "little") == length
    assert check(sealed).manifest == bare("x" * missing)


def bare(padding: str) -> Manifest:
    """Return a manifest as short as can be, and any longer one."""
    data = {"name": "", "digest": ""}
    return Manifest(model="m", config={}, train={}, shape=(1, 1, 1), dataset=data, role=padding, step=0, epoch=0)


@pytest.mark.parametrize("text", ["[]", "5", "null", '"vae"', "", "{", "NaN", "[" * 100_000])
def test_a_manifest_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError, match="manifest"):
        check(with_manifest(text))


def with_manifest(text: str) -> bytes:
    """Return a file whose manifest is this text."""
    metadata = {"genctl": text, "sha256": sealing.NO_DIGEST}
    return file_of(json.dumps({"__metadata__": metadata}, separators=(",", ":")).encode(), b"")


@pytest.mark.parametrize("field", ["model", "config", "train", "shape", "dataset", "role", "step", "epoch"])
def test_a_manifest_that_lacks_a_field_is_refused(field: str) -> None:
    values = {name: value for name, value in asdict(ABOUT).items() if name != field}
    with pytest.raises(CheckpointError, match=f"unreadable manifest.*{field}"):
        check(with_manifest(json.dumps(values)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ["vae"]),
        ("model", None),
        ("config", ["arch"]),
        ("train", "lr"),
        ("dataset", None),
        ("role", 1),
        ("step", "3"),
        ("epoch", 1.5),
        ("metrics", [1]),
        ("metrics", {"loss": "1"}),
        ("metrics", {"loss": None}),
        ("metrics", {"loss": [1]}),
        ("progress", {"seconds": "1"}),
        ("progress", {"best": "1"}),
        ("versions", {"torch": 2}),
        ("config", {"hidden": [8]}),
        ("train", {"train_size": "10"}),
        ("train", {"train_size": 10.0}),
        ("train", {"validation": [10]}),
        ("train", {"validation": 0}),
        ("dataset", {}),
        ("dataset", {"name": "bars"}),
        ("dataset", {"digest": "d"}),
        ("dataset", {"name": 5, "digest": "d"}),
        ("dataset", {"name": None, "digest": "d"}),
        ("dataset", {"name": "bars", "digest": "d", "train_images": "abc"}),
        ("step", -1),
        ("step", 2**60),
        ("step", True),
        ("progress", 0),
        ("versions", "0.1"),
        ("shape", 5),
        ("shape", [28, 28]),
        ("shape", ["1", "28", "28"]),
        ("shape", [1, 0, 28]),
        ("shape", [1, -28, 28]),
        ("shape", [1, 2**31 - 1, 2**31 - 1]),
        ("shape", [1, 4097, 4096]),
        ("shape", [2] * 10_000),
        ("format", "1"),
        ("format", None),
        ("format", [1]),
    ],
)
def test_a_field_of_the_wrong_type_is_refused(field: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match="unreadable manifest"):
        check(with_manifest(json.dumps({**asdict(ABOUT), field: value})))


def test_a_newer_format_is_refused_and_says_what_to_do() -> None:
    newer = manifest.seal(SMALL, replace(ABOUT, format=manifest.FORMAT + 1))
    with pytest.raises(CheckpointError, match=r"newer.*upgrade"):
        check(newer)


def test_an_unknown_field_of_the_same_format_is_ignored() -> None:
    assert Manifest.from_json(json.dumps({**asdict(ABOUT), "colour": "red"})) == ABOUT


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"w": torch.zeros(2)}, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match="not one of genctl's"):
        manifest.read(path)


def test_reading_the_manifest_reads_the_header_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "big.safetensors"
    sealed = manifest.seal(safetensors.torch.save({"w": torch.zeros(100_000)}), ABOUT)
    path.write_bytes(sealed)
    seen: list[int] = []
    parse = manifest.parse
    monkeypatch.setattr(manifest, "parse", lambda data, *rest: seen.append(len(data)) or parse(data, *rest))
    assert manifest.read(path) == ABOUT
    assert seen == [8 + int.from_bytes(sealed[:8], "little")]


def sparse(path: Path, claimed: int, size: int) -> Path:
    """Write a file whose header claims so many bytes of one tensor, and which has this size, mostly a hole."""
    blank = forge({"a": entry(0, claimed, [claimed // 4])}, b"")
    path.write_bytes(blank)
    os.truncate(path, len(blank) + size)
    return path


def test_a_huge_file_is_refused_by_its_header(tmp_path: Path) -> None:
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="cut short or too long"):
        manifest.check(sparse(tmp_path / "x.safetensors", 8, 10 << 30))
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


def test_a_file_is_digested_in_pieces(tmp_path: Path) -> None:
    size = 12 * sealing.PIECE
    tracemalloc.start()
    with pytest.raises(Edited):
        manifest.check(sparse(tmp_path / "x.safetensors", size, size))
    assert tracemalloc.get_traced_memory()[1] < 3 * sealing.PIECE
    tracemalloc.stop()


@pytest.fixture
def soon() -> Iterator[None]:
    """Fail rather than wait without end."""

    def late(*_: Any) -> None:
        raise AssertionError("it waits")

    if sys.platform == "win32":
        yield
        return
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.mkdir(), "not a regular file"),
        pytest.param(lambda path: os.mkfifo(path), "not a regular file", marks=POSIX),
        pytest.param(lambda path: path.symlink_to("/dev/null"), "not a regular file", marks=POSIX),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99)), "not a checkpoint"),
        (lambda path: path.symlink_to(path), "cannot be read"),
        (lambda path: path.write_bytes(b""), "not a checkpoint"),
    ],
    ids=["missing", "directory", "FIFO", "device", "picture", "circular link", "empty"],
)
def test_what_is_no_file_is_refused_at_once(make: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    make(path)
    for read in (manifest.read, manifest.read_header, manifest.check):
        with pytest.raises(CheckpointError, match=words):
            read(path)


@FUZZ
@given(st.binary(max_size=300))
@example(b"\x02" + bytes(7) + b"{}")
def test_fuzz_no_bytes_bring_another_error(data: bytes) -> None:
    with pytest.raises(CheckpointError):
        check(data)


@FUZZ
@given(st.integers(0, len(SMALL)), st.integers(0, 40), st.binary(max_size=40))
def test_fuzz_every_mutation_is_found(place: int, cut: int, new: bytes) -> None:
    data = SMALL[:place] + new + SMALL[place + cut :]
    if data != SMALL:
        with pytest.raises(CheckpointError):
            check(data)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
names = st.text(max_size=3)
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))
numbers = st.integers(-1, 8) | anything
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*manifest.BYTES_OF, "?"]) | anything,
        "shape": st.lists(numbers, max_size=3) | anything,
        "data_offsets": st.lists(numbers, min_size=2, max_size=2) | anything,
    }
)


@FUZZ
@given(st.dictionaries(names, entries | anything, max_size=3), st.binary(max_size=8))
def test_fuzz_entries_are_refused_or_readable_by_safetensors(tensors: dict[str, Any], payload: bytes) -> None:
    data = forge(tensors, payload)
    try:
        check(data)
    except CheckpointError:
        return
    safetensors.torch.load(data)


tokens = st.sampled_from(
    [
        *(
            "0",
            "8",
            "2",
            "-0",
            "1",
            "1e0",
            "8.0",
            "08",
            "+8",
            "1e999",
            "-1e999",
            "NaN",
            "null",
            "true",
            '"8"',
            "[" * 200,
        ),
        *(
            "1073741824",
            "18446744073709551616",
            "9223372036854775808",
            "9" * 500,
            "{}",
            '"\\ud800"',
            '"\\ud83d\\ude00"',
        ),
    ]
)
spaces = st.sampled_from(["", " ", "\n", "\t", "\f", "\u00a0", "\ufeff", "\0"])


@FUZZ
@given(tokens, tokens, st.lists(tokens, max_size=4), spaces, spaces, st.sampled_from(["", ',"x":%s', ',"dtype":"F32"']))
@example("0", "8", ["1073741824"] * 3 + ["0"], "", "", "")
@example("0", "8", ["2"], "", "", "")
@example("0", "8", ["2"], "", " ", "")
@example("-0", "8", ["2"], "", "", "")
@example("0", "8", ["2"], " ", "", "")
@example("0", "8", ["2"], "", "", ',"x":%s')
@example("1e999", "8", ["2"], "", "", ',"x":%s')
def test_a_header_that_safetensors_refuses_is_refused(
    start: str, stop: str, shape: list[str], before: str, after: str, more: str
) -> None:
    """Two readers of one format, the other one written in another language."""
    metadata = json.dumps({"genctl": ABOUT.to_json(), "sha256": sealing.NO_DIGEST}, separators=(",", ":"))
    own = f'{{"dtype":"F32","shape":[{",".join(shape)}],"data_offsets":[{start},{stop}]{more.replace("%s", start)}}}'
    blank = file_of(f'{before}{{"__metadata__":{metadata},"a":{own}}}{after}'.encode(), bytes(8))
    data = blank.replace(sealing.NO_DIGEST.encode(), hashlib.sha256(blank).hexdigest().encode(), 1)
    try:
        check(data)
    except CheckpointError:
        return
    assert safetensors.torch.load(data)["a"].numel() == 2


@FUZZ
@given(st.dictionaries(st.text(max_size=9), st.sampled_from([torch.float32, torch.bool, torch.int64]), max_size=4))
def test_what_safetensors_writes_is_read(names: dict[str, torch.dtype]) -> None:
    plain = safetensors.torch.save({name: torch.ones(i, 2).to(t) for i, (name, t) in enumerate(names.items())})
    assert check(manifest.seal(plain, ABOUT)).tensors.keys() == names.keys()


@FUZZ
@given(st.dictionaries(st.sampled_from(list(asdict(ABOUT))), anything))
def test_fuzz_manifests_bring_no_other_error(values: dict[str, Any]) -> None:
    try:
        manifest.parse(data := with_manifest(json.dumps({**asdict(ABOUT), **values})), len(data), PATH)
    except CheckpointError as error:
        assert str(PATH) in str(error)
