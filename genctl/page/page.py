"""The whole page: head, runs, and what scripts read, under a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from . import sections
from .html import Html, document, element, image, in_base64, join
from .measured import scrolled
from .records import Page, Plane, RunRecord

SCRIPTS = ("run.js", "samples.js", "curves.js", "network.js", "plane.js", "live.js")  # in this order
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16'"
    " rx='4' fill='%233355c8'/%3E%3Cpath d='M3 11c3 0 3-6 5-6s2 6 5 6' fill='none' stroke='%23fff' stroke-width='1.6'/"
    "%3E%3C/svg%3E"
)


@cache
def asset(*names: str) -> Html:
    """Return files of this package one after the other: they are the page's own style and script."""
    folder = files(__package__) / "assets"
    return Html("\n".join((folder / name).read_text("utf-8") for name in names))


def policy(*, script: str, style: str) -> str:
    """Return a Content-Security-Policy: images within the page, this script and this style, and nothing else."""
    allowed = {"script-src": digest(script), "style-src": digest(style)}
    own = "; ".join(f"{kind} '{value}'" for kind, value in allowed.items())
    return f"default-src 'none'; img-src data:; {own}; base-uri 'none'; form-action 'none'"


def digest(source: str) -> str:
    """Return the hash by which a policy knows an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def render(page: Page) -> bytes:
    """Return the file."""
    style, script = asset("page.css"), Html(f"'use strict';\n(() => {{\n{asset(*SCRIPTS)}}})();\n")
    title = " and ".join(run.name for run in page.runs)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy(script=script, style=style)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content=f"genctl {page.version}"),
        element("title", f"{title} · genctl"),
        element("link", rel="icon", href=ICON),
        element("style", style),
    )
    body = element("body", top(page), main(page), foot(page), document("data", data(page)), element("script", script))
    whole = join([Html("<!doctype html>\n"), element("html", head, body, lang="en")])
    return whole.encode(errors="backslashreplace")


def top(page: Page) -> Html:
    """Return the line at the top: whose page it is, and whether it goes on."""
    live = element("button", "Pause", type="button", class_="live", aria_pressed="false", hidden=True)
    skip = element("a", "Skip to the content", class_="skip", href="#main")
    brand = element("p", element("b", "genctl"), " report")
    return join([skip, element("header", brand, live if page.refresh else None, class_="top")])


def main(page: Page) -> Html:
    """Return the runs, below what they are beside each other."""
    if len(page.runs) == 1:
        return element("main", article(page.runs[0], 0, 1), id="main")
    heading = element("header", element("h1", "Comparison"), lineup(page.runs), class_="hero")
    table = None
    if page.comparison is not None:
        notes = element("ul", *(element("li", note.strip()) for note in page.comparison.notes), class_="notes")
        caption = "Models of the same data, judged by the same images"
        about = "One row a model. Each likelihood has the column of its data; the floor is of real, unseen images."
        content = scrolled(page.comparison, caption, "wide"), notes
        table = sections.section("comparison", 2, "Side by side", about, *content)
    runs = [article(run, i, 2) for i, run in enumerate(page.runs)]
    return element("main", heading, table, *runs, id="main")


def lineup(runs: Sequence[RunRecord]) -> Html:
    """Return the last samples of each run, which lead to the rest of it."""
    items = []
    for i, run in enumerate(runs):
        last = next(iter(run.frames.values()))[-1].png if run.frames else None
        shown = image(last, f"Samples of {run.name}", class_="pixels") if last else None
        items.append(element("li", element("a", shown, element("b", run.name), " ", run.family, href=f"#run-{i}")))
    return element("ul", *items, class_="lineup")


def article(run: RunRecord, index: int, level: int) -> Html:
    """Return all of one run."""
    key, below, portrait = str(index), level + 1, run.portrait
    test = "Test images above what the model makes of their latents."
    path = "From one image to another of a different class, in a straight line through the latent."
    sphere = "Images over a surface in the latent, through four draws."
    parts = [
        sections.samples(run, key, below),
        sections.alarms(run, key, below),
        sections.curves(run, key, below),
        sections.plane(portrait.plane, key, below),
        sections.picture(f"reconstructions-{key}", below, "Reconstructions", test, portrait.reconstructions),
        sections.picture(f"interpolation-{key}", below, "Interpolation", path, portrait.interpolation),
        sections.picture(f"surface-{key}", below, "Manifold", sphere, portrait.manifold),
        sections.nearest(portrait.nearest, key, below),
        sections.evaluations(run, key, below),
        sections.commands(run.commands, key, below),
        sections.settings(run, key, below),
    ]
    return element("article", hero(run, level), *parts, id=f"run-{key}", aria_label=run.name)


def hero(run: RunRecord, level: int) -> Html:
    """Return a run's name, its state and the figures that one looks for first."""
    seconds = sum(line.get("seconds") or 0 for line in run.lines)
    epochs = run.lines[-1]["epoch"] if run.lines else 0
    figures = {
        "best validation": (run.best, run.of),
        "epochs": (f"{epochs:,}", f"of {run.about.train['epochs']:,}"),
        "training time": (duration(seconds) if seconds else "", f"on {run.about.device}"),
        "parameters": (f"{run.parameters:,}" if run.parameters else "", ""),
    }
    shown = [
        element("div", element("dt", name), element("dd", value, " ", element("small", small) if small else None))
        for name, (value, small) in figures.items()
        if value
    ]
    state = element("span", run.state, class_=f"state {run.state if run.state in STATES else ''}".strip())
    percent = round(100 * run.done)
    bar = element("progress", f"{percent} %", max="100", value=percent, aria_label="share of the training that is done")
    kicker = element("p", f"{run.family} on {run.about.dataset['name']}", class_="kicker")
    rest = run.portrait.left_out and run.state != "running"
    hint = f"Not drawn, to keep the training quick: {', '.join(run.portrait.left_out)}. genctl report draws them."
    return element(
        "header",
        kicker,
        element("div", element(f"h{level}", run.name), state, class_="name"),
        bar if run.state == "running" else None,
        element("dl", *shown, class_="figures"),
        element("p", hint, class_="hint") if rest else None,
        element("p", run.about.why, class_="hint") if run.about.why and run.state in ("failed", "diverged") else None,
        class_="hero",
    )


