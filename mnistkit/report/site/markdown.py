"""Markdown as HTML, by pandoc; code as HTML, by Pygments."""

import html
import re
from collections.abc import Sequence

import nbformat
import pypandoc
from nbformat.v4 import new_markdown_cell, new_notebook
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

CELL = re.compile(r'<div id="text-\d+" class="cell markdown"[^>]*>')
PYTHON_BLOCK = re.compile(
    r'<pre class="(?:python|ipython3|py)"><code>(.*?)</code></pre>', re.DOTALL
)
TABLE = re.compile(r"<table.*?</table>", re.DOTALL)
COLUMN_WIDTHS = re.compile(r"<colgroup>.*?</colgroup>\s*", re.DOTALL)


def to_html(texts: Sequence[str]) -> list[str]:
    """Return each text in Markdown as a fragment of HTML; formulas become MathML.

    pandoc works in a sandbox, where it reads no other file. OSError if pandoc fails.
    """
    if not texts:
        return []
    cells = [
        new_markdown_cell(text, id=f"text-{number}")
        for number, text in enumerate(texts)
    ]
    try:
        page = pypandoc.convert_text(
            nbformat.writes(new_notebook(cells=cells)),
            "html5",
            # Jupyter, too, reads Markdown in HTML, such as a solution in <details>.
            format="ipynb+markdown_in_html_blocks",
            sandbox=True,
            extra_args=["--mathml", "--syntax-highlighting=none", "--wrap=none"],
        )
    except RuntimeError as error:
        raise OSError(f"pandoc cannot make the page: {error}") from None
    found = [part.strip() for part in CELL.split(page)[1:]]
    return [_dressed(part.removesuffix("</div>").strip()) for part in found]


def code_block(source: str) -> str:
    """Return Python source as HTML, its tokens in spans."""
    spans = highlight(source, PythonLexer(), HtmlFormatter(nowrap=True)).rstrip("\n")
    return f"<pre><code>{spans}</code></pre>"


def _dressed(fragment: str) -> str:
    """Return HTML of pandoc with coloured code, and tables that scroll in a box.

    What pandoc writes as style is left to the style sheet.
    """
    fragment = PYTHON_BLOCK.sub(
        lambda block: code_block(html.unescape(block[1])), fragment
    )
    fragment = COLUMN_WIDTHS.sub("", fragment)
    fragment = fragment.replace(' style="text-align: right;"', ' class="number"')
    fragment = re.sub(r' style="text-align: \w+;"', "", fragment)
    return TABLE.sub(lambda table: f'<div class="scroll">{table[0]}</div>', fragment)
