"""The site of executed chapters: what its pages show, and what they leave out."""

import re
from base64 import b64decode

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from site_pages import PIXEL, Page, display, good_cells, write_copy

from mnistkit.report.site.build import build_site


@pytest.fixture
def out(project):
    """The folder of a report with an executed chapter 01_good, and without 02_other."""
    for name in ("01_good", "02_other"):
        project.plant(name)
    out = project.folder / "reports" / "smoke"
    out.mkdir(parents=True)
    write_copy(out / "01_good.ipynb", good_cells())
    return out


@pytest.fixture
def page(out):
    build_site("smoke")
    return (out / "01_good.html").read_text("utf-8")


@pytest.fixture
def index(out):
    return build_site("smoke").read_text("utf-8")


def page_of(out, *cells):
    write_copy(out / "01_good.ipynb", [new_markdown_cell("# Title"), *cells])
    build_site("smoke")
    return (out / "01_good.html").read_text("utf-8")


def test_the_first_page_is_the_index_of_its_scale(out):
    assert build_site("smoke") == out / "index.html"


def test_a_page_may_load_nothing_and_run_no_script_but_its_own(page):
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert "default-src 'none'; img-src data:;" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]


def test_figures_are_embedded_and_described(page):
    [figure] = re.findall(r"<figure id.*?</figure>", page, re.DOTALL)
    assert f"data:image/png;base64,{PIXEL}" in figure
    assert 'alt="One grey &quot;pixel&quot;"' in figure
    assert 'width="500"' in figure
    assert "<b>Figure 1.1.</b>" in figure


def test_a_saved_figure_is_the_svg_beside_its_png(out, project):
    figures = project.folder / "figures" / "smoke"
    figures.mkdir(parents=True)
    (figures / "01_good_dot.png").write_bytes(b64decode(PIXEL))
    (figures / "01_good_dot.svg").write_text('<svg x="1.23456">#</svg>', "utf-8")
    build_site("smoke")
    page = (out / "01_good.html").read_text("utf-8")
    assert "data:image/svg+xml,%3Csvg x='1.23'%3E%23%3C/svg%3E" in page
    assert 'href="../../figures/smoke/01_good_dot.svg"' in page


def test_formulas_are_mathml(page):
    assert "<math" in page


def test_findings_are_text(page):
    assert "<strong>Finding</strong> of the chapter" in page


def test_the_text_of_a_solution_is_no_markdown_any_more(page):
    solution = re.search("<details>.*?</details>", page, re.DOTALL)[0]
    assert "<math" in solution and "<strong>bold</strong>" in solution


def test_a_link_to_a_chapter_leads_to_its_page_if_there_is_one(out):
    write_copy(out / "02_other.ipynb", good_cells())
    build_site("smoke")
    page = (out / "01_good.html").read_text("utf-8")
    main = page.partition("<main")[2]
    assert main.count('<a href="02_other.html">') == 2  # in the text and in a table
    assert ".ipynb" not in page


def test_a_link_to_a_chapter_without_a_page_is_text(page):
    assert "02_other" not in page.partition("<main")[2]


def test_a_page_of_an_earlier_report_goes(out):
    (out / "02_other.html").write_text("planted", "utf-8")
    build_site("smoke")
    assert not (out / "02_other.html").exists()


def test_neighbours_and_contents_name_the_other_pages(out):
    write_copy(out / "02_other.ipynb", good_cells())
    build_site("smoke")
    around = (out / "01_good.html").read_text("utf-8").partition('class="around"')[2]
    found = re.findall(r'<a class="(\w+)" href="([^"]+)"', around)
    assert found == [("previous", "index.html"), ("next", "02_other.html")]
    links = Page(out / "01_good.html").contents
    assert links == ["index.html", "01_good.html", "#section", "02_other.html"]


def test_code_that_draws_and_expected_answers_are_folded_and_other_code_is_not(out):
    folded = {"jupyter": {"source_hidden": True}}
    cells = [
        new_code_cell("fig, ax = plt.subplots()"),
        new_code_cell("expected_1 = 7", metadata=folded),
        new_code_cell("x = 1"),
    ]
    page = page_of(out, *cells)
    found = re.findall(r'<details class="code (\w+)"( open)?>', page)
    assert found == [("plot", ""), ("answer", ""), ("lesson", " open")]


def test_what_is_printed_piece_by_piece_is_one_block(out):
    parts = [new_output("stream", name="stdout", text=text) for text in ("a\n", "b\n")]
    page = page_of(out, new_code_cell("print()", outputs=parts))
    assert '<pre class="output stream stdout">a\nb</pre>' in page


def test_parameters_are_shown_once_as_they_were_used(out):
    declared = 'n: int = 3  # how many\nname: str = "ä"; more: list = [\n  1]  # x'
    cells = [
        new_code_cell(declared, metadata={"tags": ["parameters"]}),
        new_code_cell(
            "# Parameters\nn = 2\nmore = [4, 5]\n",
            metadata={"tags": ["injected-parameters"]},
        ),
    ]
    code = re.findall("<code>(.*?)</code>", page_of(out, *cells), re.DOTALL)
    shown = [re.sub("<[^>]*>", "", text) for text in code]
    assert shown == [
        'n: int = 2  # how many\nname: str = "ä"; more: list = [4, 5]  # x'
    ]


def test_ids_differ_and_links_follow_them(out):
    text = "## Findings\n\n[up](#Findings)"
    page_of(out, *[new_markdown_cell(text) for _ in range(3)])
    page = Page(out / "01_good.html")
    assert len(page.ids) == len(set(page.ids))
    assert [anchor for _, anchor in page.headings][1:] == [
        "findings",
        "findings-1",
        "findings-2",
    ]
    assert page.dead_links() == []


