"""Every environment variable, set and unset, and the folders that follow from it."""

import os
import re
import time
from pathlib import Path

import pytest

from mnistkit.storage import places

# variable: the function that reads it, and what the function returns without it
FOLDERS = {
    "MNISTKIT_DATA": (places.data_folder, None),
    "MNISTKIT_STORE": (places.store_folder, places.ROOT / "reports" / "records"),
    "MNISTKIT_OUT": (places.output_folder, places.ROOT),
    "MNISTKIT_PROGRESS": (places.progress_log, None),
}
VARIABLES = [*FOLDERS, "MNISTKIT_OFFLINE", "MNISTKIT_FRESH", "XDG_CACHE_HOME"]


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    """Each test starts without any of the variables."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def test_the_table_lists_every_variable_that_is_read():
    source = Path(places.__file__).read_text(encoding="utf-8")
    named = set(re.findall(r'"((?:MNISTKIT|XDG)_[A-Z_]+)"', source))
    listed = re.findall(r"^\| ([A-Z_]+) ", places.__doc__, re.MULTILINE)
    assert sorted(listed) == sorted(named) == sorted(VARIABLES)


def test_the_root_holds_the_project():
    assert (places.ROOT / "mnistkit" / "storage" / "places.py").is_file()
    assert (places.ROOT / "pyproject.toml").is_file()


@pytest.mark.parametrize("variable", FOLDERS)
def test_a_folder_that_is_set(variable, monkeypatch):
    read, _ = FOLDERS[variable]
    monkeypatch.setenv(variable, "/somewhere/else")
    assert read() == Path("/somewhere/else")


@pytest.mark.parametrize("variable", FOLDERS)
def test_a_folder_in_the_home_folder(variable, monkeypatch):
    read, _ = FOLDERS[variable]
    monkeypatch.setenv(variable, "~/mnist")
    assert read() == Path.home() / "mnist"


@pytest.mark.parametrize("variable", FOLDERS)
def test_a_folder_that_is_not_set(variable):
    read, default = FOLDERS[variable]
    assert read() == default


@pytest.mark.parametrize("variable", FOLDERS)
def test_an_empty_string_counts_as_not_set(variable, monkeypatch):
    read, default = FOLDERS[variable]
    monkeypatch.setenv(variable, "")
    assert read() == default


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/caches", Path("/caches/mnistkit")),
        ("~/caches", Path.home() / "caches" / "mnistkit"),
        ("", Path.home() / ".cache" / "mnistkit"),
    ],
)
def test_the_cache_folder_is_below_the_users(value, expected, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert places.cache_folder() == expected


def test_the_cache_folder_without_a_variable():
    assert places.cache_folder() == Path.home() / ".cache" / "mnistkit"


@pytest.mark.parametrize(
    ("value", "offline"), [("1", True), ("yes", True), ("0", False), ("", False)]
)
def test_offline(value, offline, monkeypatch):
    monkeypatch.setenv("MNISTKIT_OFFLINE", value)
    assert places.is_offline() is offline


def test_downloads_are_allowed_unless_a_variable_forbids_them():
    assert places.is_offline() is False


@pytest.mark.parametrize(("value", "since"), [("1234.5", 1234.5), ("", 0.0)])
def test_fresh_since(value, since, monkeypatch):
    monkeypatch.setenv("MNISTKIT_FRESH", value)
    assert places.fresh_since() == since


def test_every_record_counts_unless_a_variable_gives_a_time():
    assert places.fresh_since() == 0


def test_the_shipped_records_do_not_move_with_the_store(monkeypatch):
    monkeypatch.setenv("MNISTKIT_STORE", "/somewhere/else")
    assert places.records_folder() == places.ROOT / "reports" / "records"


def test_workers_are_offline_and_keep_the_rest(monkeypatch):
    monkeypatch.setenv("MNISTKIT_STORE", "/somewhere/else")
    before = dict(os.environ)
    assert places.worker_environment() == before | {"MNISTKIT_OFFLINE": "1"}
    assert dict(os.environ) == before


# ------------------------------------------------------------ the kernels of a report

OURS = ["MNISTKIT_DATA", "MNISTKIT_STORE", "MNISTKIT_OUT"]


@pytest.mark.parametrize("variable", OURS)
def test_a_kernel_gets_absolute_folders(variable, tmp_path, monkeypatch):
    """A kernel works in another folder, where a relative path would lead astray."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "here/below")
    environment = places.kernel_environment(tmp_path / "log", fresh=False)
    assert environment[variable] == str(tmp_path / "here" / "below")


@pytest.mark.parametrize("variable", OURS)
def test_a_kernel_gets_expanded_folders(variable, tmp_path, monkeypatch):
    monkeypatch.setenv(variable, "~/below")
    environment = places.kernel_environment(tmp_path / "log", fresh=False)
    assert environment[variable] == str(Path.home() / "below")


@pytest.mark.parametrize("variable", OURS)
def test_a_kernel_gets_no_folder_that_was_not_set(variable, tmp_path):
    environment = places.kernel_environment(tmp_path / "log", fresh=False)
    assert variable not in environment


@pytest.mark.parametrize("variable", OURS)
def test_an_empty_folder_stays_empty_for_a_kernel(variable, tmp_path, monkeypatch):
    """Made absolute, the empty string would become the folder of the moment."""
    monkeypatch.setenv(variable, "")
    environment = places.kernel_environment(tmp_path / "log", fresh=False)
    assert environment[variable] == ""


def test_a_kernel_writes_its_progress_and_uses_one_thread(tmp_path):
    environment = places.kernel_environment(tmp_path / "log", fresh=False)
    assert environment["MNISTKIT_PROGRESS"] == str(tmp_path / "log")
    assert environment["OMP_NUM_THREADS"] == "1"


def test_a_kernel_does_not_ask_the_network_again(tmp_path):
    """Behind a silent firewall each chapter would wait anew for the mirrors."""
    environment = places.kernel_environment(tmp_path / "log", fresh=False)
    assert environment["MNISTKIT_OFFLINE"] == "1"


def test_a_fresh_kernel_counts_no_record_of_before(tmp_path):
    before = time.time()
    environment = places.kernel_environment(tmp_path / "log", fresh=True)
    assert before <= float(environment["MNISTKIT_FRESH"]) <= time.time()


def test_a_kernel_that_is_not_fresh_counts_the_records(tmp_path):
    environment = places.kernel_environment(tmp_path / "log", fresh=False)
    assert "MNISTKIT_FRESH" not in environment


def test_the_environment_of_a_kernel_is_a_copy(tmp_path):
    before = dict(os.environ)
    places.kernel_environment(tmp_path / "log", fresh=True)
    assert dict(os.environ) == before
