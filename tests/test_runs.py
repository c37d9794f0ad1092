"""Run and Record: equal runs have one name, and a record survives its file."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mnistkit.models import build_model
from mnistkit.runs import Record, Run, read_record
from mnistkit.storage.store import Store

RUN = Run(model="mlp", epochs=1, lr=0.01)


def record(**changes) -> Record:
    """A record of three test images, as a training might have left it."""
    contents = dict(
        run=RUN,
        summary={"status": "ok", "test_accuracy": 2 / 3},
        history=[{"epoch": 1, "train_loss": 0.5, "window_losses": [0.6, 0.4]}],
        predictions=np.array([7, 2, 1], np.uint8),
        confidence=np.array([0.9, 0.5, 0.75], np.float16),
        p_true=np.array([0.9, 0.25, 0.75], np.float16),
        data={"source": "mnist", "checksums": {"test_labels": "27ae"}},
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
    store.put(RUN.name, "mnist", kept.to_document())
    read = read_record(RUN.name, "mnist", store)
    assert read.run == RUN
    assert read.to_document() == kept.to_document()


@pytest.mark.parametrize("name", ["predictions", "confidence", "p_true"])
def test_the_arrays_survive_the_file(store, name):
    kept = record()
    store.put(RUN.name, "mnist", kept.to_document())
    read = getattr(read_record(RUN.name, "mnist", store), name)
    assert read.dtype == getattr(kept, name).dtype
    np.testing.assert_array_equal(read, getattr(kept, name))


def test_a_loss_that_is_no_number_survives_the_file(store):
    kept = record(history=[{"epoch": 1, "train_loss": math.nan, "window_losses": []}])
    store.put(RUN.name, "mnist", kept.to_document())
    read = read_record(RUN.name, "mnist", store)
    assert math.isnan(read.history[0]["train_loss"])


def test_a_run_with_extra_tests_survives_the_file(store):
    run = replace(RUN, loss="softmax_twice", extra_tests=["one_by_one"])
    store.put(run.name, "mnist", record(run=run).to_document())
    assert read_record(run.name, "mnist", store).run == run


def test_weights_make_the_network(store):
    model = RUN.build_model()
    with torch.no_grad():
        model[1].weight += 1
    kept = record(weights=model.state_dict())
    store.put(RUN.name, "mnist", kept.to_document())
    loaded = read_record(RUN.name, "mnist", store, with_weights=True).load_model()
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
    assert read_record(RUN.name, "mnist", store) is None


def assert_set_aside(store, document):
    """Reading warns of the document, finds no record and keeps the file for a look."""
    path = store.put(RUN.name, "mnist", document)
    content = path.read_bytes()
    with pytest.warns(UserWarning, match=f"{RUN.name}.damaged"):
        assert read_record(RUN.name, "mnist", store) is None
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
        ("run", {"color": "red"}),  # no field of Run
        ("run", {"model": "lenett"}),
        ("run", {"seed": 99}),  # another run than its name says
        ("comment", "mine"),  # no field of Record
    ],
)
def test_a_record_with_an_altered_entry_is_set_aside(store, entry, value):
    assert_set_aside(store, record().to_document() | {entry: value})


def test_the_warning_says_what_is_wrong(store):
    other = replace(RUN, seed=99)
    store.put(RUN.name, "mnist", record(run=other).to_document())
    with pytest.warns(UserWarning, match=f"it holds run {other.name}"):
        read_record(RUN.name, "mnist", store)


def test_a_damaged_record_can_be_written_anew(store):
    store.put(RUN.name, "mnist", {"run": {}})
    with pytest.warns(UserWarning, match="damaged"):
        read_record(RUN.name, "mnist", store)
    store.put(RUN.name, "mnist", record().to_document())
    assert read_record(RUN.name, "mnist", store).run == RUN
