"""Checks of R4: five known networks on a grid of learning rates and dropouts.

The docstring of a check says what the report claims, not what is true. Many claims are
about architectures: their shapes and counts are found on torch's device "meta", where
tensors have a shape but no values, so that nothing is computed. Of the trainings, the
experiment "r4_best" has R4's best setting of each network, with several seeds, and
"grid" all twelve settings.
"""

import functools
import re
from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy import stats as sps
from torch import Tensor, nn

from mnistkit.claims.reported import (
    R4_BEST,
    R4_DROPOUTS,
    R4_FLATTENED,
    R4_KERNELS,
    R4_LENET,
    R4_POOL_ERROR,
    R4_RATES,
    R4_UNITS,
)
from mnistkit.claims.rules import (
    AGREES,
    IMPRECISE,
    Evidence,
    Finding,
    check,
    exact,
    fairest,
    holds,
    numbers,
    ranking,
    together,
)
from mnistkit.data import normalize
from mnistkit.models import build_model, conv, count_params, head, layer_table
from mnistkit.tables import epoch_table, run_table

LEVEL = 0.05  # of the tests that are made here
ACCURACY_MARGIN = 0.001  # 0.1 points
LOSS_MARGIN = 0.10  # 10 %

# Networks, without any values


@functools.cache
def network(name: str) -> nn.Module:
    """A network of our zoo on the device "meta"."""
    with torch.device("meta"):
        return build_model(name)


@functools.cache
def layers(name: str) -> list[dict]:
    """A row per layer of a network of our zoo, as `layer_table` describes it."""
    return layer_table(network(name))


def widths(name: str, *kinds: str) -> list[int]:
    """The number of maps or units of each layer of these kinds, from first to last."""
    return [row["output"][0] for row in layers(name) if row["kind"] in kinds]


def parameters(name: str) -> int:
    """The number of weights and biases of a network of our zoo."""
    return count_params(network(name))


def reported_parameters(name: str) -> int:
    """The number of parameters that R4 prints for a network."""
    return int(R4_BEST["parameters"][name])


def all_parameters() -> pd.Series:
    """The number of parameters of each network in R4's table."""
    return pd.Series({name: parameters(name) for name in R4_BEST.index})


def share_of_linear_layers(name: str) -> float:
    """The share of a network's parameters that its linear layers hold."""
    linear = [row["parameters"] for row in layers(name) if row["kind"] == "Linear"]
    return sum(linear) / parameters(name)


def alexnet_2012() -> list[nn.Module]:
    """The layers of AlexNet as published, for colour images of 224x224 pixels.

    Its kernels were spread over two GPUs: `groups=2` marks the convolutions that see
    only the maps on their own GPU. The padding of the first convolution is not in the
    paper; without it 224 pixels do not give maps of 55x55. The layers are on the device
    "meta". Source: Krizhevsky, Sutskever and Hinton (2012).
    """
    with torch.device("meta"):
        return [
            *conv(3, 96, 11, stride=4, padding=2),
            nn.MaxPool2d(3, stride=2),
            *conv(96, 256, 5, padding=2, groups=2),
            nn.MaxPool2d(3, stride=2),
            *conv(256, 384, padding=1),
            *conv(384, 384, padding=1, groups=2),
            *conv(384, 256, padding=1, groups=2),
            nn.MaxPool2d(3, stride=2),
            *head(9216, 4096, 4096, 1000),
        ]


def output_shape(
    stack: Iterable[nn.Module], channels: int = 1, size: int = 28
) -> torch.Size:
    """The shape, [1, ...], of what layers on the device "meta" make of one image."""
    image = torch.zeros(1, channels, size, size, device="meta")
    return nn.Sequential(*stack)(image).shape


def error_of(function: Callable[..., object], *arguments: object) -> str:
    """The message of the error that a call raises; empty if it raises none."""
    try:
        function(*arguments)
    except (RuntimeError, ValueError) as error:
        return str(error)
    return ""


