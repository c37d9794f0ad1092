"""What a chapter says of parameters that its notebook does not declare."""

import pytest

from mnistkit.report.one_chapter import ChapterProcess
from mnistkit.report.parameters import check_parameters
from mnistkit.storage import places

DECLARED = """
scale: str = "full"  # where figures and tables go
seeds: int = 5  # runs of each network
eval_size: int = 100
lr: float = 0.1
networks: list = []
"""
UNKNOWN = (
    "no parameter of the notebook; "
    "the parameters are scale, seeds, eval_size, lr, networks"
)


def check(injected=None, declared=DECLARED):
    """Check a notebook of two or three cells, the second one injected."""
    cells = ["", declared.strip(), "chapter = ..."]
    if injected is not None:
        cells.insert(2, f"# Parameters\n{injected}\n")
    check_parameters("01_good", cells)


@pytest.mark.parametrize(
    "injected",
    [None, "seeds = 1", "lr = 1", "lr = float('nan')", 'networks = ["lenet"]'],
)
def test_parameters_that_fit_are_accepted(injected):
    check(injected)


@pytest.mark.parametrize(
    ("injected", "fault"),
    [
        ("epcohs = 3", f"epcohs is {UNKNOWN}"),
        ('networks = "lenet"', "networks = 'lenet' is no list"),
        ('seeds = "3"', "seeds = '3' is no int"),
        ("seeds = 2.5", "seeds = 2.5 is no int"),
        ("seeds = True", "seeds = True is no int"),
        ("seeds = None", "seeds = None is no int"),
        ("seeds = float('nan')", "seeds = nan is no int"),
        ('lr = "1e-3"', "lr = '1e-3' is no float"),
        ("scale = 3", "scale = 3 is no str"),
        ("seeds = 0", "seeds = 0 must be at least 1"),
        ("eval_size = -1", "eval_size = -1 must be at least 1"),
        ("seeds = 0\nlr = []", "seeds = 0 must be at least 1; lr = [] is no float"),
    ],
)  # fmt: skip
def test_a_parameter_that_does_not_fit_is_refused_in_one_line(injected, fault):
    with pytest.raises(ValueError) as error:
        check(injected)
    assert str(error.value) == f"01_good: {fault}"


def test_a_count_that_the_reader_sets_to_0_is_refused():
    with pytest.raises(ValueError, match="seeds = 0 must be at least 1"):
        check(declared='scale: str = "full"\nseeds: int = 0')


def test_an_edited_parameters_cell_replaces_what_was_injected_before_it():
    edited = DECLARED.replace("seeds", "repetitions").strip()
    cells = [DECLARED.strip(), "# Parameters\nseeds = 1\n", edited]
    check_parameters("01_good", cells)


@pytest.mark.parametrize(
    "declared", ["seeds = 0", "scale: str = 'full'\n%time seeds: int = 0"]
)
def test_nothing_is_checked_without_a_parameters_cell_that_can_be_read(declared):
    check("nonsense = 1", declared)


def test_a_calculated_default_is_accepted():
    check(declared='scale: str = "full"\nseeds: int = len("ab")')


def test_a_chapter_refuses_its_parameters_in_a_kernel(project, tmp_path):
    """papermill alone goes on with the default."""
    source = "from mnistkit import Chapter\nChapter('01_good', scale, 'planted data')"
    path = project.plant("01_good", source)
    environment = places.kernel_environment(tmp_path / "log", fresh=False)
    process = ChapterProcess(path, {"m": 2}, tmp_path, environment)
    assert process.wait() == (
        "ValueError: 01_good: m is no parameter of the notebook; "
        "the parameters are scale, n"
    )
