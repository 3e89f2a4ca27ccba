"""Exported programs are the model: here, in a process without genctl, and at any number of images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import small
import torch
from conftest import Cli

from genctl import api
from genctl.config import SamplingOptions
from genctl.export import agreement, formats, parts, programs
from genctl.generation import sampling

needs_onnx = pytest.mark.skipif(
    bool(formats.missing("onnx")), reason=f"not installed here: {', '.join(formats.missing('onnx'))}"
)
ALONE = """
import json, sys
import numpy
sys.modules["genctl"] = None  # importing it is an error
about = json.load(open(sys.argv[1] + "/export.json"))
given = numpy.load("inputs.npz")
for name, part in about["parts"].items():
    path = f"{sys.argv[1]}/{part['file']}"
    inputs = {each["name"]: given[f"{name}.{each['name']}"] for each in part["inputs"]}
    for each in part["inputs"]:
        assert list(inputs[each["name"]].shape[1:]) == each["shape"][1:], each
        assert str(inputs[each["name"]].dtype) == each["dtype"], each
    if about["format"] == "torch":
        import torch
        found = torch.export.load(path).module()(*map(torch.from_numpy, inputs.values())).detach().numpy()
    else:
        import onnxruntime
        (found,) = onnxruntime.InferenceSession(path).run([part["output"]], inputs)
    wanted = given[f"{name}.{part['output']}"]
    assert found.shape == wanted.shape, name
    off = abs(found - wanted).max() / max(1, abs(wanted).max())
    assert off <= 1e-5 or 255 * off <= 1.01, (name, off)
