"""What is said of a data set when it is read: one line of what there is, and a sentence for each thing to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .layout import named


def sentences(name: str, report: Mapping[str, Any]) -> list[str]:
    """Return the lines that a report of gather.decode gives."""
    C, H, W = report["shape"]
    classes = f", {len(report['classes'])} classes" if report["classes"] else ""
    divided = " / ".join(f"{n:,}" for n in report["splits"].values())
    lines = [
        f"{name}: {report['pictures']:,} pictures, {H} x {W}, {'grey' if C == 1 else 'colour'}{classes};"
        f" train / validation / test: {divided} ({report['split']})"
    ]
    lines += [f"{name}: {note}" for note in report["notes"]]
    if report["passed_over"]:
        lines.append(
            f"{name}: {len(report['passed_over']):,} files passed over as no pictures: {named(report['passed_over'])}"
        )
    if report["broken"]:
        broken = named([file for file, _ in report["broken"]])
        lines.append(f"warning: {name}: {len(report['broken']):,} files were left out (--skip-broken): {broken}.")
    return lines + [f"warning: {name}: {sentence}." for sentence in _warnings(report)]


def _warnings(report: Mapping[str, Any]) -> list[str]:
    """Return what is odd about the pictures."""
    found, twins = [], report["duplicates"]
    if twins["copies"]:
        examples = named([" = ".join(group[:3]) for group in twins["groups"]])
        found.append(f"{twins['copies']:,} pictures are exact copies of others: {examples}")
    if twins["of_two_classes"]:
        found.append(f"{twins['of_two_classes']:,} pictures stand in more than one class")
    if twins["in_two_parts"]:
        found.append(f"{twins['in_two_parts']:,} pictures stand in more than one part: test is not unseen")
    if report["black"]:
        found.append(BLACK)
    return found


IN_ORDER = "as the files give them"
BLACK = "the largest value is 1 of 255, so the pictures are black; multiply zeros and ones by 255"


def about(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint keeps of a report."""
    kept = {"split": report["split"], "duplicates": report["duplicates"]["copies"]}
    if report["broken"]:
        kept["skipped"] = len(report["broken"])
    return kept
