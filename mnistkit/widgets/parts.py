"""What several widgets share: the common part of their scripts, and of their stills."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

FOLDER = Path(__file__).parent


def joined(kind: str, name: str) -> str:
    """Return `parts.<kind>` and `<name>.<kind>` as one text, for `_esm` or `_css`.

    A widget's script arrives in the browser alone, so it cannot import another file.
    """
    files = (FOLDER / f"{part}.{kind}" for part in ("parts", name))
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def as_bytes(values: Tensor) -> bytes:
    """Return the float32 values, one after the other."""
    return values.detach().float().contiguous().numpy().tobytes()


def signed(ax: Axes, values: Tensor, most: float | None = None) -> None:
    """Draw values [H, W]: orange above zero, violet below it, white at zero.

    The strongest colours are those of `most`, of the largest value by default.
    """
    top = most or max(values.abs().max().item(), 1e-9)
    ax.imshow(values.numpy(), cmap="PuOr_r", vmin=-top, vmax=top)
    ax.grid(False)


def outline(left: int, top: int, side: int) -> Rectangle:
    """Return the frame of a square of pixels."""
    corner = (left - 0.5, top - 0.5)
    return Rectangle(corner, side, side, fill=False, color="#009E73", linewidth=2)
