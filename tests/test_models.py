"""The zoo against the reports' numbers, torch's own counter and torchvision."""

from functools import cache
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet18 as torchvision_resnet18

from mnistkit.models import (
    MODELS,
    Residual,
    build_model,
    conv,
    count_macs,
    count_params,
    layer_table,
)

# network: (parameters, multiply-adds per image), derived from the reports by hand
COUNTS = {
    "mlp": (235_146, 234_752),
    "lenet": (61_990, 416_520),
    "alexnet": (28_514_378, 153_150_464),
    "alexnet_text": (29_583_562, 222_017_024),
    "vgg11": (128_806_154, 712_508_416),
    "vgg13": (128_990_666, 770_311_168),
    "resnet18": (11_172_810, 455_800_832),
    "wrn16_4": (2_748_602, 300_368_640),
    "small_resnet": (41_706, 2_013_184),
    "four_conv": (2_328_298, 11_542_848),
    "two_conv": (5_070_832, 19_897_332),
}
LARGE = {"alexnet", "alexnet_text", "vgg11", "vgg13"}  # 0.1 to 0.5 GB of weights
networks = pytest.mark.parametrize("name", COUNTS)
small_networks = pytest.mark.parametrize("name", [n for n in COUNTS if n not in LARGE])


@cache
def on_meta(name, **options):
    """The network without values: its counts and shapes cost no memory."""
    with torch.device("meta"):
        return build_model(name, **options)


def shapes(name, kind):
    table = layer_table(on_meta(name))
    return [row["output"] for row in table if row["kind"] == kind]


def images(n=4):
    return torch.randn(n, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def test_zoo_is_complete_and_in_order():
    assert list(MODELS) == list(COUNTS)


@networks
def test_counts(name):
    model = on_meta(name)
    assert (count_params(model), count_macs(model)) == COUNTS[name]


@networks
def test_macs_agree_with_torch_counter(name):
    with FlopCounterMode(display=False) as counter:
        logits = on_meta(name)(torch.zeros(3, 1, 28, 28, device="meta"))
    assert logits.shape == (3, 10)
    assert counter.get_total_flops() == 2 * 3 * count_macs(on_meta(name))


@networks
def test_layer_table_has_every_parameter(name):
    table = layer_table(on_meta(name))
    assert sum(row["parameters"] for row in table) == COUNTS[name][0]


@networks
def test_layer_table_ends_with_the_logits(name):
    last = layer_table(on_meta(name))[-1]
    assert (last["kind"], last["output"]) == ("Linear", (10,))


def kinds_by_layer(name):
    return {layer: type(m).__name__ for layer, m in on_meta(name).named_modules()}


@networks
def test_layer_table_names_layers_and_kinds_as_the_network_does(name):
    kinds = kinds_by_layer(name)
    for row in layer_table(on_meta(name)):
        assert row["kind"] == kinds[row["layer"]]


@networks
def test_layer_table_leaves_out_only_what_does_nothing(name):
    """A dropout of 0 is among it."""
    kinds = kinds_by_layer(name)
    unseen = set(kinds) - {row["layer"] for row in layer_table(on_meta(name))}
    idle = {"Sequential", "Residual", "Identity", "Dropout", "Dropout2d"}
    assert {kinds[layer] for layer in unseen} <= idle


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("lenet", "Conv2d", [(6, 28, 28), (16, 10, 10), (120, 1, 1)]),
        ("lenet", "MaxPool2d", [(6, 14, 14), (16, 5, 5)]),
        ("alexnet", "MaxPool2d", [(64, 14, 14), (192, 7, 7), (256, 3, 3)]),
        ("alexnet", "BatchNorm2d", [(192, 14, 14)]),
        ("alexnet", "Flatten", [(2304,)]),
        ("alexnet_text", "MaxPool2d", [(96, 14, 14), (256, 7, 7), (256, 3, 3)]),
        ("alexnet_text", "BatchNorm2d", []),
        ("vgg11", "MaxPool2d", [(64, 14, 14), (256, 7, 7)]),
        ("vgg11", "Flatten", [(512 * 7 * 7,)]),
        ("vgg13", "MaxPool2d", [(64, 14, 14), (256, 7, 7)]),
        ("resnet18", "AdaptiveAvgPool2d", [(512, 1, 1)]),
        ("wrn16_4", "Flatten", [(256,)]),
        ("small_resnet", "Add", [(16, 12, 12), (32, 4, 4)]),
        ("small_resnet", "MaxPool2d", [(16, 12, 12), (32, 4, 4)]),
        ("small_resnet", "Flatten", [(512,)]),
        ("four_conv", "MaxPool2d", [(32, 12, 12), (128, 4, 4)]),
        ("four_conv", "Linear", [(1024,), (128,), (10,)]),
        ("two_conv", "MaxPool2d", [(64, 14, 14), (128, 7, 7)]),
        ("two_conv", "Linear", [(784,), (98,), (10,)]),
    ],
)
def test_shapes_at_the_joints(name, kind, expected):
    assert shapes(name, kind) == expected


