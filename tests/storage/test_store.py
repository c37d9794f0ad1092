"""The store: documents by name, whole or not at all, and the archive of them."""

import os

import pytest
import torch

from mnistkit.storage import places
from mnistkit.storage.store import Store, packed

DOCUMENT = {"run": {"lr": 0.1}, "history": [{"epoch": 1, "loss": 0.25}]}
WEIGHTS = {"0.weight": torch.tensor([[1.5, -2.0]]), "0.bias": torch.tensor([0.5])}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", since=0)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """The folder whose archives stand for those that the project ships."""
    folder = tmp_path / "shipped"
    monkeypatch.setattr(places, "records_folder", lambda: folder)
    return folder


def same_weights(document) -> bool:
    found = document["weights"]
    return found.keys() == WEIGHTS.keys() and all(
        torch.equal(found[name], value) for name, value in WEIGHTS.items()
    )


# -------------------------------------------------------------------- put and get


def test_what_was_put_is_got(store):
    store.put("a", "mnist", DOCUMENT)
    assert store.get("a", "mnist") == DOCUMENT


def test_a_document_lies_where_path_says(store, tmp_path):
    expected = tmp_path / "store" / "mnist" / "a.json"
    assert store.put("a", "mnist", DOCUMENT) == store.path("a", "mnist") == expected
    assert expected.is_file()


def test_an_unknown_name_is_absent(store):
    assert store.get("a", "mnist") is None


def test_documents_of_another_data_source_are_absent(store):
    store.put("a", "mnist_5k", DOCUMENT)
    assert store.get("a", "mnist") is None


def test_nothing_temporary_is_left(store):
    store.put("a", "mnist", DOCUMENT | {"weights": WEIGHTS})
    names = sorted(path.name for path in store.folder.rglob("*") if path.is_file())
    assert names == ["a.json", "a.safetensors"]


def test_the_folder_is_the_environments_unless_one_is_given(store_folder):
    assert Store().folder == store_folder


# ------------------------------------------------------------------------ weights


def test_weights_survive(store):
    store.put("a", "mnist", DOCUMENT | {"weights": WEIGHTS})
    found = store.get("a", "mnist", with_weights=True)
    assert same_weights(found)


def test_weights_are_read_on_request_only(store):
    store.put("a", "mnist", DOCUMENT | {"weights": WEIGHTS})
    assert store.get("a", "mnist") == DOCUMENT


def test_a_document_without_weights_is_absent_for_those_who_need_them(store):
    store.put("a", "mnist", DOCUMENT)
    assert store.get("a", "mnist", with_weights=True) is None


# -------------------------------------------------------------------- the time limit


@pytest.mark.parametrize(("written", "counts"), [(999, False), (1001, True)])
def test_only_documents_written_since_then_count(tmp_path, written, counts):
    store = Store(tmp_path, since=1000)
    os.utime(store.put("a", "mnist", DOCUMENT), (written, written))
    assert (store.get("a", "mnist") is not None) == counts


def test_an_old_document_stays_in_its_place(tmp_path):
    store = Store(tmp_path, since=1000)
    path = store.put("a", "mnist", DOCUMENT)
    os.utime(path, (999, 999))
    store.get("a", "mnist")
    assert path.is_file()


def test_the_time_limit_is_the_environments_unless_one_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("MNISTKIT_FRESH", "1234.5")
    assert Store(tmp_path).since == 1234.5
    assert Store(tmp_path, since=0).since == 0


# ---------------------------------------------------------------------------- damage


@pytest.mark.parametrize("content", ["", '{"run": {"lr"', "\0\0\0"])
def test_what_is_no_json_is_set_aside(store, content):
    path = store.put("a", "mnist", DOCUMENT)
    path.write_text(content)
    with pytest.warns(UserWarning, match="a.damaged"):
        assert store.get("a", "mnist") is None
    assert not path.exists()
    assert path.with_suffix(".damaged").read_text() == content


def test_damaged_weights_set_their_document_aside(store):
    path = store.put("a", "mnist", DOCUMENT | {"weights": WEIGHTS})
    path.with_suffix(".safetensors").write_bytes(b"half a file")
    with pytest.warns(UserWarning, match="a.damaged"):
        assert store.get("a", "mnist", with_weights=True) is None
    assert not path.exists()


def test_a_store_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="MNISTKIT_STORE"):
        Store(tmp_path / "file" / "records").check()


def test_a_store_that_can_be_written_is_left_empty(store):
    store.check()
    assert list(store.folder.iterdir()) == []


# --------------------------------------------------------------------- the archive


def test_an_archive_holds_the_asked_names(store, tmp_path):
    for name in "abc":
        store.put(name, "mnist", DOCUMENT)
    store.pack({"a", "c", "unknown"}, tmp_path / "full.zip")
    assert packed(tmp_path / "full.zip") == {"a", "c"}


def test_there_is_nothing_in_an_archive_that_is_not_there(tmp_path):
    assert packed(tmp_path / "no such file") == set()


def test_shipped_documents_are_found_from_every_store(store, shipped, tmp_path):
    store.put("a", "mnist", DOCUMENT)
    store.pack({"a"}, shipped / "full.zip")
    assert Store(tmp_path / "empty", since=0).get("a", "mnist") == DOCUMENT


def test_shipped_weights_are_found_from_every_store(store, shipped, tmp_path):
    store.put("a", "mnist", DOCUMENT | {"weights": WEIGHTS})
    store.pack({"a"}, shipped / "full.zip")
    found = Store(tmp_path / "empty", since=0).get("a", "mnist", with_weights=True)
    assert same_weights(found)


def test_shipped_documents_without_weights_do_for_scores_only(store, shipped, tmp_path):
    store.put("a", "mnist", DOCUMENT)
    store.pack({"a"}, shipped / "full.zip")
    assert Store(tmp_path / "empty", since=0).get("a", "mnist", True) is None


def test_a_document_of_the_store_goes_before_a_shipped_one(store, shipped):
    store.put("a", "mnist", DOCUMENT)
    store.pack({"a"}, shipped / "full.zip")
    store.put("a", "mnist", {"newer": True})
    assert store.get("a", "mnist") == {"newer": True}


def test_shipped_documents_are_absent_where_a_time_is_set(store, shipped, tmp_path):
    store.put("a", "mnist", DOCUMENT)
    store.pack({"a"}, shipped / "full.zip")
    assert Store(tmp_path / "empty", since=1).get("a", "mnist") is None


def test_packing_again_keeps_what_the_store_no_longer_has(store, tmp_path):
    archive = tmp_path / "full.zip"
    store.put("a", "mnist", DOCUMENT)
    store.pack({"a"}, archive)
    Store(tmp_path / "empty").pack({"a"}, archive)
    assert packed(archive) == {"a"}


def test_packing_again_drops_what_is_no_longer_asked_for(store, tmp_path):
    archive = tmp_path / "full.zip"
    store.put("a", "mnist", DOCUMENT)
    store.pack({"a"}, archive)
    store.pack(set(), archive)
    assert packed(archive) == set()


def test_the_same_documents_give_the_same_archive(store, tmp_path):
    """The archive is committed: packing anew must not change a byte of it."""
    archives = [tmp_path / "one.zip", tmp_path / "two.zip"]
    for archive, age in zip(archives, (1_000_000_000, 1_500_000_000), strict=True):
        for name in "ab":
            os.utime(store.put(name, "mnist", DOCUMENT), (age, age))
        store.pack({"a", "b"}, archive)
    assert archives[0].read_bytes() == archives[1].read_bytes()
