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
from functools import partial

import pandas as pd
import torch
import torch.nn.functional as F
from scipy import stats as sps
from torch import nn

from mnistkit.claims.comparisons import LEVEL
from mnistkit.claims.names import name_of
from mnistkit.claims.reported import (
    R4_BEST,
    R4_DROPOUTS,
    R4_FLATTENED,
    R4_KERNELS,
    R4_LENET,
    R4_LOWEST_TRAIN_ACCURACY,
    R4_POOL_ERROR,
    R4_RATES,
    R4_UNITS,
)
from mnistkit.claims.rules import (
    AGREES,
    IMPRECISE,
    Evidence,
    Finding,
    NotRun,
    check,
    fairest,
    holds,
    numbers,
    ranking,
    together,
)
from mnistkit.claims.toys import beyond, first_gradient
from mnistkit.models import build_model, conv, count_params, head, layer_table
from mnistkit.tables import epoch_table, run_table
from mnistkit.wording import number, percent, points

ACCURACY_MARGIN = 0.001  # 0.1 points
LOSS_MARGIN = 0.10  # 10 %

PARAMETERS = R4_BEST["parameters"]  # as R4 prints them

# Networks, without any values


@functools.cache
def network(name: str) -> nn.Module:
    """A network of our zoo on the device "meta"."""
    with torch.device("meta"):
        return build_model(name)


@functools.cache
def layers(name: str) -> pd.DataFrame:
    """A row per layer of a network of our zoo, as `layer_table` describes it."""
    return pd.DataFrame(layer_table(network(name)))


def widths(name: str, kind: str) -> list[int]:
    """The number of maps or units of each layer of a kind, from first to last."""
    table = layers(name)
    return [output[0] for output in table["output"][table["kind"] == kind]]


def parameters(name: str) -> int:
    """The number of weights and biases of a network of our zoo."""
    return count_params(network(name))


