"""The tables of the page of results, a function each; benchmarks/tables.py puts them into the page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from genctl.config import GIVEN

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "docs" / "records"
DECIMALS = {  # of the figures of sample quality, in the order of the columns
    **{"frechet_distance": 3, "kernel_distance": 4, "precision": 3, "recall": 3, "density": 3, "coverage": 3},
    **{"modes": 0, "mode_kl": 4, "memorized": 4},
}

GROUPS = ("classes", "emoji")  # of records of weights that do not ship: what they show
Record = dict[str, Any]
Rows = Iterable[Sequence[str]]


def read(name: str) -> list[Record]:
    """Return the records of a file, each with the link to its line."""
    path = RECORDS / f"{name}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [{**json.loads(line), "link": f"records/{name}.jsonl#L{i}"} for i, line in enumerate(lines, 1)]


def table(head: str, rows: Rows) -> str:
    """Return a Markdown table whose heads are between bars."""
    names = head.split("|")
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [names, ["---"] * len(names), *rows])


def checkpoint(record: Record) -> str:
    """Return the checkpoint's short name, as a link to the file."""
    means = " (means)" if record.get("means") else ""
    return f"[{Path(record['checkpoint']).stem}](../{record['checkpoint']}){means}"


def command(record: Record) -> str:
    """Return the command that printed a record, as a link to the record."""
    return f"[`{record['command']}`]({record['link']})"


def likelihoods(unit: str, decimals: int) -> str:
    """Return the likelihoods of this unit; two rows may be compared where their data are the same."""
    rows: Rows = (
        [
            checkpoint(r),
            f"{r['value']:.{decimals}f} ± {r['standard_error']:.{decimals}f}",
            *(f"{r['K']:,}", f"{r['estimator']}, {r['bound']}"),
            f"{r['dataset']}, {r['data']}{GIVEN if r.get('conditional') else ''}",
            *(f"{r['split']}, {r['images']:,}", f"{r['train_images']:,}", r["device"], command(r)),
        ]
        for r in read("likelihoods")
        if r["unit"] == unit
    )
    return table(f"checkpoint|{unit}|K|estimator|data|split, images|trained on|device|command and record", rows)


def round_trips() -> str:
    """Return the largest errors of the flows' inverses, each flow once."""
    first = {r["checkpoint"]: r for r in reversed(read("likelihoods")) if r.get("round_trip")}
    ways = [f"{way}_{kind}" for way in ("inverse", "log_det") for kind in ("float32", "float64")]
    rows: Rows = (
        [checkpoint(r), *(f"{r['round_trip'][way]:.1e}" for way in ways), command(r)] for r in reversed(first.values())
    )
    return table(f"checkpoint|{'|'.join(f'`{way}`' for way in ways)}|command and record", rows)


def qualities() -> list[Record]:
    """Return the records of sample quality that are more than a count of modes."""
    return [r for r in read("samples") if "frechet_distance" in r]


def quality() -> str:
    """Return sample quality, half a 95 % interval after the ±, and the floor of real images."""

    def cells(figures: Record, interval: Record) -> Iterable[str]:
        for name, decimals in DECIMALS.items():
            low, high = interval.get(name) or (None, None)
            yield f"{figures[name]:.{decimals}f}" + ("" if low is None else f" ± {(high - low) / 2:.{decimals}f}")
        yield f"{min(figures['class_shares']):.1%} to {max(figures['class_shares']):.1%}"

    rows = [[checkpoint(r), *cells(r, r["interval"]), command(r)] for r in qualities()]
    rows += [["floor", *cells(r["floor"], {}), command(r)] for r in qualities()[:1]]
    names = "|".join(DECIMALS).replace("_", " ").replace("frechet", "Fréchet").replace(" kl", " KL")
    return table(f"checkpoint|{names}|share of a class|command and record", rows)


def judged() -> str:
    """Return what the figures of sample quality are of: the same for all, the features too, or it raises."""
    (_,) = {r["features"]["sha256"] for r in qualities()}
    (text,) = {
        f"{r['samples']:,} samples of seed {r['seed']} beside the {r['reference_images']:,} {r['split']} images of"
        f" {r['dataset']}; k = {r['k']['precision']} for precision and recall,\n{r['k']['density']} for density and"
        f" coverage. The classifier whose features are compared names {r['features']['test_accuracy']:.2%} of the test"
        " images rightly."
        for r in qualities()
    }
    return text


def modes() -> str:
    """Return the modes that samples of stacked digits cover, and those of real labels."""
    rows: Rows = (
        [
            *(name, f"{of['modes']:,.0f} of {r['classes']:,}", f"{of['mode_kl']:.4f}", f"{of['mode_kl_data']:.4f}"),
            *(f"{r['samples']:,}", r["dataset"], command(r)),
        ]
        for r in read("samples")
        if "frechet_distance" not in r
        for name, of in ((checkpoint(r), r), ("floor", r["floor"]))
    )
    return table("checkpoint|modes|KL to uniform|KL to the training labels|samples|data|command and record", rows)


def votes() -> str:
    """Return how clear samples are by their neighbours among the training images, beside real images."""
    rows: Rows = (
        [name, f"{of['clear']:.1%}", f"{of['smallest_class']:.1%}", f"{r['images']:,}", r["dataset"], command(r)]
        for r in read("votes")
        for name, of in ((checkpoint(r), r), ("test images", r["test"]))
    )
    return table("images of|clear|smallest class|images|data|command and record", rows)


