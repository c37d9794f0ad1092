"""Definitions of the user's own are part of a run; those of the package are pinned."""

import functools
import importlib
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

from mnistkit.definitions import OURS, TABLES, enter, fingerprint, foreign, is_ours
from mnistkit.models import MODELS, count_params, lenet
from mnistkit.runs import Run
from mnistkit.sweeps import train_run
from mnistkit.train import LOSSES, OPTIMIZERS, SCHEDULES

CHANGED = (
    "{0} computes something else than before, but its records would keep their names: "
    "give it a new name or version"
)


@pytest.fixture(autouse=True)
def tables_are_restored():
    before = {kind: dict(table) for kind, table in TABLES.items()}
    yield
    enter({})
    for kind, table in TABLES.items():
        table.clear()
        table.update(before[kind])


@pytest.fixture
def define(tmp_path, monkeypatch):
    """Return the contents of a module that is written, or written anew, as `own`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(source: str, name: str = "own_definitions"):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    yield write
    sys.modules.pop("own_definitions", None)
    sys.modules.pop("own_helpers", None)


NETWORK = """
import functools
from torch import nn
WIDTHS = [{width}]
def layer(n):
    return nn.Linear(784, n{helper})
class Net(nn.Module):
    scale = {scale}
    def __init__(self, dropout=0.0):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), layer(WIDTHS[0]))
    def forward(self, x):
        return self.body(x){forward}
def make(factor):
    def mine(dropout=0.0):
        return nn.Sequential(nn.Flatten(), layer(WIDTHS[0]), nn.Linear(10, factor))
    return mine