def alexnet_2012() -> list[nn.Module]:
    """The layers of AlexNet as published, for colour images of 224x224 pixels.

    `groups=2` marks the convolutions that saw only the maps on their own GPU of two.
    Source: Krizhevsky, Sutskever and Hinton (2012); the padding of the first layer is
    not in the paper. The layers are on the device "meta".
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
    side, padded_side = output_shape(first_two)[-1], output_shape(first_two, 1, 32)[-1]
    text = f"its last 5x5 kernel meets maps of {side}x{side}, with a padding of 2 "
    text += f"maps of {padded_side}x{padded_side}"
    padded = holds(padded_side >= 5, text, "it needs this padding (R4-E1)")
    reading = "the images are padded by 2 to 32 x 32"
    return fairest(
        holds(side >= 5, text, "it needs this padding (R4-E1)"), {reading: padded}
    )


@check("R4-05")
def r4_05(evidence: Evidence) -> Finding:
    """LeNet has convolutions of 6, 16, 120 maps with batch norm, then 84 and 10 units.

    The number of its parameters is compared as well.
    """
    maps, units = widths("lenet", "Conv2d"), widths("lenet", "Linear")
    has_norms = widths("lenet", "BatchNorm2d") == maps
    count = parameters("lenet")
    return holds(
        has_norms and [*maps, *units, count] == [*R4_LENET, PARAMETERS["lenet"]],
        f"maps {', '.join(map(str, maps))}; units {', '.join(map(str, units))}; "
        f"{count:,} parameters",
        "with a padding of 2 in the first convolution",
    )


@check("R4-08")
def r4_08(evidence: Evidence) -> Finding:
    """The AlexNet of 2012 fails on 28x28 images: a pool would get too small maps.

    Compared are the two sizes that the error message names.
    """
    message = error_of(output_shape, alexnet_2012(), 3)
    sizes = " ".join(re.findall(r"\(256x.x.\)", message))
    return holds(sizes == R4_POOL_ERROR, f"torch's message has the sizes {sizes}")


@check("R4-10")
def r4_10(evidence: Evidence) -> Finding:
    """The AlexNet with twice the kernels of one GPU in 2012 has 28,514,378 parameters.

    `alexnet_text` is the network that R4 describes.
    """
    first, count = widths("alexnet_text", "Conv2d")[0], parameters("alexnet_text")
    return holds(
        [first, count] == [R4_KERNELS, PARAMETERS["alexnet"]],
        f"with {first} kernels in the first convolution it has {count:,} parameters",
        "other widths fit the count (R4-E2)",
    )


@check("R4-11")
def r4_11(evidence: Evidence) -> Finding:
    """A weak point of AlexNet is the size of its linear layers of 4096 units.

    They are large if they hold more than half of the parameters.
    """
    table = layers("alexnet")
    in_linear = table["parameters"][table["kind"] == "Linear"].sum()
    share = in_linear / parameters("alexnet")
    hidden = widths("alexnet", "Linear")[:-1]
    return holds(
        hidden == [R4_UNITS, R4_UNITS] and share > 0.5,
        f"its linear layers hold {percent(share, 0)} of its parameters",
    )


def mends(evidence: Evidence, he: bool) -> tuple[bool, str]:
    """Whether a gradient vanishes that batch norm with shortcuts keeps, and the words.

    It is that of the first of 25 hidden layers, before training, and vanishes where it
    is a thousand times smaller than with both of them.
    """
    plain = first_gradient(evidence, 25, he)
    mended = first_gradient(evidence, 25, he, norm=True, shortcuts=True)
    text = f"{number(plain, 1)}, or {number(mended, 1)} with batch norm and shortcuts"
    return plain < mended / 1000, text


@check("R4-12")
def r4_12(evidence: Evidence) -> Finding:
    """In deep networks the gradient vanishes; batch norm with shortcuts mends this."""
    default, text = mends(evidence, he=False)
    he, he_text = mends(evidence, he=True)
    text = (
        f"the gradient of the first of 25 layers is {text}; with He's weights {he_text}"
    )
    reason = "R4 says the same of degradation: see R5-27"
    reading = "the weights have torch's default initialisation"
    as_read = holds(default, text, reason)
    return fairest(holds(default and he, text, reason), {reading: as_read})


@check("R4-13")
def r4_13(evidence: Evidence) -> Finding:
    """ResNet-18, of two 3x3 convolutions with a shortcut, has 11,172,810 parameters."""
    count = parameters("resnet18")
    return holds(count == PARAMETERS["resnet18"], f"{count:,} parameters")


@check("R4-16")
def r4_16(evidence: Evidence) -> Finding:
    """The VGG13 used, with AlexNet's linear layers, has 128,806,154 parameters."""
    count = parameters("vgg13")
    text = f"VGG-13 has {count:,} parameters"
    reason = "R4's count is VGG-11's (R4-E3); the block that it prints is in both"
    return holds(count == PARAMETERS["vgg11"], text, reason)


@check("R4-17")
def r4_17(evidence: Evidence) -> Finding:
    """Small kernels see as much as a large one, with fewer weights and another ReLU.

    Two convolutions of 3x3 are compared with one of 5x5. They see as much of the image
    if they make maps of the same size, without padding.
    """
    with torch.device("meta"):
        two_small = nn.Sequential(*conv(1, 1, 3), *conv(1, 1, 3))
        one_large = nn.Sequential(*conv(1, 1, 5))
    see_as_much = output_shape(two_small) == output_shape(one_large)
    fewer, more = count_params(two_small), count_params(one_large)
    more_relus = len(two_small) > len(one_large)
    return holds(
        see_as_much and fewer < more and more_relus,
        f"two 3x3 kernels make maps of the size that one 5x5 kernel makes, with one "
        f"ReLU more and {fewer} parameters for a map instead of {more}",
    )


@check("R4-20")
def r4_20(evidence: Evidence) -> Finding:
    """The wide ResNet of depth 16 and width 4 has 2,748,602 parameters.

    R4 prints a residual block whose shortcut has batch norm.
    """
    with torch.device("meta"):
        printed = count_params(build_model("wrn16_4", shortcut_norm=True))
    without_norm, reported = parameters("wrn16_4"), PARAMETERS["wrn16_4"]
    text = f"{printed:,} with the printed block, {without_norm:,} without its norm"
    reason = "the printed block has batch norm on its shortcut (R4-E4)"
    as_read = holds(without_norm == reported, text, reason)
    reading = "the shortcut has no batch norm, unlike that of the printed block"
    return fairest(holds(printed == reported, text, reason), {reading: as_read})