print(*sorted(about["parts"]), about["left_out"])
"""


def alone(folder: str, model: api.TrainedModel, options: SamplingOptions, n: int) -> str:
    """Run all exported parts in a process that cannot import genctl, and compare them with the model; what it says."""
    given: dict[str, numpy.ndarray] = {}
    for part in parts.parts_of(model.module, options):
        inputs = {name: x[:1].expand(n, *x.shape[1:]) if n > len(x) else x[:n] for name, x in part.inputs.items()}
        with torch.no_grad():
            given[f"{part.name}.{part.output}"] = part.module(*inputs.values()).numpy()
        given |= {f"{part.name}.{name}": x.numpy() for name, x in inputs.items()}
    numpy.savez("inputs.npz", **given)
    words = [sys.executable, "-W", "ignore", "-c", ALONE, folder]
    answer = subprocess.run(words, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


FORMATS = ["torch", pytest.param("onnx", marks=needs_onnx)]
EVERYTHING = "decoder encoder log_density sampler {}"


@pytest.mark.parametrize(
    ("form", "name", "wanted"),
    [("torch", "vae", "log_density sampler"), pytest.param("onnx", "gan", "sampler", marks=needs_onnx)],
)
def test_programs_draw_what_genctl_draws(
    cli: Cli, small_weights: Path, monkeypatch: pytest.MonkeyPatch, form: str, name: str, wanted: str
) -> None:
    """In a process without genctl, of 65 images: a number that it was not checked with. The other parts are slow."""

    def some(*given: Any) -> list[parts.Part]:
        return [part for part in everything(*given) if part.name in wanted.split()]

    everything = parts.parts_of
    monkeypatch.setattr("genctl.export.write.parts_of", some)
    path = small_weights / f"{name}.safetensors"
    answer = cli("export", path, "--format", form, "--out", "away", "--temperature", 0.5)
    assert (answer.code, answer.out) == (0, "away\n"), answer.err
    about = json.loads(Path("away/export.json").read_text())
    model = api.load(path)
    cold = model.options({"temperature": 0.5})
    assert about["sampling"]["temperature"] == 0.5
    assert all(part["checked"]["batches"] == [1, 7, 64] for part in about["parts"].values())
    files = {part["file"] for part in about["parts"].values()}
    assert {path.name for path in Path("away").iterdir()} == {"export.json"} | files
    part = next(part for part in parts.parts_of(model.module, cold) if part.name == "sampler")
    with torch.no_grad():
        assert torch.allclose(part.module(*part.inputs.values()), sampling.sample(model.module, 64, 0, cold), atol=1e-6)
    assert alone("away", model, cold, 65) == f"{wanted} {{}}"


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", small.FORMS)
def test_every_form_leaves_whole(cli: Cli, small_weights: Path, form: str, name: str) -> None:
    path = small_weights / f"{name}.safetensors"
    answer = cli("export", path, "--format", form, "--out", "away")
    assert answer.code == 0, answer.err
    said = "decoder sampler {}" if name == "gan" else EVERYTHING
    assert alone("away", api.load(path), api.load(path).options({}), 1) == said


@pytest.mark.parametrize("name", [name for name in small.FORMS if name != "gan"])
def test_the_density_that_leaves_is_the_likelihood(small_weights: Path, name: str) -> None:
    """log_weight of the noise that log_weights draws is what that returns."""
    model = api.load(small_weights / f"{name}.safetensors").module
    x, y = torch.arange(64 * 5).reshape(5, 1, 8, 8).to(torch.uint8), torch.tensor([0, 1, 2, 3, 0])
    (each,) = model.weight_noise
    drawn = torch.empty(1, 5, *each.shape)
    noise = torch.Generator().manual_seed(3)
    drawn.normal_(generator=noise) if each.kind == "normal" else drawn.uniform_(generator=noise)
    estimator = model.config.estimators[0].name
    with torch.no_grad():
        wanted = model.log_weights(x, 1, torch.Generator().manual_seed(3), estimator, y)[0]
        assert torch.allclose(model.log_weight(x, [drawn[0]], y), wanted, rtol=1e-6)


def part_of(function, x: torch.Tensor, output: str = "z") -> parts.Part:
    """Return a part of a function of x alone."""
    model = torch.nn.Linear(1, 1)
    model.config = type("Config", (), {"classes": 0})
    module = parts.Function(model, lambda m, inputs, y: function(inputs[0]))
    return parts.Part("part", module, {"x": x}, {"x": "normal"}, output)


def test_a_program_of_one_batch_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what an exporter makes of len(x) where it is not asked; strict tracing is the second try."""
    part = part_of(lambda x: 2 * x, torch.randn(64, 3))
    assert programs._is_free(programs.traced(part))
    fixed, tried = torch.export.export(part.module, (torch.randn(5, 3),)), []

    def export(*_, strict: bool, **__):
        tried.append(strict)
        return fixed

    monkeypatch.setattr(torch.export, "export", export)
    with pytest.raises(agreement.Differs, match="its batch size became 5"):
        programs.traced(part)
    assert tried == [False, True]


grey, x64 = (lambda x: (255 * x).round() / 255), torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("function", "output", "change", "agrees"),
    [
        (lambda x: 100 * x, "latents", lambda y: y + 0.0009, True),  # relative to the largest value
        (lambda x: 100 * x, "latents", lambda y: y + 0.0011, False),
        (lambda x: x, "images", lambda y: y + 2e-5, False),
        (grey, "images", lambda y: y + 1 / 255, True),
        (grey, "images", lambda y: y + 2 / 255, False),
        (grey, "latents", lambda y: y + 1 / 255, False),
        (lambda x: x, "latents", lambda y: y[:5], False),
        (lambda x: x, "latents", lambda y: y * torch.nan, False),
    ],
)
def test_what_agrees_and_what_does_not(function, output: str, change, agrees: bool) -> None:
    part = part_of(function, x64, output)
    if agrees:
        assert agreement.check(part, lambda inputs: change(function(inputs[0]))).largest > 0
    else:
        with pytest.raises(agreement.Differs):
            agreement.check(part, lambda inputs: change(function(inputs[0])))


