"""The zoo: eleven networks for images [B, 1, 28, 28] that return logits [B, 10].

To add a network, write a function that takes `dropout` and enter it in MODELS.
"""

import inspect
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

# Notebooks find these beside the networks.
from mnistkit.layers import count_macs as count_macs
from mnistkit.layers import count_params as count_params
from mnistkit.layers import layer_table as layer_table


def conv(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    *,
    norm: bool = False,
    pool: bool = False,
    **options: Any,
) -> list[nn.Module]:
    """Return a convolution and its ReLU as a list of layers.

    `norm` puts batch norm between the two, `pool` a 2x2 max pool behind them. The
    other options, such as padding and stride, are those of nn.Conv2d.
    """
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, **options)]
    if norm:
        layers.append(nn.BatchNorm2d(outputs))
    layers.append(nn.ReLU())
    if pool:
        layers.append(nn.MaxPool2d(2))
    return layers


def head(*widths: int, dropout: float = 0.0) -> list[nn.Module]:
    """Return a list of layers that flatten the maps and end in the logits.

    `widths` are the inputs, the hidden units of each layer and the outputs. ReLU and
    dropout follow every linear layer except the last.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
    # The last linear layer gives the logits: leave out its ReLU and its dropout.
    return layers[:-2]


class Add(nn.Module):
    """a + b as a layer, so that tables and diagrams see where a shortcut ends."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Residual(nn.Module):
    """ReLU(body(x) + shortcut(x)), two 3x3 convolutions in the body (He et al. 2016).

    Maps [B, inputs, H, W] to [B, outputs, H / stride, W / stride], rounded up. Where
    the shape changes, the shortcut is a 1x1 convolution, followed by batch norm if
    `norm`; elsewhere the shortcut is the identity. `dropout` zeroes whole maps between
    the convolutions of the body, and `bias` gives these two a bias. Without `relu` the
    sum is the output.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int = 1,
        dropout: float = 0.0,
        bias: bool = False,
        norm: bool = True,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *conv(inputs, outputs, stride=stride, padding=1, bias=bias, norm=True),
            nn.Dropout2d(dropout),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs) if norm else nn.Identity(),
            )
        self.add = Add()
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.add(self.body(x), self.shortcut(x)))


def residuals(*widths: int, **options: Any) -> list[nn.Module]:
    """Return stages of two residual blocks each, as a list of layers.

    `widths` are the maps before the first stage and after each stage. Every stage but
    the first halves height and width. The options are those of Residual.
    """
    layers: list[nn.Module] = []
    for stage, (inputs, outputs) in enumerate(pairwise(widths)):
        stride = 1 if stage == 0 else 2
        layers.append(Residual(inputs, outputs, stride, **options))
        layers.append(Residual(outputs, outputs, **options))
    return layers


def mlp(dropout: float = 0.0) -> nn.Module:
    """Two hidden layers and no convolution: the baseline that the reports lack."""
    return nn.Sequential(*head(784, 256, 128, 10, dropout=dropout))


def lenet(dropout: float = 0.0) -> nn.Module:
    """LeNet-5 (LeCun et al. 1998) with batch norm, as in report R4.

    The padding stands for the 32x32 images of 1998: without it the third convolution
    would get 4x4 maps, too small for its 5x5 kernel. In training mode a batch needs
    two images or more.
    """
    return nn.Sequential(
        *conv(1, 6, 5, padding=2, norm=True, pool=True),  # [B, 6, 14, 14]
        *conv(6, 16, 5, norm=True, pool=True),  # [B, 16, 5, 5]
        *conv(16, 120, 5, norm=True),  # [B, 120, 1, 1]
        nn.Dropout(dropout),
        *head(120, 84, 10, dropout=dropout),
    )


def alexnet(
    dropout: float = 0.0,
    widths: tuple[int, int, int, int, int] = (64, 192, 384, 256, 256),
    norm: bool = True,
) -> nn.Module:
    """AlexNet (Krizhevsky et al. 2012) with 3x3 kernels and R4's parameter count.

    The network that R4 describes (`alexnet_text`) has another count. These widths, with
    batch norm after the second convolution alone, are the likeliest way to R4's count.
    """
    a, b, c, d, e = widths
    return nn.Sequential(
        *conv(1, a, padding=1, pool=True),  # [B, 64, 14, 14]
        *conv(a, b, padding=1, pool=True, norm=norm),  # [B, 192, 7, 7]
        *conv(b, c, padding=1),
        *conv(c, d, padding=1),
        *conv(d, e, padding=1, pool=True),  # [B, 256, 3, 3]
        *head(2304, 4096, 4096, 10, dropout=dropout),
    )


def alexnet_text(dropout: float = 0.0) -> nn.Module:
    """AlexNet as R4 describes it, with the widths of 2012 and no batch norm."""
    return alexnet(dropout, widths=(96, 256, 384, 384, 256), norm=False)


def vgg11(
    dropout: float = 0.0, depths: tuple[int, int, int, int, int] = (1, 1, 2, 2, 2)
) -> nn.Module:
    """VGG-11 (Simonyan & Zisserman 2014), the network that R4 calls VGG13.

    `depths` counts the convolutions of each block. Pools follow blocks 1 and 3 only:
    the five pools of the paper do not fit 28x28 images, and R4's first linear layer
    expects maps [512, 7, 7].
    """
    layers: list[nn.Module] = []
    inputs = 1
    for block, outputs in enumerate((64, 128, 256, 512, 512)):
        for _ in range(depths[block]):
            layers += conv(inputs, outputs, padding=1)
            inputs = outputs
        if block in (0, 2):
            layers.append(nn.MaxPool2d(2))  # [B, 64, 14, 14], then [B, 256, 7, 7]
    layers += head(25088, 4096, 4096, 10, dropout=dropout)
    return nn.Sequential(*layers)


def vgg13(dropout: float = 0.0) -> nn.Module:
    """VGG-13: VGG-11 with a second convolution in blocks 1 and 2."""
    return vgg11(dropout, depths=(2, 2, 2, 2, 2))


def resnet18(dropout: float = 0.0) -> nn.Module:
    """ResNet-18 (He et al. 2016) with a 3x3 stem for small images, as in R4.

    R4 does not show where its dropout acts; here it acts before the last layer.
    """
    return nn.Sequential(
        *conv(1, 64, padding=1, bias=False, norm=True),  # [B, 64, 28, 28]
        *residuals(64, 64, 128, 256, 512),  # [B, 512, 4, 4]
        nn.AdaptiveAvgPool2d(1),
        nn.Dropout(dropout),
        *head(512, 10),
    )


def wrn16_4(dropout: float = 0.0, shortcut_norm: bool = False) -> nn.Module:
    """Wide ResNet of depth 16 and width 4 (Zagoruyko & Komodakis 2016), as in R4.

    R4 puts the activations behind the convolutions, the paper puts them in front. R4's
    parameter count needs shortcuts without batch norm, although the block that R4
    prints has it: `shortcut_norm` adds it. Dropout acts within the blocks, as in the
    paper and in R4's code.
    """
    return nn.Sequential(
        *conv(1, 16, padding=1, bias=False, norm=True),  # [B, 16, 28, 28]
        *residuals(16, 64, 128, 256, dropout=dropout, norm=shortcut_norm),
        nn.AdaptiveAvgPool2d(1),  # from [B, 256, 7, 7] to [B, 256, 1, 1]
        *head(256, 10),
    )


def small_resnet(dropout: float = 0.0, final_relu: bool = True) -> nn.Module:
    """The residual network of R1 and R5.

    R1 has a ReLU after each addition; R5 has none (`final_relu=False`). R5 defines a
    Dropout2d and never calls it; here dropout acts before the last layer.
    """
    return nn.Sequential(
        *conv(1, 16, 5, pool=True),  # [B, 16, 12, 12]
        Residual(16, 16, bias=True, relu=final_relu),
        *conv(16, 32, 5, pool=True),  # [B, 32, 4, 4]
        Residual(32, 32, bias=True, relu=final_relu),
        nn.Dropout2d(dropout),
        *head(512, 10),
    )


def four_conv(dropout: float = 0.0) -> nn.Module:
    """The network of R2, to which we add the dropout."""
    return nn.Sequential(
        *conv(1, 16, norm=True),  # [B, 16, 26, 26]
        *conv(16, 32, norm=True, pool=True),  # [B, 32, 12, 12]
        *conv(32, 64, norm=True),  # [B, 64, 10, 10]
        *conv(64, 128, norm=True, pool=True),  # [B, 128, 4, 4]
        *head(2048, 1024, 128, 10, dropout=dropout),
    )


def two_conv(dropout: float = 0.0) -> nn.Module:
    """The network of R3 without its final softmax; we add the dropout."""
    return nn.Sequential(
        *conv(1, 64, padding=1, norm=True, pool=True),  # [B, 64, 14, 14]
        *conv(64, 128, padding=1, norm=True, pool=True),  # [B, 128, 7, 7]
        *head(6272, 784, 98, 10, dropout=dropout),
    )


MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "lenet": lenet,
    "alexnet": alexnet,
    "alexnet_text": alexnet_text,
    "vgg11": vgg11,
    "vgg13": vgg13,
    "resnet18": resnet18,
    "wrn16_4": wrn16_4,
    "small_resnet": small_resnet,
    "four_conv": four_conv,
    "two_conv": two_conv,
}


def build_model(name: str, seed: int = 0, **options: Any) -> nn.Module:
    """Return MODELS[name](**options) on the CPU, with weights drawn from `seed`.

    The global random state stays as it was. ValueError for an unknown name or option,
    and if the function returns no network.
    """
    if name not in MODELS:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(MODELS)}")
    signature = inspect.signature(MODELS[name])
    try:
        signature.bind(**options)
    except TypeError as error:
        known = ", ".join(signature.parameters)
        raise ValueError(f"network {name!r} {error}; known: {known}") from None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = MODELS[name](**options)
    if not isinstance(model, nn.Module):
        raise ValueError(f"network {name!r} returns {model!r:.80}, not an nn.Module")
    return model
