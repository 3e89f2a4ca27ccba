"""Imports go down only, and nothing above the torch line waits for torch."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import genctl
from genctl.checkpoint import manifest
from genctl.checkpoint.manifest import Manifest

ROOT = Path(genctl.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
HEAVY = {"torch", "numpy", "torchvision", "matplotlib", "PIL", "safetensors"}
LAYERS = [  # from the top down: a module imports from its own room and from the layers below
    {"genctl.__main__"},
    {"genctl.cli", "genctl.testing"},
    {"genctl.api"},
    {"genctl.training"},
    {"genctl.export"},
    {"genctl.evaluation"},
    {"genctl.generation"},
    {"genctl.page"},
    {"genctl.runs"},
    {"genctl.device", "genctl.cores"},
    {"genctl.models"},
    {"genctl.data"},
    {"genctl.pictures"},
    {"genctl.checkpoint"},
    {"genctl.config"},
    {"genctl.seeds", "genctl.terminal"},
    {"genctl.ranks"},
    {"genctl.errors", "genctl.types"},
]


def name_of(path: Path) -> str:
    """Return a file's dotted name."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def for_types(node: ast.AST) -> bool:
    """Tell whether this is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def statements(nodes: Iterable[ast.AST], in_functions: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that run: those at module level, or those in functions too."""
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif in_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inner = node.orelse if for_types(node) else ast.iter_child_nodes(node)  # type: ignore[attr-defined]
            yield from statements(inner, in_functions)


def absolute(module: str, is_package: bool, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Yield the dotted names that an import names: each module, or the name in it."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    package = module.split(".") if is_package else module.split(".")[:-1]
    start = package[: len(package) - node.level + 1] if node.level else []
    base = ".".join([*start, *filter(None, [node.module])])
    for alias in node.names:
        yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base


def imports(source: str, module: str, is_package: bool = False, in_functions: bool = False) -> set[str]:
    """Return what a module's source imports when it runs."""
    found = statements(ast.parse(source).body, in_functions)
    return {name for node in found for name in absolute(module, is_package, node)}


def imports_of(module: str, in_functions: bool = False) -> set[str]:
    """Return what a module of genctl imports."""
    path = MODULES[module]
    return imports(path.read_text(), module, path.name == "__init__.py", in_functions)


def own(names: set[str]) -> set[str]:
    """Return those that are modules of genctl."""
    return {name for name in names if name in MODULES}


@pytest.mark.parametrize(
    ("source", "module", "found"),
    [
        ("import torch.nn", "genctl.x", {"torch.nn"}),
        ("from torch import nn", "genctl.x", {"torch"}),
        ("from . import config, errors as r", "genctl.x", {"genctl.config", "genctl.errors"}),
        ("from . import __version__", "genctl.x", {"genctl"}),
        ("from ...config import Opt", "genctl.models.vae.config", {"genctl.config"}),
        ("from .networks import A", "genctl.models.vae.model", {"genctl.models.vae.networks"}),
        ("try:\n import torch\nexcept ImportError: pass", "genctl.x", {"torch"}),
        ("class A:\n import torch", "genctl.x", {"torch"}),
        ("if True:\n import torch", "genctl.x", {"torch"}),
        ("if TYPE_CHECKING:\n import torch\nelse:\n import numpy", "genctl.x", {"numpy"}),
        ("def f():\n import torch", "genctl.x", set()),
        ("async def f():\n import torch", "genctl.x", set()),
    ],
)
def test_the_reader_of_imports_finds_them(source: str, module: str, found: set[str]) -> None:
    assert imports(source, module) == found


def test_the_reader_of_imports_looks_into_functions_when_told() -> None:
    assert imports("def f():\n import torch", "genctl.x", in_functions=True) == {"torch"}


def room(module: str) -> str:
    """Return the package or top-level module that a module lies in."""
    return ".".join(module.split(".")[:2])


def level(module: str) -> int:
    """Return the layer of a module, counted from the top."""
    return next(i for i, layer in enumerate(LAYERS) if room(module) in layer)


def test_every_room_has_a_layer_and_every_layer_is_there() -> None:
    assert {room(module) for module in MODULES} - {"genctl"} == set().union(*LAYERS)


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"genctl"}))
def test_imports_go_down_only(module: str) -> None:
    """In functions too; the package itself is imported for its version alone."""
    known = own(imports_of(module, in_functions=True)) - {"genctl"}
    assert {name for name in known if room(name) != room(module) and level(name) <= level(module)} == set()


def test_no_module_is_part_of_a_circle() -> None:
    tuple(TopologicalSorter({name: own(imports_of(name)) - {name} for name in MODULES}).static_order())


def reached(*modules: str) -> set[str]:
    """Return all that is imported when these modules are."""
    found, left = set(), list(modules)
    while left:
        module = left.pop()
        if module not in found:
            found.add(module)
            parents = [module.rsplit(".", i)[0] for i in range(1, module.count(".") + 1)]
            left += [*own(imports_of(module)), *(name for name in parents if name in MODULES)]
    return found


