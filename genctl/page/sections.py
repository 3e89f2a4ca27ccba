"""The parts of a run's page, each a function of its record; a part without anything to show is None."""

from __future__ import annotations

from collections.abc import Sequence

from . import measured
from .html import Html, element, image, join
from .records import Nearest, Picture, Plane, RunRecord, Setting


def section(id_: str, level: int, title: str, about: object, *content: object) -> Html:
    """Return a part: its title and what it is on the left, what it shows on the right."""
    head = element("div", element(f"h{level}", title, id=f"{id_}-title"), element("p", about), class_="about")
    body = element("div", *content, class_="content")
    return element("section", head, body, id=id_, aria_labelledby=f"{id_}-title")


def samples(run: RunRecord, key: str, level: int) -> Html | None:
    """Return the samples through training, the last ones first; scripts add the slider."""
    if not run.frames:
        return None
    last = next(iter(run.frames.values()))[-1]
    alt = f"Samples after epoch {last.epoch}, a grid of images"
    controls = element("div", class_="controls", hidden=True)
    figure = element("figure", image(last.png, alt, class_="pixels"), controls, class_="frames", data_run=key)
    about = "The same noise after each epoch: what changes is the model."
    return section(f"samples-{key}", level, "Samples", about, figure)


def curves(run: RunRecord, key: str, level: int) -> Html | None:
    """Return where scripts draw the curves, with what they show in words."""
    if not run.lines:
        return None
    unit = run.curves.unit.replace("-ELBO", "\u2212ELBO") or "metrics"
    about = f"By epoch: {unit}. Point at a curve, or move along it with the arrow keys."
    scriptless = element("noscript", element("p", "The curves need scripts; their values are in metrics.jsonl."))
    large = element("div", class_="chart", data_run=key) if run.curves.series else None
    small = element("div", class_="multiples", data_run=key)
    table = element("details", element("summary", "All values as a table"), class_="values", data_run=key)
    return section(f"curves-{key}", level, "Curves", about, scriptless, large, small, table)


def picture(id_: str, level: int, title: str, about: str, found: Picture | None) -> Html | None:
    """Return a grid of images."""
    if found is None:
        return None
    shown = image(found.png, found.alt, class_=f"pixels scale-{found.scale}")
    return section(id_, level, title, about, element("figure", shown))


def plane(found: Plane | None, key: str, level: int) -> Html | None:
    """Return the latent as a place; without scripts it is a picture of its tiles."""
    if found is None:
        return None
    where = "The decoder itself runs in this page" if found.layers else f"{found.steps} x {found.steps} images"
    about = (
        f"Each place is a latent z, and each has its image. {where}. Move the pointer, a finger or the arrow keys over"
        " the plane; both axes are quantiles of the prior."
    )
    given = f" All images are of class {found.given}." if found.given else ""
    alt = f"Images over the latent plane, {found.steps} by {found.steps}"
    field = element(
        "div",
        image(found.tiles, alt, class_="pixels", draggable="false"),
        element("canvas", class_="points", hidden=True, aria_hidden="true"),
        element("span", class_="cross", hidden=True, aria_hidden="true"),
        class_="field",
        tabindex="0",
        role="application",
        aria_label="Latent plane. The arrow keys move, with Shift in larger steps; Home goes to the middle.",
    )
    _, H, W = found.shape
    lens = element(
        "figure",
        element("canvas", class_="pixels", width=W, height=H, role="img", aria_label="The image at the middle"),
        element("figcaption", element("output", aria_live="polite")),
        class_="lens",
        hidden=True,
    )
    return section(
        f"manifold-{key}", level, "Manifold", about + given, element("div", field, lens, class_="plane", data_run=key)
    )


def nearest(found: Nearest | None, key: str, level: int) -> Html | None:
    """Return samples above their nearest training images."""
    if found is None:
        return None
    about = (
        f"Each sample above the nearest of {found.train_images:,} training images. A distance far below"
        f" {found.usual:.1f}, the median of unseen test images, would be a memorized one."
    )
    items = []
    for i, pair in enumerate(found.pairs):
        what = f", class {pair.label}" if pair.label else ""
        caption = element("span", f"{pair.distance:.1f}", class_="number")
        top = image(pair.sample, f"Sample {i + 1}", class_="pixels")
        below = image(pair.near, f"Its nearest training image{what}, at distance {pair.distance:.1f}", class_="pixels")
        items.append(element("li", top, below, caption))
    return section(f"nearest-{key}", level, "Nearest training images", about, element("ul", *items, class_="pairs"))


def evaluations(run: RunRecord, key: str, level: int) -> Html | None:
    """Return the likelihoods and the quality of samples that were measured."""
    found = [table for record in reversed(run.evaluations) if (table := measured.table(record)) is not None]
    if not found:
        return None
    about = "What eval-bpd and evaluate have measured of this run, the newest first."
    return section(f"measured-{key}", level, "Measured", about, *found)


def alarms(run: RunRecord, key: str, level: int) -> Html | None:
    """Return what the model has warned of."""
    if not run.alarms:
        return None
    items = [
        element(
            "li",
            element("span", f"epoch {entry['epoch']}", class_="number"),
            " ",
            "over: " if entry.get("over") else None,
            element("span", entry["alarm"]),
            class_="over" if entry.get("over") else None,
        )
        for entry in run.alarms
    ]
    about = "What the model warned of while it was trained."
    return section(f"alarms-{key}", level, "Alarms", about, element("ul", *items, class_="alarms"))


def settings(run: RunRecord, key: str, level: int) -> Html:
    """Return the whole configuration; what differs from the defaults stands out."""
    panels = [
        element("div", element(f"h{level + 1}", panel), element("dl", *map(setting, options)), class_="panel")
        for panel, options in run.settings.items()
        if options
    ]
    about = join(["Every option of the run. ", element("b", "Bold"), " differs from the default."])
    return section(f"settings-{key}", level, "Configuration", about, element("div", *panels, class_="panels"))


def setting(option: Setting) -> Html:
    """Return an option and its value."""
    value = "none" if option.value is None or option.value == "" else plainly(option.value)
    return element("div", element("dt", option.name), element("dd", element("b", value) if option.changed else value))


def plainly(value: object) -> str:
    """Return a value as it is read: a list without its brackets, true and false as yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " ".join(map(plainly, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def commands(found: Sequence[tuple[str, str]], key: str, level: int) -> Html | None:
    """Return commands that can be typed, each with what it is for."""
    if not found:
        return None
    rows = [
        element("div", element("p", what), element("pre", element("code", line), tabindex="0"), class_="command")
        for what, line in found
    ]
    return section(
        f"again-{key}", level, "Make it again", "The same command gives the same weights, to the bit.", *rows
    )
