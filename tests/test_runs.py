"""Run and Record: equal runs have one name, and a record survives its file."""

import hashlib
import json
import math
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mnistkit.models import build_model
from mnistkit.runs import Record, Run, read_record
from mnistkit.storage.store import Store
from mnistkit.sweeps import train_run

RUN = Run(model="mlp", epochs=1, lr=0.01)
SOURCE = "three_images"  # no data of this name is loaded: only its form is checked
SUMMARY = {
    "status": "ok",
    "best_epoch": 1,
    "epochs_done": 1,
    "parameters": 235_146,
    "seconds": 1.5,
    "train_loss": 0.5,
    "train_accuracy": 0.75,
    "test_loss": 0.7,
    "test_accuracy": 2 / 3,
}
DATA = {
    "source": SOURCE,
    "checksums": {"test_labels": "27ae"},
    "train_size": 100,
    "val_size": 10,
    "test_size": 3,
    "steps_per_epoch": 2,
}
EPOCH = {"epoch": 1, "train_loss": 0.5, "window_losses": [0.6, 0.4]}


def record(**changes) -> Record:
    """A record of three test images, as a training might have left it."""
    contents = dict(
        run=RUN,
        summary=SUMMARY,
        history=[EPOCH],
        predictions=np.array([7, 2, 1], np.uint8),
        confidence=np.array([0.9, 0.5, 0.75], np.float16),
        p_true=np.array([0.9, 0.25, 0.75], np.float16),
        data=DATA,
        environment={"device": "a processor"},
    )
    return Record(**contents | changes)


# --------------------------------------------------------------------- a run's name


def test_the_name_is_the_hash_of_what_differs_from_the_defaults():
    """Stored records are found by it: it must not change."""
    run = Run(lr=0.01, seed=3, optimizer_options={"betas": [0.5, 0.9]})
    text = b'{"lr": 0.01, "optimizer_options": {"betas": [0.5, 0.9]}, "seed": 3}'
    assert run.name == hashlib.sha256(text).hexdigest()[:16]


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 1e-3},
        {"loss": "cross_entropy"},
        {"extra_tests": ()},
        {"extra_tests": []},
        {"optimizer_options": {}},
    ],
)
def test_a_default_does_not_enter_the_name(settings):
    assert Run(**settings).canonical() == {}
    assert Run(**settings).name == Run().name


@pytest.mark.parametrize(
    ("settings", "canonical"),
    [
        ({"loss": "softmax_twice"}, {"loss": "softmax_twice"}),
        ({"extra_tests": ["one_by_one"]}, {"extra_tests": ("one_by_one",)}),
        ({"val_fraction": 0}, {"val_fraction": 0.0}),
    ],
)
def test_what_is_set_enters_the_name(settings, canonical):
    assert Run(**settings).canonical() == canonical
    assert Run(**settings).name != Run().name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"lr": 1}, {"lr": 1.0}),
        ({"extra_tests": ["one_by_one"]}, {"extra_tests": ("one_by_one",)}),
        (
            {"optimizer_options": {"betas": (0.9, 0.9)}},
            {"optimizer_options": {"betas": [0.9, 0.9]}},
        ),
    ],
)
def test_equal_settings_in_another_form_give_one_run(one, other):
    assert Run(**one) == Run(**other)
    assert Run(**one).name == Run(**other).name


