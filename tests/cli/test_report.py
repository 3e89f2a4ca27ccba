"""genctl report: what it writes where, of which runs, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import Cli, tiny_flags

from genctl import api
from genctl.cli import report
from genctl.runs import folder as run_folder
from genctl.runs.lock import lock


@pytest.fixture(scope="module")
def trained(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a short run of a VAE and of a GAN."""
    from genctl.cli.app import main

    root = tmp_path_factory.mktemp("trained")
    for model in ("vae", "gan"):
        shared = ["--dataset", str(data_folder), "--batch-size", "20", "--epochs", "2", "--threads", "1", "--quiet"]
        name = ["--out", str(root), "--device", "cpu", "--seed", "3"]
        assert main(["train", model, *tiny_flags(model, "mlp"), *shared, *name]) == 0
    return root


@pytest.fixture
def use(cli: Cli, trained: Path, tmp_path: Path) -> Cli:
    """Return the command line in a folder whose checkpoints/ holds the trained runs."""
    shutil.copytree(trained, tmp_path / "checkpoints")
    return cli


@pytest.mark.parametrize("words", [("vae",), ("vae-001",), ("checkpoints/vae-001",), ("vae-001", "vae")])
def test_the_page_of_a_run_lies_in_its_folder(use: Cli, words: tuple[str, ...]) -> None:
    Path("checkpoints/vae-001/report.html").unlink()
    answer = use("report", *words)
    assert (answer.code, answer.out) == (0, "checkpoints/vae-001/report.html\n"), answer.err
    page = Path("checkpoints/vae-001/report.html").read_text()
    for part in ("Samples", "Curves", "Manifold", "Reconstructions", "Interpolation", "Nearest training images"):
        assert f">{part}</h2>" in page, part
    assert '"layers": [{"op": "' in page and '"refresh": null' in page


def test_the_command_in_the_page_makes_the_same_weights(use: Cli, data_folder: Path) -> None:
    page = report_of(use, "vae")
    line = (
        f"genctl train vae --prior shared --latent-dim 2 --hidden 8 --epochs 2 --batch-size 20 --dataset {data_folder}"
    )
    line += " --seed 3 --device cpu --threads 1"
    assert f"<code>{line}</code>" in page
    assert use(*line.split()[1:], "--quiet").code == 0
    names = [f"checkpoints/{name}/model.safetensors" for name in ("vae-001", "vae-002")]
    assert Path(names[0]).read_bytes() == Path(names[1]).read_bytes()


def report_of(use: Cli, *words: object) -> str:
    answer = use("report", *words)
    assert answer.code == 0, answer.err
    return Path(answer.out.strip()).read_text()


def test_measurements_are_in_the_page(use: Cli) -> None:
    record = json.loads(use("eval-bpd", "vae-001", "--images", 20, "--draws", 3, "--json").out)
    quality = {"verb": "evaluate", "samples": 50, "reference_images": 40, "dataset": "bars", "split": "test"}
    quality |= {"recall": 0.25, "interval": {"recall": [0.2, 0.31]}, "floor": {"recall": 0.9}, "seed": 0}
    with Path("checkpoints/vae-001/evaluations.jsonl").open("a") as file:
        file.write(json.dumps(quality) + "\n")
    page = report_of(use, "vae-001")
    assert f"<b>{record['value']:.5g} ± {record['standard_error']:.2g} nats</b>" in page
    assert "50 samples against 40 images of bars (test)" in page
    assert "<td>0.25</td><td>0.2 to 0.31</td><td>0.9</td>" in page
    assert "<code>genctl evaluate checkpoints/vae-001 --samples 50 --seed 0</code>" in page
    line = "genctl eval-bpd checkpoints/vae-001 --split test --images 20 --draws 3 --estimator iwae --seed 0"
    assert f"<code>{line}</code>" in page