def test_first_rows_of_small_resnet():
    first = layer_table(build_model("small_resnet"))[:3]
    assert first == [
        {
            "layer": "0",
            "kind": "Conv2d",
            "output": (16, 24, 24),
            "parameters": 416,
            "macs": 230_400,
        },
        {
            "layer": "1",
            "kind": "ReLU",
            "output": (16, 24, 24),
            "parameters": 0,
            "macs": 0,
        },
        {
            "layer": "2",
            "kind": "MaxPool2d",
            "output": (16, 12, 12),
            "parameters": 0,
            "macs": 0,
        },
    ]


@pytest.mark.parametrize(
    ("name", "heights"),
    [
        ("resnet18", [28, 28, 14, 14, 7, 7, 4, 4]),
        ("wrn16_4", [28, 28, 14, 14, 7, 7]),
    ],
)
def test_each_stage_halves_the_maps(name, heights):
    assert [height for _, height, _ in shapes(name, "Add")] == heights


def test_wrn_with_batch_norm_in_the_shortcut():  # R4-E4
    assert count_params(on_meta("wrn16_4", shortcut_norm=True)) == 2_749_498


@pytest.mark.parametrize(("name", "count"), [("vgg11", 8), ("vgg13", 10)])
def test_number_of_vgg_convolutions(name, count):  # R4-E3
    assert len(shapes(name, "Conv2d")) == count


def test_parameters_and_macs_of_the_convolutions_of_vgg11():  # R4-E3
    table = layer_table(on_meta("vgg11"))
    convolutions = [row for row in table if row["kind"] == "Conv2d"]
    assert sum(row["parameters"] for row in convolutions) == 9_219_328
    assert sum(row["macs"] for row in convolutions) == 592_929_792


def test_lenet_without_padding_fails():  # R4-E1
    model = build_model("lenet").eval()
    model[0].padding = (0, 0)
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        model(images())


def test_five_pools_fail():  # R4-E3
    widths = [1, 64, 128, 256, 512, 512]
    layers = [conv(a, b, padding=1, pool=True) for a, b in pairwise(widths)]
    model = nn.Sequential(*sum(layers, []))
    assert model[:-1](images()).shape == (4, 512, 1, 1)
    with pytest.raises(RuntimeError, match="512x1x1.*too small"):
        model(images())


@torch.no_grad()
def test_resnet18_is_torchvisions_but_for_the_stem():
    other = torchvision_resnet18(num_classes=10)
    other.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
    other.maxpool = nn.Identity()
    model = build_model("resnet18", seed=1)
    for module in model.modules():  # non-trivial statistics, so that they matter
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean += 0.1
            module.running_var *= 0.5
    names, values = other.state_dict().keys(), model.state_dict().values()
    other.load_state_dict(dict(zip(names, values, strict=True)))
    torch.testing.assert_close(model.eval()(images()), other.eval()(images()))


