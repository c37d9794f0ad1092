"""What the tests of the site share: planted chapters, and pages taken apart."""

import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

# The smallest PNG: one grey pixel.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5E"
    "rkJggg=="
)
STAMP = {
    "data": "planted data",
    "device": "a processor",
    "cores": 2,
    "finished": "2026-01-02T03:04:05Z",
    "seconds": 6.7,
}
SOLUTION = "<details><summary>Solution</summary>\n\n$a$ is **bold**\n\n</details>"
KINDS = {"markdown": "text/markdown", "html": "text/html", "png": "image/png"}


def display(**data):
    """An output of a cell, its kinds by their short names."""
    data = {"text/plain": "<Figure>"} | {KINDS[kind]: data[kind] for kind in data}
    metadata = {"image/png": {"alt": 'One grey "pixel"', "width": 500}}
    return new_output("display_data", data=data, metadata=metadata)


def good_cells():
    """The cells of a chapter with all that a page has to show."""
    table = '<table><tr><td><a href="02_other.ipynb">2</a></td></tr></table>'
    outputs = [
        display(markdown="**Finding** of the chapter"),
        display(html=f"<div>{table}</div>"),
        display(png=PIXEL),
    ]
    return [
        new_markdown_cell("# Good title\n\nA formula: $x^2$"),
        new_markdown_cell(f"## Section\n\n[next](02_other.ipynb)\n\n{SOLUTION}"),
        new_code_cell("print(1 < 2)", outputs=outputs),
    ]


def write_copy(path, cells, **stamp):
    """Write the executed copy of a chapter."""
    book = new_notebook(cells=cells, metadata={"mnistkit": STAMP | stamp})
    nbformat.write(book, path)


class Page(HTMLParser):
    """The ids, links, headings and pictures of a page, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.path = Path(path)
        self.text = self.path.read_text("utf-8")
        self.ids, self.links, self.contents = [], [], []
        self.pictures, self.loaded, self.headings = [], [], []
        self.is_in_contents = False
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if "id" in found:
            self.ids.append(found["id"])
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), found.get("id")))
        if tag == "nav":
            self.is_in_contents = found.get("class") == "contents"
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
            if self.is_in_contents:
                self.contents.append(found["href"])
        if tag == "img":
            self.pictures.append(found)
        self.loaded += [found[key] for key in ("src", "srcset", "data") if key in found]
        if tag == "link":
            self.loaded.append(found["href"])

    def handle_endtag(self, tag):
        if tag == "nav":
            self.is_in_contents = False

    def dead_links(self):
        """The links that lead to no id of their page, or to no file."""
        dead = []
        for link in self.links:
            address, _, anchor = link.partition("#")
            target = self.path.parent / address if address else self.path
            if re.match("https?:", address):
                continue
            is_there = target.exists()
            if is_there and anchor:
                ids = self.ids if target == self.path else Page(target).ids
                is_there = anchor in ids
            dead += [] if is_there else [link]
        return dead
