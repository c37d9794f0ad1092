"""train_run and sweep: equal runs, equal records, nothing trained twice."""

import copy
import json
import math
import multiprocessing
import pickle
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from mnistkit import sweeps
from mnistkit.runs import Record, Run, read_record
from mnistkit.storage.store import Store
from mnistkit.sweeps import best_epoch, select_data, sweep, train_run
from mnistkit.train import LOSSES, SCHEDULES, evaluate
from mnistkit.workers import checkpoints

TINY = Run(model="lenet", epochs=2, train_size=400, eval_size=200, dropout=0.2)
ONE_STEP = Run(
    model="mlp",
    optimizer="sgd",
    lr=0.1,
    batch_size=64,
    epochs=1,
    train_size=64,
    eval_size=100,
)


def timeless(record: Record) -> dict:
    """What must be equal in the records of equal runs: all but times and weights."""
    content = copy.deepcopy(record.to_document())
    content.pop("weights", None)
    content.pop("weights_sha256", None)
    content["environment"].pop("finished")
    content["summary"].pop("seconds")
    for row in content["history"]:
        row.pop("seconds")
    return content


@pytest.fixture(scope="module")
def tiny():
    return train_run(TINY, keep_weights=True)


# -------------------------------------------------------- equal runs give equal records


def test_equal_runs_give_equal_records(tiny):
    torch.manual_seed(123)  # the state outside must not matter
    assert timeless(train_run(TINY)) == timeless(tiny)


def test_another_seed_gives_another_training(tiny):
    other = train_run(replace(TINY, seed=1))
    assert other.history[0]["train_loss"] != tiny.history[0]["train_loss"]


def test_training_leaves_the_random_state_and_the_threads():
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    train_run(ONE_STEP)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


# --------------------------------------------------------------- the images of a run


def test_sizes_of_the_data(mnist):
    train, validation, test = select_data(TINY, mnist)
    assert (len(train.labels), len(validation[1]), len(test[1])) == (400, 200, 200)


def test_val_fraction_divides_the_training_images(mnist):
    half = len(mnist.train_labels) // 2
    train, validation, _ = select_data(Run(val_fraction=0.5), mnist)
    assert (len(train.labels), len(validation[1])) == (half, half)


def test_without_val_fraction_all_images_are_trained_on(mnist):
    train, validation, _ = select_data(Run(val_fraction=0), mnist)
    assert len(train.labels) == len(mnist.train_labels)
    assert validation is None


def test_no_image_is_trained_on_and_held_out(mnist):
    train, (held_out, _), _ = select_data(Run(), mnist)
    trained = {image.tobytes() for image in train.images.numpy()}
    assert trained.isdisjoint(image.tobytes() for image in held_out.numpy())


def test_all_seeds_share_the_images(mnist):
    """Runs that differ in the seed alone are compared in pairs."""
    train, validation, test = select_data(TINY, mnist)
    others = select_data(replace(TINY, seed=1), mnist)
    assert torch.equal(others[0].images, train.images)
    assert torch.equal(others[1][0], validation[0])
    assert torch.equal(others[2][0], test[0])


