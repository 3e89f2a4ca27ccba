"""A page as text: what may run in it, what is escaped, and how large it is."""

from __future__ import annotations

import json
import re

import made
import pytest

from genctl.page.html import Html, document, element, join, text
from genctl.page.page import digest, duration
from genctl.training import frames


@pytest.mark.parametrize(
    ("markup", "wanted"),
    [
        (element("p", "<b>", class_='a"b'), '<p class="a&quot;b">&lt;b&gt;</p>'),
        (element("p", Html("<b>"), "&"), "<p><b>&amp;</p>"),
        (element("input", hidden=True, name="n", max=None, checked=False), '<input hidden name="n">'),
        (join(["'", None, 5]), "&#x27;5"),
        (text("a\u202eb\n"), "a\\u202eb\\u000a"),
        (document("d", {"a": "</script>\u2028", "b": float("nan")}), None),
    ],
)
def test_what_is_no_markup_is_escaped(markup: Html, wanted: str | None) -> None:
    if wanted is not None:
        assert markup == wanted
        return
    inner = re.fullmatch(r'<script type="application/json" id="d">(.*)</script>', markup)
    assert inner and not set("<>&\u2028") & set(inner[1])
    assert json.loads(inner[1]) == {"a": "</script>\u2028", "b": None}


def test_the_policy_names_the_page_s_own_script_and_style_alone() -> None:
    page = made.page(made.record()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert policy and len(scripts) == len(styles) == 1
    rules = dict(rule.split(" ", 1) for rule in policy[1].replace("&#x27;", "'").split("; "))
    own = {"script-src": f"'{digest(scripts[0])}'", "style-src": f"'{digest(styles[0])}'"}
    assert rules == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'", **own}
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page) and " style=" not in page


def test_a_page_of_parts_that_are_not_there_leaves_them_out() -> None:
    bare = made.record(lines=(), frames={}, evaluations=(), alarms=(), commands=(), best="", portrait=made.Portrait())
    page = made.page(bare).decode()
    assert [name in page for name in ("Samples</h2>", "Curves</h2>", "Manifold</h2>", "Alarms</h2>")] == [False] * 4
    assert "Configuration</h2>" in page


def test_what_was_left_out_is_named_with_the_command_that_draws_it() -> None:
    page = made.page(made.record(portrait=made.Portrait(left_out=["the manifold"]))).decode()
    assert "Not drawn, to keep the training quick: the manifold. genctl report draws them." in page


@pytest.mark.parametrize(
    ("seconds", "said"), [(5.25, "5.2 s"), (61, "1 min 01 s"), (3599.6, "1 h 00 min"), (7322, "2 h 02 min")]
)
def test_a_time_is_said(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("n", "many", "kept"), [(3, 5, [0, 1, 2]), (9, 5, [0, 2, 4, 6, 8]), (9, 1, [8]), (5, 2, [0, 4])]
)
def test_frames_are_thinned_at_equal_distances(n: int, many: int, kept: list[int]) -> None:
    assert [epoch for epoch, _ in frames.thinned([(i, None) for i in range(n)], many)] == kept
