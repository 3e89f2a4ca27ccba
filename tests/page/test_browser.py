"""The page in a real browser: it is clicked, dragged and typed into, and its values are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import headless
import made
import pytest
import torch

from genctl.config import ModelConfig
from genctl.generation import exported, portrait, sampling
from genctl.generation.image_grid import to_bytes
from genctl.models.base import Decodes, build
from genctl.models.gan.config import GANConfig
from genctl.models.vae.config import VAEConfig
from genctl.page import page as of

PIXELS = """canvas => Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data)
    .filter((_, i) => i % 4 === 0)"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Return a headless browser, one for all tests; a machine without one skips them and says why."""
    yield from headless.started()


@pytest.fixture
def visit(browser: Any) -> Iterator[Any]:
    """Return a function that opens a page, which must ask for nothing else and complain of nothing."""
    visits: list[headless.Visit] = []

    def start(address: str, **how: Any) -> headless.Visit:
        visits.append(headless.Visit(browser, address, **how))
        return visits[-1]

    yield start
    for found in visits:
        found.context.close()
        assert {url for url in found.asked if not url.startswith("data:")} <= {found.asked[0]}
        assert found.complaints == []


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of a run's page."""
    return made.write(tmp_path_factory.mktemp("page"), made.page(made.record()))


def test_samples_follow_the_slider_and_the_buttons(visit: Any, address: str) -> None:
    from playwright.sync_api import expect

    it = visit(address)
    figure, image = it.page.locator(".frames"), it.page.locator(".frames img")
    assert figure.locator("output").inner_text() == f"epoch {made.EPOCHS}"
    last = image.get_attribute("src")
    slider = figure.locator("input")
    slider.focus()
    it.page.keyboard.press("ArrowLeft")
    assert (figure.locator("output").inner_text(), slider.get_attribute("aria-valuetext")) == ("epoch 5", "epoch 5")
    assert image.get_attribute("src") != last and "epoch 5" in image.get_attribute("alt")
    it.page.keyboard.press("Home")
    assert figure.locator("output").inner_text() == "epoch 0"
    box = slider.bounding_box()
    it.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert figure.locator("output").inner_text() == "epoch 3"
    means = image.get_attribute("src")
    figure.get_by_role("button", name="Samples plain").click()
    assert image.get_attribute("src") != means and figure.locator("output").inner_text() == "epoch 3"
    assert figure.get_by_role("button", name="Samples plain").get_attribute("aria-pressed") == "true"
    figure.get_by_role("button", name="Play").click()
    assert figure.get_by_role("button", name="Stop").is_visible()
    expect(figure.locator("output")).not_to_have_text("epoch 3")