def test_the_seed_fixes_the_order_of_the_images(mnist):
    first, again, other = (
        torch.cat([labels for _, labels in select_data(run, mnist)[0]])
        for run in (TINY, TINY, replace(TINY, seed=1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_augmentation_changes_images_and_not_their_order(mnist):
    plain, _, _ = select_data(TINY, mnist)
    augmented, _, _ = select_data(replace(TINY, augment=True), mnist)
    for (x, y), (moved, labels) in zip(plain, augmented, strict=True):
        assert torch.equal(labels, y)
        assert not torch.equal(moved, x)


def test_without_normalize_pixels_lie_in_0_to_1(mnist):
    batches, _, _ = select_data(replace(TINY, normalize=False), mnist)
    images = torch.cat([images for images, _ in batches])
    assert (images.min(), images.max()) == (0, 1)


@pytest.mark.parametrize(("drop_last", "steps"), [(False, 7), (True, 6)])
def test_drop_last_leaves_out_a_step(drop_last, steps):
    """400 images are 6 batches of 64 and one of 16."""
    record = train_run(replace(TINY, model="mlp", epochs=1, drop_last=drop_last))
    assert record.data["steps_per_epoch"] == steps


def test_a_record_says_how_many_images_there_were():
    record = train_run(replace(ONE_STEP, val_fraction=0))
    sizes = [record.data[name] for name in ("train_size", "val_size", "test_size")]
    assert sizes == [64, 0, 100]
    assert "val_accuracy" not in record.summary


# ------------------------------------------------------- settings reach the training


def step_of(run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    """All initial weights as one vector, and how the training has changed them."""
    start = parameters_to_vector(run.build_model().parameters()).detach()
    trained = train_run(run, keep_weights=True).load_model()
    return start, parameters_to_vector(trained.parameters()).detach() - start


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_of_sgd_by_hand(mnist, loss):
    run = replace(ONE_STEP, loss=loss)
    batches, _, _ = select_data(run, mnist)
    [(images, labels)] = batches
    model = run.build_model()
    LOSSES[loss](model(images), labels).backward()
    gradient = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    torch.testing.assert_close(step_of(run)[1], -0.1 * gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_history_holds_the_loss_of_the_run(mnist, loss):
    run = replace(ONE_STEP, loss=loss)
    batches, _, _ = select_data(run, mnist)
    [(images, labels)] = batches
    expected = LOSSES[loss](run.build_model()(images), labels).item()
    (row,) = train_run(run).history
    assert row["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_clip_norm_bounds_the_step():
    _, step = step_of(replace(ONE_STEP, clip_norm=0.01))
    assert step.norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_weight_decay_shortens_the_weights():
    """One step of SGD subtracts lr x weight_decay x weight besides the gradient's."""
    start, plain = step_of(ONE_STEP)
    _, decayed = step_of(replace(ONE_STEP, weight_decay=0.5))
    expected = plain - 0.1 * 0.5 * start
    torch.testing.assert_close(decayed, expected, atol=1e-6, rtol=1e-4)


def test_adamw_decays_no_weight_unless_it_is_told():
    """Its own default is 0.01."""
    _, adam = step_of(replace(ONE_STEP, optimizer="adam"))
    _, adamw = step_of(replace(ONE_STEP, optimizer="adamw"))
    assert torch.equal(adamw, adam)


@pytest.mark.parametrize(("momentum", "is_plain"), [(0.0, True), (0.9, False)])
def test_optimizer_options_reach_the_optimizer(momentum, is_plain):
    """Without momentum, two steps of sgdm are two steps of sgd."""
    run = replace(ONE_STEP, train_size=128)
    options = {"momentum": momentum}
    _, sgdm = step_of(replace(run, optimizer="sgdm", optimizer_options=options))
    assert torch.equal(sgdm, step_of(run)[1]) == is_plain


def test_the_schedule_and_its_options_reach_the_optimizer():
    options = {"step_size": 1, "gamma": 0.5}
    run = replace(ONE_STEP, epochs=3, schedule="step", schedule_options=options)
    rates = [row["lr"] for row in train_run(run).history]
    assert rates == pytest.approx([0.05, 0.025, 0.0125])


@pytest.mark.parametrize("settings", [{"augment": True}, {"dropout": 0.5}])
def test_what_is_random_in_training_changes_its_first_loss(settings):
    (plain,) = train_run(ONE_STEP).history
    (changed,) = train_run(replace(ONE_STEP, **settings)).history
    assert changed["train_loss"] != plain["train_loss"]


# ------------------------------------------------------------------ what is tested


@pytest.mark.parametrize(
    ("normalize", "scaling"), [(True, {}), (False, {"mean": 0.0, "std": 1.0})]
)
def test_the_scores_are_those_of_the_kept_weights(mnist, normalize, scaling):
    record = train_run(replace(TINY, epochs=1, normalize=normalize), keep_weights=True)
    index = record.test_index(mnist)
    images, labels = mnist.test_images[index], mnist.test_labels[index]
    score = evaluate(record.load_model(), images, labels, **scaling)
    assert score["accuracy"] == pytest.approx(record.summary["test_accuracy"])
    assert score["loss"] == pytest.approx(record.summary["test_loss"], rel=1e-4)


def test_the_kept_predictions_give_the_accuracy(tiny, mnist):
    hits = tiny.predictions == tiny.labels(mnist)
    assert hits.mean() == pytest.approx(tiny.summary["test_accuracy"])


def test_the_label_is_as_probable_as_the_prediction_where_they_agree(tiny, mnist):
    hits = tiny.predictions == tiny.labels(mnist)
    assert np.array_equal(tiny.p_true[hits], tiny.confidence[hits])
    assert (tiny.p_true[~hits] <= 0.5).all()


def test_test_scores_of_every_epoch_change_nothing(tiny):
    watched = train_run(replace(TINY, test_every_epoch=True))
    assert watched.history[-1]["test_accuracy"] == tiny.summary["test_accuracy"]
    assert "test_accuracy" in watched.history[0]
    assert watched.summary["test_loss"] == tiny.summary["test_loss"]


def test_extra_tests_add_scores_and_change_none():
    """A network without batch norm and dropout gives the same scores in any mode."""
    plain = train_run(ONE_STEP).summary
    tested = train_run(replace(ONE_STEP, extra_tests=["without_eval", "one_by_one"]))
    added = {k: v for k, v in tested.summary.items() if k not in plain}
    assert tested.summary["test_loss"] == plain["test_loss"]
    assert added == {
        "without_eval_shuffled": plain["test_accuracy"],
        "without_eval_sorted": plain["test_accuracy"],
        "without_eval_afterwards": plain["test_accuracy"],
        "one_by_one_argmax": plain["test_accuracy"],
        "one_by_one_drawn": pytest.approx(tested.p_true.mean(dtype=float), rel=1e-2),
    }


# --------------------------------------------------------------- when a run stops


def test_a_loss_that_is_no_number_stops_the_run():
    record = train_run(replace(TINY, optimizer="sgd", lr=1e30, epochs=5))
    assert record.summary["status"] == "diverged"
    assert record.summary["epochs_done"] < 5
    assert math.isnan(record.history[-1]["train_loss"])


@pytest.mark.parametrize(
    ("scores", "best"), [([0.5, 0.9, 0.7, 0.9], 2), ([0.9], 1), ([0.5, 0.6], 2)]
)
def test_the_best_epoch_is_the_first_best_on_validation(scores, best):
    history = [{"epoch": i, "val_accuracy": s} for i, s in enumerate(scores, 1)]
    assert best_epoch(history) == best


def test_the_best_epoch_without_validation_is_the_last():
    assert best_epoch([{"epoch": 1}, {"epoch": 2}]) == 2


PATIENT = replace(TINY, model="mlp", lr=0.01, epochs=60, patience=2, best_weights=True)


@pytest.fixture(scope="module")
def stopped():
    return train_run(PATIENT)


def test_patience_stops_a_run_after_its_best_epoch(stopped):
    best, done = stopped.summary["best_epoch"], stopped.summary["epochs_done"]
    assert done == len(stopped.history) == best + 2 < 60
    scores = [row["val_accuracy"] for row in stopped.history]
    assert stopped.summary["val_accuracy"] == max(scores) == scores[best - 1]


def test_best_weights_are_those_of_the_best_epoch(stopped):
    """Training that ends with the best epoch leaves the same network."""
    best = stopped.summary["best_epoch"]
    shorter = train_run(
        replace(PATIENT, epochs=best, patience=None, best_weights=False)
    )
    assert np.array_equal(shorter.p_true, stopped.p_true)


def test_the_last_weights_are_others(stopped):
    done = stopped.summary["epochs_done"]
    last = train_run(replace(PATIENT, epochs=done, patience=None, best_weights=False))
    assert last.history[-1]["val_loss"] == stopped.history[-1]["val_loss"]
    assert not np.array_equal(last.p_true, stopped.p_true)


# ------------------------------------------------------------------------- the sweep

FEW = [replace(TINY, model="mlp", epochs=1, seed=seed) for seed in range(3)]


@pytest.fixture
def trained(store_folder, tiny, monkeypatch):
    """Seeds of the runs that were trained; no run is, they all get the same record."""
    seeds = []

    def pretend(run, keep_weights=False, *others, **options):
        seeds.append(run.seed)
        return replace(tiny, run=run, weights=tiny.weights if keep_weights else None)

    monkeypatch.setattr(sweeps, "train_run", pretend)
    return seeds


@pytest.fixture
def here():
    """An executor in this process."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_records_come_in_the_order_of_the_runs(trained, here):
    runs = [FEW[2], FEW[0], FEW[2], FEW[1]]
    assert [record.run for record in sweep(runs, here)] == runs


def test_nothing_is_trained_twice(trained, here):
    sweep(FEW[:1], here)
    sweep([FEW[1], FEW[0], FEW[1]], here)
    sweep(FEW[:2], here)
    assert trained == [0, 1]


def test_an_older_record_does_not_count_in_a_fresh_sweep(trained, here, monkeypatch):
    sweep(FEW[:1], here)
    monkeypatch.setenv("MNISTKIT_FRESH", str(time.time() + 1000))
    sweep(FEW[:1], here)
    assert trained == [0, 0]


def test_a_damaged_record_is_trained_again(trained, here, tiny):
    (good,) = sweep(FEW[:1], here)
    path = Store().path(FEW[0].name, tiny.data["source"])
    path.write_text('{"run": {"model": "lenet"')
    with pytest.warns(UserWarning, match=f"{FEW[0].name}.damaged"):
        (again,) = sweep(FEW[:1], here)
    assert trained == [0, 0]
    assert again.to_document() == good.to_document()


def test_a_record_without_weights_is_trained_again_where_they_are_needed(trained, here):
    sweep(FEW[:1], here)
    (kept,) = sweep(FEW[:1], here, keep_weights=True)
    (read,) = sweep(FEW[:1], here, keep_weights=True)
    assert trained == [0, 0]
    for name, value in kept.weights.items():
        assert torch.equal(read.weights[name], value), name


BAD = replace(FEW[0], batch_size=401)  # there are 400 images


def test_a_run_that_fails_neither_stops_the_others_nor_loses_them(store_folder, mnist):
    with pytest.raises(ValueError, match="1 of 4 runs.*batch_size=401") as caught:
        sweep([FEW[0], BAD, *FEW[1:]], jobs=1)
    assert "\n" not in str(caught.value)
    assert caught.value._render_traceback_() == [str(caught.value)]
    assert all(read_record(run.name, mnist.source) for run in FEW)


@pytest.mark.slow
def test_a_run_that_fails_in_a_worker_is_named(store_folder, mnist):
    with pytest.raises(ValueError, match="1 of 4 runs.*batch_size must be in 1..400"):
        sweep([FEW[0], BAD, *FEW[1:]], jobs=2)
    assert all(read_record(run.name, mnist.source) for run in FEW)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ([FEW[0]], {}, TypeError, r"sweep\(\[run\]\)"),
        ([{"lr": 0.1}], {}, TypeError, "a list of Run, not a dict"),
        ([[FEW[0], 3]], {}, TypeError, "contains 3"),
        ([FEW, 4], {}, TypeError, "executor"),
        ([FEW, None, "records"], {}, TypeError, "Store"),
        ([FEW], {"jobs": 0}, ValueError, "jobs"),
        ([FEW], {"jobs": 1.5}, ValueError, "jobs"),
        ([FEW], {"device": "gpu"}, ValueError, "auto, cpu, cuda"),
    ],
)
def test_wrong_arguments_are_named_in_one_line(arguments, options, error, message):
    with pytest.raises(error, match=message) as caught:
        sweep(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_cuda_without_a_gpu_names_the_remedy(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device='cpu'"):
        sweep(FEW, device="cuda")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: no kernel image is available\nCompile with ..."),
    ],
)
def test_what_a_gpu_cannot_train_names_the_remedy(error):
    with pytest.raises(RuntimeError, match="use device='cpu'") as caught:
        with sweeps.remedy_for_cuda(torch.device("cuda")):
            raise error
    assert "\n" not in str(caught.value)


def test_a_worker_with_other_data_is_refused(trained, here, tiny, monkeypatch):
    other = replace(tiny, run=FEW[0], data=tiny.data | {"source": "fashion"})
    monkeypatch.setattr(sweeps, "train_run", lambda *arguments: other)
    with pytest.raises(ValueError, match="a worker trained on fashion"):
        sweep(FEW[:1], here)
    assert read_record(FEW[0].name, tiny.data["source"]) is None


def test_a_sweep_writes_how_far_it_is(trained, here, tmp_path, monkeypatch):
    sweep(FEW[:1], here)
    monkeypatch.setenv("MNISTKIT_PROGRESS", str(tmp_path / "log"))
    sweep(FEW, here)
    lines = (tmp_path / "log").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"runs": 3, "done": 1},
        {"done": 1},
        {"done": 1},
    ]


def test_a_sweep_says_what_it_found_and_what_it_trains(store_folder, capsys):
    sweep(FEW[:1], jobs=1)
    capsys.readouterr()
    sweep(FEW, jobs=1)
    first, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"3 runs: 1 found, 2 to train, about \d+ s", first)
    assert re.fullmatch(r"3 runs: 1 found, 2 trained in \d+ s", last)


def test_a_sweep_that_trains_nothing_prints_nothing(store_folder, capfd):
    sweep(FEW[:1], jobs=1)
    capfd.readouterr()
    sweep(FEW[:1])
    assert capfd.readouterr() == ("", "")


def test_a_store_that_cannot_be_written_is_found_before_training(trained, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="MNISTKIT_STORE"):
        sweep(FEW, store=Store(tmp_path / "file" / "records"))
    assert trained == []


def test_a_batch_larger_than_the_training_set(store_folder):
    with pytest.raises(ValueError, match="401"):
        sweep([replace(TINY, batch_size=401)])


def test_a_sweep_of_one_run_trains_it_in_this_process(store_folder):
    (record,) = sweep(FEW[:1])
    assert timeless(record) == timeless(train_run(FEW[0]))


# --------------------------------------------------------------------------- executors


@pytest.fixture(scope="module")
def expected():
    """The records of the few runs, trained one after another in this process."""
    return [timeless(train_run(run)) for run in FEW]


@pytest.mark.slow
def test_processes_give_the_same_records(store_folder, expected):
    assert [timeless(record) for record in sweep(FEW)] == expected


def test_threads_give_the_same_records(store_folder, expected):
    with ThreadPoolExecutor(2) as pool:
        assert [timeless(record) for record in sweep(FEW, pool)] == expected


def test_a_dask_cluster_gives_the_same_records(store_folder, expected):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(1, processes=False, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        records = sweep(FEW, client.get_executor())
    assert [timeless(record) for record in records] == expected


def _sweep_for_ever(folder):
    many = [replace(FEW[0], seed=seed) for seed in range(1000)]
    sweep(many, store=Store(folder))


def is_running(process) -> bool:
    """Whether a process works; one that has ended may wait for ever to be collected."""
    import psutil

    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The store of a sweep that was killed after some records, and its workers."""
    psutil = pytest.importorskip("psutil")
    folder = tmp_path_factory.mktemp("killed")
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_sweep_for_ever, args=(folder,))
    process.start()
    while len(list(folder.rglob("*.json"))) < 3:
        assert process.is_alive()
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.join()
    return Store(folder), workers


@pytest.mark.slow
def test_the_workers_of_a_killed_sweep_end_with_it(killed):
    _, workers = killed
    deadline = time.monotonic() + 60
    while any(is_running(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_killed_sweep_leaves_whole_records(killed, mnist):
    store, _ = killed
    paths = list((store.folder / mnist.source).glob("*.json"))
    assert len(paths) >= 3
    for path in paths:
        assert read_record(path.stem, mnist.source, store) is not None


@pytest.mark.slow
def test_a_killed_sweep_goes_on_where_it_stopped(killed, here, mnist):
    store, _ = killed
    written = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*.json")}
    few = [replace(FEW[0], seed=seed) for seed in range(5)]
    assert len(sweep(few, here, store)) == 5
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_weights_come_back_from_workers(store_folder):
    kept = sweep(FEW[:2], keep_weights=True, jobs=2)
    for run, record in zip(FEW, kept, strict=False):
        expected = train_run(run, keep_weights=True).weights
        assert all(
            torch.equal(record.weights[name], expected[name]) for name in expected
        )


# ------------------------------------------------------------------------ checkpoints

LONG = replace(
    TINY,
    optimizer="nadam",
    epochs=5,
    augment=True,
    best_weights=True,
    test_every_epoch=True,
)


class Crash(Exception):
    pass


def crash_after(epochs):
    """A function to call after each epoch, which ends the training in the last one."""
    done = []

    def count():
        done.append(0)
        if len(done) > epochs:
            raise Crash

    return count


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_resumed_run_gives_the_record_of_an_uninterrupted_one(
    schedule, tmp_path, monkeypatch
):
    run = replace(LONG, schedule=schedule)
    path = tmp_path / "run.partial"
    monkeypatch.setattr(checkpoints, "EVERY", 0)
    with pytest.raises(Crash):
        train_run(run, checkpoint=path, on_epoch=crash_after(2))
    later = []
    resumed = train_run(run, True, "auto", path, on_epoch=lambda: later.append(0))
    whole = train_run(run, keep_weights=True)
    assert len(later) == 3
    assert timeless(resumed) == timeless(whole)
    assert all(torch.equal(resumed.weights[k], whole.weights[k]) for k in whole.weights)


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        damage,
        lambda path: path.write_bytes(path.read_bytes()[:1000]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(pickle.dumps({"origin": {}})),
        lambda path: torch.save({"origin": {"run": "another"}, "state": {}}, path),
    ],
    ids=["damaged", "truncated", "empty", "a pickle", "of another run"],
)
def test_a_checkpoint_that_is_no_use_is_ignored(spoil, tmp_path, monkeypatch, tiny):
    path = tmp_path / "run.partial"
    monkeypatch.setattr(checkpoints, "EVERY", 0)
    with pytest.raises(Crash):
        train_run(TINY, checkpoint=path, on_epoch=crash_after(1))
    spoil(path)
    assert timeless(train_run(TINY, checkpoint=path)) == timeless(tiny)


def test_a_short_run_writes_no_checkpoint(tmp_path):
    path = tmp_path / "run.partial"
    with pytest.raises(Crash):
        train_run(TINY, checkpoint=path, on_epoch=crash_after(1))
    assert not path.exists()


def test_a_sweep_leaves_no_checkpoint(store_folder, monkeypatch):
    monkeypatch.setattr(checkpoints, "EVERY", 0)
    sweep([TINY])
    assert {path.suffix for path in store_folder.rglob("*.*")} == {".json"}


# --------------------------------------------------------------------------- accuracy


@pytest.mark.slow
def test_accuracy_floor():
    """Two epochs over 4,000 images: 92 % is well below what LeNet reaches."""
    record = train_run(Run(model="lenet", epochs=2, train_size=4000, eval_size=1000))
    assert record.summary["test_accuracy"] > 0.92