@check("R4-22")
def r4_22(evidence: Evidence) -> Finding:
    """AlexNet's first linear layer needs 2304 inputs for images of 28 x 28 pixels."""
    [flattened] = widths("alexnet", "Flatten")
    return holds(flattened == R4_FLATTENED, f"{flattened} inputs")


@check("R4-23")
def r4_23(evidence: Evidence) -> Finding:
    """The loss fails because the first dimension of the output must stay 64.

    The last batch of 10,000 images in batches of 64 has 16.
    """
    labels = evidence.mnist.test_labels[-16:]
    message = error_of(F.cross_entropy, torch.zeros(16, 10), labels)
    text = f"16 outputs and 16 labels: {message or 'the loss works'}"
    return holds(message != "", text, "it must equal the number of labels (R4-E5)")


# The best run of each network


def at_best_setting(evidence: Evidence, name: str) -> pd.DataFrame:
    """A row per seed: our runs of a network with the settings of R4's best run."""
    best = R4_BEST.loc[name]
    records = evidence.full("r4_best", model=name, lr=best.lr, dropout=best.dropout)
    # A seed may be there once more, with another precision, as a control.
    return run_table(records).drop_duplicates("seed")


def best_run(evidence: Evidence, name: str, reason: str) -> Finding:
    """In its best run a network reaches these validation and test accuracies."""
    scores = ["val_accuracy", "test_accuracy"]
    found = numbers(
        R4_BEST.loc[name, scores],
        at_best_setting(evidence, name)[scores],
        unit=1e-4,
        margin=ACCURACY_MARGIN,
        labels=scores,
        share=True,
        reason=f"{reason}; training accuracies are taken with dropout: not compared",
    )
    if name == "alexnet":
        found.reading = "AlexNet's widths are those fitted to its count"
    return found


BEST_RUNS = {
    "lenet": "R4's run is the best of twelve",
    "alexnet": "R4's run is the best of twelve (R4-E2)",
    "resnet18": "R4 does not say where dropout acts (R4-E16)",
    "vgg11": "VGG-11, by its count (R4-E3)",
    "wrn16_4": "without batch norm on the shortcuts (R4-E4)",
}
for _name, _reason in BEST_RUNS.items():
    check(R4_BEST.loc[_name, "id"])(partial(best_run, name=_name, reason=_reason))


@check("R4-30")
def r4_30(evidence: Evidence) -> Finding:
    """The wide ResNet has the best test accuracy of the five networks."""
    accuracy = R4_BEST["test_accuracy"]
    lead = accuracy["wrn16_4"] - accuracy.drop("wrn16_4").max()
    evidence.full("r4_best", model=list(R4_BEST.index))  # names all that are missing
    frame = pd.concat([at_best_setting(evidence, name) for name in R4_BEST.index])
    pairs = [
        ranking(
            frame,
            by="model",
            value="test_accuracy",
            order=["wrn16_4", name],
            margin=ACCURACY_MARGIN,
            paired=False,
            parts=len(R4_BEST) - 1,
        )
        for name in R4_BEST.index.drop("wrn16_4")
    ]
    return together(pairs, f"in R4 by {1e4 * lead:.0f} of 10,000 images (R4-E7)")


# What R4's own table says


@check("R4-31")
def r4_31(evidence: Evidence) -> Finding:
    """The time of a training is proportional to the number of parameters.

    Proportional would mean the same seconds per parameter for all five networks; a
    factor of two between them is granted.
    """
    seconds = R4_BEST["seconds"]
    per_million = 1e6 * seconds / PARAMETERS
    macs = pd.Series({name: layers(name)["macs"].sum() for name in R4_BEST.index})
    with_parameters = seconds.corr(PARAMETERS, method="spearman")
    with_macs = seconds.corr(macs, method="spearman")
    return holds(
        per_million.max() < 2 * per_million.min(),
        f"{per_million.min():.0f} to {per_million.max():,.0f} s per million "
        "parameters, where a factor of 2 would pass",
        f"rank correlation with parameters {with_parameters:.1f}, with multiply-adds "
        f"{with_macs:.1f} (R4-E6)",
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
        f"the least time, {seconds.min():.0f} s; accuracy "
        f"{percent(accuracy['lenet'])}, median {percent(accuracy.median())}",
    )


