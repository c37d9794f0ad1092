"""The command line: what can be mended is one line on stderr and exit status 2."""

import json
import subprocess
import sys

import pytest

from mnistkit.__main__ import main
from mnistkit.report.scales import chapters

TINY = "train --train-size 200 --eval-size 100 --epochs 1".split()


def test_train_leaves_a_record(store_folder, capsys):
    arguments = [*TINY, "--model", "lenet", "--optimizer", "adam", "--lr", "0.001"]
    assert main(arguments) == 0
    *_, path = capsys.readouterr().out.splitlines()
    record = json.loads((store_folder / path).read_text())
    assert record["run"] == {"epochs": 1, "train_size": 200, "eval_size": 100}
    assert str(store_folder) in path and len(list(store_folder.rglob("*.json"))) == 1


def test_train_options(store_folder):
    assert main([*TINY, "--keep-weights", "--augment"]) == 0
    [path] = store_folder.rglob("*.json")
    assert json.loads(path.read_text())["run"]["augment"] is True
    assert path.with_suffix(".safetensors").exists()


def test_data_says_what_was_found(mnist, capsys):
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    assert mnist.describe() in out and mnist.origin in out
    assert all(checksum in out for checksum in mnist.checksums.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --model lenett", "unknown network 'lenett'; known: mlp, lenet"),
        ("train --optimizer adm", "unknown optimizer 'adm'; known: sgd"),
        ("train --schedule cosine", "unknown schedule 'cosine'; known: constant"),
        ("train --lr 0", "lr must be above 0"),
        ("train --epochs 0", "epochs must be at least 1"),
        ("train --batch-size 0", "batch_size must be at least 1"),
        ("train --train-size 100 --batch-size 101", "batch_size must be in 1..100"),
        ("report --scale huge", "unknown scale 'huge'; known: smoke, quick, full"),
        ("report --only 99", f"unknown chapter '99'; known: {chapters()[0]}"),
        ("report --jobs 0", "jobs must be at least 1"),
        ("report --scale smoke --update-notebooks", "full scale only"),
    ],
)
def test_bad_input(arguments, message, store_folder, capsys):
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err.split("\r")[-1]  # after a progress bar, if any
    assert message in error and error.count("\n") == 1 and error.startswith("error: ")


def test_a_store_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MNISTKIT_STORE", str(tmp_path / "file" / "records"))
    assert main(TINY) == 2
    assert "MNISTKIT_STORE" in capsys.readouterr().err


def test_a_folder_without_data(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MNISTKIT_DATA", str(tmp_path))
    assert main(["data"]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_help_does_not_wait_for_torch():
    check = "import sys, mnistkit.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