FORMS = [
    ({"batch_size": np.int64(32)}, {"batch_size": 32}),
    ({"batch_size": 32.0}, {"batch_size": 32}),
    ({"batch_size": "32"}, {"batch_size": 32}),
    ({"seed": np.arange(4)[3]}, {"seed": 3}),
    ({"seed": torch.tensor(3)}, {"seed": 3}),
    ({"train_size": "2e2"}, {"train_size": 200}),
    ({"patience": np.uint8(2)}, {"patience": 2}),
    ({"clip_norm": "1e-3"}, {"clip_norm": 0.001}),
    ({"clip_norm": 10}, {"clip_norm": 10.0}),
    ({"lr": np.float32(0.1)}, {"lr": 0.1}),
    ({"val_fraction": -0.0}, {"val_fraction": 0.0}),
    ({"augment": np.bool_(True)}, {"augment": True}),
    ({"model": np.str_("mlp")}, {"model": "mlp"}),
    ({"extra_tests": np.array(["one_by_one"])}, {"extra_tests": ["one_by_one"]}),
    (
        {"optimizer_options": {"betas": np.array([0.5, 0.9]), "eps": np.float32(0.1)}},
        {"optimizer_options": {"betas": [0.5, 0.9], "eps": 0.1}},
    ),
    (
        {"schedule": "step", "schedule_options": {"step_size": 3.0}},
        {"schedule": "step", "schedule_options": {"step_size": 3}},
    ),
]


@pytest.mark.parametrize(("one", "other"), FORMS)
def test_values_of_another_type_give_one_run(one, other):
    """numpy's numbers from a grid, texts from YAML, and integral floats."""
    assert Run(**one) == Run(**other)
    assert Run(**one).name == Run(**other).name
    for key in other:
        assert type(getattr(Run(**one), key)) is type(getattr(Run(**other), key))


def test_every_stored_name_stays():
    """The runs of the chapters are found by name in the archive that is shipped."""
    reports = Path(__file__).parents[1] / "reports"
    listed = set()
    for path in reports.glob("*_runs.csv"):
        listed |= set(pd.read_csv(path)["run"])
    settings = {}
    with zipfile.ZipFile(reports / "records" / "full.zip") as archive:
        for member in archive.namelist():
            if member.endswith(".json"):
                name = Path(member).stem
                settings[name] = json.loads(archive.read(member))["run"]
    assert listed and listed <= set(settings)
    assert all(Run(**run).name == name for name, run in settings.items())


def test_different_runs_have_different_names():
    runs = [Run(seed=seed) for seed in range(5)]
    runs += [
        Run(lr=0.1),
        Run(loss="softmax_twice"),
        Run(extra_tests=["without_eval"]),
        Run(extra_tests=["one_by_one"]),
        Run(extra_tests=["without_eval", "one_by_one"]),
        Run(optimizer_options={"betas": (0.9, 0.9)}),
    ]
    assert len({run.name for run in runs}) == len(runs)


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "lenett"}, "unknown network 'lenett'; known: mlp, lenet"),
        ({"optimizer": "adm"}, "unknown optimizer 'adm'; known: sgd, sgdm"),
        ({"schedule": "cosine"}, "unknown schedule 'cosine'; known: constant"),
        ({"loss": "hinge"}, "unknown loss 'hinge'; known: cross_entropy, softmax"),
        ({"extra_tests": ["eval"]}, "unknown test 'eval'; known: without_eval, one"),
        ({"extra_tests": "one_by_one"}, "extra_tests must be a list, got 'one_by_one'"),
        ({"lr": 0}, "lr must be above 0"),
        ({"lr": -0.1}, "lr must be above 0"),
        ({"lr": math.nan}, "lr must be above 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"val_fraction": 1}, "val_fraction must be in"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"val_fraction": 0, "best_weights": True}, "need val_fraction"),
        ({"val_fraction": 0, "patience": 1}, "need val_fraction"),
        ({"seed": -1}, "seed must be in 0"),
        ({"seed": 2**63}, "seed must be in 0"),
        ({"seed": None}, "seed must be a whole number, got None"),
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"seed": True}, "seed must be a whole number, got True"),
        ({"epochs": "three"}, "epochs must be a whole number, got 'three'"),
        ({"epochs": math.inf}, "epochs must be a whole number, got inf"),
        ({"lr": [0.1]}, r"lr must be a number, got \[0.1\]"),
        ({"lr": True}, "lr must be a number, got True"),
        ({"lr": math.inf}, "lr must be above 0, got inf"),
        ({"clip_norm": -1}, "clip_norm must be above 0"),
        ({"clip_norm": math.nan}, "clip_norm must be above 0, got nan"),
        ({"weight_decay": -1}, "weight_decay must be at least 0"),
        ({"train_size": 0}, "train_size must be at least 1"),
        ({"eval_size": -1}, "eval_size must be at least 1"),
        ({"augment": "no"}, "augment must be True or False, got 'no'"),
        ({"model": None}, "model must be a text, got None"),
        ({"precision": "fp16"}, "unknown precision 'fp16'; known: fp32, bf16"),
        ({"model_options": {"nope": 1}}, "network 'lenet' .*'nope'; known: none"),
        ({"model_options": {"dropout": 0.1}}, "gets 'dropout' from the run itself"),
        ({"optimizer_options": {"nope": 1}}, "optimizer 'adam' .*'nope'; known: betas"),
        (
            {"optimizer": "sgdm", "optimizer_options": {"nope": 1}},
            "optimizer 'sgdm' .*'nope'; known: momentum",
        ),
        ({"schedule_options": {"gamma": 0.5}}, "schedule 'constant' .*'gamma'"),
        (
            {"optimizer_options": {"eps": math.nan}},
            "optimizer_options: eps = nan is no",
        ),
        ({"optimizer_options": {"eps": object}}, "optimizer_options: eps = <class"),
        ({"optimizer_options": [1]}, r"optimizer_options must be a dict, got \[1\]"),
    ],
)
def test_what_cannot_be_trained_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Run(**settings)


