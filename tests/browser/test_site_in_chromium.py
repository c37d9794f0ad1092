"""The site in Chromium: what axe-core says, what its switches do, and how it fits.

Every page is opened as a file. Nothing may be loaded, and no page may complain.
"""

import pytest

from mnistkit.report.scales import chapters

pytestmark = pytest.mark.browser

PAGES = ["index", "index.zh", *chapters()]
REVISITED = "07_five_reports_revisited"
PHONE = {"width": 390, "height": 844}
LAPTOP = {"width": 1280, "height": 900}
# All that is folded must be readable as well.
UNFOLD = "document.querySelectorAll('details').forEach(box => { box.open = true; })"
# The colour of a token depends on its class alone, so one of each class is enough: a
# chapter has thousands, and axe-core looks at each for milliseconds.
ONE_OF_EACH = """const seen = new Set();
for (const token of document.querySelectorAll("pre span")) {
  if (seen.has(token.className)) token.replaceWith(token.textContent);
  seen.add(token.className);
}
document.querySelectorAll("pre code").forEach(code => code.normalize())"""


@pytest.fixture
def opened(course_site, chromium):
    """Open a page of the site by its name; at the end, nothing went wrong on it."""
    contexts, problems = [], []

    def open_page(name, **options):
        contexts.append(chromium.new_context(**{"viewport": LAPTOP} | options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.extend(outside(request.url)))
        page.goto((course_site / f"{name}.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def outside(url):
    """What a page asks for beside files of the site and the pictures that it holds."""
    return [] if url.startswith(("file:", "data:")) else [url]


def violations(page, **options):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="needs axe-core: pip install -e .[browser]",
    )
    page.evaluate(UNFOLD)
    page.evaluate(ONE_OF_EACH)
    found = axe.Axe().run(page, options={"resultTypes": ["violations"], **options})
    return [
        (rule["id"], rule["nodes"][0]["html"][:200], rule["nodes"][0]["failureSummary"])
        for rule in found.response["violations"]
    ]


@pytest.mark.parametrize("name", PAGES)
def test_axe_has_no_complaint(opened, name):
    assert violations(opened(name, color_scheme="light")) == []


@pytest.mark.parametrize("name", PAGES)
def test_the_contrast_in_the_dark_is_enough(opened, name):
    """The elements are those of the light page, so their colours are what is left."""
    contrast = {"type": "rule", "values": ["color-contrast"]}
    assert violations(opened(name, color_scheme="dark"), runOnly=contrast) == []


def test_axe_finds_what_is_wrong(opened):
    page = opened("index")
    page.evaluate("document.querySelector('main p').style.color = '#999'")
    page.evaluate("document.querySelector('img[alt]').removeAttribute('alt')")
    assert [rule for rule, *_ in violations(page)] == ["color-contrast", "image-alt"]


@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
@pytest.mark.parametrize("name", PAGES)
def test_the_page_never_scrolls_sideways(opened, name, width):
    page = opened(name, viewport={"width": width, "height": 844})
    page.evaluate(UNFOLD)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_page_can_be_read_without_its_script(opened):
    page = opened("02_model_zoo", java_script_enabled=False)
    assert page.locator("main h2").first.is_visible()
    assert page.locator(".contents a[href='#predict-first']").is_visible()
    assert page.locator("details.code.plot pre").first.is_hidden()
    page.locator("details.code.plot summary").first.click()
    assert page.locator("details.code.plot pre").first.is_visible()


def test_the_switch_unfolds_all_code_but_the_answers(opened):
    page = opened("02_model_zoo")
    plots, lessons = page.locator("details.plot"), page.locator("details.lesson")
    answers = page.locator("details.answer")
    is_open = "boxes => boxes.filter(box => box.open).length"
    assert plots.evaluate_all(is_open) == 0
    assert lessons.evaluate_all(is_open) == lessons.count() > 0
    page.get_by_label("Code", exact=True).select_option("all")
    assert plots.evaluate_all(is_open) == plots.count() > 0
    assert answers.count() > 0
    assert answers.evaluate_all(is_open) == 0
    page.get_by_label("Code", exact=True).select_option("none")
    assert lessons.evaluate_all(is_open) == 0


def test_the_switch_of_colours_is_kept(opened):
    page = opened("index", color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_label("Colours").select_option("dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark


def test_the_contents_mark_the_section_that_is_read(opened):
    page = opened("02_model_zoo")
    page.locator("#a-shortcut-by-hand").evaluate("head => head.scrollIntoView()")
    marked = page.locator(".contents [aria-current=true]")
    marked.wait_for()
    assert marked.inner_text() == "A shortcut, by hand"


def test_the_copied_code_is_the_code(opened):
    page = opened("00_start_here", permissions=["clipboard-read", "clipboard-write"])
    frame = page.locator(".frame").first
    frame.hover()
    frame.get_by_role("button", name="Copy").click()
    frame.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == frame.locator("code").evaluate("code => code.textContent")


def size(text):
    """The number in a cell such as 235.1 k."""
    number, _, unit = text.replace(",", "").partition(" ")
    return float(number) * {"": 1, "k": 1e3, "M": 1e6}[unit]


def test_a_column_of_numbers_is_sorted_by_size(opened):
    page = opened("02_model_zoo")
    table = page.locator("table.data", has_text="wrn16_4").first
    column = table.locator("thead th", has_text="parameters")
    at = column.evaluate("head => head.cellIndex")

    def sizes():
        cells = table.locator(f"tbody tr > :nth-child({at + 1})").all_inner_texts()
        return [size(cell) for cell in cells]

    assert sizes() != sorted(sizes())
    column.get_by_role("button").click()
    assert sizes() == sorted(sizes())
    assert column.get_attribute("aria-sort") == "ascending"
    column.get_by_role("button").click()
    assert sizes() == sorted(sizes(), reverse=True)


def test_the_filter_leaves_one_outcome(opened):
    page = opened(REVISITED)
    bar = page.locator(".filter").first
    table = page.locator(".filter + .scroll table").first
    chosen = bar.get_by_role("button", name="differs")
    count = int(chosen.inner_text().split()[-1])
    chosen.click()
    rows = table.locator("tbody tr:visible")
    assert rows.count() == rows.locator(".outcome.differs").count() == count
    bar.get_by_role("button", name="all").click()
    assert rows.count() > count


def test_the_chinese_page_filters_and_sorts_in_chinese(opened):
    page = opened("index.zh")
    bar = page.locator(".filter").first
    assert bar.get_by_role("button").all_inner_texts()[0].startswith("全部")
    rows = page.locator(".filter + .scroll table").first.locator("tbody tr:visible")
    bar.get_by_role("button", name="在一种解读下成立").click()
    assert rows.count() == rows.locator(".outcome.partly").count() > 0
    bar.get_by_role("button", name="全部").click()
    page.locator("thead th", has_text="结果").first.get_by_role("button").click()
    outcomes = rows.locator(".outcome").all_inner_texts()
    assert outcomes == page.evaluate(
        "texts => texts.toSorted(new Intl.Collator('zh-CN', {numeric: true}).compare)",
        outcomes,
    )
    page.get_by_label("颜色").select_option("深色")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_solutions_are_printed_and_switches_are_not(opened):
    page = opened("02_model_zoo")
    page.emulate_media(media="print")
    assert page.locator("main > details:not(.code) pre").first.is_visible()
    for hidden in (".top", ".contents", ".around"):
        assert page.locator(hidden).is_hidden()
