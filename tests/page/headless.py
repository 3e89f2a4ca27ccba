"""A headless browser, one for all tests; a machine without one skips them and says why."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def missing(reason: str) -> None:
    """Skip, or fail where a browser was promised."""
    if os.environ.get("GENCTL_BROWSER"):
        pytest.fail(f"GENCTL_BROWSER promises a browser: {reason}")
    pytest.skip(reason)


def started() -> Iterator[Any]:
    """Yield a headless Chromium."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing("there is no chromium here; on Debian: apt-get install chromium")
    try:
        from playwright.sync_api import expect, sync_playwright
    except ImportError:
        missing("playwright is not installed; it is in the group dev")
    expect.set_options(timeout=60_000)  # of a busy machine
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """An open page, what it asked for and what it complained of."""

    def __init__(self, browser: Any, address: str, **how: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1100, "height": 800}, **how})
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message) or dialog.dismiss())
        self.page.set_default_timeout(60_000)  # of a busy machine
        self.page.goto(address)

    def text(self, selector: str) -> str:
        """Return the text of the first element."""
        return str(self.page.locator(selector).first.inner_text())

    def value(self, selector: str, name: str) -> str:
        """Return an attribute of the first element."""
        return str(self.page.locator(selector).first.get_attribute(name))
