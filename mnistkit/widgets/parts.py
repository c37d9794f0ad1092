"""What several widgets share: their scripts' and styles' common part, and pixels."""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent


def joined(kind: str, name: str) -> str:
    """Return `parts.<kind>` and `<name>.<kind>` as one text, for `_esm` or `_css`.

    A widget's script arrives in the browser alone, so it cannot import another file.
    """
    files = (FOLDER / f"{part}.{kind}" for part in ("parts", name))
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def as_greys(values: np.ndarray, largest: float | None = None) -> bytes:
    """Return values [..., H, W] as bytes, 0 for zero or less and 255 for the largest.

    Each map [H, W] has its own largest value unless one is given.
    """
    values = np.maximum(np.asarray(values, dtype=np.float64), 0)
    top = values.max((-2, -1), keepdims=True) if largest is None else largest
    return (255 * values / np.maximum(top, 1e-12)).round().astype(np.uint8).tobytes()
