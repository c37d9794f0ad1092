"""Shared fixtures: one torch thread, and records that stay with their test."""

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
def store_folder(tmp_path, monkeypatch):
    """An empty store of this test's own, also for the processes it starts."""
    monkeypatch.setenv("MNISTKIT_STORE", str(tmp_path / "records"))
    monkeypatch.delenv("MNISTKIT_PROGRESS", raising=False)
    return tmp_path / "records"
