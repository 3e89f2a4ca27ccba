"""Records as text: tables, and lines that say what their figures are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..terminal import console

if TYPE_CHECKING:  # a listing needs none of the records
    from ..runs.records import Comparison, Likelihood, Row, SampleQuality

SHORT = {"frechet_distance": "frechet", "kernel_distance": "kernel"}  # heads of a comparison


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of text under their heads, aligned."""
    rows = [list(map(console.plain, row)) for row in rows]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in [head, *rows]]
    return [line.rstrip() for line in lines]


def plain(value: Any) -> str:
    """Return a value of a manifest as text."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {plain(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(plain, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def number(value: float | None) -> str:
    """Return four significant digits."""
    return "-" if value is None else f"{value:.4g}"


def data(name: str, report: Mapping[str, Any]) -> list[str]:
    """Return what a data set holds as lines of text."""
    C, H, W = report["shape"]
    twins = report["duplicates"]
    rows = {
        "sizes": _counts(report["sizes"]),
        "modes": _counts(report["modes"]),
        "training": f"{H} x {W}, {C} channel{'s' if C > 1 else ''}",
        "classes": _counts(report["classes"]) or "none",
        "splits": f"{_counts(report['splits'])} ({report['split']})",
        "copies": f"{twins['copies']:,}{_examples([' = '.join(group[:3]) for group in twins['groups']])}",
        "broken": f"{len(report['broken']):,}{_examples([': '.join(pair) for pair in report['broken']])}",
        "passed": f"{len(report['passed_over']):,}{_examples(report['passed_over'])}",
    }
    lines = [f"{name}: {report['pictures']:,} pictures", *(f"  {key:9s} {value}" for key, value in rows.items())]
    return [*lines, *(f"  note      {note}" for note in report["notes"])]


def _counts(found: Mapping[str, int]) -> str:
    """Return the first names with how many there are of each."""
    shown = [f"{key}: {n:,}" for key, n in list(found.items())[:20]]
    more = [f"and {len(found) - 20:,} more"] if len(found) > 20 else []
    return ", ".join([*shown, *more])


def _examples(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > 5 else ""
    return f" ({', '.join(names[:5])}{more})" if names else ""


def likelihood(record: Likelihood) -> list[str]:
    """Return a likelihood as lines of text."""
    exact = record.bound.startswith("exact")
    what = f"{record.estimator} (exact" if exact else f"{record.estimator}, K = {record.K} (an {record.bound}"
    known, named = record.images > 1, ", ".join(record.classes)
    bits_error, nats_error = (
        (f" +- {record.bits_per_dim_error:.4f}", f" +- {record.nats_error:.2f}") if known else ("", "")
    )
    lines = [
        f"{record.model}: {record.bits_per_dim:.4f}{bits_error} bits/dim = {record.nats:.2f}{nats_error} nats per image"
        f"{'' if known else ' (one image has no standard error)'}",
        f"  estimator  {what}; lower is better)",
        f"  data       {record.dataset}, {record.data} ({record.pixels})",
        f"  split      {record.split}, {record.images:,} images{f' of {named}' if named else ''}"
        f" (trained on {record.train_images:,})",
    ]
    if record.conditional:
        lines.insert(2, "  given      the class of each image: log p(x|y), no rival of log p(x); for that: --marginal")
    if record.marginal:
        lines.insert(2, "  classes    summed over, by their share of the training images: log p(x)")
    if record.augmentation:
        lines.append(
            f"  augmented  it was trained on changed images ({record.augmentation}), and these are as they are"
        )
    for other, gap in record.gaps.items():
        lines.append(f"  gap        {gap:.2f} nats tighter than the {other.upper()} of the same draws")
    lines += [f"  {name:10s} {text}" for name, text in _numerics(record.numerics).items()]
    if record.round_trip:
        for way in ("inverse", "log_det"):
            trip = [f"{record.round_trip[f'{way}_{kind}']:.1e} ({kind})" for kind in ("float32", "float64")]
            lines.append(f"  {way:10s} largest error {', '.join(trip)}")
    return lines


def _numerics(found: Mapping[str, Any]) -> dict[str, str]:
    """Return what is said of a likelihood that is computed numerically: words, and errors in bits/dim."""
    of = f" bits/dim, of {found.get('checked_images')} images"
    shown = {name: value for name, value in found.items() if name != "checked_images"}
    return {
        name.removesuffix("_bits_per_dim").replace("_", " "): value if isinstance(value, str) else f"{value:+.4f}{of}"
        for name, value in shown.items()
    }


def quality(record: SampleQuality) -> list[str]:
    """Return sample quality as lines of text: each figure, its interval, and the floor."""
    from ..runs.records import FIGURES

    rows = []
    for name in [name for name in FIGURES if name in record.figures]:
        interval = record.interval.get(name)
        between = " to ".join(map(number, interval)) if interval else ""
        rows.append([f"  {record.column(name)}", number(record.figures[name]), between, number(record.floor.get(name))])
    head = f"{record.name}: {record.samples:,} images"
    return [head, *columns(["", "samples", "95 % interval", "floor"], rows), *notes(record)]


def notes(record: SampleQuality, classes: bool = True) -> list[str]:
    """Return lines that say what the figures are of."""
    k, features = record.k, record.features
    lines = [f"  against   {record.reference_images:,} {record.split} images of {record.dataset}"]
    if "frechet_distance" in record.figures:
        lines.append(f"  k         {k['precision']} for precision and recall, {k['density']} for density and coverage")
        lines.append(f"  memorized nearer to one of {record.train_images:,} training images than 99 % of test images")
        unseen = (
            "which no model saw" if features.get("kind") == "given" else "which neither a model nor the features saw"
        )
        lines.append(f"  floor     the same figures of {record.validation_images:,} validation images, {unseen}")
    else:
        lines = [f"  floor     as many labels drawn from those of the {record.reference_images:,} training images"]
    if "class_accuracy" in record.figures:
        lines.append("  by class  class_accuracy by the features' classifier; frechet_in_class: its mean over classes")
    if classes and "class_shares" in record.figures:
        lines.append(f"  classes   {_percents(record.figures['class_shares'])}")
        lines.append(f"  of floor  {_percents(record.floor['class_shares'])}")
    accuracy = features["test_accuracy"]
    known = "" if accuracy is None else f" ({100 * accuracy:.2f} % right on its test images)"
    if "left_out" in features:
        lines.append(f"  left out  {features['left_out']}")
    return [*lines, f"  features  {features['name']}{known}, sha256 {features['sha256'][:16]}"]


def _percents(shares: Sequence[float]) -> str:
    return " ".join(f"{100 * share:.1f}" for share in shares) + " %"


def comparison(found: Comparison) -> list[str]:
    """Return the comparison as lines of text, a row a model and one for the floor."""
    head, rows, notes = compared(found)
    return [*columns(head, rows), *notes]


def compared(found: Comparison) -> tuple[list[str], list[list[str]], list[str]]:
    """Return the comparison as a head, rows, and lines that say what their figures are of."""
    from ..runs.records import FIGURES

    own = sorted({row.likelihood.column for row in found.rows if row.likelihood})
    known = [name for name in FIGURES if name in found.floor]
    shared = found.rows[0].quality  # one judge, so one kind of features
    heads = [shared.column(name).replace(name, SHORT.get(name, name)) for name in known]
    head = ["model", *heads, *own, "parameters", "epochs", "training", "samples/s", "checkpoint"]
    rows = [_row(row, own, known) for row in found.rows]
    rows.append(["floor", *(number(found.floor[name]) for name in known), *["-"] * (len(own) + 5)])
    lines = []
    if any(row.likelihood and not row.likelihood.bound.startswith("exact") for row in found.rows):
        lines.append(
            "  bounds    of -log p, one draw an image (K = 1); for tighter ones: genctl eval-bpd MODEL FILE -k 5000"
        )
    exact = [row.likelihood.model for row in found.rows if row.likelihood and row.likelihood.bound.startswith("exact")]
    if exact:
        lines.append(f"  exact     -log p of {', '.join(exact)}")
    changed = [row.likelihood for row in found.rows if row.likelihood and row.likelihood.augmentation]
    if changed:
        names = ", ".join(f"{entry.model} ({entry.augmentation})" for entry in changed)
        lines.append(f"  augmented trained on changed images: {names}")
    most_images = max((row.likelihood.images for row in found.rows if row.likelihood), default=0)
    for few in [row.likelihood for row in found.rows if row.likelihood and row.likelihood.images < most_images]:
        lines.append(f"  images    the likelihood of {few.model} is of a fixed choice of {few.images:,}")
    if not found.one_split:
        lines.append("  splits    differ: memorized is of what any model was trained on, the floor of what none was")
    most = max((row.quality for row in found.rows), key=lambda quality: len(quality.figures))
    return head, rows, [*lines, *notes(most, classes=False)]


def _row(row: Row, kinds: Sequence[str], names: Sequence[str]) -> list[str]:
    entry, about = row.likelihood, row.quality.about
    spent = row.training_seconds
    return [
        row.quality.name,
        *(number(row.quality.figures.get(name)) for name in names),
        *[number(entry.value) if entry and entry.column == kind else "-" for kind in kinds],
        f"{row.parameters:,}",
        str(row.epochs),
        "-" if spent is None else f"{spent / 60:.1f} min",
        f"{about['samples_per_second']:,.0f}",
        about["checkpoint"],
    ]
