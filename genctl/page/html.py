"""HTML that is safe by construction: whatever is not markup already is escaped where it enters."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from typing import Any

from ..runs.records import to_json
from ..terminal.console import plain

VOID = {"img", "input", "link", "meta", "br", "col"}
IN_SCRIPT = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}  # what could end a script, or a line in it


class Html(str):
    """Markup."""


def text(value: object) -> Html:
    """Return a text as markup; what would steer a reader's eye, such as a turned direction, is shown as its code."""
    return value if isinstance(value, Html) else Html(escape(plain(str(value)), quote=True))


def join(parts: Iterable[object]) -> Html:
    """Return texts and markup one after the other; None is left out."""
    return Html("".join(text(part) for part in parts if part is not None))


def element(name: str, /, *children: object, **attributes: object) -> Html:
    """Return an element: class_="a" is class="a", aria_label="b" is aria-label="b", hidden=True is hidden.

    An attribute of None or False is left out.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    written = "".join(
        f" {key}" if value is True else f' {key}="{text(value)}"'
        for key, value in given.items()
        if value is not None and value is not False
    )
    return Html(f"<{name}{written}>" if name in VOID else f"<{name}{written}>{join(children)}</{name}>")


def document(name: str, value: Any) -> Html:
    """Return JSON that a script reads: an element that nothing in the value can end."""
    return Html(f'<script type="application/json" id="{text(name)}">{to_json(value).translate(IN_SCRIPT)}</script>')


def in_base64(data: bytes) -> str:
    """Return bytes as the letters that a data: address and JSON hold."""
    return base64.b64encode(data).decode()


def image(png: bytes, alt: str, **attributes: object) -> Html:
    """Return an image that is part of the page."""
    width, height = size_of(png)
    size = {"width": width, "height": height, **attributes}
    return element("img", src=f"data:image/png;base64,{in_base64(png)}", alt=alt, **size)


def size_of(png: bytes) -> tuple[int, int]:
    """Return the width and height that a PNG's header names."""
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