@check("R4-04")
def r4_04(evidence: Evidence) -> Finding:
    """LeNet, which was made for images of 32 x 32 pixels, needs no change for MNIST.

    LeNet's third convolution has a 5x5 kernel, which needs maps of 5x5 or more.
    """
    with torch.device("meta"):
        first_two = conv(1, 6, 5, pool=True) + conv(6, 16, 5, pool=True)
    side = output_shape(first_two)[-1]
    padded_side = output_shape(first_two, size=32)[-1]
    text = f"maps of {side}x{side} for a 5x5 kernel, padded {padded_side}x{padded_side}"
    return fairest(
        holds(side >= 5, text, "28x28 images need a padding (R4-E1)"),
        {
            "the images are padded by 2 to 32 x 32": holds(
                padded_side >= 5, text, "without it the network fails (R4-E1)"
            )
        },
    )


@check("R4-05")
def r4_05(evidence: Evidence) -> Finding:
    """LeNet has convolutions of 6, 16 and 120 maps with batch norm, then 84 and 10.

    The number of its parameters is compared as well.
    """
    maps = widths("lenet", "Conv2d")
    if widths("lenet", "BatchNorm2d") != maps:
        return holds(False, "not every convolution has a batch norm")
    return exact(
        [*R4_LENET, reported_parameters("lenet")],
        [*maps, *widths("lenet", "Linear"), parameters("lenet")],
        "with a padding of 2 in the first convolution",
    )


@check("R4-08")
def r4_08(evidence: Evidence) -> Finding:
    """The AlexNet of 2012 fails on 28x28 images: a pool would get too small maps.

    Compared are the two sizes that the error message names.
    """
    message = error_of(output_shape, alexnet_2012(), 3)
    sizes = re.findall(r"\(256x.x.\)", message)
    return exact(R4_POOL_ERROR, " ".join(sizes))


@check("R4-10")
def r4_10(evidence: Evidence) -> Finding:
    """The AlexNet with twice the kernels of one GPU in 2012 has 28,514,378 parameters.

    `alexnet_text` is the network that R4 describes.
    """
    first = widths("alexnet_text", "Conv2d")[0]
    return exact(
        [R4_KERNELS, reported_parameters("alexnet")],
        [first, parameters("alexnet_text")],
        "other widths fit the count (R4-E2)",
    )


@check("R4-11")
def r4_11(evidence: Evidence) -> Finding:
    """A weak point of AlexNet is the size of its linear layers of 4096 units.

    They are large if they hold more than half of the parameters.
    """
    share = share_of_linear_layers("alexnet")
    hidden = widths("alexnet", "Linear")[:-1]
    return holds(
        hidden == [R4_UNITS, R4_UNITS] and share > 0.5, f"{share:.0%} of the parameters"
    )


def first_gradients(evidence: Evidence, he: bool) -> tuple[float, float]:
    """The norm of the first layer's gradient in an untrained MLP of 25 hidden layers.

    The first number is that of the plain network, the second one that with batch norm
    and a shortcut at each layer. `he`: He's initialisation, else torch's default.
    """
    images = normalize(evidence.mnist.train_images[:256]).flatten(1)
    labels = evidence.mnist.train_labels[:256]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        linear = [nn.Linear(*size) for size in pairwise([784, *[32] * 25, 10])]
        if he:
            for layer in linear:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    first, *middle, last = linear
    plain = mended = first(images)
    for layer in middle:
        plain = layer(plain).relu()
        change = F.batch_norm(layer(mended), None, None, training=True).relu()
        mended = mended + change

    def norm(hidden: Tensor) -> float:
        loss = F.cross_entropy(last(hidden), labels)
        # Both losses pass through the first layer, so its graph is kept for the second.
        (gradient,) = torch.autograd.grad(loss, first.weight, retain_graph=True)
        return gradient.norm().item()

    return norm(plain), norm(mended)


@check("R4-12")
def r4_12(evidence: Evidence) -> Finding:
    """In deep networks the gradient vanishes; batch norm with shortcuts mends this.

    It vanishes where it is a thousand times smaller than with both of them.
    """
    plain, mended = first_gradients(evidence, he=False)
    plain_he, mended_he = first_gradients(evidence, he=True)
    text = (
        f"gradient {plain:.0e}, mended {mended:.0e}; "
        f"with He's initialisation {plain_he:.1g} and {mended_he:.0e}"
    )
    vanishes, vanishes_he = plain < mended / 1000, plain_he < mended_he / 1000
    reason = "an untrained MLP of 25 hidden layers"
    return fairest(
        holds(vanishes and vanishes_he, text, reason),
        {
            "the weights have torch's default initialisation": holds(
                vanishes, text, reason
            )
        },
    )


