"""The loop, the optimizers, the schedules and the tests, by rules written by hand."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mnistkit.data import Batches, augment, normalize
from mnistkit.models import build_model
from mnistkit.train import (
    EXTRA_TESTS,
    LOSSES,
    OPTIMIZERS,
    SCHEDULES,
    evaluate,
    fit,
    predict,
    score_one_by_one,
    score_without_eval,
)


@pytest.fixture
def few(mnist):
    return mnist.train_images[:256], mnist.train_labels[:256]


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def train(model, batches, name, lr, schedule=None, epochs=1, **options):
    optimizer = OPTIMIZERS[name](model.parameters(), lr=lr)
    if schedule:
        schedule = SCHEDULES[schedule](optimizer, len(batches), epochs)
    return list(fit(model, batches, optimizer, schedule, epochs=epochs, **options))


def test_fit_is_the_plain_loop(few):
    """One epoch of SGD written out by hand leaves the same weights and losses."""
    model, by_hand = linear(), linear()
    (row,) = train(model, Batches(*few, 64, seed=3), "sgd", 0.1)
    losses, correct = [], 0
    for images, labels in Batches(*few, 64, seed=3):
        logits = by_hand(images)
        loss = F.cross_entropy(logits, labels)
        gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(by_hand.parameters(), gradients, strict=True):
                weight -= 0.1 * gradient
        losses.append(loss.item())
        correct += (logits.argmax(1) == labels).sum().item()
    for ours, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert row["train_loss"] == pytest.approx(sum(losses) / 4, rel=1e-6)
    assert row["train_accuracy"] == pytest.approx(correct / 256)
    assert row["window_losses"] == pytest.approx([sum(losses) / 4], rel=1e-6)


def test_window_losses_cover_every_step(few):
    (row,) = train(linear(), Batches(*few, 1), "sgd", 0.001)
    first, second, rest = row["window_losses"]
    mean = (100 * first + 100 * second + 56 * rest) / 256
    assert row["train_loss"] == pytest.approx(mean, rel=1e-5)


def test_overfits_one_batch(few):
    images, labels = few[0][:32], few[1][:32]
    model = build_model("lenet")
    rows = train(model, Batches(images, labels, 32), "adam", 0.01, epochs=40)
    assert rows[-1]["train_loss"] < 0.01
    assert evaluate(model, images, labels)["accuracy"] == 1.0


def test_fit_minimises_the_loss_that_it_is_given(few):
    """With minus the cross-entropy as its loss, the cross-entropy grows."""
    model, batches = linear(), Batches(*few, 64)
    before = evaluate(model, *few)["loss"]
    (row,) = train(
        model, batches, "sgd", 0.1, loss_fn=lambda *pair: -F.cross_entropy(*pair)
    )
    assert row["train_loss"] < 0
    assert evaluate(model, *few)["loss"] > before


def test_fit_stops_when_the_reader_stops(few):
    model = linear()
    optimizer = OPTIMIZERS["sgd"](model.parameters(), lr=0.1)
    epochs = fit(model, Batches(*few, 64), optimizer, epochs=100)
    assert [next(epochs)["epoch"], next(epochs)["epoch"]] == [1, 2]


def test_validation_changes_nothing(few):
    """LeNet has batch norm: scored in the wrong mode, it would train differently."""
    with_scores, without = build_model("lenet"), build_model("lenet")
    a = train(with_scores, Batches(*few, 64), "adam", 0.01, epochs=2, validation=few)
    b = train(without, Batches(*few, 64), "adam", 0.01, epochs=2)
    assert [row["train_loss"] for row in a] == [row["train_loss"] for row in b]


def test_validation_scores_are_those_of_evaluate(few):
    model = linear()
    (row,) = train(model, Batches(*few, 64), "sgd", 0.1, validation=few)
    score = evaluate(model, *few)
    assert (row["val_loss"], row["val_accuracy"]) == (score["loss"], score["accuracy"])


def test_validation_images_are_scaled_as_the_training_images(few):
    model = linear()
    batches = Batches(*few, 64, mean=0.0, std=1.0)
    (row,) = train(model, batches, "sgd", 0.1, validation=few)
    assert row["val_loss"] == evaluate(model, *few, mean=0.0, std=1.0)["loss"]


def test_clip_norm_bounds_the_step(few):
    model = linear()
    before = [weight.detach().clone() for weight in model.parameters()]
    batches = Batches(few[0][:64], few[1][:64], 64)
    train(model, batches, "sgd", 1.0, clip_norm=0.01)
    moved = [w.detach() - b for w, b in zip(model.parameters(), before, strict=True)]
    length = math.sqrt(sum((m**2).sum().item() for m in moved))
    assert length == pytest.approx(0.01, rel=1e-3)


def test_fit_goes_on_after_the_epochs_that_are_done(few):
    rows = train(linear(), Batches(*few, 64), "sgd", 0.1, epochs=3, done=1)
    assert [row["epoch"] for row in rows] == [2, 3]


def test_an_epoch_in_bf16_is_nearly_that_in_fp32(few):
    batches = Batches(*few, 64), Batches(*few, 64)
    (exact,) = train(linear(), batches[0], "sgd", 0.1)
    (rounded,) = train(linear(), batches[1], "sgd", 0.1, precision="bf16")
    assert rounded["train_loss"] != exact["train_loss"]
    assert rounded["train_loss"] == pytest.approx(exact["train_loss"], rel=0.02)


@pytest.mark.parametrize("batch_size", [64, 1])
def test_a_last_batch_of_one_image_is_refused_before_the_training(few, batch_size):
    """lenet ends in 1x1 maps: batch norm would have one value per channel."""
    model = build_model("lenet")
    state = copy.deepcopy(model.state_dict())
    batches = Batches(few[0][:65], few[1][:65], batch_size)
    with pytest.raises(ValueError, match=f"65 images in batches of {batch_size} leave"):
        train(model, batches, "sgd", 0.1)
    assert same_state(model, state)


def test_batches_of_one_image_are_refused_whatever_is_dropped(few):
    """With batches of one image, no batch is smaller than the others."""
    batches = Batches(few[0][:65], few[1][:65], 1, drop_last=True)
    with pytest.raises(ValueError, match="65 images.*another batch_size$"):
        train(build_model("lenet"), batches, "sgd", 0.1)


def test_batches_of_another_kind_are_refused(few):
    with pytest.raises(ValueError, match=r"Batches\(images, labels\) are needed, not"):
        train(linear(), DataLoader(TensorDataset(*few), 64), "sgd", 0.1)


def test_unfit_validation_images_are_refused_before_the_training(few):
    model = linear()
    state = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="not float32"):
        train(model, Batches(*few, 64), "sgd", 0.1, validation=(few[0] / 255, few[1]))
    assert same_state(model, state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"clip_norm": -1.0}, "clip_norm must be above 0, not -1"),
        ({"clip_norm": math.nan}, "clip_norm must be above 0, not nan"),
    ],
)
def test_what_would_train_nothing_or_backwards_is_refused(few, options, message):
    with pytest.raises(ValueError, match=message):
        train(linear(), Batches(*few, 64), "sgd", 0.1, **options)


def test_an_optimizer_of_another_network_is_refused(few):
    """The network would stay as it is: its cell was run again, the optimizer's not."""
    optimizer = OPTIMIZERS["sgd"](linear().parameters(), lr=0.1)
    with pytest.raises(ValueError, match="no weight of this network: make it again"):
        next(fit(linear(), Batches(*few, 64), optimizer, epochs=1))


