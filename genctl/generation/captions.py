"""What a picture says of itself: texts in a PNG, a GIF, a WebP or an array. They hold no time, and change no pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import __version__

About = Mapping[str, str]  # key -> text: Command, Seed, Checkpoint, ...
DESCRIPTION, SOFTWARE = 0x010E, 0x0131  # of EXIF


def texts(about: About | None) -> dict[str, str]:
    """Return the texts with the version, in ASCII: what is not printable there is escaped. None says nothing."""
    if about is None:
        return {}
    whole = {"Software": f"genctl {__version__}", **about}
    return {key: _ascii(text) for key, text in whole.items() if text}


def _ascii(text: str) -> str:
    plain = text.encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in plain)


def png(about: About | None) -> dict[str, Any]:
    """Return the options with which Pillow writes the texts into a PNG, as tEXt chunks."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, text in texts(about).items():
        info.add_text(key, text)
    return {"pnginfo": info}


def gif(about: About) -> dict[str, Any]:
    """Return the options with which Pillow writes the texts into a GIF, as its comment."""
    return {"comment": _lines(about).encode()}


def webp(about: About) -> dict[str, Any]:
    """Return the options with which Pillow writes the texts into a WebP, as EXIF."""
    from PIL import Image

    exif = Image.Exif()
    exif[DESCRIPTION], exif[SOFTWARE] = _lines(about), texts({})["Software"]
    return {"exif": exif}


def _lines(about: About) -> str:
    return "\n".join(f"{key}: {text}" for key, text in texts(about).items())
