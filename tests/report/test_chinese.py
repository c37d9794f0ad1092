"""The Chinese edition says with the same numbers what the English report says."""

import csv
import re
import string

import pandas as pd
import pytest
import typst

from mnistkit.claims.ledger import read_ledger
from mnistkit.report import book, chinese, scales, translation
from mnistkit.report.book_cells import chapter_text
from mnistkit.report.book_floats import Pictures
from mnistkit.report.site.tables import outcome

SENTENCES = translation.sentences()
REPORTS = range(1, 6)
LAST = chinese.LAST


def places_of(template):
    """The numbers of the places in a template, in their order."""
    fields = [field for _, field, _, _ in string.Formatter().parse(template)]
    return [int(field) for field in fields if field is not None]


@pytest.fixture(autouse=True)
def stored_reports(monkeypatch):
    """The stored reports are read, wherever the notebooks of this session write."""
    monkeypatch.delenv("MNISTKIT_OUT", raising=False)


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def stored(name):
    return pd.read_csv(scales.folder("reports", "full") / f"{name}.csv")


@pytest.mark.parametrize("english", SENTENCES)
def test_a_translation_has_a_place_for_every_number(english):
    places = sorted(places_of(SENTENCES[english]))
    assert places == list(range(english.count("{}")))


@pytest.mark.parametrize("english", SENTENCES)
def test_a_translation_types_no_number(english):
    typed = re.sub(r"\{\d+\}", "", SENTENCES[english])
    assert not translation.NUMBER.search(typed)


@pytest.mark.parametrize("name", scales.chapters())
def test_the_findings_of_a_chapter_are_translated_with_their_numbers(name):
    if name == "00_start_here":
        pytest.skip("this chapter has no findings")
    for finding in stored(f"{name}_findings")["finding"]:
        said = translation.translate(finding)
        assert said is not None, f"chinese.csv lacks: {finding}"
        numbers = sorted(translation.NUMBER.findall(finding))
        assert sorted(translation.NUMBER.findall(said)) == numbers


@pytest.mark.parametrize("name", scales.chapters())
def test_the_figures_of_a_chapter_are_translated(name):
    pictures = Pictures(name, scales.folder("figures", "full"))
    chapter_text(name[:2], book.read_executed(name, "full"), pictures)
    assert pictures.shown
    for picture in pictures.shown:
        alt = picture["alt"]
        assert translation.translate(alt), f"chinese.csv lacks: {alt}"
        note = picture["note"]
        assert translation.translate_cell(note) is not None, (
            f"chinese_tables.csv lacks a part of: {note}"
        )


@pytest.mark.parametrize("name", scales.chapters())
def test_what_one_learns_in_a_chapter_is_translated(name):
    items = chinese.learnt(chinese.read_opening(name))
    assert items
    for item in items:
        assert translation.translate(item), f"chinese.csv lacks: {item}"


def test_a_list_of_what_one_learns_has_an_item_for_each_line():
    opening = "# 03 · T\n\n**You will learn**\n\n- to a,\n  and b,\n- c.\n\n**Time:** 1"
    assert chinese.learnt(opening) == ["to a, and b", "c"]
    assert chinese.learnt("**You will learn** d; e.\n\n**Time:** 1") == ["d; e"]


def test_no_sentence_is_translated_twice():
    files = ("chinese.csv", "chinese_tables.csv")
    rows = [row for file in files for row in read_rows(translation.FOLDER / file)]
    english = [row["english"] for row in rows]
    assert sorted(english) == sorted(set(english))


def test_titles_and_outcomes_are_translated():
    for name in scales.chapters():
        opening = chinese.describe(chinese.read_opening(name))
        for key in ("title", "question"):
            told = str(opening[key])
            assert translation.translate(told), f"chinese.csv lacks: {told}"
    for column in stored("07_five_reports_revisited_outcomes").drop(columns="data"):
        assert translation.translate(column), f"chinese.csv lacks: {column}"


def test_every_claim_is_translated_with_its_numbers():
    ledger = read_ledger().set_index("id")["claim"]
    assert list(translation.claims()) == list(ledger.index)
    for name, claim in translation.claims().items():
        numbers = translation.NUMBER.findall(ledger[name])
        assert set(translation.NUMBER.findall(claim)) == set(numbers), name


def test_the_chinese_words_on_which_an_outcome_depends_are_kept():
    ledger = read_ledger().set_index("id")["wording"]
    for name, words in ledger[ledger != ""].items():
        assert words in translation.claims()[name], name


@pytest.mark.parametrize("number", REPORTS)
def test_verdicts_are_translated_with_their_numbers(number):
    path = scales.folder("reports", "full") / f"{LAST}_r{number}.csv"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    told, unknown = translation.verdict_table(path)
    assert told["id"].tolist() == rows["id"].tolist()
    for column in ("reported", "found", "outcome"):
        for english, said in zip(rows[column], told[column], strict=True):
            numbers = sorted(translation.NUMBER.findall(english))
            assert sorted(translation.NUMBER.findall(said)) == numbers
    # Chinese outcomes have the colours of the English ones.
    kinds = rows["outcome"].map(outcome).tolist()
    assert told["outcome"].map(outcome).tolist() == kinds
    assert unknown == 0, "chinese_tables.csv lacks a cell of this report"


def test_an_unknown_cell_stays_english_and_is_counted(tmp_path):
    text = "id,claim,reported,found,outcome\nR1-02,a,about 0.5; 98 %,a cat,agrees\n"
    (tmp_path / "planted.csv").write_text(text, "utf-8")
    told, unknown = translation.verdict_table(tmp_path / "planted.csv")
    claim = translation.claims()["R1-02"]
    assert told.values.tolist() == [["R1-02", claim, "约 0.5；98 %", "a cat", "成立"]]
    assert unknown == 1


def test_numbers_follow_their_words(monkeypatch):
    """Chinese may name the second number first."""
    planted = {"{} of {} agree": "{1} 个中有 {0} 个成立"}
    monkeypatch.setattr(translation, "sentences", lambda: planted)
    assert translation.translate("3 of 1,000 agree") == "1,000 个中有 3 个成立"
    assert translation.translate("3 of 1,000 differ") is None


def test_without_a_chinese_font_a_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(chinese, "FONTS", ("No Such Font",))
    assert chinese.build_chinese_summary("full") is None
    assert "install fonts-noto-cjk" in capsys.readouterr().err


def test_the_summary_compiles_with_a_description_of_each_figure(tmp_path):
    installed = set(typst.Fonts().families())
    fonts = [name for name in chinese.FONTS if name in installed]
    if not fonts:
        pytest.skip("needs a Chinese font: apt-get install fonts-noto-cjk")
    chinese.write_source("full", tmp_path, fonts[0])
    source = (tmp_path / "book.typ").read_text("utf-8")
    assert source.count("#picture(") > 80
    assert source.count('rgb("') > 100  # of 130 claims, 8 were not run
    first = book.compile_book(tmp_path / "book.typ", system_fonts=True)
    assert first.startswith(b"%PDF")
    assert first == book.compile_book(tmp_path / "book.typ", system_fonts=True)
