"""Watch it learn: curves that are drawn while `fit` trains, and a button to stop it."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterable
from typing import Any

import traitlets
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mnistkit.plots import BLUE
from mnistkit.widgets.base import Widget
from mnistkit.widgets.parts import joined

# How long the kernel listens to the browser after an epoch, in seconds. A pause of 0
# is too short for a press of the button to arrive.
PAUSE = 0.01
ORANGE = "#C2410C"
SHOWN = ("epoch", "train_loss", "val_loss", "train_accuracy", "val_accuracy")
ENDS = {
    "learning": "learning",
    "done": "finished",
    "stopped": "stopped; what was learned is kept",
    "failed": "ended by an error",
}


class Curves(Widget):
    """Loss and accuracy by epoch, and a button that asks a training to stop.

    `live` makes one and fills it.
    """

    title = "loss and accuracy, drawn while a network learns"
    _esm = joined("js", "live")
    _css = joined("css", "live")

    rows: traitlets.List = traitlets.List().tag(
        sync=True
    )  # of each row of `fit`, what is drawn
    epochs = traitlets.Int(0).tag(sync=True)  # how many are planned, 0 if not known
    state = traitlets.Enum(list(ENDS), "learning").tag(sync=True)
    ends = traitlets.Dict(ENDS).tag(sync=True)
    is_stopping = traitlets.Bool(False).tag(sync=True)  # the button was pressed

    def add(self, row: dict[str, Any]) -> None:
        """Draw one more row of `fit`."""
        # JSON has no NaN, which the loss of a training that diverges is.
        drawn = {
            key: row[key] if math.isfinite(row[key]) else None
            for key in SHOWN
            if key in row
        }
        self.rows = [*self.rows, drawn]

    def picture(self) -> tuple[Figure, str]:
        """Return the two curves as they are now."""
        figure = Figure(figsize=(7.6, 2.9), layout="constrained")
        epochs = [row["epoch"] for row in self.rows]
        for ax, score in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            factor = 100 if score == "accuracy" else 1
            for part, color, dashes in (("train", BLUE, "-"), ("val", ORANGE, "--")):
                values = [row.get(f"{part}_{score}") for row in self.rows]
                if any(value is not None for value in values):
                    y = [math.nan if v is None else factor * v for v in values]
                    name = "training" if part == "train" else "validation"
                    look = {"linestyle": dashes, "markersize": 4, "label": name}
                    ax.plot(epochs, y, "o", color=color, **look)
            ax.set(xlabel="epoch", title=score if factor == 1 else f"{score} (%)")
            planned = self.epochs if self.state == "learning" else 0
            ax.set_xlim(0.8, max(2, planned, len(epochs)) + 0.2)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if figure.axes[0].lines:
            figure.axes[0].legend(frameon=False)
        return figure, self.words()

    def words(self) -> str:
        """Return the state of the training as a sentence."""
        text = f"Loss and accuracy of a training after {len(self.rows)} epochs"
        last = self.rows[-1] if self.rows else {}
        right = last.get("val_accuracy", last.get("train_accuracy"))
        if right is not None:
            text += f", the accuracy at last {100 * right:.1f} %"
        return f"{text} ({ENDS[self.state]})"


async def live(
    rows: Iterable[dict[str, Any]], epochs: int | None = None
) -> AsyncIterator[dict[str, Any]]:
    """Pass on the rows of `fit`, and draw their curves below the cell meanwhile.

        async for row in live(fit(model, batches, optimizer, epochs=8), epochs=8):
            history.append(row)

    The rows are those of a plain `for row in fit(...)`. The button *Stop*, and the stop
    button of Jupyter, end the loop within an epoch, without an error: the cell goes on
    below the loop with the rows and the network as they are. An epoch that Jupyter's
    button cuts off in a plain `for` has changed the weights and has no row; here it is
    finished first. `epochs` is how far the axis goes, where that is known.

    The loop has to be `async`: while a plain `for` trains, the kernel does not listen,
    and a button that is pressed has no effect before the training is over.
    """
    curves = Curves(epochs=epochs or 0)
    screen = display(curves, display_id=True)
    end = "stopped"
    try:
        await asyncio.sleep(PAUSE)  # the curves' axes are there before the first epoch
        for row in rows:
            curves.add(row)
            yield row
            await asyncio.sleep(PAUSE)
            if curves.is_stopping:
                break
        else:
            end = "done"
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass  # Jupyter's stop button: the loop ends here
    except Exception:
        end = "failed"
        raise
    finally:
        curves.state = end
        if screen is not None:  # None outside a notebook
            screen.update(curves)  # so that the still shows the whole training
