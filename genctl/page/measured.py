"""Records of eval-bpd and evaluate as tables. They come from a file: what is of another kind is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..runs.records import CLASSIFIER, FIGURES
from .html import Html, element
from .records import Table


def number(value: object, digits: int = 4) -> str:
    """Return a number with so many significant digits, and "-" for what is none."""
    return f"{value:.{digits}g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else "-"


def count(value: object) -> str:
    """Return a whole number with its thousands set apart."""
    return f"{value:,}" if isinstance(value, int) else "-"


def table(record: Mapping[str, Any]) -> Html | None:
    """Return a record as a table; None for one of another verb."""
    if record.get("verb") == "eval-bpd":
        return likelihood(record)
    return quality(record) if record.get("verb") == "evaluate" else None


def likelihood(record: Mapping[str, Any]) -> Html:
    """Return a likelihood: its value and error, and all that it takes to compare it."""
    error = record.get("standard_error")
    value = f"{number(record.get('value'), 5)}{f' ± {number(error, 2)}' if error else ''} {record.get('unit', '')}"
    given = ", given the class" if record.get("conditional") else ""
    rows = {
        "of": f"{record.get('data', '-')}{given} ({record.get('pixels', '-')})",
        "estimator": f"{record.get('estimator', '-')}, K = {count(record.get('K'))}: {record.get('bound', '-')}",
        "split": f"{record.get('split', '-')}, {count(record.get('images'))} images",
        "also": f"{number(record.get('bits_per_dim'), 5)} bits/dim, {number(record.get('nats'), 5)} nats an image",
        "weights": str(record.get("weights", "-"))[:16],
    }
    pairs = [element("div", element("dt", key), element("dd", text)) for key, text in rows.items()]
    return element(
        "div",
        element("p", element("b", value), class_="headline"),
        element("dl", *pairs, class_="facts"),
        class_="record",
    )


def quality(record: Mapping[str, Any]) -> Html:
    """Return the quality of samples: each figure, its interval, and the floor of real images."""
    intervals, floor = inner(record, "interval"), inner(record, "floor")
    rows = []
    for name in FIGURES:
        if name in record:
            between = intervals.get(name)
            shown = " to ".join(map(number, between)) if isinstance(between, list) else "-"
            rows.append([name.replace("_", " "), number(record[name]), shown, number(floor.get(name))])
    what = f"{count(record.get('samples'))} samples against {count(record.get('reference_images'))} images"
    kind = inner(record, "features").get("kind", CLASSIFIER)
    features = "" if kind == CLASSIFIER else f"; in {kind} features, no rival of figures in others"
    caption = f"{what} of {record.get('dataset', '-')} ({record.get('split', '-')}){features}"
    return scrolled(Table(["figure", "samples", "95 % interval", "floor"], rows, []), caption, "record")


def inner(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the object of this name in a record; an empty one where it has none."""
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def scrolled(found: Table, caption: str, class_: str = "") -> Html:
    """Return a table in a box of its own: a wide one moves there, and the page does not."""
    head = element("tr", *(element("th", cell, scope="col") for cell in found.head))
    body = [_row(row) for row in found.rows]
    inner = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
    return element("div", inner, class_=f"scroll {class_}".strip(), tabindex="0", role="region", aria_label=caption)


def _row(row: Sequence[str]) -> Html:
    return element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:]))
