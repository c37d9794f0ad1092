"""The store: documents by name, whole or not at all, and the archive of them."""

import errno
import os
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from mnistkit.storage import places
from mnistkit.storage.store import LARGEST, Store, packed, write_atomically

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


def test_a_folder_in_the_home_folder(tmp_path, monkeypatch):
    """Else a folder that is called ~ would be made."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/records").folder == tmp_path / "records"


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


@pytest.mark.parametrize("file", ["records", "records/mnist"])
def test_a_store_that_cannot_be_written(tmp_path, file):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("not a folder")
    with pytest.raises(OSError, match="records/mnist .*MNISTKIT_STORE"):
        Store(tmp_path / "records").check("mnist")


def test_a_store_that_can_be_written_is_left_empty(store):
    store.check("mnist")
    assert list(store.folder.rglob("*")) == [store.folder / "mnist"]


def test_damaged_weights_matter_to_those_who_need_them_only(store):
    path = store.put("a", "mnist", DOCUMENT | {"weights": WEIGHTS})
    path.with_suffix(".safetensors").write_bytes(b"half a file")
    assert store.get("a", "mnist") == DOCUMENT


def test_weights_of_an_earlier_training_do_not_stay(store):
    store.put("a", "mnist", DOCUMENT | {"weights": WEIGHTS})
    store.put("a", "mnist", DOCUMENT)
    assert store.get("a", "mnist", with_weights=True) is None


def test_a_document_without_the_sum_of_its_weights_is_valid(store):
    """The first edition wrote none."""
    path = store.put("a", "mnist", DOCUMENT | {"weights": WEIGHTS})
    text = path.read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if "weights_sha256" not in line]
    path.write_text("\n".join(kept).replace("],\n}", "]\n}"), encoding="utf-8")
    assert same_weights(store.get("a", "mnist", with_weights=True))


def test_an_absurdly_large_document_is_set_aside_unread(store):
    path = store.put("a", "mnist", DOCUMENT)
    os.truncate(path, LARGEST + 1)
    with pytest.warns(UserWarning, match="a.damaged: it is larger than"):
        assert store.get("a", "mnist") is None


@pytest.mark.parametrize("suffix", [".json", ".safetensors", ".damaged"])
@pytest.mark.parametrize("kind", ["folder", "link"])
@pytest.mark.filterwarnings("ignore:damaged record")
def test_what_is_in_the_way_blocks_no_run(store, suffix, kind):
    """A folder or a dangling link has the name of a file of the store."""
    path = store.path("a", "mnist")
    obstacle = path.with_suffix(suffix)
    obstacle.parent.mkdir(parents=True)
    if kind == "folder":
        (obstacle / "within").mkdir(parents=True)
    else:
        obstacle.symlink_to("nowhere")
    if suffix == ".damaged":
        path.write_text("no json", encoding="utf-8")
    assert store.get("a", "mnist", with_weights=True) is None
    assert store.get("a", "mnist") is None
    store.put("a", "mnist", DOCUMENT | {"weights": WEIGHTS})
    assert same_weights(store.get("a", "mnist", with_weights=True))


def test_a_document_that_cannot_be_moved_is_absent(store, monkeypatch):
    path = store.put("a", "mnist", DOCUMENT)
    path.write_text("no json", encoding="utf-8")

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.warns(UserWarning, match="it stays there"):
        assert store.get("a", "mnist") is None


# ------------------------------------------------------------------------- full disks


@pytest.mark.parametrize("failing", ["write_bytes", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_write_that_fails_names_the_file_and_leaves_nothing(
    tmp_path, monkeypatch, failing, code
):
    def fail(self, *_):
        if failing == "write_bytes":
            Path(self).touch()
        raise OSError(code, os.strerror(code))

    home = Path if failing == "write_bytes" else os
    monkeypatch.setattr(home, failing, fail)
    with pytest.raises(OSError, match="a.json") as caught:
        write_atomically(tmp_path / "a.json", b"text")
    assert caught.value.errno == code
    assert ("no space left" in str(caught.value)) == (code == errno.ENOSPC)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.json", b"text")
    assert list(tmp_path.iterdir()) == []


def test_a_check_notices_a_disk_that_takes_empty_files_only(store, monkeypatch):
    write_bytes = Path.write_bytes

    def fill(self, content):
        write_bytes(self, content[:1])
        if len(content) > 4096:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OSError, match="no space left on the disk.*MNISTKIT_STORE"):
        store.check("mnist")


def test_a_check_removes_what_dead_processes_left(store):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folder = store.put("a", "mnist", DOCUMENT).parent
    left = [
        folder / f"b.json.{dead.pid}.tmp",
        store.folder / f".probe.{dead.pid}.tmp",
    ]
    living = folder / f"c.json.{os.getpid()}.tmp"
    other = folder / "notes.tmp"
    for path in (*left, living, other):
        path.touch()
    store.check("mnist")
    assert not any(path.exists() for path in left)
    assert living.exists() and other.exists()


def test_a_checkpoint_lies_beside_the_document(store):
    expected = store.path("a", "mnist").with_name("a.partial")
    assert store.checkpoint_path("a", "mnist") == expected


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


def bytes_of_an_archive(folder, text='{"shipped": true}') -> bytes:
    with zipfile.ZipFile(folder / "made.zip", "w") as archive:
        archive.writestr("mnist/a.json", text)
    return (folder / "made.zip").read_bytes()


BAD_ARCHIVES = {
    "truncated": lambda folder: bytes_of_an_archive(folder)[:-30],
    "empty": lambda folder: b"",
    "foreign": lambda folder: b"no archive",
    "pointer": lambda folder: b"version https://git-lfs.github.com/spec/v1\noid sha256",
    "bad crc": lambda folder: bytes_of_an_archive(folder).replace(b"true", b"TRUE"),
    "no json": lambda folder: bytes_of_an_archive(folder, "half a rec"),
}


@pytest.mark.parametrize("kind", [*BAD_ARCHIVES, "folder", "link"])
def test_a_damaged_archive_is_named_once_and_absent(store, shipped, tmp_path, kind):
    shipped.mkdir()
    bad = shipped / "bad.zip"
    if kind == "folder":
        bad.mkdir()
    elif kind == "link":
        bad.symlink_to("nowhere")
    else:
        bad.write_bytes(BAD_ARCHIVES[kind](tmp_path))
    store.put("a", "mnist", DOCUMENT)
    store.pack({"a"}, shipped / "good.zip")
    elsewhere = Store(tmp_path / "empty", since=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert elsewhere.get("a", "mnist") == DOCUMENT
        assert elsewhere.get("a", "mnist") == DOCUMENT
        assert elsewhere.get("b", "mnist") is None
    # A link to nowhere is what a file that is absent looks like.
    assert len(caught) == (kind != "link")
    assert all("bad.zip" in str(warning.message) for warning in caught)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("size", [LARGEST + 1, 10_000_000])
def test_a_file_that_unpacks_to_too_much_is_not_unpacked(
    store, shipped, compression, size
):
    shipped.mkdir()
    with zipfile.ZipFile(shipped / "bomb.zip", "w", compression) as archive:
        archive.writestr("mnist/a.json", b"[" + bytes(size))
    with pytest.warns(UserWarning, match="mnist/a.json in .*bomb.zip: it unpacks to"):
        assert store.get("a", "mnist") is None


def test_a_miss_does_not_open_the_archive_again(store, shipped):
    names = {f"run{i}" for i in range(300)}
    for name in names:
        store.put(name, "mnist", DOCUMENT)
    store.pack(names, shipped / "full.zip")
    store.get("unknown", "mnist")
    start = time.perf_counter()
    for _ in range(100):
        assert store.get("unknown", "mnist") is None
    assert (time.perf_counter() - start) / 100 < 1e-3


def test_an_archive_that_is_replaced_is_read_anew(store, shipped, tmp_path):
    for name in "ab":
        store.put(name, "mnist", DOCUMENT)
    store.pack({"a"}, shipped / "full.zip")
    assert Store(tmp_path / "empty", since=0).get("b", "mnist") is None
    store.pack({"a", "b"}, shipped / "full.zip")
    assert Store(tmp_path / "empty", since=0).get("b", "mnist") == DOCUMENT


def test_packing_over_a_damaged_archive_keeps_it_for_a_look(store, tmp_path):
    archive = tmp_path / "full.zip"
    archive.write_bytes(b"no archive")
    store.put("a", "mnist", DOCUMENT)
    with pytest.warns(UserWarning, match="full.zip is ignored"):
        store.pack({"a"}, archive)
    assert packed(archive) == {"a"}
    assert (tmp_path / "full.damaged").read_bytes() == b"no archive"


def test_packing_that_fails_leaves_the_old_archive(store, tmp_path, monkeypatch):
    archive = tmp_path / "archives" / "full.zip"
    store.put("a", "mnist", DOCUMENT)
    store.pack({"a"}, archive)
    before = archive.read_bytes()

    def fill(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fill)
    with pytest.raises(OSError, match="no space left on the disk: .*full.zip"):
        store.pack({"a"}, archive)
    assert [path.read_bytes() for path in archive.parent.iterdir()] == [before]