def test_curves_say_their_values_under_the_pointer_and_by_keys(visit: Any, address: str) -> None:
    it = visit(address)
    assert it.text(".readout").split() == ["epoch", "6", "train", "150.5", "validation", "plain", "165.5"]
    plot = it.page.locator(".chart .plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    left, right = box["x"] + 52, box["x"] + box["width"] - 12  # of the axis
    it.page.mouse.move(left + 0.4 * (right - left), box["y"] + 100)  # the third of six epochs
    assert it.text(".readout").split() == ["epoch", "3", "train", "180.5", "validation", "plain", "180.5"]
    assert "0.2000" in it.page.locator(".multiples figure", has_text="plain").inner_text()
    it.page.mouse.move(5, 5)
    assert it.text(".readout").startswith("epoch 6")
    plot.focus()
    it.page.keyboard.press("ArrowLeft")
    assert (it.value(".plot", "aria-valuenow"), it.value(".plot", "role")) == ("5", "slider")
    assert it.value(".plot", "aria-valuetext") == "epoch 5: train 160.5, validation plain 170.5"
    it.page.keyboard.press("Home")
    assert it.value(".plot", "aria-valuenow") == "1"
    it.page.locator("summary").click()
    it.page.locator(".values tbody tr").nth(1).wait_for()
    cells = it.page.locator(".values tbody tr").nth(1).locator("td").all_inner_texts()
    assert cells[:3] == ["2", "190.5", "185.5"]


FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"  # two of the screen


def drawn(it: Any) -> torch.Tensor:
    """Return what the lens shows, [H, W]."""
    it.page.evaluate(FRAMES)
    return torch.tensor(it.page.locator(".lens canvas").evaluate(PIXELS)).reshape(made.SHAPE[1:])


def latent(it: Any) -> list[float]:
    """Return z as the page says it."""
    it.page.evaluate(FRAMES)
    return [float(part) for part in it.text(".lens output").replace("−", "-")[5:-1].split(",")]


def test_the_plane_is_decoded_under_pointer_finger_and_keys(visit: Any, address: str) -> None:
    it = visit(address, has_touch=True)
    assert it.value(".plane", "data-drawn") == "decoded"  # so it agrees with torch to 1e-4
    model, field = made.vae(), it.page.locator(".field")
    field.scroll_into_view_if_needed()
    box = field.bounding_box()
    at = {"middle": (0.5, 0.5), "corner": (0.1, 0.1)}  # the middle of a tile is where its latent is: 5 x 5 tiles
    seen = {}
    for name, (right, down) in at.items():
        it.page.mouse.move(box["x"] + right * box["width"], box["y"] + down * box["height"])
        seen[name] = drawn(it)
        wanted = [0, 0] if name == "middle" else [-2.58, 2.58]
        assert latent(it) == pytest.approx(wanted, abs=0.04)
        exact = to_bytes(sampling.decode(model, torch.tensor([latent(it)])))[0, 0]
        assert (seen[name] - exact.int()).abs().max() <= 4  # z is said with two digits
    assert not torch.equal(seen["middle"], seen["corner"])
    it.page.touchscreen.tap(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    assert torch.equal(drawn(it), seen["middle"])
    field.focus()
    it.page.keyboard.press("ArrowRight")
    assert latent(it)[0] > 0 == latent(it)[1]
    for _ in range(6):
        it.page.keyboard.press("Shift+ArrowUp")
    assert latent(it)[1] == pytest.approx(2.58, abs=0.01)  # no further than the plane
    it.page.keyboard.press("Home")
    assert torch.equal(drawn(it), seen["middle"])
    it.page.get_by_role("button", name="Test images by class").click()
    assert it.page.locator(".points").is_visible() and it.text(".legend").split() == ["plain", "dog"]
    colours = it.page.locator(".points").evaluate(
        "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v)"
    )
    assert colours


def test_a_decoder_that_is_not_torch_s_is_not_shown(visit: Any, tmp_path: Path) -> None:
    run = made.record()
    plane = run.portrait.plane
    wrong = [(z, bytes(len(image))) for z, image in plane.checks]
    other = replace(run, portrait=replace(run.portrait, plane=replace(plane, checks=wrong)))
    it = visit(made.write(tmp_path, made.page(other)))
    assert it.value(".plane", "data-drawn") == "tiles"
    tiles = to_bytes(sampling.decode(made.vae(), torch.zeros(1, 2)))[0, 0].int()
    assert (drawn(it) - tiles).abs().max() <= 1
    field = it.page.locator(".field")
    field.focus()
    it.page.keyboard.press("ArrowLeft")
    assert latent(it)[0] == pytest.approx(portrait.torch.special.ndtri(torch.tensor(0.2525)).item(), abs=0.01)


NETWORKS = [
    VAEConfig(arch="mlp", latent_dim=2, hidden=8, layers=2, activation="tanh"),
    VAEConfig(arch="conv", latent_dim=2, channels=2),
    VAEConfig(arch="conv", latent_dim=2, channels=2, prior="flow", prior_couplings=3, prior_hidden=4),
    VAEConfig(arch="mlp", latent_dim=2, hidden=8, conditional=True, classes=3, prior="class"),
    VAEConfig(arch="mlp", latent_dim=2, hidden=8, conditional=True, classes=3, prior="flow", prior_hidden=4),
    GANConfig(arch="mlp", latent_dim=2),
    GANConfig(arch="dcgan", latent_dim=2, channels=2),
]


@pytest.mark.parametrize("config", NETWORKS, ids=lambda config: f"{config.name}-{config.arch}-{config.classes}")
def test_scripts_decode_as_torch_does(browser: Any, config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = build(config, made.SHAPE).eval()
    assert isinstance(model, Decodes)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.4)
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2)  # of a batch norm that has seen data
    z = torch.randn(4, 2)
    monkeypatch.setattr(exported, "MOST_NUMBERS", 10**6)
    of_class = 1 if config.classes else None
    y = None if of_class is None else torch.full((4,), of_class)
    small = exported.exported(model.decoder_layers(), of_class)
    assert small is not None
    asked = {"layers": small.operations, "weights": of.in_base64(small.bytes()), "z": z.tolist()}
    sources = (Path(of.__file__).parent / "assets" / name for name in ("run.js", "network.js"))
    shared, network = (source.read_text() for source in sources)
    script = f"asked => {{ {shared.split('// What an open page')[0].split(';', 1)[1]} {network}"
    script += " const layers = withWeights(asked.layers, new Float32Array(bytes(asked.weights).buffer));"
    script += " return asked.z.map((z) => Array.from(apply(layers, Float64Array.from(z), [2]))); }"
    page = browser.new_page()
    found = torch.tensor(page.evaluate(script, asked))
    page.close()
    wanted = sampling.decode(model, z, y).flatten(1)
    assert (found - wanted).abs().max() < 1e-4
    assert wanted.std(0).max() > 1e-3


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u2028\u202e"


def test_a_hostile_run_runs_nothing(visit: Any, tmp_path: Path) -> None:
    it = visit(made.write(tmp_path, made.page(made.record(name=HOSTILE, word=HOSTILE))))
    heading = it.text("h1")
    assert heading.startswith("</script><script>alert(1)</script><img") and "\\u202e" in heading
    assert it.page.locator("script").count() == 2 and it.page.locator("img[src=x]").count() == 0
    it.page.locator("summary").click()
    it.page.locator(".frames button").nth(1).click()
    it.page.get_by_role("button", name="Test images by class").click()
    it.page.locator(".plot").focus()
    it.page.keyboard.press("Home")
    assert "<img src=x" in it.text(".readout") and "<img src=x" in it.text(".values thead")
    assert "<img src=x" in it.text(".legend")
    assert it.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_policy_stops_a_script_that_came_in_all_the_same(browser: Any, tmp_path: Path) -> None:
    content = made.page(made.record()).replace(b"</main>", b"<script>window.ran = 1</script><p onclick='x'></p></main>")
    page = browser.new_page()
    page.goto(made.write(tmp_path, content))
    assert page.evaluate("window.ran") is None
    page.close()


FAINT = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = numbers(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
  };
  const texts = [...document.querySelectorAll('body *')].filter((e) => e.offsetParent
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()));
  return texts.map((e) => {
    const [a, b] = [light(numbers(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), e.textContent.slice(0, 40)];
  }).filter(([ratio]) => ratio < 4.5);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_and_a_phone_holds_the_page(visit: Any, tmp_path: Path, scheme: str) -> None:
    runs = [
        made.record(),
        made.record("a-rather-long-name-of-a-run-that-was-made-by-hand-0123456789", state="diverged"),
    ]
    address = made.write(tmp_path, made.page(*runs, refresh=100))
    it = visit(address, color_scheme=scheme, viewport={"width": 320, "height": 700}, is_mobile=True, has_touch=True)
    assert it.page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [320, 320]
    dark = it.page.evaluate("getComputedStyle(document.body).backgroundColor").startswith("rgb(1")
    assert dark == (scheme == "dark")
    assert it.page.evaluate(FAINT) == []


def test_a_screen_reader_finds_its_way(visit: Any, tmp_path: Path) -> None:
    it = visit(made.write(tmp_path, made.page(made.record(), made.record("gan-002"))))
    levels = it.page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map((h) => Number(h.tagName[1]))")
    assert levels.count(1) == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    names = """[...document.querySelectorAll('button, input, [role=slider], [role=application], [role=region]')]
        .map((e) => (e.getAttribute('aria-label') || e.textContent).trim())"""
    assert len(it.page.evaluate(names)) > 15 and all(it.page.evaluate(names))
    assert it.page.evaluate("[...document.images].every((i) => i.alt && i.naturalWidth)")
    ids = it.page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    owners = "[...document.querySelectorAll('[aria-labelledby]')].map((e) => e.getAttribute('aria-labelledby'))"
    assert len(ids) == len(set(ids)) and set(it.page.evaluate(owners)) <= set(ids)
    it.page.keyboard.press("Tab")
    assert it.page.evaluate("document.activeElement.className") == "skip"


def test_several_runs_are_beside_each_other(visit: Any, tmp_path: Path) -> None:
    it = visit(made.write(tmp_path, made.page(made.record("vae-001"), made.record("vae-002"))))
    assert it.text("h1") == "Comparison"
    assert it.page.locator("#comparison tbody tr").first.locator("td, th").all_inner_texts() == ["vae", "1.5"]
    it.page.locator("article .plot").nth(1).focus()
    it.page.keyboard.press("Home")
    readouts = it.page.locator(".readout").all_inner_texts()
    assert [text.split()[1] for text in readouts] == ["6", "1"]  # each run has its own epoch


def test_an_open_page_looks_for_news_until_it_is_paused(visit: Any, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    def write(best: str, refresh: float | None) -> str:
        run = made.record(state="running" if refresh else "finished", best=best, done=0.5)
        return made.write(tmp_path, made.page(run, refresh=refresh, written=datetime.now(UTC).isoformat()))

    it = visit(write("first", 0.2))
    assert it.text(".live") == "Live" and it.value("progress", "value") == "50"
    write("second", 0.2)
    expect(it.page.locator(".figures dd").first).to_have_text(re.compile("second"))
    it.page.locator(".live").click()
    write("third", 0.2)
    it.page.wait_for_timeout(500)
    assert it.text(".figures dd").startswith("second") and it.text(".live") == "Updates paused"
    write("third", None)
    it.page.locator(".live").click()
    expect(it.page.locator(".figures dd").first).to_have_text(re.compile("third"))
    assert it.page.locator(".live").count() == 0
    before = len(it.asked)
    it.page.wait_for_timeout(500)
    assert len(it.asked) == before  # a run that has ended brings no news


def test_without_scripts_the_page_still_shows_the_run(visit: Any, address: str) -> None:
    it = visit(address, java_script_enabled=False)
    assert it.text("h1") == "vae-001" and it.page.locator("img").count() > 10
    assert "metrics.jsonl" in it.text("noscript")
    assert "98.75 ± 0.31 nats" in it.text("#measured-0")