@check("R4-13")
def r4_13(evidence: Evidence) -> Finding:
    """ResNet-18, of two 3x3 convolutions with a shortcut, has 11,172,810 parameters."""
    return exact(reported_parameters("resnet18"), parameters("resnet18"))


@check("R4-16")
def r4_16(evidence: Evidence) -> Finding:
    """The VGG13 used, with AlexNet's linear layers, has 128,806,154 parameters."""
    return exact(
        reported_parameters("vgg11"),
        parameters("vgg13"),
        "R4's count is VGG-11's (R4-E3); the block that it prints is in both",
    )


@check("R4-17")
def r4_17(evidence: Evidence) -> Finding:
    """Small kernels see as much as a large one, with fewer weights and another ReLU.

    Two convolutions of 3x3 are compared with one of 5x5. Without padding a map of 28
    pixels shrinks by one less than the width that each output sees.
    """
    with torch.device("meta"):
        two_small = nn.Sequential(*conv(1, 1, 3), *conv(1, 1, 3))
        one_large = nn.Sequential(*conv(1, 1, 5))
    seen_by_two = 28 - output_shape(two_small)[-1] + 1
    seen_by_one = 28 - output_shape(one_large)[-1] + 1
    fewer, more = count_params(two_small), count_params(one_large)
    more_relus = len(two_small) > len(one_large)
    return holds(
        seen_by_two == seen_by_one and fewer < more and more_relus,
        f"{seen_by_two}x{seen_by_two} pixels; {fewer} < {more} parameters for one map",
    )


@check("R4-20")
def r4_20(evidence: Evidence) -> Finding:
    """The wide ResNet made of the printed blocks has 2,748,602 parameters."""
    with torch.device("meta"):
        printed = count_params(build_model("wrn16_4", shortcut_norm=True))
    reported = reported_parameters("wrn16_4")
    return fairest(
        exact(reported, printed, "R4-E4"),
        {
            "the shortcut has no batch norm": exact(
                reported, parameters("wrn16_4"), f"{printed:,} as printed (R4-E4)"
            )
        },
    )


@check("R4-22")
def r4_22(evidence: Evidence) -> Finding:
    """AlexNet's first linear layer needs 2304 inputs for images of 28 x 28 pixels."""
    [flattened] = widths("alexnet", "Flatten")
    return exact(R4_FLATTENED, flattened)


@check("R4-23")
def r4_23(evidence: Evidence) -> Finding:
    """The loss fails because the first dimension of the output must stay 64.

    The last batch of 10,000 images in batches of 64 has 16.
    """
    labels = evidence.mnist.test_labels[-16:]
    message = error_of(F.cross_entropy, torch.zeros(16, 10), labels)
    return holds(
        message != "",
        message or "16 outputs and 16 labels work",
        "it must equal the number of labels (R4-E5)",
    )


# The best run of each network


def at_best_setting(evidence: Evidence, name: str) -> pd.DataFrame:
    """A row per seed: our runs of a network with the settings of R4's best run."""
    best = R4_BEST.loc[name]
    records = evidence.full("r4_best", model=name, lr=best.lr, dropout=best.dropout)
    # A seed may be there once more, with another precision, as a control.
    return run_table(records).drop_duplicates("seed")


def best_run(evidence: Evidence, name: str, reason: str) -> Finding:
    """The validation and test accuracy of R4's best run of a network."""
    scores = ["val_accuracy", "test_accuracy"]
    return numbers(
        R4_BEST.loc[name, scores],
        at_best_setting(evidence, name)[scores],
        unit=1e-4,
        margin=ACCURACY_MARGIN,
        labels=scores,
        reason=f"{reason}; our training accuracy, with dropout, is not compared",
    )


@check("R4-25")
def r4_25(evidence: Evidence) -> Finding:
    """In its best run LeNet reaches these accuracies."""
    return best_run(evidence, "lenet", "R4's run is the best of twelve")


