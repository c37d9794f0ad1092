"""The Chinese edition: findings, verdicts, chapters and figures, as a PDF.

Its sentences are those of the English report, translated by translation.py. A sentence
that has no translation stays English, and so do the words in the figures.
"""

import re
import sys
import tempfile
from pathlib import Path

import pandas as pd
import typst

import mnistkit
from mnistkit.report import book, scales
from mnistkit.report.book_cells import chapter_text
from mnistkit.report.book_floats import Pictures, rows_table, typst_string
from mnistkit.report.contents import describe, read_opening
from mnistkit.report.site.tables import outcome
from mnistkit.report.translation import translate, translate_cell, verdict_table
from mnistkit.storage.store import write_atomically

# The first of these families that is installed is used; typst brings no Chinese one.
FONTS = ("Noto Serif CJK SC", "LXGW WenKai", "WenQuanYi Micro Hei")
LAST = "07_five_reports_revisited"
# The colours of outcomes are those of the site, on white paper.
FILLS = {
    "agrees": "#bbddf2",
    "partly": "#e3f1fa",
    "differs": "#fadfa8",
    "open": "#e6e6e6",
}
# How the columns of a table of verdicts share the width of a page.
WIDTHS = ("auto", "4.8fr", "2.2fr", "5.2fr", "2fr")
# What a reader learns in a chapter: a list, or the rest of a paragraph.
LEARN = re.compile(r"\*\*You will learn\*\*(.*?)(?=\n\n(?!- )|\Z)", re.DOTALL)


def build_chinese_summary(scale: str) -> Path | None:
    """Make reports/[scale]/report.zh.pdf, and return its path.

    Without a Chinese font a line says so, and the result is None. OSError if pandoc or
    typst fails.
    """
    installed = set(typst.Fonts().families())
    fonts = [name for name in FONTS if name in installed]
    if not fonts:
        print("no Chinese summary: install fonts-noto-cjk", file=sys.stderr)
        return None
    path = scales.folder("reports", scale) / "report.zh.pdf"
    with tempfile.TemporaryDirectory() as temporary:
        write_source(scale, Path(temporary), fonts[0])
        content = book.compile_book(Path(temporary, "book.typ"), system_fonts=True)
    write_atomically(path, content)
    return path


def write_source(scale: str, folder: Path, font: str) -> None:
    """Write the summary in typst, with its figures, to a folder."""
    out = scales.folder("reports", scale)
    parts = ["```{=typst}\n#heading(numbering: none)[主要发现]\n```"]
    parts += _findings(out / f"{LAST}_findings.csv", "1. ")
    parts.append("图中文字为英文。编号 R1 至 R5 指五份学生报告。")
    for kind, title in (("outcomes", "各报告"), ("outcomes_by_evidence", "各类证据")):
        path = out / f"{LAST}_{kind}.csv"
        if path.exists():
            frame = pd.read_csv(path).drop(columns="data")
            parts.append(_table(frame, f"{title}的论断：结果与个数"))
    for name in scales.chapters():
        parts += _chapter(name, scale, folder)
    body = book.to_typst("\n\n".join(parts))
    look = (book.HERE / "book.typ").read_bytes()
    (folder / "look.typ").write_bytes(look)
    title = "MNIST：课程报告摘要"
    sentence = "八章课程笔记提出深度学习入门的问题，在手写数字上训练的网络作出回答。"
    arguments = ", ".join(
        map(typst_string, (title, sentence, f"mnistkit {mnistkit.__version__}"))
    )
    front = (
        '#import "look.typ": *\n'
        f'#show: book.with(title: {typst_string(title)}, lang: "zh", '
        f'font: ("Libertinus Serif", {typst_string(font)}))\n'
        f"#title-page({arguments}, {book.authors()})\n"
    )
    (folder / "book.typ").write_text(front + body, "utf-8")


