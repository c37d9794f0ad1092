"""Where a chapter and what it saves lie, by its name and the scale."""

import pytest

from mnistkit.report import scales
from mnistkit.storage import places


def test_chapters_are_the_numbered_notebooks_in_their_order(project):
    for name in ("02_b", "01_a", "notes"):
        project.plant(name)
    assert scales.chapters() == ["01_a", "02_b"]


def test_a_chapter_is_a_notebook(project):
    assert scales.notebook("01_a") == project.plant("01_a")


def test_the_full_scale_has_the_folders_themselves(project):
    assert scales.folder("reports", "full") == project.folder / "reports"


def test_another_scale_has_a_folder_below(project):
    assert scales.folder("figures", "smoke") == project.folder / "figures" / "smoke"


def test_folders_lie_in_the_project_unless_a_variable_says_otherwise(monkeypatch):
    monkeypatch.delenv("MNISTKIT_OUT", raising=False)
    assert scales.folder("figures", "full") == places.ROOT / "figures"


def test_unknown_scale():
    with pytest.raises(ValueError, match="unknown scale 'huge'; known: smoke, quick"):
        scales.folder("figures", "huge")


@pytest.mark.parametrize("scale", ["smoke", "quick"])
def test_a_scale_has_settings_for_every_chapter(scale):
    assert list(scales.SCALES[scale]) == scales.chapters()


def test_the_full_scale_is_what_the_notebooks_say():
    assert scales.SCALES["full"] == {}
