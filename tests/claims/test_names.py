"""Readers see words: every experiment and every network of the course has some."""

import pandas as pd
import pytest

from mnistkit.claims.names import EXPERIMENTS, NAMES
from mnistkit.storage.places import ROOT

RUN_LISTS = sorted((ROOT / "reports").glob("*_runs.csv"))


@pytest.mark.parametrize("path", RUN_LISTS, ids=lambda path: path.stem)
def test_every_experiment_of_a_chapter_has_words(path):
    experiments = set(pd.read_csv(path)["experiment"])
    assert experiments and experiments <= set(EXPERIMENTS)


def test_every_network_that_was_trained_has_words(stored):
    models = {r.run.model for records in stored.records.values() for r in records}
    assert models <= set(NAMES)