def test_where_float32_is_the_limit_as_near_as_the_model_is_enough() -> None:
    def lossy(x: torch.Tensor) -> torch.Tensor:
        return ((x + 1e4) - 1e4).to(x.dtype)  # float32 has a thousandth there

    part = part_of(lossy, x64, "latents")
    assert agreement.check(part, lambda inputs: inputs[0]).largest > 1e-4
    with pytest.raises(agreement.Differs):
        agreement.check(part, lambda inputs: inputs[0] + 0.01)


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("options", [{}, {"unitriangular": True}, {"left": False}])
def test_a_triangular_solve_is_substitution(upper: bool, options: dict[str, bool]) -> None:
    """ONNX has no operation for it."""
    A, B = torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    A = A.triu() if upper else A.tril()
    if "unitriangular" in options:
        A.diagonal().fill_(1)
    wanted = torch.linalg.solve_triangular(A, B, upper=upper, **options)
    assert torch.allclose(programs.solve_triangular(A, B, upper=upper, **options), wanted, rtol=1e-9)


@needs_onnx
def test_what_onnx_has_no_word_for_is_left_out(cli: Cli, small_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def export(*_, **__):
        raise NotImplementedError("no function\nfor aten.fancy")

    monkeypatch.setattr(torch.onnx, "export", export)
    answer = cli("export", small_weights / "gan.safetensors", "--format", "onnx", "--out", "away")
    assert answer.code == 2
    why = "torch.onnx cannot translate it (NotImplementedError: no function for aten.fancy)"
    assert f"warning: the sampler is left out: {why}." in answer.err
    assert "nothing of gan can be exported as onnx" in answer.err and not Path("away").exists()


def test_a_part_that_cannot_leave_is_left_out(cli: Cli, small_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(part: parts.Part, run) -> agreement.Agreement:
        if part.name == "sampler":
            raise agreement.Differs("for 7 images it is off by 0.5")
        return agreement.Agreement(0.0, 0.0)

    def save(program, part: parts.Part, path: Path) -> None:
        path.touch()

    monkeypatch.setattr("genctl.export.write.traced", lambda part: None)
    monkeypatch.setitem(programs.SAVE, "torch", save)
    monkeypatch.setattr("genctl.export.agreement.check", check)
    answer = cli("export", small_weights / "gan.safetensors", "--format", "torch", "--out", "away")
    assert answer.code == 0
    assert "warning: the sampler is left out: for 7 images it is off by 0.5." in answer.err
    assert sorted(path.name for path in Path("away").iterdir()) == ["decoder.pt2", "export.json"]
    monkeypatch.setattr("genctl.export.write.parts_of", lambda *_: [])
    answer = cli("export", small_weights / "gan.safetensors", "--format", "torch", "--out", "other")
    assert (answer.code, Path("other").exists(), list(Path().glob(".*tmp"))) == (2, False, [])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("export gan", 2, "Missing option '--format'."),
        ("export gan --format onx --out x", 2, "--format is one of onnx, torch, hub; not 'onx'."),
        ("export gan --format torch", 2, "Missing option '--out'."),
        ("export gan --format torch --out nowhere/x", 3, "nowhere is no folder; choose another --out."),
        ("export gan --format torch --out file", 2, "file exists; choose another --out."),
        ("export gan --format torch --out .", 2, ". exists; choose another --out."),
        ("export gan --format torch --out x --push a/b", 2, "--push is for --format hub, not for torch; leave it out."),
        ("export gan --format torch --out x --means", 2, "--means is for vae, not for gan; leave it out."),
    ],
)
def test_what_is_refused(cli: Cli, tmp_path: Path, words: str, code: int, said: str) -> None:
    (tmp_path / "file").touch()
    answer = cli(*words.split())
    assert (answer.code, answer.out, said in answer.err) == (code, "", True), answer.err
    assert not Path("x").exists()


def test_an_extra_that_is_missing_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    for words, extra in ((["--format", "onnx"], "onnx"), (["--format", "hub", "--push", "a/b"], "hub")):
        answer = cli("export", "gan", "--out", "x", *words)
        assert answer.code == 2 and f"pip install 'genctl[{extra}]'" in answer.err