mine = make({factor})
part = functools.partial(make(1), dropout={dropout})
"""
AS_IS = dict(width=10, helper="", scale=1, forward="", factor=10, dropout=0.1)


# -------------------------------------------------------------------- fingerprints


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mine", {"width": 20}),  # a constant that it uses by name
        ("mine", {"helper": ", bias=False"}),  # a function that it uses by name
        ("mine", {"factor": 11}),  # a value in its closure
        ("part", {"dropout": 0.2}),  # an argument of functools.partial
        ("part", {"width": 20}),
        ("Net", {"scale": 2}),  # an attribute of a class
        ("Net", {"forward": " * 2"}),  # a method
        ("Net", {"helper": ", bias=False"}),
    ],
)
def test_what_a_definition_depends_on_changes_its_fingerprint(define, name, change):
    before = fingerprint(getattr(define(NETWORK.format(**AS_IS)), name))
    same = fingerprint(getattr(define(NETWORK.format(**AS_IS)), name))
    after = fingerprint(getattr(define(NETWORK.format(**AS_IS | change)), name))
    assert before == same != after


def test_a_helper_in_another_module_of_the_user_counts(define):
    def written(factor):
        define(f"def double(x): return {factor} * x", "own_helpers")
        own = define(
            "import own_helpers as h\ndef loss(logits, y): return h.double(y).sum()"
        )
        return fingerprint(own.loss)

    assert written(2) == written(2) != written(3)


def test_an_edited_file_counts_once_it_is_imported_again(define, tmp_path):
    own = define("def mine(): return 1")
    before = fingerprint(own.mine)
    (tmp_path / "own_definitions.py").write_text("def mine(): return 2")
    assert fingerprint(own.mine) == before
    assert fingerprint(define("def mine(): return 2").mine) != before


def test_indentation_and_trailing_blanks_do_not_count(define):
    source = "def mine():\n    return 1\n"
    plain = fingerprint(define(source).mine)
    nested = "if True:\n" + textwrap.indent(source.replace("1", "1  \n"), "    ")
    assert fingerprint(define(nested).mine) == plain


def test_a_fingerprint_is_the_same_in_another_process(define, tmp_path):
    here = fingerprint(define(NETWORK.format(**AS_IS)).Net)
    code = "import own_definitions as o, mnistkit.definitions as d; "
    done = subprocess.run(
        [sys.executable, "-c", code + "print(d.fingerprint(o.Net))"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == here, done.stderr


def test_a_function_without_source_is_refused():
    scope = {"__name__": "__main__"}
    exec("def typed(): return 1", scope)
    with pytest.raises(ValueError, match="'typed' cannot be read: define it in a note"):
        fingerprint(scope["typed"])


# --------------------------------------------------------------------- runs and code


def own_network():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def own_sgd(params, lr, weight_decay):
    return torch.optim.SGD(params, lr=lr / 2, weight_decay=weight_decay)


def test_definitions_of_the_user_are_part_of_the_runs_name():
    MODELS["mine"] = own_network
    OPTIMIZERS["own"] = own_sgd
    run = Run(model="mine", optimizer="own")
    codes = {"model": fingerprint(own_network), "optimizer": fingerprint(own_sgd)}
    assert run.code == codes and run.canonical()["code"] == codes
    assert foreign(run) == {
        "model": ("mine", own_network),
        "optimizer": ("own", own_sgd),
    }


@pytest.mark.parametrize(
    "entry",
    [own_network, MODELS["mlp"], functools.wraps(lenet)(lambda **options: lenet())],
)
def test_an_entry_of_the_package_that_was_replaced_is_foreign(entry):
    """Also by a function that bears the name of what it replaces."""
    MODELS["lenet"] = entry
    assert not is_ours("model", "lenet")
    assert Run().code == {"model": fingerprint(entry)}


def test_an_optimizer_of_torch_that_the_package_lacks_is_foreign():
    OPTIMIZERS["rmsprop"] = torch.optim.RMSprop
    assert list(foreign(Run(optimizer="rmsprop"))) == ["optimizer"]


def test_a_run_of_the_package_has_no_code():
    assert Run().code == {} and foreign(Run()) == {}
    Run().check_code()


def test_a_definition_that_changed_is_noticed():
    MODELS["mine"] = own_network
    run = Run(model="mine")
    run.check_code()
    MODELS["mine"] = lambda: own_network()
    with pytest.raises(ValueError, match="network 'mine' was defined anew after this"):
        run.check_code()
    with pytest.raises(ValueError, match="make the run again"):
        run.build_model()


def test_a_run_of_the_package_is_not_trained_with_what_replaced_it():
    run = Run(model="mlp")
    MODELS["mlp"] = own_network
    with pytest.raises(ValueError, match="network 'mlp' was defined anew"):
        run.build_model()


def test_a_stored_run_keeps_its_code_where_nothing_is_defined():
    MODELS["mine"] = own_network
    run = Run(model="mine", seed=3)
    del MODELS["mine"]
    stored = Run.restore(run.canonical())
    assert stored == run and stored.name == run.name
    with pytest.raises(ValueError, match="network 'mine' is not defined here"):
        stored.check_code()


def test_a_worker_trains_what_it_was_sent_even_without_source():
    """A function of a notebook arrives in a worker without its cell."""
    MODELS["mine"] = own_network
    run = Run(model="mine")
    scope = {"__name__": "__main__", "own_network": own_network}
    exec("def sent(): return own_network()", scope)
    enter({"model": ("mine", scope["sent"])})
    assert count_params(run.build_model()) == 7850


def test_a_forked_worker_trains_the_class_that_it_has_already():
    """There the class of a notebook arrives as itself, and still without its cell."""
    scope = {"__name__": "__main__", "own_network": own_network}
    exec("class Sent:\n def __new__(cls): return own_network()", scope)
    MODELS["mine"] = scope["Sent"]
    run = Run(model="mine", code={"model": "the parent's"})
    enter({"model": ("mine", scope["Sent"])})
    assert count_params(run.build_model()) == 7850


def test_entering_again_takes_out_what_was_entered_before():
    ours = MODELS["mlp"]
    enter({"model": ("mlp", own_network), "loss": ("mine", own_sgd)})
    assert MODELS["mlp"] is own_network
    enter({})
    assert MODELS["mlp"] is ours and "mine" not in LOSSES


def test_a_network_without_dropout_is_accepted():
    MODELS["mine"] = own_network
    assert count_params(Run(model="mine").build_model()) == 7850
    with pytest.raises(ValueError, match="dropout must be 0 for network 'mine'"):
        Run(model="mine", dropout=0.1)


@pytest.mark.parametrize(
    ("kind", "entry", "message"),
    [
        ("model", nn.Linear(2, 2), "network 'mine' must be a function, not a Linear"),
        ("model", "lenet", "network 'mine' must be a function, not a str"),
        ("optimizer", 5, "optimizer 'mine' must be a function, not a int"),
        ("loss", "hinge", "loss 'mine' must be a function, not a str"),
    ],
)
def test_an_entry_that_is_no_function_is_refused(kind, entry, message):
    TABLES[kind]["mine"] = entry
    with pytest.raises(ValueError, match=message):
        Run(**{kind: "mine"})


def forgets_to_return(*arguments, **options):
    pass


@pytest.mark.parametrize("kind", ["model", "optimizer", "schedule"])
def test_an_entry_that_returns_nothing_is_named(kind):
    """Without a schedule the run would have been trained at a constant rate."""
    TABLES[kind]["mine"] = forgets_to_return
    run = Run(**{"model": "mlp", "train_size": 64, kind: "mine"})
    with pytest.raises(ValueError, match="'mine' returns None"):
        train_run(run)


# ---------------------------------------------------- the package's own are pinned


def test_every_entry_of_the_package_is_ours_and_nothing_else():
    for kind, table in TABLES.items():
        assert OURS[kind].split() == list(table), CHANGED.format(f"the {kind} table")
        assert all(is_ours(kind, name) for name in table)


PARAMETERS = {
    "mlp": 235_146,
    "lenet": 61_990,
    "alexnet": 28_514_378,
    "alexnet_text": 29_583_562,
    "vgg11": 128_806_154,
    "vgg13": 128_990_666,
    "resnet18": 11_172_810,
    "wrn16_4": 2_748_602,
    "small_resnet": 41_706,
    "four_conv": 2_328_298,
    "two_conv": 5_070_832,
}
LOSS_AFTER_STEPS = {
    "mlp": 2.29855,
    "lenet": 2.17519,
    "small_resnet": 0.633946,
    "four_conv": 2.07379,
    "two_conv": 2.04165,
}
WEIGHT_AFTER_STEPS = {
    "sgd": 1.452923,
    "sgdm": 1.9899548,
    "adagrad": 1.13578609,
    "adam": 1.23248316,
    "nadam": 1.15765336,
    "adamw": 1.2297701,
}
RATES = {
    "constant": [1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000],
    "step": [1000, 1000, 1000, 1000, 1000, 1000, 1000, 900, 900, 900, 900],
    "warmup_cosine": [1000, 980, 921, 827, 708, 571, 429, 292, 173, 79, 20],
    "one_cycle": [350, 879, 994, 933, 812, 647, 463, 283, 133, 35, 0],
}


@pytest.mark.parametrize("name", MODELS)
def test_networks_are_pinned(name):
    with torch.device("meta"):
        assert count_params(MODELS[name]()) == PARAMETERS[name], CHANGED.format(name)


def loss_after_steps(name):
    """Four steps of SGD on made-up images; the loss of a fifth."""
    images = torch.rand(16, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(16) % 10
    model = Run(model=name, seed=1).build_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(5):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize(
    "name", ["mlp", "lenet", "small_resnet", "four_conv", "two_conv"]
)
def test_small_networks_are_pinned_by_a_loss(name):
    """Other processors round otherwise, but by far less than one part in 1,000."""
    expected = pytest.approx(LOSS_AFTER_STEPS[name], rel=1e-3)
    assert loss_after_steps(name) == expected, CHANGED.format(name)


def weight_after_steps(name):
    weight = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    optimizer = OPTIMIZERS[name]([weight], lr=0.1, weight_decay=0.01)
    for target in (3.0, 1.0, 2.0):
        optimizer.zero_grad()
        ((weight - target) ** 2).sum().backward()
        optimizer.step()
    return weight.item()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_are_pinned(name):
    expected = pytest.approx(WEIGHT_AFTER_STEPS[name], rel=1e-6)
    assert weight_after_steps(name) == expected, CHANGED.format(name)


def rates(name):
    """The learning rates, in 1/1000 of the given one, after each of 3 x 4 steps."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = SCHEDULES[name](optimizer, 4, 3)
    found = []
    for _ in range(11):
        optimizer.step()
        schedule.step()
        found.append(round(1000 * optimizer.param_groups[0]["lr"]))
    return found


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_pinned(name):
    assert rates(name) == RATES[name], CHANGED.format(name)


@pytest.mark.parametrize(
    ("name", "expected"), [("cross_entropy", 0.4076059), ("softmax_twice", 0.7971904)]
)
def test_losses_are_pinned(name, expected):
    logits, labels = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0])
    found = LOSSES[name](logits, labels).item()
    assert found == pytest.approx(expected, rel=1e-4), CHANGED.format(name)