def test_several_runs_are_compared_in_the_table_of_compare(use: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    compare, found = api.compare, []
    monkeypatch.setattr(
        api, "compare", lambda *a, **k: found[0] if found else found.append(compare(*a, **k)) or found[0]
    )
    told = use("compare", "vae-001", "gan-001", "--samples", 50).out.splitlines()
    answer = use("report", "vae-001", "gan-001", "--samples", 50)
    assert (answer.code, answer.out) == (0, "report.html\n"), answer.err
    page = Path("report.html").read_text()
    for cell in (cell for line in told[:2] for cell in re.split("  +", line)[:11]):
        assert f">{cell}</t" in page, cell
    assert use("report", "gan", "vae", "--samples", 50).out == "report-2.html\n"  # an older one is not overwritten


def test_out_says_where(use: Cli) -> None:
    assert use("report", "gan", "--out", "page.html").out == "page.html\n"
    assert Path("page.html").read_bytes().startswith(b"<!doctype html>")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("vea", 4, "there is no checkpoint or run vea; `genctl runs` lists the runs."),
        ("realnvp", 4, "there is no run of realnvp; type: genctl train realnvp"),
        ("checkpoints", 4, "checkpoints is not the folder of a run: it has no readable config.json;"),
        ("vae --out page.png", 2, "--out page.png must end in .html."),
        ("vae --out gone/page.html", 3, "gone/page.html cannot be written: gone is no folder; choose another --out."),
        ("vae --samples 20", 2, "--samples is for a comparison; name several runs, or leave it out."),
        ("vae --dataset mnist", 3, "mnist is not the data set bars that checkpoints/vae-001/model.safetensors was"),
        ("", 2, "Missing argument 'RUN...'. Help: genctl report -h"),
    ],
)
def test_what_is_refused(use: Cli, words: str, code: int, said: str) -> None:
    answer = use("report", *words.split())
    assert (answer.code, answer.out) == (code, "")
    assert f"genctl: {said}" in answer.err and "Traceback" not in answer.err


def test_a_run_without_weights_or_data_has_a_page_all_the_same(use: Cli, tmp_path: Path) -> None:
    path = Path("checkpoints/gan-001/config.json")
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "train": {**about["train"], "dataset": "gone"}}))
    answer = use("report", "gan")
    assert answer.code == 0 and "warning: there is no data set or folder 'gone'." in answer.err
    Path("checkpoints/vae-001/model.safetensors").unlink()
    answer = use("report", "vae")
    assert answer.code == 0 and "warning: " in answer.err
    assert ">Samples</h2>" in Path("checkpoints/vae-001/report.html").read_text()


def test_a_hostile_folder_is_shown_as_it_is(use: Cli) -> None:
    """Names and records of a folder that somebody sent."""
    bad = "<script>alert(1)</script>"
    folder = Path("checkpoints") / "<script>alert(1)<script>"
    Path("checkpoints/vae-001").rename(folder)
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"bars"', json.dumps(bad)))
    (folder / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "step": 5, bad: 1.0}) + "\n")
    (folder / "evaluations.jsonl").write_text(json.dumps({"verb": "eval-bpd", "data": bad, "value": [bad]}) + "\n[1]\n")
    (folder / "alarms.jsonl").write_text(json.dumps({"epoch": 1, "step": 5, "alarm": bad, "over": False}) + "\n")
    for name in ("epoch-000.png", "epoch-001-means.png"):
        (folder / "samples" / name).write_bytes(b"<svg onload=alert(1)>")
    page = report_of(use, folder)
    assert page.count("<script") == 2 and page.count("</script>") == 2 and "<svg" not in page.split("<script>")[0]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_page_is_served_until_ctrl_c(use: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from genctl.page.serve import Server

    def stopped(server: Server) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", stopped)
    answer = use("report", "vae", "--serve")
    assert answer.code == 0 and answer.out.startswith("http://127.0.0.1:") and answer.out.endswith("/report.html\n")


def test_the_page_of_a_training_that_runs_is_left_to_it(use: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it serves is what the training writes: nothing is drawn beside it."""
    monkeypatch.setattr(report, "show", lambda path: None)
    run = Path("checkpoints/vae-001")
    (run / "report.html").write_text("of the training")
    lines = run_folder.read_metrics(run)
    (run / "metrics.jsonl").write_text(json.dumps(lines[0]) + "\n")
    with lock(run):
        assert use("report", "vae-001", "--serve").code == 0
        assert (run / "report.html").read_text() == "of the training"
        assert use("report", "vae-001").code == 0
    assert '"refresh": 10.0' in (run / "report.html").read_text()
