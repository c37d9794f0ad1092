"""The book: the executed chapters as one PDF, made by pandoc and typst.

book_cells.py says what of a chapter stands in the book, book_appendices.py what follows
the chapters, and book.typ how it looks.
"""

import json
import re
import tempfile
from itertools import pairwise
from pathlib import Path

import nbformat
import pandas as pd
import pypandoc
import typst
from nbformat import NotebookNode

import mnistkit
from mnistkit.report import scales
from mnistkit.report.book_appendices import REVISITED, answers, claims, training_loop
from mnistkit.report.book_cells import Text, chapter_text
from mnistkit.report.book_floats import LIVE, Pictures, typst_string
from mnistkit.storage import places
from mnistkit.storage.store import write_atomically

HERE = Path(__file__).parent
TITLE = "MNIST: a course report"
SENTENCE = (
    "Eight notebooks ask the questions of a first course on deep learning, and "
    "networks that were trained on handwritten digits answer them."
)
OCCASION = (
    "Five student reports on MNIST, called R1 to R5, are the occasion of this course; "
    "section 7.2 introduces them. Their experiments were repeated with several seeds, "
    "and their claims were judged: appendix A lists each claim with what was found. "
    "The exercises that the text mentions stand in the notebooks, with solutions."
)
MOST_ROUNDS = 20  # in which the figures are put in order
# PDF/UA-1 demands an alternative text for each figure. No date is stored, so that equal
# chapters give equal bytes.
STANDARD = "ua-1"

# The work behind a term: cited where a chapter mentions the term first.
CITED = {
    r"MNIST holds 70,000 images": "lecun1998",
    r"LeNet \(1998\)": "lecun1998",
    r"AlexNet": "krizhevsky2012",
    r"VGG": "simonyan2015",
    r"ResNet \(2015\)|residual\s+network": "he2016",
    r"wide\s+ResNet": "zagoruyko2016",
    r"ReLU": "nair2010",
    r"chain\s+rule": "rumelhart1986",
    r"[Bb]atch\s+norm": "ioffe2015",
    r"[Dd]ropout": "srivastava2014",
    r"Plain\s+SGD|SGD": "robbins1951",
    r"momentum": "polyak1964",
    r"Adagrad": "duchi2011",
    r"\bAdam": "kingma2015",
    r"NAdam \(Dozat, 2016\)|NAdam": "dozat2016",
    r"learning\s+rate\s+of\s+(?:its|their)\s+own": "choi2019",
    r"[Bb]atch\s+size": "goyal2017",
    r"[Ll]arger?\s+batch": "keskar2017",
    r"half\s+a\s+cosine|cosine\s+schedule": "loshchilov2017",
    r"one-?\s?cycle": "smith2019",
    r"patience": "prechelt1998",
    r"t-SNE": "vandermaaten2008",
    r"Wilson": "wilson1927",
    r"Student's": "student1908",
    r"Holm": "holm1979",
    r"McNemar's\s+test": "mcnemar1947",
    r"Two networks, or two methods|\*method\*": "dietterich1998",
    r"equivalen": "schuirmann1987",
    r"calibrated": "guo2017",
    r"label\s+is\s+doubtful": "northcutt2021",
    r"other\s+random\s+weights": "bouthillier2021",
}
# Where no citation goes: findings, code, formulas, links, tables, headings.
NO_CITATION = re.compile(
    r"(^```\{=typst\}\n[^`]*\[\n```.*?^\]\n```|```.*?^```|`[^`\n]*`|\$\$.*?\$\$"
    r"|\$[^$\n]*\$|\[[^\]]*\]\([^)]*\)|^[#|].*?$)",
    re.MULTILINE | re.DOTALL,
)


def build_book(scale: str) -> Path:
    """Make reports/[scale]/report.pdf of the executed chapters, and return its path.

    Chapters that were not executed are left out. Equal chapters and figures give equal
    bytes on every machine. OSError if pandoc or typst fails.
    """
    out = scales.folder("reports", scale)
    path = out / "report.pdf"
    with tempfile.TemporaryDirectory() as temporary:
        write_source(scale, Path(temporary))
        put_in_order(Path(temporary, "book.typ"))
        content = compile_book(Path(temporary, "book.typ"))
    write_atomically(path, content)
    return path


def compile_book(source: Path, system_fonts: bool = False) -> bytes:
    """Return the PDF, with the fonts of typst alone or those of the system as well.

    OSError if typst fails.
    """
    try:
        return typst.compile(
            str(source),
            root=str(source.parent),
            ignore_system_fonts=not system_fonts,
            timestamp=0,
            pdf_standards=[STANDARD],
        )
    except typst.TypstError as error:
        raise OSError(f"typst cannot make the book: {error}") from None