def maps():
    return torch.randn(2, 4, 7, 7, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_residual_block_with_an_identity_as_its_shortcut():
    block, x = Residual(4, 4, relu=False).eval(), maps()
    torch.testing.assert_close(block(x), block.body(x) + x)
    assert (block(x) < 0).any()  # there is no ReLU after the addition


@torch.no_grad()
def test_residual_block_that_changes_the_shape():
    block, x = Residual(4, 8, stride=2, norm=False).eval(), maps()
    expected = (block.body(x) + block.shortcut[0](x)).clamp(min=0)
    torch.testing.assert_close(block(x), expected)
    assert block(x).shape == (2, 8, 4, 4)


def test_final_relu_changes_no_count():  # R1-E3
    without = on_meta("small_resnet", final_relu=False)
    assert (count_params(without), count_macs(without)) == COUNTS["small_resnet"]


@torch.no_grad()
def test_final_relu_changes_the_logits():  # R1-E3
    with_relu = build_model("small_resnet").eval()
    without = build_model("small_resnet", final_relu=False).eval()
    without.load_state_dict(with_relu.state_dict())
    assert not torch.allclose(with_relu(images()), without(images()))


@small_networks
@torch.no_grad()
def test_dropout_acts_in_training(name):
    model = build_model(name, dropout=0.5).train()
    assert not torch.equal(model(images()), model(images()))


@small_networks
@torch.no_grad()
def test_dropout_does_not_act_in_evaluation(name):
    model, plain = build_model(name, dropout=0.5).eval(), build_model(name).eval()
    assert torch.equal(model(images()), plain(images()))


@small_networks
@torch.no_grad()
def test_without_dropout_nothing_is_random(name):
    model = build_model(name).train()
    torch.testing.assert_close(model(images()), model(images()))


@networks
def test_number_and_kind_of_dropout_layers(name):
    kinds = [row["kind"] for row in layer_table(on_meta(name, dropout=0.3))]
    found = {kind: kinds.count(kind) for kind in ("Dropout", "Dropout2d")}
    expected = {
        "wrn16_4": {"Dropout": 0, "Dropout2d": 6},
        "small_resnet": {"Dropout": 0, "Dropout2d": 1},
        "resnet18": {"Dropout": 1, "Dropout2d": 0},
    }
    assert found == expected.get(name, {"Dropout": 2, "Dropout2d": 0})


def test_wide_resnet_drops_maps_between_two_convolutions():  # R4-E13
    table = layer_table(on_meta("wrn16_4", dropout=0.3))
    block = [row["kind"] for row in table if row["layer"].startswith("3.body")]
    assert block == [
        "Conv2d", "BatchNorm2d", "ReLU", "Dropout2d", "Conv2d", "BatchNorm2d"
    ]  # fmt: skip


def two_layouts(name):
    """The network twice: as it is built, and with channels_last weights."""
    other = build_model(name).to(memory_format=torch.channels_last)
    return build_model(name), other


@small_networks
@torch.no_grad()
def test_channels_last_gives_the_same_logits(name):
    model, other = two_layouts(name)
    batch = images().contiguous(memory_format=torch.channels_last)
    logits, expected = other.eval()(batch), model.eval()(images())
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)


@small_networks
def test_channels_last_gives_the_same_gradients(name):
    """In training mode each tensor of weights has a gradient of 0.005 or more: the
    tolerance is far below it."""
    model, other = two_layouts(name)
    batch = images().contiguous(memory_format=torch.channels_last)
    for network, inputs in ((model, images()), (other, batch)):
        F.cross_entropy(network.train()(inputs), torch.arange(4)).backward()
    for (weight, ours), theirs in zip(
        other.named_parameters(), model.parameters(), strict=True
    ):
        torch.testing.assert_close(
            ours.grad,
            theirs.grad,
            atol=1e-5,
            rtol=1e-4,
            msg=lambda text, weight=weight: f"{weight}: {text}",
        )


def test_the_seed_fixes_the_weights():
    first = build_model("lenet", seed=3).state_dict()
    torch.rand(7)  # the global generator plays no part
    again = build_model("lenet", seed=3).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_another_seed_gives_other_weights():
    first, other = build_model("lenet", seed=3), build_model("lenet", seed=4)
    assert not torch.equal(first[0].weight, other[0].weight)


def test_building_leaves_the_global_random_state():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    build_model("lenet", seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_counting_leaves_the_weights_alone():
    model = build_model("lenet", dropout=0.5).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count_macs(model)
    assert model.training
    for name, value in model.state_dict().items():
        assert value.device.type == "cpu", name
        assert torch.equal(value, before[name]), name


def test_counting_leaves_no_hook():
    model = build_model("lenet")
    count_macs(model)
    assert not model[0]._forward_hooks
    assert not nn.modules.module._global_forward_hooks


def test_counting_leaves_the_global_random_state():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    count_macs(build_model("lenet", dropout=0.5))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match="unknown network 'lenet5'; known: mlp, lenet"):
        build_model("lenet5")


def test_an_unknown_option_is_refused_in_one_line():
    with pytest.raises(ValueError, match="'lenet' .*'final_relu'; known: dropout") as e:
        build_model("lenet", final_relu=False)
    assert "\n" not in str(e.value)


def test_an_impossible_dropout_is_refused():
    with pytest.raises(ValueError, match="dropout probability"):
        build_model("lenet", dropout=1.5)
