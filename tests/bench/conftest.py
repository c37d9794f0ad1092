"""The fixture that the benchmark's tests share."""

import pytest

from mnistkit.bench import textbook


@pytest.fixture(scope="session")
def dataset(mnist, tmp_path_factory):
    """torchvision's own data set, with the same images."""
    return textbook.torchvision_dataset(mnist, tmp_path_factory.mktemp("torchvision"))
