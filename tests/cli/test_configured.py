"""Files of settings: what they choose, what they are refused for, and those that are behind the results."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from conftest import Cli, tiny_flags

from genctl.models import registry
from genctl.runs import settings

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))
RECORDS = {
    Path(record["checkpoint"]).stem: record
    for record in map(json.loads, (ROOT / "docs/records/weights.jsonl").read_text().splitlines())
}

REFUSED = [  # the file, the arguments before --config FILE, the exit code, what is said
    ('model = "vae"\nepoch = 3', "train", 2, "x.toml: vae has no option epoch. Did you mean epochs?"),
    ('model = "vae"\nlatent_dim = 3', "train", 2, "Did you mean latent-dim?"),
    ('model = "vae"\nepochs = "3"', "train", 2, "x.toml: epochs must be a whole number, not '3'."),
    ('model = "vae"\nepochs = 0', "train", 2, "x.toml: epochs must be at least 1; not 0."),
    ('model = "vae"\nlr = nan', "train", 2, "x.toml: lr must be a finite number; not nan."),
    ('model = "vae"\narch = "cnn"', "train", 2, "x.toml: arch is one of mlp, conv, ladder; not 'cnn'."),
    ('model = "vae"\nlevels = 3', "train", 2, "--levels belongs to --arch ladder, not to --arch mlp."),
    ('model = "vae"\n[train]\nepochs = 3', "train", 2, "vae has no option train."),
    ('model = "vea"', "train", 2, "there is no model 'vea'. Did you mean vae?"),
    ('model = "vae"', "train gan", 2, "x.toml holds settings of vae, not of gan"),
    ("epochs = 3", "train", 2, "x.toml names no model"),
    ("epochs = 3\nepochs = 4", "train vae", 3, "x.toml is no TOML file that genctl reads"),
    ("epochs = " + "[" * 2000, "train vae", 3, "x.toml is no TOML file that genctl reads"),
]


@pytest.mark.parametrize(("text", "words", "code", "said"), REFUSED, ids=[row[3][:40] for row in REFUSED])
def test_what_a_file_is_refused_for(cli: Cli, tmp_path: Path, text: str, words: str, code: int, said: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    answer = cli(*words.split(), "--config", "x.toml", "--print-config")
    assert (answer.code, answer.out, answer.err.count("\n")) == (code, "", 1)
    assert said in answer.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("train --config", 2, "--config needs a file"),
        ("train --config gone.toml", 3, "gone.toml cannot be read: No such file or directory"),
        ("train vae --config gone.json", 3, "gone.json is not the config.json of a run"),
        ("train vae --resume latest --print-config", 2, "--print-config is for a new run"),
    ],
)
def test_what_is_no_file_of_settings(cli: Cli, words: str, code: int, said: str) -> None:
    answer = cli(*words.split())
    assert (answer.code, answer.out) == (code, "") and said in answer.err


def test_flags_go_over_the_file_and_the_file_over_defaults(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('model = "vae"\nepochs = 7\nhidden = 9\nlr = 1\nname = "a \\"b\\""\n')
    answer = cli("train", "--epochs", 8, "--config=x.toml", "--print-config")
    found = tomllib.loads(answer.out)
    assert (found["model"], found["epochs"], found["hidden"], found["name"]) == ("vae", 8, 9, 'a "b"')
    assert (found["lr"], found["batch-size"], found["start-at-mean"]) == (1.0, 128, True)
    other = cli("train", "vae", "--arch", "conv", "--config", "x.toml", "--print-config")
    assert other.err == "left out of x.toml, as options of another form: --hidden\n"
    assert "hidden" not in tomllib.loads(other.out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.toml"]  # nothing was trained


@pytest.mark.parametrize("model", registry.BUILT_IN)
def test_what_is_printed_is_a_file_of_the_same_options(cli: Cli, tmp_path: Path, model: str) -> None:
    first = cli("train", model, "--print-config", "--seed", 3)
    (tmp_path / "x.toml").write_text(first.out)
    assert cli("train", "--config", "x.toml", "--print-config").out == first.out


def test_a_run_is_made_anew_from_its_config(cli: Cli, data_folder: Path) -> None:
    words = ["--dataset", data_folder, "--batch-size", 20, "--epochs", 1, "--quiet", "--out", "here", "--threads", 1]
    assert cli("train", "vae", *tiny_flags("vae", "conv"), *words, "--name", "one").code == 0
    again = cli("train", "--config", "here/one/config.json", "--quiet", "--name", "two")
    assert again.code == 0, again.err
    files = [Path(folder, "model.safetensors").read_bytes() for folder in ("here/one", "checkpoints/two")]
    assert files[0] == files[1]
    about = json.loads(Path("here/one/config.json").read_text())
    about["extensions"] = [{"step": 6, "epochs": 2, "how": "hold"}]
    Path("here/one/config.json").write_text(json.dumps(about))
    answer = cli("train", "--config", "here/one", "--print-config")
    assert (answer.code, "here/one was extended after 1 epochs" in answer.err) == (0, True)


TEXTS = ["", "a b", 'say "x"', "back\\slash", "line\nend\t\x00\x1f\x7f", "é \u200d \u2028 \U0001f600"]


@pytest.mark.parametrize("value", [*TEXTS, True, False, 0, -(2**63), 2**63 - 1, 1.0, 1e-5, 0.1, 1e22, -2.5e-300])
def test_a_value_comes_back_from_toml(value: bool | int | float | str) -> None:
    back = tomllib.loads(f"x = {settings.literal(value)}")["x"]
    assert (type(back), repr(back)) == (type(value), repr(value))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_settings_behind_the_results(path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is accepted, says its own command, and has the options that the weights of its row record."""
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "pixelcnn"))
    monkeypatch.setitem(registry.BUILT_IN, "pixelcnn", "pixelcnn.config:PixelCNNConfig")
    answer = cli("train", "--config", path, "--print-config")
    assert answer.code == 0, answer.err
    assert f"\n# genctl train --config configs/{path.name}\n" in path.read_text()
    found = {word.replace("-", "_"): value for word, value in tomllib.loads(answer.out).items()}
    if path.stem in RECORDS:
        about = RECORDS[path.stem]
        recorded = {**about["config"], **about["train"], "dataset": about["dataset"]["name"]}
        recorded.pop("init", None)  # a digest, where the file of settings has the name of a run
        assert {name: recorded.get(name, value) for name, value in found.items() if name != "model"} | {
            "model": about["model"]
        } == found


def test_each_row_of_the_weights_has_its_settings() -> None:
    assert set(RECORDS) <= {path.stem for path in CONFIGS}
    page = (ROOT / "docs" / "results.md").read_text()
    for name in RECORDS:
        assert f"[`genctl train --config configs/{name}.toml`](../configs/{name}.toml)" in page
