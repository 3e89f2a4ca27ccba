"""Nothing that genctl reads can run: the source has no way to make code of data."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import genctl
from genctl.errors import UsageError
from genctl.models import registry

ROOT = Path(genctl.__file__).parent
FILES = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.rglob("*.py"))]
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml", "subprocess"}
BUILT_IN = {"eval", "exec", "compile", "__import__"}
CALLS = {
    *("torch.load", "torch.hub.load", "torch.jit.load", "yaml.load", "yaml.unsafe_load", "os.system", "os.popen"),
    *("tempfile.mktemp", "shutil.unpack_archive", "torch.package.PackageImporter"),
}
METHODS = {"extractall", "load_module", "exec_module"}
KEYWORDS = {("shell", True), ("allow_pickle", True), ("weights_only", False)}


def offences(source: str) -> Iterator[str]:
    """Yield what could run data as code."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from sorted(names & CALLS)
            if node.module and node.module.split(".")[0] in MODULES and not node.level:
                yield node.module
        elif isinstance(node, ast.Name) and node.id in BUILT_IN and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute) and (ast.unparse(node) in CALLS or node.attr in METHODS):
            yield ast.unparse(node)
        elif isinstance(node, ast.Call):
            given = {(k.arg, k.value.value) for k in node.keywords if isinstance(k.value, ast.Constant)}
            yield from (f"{name}={value}" for name, value in KEYWORDS if (name, value) in given)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, pickle as p",
        "from pickle import loads",
        "def f():\n    import marshal",
        "eval('1')",
        "run = exec",
        "__import__('os')",
        "torch.load(path)",
        "from torch import load",
        "read = torch.load",
        "yaml.load(text)",
        "import yaml",
        "archive.extractall(folder)",
        "run(['ls'], shell=True)",
        "np.load(path, allow_pickle=True)",
        "os.system('ls')",
        "import subprocess",
    ],
)
def test_the_search_finds_what_it_is_for(source: str) -> None:
    assert list(offences(source))


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "'pickle, torch.load(, eval('",
        "json.load(file)",
        "safetensors.torch.load(data)",
        "re.compile('a')",
        "class Config:\n    compile: bool = False",
        "run(['ls'], shell=False)",
        "from .load import pickle_like",
    ],
)
def test_the_search_leaves_the_rest_alone(source: str) -> None:
    assert not list(offences(source))


STARTS = {file: ["subprocess"] for file in ("pictures/pool.py", "testing/test_ranks.py")}  # this Python, on ours


@pytest.mark.parametrize("file", FILES)
def test_no_module_runs_data_as_code(file: str) -> None:
    assert list(offences((ROOT / file).read_text())) == STARTS.get(file, [])


def test_modules_are_imported_by_a_name_for_models_alone() -> None:
    calls = [(file, node) for file in FILES for node in ast.walk(ast.parse((ROOT / file).read_text()))]
    users = {
        file
        for file, node in calls
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("import_module")
        and not isinstance(node.args[0], ast.Constant)
    }
    assert users == {"models/registry.py", "models/base.py"}


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_no_file_says_which_class_a_model_is_made_of(name: str) -> None:
    kind = registry.load(name)
    assert "model" not in kind().to_dict()
    with pytest.raises(UsageError, match="has no option model"):
        kind.from_dict({**kind().to_dict(), "model": "os:system"})