def test_a_schedule_of_another_optimizer_is_refused(few):
    model = linear()
    optimizer, other = (OPTIMIZERS["sgd"](model.parameters(), lr=0.1) for _ in "ab")
    schedule = SCHEDULES["step"](other, 4, 1)
    with pytest.raises(ValueError, match="the schedule is that of another optimizer"):
        next(fit(model, Batches(*few, 64), optimizer, schedule, epochs=1))


@pytest.mark.parametrize(
    ("outputs", "found"), [(9, r"\[64, 9\]"), (12, r"\[64, 12\]"), (None, "a tuple")]
)
def test_a_network_without_ten_logits_is_refused(few, outputs, found):
    class Pair(nn.Linear):
        def forward(self, images):
            return images, images

    last = nn.Linear(784, outputs) if outputs else Pair(784, 10)
    model = nn.Sequential(nn.Flatten(), last)
    with pytest.raises(ValueError, match=f"logits .*, but it returns {found} for 64"):
        train(model, Batches(*few, 64), "sgd", 0.1)
    with pytest.raises(ValueError, match=f"logits .*, but it returns {found} for 64"):
        predict(model.train(), few[0], batch_size=64)
    assert model.training


@pytest.mark.parametrize("name", ["small_resnet", "mlp"])
def test_other_networks_take_a_last_batch_of_one_image(few, name):
    batches = Batches(few[0][:65], few[1][:65], 64)
    assert train(build_model(name), batches, "sgd", 0.1)


