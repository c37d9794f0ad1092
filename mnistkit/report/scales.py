"""The chapters, where their files lie, and the sizes at which papermill executes them.

A chapter's name is its notebook's name, the prefix of its figures and tables, and its
key in SCALES. Everything goes to figures/ and reports/ ($MNISTKIT_OUT overrides the
place): the full scale there, other scales to subfolders of their own.
"""

from pathlib import Path
from typing import Any

from mnistkit.storage import places

# What papermill injects. full injects nothing: it is what the notebooks say, the
# largest runs whose records the project ships. paper is as large as the reports.
SCALES: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {
        "00_start_here": dict(
            train_size=500,
            epochs=2,
            run_size=200,
            run_epochs=1,
            eval_size=200,
            readers=["mlp"],
            reader_size=200,
            reader_epochs=1,
        ),
        "01_data_exploration": dict(
            embed_size=200,
            train_size=500,
            eval_size=200,
            network_train_size=200,
            network_eval_size=100,
            network_epochs=1,
            seeds=2,
        ),
        "02_model_zoo": dict(
            networks=["mlp", "lenet", "small_resnet"],
            diagrams=["lenet"],
            epochs=1,
            train_size=200,
            all_train_size=400,
            eval_size=100,
            precision="fp32",
            seeds=2,
            depth_epochs=1,
            norm_train_size=200,
            few_seeds=1,
            grid_train_size=200,
            grid_epochs=1,
            r4_seeds=2,
        ),
        "03_optimizer_comparison": dict(
            train_size=256,
            eval_size=200,
            epochs=2,
            seeds=2,
            own_train_size=256,
            tries_epochs=1,
            own_seeds=2,
        ),
        "04_lr_batch_size_study": dict(
            seeds=2,
            eval_size=100,
            train_size=320,
            epochs=1,
            batch_model="lenet",
            batch_train_size=256,
            batch_epochs=4,
            grid_model="mlp",
            grid_train_size=256,
            draws=10,
            eval_seeds=2,
        ),
        "05_lr_schedules": dict(
            model="small_resnet",
            train_size=100,
            eval_size=50,
            epochs=4,
            long_epochs=6,
            small_size=64,
            small_eval_size=50,
            small_seeds=2,
            demo_size=64,
            demo_eval_size=50,
            demo_seeds=2,
        ),
        "06_confusion_matrix_analysis": dict(
            train_size=256,
            eval_size=200,
            epochs=2,
            seeds=2,
            sizes=[50, 100],
            steps=4,
            size_seeds=2,
        ),
        "07_five_reports_revisited": {},
    },
    "quick": {
        "00_start_here": dict(
            run_size=1000,
            run_epochs=3,
            eval_size=1000,
            readers=["mlp"],
            reader_size=2000,
            reader_epochs=4,
        ),
        "01_data_exploration": dict(
            embed_size=800,
            train_size=10000,
            network_train_size=3000,
            network_eval_size=1000,
        ),
        "02_model_zoo": dict(
            networks=["mlp", "lenet", "small_resnet"],
            epochs=4,
            train_size=1500,
            all_train_size=3000,
            eval_size=1000,
            precision="fp32",
            depth_epochs=3,
            norm_train_size=1500,
            few_seeds=2,
            grid_train_size=500,
            grid_epochs=3,
            r4_seeds=3,
        ),
        "03_optimizer_comparison": dict(
            train_size=1500,
            eval_size=1000,
            epochs=3,
            seeds=3,
            own_train_size=1500,
            tries_epochs=3,
        ),
        "04_lr_batch_size_study": dict(
            eval_size=500,
            train_size=6400,
            epochs=1,
            batch_model="lenet",
            batch_train_size=1280,
            batch_epochs=4,
            grid_model="mlp",
            grid_train_size=1600,
            draws=100,
            eval_seeds=3,
        ),
        "05_lr_schedules": dict(
            model="small_resnet",
            train_size=300,
            eval_size=100,
            epochs=6,
            long_epochs=12,
            small_size=300,
            small_eval_size=300,
            demo_size=192,
            demo_eval_size=100,
            demo_seeds=3,
        ),
        "06_confusion_matrix_analysis": dict(
            train_size=1500,
            eval_size=1000,
            epochs=3,
            seeds=3,
            sizes=[100, 400, 1600],
            steps=160,
            size_seeds=2,
        ),
        "07_five_reports_revisited": {},
    },
    "full": {},
    # The reports' own protocols, which need a GPU, in the order of their worth.
    "paper": {
        "00_start_here": {},
        "01_data_exploration": {},
        "02_model_zoo": dict(
            networks=["mlp", "lenet", "small_resnet"],
            diagrams=["lenet"],
            r4_networks=["resnet18", "wrn16_4", "vgg11", "alexnet"],
            r4_seeds=3,
            r4_control=["wrn16_4"],
            grid_networks=["alexnet", "wrn16_4", "resnet18", "vgg11"],
            grid_precision="bf16",
        ),
        "03_optimizer_comparison": dict(own_train_size=60000, tries_epochs=5),
        "04_lr_batch_size_study": dict(seeds=5),
        "05_lr_schedules": dict(train_size=60000, eval_size=10000, seeds=3),
        "06_confusion_matrix_analysis": {},
        "07_five_reports_revisited": {},
    },
}


def chapters() -> list[str]:
    """The names of all chapters, in their order."""
    books = (places.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")
    return sorted(path.stem for path in books)


def notebook(name: str) -> Path:
    """Where a chapter's notebook lies."""
    return places.ROOT / "notebooks" / f"{name}.ipynb"


def folder(kind: str, scale: str) -> Path:
    """Where `kind` ("figures" or "reports") of a scale goes. ValueError if unknown."""
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; known: {', '.join(SCALES)}")
    base = places.output_folder() / kind
    return base if scale == "full" else base / scale