def test_one_unknown_test_among_known_ones_is_refused():
    with pytest.raises(ValueError, match="unknown test 'two_by_two'"):
        Run(extra_tests=["one_by_one", "two_by_two"])


# ------------------------------------------------------------ settings and the network


def test_settings_are_all_fields_with_the_options_among_them():
    run = Run(
        model="small_resnet",
        schedule="step",
        seed=3,
        model_options={"final_relu": False},
        optimizer_options={"betas": (0.5, 0.9)},
        schedule_options={"gamma": 0.5},
    )
    settings = run.settings()
    assert settings["seed"] == 3
    assert settings["loss"] == "cross_entropy"
    assert settings["final_relu"] is False
    assert settings["gamma"] == 0.5
    assert not [name for name in settings if name.endswith("_options")]


def test_settings_can_be_grouped_by():
    """pandas groups by tuples and refuses lists."""
    run = Run(optimizer_options={"betas": [0.5, 0.9]}, extra_tests=["one_by_one"])
    assert run.settings()["betas"] == (0.5, 0.9)
    assert run.settings()["extra_tests"] == ("one_by_one",)


def test_settings_leave_the_run_as_it_is():
    run = Run(optimizer_options={"betas": [0.5, 0.9]})
    run.settings()
    assert run == Run(optimizer_options={"betas": [0.5, 0.9]})


def test_the_seed_gives_the_weights_of_the_network():
    model, expected = Run(model="mlp", seed=3).build_model(), build_model("mlp", 3)
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_dropout_reaches_the_network():
    model = Run(model="mlp", dropout=0.25).build_model()
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Dropout)]
    assert [layer.p for layer in layers] == [0.25, 0.25]


def test_model_options_reach_the_network():
    run = Run(model="small_resnet", model_options={"final_relu": False})
    assert isinstance(run.build_model()[3].relu, nn.Identity)


# ---------------------------------------------------------------------------- records


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, since=0)


def test_a_record_survives_the_file(store):
    kept = record()
    store.put(RUN.name, SOURCE, kept.to_document())
    read = read_record(RUN.name, SOURCE, store)
    assert read.run == RUN
    assert read.to_document() == kept.to_document()