def test_a_last_batch_that_is_dropped_is_no_reason_to_refuse(few):
    batches = Batches(few[0][:65], few[1][:65], 64, drop_last=True)
    assert train(build_model("lenet"), batches, "sgd", 0.1)


def same_state(model, state) -> bool:
    return all(torch.equal(v, state[name]) for name, v in model.state_dict().items())


def test_predict_is_in_evaluation_mode(few):
    """There an image's logits do not depend on the others of its batch."""
    model = build_model("small_resnet").train()
    together, in_parts = predict(model, few[0]), predict(model, few[0], batch_size=7)
    torch.testing.assert_close(together, in_parts, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, "64"])
def test_predict_names_a_bad_batch_size(few, batch_size):
    with pytest.raises(
        ValueError, match="batch_size must be a whole number, 1 or more"
    ):
        predict(linear(), few[0], batch_size=batch_size)


@pytest.mark.parametrize("training", [True, False])
def test_predict_leaves_the_model_as_it_was(few, training):
    model = build_model("small_resnet").train(training)
    state = copy.deepcopy(model.state_dict())
    predict(model, few[0])
    assert model.training == training
    assert same_state(model, state)


def test_predict_keeps_no_gradients(few):
    assert not predict(linear(), few[0]).requires_grad


def test_evaluate_counts(few):
    class Always(nn.Module):
        def forward(self, images):
            return F.one_hot(torch.full((len(images),), 7), 10) * 5.0

    images, labels = few
    score = evaluate(Always(), images, labels)
    share = (labels == 7).float().mean().item()
    right, wrong = math.log(1 + 9 * math.exp(-5)), math.log(math.exp(5) + 9)
    assert score["accuracy"] == pytest.approx(share)
    assert score["loss"] == pytest.approx(share * right + (1 - share) * wrong, rel=1e-5)


UNFIT_IMAGES = {
    "float in 0..1": (lambda images: images / 255, r"not float32 \[256, 28, 28\]"),
    "normalised": (normalize, r"not float32 \[256, 1, 28, 28\]"),
    "with a channel": (lambda images: images[:, None], r"not uint8 \[256, 1, 28, 28\]"),
    "one image": (lambda images: images[0], r"not uint8 \[28, 28\]"),
    "other size": (lambda images: images[:, :20], r"not uint8 \[256, 20, 28\]"),
    "none": (lambda images: images[:0], r"not uint8 \[0, 28, 28\]"),
    "numpy": (lambda images: images.numpy(), "not a ndarray: use torch.from_numpy"),
    "list": (list, "not a list"),
}