@check("R4-26")
def r4_26(evidence: Evidence) -> Finding:
    """In its best run AlexNet reaches these accuracies."""
    finding = best_run(evidence, "alexnet", "R4's run is the best of twelve (R4-E2)")
    finding.reading = "AlexNet's widths are those fitted to its count"
    return finding


@check("R4-27")
def r4_27(evidence: Evidence) -> Finding:
    """In its best run ResNet-18 reaches these accuracies."""
    reason = "R4 does not say where dropout acts (R4-E16)"
    return best_run(evidence, "resnet18", reason)


@check("R4-28")
def r4_28(evidence: Evidence) -> Finding:
    """In its best run VGG reaches these accuracies."""
    return best_run(evidence, "vgg11", "VGG-11, by its count (R4-E3)")


@check("R4-29")
def r4_29(evidence: Evidence) -> Finding:
    """In its best run the wide ResNet reaches these accuracies."""
    reason = "without batch norm on the shortcuts (R4-E4)"
    return best_run(evidence, "wrn16_4", reason)


@check("R4-30")
def r4_30(evidence: Evidence) -> Finding:
    """The wide ResNet has the best test accuracy of the five networks."""
    accuracy = R4_BEST["test_accuracy"]
    lead = accuracy["wrn16_4"] - accuracy.drop("wrn16_4").max()
    frame = pd.concat([at_best_setting(evidence, name) for name in R4_BEST.index])
    pairs = {
        f"above {name}": ranking(
            frame,
            by="model",
            value="test_accuracy",
            order=["wrn16_4", name],
            margin=ACCURACY_MARGIN,
            paired=False,
        )
        for name in R4_BEST.index.drop("wrn16_4")
    }
    return together(pairs, f"in R4 by {1e4 * lead:.0f} of 10,000 images (R4-E7)")


# What R4's own table says


@check("R4-31")
def r4_31(evidence: Evidence) -> Finding:
    """The time of a training is proportional to the number of parameters.

    Proportional would mean the same seconds per parameter for all five networks; a
    factor of two between them is granted.
    """
    seconds, sizes = R4_BEST["seconds"], all_parameters()
    multiply_adds = pd.Series(
        {name: sum(row["macs"] for row in layers(name)) for name in R4_BEST.index}
    )
    per_million = 1e6 * seconds / sizes
    with_sizes = seconds.corr(sizes, method="spearman")
    with_multiply_adds = seconds.corr(multiply_adds, method="spearman")
    return holds(
        per_million.max() < 2 * per_million.min(),
        f"{per_million.min():.0f} to {per_million.max():,.0f} s per million",
        f"rank correlation {with_sizes:.1f}, with multiply-adds "
        f"{with_multiply_adds:.1f} (R4-E6)",
    )


@check("R4-32")
def r4_32(evidence: Evidence) -> Finding:
    """The wide ResNet trains in a relatively short time: below R4's median."""
    seconds = R4_BEST["seconds"]
    return holds(
        seconds["wrn16_4"] < seconds.median(),
        f"{seconds['wrn16_4']:.0f} s, the median is {seconds.median():.0f} s",
        "only VGG took longer (R4-E6)",
    )


@check("R4-33")
def r4_33(evidence: Evidence) -> Finding:
    """LeNet combines a short training time with a high accuracy.

    Its time must be the least, its accuracy the median or more.
    """
    seconds, accuracy = R4_BEST["seconds"], R4_BEST["test_accuracy"]
    fastest = seconds.idxmin() == "lenet"
    return holds(
        fastest and accuracy["lenet"] >= accuracy.median(),
        f"{seconds.min():.0f} s, the least; accuracy {accuracy['lenet']:.2%}",
    )


@check("R4-39")
def r4_39(evidence: Evidence) -> Finding:
    """ResNet is slow because it is large.

    Then AlexNet, which has more parameters, would take longer than ResNet.
    """
    seconds = R4_BEST["seconds"]
    return holds(
        seconds["alexnet"] > seconds["resnet18"],
        f"{seconds['resnet18']:.0f} s; AlexNet, larger, {seconds['alexnet']:.0f} s",
        "the multiply-adds make it slow (R4-E6)",
    )