def test_no_heading_leaves_a_level_out(out):
    page_of(out, new_markdown_cell("### Deep\n\n## Less deep\n\n### Deep"))
    levels = [level for level, _ in Page(out / "01_good.html").headings]
    assert levels == [1, 2, 2, 3]


def test_a_chapter_without_a_title_is_called_by_its_name(out):
    write_copy(out / "01_good.ipynb", good_cells()[2:])
    build_site("smoke")
    assert "<h1>01_good</h1>" in (out / "01_good.html").read_text("utf-8")


# -------------------------------------------------- times, machines, the first page


def row(page, name):
    """What the table of the first page says of a chapter, as text."""
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th><td>(.*?)</td></tr>", page)
    found = {re.sub("<.*?>", "", key): re.sub("<.*?>", "", text) for key, text in rows}
    return found[name]


def test_only_the_first_page_has_times_and_machines(out, page, index):
    assert row(index, "01_good") == (
        "planted data; executed 2026-01-02 03:04 (UTC) in 7 s; a processor, 2 cores"
    )
    assert "a processor" not in page and "2026" not in page
    write_copy(out / "01_good.ipynb", good_cells(), finished="2027", device="another")
    build_site("smoke")
    assert (out / "01_good.html").read_text("utf-8") == page


def test_a_site_made_twice_is_the_same(out):
    build_site("smoke")
    before = {path.name: path.read_bytes() for path in out.glob("*.html")}
    build_site("smoke")
    assert before == {path.name: path.read_bytes() for path in out.glob("*.html")}


def test_the_first_page_says_that_a_chapter_is_missing(index):
    assert row(index, "02_other") == "missing at this scale"


def test_the_first_page_says_that_the_last_execution_failed(out):
    (out / "01_good.failed.ipynb").write_text("", "utf-8")
    index = build_site("smoke").read_text("utf-8")
    assert row(index, "01_good").endswith("(the last execution failed)")
    assert 'href="01_good.failed.ipynb"' in index


def test_the_first_page_lists_figures_and_tables(out, project):
    figures = project.folder / "figures" / "smoke"
    figures.mkdir(parents=True)
    for file in (figures / "01_good_line.svg", out / "01_good_count.csv"):
        file.write_text("", "utf-8")
    index = build_site("smoke").read_text("utf-8")
    assert 'href="01_good_count.csv"' in index
    assert 'href="../../figures/smoke/01_good_line.svg"' in index


def test_the_first_page_has_the_findings_of_chapter_07(out):
    text = "finding,data\n**One.** a < b,x\n**All in all** c,x\n"
    (out / "07_five_reports_revisited_findings.csv").write_text(text, "utf-8")
    index = build_site("smoke").read_text("utf-8")
    assert "<li><p><strong>One.</strong> a &lt; b</p></li>" in index
    assert "<p><strong>All in all</strong> c</p>" in index


def test_names_of_files_are_text(out):
    (out / "01_good_a](javascript:alert(1))<b>.csv").write_text("", "utf-8")
    index = build_site("smoke").read_text("utf-8")
    address = "01_good_a%5D%28javascript%3Aalert%281%29%29%3Cb%3E.csv"
    assert f'<a href="{address}">01_good_a](javascript:alert(1))&lt;b&gt;</a>' in index


def test_metadata_are_text(out):
    write_copy(out / "01_good.ipynb", good_cells(), data="<script>x</script> | *c*")
    index = build_site("smoke").read_text("utf-8")
    assert row(index, "01_good").startswith("&lt;script&gt;x&lt;/script&gt; | *c*;")


# ------------------------------------------------ captions, widgets, narrow screens


def saved_table(name):
    """HTML of a table that chapter 01_good saved under a name."""
    head = "<thead><tr><th>n</th></tr></thead>"
    return (
        f'<table id="T_01_good_{name}">{head}<tbody><tr><td>1</td></tr></tbody></table>'
    )


def test_a_table_is_called_by_its_section(out):
    cells = [
        new_markdown_cell("# Title\n\n## By `seed` < 3"),
        new_code_cell("1", outputs=[display(html=saved_table("first"))]),
        new_code_cell("2", outputs=[display(html=saved_table("by_r2"))]),
    ]
    captions = re.findall("<figcaption>(.*?)</figcaption>", page_of(out, *cells))
    assert captions == [
        "<b>Table 1.1.</b> By seed &lt; 3.",
        "<b>Table 1.2.</b> By seed &lt; 3: by R2.",
    ]


def test_a_picture_says_whether_it_stands_for_a_widget(out):
    shown = [display(png=PIXEL)]
    figure = page_of(out, new_code_cell("chapter.save_figure(fig, 'x')", outputs=shown))
    assert 'class="still"' not in figure
    widget = page_of(out, new_code_cell("DrawADigit(trained)", outputs=shown))
    assert 'class="still"' in widget


def test_no_line_ends_before_a_percent_sign(out):
    cells = [new_markdown_cell("# T\n\n95 % of `1 % 2`"), new_code_cell("5 % 3")]
    page = page_of(out, *cells)
    assert "95\N{NO-BREAK SPACE}% of <code>1 % 2</code>" in page
    assert "5 % 3" in re.sub("<[^>]*>", "", page)


def test_a_cell_of_a_verdict_has_its_title_for_narrow_screens(out):
    head = "<thead><tr><th>id</th><th>outcome</th></tr></thead>"
    body = "<tbody><tr><td>R1-01</td><td>agrees</td></tr></tbody>"
    cell = new_code_cell("1", outputs=[display(html=f"<table>{head}{body}</table>")])
    assert '<td data-title="outcome">' in page_of(out, cell)
