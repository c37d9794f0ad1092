"""The base of all widgets: what of them is left where there is no front end."""

import io
import warnings
from typing import Any

import anywidget
from matplotlib.figure import Figure

PIXELS_PER_INCH = 100  # as a notebook shows it
SHARPNESS = 2  # pixels of the still for each of these, for sharp screens


class Widget(anywidget.AnyWidget):
    """A widget whose output is always the same text and a picture.

    With a front end, such as JupyterLab, the cell's output is the widget. Everywhere
    else it is what `picture` draws: in the copy that papermill executes, on the page
    that the report publishes, where a code-hosting site shows the notebook, and in
    JupyterLab before the cell is run. Such a still cannot be operated. `pytest --nbval`
    compares the text of `__repr__` alone, which names the class and no address.

    A notebook that keeps the output of a widget, or its state, shows an error where the
    widget's kernel is gone. The report therefore drops both and keeps the still
    (`report.copies.clean`); a notebook that you save yourself has to be run again.

    A widget says what it is in `title`, implements `picture`, and has its JavaScript
    and CSS in files beside its module, so that it works without a network.
    """

    title = "a widget"

    def picture(self) -> tuple[Figure, str]:
        """Return the still, and what it shows in words, for those who do not see it."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.title} (run the cell to use it)"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict] | None:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        try:
            figure, alt = self.picture()
            content = io.BytesIO()
            figure.savefig(
                content,
                format="png",
                dpi=SHARPNESS * PIXELS_PER_INCH,
                metadata={"Software": None, "Description": alt},
            )
        except Exception as error:
            # IPython would show the traceback in place of a widget that works.
            warnings.warn(f"{self.title} has no still: {error}", stacklevel=2)
            return bundle
        width = round(PIXELS_PER_INCH * figure.get_figwidth())
        still = {"image/png": content.getvalue()}
        return data | still, metadata | {"image/png": {"alt": alt, "width": width}}