LAST = ("lr", "seconds", "images_per_second")  # of the metrics
STATES = {"finished", "running", "stopped", "diverged", "failed"}


def duration(seconds: float) -> str:
    """Return a time as it is said."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def foot(page: Page) -> Html:
    """Return what wrote the page, and when."""
    when = element("time", page.written[:16].replace("T", " "), " UTC", datetime=page.written)
    by = join(["Written ", when, f" by genctl {page.version}"])
    return element("footer", element("p", by), element("p", element("code", page.command)) if page.command else None)


def data(page: Page) -> dict[str, Any]:
    """Return what scripts read."""
    return {"runs": list(map(run_data, page.runs)), "refresh": page.refresh, "written": page.written}


def run_data(run: RunRecord) -> dict[str, Any]:
    """Return a run's samples, metrics and plane."""
    names = dict.fromkeys(name for line in run.lines for name in line if name not in ("epoch", "step", *LAST))
    names |= dict.fromkeys(name for name in LAST if any(name in line for line in run.lines))
    kinds = {kind: [[frame.epoch, in_base64(frame.png)] for frame in frames] for kind, frames in run.frames.items()}
    return {
        "name": run.name,
        "epochs": [line["epoch"] for line in run.lines],
        "metrics": [[name, [line.get(name) for line in run.lines]] for name in names],
        "curves": {
            "unit": run.curves.unit,
            "series": [list(pair) for pair in run.curves.series.items()],
            "levels": [list(pair) for pair in run.curves.levels.items()],
        },
        "frames": [list(pair) for pair in kinds.items()],
        "plane": None if run.portrait.plane is None else plane_data(run.portrait.plane),
    }


def plane_data(plane: Plane) -> Mapping[str, Any]:
    """Return a plane's decoder, tiles and points."""
    return {
        "low": plane.low,
        "high": plane.high,
        "shape": list(plane.shape),
        "steps": plane.steps,
        "layers": list(plane.layers),
        "weights": in_base64(plane.weights),
        "checks": [[list(z), in_base64(image)] for z, image in plane.checks],
        "points": [list(point) for point in plane.points],
        "classes": list(plane.classes),
    }
