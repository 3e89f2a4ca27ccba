"""A folder in the Hub's form is a checkpoint, and no run."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import small
from conftest import Cli

from genctl import api
from genctl.runs.folder import is_model

FILES = ["README.md", "config.json", "model.safetensors", "samples.png"]


@pytest.fixture
def hub(cli: Cli, data_folder: Path, tmp_path: Path) -> Path:
    """Return checkpoints/hub, an exported model, in an otherwise empty folder."""
    small.write(tmp_path / "elsewhere" / "model.safetensors", small.FORMS["vae"], data_folder)
    (tmp_path / "checkpoints").mkdir()
    answer = cli("export", "elsewhere/model.safetensors", "--format", "hub", "--out", "checkpoints/hub")
    assert (answer.code, answer.out) == (0, "checkpoints/hub\n"), answer.err
    return tmp_path / "checkpoints" / "hub"


def test_it_is_a_checkpoint(cli: Cli, hub: Path) -> None:
    assert sorted(path.name for path in hub.iterdir()) == FILES
    files = [path.read_bytes() for path in (hub / "model.safetensors", hub.parents[1] / "elsewhere/model.safetensors")]
    assert files[0] == files[1]
    for words in (["sample", hub, "--out", "a.npz"], ["sample", "vae", "hub", "--out", "b.npz"], ["verify", hub]):
        assert cli(*words).code == 0
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()
    assert api.load(hub).manifest.step == 7


def test_it_is_no_run(cli: Cli, hub: Path, data_folder: Path) -> None:
    about = json.loads((hub / "config.json").read_text())
    assert set(about) == {"kind", "library_name", "model", "config"} and is_model(hub)
    assert cli("runs", "--json").out == "[]\n"
    for resume, code, said in (
        (hub, 4, "an exported model, and no run"),
        ("latest", 2, "there is no run of vae"),
    ):
        answer = cli("train", "vae", "--resume", resume)
        assert answer.code == code and said in answer.err
    answer = cli("sample", "vae", "--out", "x.npz")  # the newest run, and there is none
    assert answer.code == 0 and "ships with genctl" in answer.err
    assert cli("eval-bpd", hub, "--dataset", data_folder).code == 0
    assert not (hub / "evaluations.jsonl").exists()
    assert "holds an exported model" in cli("train", "--config", hub).err


def test_the_card_has_the_records_of_these_weights_alone(cli: Cli, data_folder: Path, tmp_path: Path) -> None:
    path = small.write(tmp_path / "run" / "model.safetensors", small.FORMS["flow"], data_folder)
    (path.parent / "config.json").write_text("{}")  # a run's, as far as keeping records goes
    assert cli("eval-bpd", path, "--dataset", data_folder, "-k", 2).code == 0
    kept = path.parent / "evaluations.jsonl"
    record = json.loads(kept.read_text())
    kept.write_text("".join(json.dumps(line) + "\n" for line in (record, {**record, "weights": "0" * 64, "K": 9})))
    assert cli("export", path, "--format", "hub", "--out", "away").code == 0
    card = Path("away/README.md").read_text()
    assert card.startswith("---\nlibrary_name: genctl\n")
    assert (
        f"(dequantization, K = 2) | {record['value']:.4f} ± {record['standard_error']:.4f} bits/dim | test, 40" in card
    )
    assert "| validation_nats | 12.5 | epoch 1 |" in card and "K = 9" not in card
    for words in ("## Measured", "## Data", "## Limits", record["digest"], record["weights"], "100 training images"):
        assert words in card


def test_push_uploads_the_folder(cli: Cli, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By huggingface_hub's own client, which here only listens."""
    calls: list[object] = []
    there, errors = ModuleType("huggingface_hub"), ModuleType("huggingface_hub.errors")

    class HfApi:
        def create_repo(self, repo_id: str, exist_ok: bool) -> str:
            if repo_id == "no/way":
                raise OSError("no network")
            return f"https://hub/{repo_id}"

        def upload_folder(self, repo_id: str, folder_path: str) -> None:
            calls.append((repo_id, sorted(path.name for path in Path(folder_path).iterdir())))

    there.HfApi, errors.HfHubHTTPError = HfApi, type("HfHubHTTPError", (Exception,), {})
    monkeypatch.setitem(sys.modules, "huggingface_hub", there)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    monkeypatch.setattr("genctl.export.formats.find_spec", lambda name: there)
    answer = cli("export", hub, "--format", "hub", "--out", "one", "--push", "me/vae")
    assert (answer.code, answer.out) == (0, "one\n") and "pushed to https://hub/me/vae" in answer.err
    assert calls == [("me/vae", FILES)]
    answer = cli("export", hub, "--format", "hub", "--out", "two", "--push", "no/way")
    assert answer.code == 3 and "two is written, but could not be pushed to no/way: no network" in answer.err
    shutil.rmtree("two")