def _findings(path: Path, mark: str) -> list[str]:
    """Return the findings of a file as a list, in Markdown; the last one sums up."""
    if not path.exists():
        return []
    found = [translate(text) or text for text in pd.read_csv(path)["finding"]]
    if mark == "- ":
        return ["\n".join(f"- {text}" for text in found)]
    return ["\n".join(f"{mark}{text}" for text in found[:-1]), found[-1]]


def _table(frame: pd.DataFrame, caption: str) -> str:
    """Return a table of counts as Markdown, with its words in Chinese."""
    head = [translate(column) or column for column in frame.columns]
    rows = [[translate(str(cell)) or str(cell) for cell in row] for row in frame.values]
    return f"```{{=typst}}\n{rows_table(head, rows, caption)}\n```"


def _verdicts(out: Path) -> list[str]:
    """Return a table of the claims of each report, with their outcomes in colour."""
    parts = []
    for number in range(1, 6):
        path = out / f"{LAST}_r{number}.csv"
        if not path.exists():
            continue
        frame, unknown = verdict_table(path)
        caption = f"R{number} 的 {len(frame)} 个论断"
        if unknown:
            caption += f"（{unknown} 个单元格没有译文，保留英文）"
        table = rows_table(
            [translate(column) or column for column in frame.columns],
            frame.map(_with_breaks).to_numpy().tolist(),
            caption,
            widths=WIDTHS,
            fills=[FILLS.get(outcome(text), "") for text in frame["outcome"]],
        )
        parts.append(f"## 报告 R{number}\n\n```{{=typst}}\n{table}\n```")
    return parts


def _with_breaks(text: str) -> str:
    """Return a cell whose lines end before a number like .99, and not before a %."""
    text = re.sub(r"(?<=[;；])( ?)(?=\.)", "\\1\N{ZERO WIDTH SPACE}", text)
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def learnt(opening: str) -> list[str]:
    """Return what a chapter says that one learns, as a list without final stops."""
    found = LEARN.search(opening)
    items = re.split(r"^- ", found[1], flags=re.MULTILINE) if found else []
    return [" ".join(item.split()).rstrip(",;.") for item in items if item.strip()]


def _chapter(name: str, scale: str, folder: Path) -> list[str]:
    """Return a chapter: title, question, what one learns, findings and figures.

    The figures are those of the English book; chapter 07 has the verdicts as well.
    """
    out = scales.folder("reports", scale)
    try:
        opening = read_opening(name)
    except Exception:  # The report names a file that is no notebook, and goes on.
        return []
    about = describe(opening)
    title, question = (
        translate(str(about[key])) or str(about[key]) for key in ("title", "question")
    )
    parts = [f"# {name[:2]} · {title}", f"**问题。** {question}"]
    if items := [translate(item) or item for item in learnt(opening)]:
        parts.append(f"**你将学到：** {'；'.join(items)}。")
    if name == LAST:
        parts += _verdicts(out)
        parts.append("## 图")
    elif found := _findings(out / f"{name}_findings.csv", "- "):
        parts += ["**本章小结。**", *found]
    executed = book.read_executed(name, scale)
    if executed is not None:
        pictures = Pictures(name, scales.folder("figures", scale))
        chapter_text(name[:2], executed, pictures)
        for file, content in pictures.files.items():
            (folder / file).write_bytes(content)
        parts += [_picture(picture) for picture in pictures.shown]
    return parts


def _picture(picture: dict[str, str | int]) -> str:
    """Return a figure as Markdown: its description, in Chinese, is its caption."""
    alt = " ".join(str(picture["alt"]).split())
    alt = translate(alt) or alt
    note = str(picture["note"])
    caption = alt.rstrip("。.")
    if note:
        caption += f"（{translate_cell(note) or note}）"
    return (
        f"```{{=typst}}\n#picture({typst_string(str(picture['file']))}, "
        f"alt: {typst_string(alt)}, share: {picture['share']}%, floats: false, "
        f"caption: {typst_string(caption + '。')})\n```"
    )