@check("R4-41")
def r4_41(evidence: Evidence) -> Finding:
    """The wide ResNet is a large network: it has more parameters than the median."""
    sizes = all_parameters()
    larger = (sizes > sizes["wrn16_4"]).sum()
    return holds(
        sizes["wrn16_4"] > sizes.median(),
        f"{sizes['wrn16_4']:,} parameters; {larger} of the other 4 have more",
        "R4-E10",
    )


@check("R4-42")
def r4_42(evidence: Evidence) -> Finding:
    """LeNet is small, VGG large and uniform, the wide ResNet wider, not so deep.

    Small and large are meant by parameters, uniform by kernels: all of VGG's are 3x3.
    Wide is a first block of four times as many maps as the stem, shallower than ResNet
    means fewer convolutions.
    """
    sizes = all_parameters()
    small_and_large = sizes.idxmin() == "lenet" and sizes.idxmax() == "vgg11"
    depths = {name: len(widths(name, "Conv2d")) for name in R4_BEST.index}
    kernels = {
        layer.kernel_size
        for layer in network("vgg11").modules()
        if isinstance(layer, nn.Conv2d)
    }
    stem, first_block = widths("wrn16_4", "Conv2d")[:2]
    return holds(
        small_and_large
        and kernels == {(3, 3)}
        and first_block == 4 * stem
        and depths["wrn16_4"] < depths["resnet18"],
        f"convolutions: {', '.join(f'{name} {n}' for name, n in depths.items())}",
        "by parameters, kernels, width and depth",
    )


@check("R4-44")
def r4_44(evidence: Evidence) -> Finding:
    """VGG13 is taken instead of VGG16 to save storage: at least a tenth of it."""
    with torch.device("meta"):
        vgg16 = count_params(build_model("vgg11", depths=(2, 2, 3, 3, 3)))
    saved = 1 - parameters("vgg13") / vgg16
    saved_by_the_one_used = 1 - reported_parameters("vgg11") / vgg16
    return holds(
        saved >= 0.1,
        f"{saved:.1%} of {vgg16:,} parameters",
        f"{saved_by_the_one_used:.1%} by the VGG used (R4-E17)",
    )


@check("R4-46")
def r4_46(evidence: Evidence) -> Finding:
    """All five networks reach a training accuracy of 99.5 % or more."""
    accuracy = R4_BEST["train_accuracy"]
    return holds(accuracy.min() >= 0.995, f"{accuracy.min():.2%}, {accuracy.idxmin()}")


@check("R4-49")
def r4_49(evidence: Evidence) -> Finding:
    """The wide ResNet needs few parameters for its accuracy.

    It needs few if no other network has fewer parameters, or a higher accuracy.
    """
    others = R4_BEST.drop("wrn16_4")
    wide = R4_BEST.loc["wrn16_4"]
    more_parameters = others["parameters"] > wide["parameters"]
    beaten = more_parameters & (others["test_accuracy"] < wide["test_accuracy"])
    lead = wide["test_accuracy"] - R4_BEST["test_accuracy"]["lenet"]
    factor = wide["parameters"] / R4_BEST["parameters"]["lenet"]
    text = f"{beaten.sum()} of 4 have more and are less accurate"
    reason = f"LeNet has {factor:.0f} times fewer, and {100 * lead:.2f} points less"
    large = beaten.drop("lenet")
    return fairest(
        holds(beaten.all(), text, reason),
        {
            "it is compared with ResNet, AlexNet and VGG": holds(
                large.all(), text, f"{reason} (R4-E10)"
            )
        },
    )


@check("R4-50")
def r4_50(evidence: Evidence) -> Finding:
    """AlexNet's linear layers are hard to fit into the memory of one GPU.

    A GPU of 2012 had 3 GB. Each parameter takes 16 bytes in training: 4 each for
    itself, its gradient and Adam's two averages.
    """
    gigabytes = 16 * parameters("alexnet") / 1e9
    linear = share_of_linear_layers("alexnet") * gigabytes
    return holds(
        linear > 3,
        f"{linear:.2f} GB, {gigabytes:.2f} GB with the convolutions",
        "the maps are not counted (R4-E18)",
    )


