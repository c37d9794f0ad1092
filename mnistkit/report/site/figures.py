"""Pictures in a page: drawings as SVG, all others as PNG, small enough to embed."""

import base64
import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

# An SVG of more bytes is mostly an image: a PNG of it may be smaller.
LARGEST_SVG = 200_000

NOISE = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", re.DOTALL
)
# Places in a drawing, in points; a scale such as 0.015625 needs its digits.
PLACES = re.compile(r' (?:d|x|y|x1|x2|y1|y2|width|height|transform)="([^"]*)"')
LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
DESCRIPTION = re.compile(r"<dc:description>(.*?)</dc:description>", re.DOTALL)


@dataclass(frozen=True)
class Picture:
    """A picture: its address, a data URL, and its size in CSS pixels."""

    address: str
    width: int
    height: int


def drawings(folder: Path) -> dict[str, Path]:
    """Return the SVG beside each PNG of a folder, by the SHA-256 of the PNG."""
    return {
        hashlib.sha256(png.read_bytes()).hexdigest(): png.with_suffix(".svg")
        for png in sorted(folder.glob("*.png"))
        if png.with_suffix(".svg").exists()
    }


def file_of(png: bytes, known: Mapping[str, Path]) -> Path | None:
    """Return the SVG file of a picture that a notebook shows, None if there is none."""
    return known.get(hashlib.sha256(png).hexdigest())


def picture(png: bytes, svg: Path | None, width: int | None = None) -> Picture:
    """Return a picture for a page, `width` CSS pixels wide; by default as the PNG is.

    The SVG, if there is one, is preferred unless it is large and the PNG smaller.
    """
    with Image.open(io.BytesIO(png)) as image:
        pixels = image.size
    width = width or pixels[0]
    height = round(width * pixels[1] / pixels[0])
    drawn = svg_address(svg.read_text("utf-8")) if svg else ""
    if 0 < len(drawn) <= LARGEST_SVG:
        return Picture(drawn, width, height)
    small = base64.b64encode(min(png, with_palette(png), key=len)).decode()
    painted = f"data:image/png;base64,{small}"
    is_smaller = 0 < len(drawn) <= len(painted)
    return Picture(drawn if is_smaller else painted, width, height)


def with_palette(png: bytes) -> bytes:
    """Return a PNG with at most 256 colours."""
    content = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(256).save(content, "PNG", optimize=True)
    return content.getvalue()


def svg_address(svg: str) -> str:
    """Return a data URL of an SVG by matplotlib, rounded to hundredths of a point."""
    svg = PLACES.sub(_round, NOISE.sub("", svg))
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><").strip()
    svg = svg.replace('"', "'")
    encoded = re.sub("[%#<>]", lambda sign: f"%{ord(sign[0]):02X}", svg)
    return f"data:image/svg+xml,{encoded}"


def description(svg: Path) -> str:
    """Return what an SVG file says that it shows, as HTML; "" if it does not."""
    found = DESCRIPTION.search(svg.read_text("utf-8"))
    return " ".join(found[1].split()) if found else ""


def _round(attribute: re.Match[str]) -> str:
    if "scale(0.0" in attribute[1]:
        return attribute[0]
    return LONG_NUMBER.sub(_two_decimals, attribute[0])


def _two_decimals(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
