"""The Chinese summary says with the same numbers what the English report says."""

import re
import string

import pandas as pd
import pytest
import typst

from mnistkit.report import book, chinese, scales

SENTENCES = chinese.sentences()


def places_of(template):
    """The numbers of the places in a template, in their order."""
    fields = [field for _, field, _, _ in string.Formatter().parse(template)]
    return [int(field) for field in fields if field is not None]


@pytest.fixture(autouse=True)
def stored_reports(monkeypatch):
    """The stored reports are read, wherever the notebooks of this session write."""
    monkeypatch.delenv("MNISTKIT_OUT", raising=False)


def stored(name):
    return pd.read_csv(scales.folder("reports", "full") / f"{name}.csv")


@pytest.mark.parametrize("english", SENTENCES)
def test_a_translation_has_a_place_for_every_number(english):
    places = sorted(places_of(SENTENCES[english]))
    assert places == list(range(english.count("{}")))


@pytest.mark.parametrize("english", SENTENCES)
def test_a_translation_types_no_number(english):
    typed = re.sub(r"\{\d+\}", "", SENTENCES[english])
    assert not chinese.NUMBER.search(typed)


@pytest.mark.parametrize("name", scales.chapters())
def test_the_findings_of_a_chapter_are_translated_with_their_numbers(name):
    if name == "00_start_here":
        pytest.skip("this chapter has no findings")
    for finding in stored(f"{name}_findings")["finding"]:
        said = chinese.translate(finding)
        assert said is not None, f"chinese.csv lacks: {finding}"
        numbers = sorted(chinese.NUMBER.findall(finding))
        assert sorted(chinese.NUMBER.findall(said)) == numbers


def test_titles_and_outcomes_are_translated():
    for name in scales.chapters():
        opening = chinese.describe(chinese.read_opening(name))
        for key in ("title", "question"):
            told = str(opening[key])
            assert chinese.translate(told), f"chinese.csv lacks: {told}"
    for column in stored("07_five_reports_revisited_outcomes").drop(columns="data"):
        assert chinese.translate(column), f"chinese.csv lacks: {column}"


def test_numbers_follow_their_words(monkeypatch):
    """Chinese may name the second number first."""
    planted = {"{} of {} agree": "{1} 个中有 {0} 个成立"}
    monkeypatch.setattr(chinese, "sentences", lambda: planted)
    assert chinese.translate("3 of 1,000 agree") == "1,000 个中有 3 个成立"
    assert chinese.translate("3 of 1,000 differ") is None


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
    assert source.count("#picture(") > 10
    first = book.compile_book(tmp_path / "book.typ", system_fonts=True)
    assert first.startswith(b"%PDF")
    assert first == book.compile_book(tmp_path / "book.typ", system_fonts=True)
