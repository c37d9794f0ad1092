"""The slides of every chapter in Chromium, without a server and without a network."""

import pytest

from mnistkit.report import scales
from mnistkit.report.slides import build_slides

pytestmark = pytest.mark.browser

# What of a slide is outside of it: all of its content but the folded code.
OUTSIDE = """
() => [...document.querySelectorAll(".slides > section > section")].flatMap((slide) => {
  const { h, v } = Reveal.getIndices(slide);
  Reveal.slide(h, v);
  const page = slide.getBoundingClientRect();
  return [...slide.querySelectorAll("*")]
    .filter((element) => !element.closest(".code, annotation, svg *, .figure math"))
    .map((element) => [element, element.getBoundingClientRect()])
    .filter(([, box]) => box.width && box.height)
    .filter(([, box]) => box.left < page.left - 1 || box.right > page.right + 1
                      || box.top < page.top - 1 || box.bottom > page.bottom + 1)
    .map(([element]) => `slide ${h}/${v}: ${element.tagName} ${element.textContent}`);
})
"""
SIZES = """
() => [...document.querySelectorAll(".slides > section > section")]
  .map((slide) => parseFloat(getComputedStyle(slide).fontSize))
"""
FIGURES = """
() => [...document.querySelectorAll(".slides .figure")].map((figure) => {
  const { h, v } = Reveal.getIndices(figure.closest("section"));
  Reveal.slide(h, v);
  const picture = figure.querySelector("img, svg");
  return [picture.getBoundingClientRect().height, figure.closest("section").innerText];
})
"""


@pytest.fixture
def page(chromium):
    """A page of a projector's size; nothing may go wrong on it, nor leave it."""
    page = chromium.new_page(viewport={"width": 1280, "height": 720})
    problems = []
    page.on("console", lambda said: problems.append(said.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda made: problems.append(made.url))
    yield page
    page.close()
    assert [p for p in problems if not p.startswith(("data:", "file:"))] == []
    files = [p for p in problems if p.startswith("file:")]
    assert len({address.partition("#")[0] for address in files}) == 1


@pytest.fixture(params=scales.chapters())
def deck(request, page, tmp_path, monkeypatch):
    monkeypatch.setenv("MNISTKIT_OUT", str(tmp_path))
    page.goto(build_slides(request.param).as_uri())
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    return page


def test_every_slide_fits_and_can_be_read(deck):
    assert deck.evaluate(OUTSIDE) == []
    sizes = deck.evaluate(SIZES)
    assert min(sizes) >= 20 and sorted(sizes)[len(sizes) // 20] >= 24
    assert all(height >= 290 for height, _ in deck.evaluate(FIGURES))


@pytest.mark.parametrize("deck", ["02_model_zoo"], indirect=True)
def test_folded_code_opens_over_the_slide_and_escape_closes_it(deck):
    shown = "document.querySelector('section.present section.present .code details')"
    while not deck.evaluate(f"Boolean({shown})"):
        deck.keyboard.press("Space")
    deck.locator("section.present section.present .code summary").first.click()
    code = deck.locator("section.present section.present details[open] pre").first
    code.wait_for()
    box = code.bounding_box()
    assert box["width"] > 900 and box["y"] + box["height"] <= 720
    slide = deck.evaluate("Reveal.getIndices()")
    deck.keyboard.press("Escape")
    assert deck.evaluate(f"{shown}.open") is False
    assert not deck.evaluate("Reveal.isOverview()")
    assert deck.evaluate("Reveal.getIndices()") == slide