@pytest.mark.parametrize("name", ["predictions", "confidence", "p_true"])
def test_the_arrays_survive_the_file(store, name):
    kept = record()
    store.put(RUN.name, SOURCE, kept.to_document())
    read = getattr(read_record(RUN.name, SOURCE, store), name)
    assert read.dtype == getattr(kept, name).dtype
    np.testing.assert_array_equal(read, getattr(kept, name))


def test_a_loss_that_is_no_number_survives_the_file(store):
    kept = record(
        summary=SUMMARY | {"status": "diverged", "train_loss": math.nan},
        history=[{"epoch": 1, "train_loss": math.nan, "window_losses": []}],
    )
    store.put(RUN.name, SOURCE, kept.to_document())
    read = read_record(RUN.name, SOURCE, store)
    assert math.isnan(read.history[0]["train_loss"])


def test_a_run_with_extra_tests_survives_the_file(store):
    run = replace(RUN, loss="softmax_twice", extra_tests=["one_by_one"])
    store.put(run.name, SOURCE, record(run=run).to_document())
    assert read_record(run.name, SOURCE, store).run == run


def test_weights_make_the_network(store):
    model = RUN.build_model()
    with torch.no_grad():
        model[1].weight += 1
    kept = record(weights=model.state_dict())
    store.put(RUN.name, SOURCE, kept.to_document())
    loaded = read_record(RUN.name, SOURCE, store, with_weights=True).load_model()
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_a_record_without_weights_makes_no_network():
    with pytest.raises(ValueError, match="has no weights"):
        record().load_model()


def test_labels_are_those_of_the_tested_images(mnist):
    kept = record(run=replace(RUN, eval_size=100))
    index = kept.test_index(mnist)
    assert len(index) == 100
    np.testing.assert_array_equal(kept.labels(mnist), mnist.test_labels[index])


def test_an_unknown_record_is_none(store):
    assert read_record(RUN.name, SOURCE, store) is None


def assert_set_aside(store, document):
    """Reading warns of the document, finds no record and keeps the file for a look."""
    path = store.put(RUN.name, SOURCE, document)
    content = path.read_bytes()
    with pytest.warns(UserWarning, match=f"{RUN.name}.damaged"):
        assert read_record(RUN.name, SOURCE, store) is None
    assert not path.exists()
    assert path.with_suffix(".damaged").read_bytes() == content


@pytest.mark.parametrize("entry", record().to_document())
def test_a_record_that_lacks_an_entry_is_set_aside(store, entry):
    document = record().to_document()
    del document[entry]
    assert_set_aside(store, document)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("test_predictions", "?"),  # no base64
        ("test_predictions", record().to_document()["test_predictions"][:8]),
        ("run", {"model": "lenett"}),
        ("run", {"seed": 99}),  # another run than its name says
        ("comment", "mine"),  # no field of Record
    ],
)
def test_a_record_with_an_altered_entry_is_set_aside(store, entry, value):
    assert_set_aside(store, record().to_document() | {entry: value})


def test_the_warning_says_what_is_wrong(store):
    other = replace(RUN, seed=99)
    store.put(RUN.name, SOURCE, record(run=other).to_document())
    with pytest.warns(UserWarning, match=f"it holds run {other.name}"):
        read_record(RUN.name, SOURCE, store)


def packed(images: int) -> str:
    return record(
        predictions=np.zeros(images, np.uint8),
        confidence=np.zeros(images, np.float16),
        p_true=np.zeros(images, np.float16),
    ).to_document()["test_predictions"]


