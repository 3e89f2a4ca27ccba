"""What genctl's speed is here: `make bench`, on an otherwise idle machine.

    python -m benchmarks [--sections training sampling ...] [--repeats 5] [--out bench.json] [--compare earlier.json]

Prints a table and writes the figures as JSON; with --compare, each figure's ratio to an earlier file's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import busy, commands, machine, speed


def main() -> None:
    """Measure the chosen sections."""
    options = arguments()
    found: dict[str, Any] = {"machine": machine.about()}
    rate = machine.matmul_rate()
    found["machine"]["matmul_gflop_per_second"] = rate / 1e9
    sections = {
        "training": lambda: speed.training(options.repeats, rate),
        "sampling": lambda: speed.sampling_rates(options.repeats),
        "start_up": lambda: commands.start_up(options.repeats),
        "memory": commands.memory,
        "time_to_quality": commands.time_to_quality,
        "busy": lambda: busy.rates(options.repeats),
    }
    earlier = dict(flat(json.loads(options.compare.read_text()))) if options.compare else {}
    show({"machine": found["machine"]}, earlier)
    for name in options.sections or sections:
        found[name] = sections[name]()
        show({name: found[name]}, earlier)
        options.out.write_text(json.dumps(found, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--sections", nargs="*", help="training sampling start_up memory time_to_quality busy")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    parser.add_argument("--compare", type=Path)
    return parser.parse_args()


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each figure with its path, a median in place of its spread."""
    if isinstance(value, dict) and "median" in value:
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{path} / {key}" if path else key)
    elif value is not None:
        yield path, value


def show(found: dict[str, Any], earlier: dict[str, Any]) -> None:
    """Print a line per figure."""
    for path, value in flat(found):
        before = earlier.get(path)
        ratio = ""
        if before is not None and isinstance(height(value), float) and height(before):
            ratio = f"  x {height(value) / height(before):.2f}"
        print(f"{path:75s} {text(value)}{ratio}", flush=True)


def height(value: Any) -> Any:
    """Return the median of a spread, else the figure itself."""
    return value["median"] if isinstance(value, dict) else value


def text(value: Any) -> str:
    """Return a figure, with its range where it has one."""
    if isinstance(value, dict):
        return f"{value['median']:.4g} ({value['min']:.4g} to {value['max']:.4g})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