@check("R4-39")
def r4_39(evidence: Evidence) -> Finding:
    """ResNet is slow because it is large.

    Then AlexNet, which has more parameters, would take longer than ResNet.
    """
    seconds = R4_BEST["seconds"]
    return holds(
        seconds["alexnet"] > seconds["resnet18"],
        f"ResNet took {seconds['resnet18']:.0f} s, AlexNet, which is larger, "
        f"{seconds['alexnet']:.0f} s",
        "R4's times follow the multiply-adds more closely (R4-E6)",
    )


@check("R4-42")
def r4_42(evidence: Evidence) -> Finding:
    """LeNet is small, VGG large and uniform, the wide ResNet wider and shallower.

    Small and large are meant by parameters; uniform are kernels of one size. Wide is a
    first block of four times as many maps as the stem, and shallower than ResNet means
    fewer convolutions.
    """
    sizes = PARAMETERS
    small_and_large = sizes.idxmin() == "lenet" and sizes.idxmax() == "vgg11"
    vgg = [item for item in network("vgg11").modules() if isinstance(item, nn.Conv2d)]
    uniform = len({item.kernel_size for item in vgg}) == 1
    resnet, wide_resnet = widths("resnet18", "Conv2d"), widths("wrn16_4", "Conv2d")
    wider = wide_resnet[1] == 4 * wide_resnet[0]
    shallower = len(wide_resnet) < len(resnet)
    return holds(
        small_and_large and uniform and wider and shallower,
        f"{name_of(sizes.idxmin())} is the smallest, {name_of(sizes.idxmax())} the "
        f"largest, whose kernels all have one size; the wide ResNet has "
        f"{len(wide_resnet)} convolutions, ResNet {len(resnet)}, and after the first "
        f"one {wide_resnet[1]} maps instead of {wide_resnet[0]}",
        "by parameters, kernels, width and depth",
    )


@check("R4-44")
def r4_44(evidence: Evidence) -> Finding:
    """VGG13 is taken instead of VGG16 to save storage.

    R4 does not say how much it needs to save; a tenth is plainly a saving.
    """
    with torch.device("meta"):
        vgg16 = count_params(build_model("vgg11", depths=(2, 2, 3, 3, 3)))
    saved = 1 - parameters("vgg13") / vgg16
    reason = "R4 does not say how much it has to save (R4-E17)"
    text = f"VGG-13 saves {percent(saved, 1)} of {vgg16:,} parameters"
    as_read = holds(saved > 0, text, reason)
    reading = "a saving of a few percent counts"
    return fairest(holds(saved >= 0.1, text, reason), {reading: as_read})


@check("R4-46")
def r4_46(evidence: Evidence) -> Finding:
    """All five networks reach a training accuracy of 99.5 % or more."""
    accuracy = R4_BEST["train_accuracy"]
    least = accuracy.min()
    text = f"the lowest in R4's table is {percent(least)}"
    return holds(least >= R4_LOWEST_TRAIN_ACCURACY, text)


@check("R4-49")
def r4_49(evidence: Evidence) -> Finding:
    """The wide ResNet needs few parameters for its accuracy.

    It does so if every other network has more parameters and a lower accuracy.
    """
    ours, others = R4_BEST.loc["wrn16_4"], R4_BEST.drop("wrn16_4")
    beaten = (others["parameters"] > ours["parameters"]) & (
        others["test_accuracy"] < ours["test_accuracy"]
    )
    lenet = R4_BEST.loc["lenet"]
    times_fewer = ours["parameters"] / lenet["parameters"]
    points_less = 100 * (ours["test_accuracy"] - lenet["test_accuracy"])
    text = f"{beaten.sum()} of the 4 others have more parameters and err more often"
    reason = (
        f"LeNet has {times_fewer:.0f} times fewer and is {points_less:.2f} points less "
        "accurate (R4-E10)"
    )
    as_read = holds(beaten.drop("lenet").all(), text, reason)
    reading = "it is compared with ResNet, AlexNet and VGG"
    return fairest(holds(beaten.all(), text, reason), {reading: as_read})