def put_in_order(source: Path) -> None:
    """Let no figure stand below a later one: where it would, it floats no longer.

    OSError if typst fails.
    """
    for _ in range(MOST_ROUNDS):
        text = source.read_text("utf-8")
        order = re.findall(r'^#picture\((?:floats: false, )?"(.+?)"', text, re.M)
        try:
            found = typst.query(
                str(source), "<placed>", field="value", ignore_system_fonts=True
            )
        except typst.TypstError as error:
            raise OSError(f"typst cannot make the book: {error}") from None
        place = {file: (page, y) for file, page, y in json.loads(found)}
        late = [a for a, b in pairwise(order) if place[a] > place[b]]
        for file in late:
            text = text.replace(
                f'#picture("{file}"', f'#picture(floats: false, "{file}"'
            )
        source.write_text(text, "utf-8")
        if not late:
            return


def write_source(scale: str, folder: Path) -> None:
    """Write the book in typst, with its figures, to a folder."""
    books = {name: read_executed(name, scale) for name in scales.chapters()}
    texts: dict[str, Text] = {}
    for name, book in books.items():
        if book is not None:
            pictures = Pictures(name, scales.folder("figures", scale))
            texts[name] = chapter_text(name[:2], book, pictures)
            for file, content in pictures.files.items():
                (folder / file).write_bytes(content)
    parts = [_cited("".join(text.parts)) for text in texts.values()]
    appendices = (claims(scale), answers(texts), training_loop())
    parts += ["```{=typst}\n#show: appendix\n```", *filter(None, appendices)]
    body = to_typst("\n\n".join(parts))
    for file in ("book.typ", "book.bib"):
        target = "look.typ" if file == "book.typ" else file
        (folder / target).write_bytes((HERE / file).read_bytes())
    (folder / "book.typ").write_text(_front(scale) + body + _back(), "utf-8")


def read_executed(name: str, scale: str) -> NotebookNode | None:
    """Return an executed chapter, None if there is none that can be read.

    At the full scale the notebooks of the project are executed ones. Their live cells,
    which show other numbers at each execution, stand for those of a newer copy.
    """
    copy = scales.folder("reports", scale) / f"{name}.ipynb"
    stored = _read(scales.notebook(name)) if scale == "full" else None
    if not copy.exists():
        return stored
    book = _read(copy)
    if book and stored:
        live = {cell.source: cell for cell in stored.cells if _is_live(cell)}
        for cell in book.cells:
            if _is_live(cell) and cell.source in live:
                cell.outputs = live[cell.source].outputs
    return book


def _read(path: Path) -> NotebookNode | None:
    try:
        return nbformat.read(path, 4)
    except Exception:  # Whatever is wrong in a file, the book can do without it.
        return None


def _is_live(cell: NotebookNode) -> bool:
    return LIVE in cell.metadata.get("tags", [])


def _cited(markdown: str) -> str:
    """Return a chapter with a citation behind the first mention of each term."""
    parts = NO_CITATION.split(markdown)
    for term, key in CITED.items():
        for i in range(0, len(parts), 2):
            found = re.search(rf"(?:{term})\w*", parts[i])
            if found:
                at = found.end()
                cite = f"` #cite(<{key}>)`{{=typst}}"
                rest = NO_CITATION.split(parts[i][:at] + cite + parts[i][at:])
                parts[i : i + 1] = rest
                break
    return "".join(parts)


def to_typst(markdown: str) -> str:
    """Return Markdown as typst. OSError if pandoc fails."""
    try:
        return pypandoc.convert_text(
            markdown,
            "typst",
            format="gfm+tex_math_dollars+raw_attribute",
            sandbox=True,
            cworkdir=str(HERE),
            extra_args=["--lua-filter=book.lua", "--wrap=none"],
        )
    except RuntimeError as error:
        raise OSError(f"pandoc cannot make the book: {error}") from None


def authors() -> str:
    """Return the names of the authors in CITATION.cff, as an array of typst."""
    path = places.ROOT / "CITATION.cff"
    citation = path.read_text("utf-8") if path.exists() else ""
    names = re.findall(r"^ +- name: (.+)$", citation, re.MULTILINE)
    return f"({''.join(typst_string(name) + ',' for name in names)})"


def _front(scale: str) -> str:
    """Return what stands before the first chapter: title, findings, contents."""
    version = f"mnistkit {mnistkit.__version__}"
    if scale != "full":
        version += f", {scale} scale"
    lines = [
        '#import "look.typ": *',
        f"#show: book.with(title: {typst_string(TITLE)}, authors: {authors()})",
        "#title-page("
        + ", ".join(map(typst_string, (TITLE, SENTENCE, version)))
        + f", {authors()})",
        "#let horizontalrule = line(length: 100%)",
    ]
    out = scales.folder("reports", scale)
    path = out / f"{REVISITED}_findings.csv"
    if path.exists():
        found = [f"1. {text}" for text in pd.read_csv(path)["finding"]]
        # The last one sums up.
        found[-1] = found[-1].removeprefix("1. ")
        lines.append("#heading(numbering: none)[What was found]")
        lines.append(OCCASION)
        lines.append(to_typst("\n".join(found[:-1]) + "\n\n" + found[-1]))
    lines += ["#contents", "#pagebreak()"]
    return "\n".join(lines) + "\n"


def _back() -> str:
    bibliography = '#bibliography("book.bib", title: "References", style: "ieee")'
    return f"\n#set text(7.8pt)\n{bibliography}\n"