@pytest.mark.parametrize("name", UNFIT_IMAGES)
@pytest.mark.parametrize("function", ["predict", "evaluate", "normalize", "Batches"])
def test_images_of_another_kind_are_refused(few, function, name):
    """They would be normalised twice, or fail with a message of torch's."""
    change, message = UNFIT_IMAGES[name]
    images, labels = change(few[0]), few[1]
    call = {
        "predict": lambda: predict(linear(), images),
        "evaluate": lambda: evaluate(linear(), images, labels),
        "normalize": lambda: normalize(images),
        "Batches": lambda: Batches(images, labels, 64),
    }
    with pytest.raises(ValueError, match=message):
        call[function]()


UNFIT_LABELS = {
    "int32": (lambda labels: labels.int(), r"not int32 \[256\]"),
    "one-hot": (lambda labels: F.one_hot(labels, 10), r"not int64 \[256, 10\]"),
    "too few": (lambda labels: labels[:9], r"256 labels .*, not int64 \[9\]"),
    "counted from 1": (lambda labels: labels + 1, "not labels in 1..10"),
    "numpy": (lambda labels: labels.numpy(), "not a ndarray"),
}


@pytest.mark.parametrize("name", UNFIT_LABELS)
@pytest.mark.parametrize("function", [evaluate, Batches])
def test_labels_of_another_kind_are_refused(few, function, name):
    change, message = UNFIT_LABELS[name]
    model = [linear()] if function is evaluate else []
    with pytest.raises(ValueError, match=message):
        function(*model, few[0], change(few[1]))


def test_images_on_another_device_than_the_network_are_refused(few):
    with pytest.raises(ValueError, match="on cpu and the network on meta: use images"):
        predict(linear().to("meta"), few[0])


UNFIT_TO_AUGMENT = {
    "bytes": (lambda images: images[:, None], "torch.uint8: use normalize"),
    "normalised": (normalize, r"not in -0.42\d*..2.8\d*: augment them before"),
    "without channel": (lambda images: images / 255, r"not \[256, 28, 28\]"),
    "numpy": (lambda images: images.numpy(), "not uint8"),
}


@pytest.mark.parametrize("name", UNFIT_TO_AUGMENT)
def test_images_of_another_kind_are_not_augmented(few, name):
    """The background that moves in is 0, which is grey in normalised images."""
    change, message = UNFIT_TO_AUGMENT[name]
    with pytest.raises(ValueError, match=message):
        augment(change(few[0]), torch.Generator())


# ------------------------------------------------------------------------- the losses


def test_softmax_twice_by_hand():
    """ln(sum of e^p) - p(label), with the probabilities p as if they were logits."""
    logits = torch.randn(5, 10, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.tensor([3, 0, 9, 3, 7])
    by_hand = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        total = sum(math.exp(logit) for logit in row)
        p = [math.exp(logit) / total for logit in row]
        by_hand += math.log(sum(math.exp(value) for value in p)) - p[label]
    loss = LOSSES["softmax_twice"](logits, labels)
    assert loss.item() == pytest.approx(by_hand / 5)


@pytest.mark.parametrize(
    ("answer", "bound"), [(4, math.log(1 + 9 / math.e)), (5, math.log(math.e + 9))]
)
def test_softmax_twice_of_a_certain_answer_is_a_bound(answer, bound):
    """A right answer costs ln(1 + 9/e) and a wrong one ln(e + 9)."""
    logits = 1000.0 * F.one_hot(torch.tensor([answer]), 10)
    loss = LOSSES["softmax_twice"](logits, torch.tensor([4]))
    assert loss.item() == pytest.approx(bound)


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_softmax_twice_stays_between_its_bounds(scale):
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(500, 10, generator=generator).double()
    for row, label in zip(logits.split(1), torch.arange(500) % 10, strict=True):
        loss = LOSSES["softmax_twice"](row, label[None]).item()
        assert math.log(1 + 9 / math.e) <= loss <= math.log(math.e + 9)


def test_cross_entropy_is_torchs():
    assert LOSSES["cross_entropy"] is F.cross_entropy


# ---------------------------------------------------------------- the reports' tests


@pytest.fixture
def normed():
    """Batch norm over the pixels, then a linear layer: [B, 1, 28, 28] -> [B, 10]."""
    torch.manual_seed(5)  # weights with which each way to test gives another score
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, 10))


