"""The files of MNIST: found, verified against their checksums, refused otherwise."""

import gzip
import hashlib
import os
import random
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
import torch

from mnistkit.storage.files import read_folder
from mnistkit.storage.idx import LARGEST, DataError, read_idx

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


def test_a_gzipped_file_of_two_members_and_what_follows_them(tmp_path):
    path = tmp_path / "tiny"  # The content says that it is gzipped.
    path.write_bytes(gzip.compress(TINY[:7]) + gzip.compress(TINY[7:]) + b"junk")
    assert read_idx(path).tolist() == [[1, 2, 3], [253, 254, 255]]


def test_a_file_of_unbounded_size_is_refused(tmp_path):
    """Neither 2 GB of zeros nor an archive that would grow to them fills the memory."""
    path = tmp_path / "bomb"
    part = zlib.compress(bytes(LARGEST), wbits=31)
    for content in (part * 3, None):
        if content:
            path.write_bytes(content)
        else:
            os.truncate(path, 2**31)
        tracemalloc.start()
        assert "holds more than" in refusal(read_idx, path)
        assert tracemalloc.get_traced_memory()[1] < 5 * LARGEST
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "missing"])
def test_what_is_no_regular_file_is_not_opened(kind, tmp_path):
    path = tmp_path / "odd"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    assert f"{path} is missing or no regular file" in refusal(read_idx, path)


def test_sizes_that_overflow_are_refused(tmp_path):
    path = tmp_path / "huge"
    path.write_bytes(bytes([0, 0, 8, 4]) + b"\xff" * 12 + bytes(4))
    assert "states the shape" in refusal(read_idx, path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (bytes([0, 0, 12, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7]), "32-bit integers"),
        (b"PK\x03\x04", "zip or npz"),
        (b"<!doctype html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
    ],
)
def test_other_formats_are_named(tmp_path, content, kind):
    path = tmp_path / "other"
    path.write_bytes(content)
    assert kind in refusal(read_idx, path)


def test_random_bytes_are_read_or_refused(tmp_path):
    """Nothing but a DataError leaves read_idx, whatever the bytes."""
    chance = random.Random(0)
    path = tmp_path / "random"
    for _ in range(500):
        dims = chance.randrange(6)
        sizes = b"".join(
            chance.choice([0, 1, 2, 3, 2**31, 2**32 - 1]).to_bytes(4, "big")
            for _ in range(dims)
        )
        content = bytes([0, 0, 8, dims]) + sizes + chance.randbytes(chance.randrange(9))
        if chance.random() < 0.5:
            content = bytearray(gzip.compress(content))
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        try:
            assert read_idx(path).dtype == torch.uint8
        except DataError as error:
            assert str(path) in str(error)


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


def test_the_content_decides_and_not_the_name(full, written, tmp_path):
    for number, path in enumerate(sorted(written.iterdir())):
        home = tmp_path / ("raw" if number % 2 else path.name)
        home.mkdir(exist_ok=True)
        name = path.name.replace("-idx", ".idx") if number > 1 else f"{number}.bin"
        content = path.read_bytes()
        (home / name).write_bytes(gzip.compress(content, 1) if number % 2 else content)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"half a file")
    assert read_folder(tmp_path).checksums == full.checksums


def test_one_of_the_files_stands_for_its_folder(full, written):
    found = read_folder(written / NAMES["test_labels"])
    assert (found.origin, found.checksums) == (str(written), full.checksums)


def test_one_of_the_files_in_a_folder_of_its_own(full, written, tmp_path):
    for name in NAMES.values():
        (tmp_path / name).mkdir()
        (tmp_path / name / name).symlink_to(written / name)
    name = NAMES["train_images"]
    assert read_folder(tmp_path / name / name).checksums == full.checksums


def test_a_folder_with_other_files_says_what_it_has(tmp_path):
    (tmp_path / "mnist.npz").write_bytes(b"PK\x03\x04")
    assert "found: mnist.npz" in refusal(read_folder, tmp_path)
    assert "a zip or npz archive" in refusal(read_folder, tmp_path / "mnist.npz")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (idx(torch.zeros(20, 32, 32)), "32, 32"),
        (idx(torch.zeros(60_000)), "28, 28"),
        (idx(torch.zeros(20, 28, 28)), "20 entries"),
        (idx(torch.zeros(60_000, 28, 28)), "6bbc9ace898e44ae57da46a324031adb"),
        (b"\x1f\x8b something", "cannot be read"),
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
