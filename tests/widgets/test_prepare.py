"""Pictures of digits end where MNIST's own images are."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mnistkit import Run
from mnistkit.runs import read_record
from mnistkit.train import predict
from mnistkit.widgets.prepare import FAINT, find_ink, prepare, read_image


@pytest.fixture(scope="module")
def network():
    """A network that the project ships, with its weights."""
    run = Run(
        model="small_resnet",
        epochs=8,
        train_size=10_000,
        val_fraction=1 / 30,
        eval_size=10_000,
        precision="bf16",
        optimizer_options={"fused": True},
    )
    return read_record(run.name, "mnist", with_weights=True).load_model()


def accuracy(network, images, labels):
    return (predict(network, images).argmax(1) == labels).float().mean().item()


def paste(image, side, zoom, top, left, dark=True):
    """A uint8 canvas of side x side with an image of MNIST somewhere on it."""
    size = round(28 * zoom)
    enlarged = F.interpolate(
        image[None, None].float(), size=[size, size], mode="bilinear", antialias=True
    )[0, 0]
    canvas = np.zeros((side, side), np.uint8)
    canvas[top : top + size, left : left + size] = enlarged.round().numpy()
    return 255 - canvas if dark else canvas


def test_an_image_of_mnist_stays_as_it_is_but_for_faint_pixels(mnist):
    changed = [
        (prepare(image.numpy()).int() - image.int()).abs().max().item()
        for image in mnist.test_images[:200]
    ]
    assert np.mean(np.array(changed) <= 1 + FAINT * 255) > 0.95


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("zoom", [0.75, 1, 3, 6])
def test_a_digit_anywhere_is_read_as_well_as_the_original(network, mnist, zoom, dark):
    images, labels = mnist.test_images[:300], mnist.test_labels[:300]
    random = np.random.default_rng(0)
    size, side = round(28 * zoom), round(60 * zoom)
    places = random.integers(0, side - size, (len(images), 2))
    pasted = [
        paste(image, side, zoom, *place, dark)
        for image, place in zip(images, places, strict=True)
    ]
    prepared = torch.stack([prepare(picture) for picture in pasted])
    original = accuracy(network, images, labels)
    assert original > 0.9
    assert abs(accuracy(network, prepared, labels) - original) <= 0.02
    # Without it the same pictures are read badly: the test can fail.
    shrunk = [torch.from_numpy(picture).float()[None, None] for picture in pasted]
    raw = torch.cat([F.interpolate(p, size=[28, 28], mode="area") for p in shrunk])
    assert accuracy(network, raw[:, 0].to(torch.uint8), labels) < original - 0.2


def test_size_and_middle_are_those_of_mnist(mnist):
    picture = paste(mnist.test_images[0], 200, 2, 10, 120)
    digit = prepare(picture)
    rows, columns = digit.any(1).nonzero(), digit.any(0).nonzero()
    sides = [(found.max() - found.min() + 1).item() for found in (rows, columns)]
    assert max(sides) == 20
    mass = digit.double()
    for axis in (0, 1):
        middle = (mass.sum(1 - axis) @ torch.arange(28).double()) / mass.sum()
        assert middle.item() == pytest.approx(14, abs=0.5)


@pytest.mark.parametrize("kind", ["grey", "float", "rgb", "rgba", "one channel"])
def test_kinds_of_images_agree(mnist, kind):
    picture = paste(mnist.test_images[0], 100, 2, 5, 5)
    opaque = np.full_like(picture, 255)
    forms = {
        "grey": picture,
        "float": picture / 255,
        "rgb": np.stack([picture] * 3, 2),
        "rgba": np.stack([picture] * 3 + [opaque], 2),
        "one channel": picture[..., None],
    }
    difference = prepare(forms[kind]).int() - prepare(picture).int()
    assert difference.abs().max() <= 1


@pytest.mark.parametrize("colour", [0, 255])
def test_ink_on_nothing_is_seen_in_black_and_in_white(mnist, colour):
    opacity = paste(mnist.test_images[0], 100, 2, 5, 5, dark=False)
    picture = np.stack([np.full_like(opacity, colour)] * 3 + [opacity], 2)
    difference = prepare(picture).int() - prepare(opacity).int()
    assert difference.abs().max() <= 1


def test_photos_are_read_as_well_as_the_originals(network, mnist):
    images, labels = mnist.test_images[:200], mnist.test_labels[:200]
    random = np.random.default_rng(0)
    light = np.linspace(0.7, 0.85, 200) * np.ones((200, 1))  # from one side
    photos = []
    for image in images:
        ink = paste(image, 200, 4, 30, 60, dark=False) / 255
        photo = light * (1 - 0.8 * ink) + random.normal(0, 0.01, ink.shape)
        photo[190:193, 5:7] = 0.2  # a crumb
        photos.append(photo.clip(0, 1))
    prepared = torch.stack([prepare(photo) for photo in photos])
    original = accuracy(network, images, labels)
    assert abs(accuracy(network, prepared, labels) - original) <= 0.02
    assert find_ink(photos[0])[190, 5] == 0


def test_what_is_no_picture_of_a_digit_is_refused():
    with pytest.raises(ValueError, match="there is no digit"):
        prepare(np.full((50, 50), 200, np.uint8))
    with pytest.raises(ValueError, match=r"not int64 \[28, 28\]"):
        prepare(np.zeros((28, 28), np.int64))
    with pytest.raises(ValueError, match=r"not uint8 \[1, 28, 28\]"):
        prepare(np.zeros((1, 28, 28), np.uint8))
    with pytest.raises(ValueError, match="in 0..1, not in 0..255"):
        prepare(np.array([[0.0, 255.0]]))
    with pytest.raises(ValueError, match="in 0..1, not in nan"):
        prepare(np.full((28, 28), np.nan))


@pytest.mark.parametrize("name", ["digit.png", "digit.jpg", "digit.gif"])
def test_a_file_is_read_as_its_pixels(mnist, tmp_path, name):
    picture = paste(mnist.test_images[0], 100, 2, 5, 5)
    Image.fromarray(picture).save(tmp_path / name)
    pixels = read_image(tmp_path / name)
    assert pixels.dtype == np.uint8 and pixels.shape == (100, 100, 4)
    near = (prepare(pixels).int() - prepare(picture).int()).abs().float().mean()
    assert near < 3


def test_a_photo_is_turned_upright_and_16_bits_are_read(mnist, tmp_path):
    picture = paste(mnist.test_images[0], 100, 2, 5, 5)
    turned = Image.fromarray(np.rot90(picture))  # anticlockwise
    exif = Image.Exif()
    exif[0x0112] = 6  # show it turned by 90 degrees clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    assert (read_image(tmp_path / "turned.png")[..., 0] == picture).all()
    Image.fromarray(picture.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert (read_image(tmp_path / "deep.png")[..., 0] == picture).all()
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "absent.png")