def statistics(images):
    """Mean and variance of each pixel over a batch, as batch norm takes them."""
    pixels = normalize(images).flatten(1)
    return pixels.mean(0), pixels.var(0, correction=0)


def hits(model, images, labels, mean, variance):
    """How many images `normed` gets right with this mean and variance per pixel."""
    pixels = normalize(images).flatten(1)
    logits = model[2]((pixels - mean) / (variance + model[1].eps).sqrt())
    return (logits.argmax(1) == labels).sum().item()


@torch.no_grad()
@pytest.mark.parametrize("name", ["shuffled", "sorted"])
def test_without_eval_each_batch_is_normalised_by_itself(few, normed, name):
    """Batches of 64: as the images come, or with all images of a digit together."""
    images, labels = few
    score = score_without_eval(normed, images, labels)[name]
    order = labels.argsort() if name == "sorted" else torch.arange(256)
    right = 0
    for batch in order.split(64):
        mean, variance = statistics(images[batch])
        right += hits(normed, images[batch], labels[batch], mean, variance)
    assert score == right / 256


@torch.no_grad()
def test_without_eval_the_running_averages_have_moved_afterwards(few, normed):
    """Each batch replaces a tenth of them, with the unbiased variance."""
    images, labels = few
    mean, variance = torch.zeros(784), torch.ones(784)
    for batch in images.split(64):
        batch_mean, batch_variance = statistics(batch)
        mean = 0.9 * mean + 0.1 * batch_mean
        variance = 0.9 * variance + 0.1 * batch_variance * 64 / 63
    score = score_without_eval(normed, images, labels)["afterwards"]
    assert score == hits(normed, images, labels, mean, variance) / 256


