"""Prepare a picture of a digit as MNIST's own images were prepared."""

import math
import os

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

# Of each image of MNIST: its width and height, the box that the digit fills, and the
# row and column, counted from 0, at which the digit's centre of mass lies.
SIDE, BOX, MIDDLE = 28, 20, 14.0
# Grey paper is not of one grey: this many standard deviations of it are no ink yet.
NOISE = 4.0
# Below this share of the darkest ink there is none: JPEG surrounds strokes with it.
FAINT = 0.05
# Ink apart from the digit counts as a speck below this share of the largest stroke.
SPECK = 0.02


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Return the pixels of an image file, upright, as uint8 [H, W, 4]: RGB and opacity.

    Any format that Pillow reads will do, such as a photo. OSError if the file is absent
    or no image.
    """
    # Pillow is installed with torchvision, and only this function needs it.
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # 16 bits, which `convert` would cut off
            pixels = np.asarray(upright).astype(np.float64) / 257
            upright = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        return np.asarray(upright.convert("RGBA"))


def prepare(image: npt.ArrayLike) -> Tensor:
    """Return a picture of one digit as an image of MNIST: uint8 [28, 28].

    `image` is grey [H, W] or [H, W, 1], or has colours, [H, W, 3], or colours and
    opacity, [H, W, 4]; uint8 in 0..255 or float in 0..1. It may be dark on light or
    light on dark, of any size, with the digit anywhere in it.

    As MNIST's authors did, the digit is cropped, fitted into 20x20 pixels, antialiased
    and with its proportions kept, and put where its centre of mass is the middle of
    28x28 pixels (LeCun et al. 1998). ValueError for another kind of image, and if there
    is nothing on it.
    """
    return centre(fit_into_box(find_ink(image)))


def find_ink(image: npt.ArrayLike) -> Tensor:
    """Return how much ink is at each pixel of a picture: float32 [H, W] in 0..1.

    Ink is what differs from the paper, towards dark or light, whichever goes further.
    Specks do not count. ValueError as `prepare`.
    """
    grey = to_grey(image)
    paper, deviation = find_paper(grey)
    lighter = grey - paper
    ink = lighter if lighter.max() > -lighter.min() else -lighter
    least = max(NOISE * deviation, FAINT * ink.max())
    ink = without_specks(np.where(ink > least, ink, 0))
    if ink.max() < 1 / 255:
        raise ValueError("there is no digit on the image: it is of one grey")
    return torch.from_numpy((ink / ink.max()).astype(np.float32))


def find_paper(grey: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the grey of the paper at each pixel [H, W], and its standard deviation.

    What lies at the border of the picture is paper. Its grey may change evenly from one
    side of the picture to the other, as it does in a photo by a window.
    """
    height, width = grey.shape
    places = np.stack([np.ones((height, width)), *np.indices((height, width))], 2)
    is_border = np.pad(
        np.zeros((height, width), bool)[1:-1, 1:-1], 1, constant_values=1
    )
    border, at = grey[is_border], places[is_border]

    def deviation(distances: np.ndarray) -> float:
        # The median distance is 0.67 standard deviations of a normal distribution.
        return float(np.median(np.abs(distances))) / 0.67

    distances = border - np.median(border)
    near = np.abs(distances) <= NOISE * deviation(distances)  # leaves out ink there
    plane = np.linalg.lstsq(at[near], border[near], rcond=None)[0]
    return places @ plane, deviation(border - at @ plane)


def to_grey(image: npt.ArrayLike) -> np.ndarray:
    """Return the greys of a picture, float64 [H, W] in 0..1. ValueError as `prepare`.

    A transparent picture lies on white, or on black if white would hide all of it.
    """
    pixels = np.asarray(image)
    is_float = np.issubdtype(pixels.dtype, np.floating)
    shape = list(pixels.shape)
    has_channels = pixels.ndim == 3 and shape[2] in (1, 3, 4)
    known = pixels.dtype in (np.uint8, np.bool_) or is_float
    if not known or not (pixels.ndim == 2 or has_channels) or 0 in shape:
        raise ValueError(
            "an image [H, W], [H, W, 3] or [H, W, 4] is needed, uint8 or float, not "
            f"{pixels.dtype} {shape}"
        )
    values = pixels.astype(np.float64) / (255 if pixels.dtype == np.uint8 else 1)
    if not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            "a float image has greys in 0..1, not in "
            f"{values.min():.4g}..{values.max():.4g}"
        )
    if pixels.ndim == 2:
        return values
    colours = values[..., :3] if shape[2] > 1 else values
    # How bright red, green and blue are to the eye (ITU-R BT.601), as in Pillow.
    weights = [0.299, 0.587, 0.114] if shape[2] > 1 else [1.0]
    grey = (colours @ weights).clip(0, 1)
    if shape[2] < 4:
        return grey
    opacity = values[..., 3]
    on_white = grey * opacity + (1 - opacity)
    return on_white if np.ptp(on_white) > 1 / 255 else grey * opacity


def without_specks(ink: np.ndarray) -> np.ndarray:
    """Return the ink of strokes alone: what is connected and not tiny, see SPECK."""
    from scipy import ndimage

    strokes, n = ndimage.label(ink > 0, structure=np.ones((3, 3)))
    if n < 2:
        return ink
    amounts = np.bincount(strokes.flat, ink.flat)  # amounts[0] is that of the paper, 0
    return np.where(amounts[strokes] >= SPECK * amounts.max(), ink, 0)


def fit_into_box(ink: Tensor) -> Tensor:
    """Return the ink [H, W] cropped, and resized so that its longer side has 20 pixels.

    The result is float32 in 0..1 and has ink up to 1, as an antialiased stroke that is
    thinner than a pixel would be pale.
    """
    rows, columns = ink.any(1).nonzero(), ink.any(0).nonzero()
    digit = ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    longer = max(digit.shape)
    size = [max(1, round(BOX * side / longer)) for side in digit.shape]
    small = F.interpolate(
        digit[None, None], size=size, mode="bilinear", antialias=True
    )[0, 0]
    return small / small.max()


def centre(digit: Tensor) -> Tensor:
    """Return a digit, float [h, w] in 0..1, on 28x28 pixels of uint8, centred by mass.

    It is moved by whole pixels and never over the edge.
    """
    image = torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    place = []
    for axis, side in enumerate(digit.shape):
        mass = digit.double().sum(1 - axis)
        middle = (mass @ torch.arange(side).double() / mass.sum()).item()
        # Halfway between two pixels, but for rounding errors, the first one is taken.
        first = math.ceil(MIDDLE - middle - 0.501)
        place.append(min(max(first, 0), SIDE - side))
    (top, left), (height, width) = place, digit.shape
    pixels = (255 * digit).round().to(torch.uint8)
    image[top : top + height, left : left + width] = pixels
    return image
