"""What of a chapter stands in the book: its cells as Markdown with parts in typst.

The rules, which look at what a cell is and at the names of sections:

- A section that needs a live notebook, or is there for looking up, is left out whole:
  see NOT_IN_PRINT. So are the agenda of a chapter (what is learnt, how long it takes),
  paragraphs and sentences that ask to run a cell (ON_SCREEN, TO_OPERATE), and what
  leads to a widget, from the last heading of that text on. A widget is a picture that
  is no figure of the chapter.
- Code is shown in sections "by hand" and "line by line" and their subsections, if it
  defines something and uses neither plots nor tables: the hand-built pieces. What such
  a cell prints is shown as well. All other code, and what it prints, is left out.
- Findings stand beside the narrow figure or table that they follow.
- Folded answers go to an appendix. A link stands in their place.
"""

import ast
import re
from dataclasses import dataclass, field

from nbformat import NotebookNode

from mnistkit.report.book_floats import Pictures, figure, table

NOT_IN_PRINT = re.compile(
    "Try it|Play with it|Draw a digit|Look inside|With a button|For lecturers"
    "|How to go on|Run, record, sweep|A network of your own|What the reports said"
    r"|Report by report|Findings$|Summary$|Exercises|.*\blive$"
)
HAND_BUILT = re.compile("by hand|line by line")
FLOAT = re.compile(r"```\{=typst\}\n#(picture|data-table)\(.*\)\n```")
# What an opening says for those who plan to work through the chapter.
AGENDA = re.compile(
    r"\*\*(?:You will learn|Time)\b.*?(?=^##|\Z)|^Reading takes about.*?(?:\n\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
FOLDED = re.compile(
    r"\s*<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL
)
HEADING = re.compile(r"^(#{1,6}) +(.+)$", re.MULTILINE)
# Paragraphs that ask to run a cell
ON_SCREEN = re.compile(r"\*\*Try it|One star:|Put your answer")
# Sentences that ask to operate a notebook, and where a sentence ends
TO_OPERATE = re.compile(
    r"\brun\s+the\s+(?:two\s+)?cells|Move\s+the\s+slider|press\s+\*Play"
    r"|next\s+cells?\s+(?:checks?|trains?)\b"
)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z*`])")
HALF_PAGE = 3000  # characters of text
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
# The number of a question: **2**, **2.**, **2 ★** or 2. at the start of a line.
QUESTION = re.compile(r"^(?:\*\*)?(\d+)(?:\.(?!\d)|\*\*|[ ★]+\*\*)", re.MULTILINE)
# Modules whose functions plot, tabulate or speak for the course.
PLUMBING = {"mnistkit", "pandas", "matplotlib", "IPython"}
# What a hand-built piece may use of the course: the data, and their preparation.
DATA = {"normalize", "build_model", "Batches", "fit", "mnist", "models"}


@dataclass(frozen=True)
class Answer:
    """A folded text, in Markdown.

    `label` is unique in the book; `question` says what it answers: "Exercises, 2".
    """

    label: str
    question: str
    text: str


@dataclass
class Text:
    """A chapter in the book: Markdown, and the answers for the appendix.

    `sections` are the titles above the present place, `tables` those of its tables.
    """

    parts: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    sections: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)

    def add(self, markdown: str) -> None:
        self.parts.append(markdown.strip("\n"))


def chapter_text(number: str, book: NotebookNode, pictures: Pictures) -> Text:
    """Return the chapter "00" to "07" as Markdown for pandoc, with its answers.

    The figures that it shows are put into `pictures`.
    """
    text = Text()
    hidden = 0  # The level of the section that is left out, 0 for none.
    plumbing = _imported(book)
    for i, cell in enumerate(book.cells):
        if cell.cell_type == "code" and not hidden:
            _add_code(text, cell, plumbing, pictures)
        if cell.cell_type != "markdown":
            continue
        is_opening = len(text.sections) < 2
        parts = _sections(AGENDA.sub("", cell.source) if is_opening else cell.source)
        is_lead = _leads_to_widget(book.cells[i + 1 :], pictures)
        for n, (level, title, part) in enumerate(parts, start=1):
            if title and not (hidden and level > hidden):
                hidden = level if NOT_IN_PRINT.match(title) else 0
            if is_lead and n == len(parts):
                continue
            if title:
                text.sections = [*text.sections[: level - 1], title]
            if not hidden:
                text.add(part)
    paragraphs = "\n\n".join(text.parts).split("\n\n")
    printed = [_readable(part) for part in paragraphs if not ON_SCREEN.match(part)]
    return _fold(number, _settle("\n\n".join(printed)))


def _leads_to_widget(cells: list[NotebookNode], pictures: Pictures) -> bool:
    """Return whether the first output of the next cells of code is a widget."""
    for cell in cells:
        if cell.cell_type != "code" or cell.outputs:
            return cell.cell_type == "code" and pictures.is_widget(cell)
    return False


def _readable(paragraph: str) -> str:
    """Return a paragraph without the sentences that ask to operate a notebook."""
    if paragraph.startswith("```") or not TO_OPERATE.search(paragraph):
        return paragraph
    sentences = SENTENCE_END.split(paragraph)
    return " ".join(text for text in sentences if not TO_OPERATE.search(text))


def _settle(markdown: str) -> str:
    """Return a chapter whose last figures do not float.

    So none of them gets below the title of the next chapter. A figure stays where it is
    if less than half a page of text follows, which is HALF_PAGE characters.
    """
    calls = [match.start() for match in re.finditer("^#picture", markdown, re.M)]
    prose = [len(FENCED.sub("", FOLDED.sub("", markdown[at:]))) for at in calls]
    last = [at for at, n in zip(calls, prose, strict=True) if n < HALF_PAGE]
    for at in reversed(last):
        before = "#place.flush()\n" if at == last[0] else ""
        call = markdown[at:].replace("#picture(", "#picture(floats: false, ", 1)
        markdown = markdown[:at] + before + call
    return markdown


def _sections(source: str) -> list[tuple[int, str, str]]:
    """Split Markdown before each heading: (level, title, text); (0, "", text) first."""
    code = [match.span() for match in FENCED.finditer(source)]
    heads = [
        match
        for match in HEADING.finditer(source)
        if not any(start < match.start() < end for start, end in code)
    ]
    ends = [*(match.start() for match in heads), len(source)]
    parts = [(0, "", source[: ends[0]])]
    for match, end in zip(heads, ends[1:], strict=True):
        parts.append((len(match[1]), match[2], source[match.start() : end]))
    return parts


def _imported(book: NotebookNode) -> set[str]:
    """Return the names that a notebook imports from PLUMBING, but those in DATA."""
    names = {"chapter", "ax", "axes", "fig"}
    for cell in book.cells:
        for node in ast.walk(_parse(cell)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = getattr(node, "module", None)
                for alias in node.names:
                    if (module or alias.name).split(".")[0] in PLUMBING:
                        names.add(alias.asname or alias.name.split(".")[0])
    return names - DATA


def _parse(cell: NotebookNode) -> ast.Module:
    """Return the syntax of a cell, empty unless it is Python (magics are not)."""
    try:
        return ast.parse(cell.source if cell.cell_type == "code" else "")
    except SyntaxError:
        return ast.parse("")


def _is_shown(cell: NotebookNode, sections: list[str], plumbing: set[str]) -> bool:
    """Return whether the code of a cell is a hand-built piece."""
    syntax = _parse(cell)
    nodes = list(ast.walk(syntax))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    names |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    definitions = (ast.FunctionDef, ast.ClassDef, ast.Assign)
    return (
        any(HAND_BUILT.search(title) for title in sections[1:])
        and any(isinstance(node, definitions) for node in syntax.body)
        and not any(isinstance(node, ast.Import | ast.ImportFrom) for node in nodes)
        and not names & plumbing
    )


def _add_code(
    text: Text, cell: NotebookNode, plumbing: set[str], pictures: Pictures
) -> None:
    """Add the code of a cell, if it is shown, and its outputs."""
    is_shown = _is_shown(cell, text.sections, plumbing)
    if is_shown:
        text.add(f"```python\n{cell.source}\n```")
    for output in cell.outputs if len(text.sections) > 1 else []:
        data = output.get("data", {})
        if "text/markdown" in data:
            said = data["text/markdown"]
            is_finding = ".say(" in cell.source or "lesson(" in cell.source
            if is_finding and text.parts and FLOAT.fullmatch(text.parts[-1]):
                call = text.parts.pop().removesuffix("\n```")
                text.add(f"{call}[\n```\n\n{said}{_raw(']')}")
            else:
                text.add(_raw("#finding[") + said + _raw("]") if is_finding else said)
        elif "image/png" in data:
            if not pictures.is_widget(cell):
                text.add(_raw(figure(pictures.add(cell, output))))
        elif "text/html" in data:
            made = table(
                data["text/html"], pictures.chapter, text.sections, text.tables
            )
            text.add(_raw(made))
        elif is_shown and output.get("name") == "stdout":
            text.add(f"```\n{output.text.rstrip()}\n```")
        elif is_shown and "text/plain" in data:
            text.add(f"```\n{data['text/plain']}\n```")


def _raw(typst: str) -> str:
    """Return a block of typst, as Markdown."""
    return f"\n\n```{{=typst}}\n{typst}\n```\n\n"


def _fold(number: str, markdown: str) -> Text:
    """Return a chapter with its folded texts taken out and linked."""
    text = Text()
    counts: dict[str, int] = {}
    position = 0
    for match in FOLDED.finditer(markdown):
        before = markdown[position : match.start()]
        titles = [title for _, title, _ in _sections(markdown[: match.start()])]
        section = titles[-1]
        counts[section] = counts.get(section, 0) + 1
        questions = QUESTION.findall(markdown[: match.start()].rpartition(section)[2])
        one = match[1].strip().lower() == "answer"
        which = questions[-1] if questions else str(counts[section])
        label = f"{number}-{len(text.answers) + 1}"
        question = f"{section}, {which}" if one else section
        text.answers.append(Answer(label, question, match[2].strip()))
        is_prose = not re.search(r"(```|\||\$\$)\s*$", before)
        gap = "" if is_prose else "\n\n"
        link = f"#answer{'' if one else 's'}-at(<a{label}>)"
        text.parts.append(f"{before}{gap}`{link}#[]<q{label}>`{{=typst}}")
        position = match.end()
    text.parts.append(markdown[position:])
    return text
