"""The evidence on which the outcomes of chapter 07 rest."""

import pytest

from mnistkit.claims.rules import Evidence
from mnistkit.report.experiments import read_experiments


@pytest.fixture(scope="session")
def stored(mnist):
    """All of MNIST, and the records that the project ships."""
    if mnist.source != "mnist":
        pytest.skip("the records are about all of MNIST")
    return Evidence(mnist, read_experiments("full"))