# The grid of learning rates and dropouts


def grid(evidence: Evidence, name: str = "lenet") -> pd.DataFrame:
    """A row per run of a network's grid, of three learning rates and four dropouts."""
    return run_table(
        evidence.full("grid", model=name, lr=R4_RATES, dropout=R4_DROPOUTS)
    )


def spread_ratio(scores: pd.Series, others: pd.Series) -> tuple[float, float, float]:
    """How many times more the scores scatter than others, by standard deviations.

    Returns the ratio and two p values of F tests: small where it is surely above two,
    and small where it is surely below two.
    """
    ratio = scores.std() / others.std()
    variance_ratio = (ratio / 2) ** 2
    distribution = sps.f(len(scores) - 1, len(others) - 1)
    return ratio, distribution.sf(variance_ratio), distribution.cdf(variance_ratio)


@check("R4-35")
def r4_35(evidence: Evidence) -> Finding:
    """A larger dropout brings LeNet's training and validation loss closer together.

    Page's test asks for a trend of the gap between them over the four dropouts; each
    learning rate is a block.
    """
    table = grid(evidence)
    gaps = table.assign(gap=(table["train_loss"] - table["val_loss"]).abs()).pivot(
        index=["lr", "seed"], columns="dropout", values="gap"
    )
    gaps = gaps.sort_index(axis="columns")
    p_rises = sps.page_trend_test(gaps).pvalue
    p_falls = sps.page_trend_test(gaps.iloc[:, ::-1]).pvalue
    means = ", ".join(f"{gap:.3f}" for gap in gaps.mean())
    return Finding(
        AGREES if p_falls < LEVEL else IMPRECISE,
        f"mean gap {means}",
        "our training loss is taken with dropout; R4's accuracy of 99.61 % suggests "
        "that its is taken without",
        p=p_rises,
    )


@check("R4-36")
def r4_36(evidence: Evidence) -> Finding:
    """LeNet trains steadily.

    It does so if its test accuracy scatters less than twice as much over the twelve
    settings as over seeds.
    """
    settings = grid(evidence)["test_accuracy"]
    seeds = at_best_setting(evidence, "lenet")["test_accuracy"]
    ratio, p_above, p_below = spread_ratio(settings, seeds)
    return Finding(
        AGREES if p_below < LEVEL else IMPRECISE,
        f"{ratio:.2g} times the scatter of {len(seeds)} seeds; all above "
        f"{settings.min():.2%}",
        "why it does so was not tested",
        p=p_above,
        limit="a ratio below 2 is not sure",
    )


@check("R4-37")
def r4_37(evidence: Evidence) -> Finding:
    """AlexNet trains unsteadily.

    It does so if a run of its grid diverges, or if its test accuracy scatters over the
    settings more than twice as much as LeNet's.
    """
    alexnet, lenet = grid(evidence, "alexnet"), grid(evidence)
    diverged = (alexnet["status"] == "diverged").sum()
    if diverged > 0:
        return holds(True, f"{diverged} of {len(alexnet)} runs diverge", "R4-E14")
    ratio, p_above, p_below = spread_ratio(
        alexnet["test_accuracy"], lenet["test_accuracy"]
    )
    return Finding(
        AGREES if p_above < LEVEL else IMPRECISE,
        f"{ratio:.2g} times the scatter of LeNet",
        "R4's reasons for it were not tested (R4-E14)",
        p=p_below,
        limit="a ratio above 2 is not sure",
    )


@check("R4-40")
def r4_40(evidence: Evidence) -> Finding:
    """VGG needs a smaller learning rate.

    A fifth of .0005, the smallest rate of R4's grid and its best, should be better.
    """
    smallest = min(R4_RATES)
    order = [smallest / 5, smallest]
    return ranking(
        run_table(evidence.full("vgg_rates", model="vgg11", lr=order)),
        by="lr",
        value="test_accuracy",
        order=order,
        margin=ACCURACY_MARGIN,
        reason="the reason, what its kernels see, was not tested",
    )


