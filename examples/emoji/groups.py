"""Sort the emoji of the npm package emoji-datasource-twitter into a folder a group, so that groups are classes.

npm pack emoji-datasource-twitter@16.0.0
tar xzf emoji-datasource-twitter-16.0.0.tgz
python examples/emoji/groups.py package emoji-by-group

The pictures are Twitter's Twemoji, CC-BY 4.0 (https://creativecommons.org/licenses/by/4.0/).
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path


def pictures(package: Path) -> Iterator[tuple[str, str]]:
    """Yield each emoji and each variation of its skin as (file name, group)."""
    for emoji in json.loads((package / "emoji.json").read_text(encoding="utf-8")):
        if emoji["category"] == "Component":  # five swatches of skin
            continue
        for form in (emoji, *emoji.get("skin_variations", {}).values()):
            yield form["image"], emoji["category"].replace(" & ", "-and-").lower().replace(" ", "-")


def main(package: Path, out: Path) -> None:
    """Copy every picture of 64 x 64 that is there into its group's folder and print the count."""
    copied = 0
    for image, group in pictures(package):
        source = package / "img" / "twitter" / "64" / image
        if source.is_file():
            (out / group).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, out / group / image)
            copied += 1
    print(f"{copied} pictures in {len(list(out.iterdir()))} groups: {out}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python examples/emoji/groups.py PACKAGE OUT")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
