"""What a notebook saves states its data and its scale, and is the same each time."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from mnistkit.report.chapter import Chapter, add_footer
from mnistkit.storage import places
from mnistkit.storage.files import MNIST

LINE = "planted data · quick scale"


@pytest.fixture
def fig():
    fig, ax = plt.subplots(figsize=(4, 3))
    ax.plot([1, 2])
    yield fig
    plt.close(fig)


def test_a_figure_is_saved_in_two_formats(chapter, fig, tmp_path):
    chapter.save_figure(fig, "line")
    files = sorted((tmp_path / "figures" / "quick").iterdir())
    assert [file.name for file in files] == [
        "01_planted_line.png",
        "01_planted_line.svg",
    ]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert files[1].read_bytes().startswith(b"<?xml")


def test_a_figure_states_its_data_and_its_scale(chapter, fig):
    chapter.save_figure(fig, "line", note="n = 2")
    assert [text.get_text() for text in fig.texts] == [f"{LINE} · n = 2"]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_equal_figures_give_equal_files(chapter, tmp_path, suffix):
    contents = set()
    for _ in range(2):
        fig, ax = plt.subplots()
        ax.plot([1, 2])
        chapter.save_figure(fig, "line")
        plt.close(fig)
        saved = tmp_path / "figures" / "quick" / f"01_planted_line.{suffix}"
        contents.add(saved.read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_figure_says_in_words_what_it_shows(chapter, fig, tmp_path, suffix):
    chapter.save_figure(fig, "line", alt="A line that rises from 1 to 2.")
    saved = tmp_path / "figures" / "quick" / f"01_planted_line.{suffix}"
    assert b"A line that rises from 1 to 2." in saved.read_bytes()


def test_the_summary_repeats_the_findings(chapter, tmp_path):
    assert chapter.say("Adam is ahead.").data == "Adam is ahead."
    chapter.say("An aside.", summarize=False)
    chapter.say("The lead is small.")
    assert chapter.summary().data == "- Adam is ahead.\n- The lead is small."
    saved = pd.read_csv(tmp_path / "reports" / "quick" / "01_planted_findings.csv")
    assert saved["finding"].tolist() == ["Adam is ahead.", "The lead is small."]


@pytest.fixture
def claims(tmp_path, monkeypatch):
    """What chapter 07 stored: four claims of chapter 01, and one of chapter 02."""
    monkeypatch.setattr(places, "ROOT", tmp_path)
    small, exact = "trained smaller", "formula or count"
    open_, one = "too imprecise to say", "agrees only if"
    rows = [
        ("R1", "Size", "1", "1", "agrees", exact, "01", "", ""),
        ("R1", "Rank", "2", "3", open_, small, "01", "one (R1-E2, R1-E7). Two", ""),
        ("R2", "Loss", "4", "5", "differs", small, "01", "by 0.5 (R2-E8), we; 3", ""),
        ("R2", "Else", "6", "7", "differs", small, "02", "", ""),
        ("R3", "Row", "8", "9", one, exact, "01", "they are digits", "row k is k - 1"),
    ]
    columns = ["report", "claim", "reported", "regenerated", "outcome", "evidence"]
    columns += ["chapter", "reason", "reading"]
    (tmp_path / "reports").mkdir(exist_ok=True)
    pd.DataFrame(rows, columns=columns).to_csv(
        tmp_path / "reports" / "07_five_reports_revisited_all.csv", index=False
    )


def test_what_the_reports_said_about_a_chapter(chapter, claims):
    """What trainings decided comes first, claims of other chapters do not come."""
    table = chapter.reports_said()
    assert table.data["claim"].tolist() == ["Loss", "Rank", "Size", "Row"]
    assert table.data.iloc[0].to_dict() == {
        "report": "R2",
        "claim": "Loss",
        "reported": "4",
        "found": "5",
        "outcome": "differs",
        "reading or reason": "by 0.5, we",
    }


def test_a_claim_that_agrees_in_one_reading_comes_with_the_reading(chapter, claims):
    row = chapter.reports_said().data.set_index("claim").loc["Row"]
    assert row["outcome"] == "agrees in one reading"
    assert row["reading or reason"] == "row k is k - 1"


def test_the_reason_of_an_outcome_is_its_first_part(chapter, claims):
    rows = chapter.reports_said().data.set_index("claim")
    assert rows.loc["Rank", "reading or reason"] == "one"
    assert rows.loc["Size", "reading or reason"] == ""


def test_more_claims_than_a_table_shows_are_counted(chapter, claims):
    table = chapter.reports_said(most=1)
    assert table.data["claim"].tolist() == ["Loss"]
    assert "Chapter 07 has 3 more." in table.to_html()


def test_a_second_footer_replaces_the_first(fig):
    add_footer(fig, "first")
    add_footer(fig, "second")
    assert [text.get_text() for text in fig.texts] == ["second"]


def test_a_long_footer_is_wrapped(fig):
    add_footer(fig, "word " * 60)
    [footer] = fig.texts
    assert "\n" in footer.get_text()
    assert footer.get_window_extent().width < 1.1 * fig.bbox.width


def test_the_box_of_a_figure_holds_its_footer(fig):
    box = add_footer(fig, "planted data")
    [footer] = fig.texts
    text = footer.get_window_extent().transformed(fig.dpi_scale_trans.inverted())
    assert box.x0 <= text.x0 and text.x1 <= box.x1
    assert box.y0 <= text.y0 and text.y1 <= box.y1


def read_saved(folder):
    return pd.read_csv(folder / "reports" / "quick" / "01_planted_shares.csv")


@pytest.fixture
def shares():
    return pd.DataFrame({"network_name": ["<b>"], "share": [0.51234]})


def test_a_saved_table_has_the_values_and_a_column_for_its_data(
    chapter, shares, tmp_path
):
    chapter.save_table(shares, "shares", note="n = 2")
    expected = shares.assign(data=f"{LINE} · n = 2")
    pd.testing.assert_frame_equal(read_saved(tmp_path), expected)


def test_a_shown_table_states_its_data_in_the_caption(chapter, shares):
    page = chapter.save_table(shares, "shares", note="n < 2").to_html()
    assert f"<caption>{LINE} · n &lt; 2</caption>" in page


def test_a_shown_table_uses_the_formats_that_it_is_given(chapter, shares):
    page = chapter.save_table(shares, "shares", formats={"share": "{:.1%}"}).to_html()
    assert ">51.2%</td>" in page


def test_a_shown_table_rounds_the_other_numbers(chapter, shares):
    assert ">0.5123</td>" in chapter.save_table(shares, "shares").to_html()


def test_a_shown_table_has_minus_signs(chapter):
    frame = pd.DataFrame({"gap": [-0.5, None], "drop": [-0.25, 0.25], "word": "a-b"})
    page = chapter.save_table(frame, "gaps", formats={"drop": "{:.1f}"}).to_html()
    assert ">−0.5</td>" in page and ">−0.2</td>" in page and ">–</td>" in page
    assert ">a-b</td>" in page


def test_a_shown_table_quotes_what_html_would_take_for_a_tag(chapter, shares):
    assert ">&lt;b&gt;</td>" in chapter.save_table(shares, "shares").to_html()


def test_a_shown_table_has_titles_without_underscores(chapter, shares):
    assert ">network name</th>" in chapter.save_table(shares, "shares").to_html()


def test_a_missing_value_is_a_dash(chapter):
    frame = pd.DataFrame({"share": [0.5, None]})
    assert ">–</td>" in chapter.save_table(frame, "shares").to_html()


def test_text_is_aligned_to_the_left_and_numbers_are_not(chapter, shares):
    page = chapter.save_table(shares, "shares").to_html()
    assert ".col0 {\n  text-align: left" in page
    assert ".col1 {" not in page


def test_the_same_table_is_shown_by_the_same_html(chapter, shares):
    pages = {chapter.save_table(shares, "shares").to_html() for _ in range(2)}
    assert len(pages) == 1


def test_an_index_with_a_meaning_becomes_a_column(chapter, tmp_path):
    frame = pd.DataFrame({"share": [1.5]}, index=pd.Index(["x"], name="key"))
    chapter.save_table(frame, "shares")
    assert list(read_saved(tmp_path).columns) == ["key", "share", "data"]


def test_a_format_without_its_column_is_refused(chapter, shares):
    with pytest.raises(ValueError, match="a format for 'shrae', which is no column"):
        chapter.save_table(shares, "shares", formats={"shrae": "{}"})


def test_a_format_without_braces_is_refused(chapter, shares):
    """It would stand in each cell instead of the number."""
    with pytest.raises(ValueError, match="'.1%' lacks braces: '{:.1%}'"):
        chapter.save_table(shares, "shares", formats={"share": ".1%"})


def test_a_column_of_the_name_data_is_refused(chapter, shares):
    """The file would lack it."""
    with pytest.raises(ValueError, match="rename it"):
        chapter.save_table(shares.assign(data=1), "shares")


@pytest.mark.parametrize("name", ["Line", "a line", "../line", ""])
def test_names_are_plain(chapter, name):
    with pytest.raises(ValueError, match="lower case"):
        chapter.save_table(pd.DataFrame({"a": [1]}), name)


def test_an_unknown_scale_is_refused(chapter):
    with pytest.raises(ValueError, match="unknown scale 'huge'"):
        Chapter("01_planted", "huge", "planted data").path("figures", "line", ".svg")


def test_a_folder_that_cannot_be_written_is_named_with_a_remedy(chapter, tmp_path):
    (tmp_path / "figures").write_bytes(b"a file")
    with pytest.raises(OSError, match="figures/quick; set MNISTKIT_OUT"):
        chapter.path("figures", "line", ".svg")


def test_data_are_described_with_their_sizes(mnist):
    line = Chapter("01_planted", "full", mnist).line()
    assert line == f"{mnist.describe()} · full scale"


@pytest.mark.parametrize(
    ("scale", "source", "footer"),
    [
        ("full", "mnist", "3 seeds"),
        (
            "quick",
            "mnist",
            "MNIST, 2 training and 1 test images · quick scale · 3 seeds",
        ),
        (
            "full",
            "mnist_5k",
            "3-image subset of MNIST (not the full data set), 2 training and 1 test "
            "images · full scale · 3 seeds",
        ),
    ],
)
def test_below_a_figure_stands_only_what_does_not_go_without_saying(
    scale, source, footer
):
    images, labels = torch.zeros(2, 28, 28), torch.zeros(2)
    mnist = MNIST(images, labels, images[:1], labels[:1], source, "", "", {})
    assert Chapter("01_planted", scale, mnist).footer("3 seeds") == footer


def test_a_footer_without_words_leaves_the_figure_as_it_is(fig):
    add_footer(fig, "")
    assert [text.get_text() for text in fig.texts] == [""]


@pytest.fixture
def notebook(monkeypatch):
    """What a notebook displays: pairs of data and metadata."""
    shown = []

    def display(data, raw, metadata):
        shown.append((data, metadata))

    monkeypatch.setattr("mnistkit.report.chapter.get_ipython", lambda: "a shell")
    monkeypatch.setattr("mnistkit.report.chapter.display", display)
    return shown


def test_a_notebook_shows_the_saved_figure_with_its_words(
    chapter, fig, tmp_path, notebook
):
    chapter.save_figure(fig, "line", alt="A line.")
    [(data, metadata)] = notebook
    saved = tmp_path / "figures" / "quick" / "01_planted_line.png"
    assert data == {"image/png": saved.read_bytes(), "text/plain": "A line."}
    assert metadata["image/png"]["alt"] == "A line."


def test_a_live_figure_is_shown_with_its_words_and_not_saved(
    chapter, fig, tmp_path, notebook
):
    chapter.show_figure(fig, "A line.")
    [(data, metadata)] = notebook
    assert data["image/png"].startswith(b"\x89PNG")
    assert metadata["image/png"]["alt"] == data["text/plain"] == "A line."
    assert not plt.fignum_exists(fig.number) and not list(tmp_path.rglob("*.png"))


def test_a_notebook_shows_a_figure_once(chapter, fig, notebook):
    chapter.save_figure(fig, "line")
    assert not plt.fignum_exists(fig.number)
