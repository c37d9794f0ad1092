"""The Chinese summary: what the chapters found, as a PDF of a few pages.

Its sentences are those of the English report. chinese.csv has each of them with its
numbers taken out, beside a Chinese sentence with places for the same numbers; so the
numbers of both editions are the same ones. A sentence that has no translation stays
English.
"""

import html
import re
import sys
import tempfile
from functools import cache
from pathlib import Path

import pandas as pd
import typst

import mnistkit
from mnistkit.report import book, scales
from mnistkit.report.book_floats import (
    picture_share,
    rows_table,
    typst_string,
    without_footer,
)
from mnistkit.report.contents import describe, read_opening
from mnistkit.storage.store import write_atomically

NUMBER = re.compile(r"[+−]?\d+(?:,\d{3})*(?:\.\d+)?")
# The first of these families that is installed is used; typst brings no Chinese one.
FONTS = ("Noto Serif CJK SC", "LXGW WenKai", "WenQuanYi Micro Hei")
LAST = "07_five_reports_revisited"


def translate(english: str) -> str | None:
    """Return a sentence in Chinese with the same numbers, None if it is unknown."""
    text = " ".join(english.split())
    template = sentences().get(NUMBER.sub("{}", text))
    return None if template is None else template.format(*NUMBER.findall(text))


@cache
def sentences() -> dict[str, str]:
    """Return the Chinese sentence for each English one whose numbers are taken out."""
    frame = pd.read_csv(Path(__file__).with_name("chinese.csv"), dtype=str)
    return dict(zip(frame["english"], frame["chinese"], strict=True))


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


def _chapter(name: str, scale: str, folder: Path) -> list[str]:
    """Return title, question, findings and translated figures of a chapter."""
    try:
        about = describe(read_opening(name))
    except Exception:  # The report names a file that is no notebook, and goes on.
        return []
    title, question = (
        translate(str(about[key])) or str(about[key]) for key in ("title", "question")
    )
    parts = [f"# {name[:2]} · {title}", f"**问题。** {question}"]
    if name != LAST:
        parts += _findings(
            scales.folder("reports", scale) / f"{name}_findings.csv", "- "
        )
    for path in sorted(scales.folder("figures", scale).glob(f"{name}_*.svg")):
        svg = path.read_text("utf-8")
        found = re.search("<dc:description>(.*?)</dc:description>", svg, re.DOTALL)
        caption = translate(html.unescape(found[1])) if found else None
        if caption:
            (folder / path.name).write_text(without_footer(svg)[0], "utf-8")
            text = typst_string(caption)
            parts.append(
                f"```{{=typst}}\n#picture({typst_string(path.name)}, alt: {text}, "
                f"share: {picture_share(svg)}%, floats: false, caption: {text})\n```"
            )
    return parts