@pytest.mark.parametrize(
    "changes",
    [
        {"predictions": np.array([7, 2, 10], np.uint8)},
        {"confidence": np.array([0.9, 0.5, 1.5], np.float16)},
        {"p_true": np.array([0.9, math.nan, 0.75], np.float16)},
        {"history": []},
        {"history": None},
        {"history": [EPOCH, EPOCH | {"epoch": 2}]},  # more epochs than were done
        {"history": [EPOCH | {"epoch": 2}]},
        {"history": [EPOCH | {"train_loss": "0.5"}]},
        {"history": [EPOCH | {"window_losses": 0.5}]},
        {"summary": {}},
        {"summary": SUMMARY | {"test_accuracy": "0.9"}},
        {"summary": SUMMARY | {"test_accuracy": math.nan}},
        {"summary": SUMMARY | {"test_accuracy": 1.5}},
        {"summary": SUMMARY | {"status": "fine"}},
        {"summary": SUMMARY | {"best_epoch": 2}},
        {"summary": SUMMARY | {"parameters": None}},
        {"data": DATA | {"source": "mnist_5k"}},
        {"data": DATA | {"test_size": 60_000_000}},
        {"data": DATA | {"test_size": 4}},
        {"data": DATA | {"train_size": 0}},
        {"data": DATA | {"val_size": None}},
        {"data": DATA | {"steps_per_epoch": "2"}},
        {"environment": {}},
        {"environment": {"device": None}},
        {"environment": None},
    ],
)
def test_a_record_with_impossible_content_is_set_aside(store, changes):
    assert_set_aside(store, record(**changes).to_document())


@pytest.mark.parametrize("images", [0, 2, 10_000_000])
def test_predictions_of_other_images_are_set_aside_unread(store, images):
    assert_set_aside(
        store, record().to_document() | {"test_predictions": packed(images)}
    )


@pytest.fixture(scope="module")
def trained(mnist):
    run = Run(
        model="mlp",
        epochs=1,
        train_size=1000,
        eval_size=500,
        batch_size=32,
        normalize=False,
    )
    return train_run(run, keep_weights=True)


@pytest.mark.parametrize("change", [0.999, 0.0])
def test_an_accuracy_that_the_predictions_deny_is_set_aside(
    store, trained, change, mnist
):
    document = trained.to_document()
    document["summary"] = document["summary"] | {"test_accuracy": change}
    store.put(trained.run.name, mnist.source, document)
    with pytest.warns(UserWarning, match="its test_accuracy is"):
        assert read_record(trained.run.name, mnist.source, store) is None


def test_weights_of_another_training_are_noticed(store, trained, mnist):
    name = trained.run.name
    path = store.put(name, mnist.source, trained.to_document())
    other = {key: value + 1 for key, value in trained.weights.items()}
    save_file(other, path.with_suffix(".safetensors"))
    assert read_record(name, mnist.source, store) is not None
    with pytest.warns(UserWarning, match="its weights are those of another training"):
        assert read_record(name, mnist.source, store, with_weights=True) is None


def test_a_reloaded_network_has_the_stored_accuracy(store, trained, mnist):
    """The images are scaled as in training, here without normalising them."""
    store.put(trained.run.name, mnist.source, trained.to_document())
    read = read_record(trained.run.name, mnist.source, store, with_weights=True)
    index = read.test_index(mnist)
    images, labels = mnist.test_images[index], mnist.test_labels[index]
    assert read.evaluate(images, labels) == {
        "loss": trained.summary["test_loss"],
        "accuracy": trained.summary["test_accuracy"],
    }
    np.testing.assert_array_equal(read.predict(images).argmax(1), read.predictions)


def test_a_record_of_a_newer_version_is_left_alone(store):
    document = record().to_document()
    document["run"] = document["run"] | {"color": "red"}
    path = store.put(RUN.name, SOURCE, document)
    with pytest.warns(UserWarning, match="newer version.*color"):
        assert read_record(RUN.name, SOURCE, store) is None
    assert path.exists()


def test_a_damaged_record_can_be_written_anew(store):
    store.put(RUN.name, SOURCE, {"run": {}})
    with pytest.warns(UserWarning, match="damaged"):
        read_record(RUN.name, SOURCE, store)
    store.put(RUN.name, SOURCE, record().to_document())
    assert read_record(RUN.name, SOURCE, store).run == RUN