@check("R4-45")
def r4_45(evidence: Evidence) -> Finding:
    """At a dropout of .75 LeNet cannot fit the training images.

    It cannot if its training accuracy, on average over the learning rates, is below
    95 %.
    """
    table = grid(evidence)
    table = table[table["dropout"] == max(R4_DROPOUTS)]
    scores = table["train_accuracy"]
    p_below = sps.ttest_1samp(scores, 0.95, alternative="less").pvalue
    return Finding(
        AGREES if p_below < LEVEL else IMPRECISE,
        f"training accuracy {scores.min():.3f} to {scores.max():.3f}",
        f"without dropout the validation accuracy is {table['val_accuracy'].min():.3f} "
        f"to {table['val_accuracy'].max():.3f}",
        reading="the training images are seen with dropout at work",
        p=1 - p_below,
        limit=f"n = {len(scores)}",
    )


@check("R4-47")
def r4_47(evidence: Evidence) -> Finding:
    """With a large learning rate LeNet swings more, though its loss can fall fast.

    The rate .005 is compared with .001, dropout by dropout. Swings are the rises of
    the validation loss, per epoch; a fast fall is a low training loss of epoch 1.
    """
    table = epoch_table(
        evidence.full("grid", model="lenet", lr=[0.005, 0.001], dropout=R4_DROPOUTS)
    )
    table["block"] = [f"{row.dropout} {row.seed}" for row in table.itertuples()]
    runs = table.groupby(["lr", "block"])
    frame = pd.DataFrame(
        {
            "swings": runs["val_loss"].agg(lambda loss: loss.diff().clip(0).mean()),
            "first_loss": runs["train_loss"].first(),
        }
    ).reset_index(names=["lr", "seed"])
    compare = functools.partial(
        ranking, frame, "lr", order=[0.005, 0.001], margin=LOSS_MARGIN, log=True
    )
    return together(
        {
            "swings": compare(value="swings"),
            "fall": compare(value="first_loss", higher_is_better=False),
        },
        "n counts dropouts, one seed each",
    )


@check("R4-48")
def r4_48(evidence: Evidence) -> Finding:
    """R4 names the best of the twelve settings of each network.

    LeNet's, the only ones that were run, are compared by validation accuracy: the
    named one with the best other one. Their difference is that of two single runs,
    which scatter like those of the named setting over seeds.
    """
    best = R4_BEST.loc["lenet"]
    table = grid(evidence).drop_duplicates(["lr", "dropout"])
    table = table.set_index(["lr", "dropout"])
    scores = table["val_accuracy"]
    named = (best.lr, best.dropout)
    seeds = at_best_setting(evidence, "lenet")["val_accuracy"]
    others = scores.drop(named)
    lead = scores[named] - others.max()
    t = lead / (seeds.std() * np.sqrt(2))
    distribution = sps.t(len(seeds) - 1)
    by_loss = table["val_loss"].idxmin()
    return Finding(
        AGREES if distribution.sf(t) < LEVEL else IMPRECISE,
        f"LeNet's best by accuracy is {scores.idxmax()}, by loss {by_loss}; {named} "
        f"leads by {100 * lead:.2f} points",
        "only LeNet's grid was run, one seed each",
        reading="only LeNet is meant",
        p=min(1.0, len(others) * distribution.cdf(t)),
        limit=f"seeds scatter by {100 * seeds.std():.2f} points",
    )


@check("R4-51")
def r4_51(evidence: Evidence) -> Finding:
    """Batch norm improves LeNet.

    Both networks have the learning rate, of those tried, with the best validation
    accuracy. R4's LeNet is told by the number of its parameters.
    """
    table = run_table(evidence.full("lenet_norm"))
    has_norm = table["parameters"] == parameters("lenet")
    table["network"] = np.where(has_norm, "with batch norm", "without")
    means = table.groupby(["network", "lr"])["val_accuracy"].mean()
    best = set(means.groupby("network").idxmax())
    is_best = [pair in best for pair in zip(table["network"], table["lr"], strict=True)]
    return ranking(
        table[is_best],
        by="network",
        value="test_accuracy",
        order=["with batch norm", "without"],
        margin=ACCURACY_MARGIN,
        paired=False,
        reason="each at its best learning rate",
    )
