"""Shared fixtures: one torch thread, the data, and folders that no test shares."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # notebooks' kernels inherit it

import pytest
import torch

from mnistkit.data import load_mnist

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def mnist():
    return load_mnist()


@pytest.fixture
def full(mnist):
    """All of MNIST; a test that needs it is skipped where only the subset is found."""
    if mnist.source != "mnist":
        pytest.skip("needs all of MNIST: set MNISTKIT_DATA to its folder")
    return mnist


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """No MNISTKIT_DATA, no network, an empty cache: the folder that would be it."""
    monkeypatch.delenv("MNISTKIT_DATA", raising=False)
    monkeypatch.setenv("MNISTKIT_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mnistkit"


@pytest.fixture
def store_folder(tmp_path, monkeypatch):
    """An empty store of this test's own, also for the processes it starts."""
    monkeypatch.setenv("MNISTKIT_STORE", str(tmp_path / "records"))
    monkeypatch.delenv("MNISTKIT_PROGRESS", raising=False)
    return tmp_path / "records"