@torch.no_grad()
def test_one_by_one_batch_norm_normalises_each_image_by_itself(few):
    """In training mode a batch of one makes batch norm an instance norm."""
    images, labels = few[0][:50], few[1][:50]
    torch.manual_seed(0)
    first, last = nn.Conv2d(1, 4, 5), nn.Linear(4 * 24 * 24, 10)
    model = nn.Sequential(first, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), last)
    maps = F.instance_norm(first(normalize(images)), eps=model[1].eps)
    logits = last(maps.relu().flatten(1))
    p_label = logits.softmax(1)[torch.arange(50), labels]
    score = score_one_by_one(model, images, labels)
    assert score["argmax"] == (logits.argmax(1) == labels).sum().item() / 50
    assert score["drawn"] == pytest.approx(p_label.mean().item(), rel=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", EXTRA_TESTS)
def test_the_reports_tests_leave_the_model_unchanged(few, name, training):
    model = build_model("four_conv").train(training)
    state = copy.deepcopy(model.state_dict())
    EXTRA_TESTS[name](model, few[0][:20], few[1][:20])
    assert model.training == training
    assert same_state(model, state)


@pytest.mark.parametrize("name", EXTRA_TESTS)
def test_the_reports_tests_scale_images_as_they_are_told(name):
    """Black images are 0 with this scaling and would be -0.42 with MNIST's."""

    class IsItBelowZero(nn.Module):
        def forward(self, images):
            below = (images.mean((1, 2, 3)) < 0).long()
            return 9.0 * F.one_hot(below, 10)

    images, labels = torch.zeros(4, 28, 28, dtype=torch.uint8), torch.zeros(4).long()
    scores = EXTRA_TESTS[name](IsItBelowZero(), images, labels, mean=0.0, std=1.0)
    assert min(scores.values()) > 0.99


# --------------------------------------------------------------------- the optimizers

GRADIENTS = [1.0, -0.5, 0.25, 2.0]


def path(name, lr, **options):
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = OPTIMIZERS[name]([weight], lr=lr, **options)
    places = []
    for gradient in GRADIENTS:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        places.append(weight.item())
    return places


def test_sgd_rule():
    w, expected = 0.0, []
    for g in GRADIENTS:
        w -= 0.1 * g
        expected.append(w)
    assert path("sgd", 0.1) == pytest.approx(expected)


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_sgdm_rule(momentum):
    w, v, expected = 0.0, 0.0, []
    for g in GRADIENTS:
        v = momentum * v + g
        w -= 0.1 * v
        expected.append(w)
    assert path("sgdm", 0.1, momentum=momentum) == pytest.approx(expected)


def test_the_momentum_of_sgdm_is_nine_tenths():
    assert path("sgdm", 0.1) == path("sgdm", 0.1, momentum=0.9)


def test_adagrad_rule():
    w, total, expected = 0.0, 0.0, []
    for g in GRADIENTS:
        total += g * g
        w -= 0.1 * g / (math.sqrt(total) + 1e-10)
        expected.append(w)
    assert path("adagrad", 0.1) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_rule(name):
    w, m, v, expected = 0.0, 0.0, 0.0, []
    for t, g in enumerate(GRADIENTS, start=1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        w -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        expected.append(w)
    assert path(name, 0.1, weight_decay=0.0) == pytest.approx(expected)


def test_nadam_rule():
    w, m, v, product, expected = 0.0, 0.0, 0.0, 1.0, []
    for t, g in enumerate(GRADIENTS, start=1):
        now = 0.9 * (1 - 0.5 * 0.96 ** (0.004 * t))
        after = 0.9 * (1 - 0.5 * 0.96 ** (0.004 * (t + 1)))
        product *= now
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        spread = math.sqrt(v / (1 - 0.999**t)) + 1e-8
        w -= 0.1 * (1 - now) / (1 - product) * g / spread
        w -= 0.1 * after / (1 - product * after) * m / spread
        expected.append(w)
    assert path("nadam", 0.1) == pytest.approx(expected)


# ---------------------------------------------------------------------- the schedules


def rates(name, steps_per_epoch=10, epochs=4, **options):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = SCHEDULES[name](optimizer, steps_per_epoch, epochs, **options)
    used = []
    for _ in range(steps_per_epoch * epochs):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return used


def test_constant_schedule():
    assert rates("constant") == [1.0] * 40


def test_step_schedule():
    assert rates("step") == pytest.approx([1.0] * 20 + [0.9] * 20)


def test_step_schedule_over_the_epochs_of_a_report():  # R3-28
    assert rates("step", 1, 64)[63] == pytest.approx(0.9**31)


def test_warmup_cosine_schedule():
    used = rates("warmup_cosine")
    assert used[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert used[4:] == sorted(used[4:], reverse=True)
    assert used[22] == pytest.approx(0.5)
    assert 0 < used[-1] < 0.01


@pytest.mark.parametrize("warmup", [-0.1, 5])
def test_a_warm_up_is_a_share(warmup):
    """Of 5 times all steps, the rate would reach a fifth of its peak."""
    with pytest.raises(ValueError, match=f"0..1, not {warmup}"):
        rates("warmup_cosine", warmup=warmup)


def test_a_step_of_no_epoch_is_refused():
    with pytest.raises(ValueError, match="step_size must be at least 1 epoch, not 0"):
        rates("step", step_size=0)


def test_one_cycle_schedule():
    used = rates("one_cycle")
    assert max(used) == pytest.approx(1.0, abs=1e-3)
    assert used[0] == pytest.approx(1 / 25)
    assert used[-1] < 0.01
