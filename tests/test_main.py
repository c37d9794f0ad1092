"""The command line: what can be mended is one line on stderr and exit status 2."""

import json

import pytest

from mnistkit.__main__ import main
from mnistkit.report.scales import chapters
from mnistkit.runs import Run
from mnistkit.sweeps import sweep

TINY = "train --train-size 200 --eval-size 100 --epochs 1".split()


def test_train_leaves_one_record_and_names_its_file(store_folder, capsys):
    arguments = [*TINY, "--model", "lenet", "--optimizer", "adam", "--lr", "0.001"]
    assert main(arguments) == 0
    *_, last_line = capsys.readouterr().out.splitlines()
    [path] = store_folder.rglob("*.json")
    assert last_line == str(path)
    record = json.loads(path.read_text())
    assert record["run"] == {"epochs": 1, "train_size": 200, "eval_size": 100}


def test_train_says_how_its_record_is_read_in_python(store_folder, capsys):
    assert main([*TINY, "--model", "mlp", "--keep-weights"]) == 0
    [line] = [x for x in capsys.readouterr().out.splitlines() if "sweep(" in x]
    names = {"Run": Run, "sweep": sweep}
    exec(line.partition(": ")[2], names)
    assert names["record"].run == Run(
        model="mlp", train_size=200, eval_size=100, epochs=1
    )
    assert capsys.readouterr().err == ""  # nothing was trained again


def test_train_shows_one_line_of_progress(store_folder, capfd):
    assert main([*TINY, "--device", "cpu"]) == 0
    first, last = capfd.readouterr().err.splitlines()
    assert first.startswith("1 run: 1 to train")
    assert last.startswith("1 run: 1 trained in")


@pytest.mark.parametrize("error", [RuntimeError("CUDA is\nlost"), OSError("full")])
def test_what_goes_wrong_is_one_line(error, monkeypatch, store_folder, capsys):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("mnistkit.sweeps.sweep", fail)
    assert main(TINY) == 2
    message = " ".join(str(error).split())
    assert capsys.readouterr().err == f"error: {message}\n"


def test_an_option_of_train_is_a_field_of_the_run(store_folder):
    assert main([*TINY, "--augment"]) == 0
    [path] = store_folder.rglob("*.json")
    assert json.loads(path.read_text())["run"]["augment"] is True


def test_train_keeps_weights_on_request(store_folder):
    assert main([*TINY, "--keep-weights"]) == 0
    assert len(list(store_folder.rglob("*.safetensors"))) == 1


def test_data_says_what_was_found(mnist, capsys):
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    for text in (mnist.describe(), mnist.origin, *mnist.checksums.values()):
        assert text in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --model lenett", "unknown network 'lenett'; known: mlp, lenet"),
        ("train --optimizer adm", "unknown optimizer 'adm'; known: sgd"),
        ("train --schedule cosine", "unknown schedule 'cosine'; known: constant"),
        ("train --precision fp16", "unknown precision 'fp16'; known: fp32, bf16"),
        ("train --device gpu", "device must be one of auto, cpu, cuda"),
        ("train --loss hinge", "unknown loss 'hinge'; known: cross_entropy"),
        ("train --lr 0", "lr must be above 0"),
        ("train --epochs 0", "epochs must be at least 1"),
        ("train --batch-size 0", "batch_size must be at least 1"),
        ("train --train-size 100 --batch-size 101", "batch_size must be in 1..100"),
        ("report --scale huge", "unknown scale 'huge'; known: smoke, quick, full"),
        ("report --only 99", f"unknown chapter '99'; known: {chapters()[0]}"),
        ("report --jobs 0", "jobs must be at least 1"),
        ("report --scale smoke --update-notebooks", "full scale only"),
        ("verify --runs 0", "runs and seconds must be above 0, not 0 and 60"),
    ],
)
def test_bad_input(arguments, message, store_folder, capsys):
    assert main(arguments.split()) == 2
    *_, error = capsys.readouterr().err.splitlines()  # after the progress, if any
    assert error.startswith("error: ")
    assert message in error


def test_a_store_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MNISTKIT_STORE", str(tmp_path / "file" / "records"))
    assert main(TINY) == 2
    assert "MNISTKIT_STORE" in capsys.readouterr().err


def test_a_folder_without_data(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MNISTKIT_DATA", str(tmp_path))
    assert main(["data"]) == 2
    assert str(tmp_path) in capsys.readouterr().err
