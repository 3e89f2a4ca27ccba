"""A part of a model as a program: torch.export's, or ONNX made of it. The batch size stays free."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from .agreement import Differs, Run
from .parts import Part

TRACED = 5  # images that a part is traced with: a number that nothing else has


def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """Return X of A X = B by substitution, a row at a time: ONNX has no triangular solve. A is [C, C], B [C, N]."""
    if not left:
        return solve_triangular(A.mT, B.mT, upper=not upper, unitriangular=unitriangular).mT
    C = len(A)
    rows = list(B)
    for i in reversed(range(C)) if upper else range(C):
        known = slice(i + 1, C) if upper else slice(0, i)
        if rows[known]:
            rows[i] = rows[i] - A[i, known] @ torch.stack(rows[known])
        rows[i] = rows[i] if unitriangular else rows[i] / A[i, i]
    return torch.stack(rows)


WRITTEN_OUT: dict[Any, Any] = {torch.ops.aten.linalg_solve_triangular.default: solve_triangular}


@contextmanager
def quiet() -> Iterator[None]:
    """Within, the exporters keep their notes to themselves: what matters of them is checked."""
    logger, level = logging.getLogger("torch"), logging.getLogger("torch").level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


@torch.no_grad()
def traced(part: Part) -> ExportedProgram:
    """Return the part as torch.export's program; raise Differs where it would be of one batch size.

    Tracing without the interpreter takes a fifth of the time, but len(x) is a number there, and fixes the size.
    """
    inputs = tuple(x[:TRACED].clone() for x in part.inputs.values())
    shapes = {"inputs": tuple({0: Dim("N", min=1, max=1 << 20)} for _ in inputs)}
    reason = ""
    for strict in (False, True):
        try:
            with quiet():
                program = torch.export.export(part.module, inputs, dynamic_shapes=shapes, strict=strict)
        except Exception as error:  # of whatever kind: the code traced may be another package's
            reason = said(error)
            continue
        if _is_free(program):
            return program
        reason = f"its batch size became {TRACED}"
    raise Differs(f"torch.export cannot follow it ({reason})")


def said(error: Exception) -> str:
    """Return an exporter's error in a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _is_free(program: ExportedProgram) -> bool:
    """Tell whether the first dimension of all inputs and outputs is a symbol."""
    nodes = {node.name: node.meta.get("val") for node in program.graph.nodes}
    names = [*program.graph_signature.user_inputs, *program.graph_signature.user_outputs]
    tensors = [nodes.get(name) for name in names if isinstance(name, str)]
    return all(isinstance(x, Tensor) and isinstance(x.shape[0], torch.SymInt) for x in tensors)


def save_torch(program: ExportedProgram, part: Part, path: Path) -> Run:
    """Write torch.export's program, and return what runs the file."""
    with quiet():
        torch.export.save(program, path)
        module: Any = torch.export.load(path).module()
    return lambda inputs: module(*inputs)


def save_onnx(program: ExportedProgram, part: Part, path: Path) -> Run:
    """Write the program as ONNX, and return what runs the file in onnxruntime; raise Differs where ONNX has no word."""
    import onnxruntime

    names: dict[str, Any] = {"input_names": list(part.inputs), "output_names": [part.output]}
    try:
        with quiet():
            if any(node.target in WRITTEN_OUT for node in program.graph.nodes):
                program = program.run_decompositions(WRITTEN_OUT)
            made: Any = torch.onnx.export(program, dynamo=True, verbose=False, **names)
            made.save(str(path))
    except Exception as error:  # of whatever kind, as above
        raise Differs(f"torch.onnx cannot translate it ({said(error)})") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(inputs: list[Tensor]) -> Tensor:
        named = {name: x.numpy() for name, x in zip(part.inputs, inputs, strict=True)}
        return torch.from_numpy(session.run(None, named)[0])

    return run


SAVE = {"onnx": save_onnx, "torch": save_torch}
