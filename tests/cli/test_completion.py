"""Shells complete verbs, models, options, choices, runs and data sets; nothing heavy is loaded for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Cli
from test_runs import make

import genctl
from genctl import data
from genctl.config import DATA_SETS

ROOT = Path(genctl.__file__).parents[1]


def complete(line: str, cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what bash is offered behind this line."""
    monkeypatch.setenv("_GENCTL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    with pytest.raises(SystemExit) as left:
        cli()
    assert left.value.code == 0
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("genctl sa", ["sample"]),
        ("genctl prun", ["prune"]),
        ("genctl train ", ["vae", "gan", "realnvp", "diffusion"]),
        ("genctl train gan --pack", ["--pack"]),
        ("genctl train vae --arch ", ["mlp", "conv", "ladder"]),
        ("genctl train vae --schedule co", ["constant", "cosine"]),
        ("genctl train vae --dataset k", ["kmnist"]),
        ("genctl train vae --dataset my", ["my-pictures/"]),
        ("genctl train vae --resume ", ["latest", "b", "a"]),
        ("genctl train gan --resume ", ["latest"]),
        ("genctl train vae --resume x --out else", []),
        ("genctl sample ", ["vae", "gan", "realnvp", "diffusion", "a"]),  # b has no weights
        ("genctl sample vae --me", ["--means"]),
        ("genctl sample gan --me", []),
        ("genctl sample vae ", ["b", "a"]),
        ("genctl sample gan ", []),
        ("genctl sample --runs elsewhere ", ["vae", "gan", "realnvp", "diffusion", "there"]),
        ("genctl interpolate gan --path sl", ["slerp"]),
        ("genctl animate ", ["vae", "a", "b"]),
        ("genctl prune ", ["a", "b"]),
        ("genctl runs --sort s", ["started", "state"]),
        ("genctl data cifar", ["cifar10", "cifar100"]),
        ("genctl compare vae g", ["gan"]),
    ],
)
def test_what_is_offered(
    line: str, offered: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make("a", 1, [])
    make("b", 2, [], weights=False)
    make("../elsewhere/there", 3, [])
    Path("my-pictures").mkdir()
    assert complete(line, cli, monkeypatch, capsys) == offered


def test_the_names_of_data_sets_are_all_of_them() -> None:
    assert list(DATA_SETS) == data.NAMES


def test_a_broken_run_breaks_no_completion(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make("a", 1, [])
    (make("b", 2, []) / "config.json").write_text("{")
    assert complete("genctl sample vae ", cli, monkeypatch, capsys) == ["a"]
    assert complete("genctl animate ", cli, monkeypatch, capsys) == ["vae", "a", "b"]


def test_completion_loads_no_torch(tmp_path: Path) -> None:
    heavy = "{'torch', 'numpy', 'PIL', 'matplotlib'}"
    code = f"""
import sys, genctl.cli.app as app
try:
    app.main([])
finally:
    print(*(set(sys.modules) & {heavy}), file=sys.stderr)
"""
    words = {"_GENCTL_COMPLETE": "complete_bash", "COMP_WORDS": "genctl sample vae --me", "COMP_CWORD": "3"}
    environment = {**os.environ, **words, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert (answer.returncode, answer.stdout.split(), answer.stderr.strip()) == (0, ["--means"], "")


@pytest.mark.parametrize(
    ("shell", "file", "words"),
    [
        ("bash", ".bash_completions/genctl.sh", "complete -o default -F _genctl_completion genctl"),
        ("zsh", ".zfunc/_genctl", "#compdef genctl"),
        ("fish", ".config/fish/completions/genctl.fish", "complete --command genctl"),
    ],
)
def test_it_installs_itself(
    shell: str, file: str, words: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("shellingham.detect_shell", lambda: (shell, f"/bin/{shell}"))
    with pytest.raises(SystemExit) as left:
        cli("--install-completion")
    assert left.value.code == 0
    assert words in (tmp_path / file).read_text()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_a_real_bash_completes(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make("my-run", 1, [])
    program = tmp_path / "bin" / "genctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m genctl "$@"\n')
    program.chmod(0o755)
    script = """
eval "$(genctl --show-completion bash)"
COMP_WORDS=(genctl sample my); COMP_CWORD=2
_genctl_completion genctl
printf '%s\\n' "${COMPREPLY[@]}"
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    environment["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"
    answer = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert answer.stdout.split() == ["my-run"], answer.stderr