def settings(record: Record) -> str:
    """Return the command that trains such weights anew, as a link to its file of settings, where there is one."""
    file = f"configs/{Path(record['checkpoint']).stem}.toml"
    return f"[`genctl train --config {file}`](../{file})" if (ROOT / file).is_file() else "-"


def weights() -> str:
    """Return what the files say of their training, and what trains such weights."""
    rows: Rows = (
        [
            *(checkpoint(r), f"{r['dataset']['name']}, {r['dataset']['train_images']:,}", r["config"]["arch"]),
            *(f"{r['train']['batch_size']}", f"{r['train']['lr']:g}, {r['train']['schedule']}"),
            *(f"{r['epoch']} of {r['train']['epochs']}", f"{r['step']:,}"),
            "; ".join(f"{name} {value:.6g}" for name, value in r["metrics"].items()),
            *(r["versions"]["torch"], settings(r), command(r)),
        ]
        for r in read("weights")
    )
    options = "form|batch size|learning rate, schedule|epoch|steps"
    return table(f"checkpoint|trained on|{options}|metrics of that epoch|torch|training|command and record", rows)


def examples() -> str:
    """Return the likelihoods of other packages' models, whose weights do not ship: a record names the training."""
    rows: Rows = (
        [
            *(r["model"], f"{r['value']:.4f} ± {r['standard_error']:.4f}", f"{r['bound']}"),
            *(f"{r['dataset']}, {r['data']}", f"{r['split']}, {r['images']:,}", f"{r['train_images']:,}"),
            *(f"{r['best_epoch']} of {r['epochs']}", f"{r['training_seconds']:.0f} s, {r['machine']}"),
            f"`{r['train_command']}`, {command(r)}",
        ]
        for r in read("examples")
        if r["verb"] == "eval-bpd"
    )
    head = "model|bits/dim|what it is|data|split, images|trained on|epoch|training|command and record"
    return table(head, rows)


def judgements() -> str:
    """Return what the second classifier says of samples, beside real images."""
    rows: Rows = (
        [name, f"{share:.1%}", f"{r['images']:,}", f"{r['test_accuracy']:.1%}", r["dataset"], command(r)]
        for r in read("judgements")
        for name, share in ((checkpoint(r), r["clear"]), ("test images", r["test"]))
    )
    return table("images of|clear to the judge|images|the judge is right of|data|command and record", rows)


def specks() -> str:
    """Return how many samples have a lone dot, beside real images."""
    rows: Rows = (
        [name, f"{share:.2%}", f"{r['images']:,}", r["dataset"], command(r)]
        for r in read("specks")
        for name, share in ((checkpoint(r), r["speckled"]), ("test images", r["test"]))
    )
    return table("images of|with a speck|images|data|command and record", rows)


def trained(r: Record) -> list[str]:
    """Return what trained weights that do not ship, and in which time."""
    time = f"{r['training_seconds']:,.0f} s, " if r["training_seconds"] else ""
    return [f"`{r['train_command']}`", time + r["machine"], command(r)]


def times() -> dict[str, str]:
    """Return in which time each file of weights that ship was trained."""
    return {r["checkpoint"]: r["trained"] for r in read("trainings")}


def of_settings(r: Record) -> list[str]:
    """Return the settings that trained weights that ship, and in which time."""
    return [f"`genctl train --config configs/{Path(r['checkpoint']).stem}.toml`", times()[r["checkpoint"]]]


def others_quality(group: str) -> str:
    """Return the quality of samples of weights that do not ship, and of those of classes that do."""
    found = [r for r in read("others") if r["group"] == group and r["verb"] == "evaluate"]
    ship = [r for r in read("samples") if "class_accuracy" in r] if group == "classes" else []
    names = ["frechet_distance", "precision", "recall", "class_accuracy", "frechet_in_class"]
    names = [name for name in names if any(name in r for r in found)]
    rows = [[r["name"], *(f"{r[n]:.3f}" if n in r else "-" for n in names), *trained(r)] for r in found]
    rows += [[checkpoint(r), *(f"{r[n]:.3f}" for n in names), *of_settings(r), command(r)] for r in ship]
    floor = next((r for r in found if "frechet_in_class" in r), found[0])
    rows.append(
        ["floor", *(f"{floor['floor'][n]:.3f}" if n in floor["floor"] else "-" for n in names), "", "", command(floor)]
    )
    heads = "|".join(names).replace("_", " ").replace("frechet", "Fréchet")
    return table(f"model|{heads}|training|time|command and record", rows)


def others_likelihood(group: str) -> str:
    """Return likelihoods of weights that do not ship."""
    rows: Rows = (
        [
            *(
                r["name"],
                f"{r['value']:.{3 if r['unit'] == 'bits/dim' else 2}f} ± {r['standard_error']:.3f} {r['unit']}",
            ),
            *(f"{r['estimator']}, K = {r['K']:,}", f"{r['data']}{GIVEN if r.get('conditional') else ''}"),
            *(f"{r['split']}, {r['images']:,}", *trained(r)),
        ]
        for r in read("others")
        if r["group"] == group and r["verb"] == "eval-bpd"
    )
    return table("model|value|estimator|data|split, images|training|time|command and record", rows)