@check("R4-50")
def r4_50(evidence: Evidence) -> Finding:
    """AlexNet's linear layers are hard to fit into the memory of one GPU.

    A GPU of 2012 had 3 GB. Each parameter takes 16 bytes in training: 4 each for
    itself, its gradient and Adam's two averages. The layers are R4's, or those of 2012.
    """

    def gigabytes(layers: Iterable[nn.Module]) -> float:
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        return 16 * sum(map(count_params, linear)) / 1e9

    ours, original = gigabytes(network("alexnet").modules()), gigabytes(alexnet_2012())
    return holds(
        max(ours, original) > 3,
        f"{ours:.2f} GB of the 3 GB of a GPU of 2012, and {original:.2f} GB in the "
        "network of 2012",
        "weights, gradients and Adam's averages, without the maps (R4-E18)",
    )


# The grid of learning rates and dropouts


def grid(evidence: Evidence, name: str = "lenet") -> pd.DataFrame:
    """A row per run of a network's grid, of three learning rates and four dropouts."""
    return run_table(
        evidence.full("grid", model=name, lr=R4_RATES, dropout=R4_DROPOUTS)
    )


def spread_ratio(scores: pd.Series, others: pd.Series) -> tuple[str, float, float]:
    """How many times more the scores scatter than others, by standard deviations.

    Returns the ratio in words, with its 90 % interval, and two p values of F tests:
    small where it is surely above two, and small where it is surely below two.
    """
    ratio = scores.std() / others.std()
    variance_ratio = (ratio / 2) ** 2
    distribution = sps.f(len(scores) - 1, len(others) - 1)
    low, high = (ratio / distribution.ppf(q) ** 0.5 for q in (1 - LEVEL, LEVEL))
    interval = f"90 % interval {number(low)} to {number(high)}"
    told = f"{number(ratio)} times as much ({interval})"
    return told, distribution.sf(variance_ratio), distribution.cdf(variance_ratio)


