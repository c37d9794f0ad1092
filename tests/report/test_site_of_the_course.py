"""The site of the course, built from the stored notebooks: gates for each page."""

import json
import re
import shutil
import subprocess

import nbformat
import pytest
from site_pages import Page

from mnistkit.claims.ledger import read_ledger
from mnistkit.report.scales import chapters
from mnistkit.report.site.pages import generator
from mnistkit.report.site.tables import CLAIM
from mnistkit.storage.places import ROOT

PAGES = ["index", "index.zh", *chapters()]
# The newest version that Debian's node runs.
HTML_VALIDATE = "html-validate@9.7.1"


@pytest.fixture(scope="module")
def pages(course_site):
    """Each page of the site, by its name."""
    return {name: Page(course_site / f"{name}.html") for name in PAGES}


@pytest.mark.parametrize("name", chapters())
def test_the_committed_page_is_that_of_the_stored_notebook(pages, name):
    committed = ROOT / "reports" / f"{name}.html"
    if not committed.exists():
        pytest.skip("no page is committed: python -m mnistkit report --scale full")
    text = committed.read_text("utf-8")
    [maker] = re.findall(r'name="generator" content="([^"]*)"', text)
    if maker != generator():
        pytest.skip(f"the page was made with {maker}; here is {generator()}")
    # Not one assertion on both: pytest would compare a megabyte line by line.
    is_equal = text == pages[name].text
    assert is_equal, f"{committed} is old: make the full report, and commit it"


@pytest.mark.parametrize("name", PAGES)
def test_ids_differ(pages, name):
    ids = pages[name].ids
    assert sorted(ids) == sorted(set(ids))


@pytest.mark.parametrize("name", PAGES)
def test_no_link_is_dead(pages, name):
    assert pages[name].dead_links() == []


@pytest.mark.parametrize("name", chapters())
def test_the_contents_are_the_sections_of_the_chapter(pages, name):
    page = pages[name]
    sections = [anchor for level, anchor in page.headings if level in (2, 3)]
    inner = [link[1:] for link in page.contents if link.startswith("#")]
    assert inner == sections
    book = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4)
    text = "\n".join(c.source for c in book.cells if c.cell_type == "markdown")
    text = re.sub("```.*?```", "", text, flags=re.DOTALL)
    assert len(inner) == len(re.findall("^###? ", text, re.MULTILINE)) > 5


@pytest.mark.parametrize("name", PAGES)
def test_no_page_loads_anything(pages, name):
    page = pages[name]
    assert all(address.startswith("data:image/") for address in page.loaded)
    assert not re.search(r"url\(|@import", page.text.partition("</style>")[0])


@pytest.mark.parametrize("name", PAGES)
def test_every_image_is_described(pages, name):
    images = re.findall(r"<img\b[^>]*>", pages[name].text)
    assert images
    assert [i[-80:] for i in images if not re.search(r'alt="[^"]+"', i)] == []


@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_large(pages, name):
    assert len(pages[name].text.encode()) <= 1_500_000


@pytest.mark.parametrize("name", chapters())
def test_every_figure_is_described_and_most_are_drawings(pages, name):
    pictures = pages[name].pictures
    described = [p["alt"] for p in pictures if len(p["alt"].split()) > 2]
    assert len(described) == len(pictures)
    assert "A picture without description" not in described
    drawn = [p for p in pictures if p["src"].startswith("data:image/svg+xml,")]
    assert len(drawn) >= len(pictures) / 2


@pytest.mark.parametrize("name", chapters())
def test_no_markdown_is_left(pages, name):
    visible = re.sub(
        "<pre.*?</pre>|<script.*?</script>", "", pages[name].text, flags=re.S
    )
    assert not re.search(r"```|\*\*\w|\]\([^)]*\.ipynb", visible)


def test_verdicts_are_in_colour(pages):
    """Each judged claim has its outcome, and the row can be linked."""
    page = pages["07_five_reports_revisited"]
    kinds = set(re.findall(r'<span class="outcome ([\w-]+)">', page.text))
    assert kinds == {"agrees", "partly", "differs", "open", "not-run"}
    assert "R1-02" in page.ids


def test_the_first_pages_lead_to_each_other(pages):
    for name, other, language in (
        ("index", "index.zh", "zh-CN"),
        ("index.zh", "index", "en"),
    ):
        link = (
            f'<a class="language" href="{other}.html" lang="{language}" '
            f'hreflang="{language}">'
        )
        assert pages[name].text.count(link) == 1
    assert '<html lang="zh-CN">' in pages["index.zh"].text
    assert '<html lang="en">' in pages["index"].text


def test_the_chinese_page_has_every_claim_and_leads_to_its_english_row(pages):
    claims = {claim for claim in pages["index.zh"].ids if CLAIM.fullmatch(claim)}
    assert claims == set(read_ledger()["id"])
    assert claims <= set(pages["07_five_reports_revisited"].ids)
    rows = {f"07_five_reports_revisited.html#{claim}" for claim in claims}
    assert rows <= set(pages["index.zh"].links)
    kinds = set(re.findall(r'<span class="outcome ([\w-]+)">', pages["index.zh"].text))
    assert kinds == {"agrees", "partly", "differs", "open", "not-run"}


def test_the_chinese_page_has_no_english_sentence(pages):
    body = pages["index.zh"].text.partition("<body")[2]
    texts = re.findall(r'>([^<]+)<|(?:alt|aria-label)="([^"]*)"', body)
    english = [
        a + b for a, b in texts if re.search(r"(?:[A-Za-z]+ ){4}[A-Za-z]", a + b)
    ]
    assert english == []


def test_html_validate_has_no_complaint(course_site):
    if shutil.which("npx") is None:
        pytest.skip("needs node and npm: apt-get install nodejs npm")
    settings = {"extends": ["html-validate:recommended"], "root": True}
    (course_site / ".htmlvalidate.json").write_text(json.dumps(settings), "utf-8")
    npx = ["npx", "--yes", "--prefer-offline", HTML_VALIDATE]
    found = subprocess.run([*npx, "--version"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"npx cannot get {HTML_VALIDATE}: {found.stderr[-200:]}")
    files = sorted(path.name for path in course_site.glob("*.html"))
    done = subprocess.run(
        [*npx, *files], cwd=course_site, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[:3000] + done.stderr[:1000]