def test_the_command_line_and_the_configs_import_nothing_heavy() -> None:
    configs = [name for name in MODULES if name.startswith("genctl.models.") and name.endswith(".config")]
    assert len(configs) >= 3
    for module in reached("genctl.__main__", *configs):
        assert not {name for name in imports_of(module) if name.split(".")[0] in HEAVY}, module


def test_few_modules_lie_at_the_top() -> None:
    assert len(list(ROOT.glob("*.py"))) <= 8


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.startswith("genctl.models.")))
def test_a_model_knows_the_contract_and_its_own_folder(module: str) -> None:
    folder = ".".join(module.split(".")[:3])
    known = own(imports_of(module, in_functions=True))
    others = {name for name in known if not name.startswith(folder)}
    contract = {
        "genctl.models.base",
        "genctl.models.blocks",
        "genctl.config",
        "genctl.errors",
        "genctl.types",
        "genctl.seeds",
    }
    if module not in ("genctl.models", "genctl.models.base", "genctl.models.blocks", "genctl.models.registry"):
        assert others <= contract | {"genctl.data", "genctl.data.images", "genctl.data.nearest"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_torchvision_is_for_downloads_alone(module: str) -> None:
    found = {name.split(".")[0] for name in imports_of(module, in_functions=True)}
    assert "torchvision" not in found or module == "genctl.data.download"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_what_only_some_commands_need_is_imported_in_functions(module: str) -> None:
    found = {name.split(".")[0] for name in imports_of(module)}
    assert not found & {"matplotlib", "PIL", "torchvision"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_only_the_monotonic_clock_measures(module: str) -> None:
    lines = MODULES[module].read_text().splitlines()
    clocks = {line.strip() for line in lines if re.match(r"\s*(from|import)\b.*\btime\b", line)}
    assert clocks <= {"from time import monotonic"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a checkpoint and a run."""
    folder = tmp_path_factory.mktemp("startup")
    run = folder / "checkpoints" / "vae-001"
    run.mkdir(parents=True)
    about = {"name": "bars", "digest": "d"}
    sealed = manifest.seal(
        (2).to_bytes(8, "little") + b"{}",
        Manifest(model="vae", config={}, train={}, shape=(1, 8, 8), dataset=about, role="weights", step=1, epoch=1),
    )
    config = {"model": "vae", "config": {}, "train": {"epochs": 2}, "started": "2026-01-01", "dataset": about}
    config |= {"schedule_epochs": 2, "threads": 1, "device": "cpu"}
    (run / "config.json").write_text(json.dumps(config))
    (run / "metrics.jsonl").write_text('{"epoch": 1, "step": 1, "validation_nats": 100.0}\n')
    (run / "model.safetensors").write_bytes(sealed)
    (folder / "ckpt.safetensors").write_bytes(sealed)
    return folder


PROBE = """
import sys
from genctl.cli.app import main
code = main(sys.argv[2:])
sys.stdout.flush()
print(*sorted(set(sys.argv[1].split(",")) & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Python with this genctl in a folder."""
    path = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=path, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("--help", 0, "interpolate"),
        ("--version", 0, genctl.__version__),
        ("train --help", 0, "realnvp"),
        ("train vae --help", 0, "--latent-dim"),
        ("train realnvp --help", 0, "--couplings"),
        ("sample --help", 0, "--temperature"),
        ("models", 0, "gan"),
        ("models --json", 0, '"gan"'),
        ("train vae --print-config", 0, 'model = "vae"'),
        ("export gan --format torch --out .", 2, ""),
        ("explain diffusion", 0, "flow matching"),
        ("runs", 0, "vae-001"),
        ("show ckpt.safetensors", 0, "bars"),
        ("show vae", 0, "bars"),
        ("verify ckpt.safetensors", 0, "sha256"),
        ("train vea", 2, ""),
        ("sample vea", 2, ""),
        ("sample vae gone.safetensors", 4, ""),
        ("eval-bpd gan", 2, ""),
    ],
)
def test_a_command_above_the_line_loads_no_torch(words: str, code: int, text: str, folder: Path) -> None:
    answer = python(folder, "-c", PROBE, ",".join(HEAVY), *words.split())
    assert (answer.returncode, answer.stderr.splitlines()[-1]) == (code, "")
    assert text in answer.stdout


def test_the_package_is_a_command(tmp_path: Path) -> None:
    answer = python(tmp_path, "-m", "genctl", "--version")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, f"genctl {genctl.__version__}\n", "")


def test_the_package_as_a_command_ends_with_its_code(tmp_path: Path) -> None:
    answer = python(tmp_path, "-m", "genctl", "train", "vea")
    assert answer.returncode == 2 and answer.stderr.count("\n") == 1