@check("R4-35")
def r4_35(evidence: Evidence) -> Finding:
    """A larger dropout brings LeNet's training and validation loss closer together.

    Page's test asks for a gap between them that falls over the four dropouts; each
    learning rate is a block. Our training loss is taken with dropout at work, and R4's
    probably is not: if our gap does not fall, another loss would have to be measured.
    """
    table = grid(evidence)
    table["gap"] = (table["train_loss"] - table["val_loss"]).abs()
    gaps = table.pivot(index=["lr", "seed"], columns="dropout", values="gap")
    p_falls = sps.page_trend_test(gaps.iloc[:, ::-1]).pvalue
    means = ", ".join(f"{gap:.3f}" for gap in gaps.mean())
    dropouts = ", ".join(f"{dropout:g}" for dropout in gaps.columns)
    text = f"the mean gap is {means} at dropouts of {dropouts}"
    if p_falls >= LEVEL:
        accuracy = percent(R4_BEST["train_accuracy"]["lenet"])
        raise NotRun(
            "to be measured: LeNet's training loss without dropout, from which R4's "
            f"accuracy of {accuracy} seems to come; with dropout at work {text}"
        )
    reading = "the training loss is taken with dropout at work"
    return Finding(AGREES, text, reading=reading)


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
        f"test accuracies scatter {ratio} over the {len(settings)} settings as over "
        f"{len(seeds)} seeds",
        f"all settings reach {percent(settings.min())}; R4's reason was not tested",
        p=p_above,
        limit="the ratio is not surely below 2",
        assured="the ratio is surely below 2",
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
        return holds(True, f"{diverged} of {len(alexnet)} runs diverge")
    scores, others = alexnet["test_accuracy"], lenet["test_accuracy"]
    ratio, p_above, p_below = spread_ratio(scores, others)
    return Finding(
        AGREES if p_above < LEVEL else IMPRECISE,
        f"test accuracies scatter {ratio} as LeNet's",
        "R4's reasons for it were not tested (R4-E14)",
        p=p_below,
        limit="the ratio is not surely above 2",
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
    reason = (
        f"the validation accuracy, without dropout, is "
        f"{percent(table['val_accuracy'].mean())}; a run has one of the three rates"
    )
    what = "the training accuracy is"
    finding = beyond(table["train_accuracy"], 0.95, False, what, reason)
    finding.reading = "the training accuracy is taken with dropout at work"
    return finding


@check("R4-47")
def r4_47(evidence: Evidence) -> Finding:
    """With a large learning rate LeNet swings more, though its loss can fall fast.

    The rate .005 is compared with .001, dropout by dropout. Swings are the rises of
    the validation loss per epoch; a fast fall is a low training loss in epoch 1.
    """
    rates = sorted(R4_RATES, reverse=True)[:2]
    records = evidence.full("grid", model="lenet", lr=rates, dropout=R4_DROPOUTS)
    runs = epoch_table(records).groupby(["lr", "dropout", "seed"])
    swings = runs["val_loss"].agg(lambda loss: loss.diff().clip(lower=0).mean())
    first_loss = runs["train_loss"].first()
    frame = pd.DataFrame({"swings": swings, "first_loss": first_loss}).reset_index()
    # A pair has the same dropout; the columns of `ranking` call it a seed.
    frame["seed"] = list(zip(frame["dropout"], frame["seed"], strict=True))
    frame["rate"] = "lr " + frame["lr"].astype(str)
    order = [f"lr {lr}" for lr in rates]
    two = dict(log=True, parts=2)
    more = ranking(frame, "rate", "swings", order, LOSS_MARGIN, **two)
    faster = ranking(frame, "rate", "first_loss", order, LOSS_MARGIN, False, **two)
    reason = "a run is one of the four dropouts, with one seed each"
    return together([more, faster], reason)


@check("R4-48")
def r4_48(evidence: Evidence) -> Finding:
    """R4 names the best of the twelve settings of each network.

    LeNet's are compared by validation accuracy: the named one with the best other one,
    whose difference is that of two single runs. Runs scatter as those of the named
    setting do over seeds.
    """
    table = grid(evidence).drop_duplicates(["lr", "dropout"])
    table.index = [f"{row.lr:g}/{row.dropout:g}" for row in table.itertuples()]
    named = "{lr:g}/{dropout:g}".format(**R4_BEST.loc["lenet"])
    others = table["val_accuracy"].drop(named)
    lead = table["val_accuracy"][named] - others.max()
    scatter = at_best_setting(evidence, "lenet")["val_accuracy"]
    t = lead / (scatter.std() * 2**0.5)
    p_is_best, p_is_not = sps.t.sf(t, len(scatter) - 1), sps.t.cdf(t, len(scatter) - 1)
    best, best_by_loss = table["val_accuracy"].idxmax(), table["val_loss"].idxmin()
    return Finding(
        AGREES if p_is_best < LEVEL else IMPRECISE,
        f"of LeNet's settings {best} has the best validation accuracy, {best_by_loss} "
        "the best loss",
        "the other networks' grids would have to be trained",
        reading="only LeNet is meant",
        p=min(1.0, len(others) * p_is_not),
        limit=f"its lead in accuracy is {points(lead)}, and seeds scatter by "
        f"{points(scatter.std()).removeprefix('+')}",
    )


@check("R4-51")
def r4_51(evidence: Evidence) -> Finding:
    """Batch norm improves LeNet.

    Both networks have the learning rate, of those tried, with the best validation
    accuracy. LeNet with batch norm is told by the number of its parameters. With the
    same seed both start with the same weights and see the same batches: batch norm
    draws no random numbers. So the runs are compared in pairs.
    """
    table = run_table(evidence.full("lenet_norm"))
    names = {True: "with batch norm", False: "without"}
    table["network"] = (table["parameters"] == parameters("lenet")).map(names)
    means = table.groupby(["network", "lr"])["val_accuracy"].mean()
    best = means.groupby("network").idxmax().tolist()
    return ranking(
        table.set_index(["network", "lr"]).loc[best].reset_index(),
        by="network",
        value="test_accuracy",
        order=list(names.values()),
        margin=ACCURACY_MARGIN,
        reason="each at its best learning rate",
    )
