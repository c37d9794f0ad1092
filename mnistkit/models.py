"""The zoo: eleven networks for images [B, 1, 28, 28] that return logits [B, 10].
To add one, write a function that takes `dropout` and enter it in MODELS."""

import inspect
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.module import register_module_forward_hook


def conv(inputs, outputs, kernel=3, *, norm=False, pool=False, **options) -> list:
    """Convolution, batch norm if `norm`, ReLU, 2x2 max pool if `pool`: a list."""
    layers = [nn.Conv2d(inputs, outputs, kernel, **options)]
    layers += [nn.BatchNorm2d(outputs)] if norm else []
    layers += [nn.ReLU()]
    layers += [nn.MaxPool2d(2)] if pool else []
    return layers


def head(*widths, dropout=0.0) -> list:
    """Flatten, linear layers with ReLU between, dropout on the hidden units: a list."""
    layers = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
    return layers[:-2]  # the last layer gives the logits


class Add(nn.Module):
    """a + b, as a layer so that tables and diagrams see where a shortcut ends."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Residual(nn.Module):
    """ReLU(body(x) + shortcut(x)), two 3x3 convolutions in the body (R4-13).
    [B, inputs, H, W] -> [B, outputs, H / stride, W / stride], rounded up. `dropout`
    zeroes whole maps in the body, `bias` is that of its convolutions (R4-14). Where the
    shape changes, the shortcut is a 1x1 convolution, with batch norm if `norm`; else it
    is the identity. `relu` is the one after the addition."""

    def __init__(
        self, inputs, outputs, stride=1, dropout=0.0, bias=False, norm=True, relu=True
    ):
        super().__init__()
        self.body = nn.Sequential(
            *conv(inputs, outputs, stride=stride, padding=1, bias=bias, norm=True),
            nn.Dropout2d(dropout),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            reshape = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            batch_norm = nn.BatchNorm2d(outputs) if norm else nn.Identity()
            self.shortcut = nn.Sequential(reshape, batch_norm)
        self.add = Add()
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.add(self.body(x), self.shortcut(x)))


def residuals(*widths, **options) -> list:
    """Stages of two blocks; each stage after the first halves the maps: a list."""
    layers = []
    for stage, (inputs, outputs) in enumerate(pairwise(widths)):
        layers.append(Residual(inputs, outputs, 2 if stage else 1, **options))
        layers.append(Residual(outputs, outputs, **options))
    return layers


def mlp(dropout=0.0) -> nn.Module:
    """Ours: the baseline without convolutions that R2 lacks (R2-E17)."""
    return nn.Sequential(*head(784, 256, 128, 10, dropout=dropout))


def lenet(dropout=0.0) -> nn.Module:
    """LeNet-5 with batch norm (LeCun et al. 1998; R4-05). The padding stands for
    the 32x32 images of 1998: without it the third convolution gets 4x4 maps and fails
    (R4-E1). In training mode a batch needs two images or more."""
    return nn.Sequential(
        *conv(1, 6, 5, padding=2, norm=True, pool=True),  # [B, 6, 14, 14]
        *conv(6, 16, 5, norm=True, pool=True),  # [B, 16, 5, 5]
        *conv(16, 120, 5, norm=True),  # [B, 120, 1, 1]
        nn.Dropout(dropout),
        *head(120, 84, 10, dropout=dropout),
    )


def alexnet(dropout=0.0, widths=(64, 192, 384, 256, 256), norm=True) -> nn.Module:
    """AlexNet (Krizhevsky et al. 2012), all kernels 3x3, with R4-26's parameter count.
    R4's text gives another count (`alexnet_text`). These widths, with batch norm after
    the second convolution alone, are the likeliest reading of the number (R4-E2)."""
    a, b, c, d, e = widths
    return nn.Sequential(
        *conv(1, a, padding=1, pool=True),  # [B, 64, 14, 14]
        *conv(a, b, padding=1, pool=True, norm=norm),  # [B, 192, 7, 7]
        *conv(b, c, padding=1),
        *conv(c, d, padding=1),
        *conv(d, e, padding=1, pool=True),  # [B, 256, 3, 3]
        *head(2304, 4096, 4096, 10, dropout=dropout),
    )


def alexnet_text(dropout=0.0) -> nn.Module:
    """AlexNet as R4 describes it, with the widths of 2012 (R4-09, R4-10, R4-E2)."""
    return alexnet(dropout, widths=(96, 256, 384, 384, 256), norm=False)


def vgg11(dropout=0.0, depths=(1, 1, 2, 2, 2)) -> nn.Module:
    """VGG-11 (Simonyan & Zisserman 2014), which R4 calls VGG13 (R4-E3). Pools only
    after blocks 1 and 3: the paper's five do not fit 28x28 images, and R4's first
    linear layer expects 512x7x7. `depths` counts the convolutions of each block."""
    layers, inputs = [], 1
    for block, outputs in enumerate((64, 128, 256, 512, 512)):
        for _ in range(depths[block]):
            layers += conv(inputs, outputs, padding=1)
            inputs = outputs
        if block in (0, 2):
            layers.append(nn.MaxPool2d(2))  # [B, 64, 14, 14], then [B, 256, 7, 7]
    layers += head(25088, 4096, 4096, 10, dropout=dropout)
    return nn.Sequential(*layers)


def vgg13(dropout=0.0) -> nn.Module:
    """VGG-13: a second convolution in blocks 1 and 2 (R4-16, R4-E3)."""
    return vgg11(dropout, depths=(2, 2, 2, 2, 2))


def resnet18(dropout=0.0) -> nn.Module:
    """ResNet-18 (He et al. 2016) with a 3x3 stem for small images (R4-13). R4 never
    shows where dropout acts; here it is before the last layer (R4-E16)."""
    return nn.Sequential(
        *conv(1, 64, padding=1, bias=False, norm=True),  # [B, 64, 28, 28]
        *residuals(64, 64, 128, 256, 512),
        nn.AdaptiveAvgPool2d(1),  # of [B, 512, 4, 4]
        nn.Dropout(dropout),
        *head(512, 10),
    )


def wrn16_4(dropout=0.0, shortcut_norm=False) -> nn.Module:
    """Wide ResNet, depth 16, width 4 (Zagoruyko & Komodakis 2016; R4-20). R4 puts
    the activations after the convolutions, unlike the paper. Its count needs shortcuts
    without batch norm, though its printed block has it (R4-E4). Dropout acts within the
    blocks, as in the paper and in R4's code (R4-E13)."""
    return nn.Sequential(
        *conv(1, 16, padding=1, bias=False, norm=True),  # [B, 16, 28, 28]
        *residuals(16, 64, 128, 256, dropout=dropout, norm=shortcut_norm),
        nn.AdaptiveAvgPool2d(1),  # of [B, 256, 7, 7]
        *head(256, 10),
    )


def small_resnet(dropout=0.0, final_relu=True) -> nn.Module:
    """The network of R1 and R5 (R1-10, R5-19). R1 has a ReLU after the addition, R5
    has none: final_relu=False (R1-E3, R5-E5). R5 defines its Dropout2d and never calls
    it (R5-E6); here it is before the last layer."""
    return nn.Sequential(
        *conv(1, 16, 5, pool=True),  # [B, 16, 12, 12]
        Residual(16, 16, bias=True, relu=final_relu),
        *conv(16, 32, 5, pool=True),  # [B, 32, 4, 4]
        Residual(32, 32, bias=True, relu=final_relu),
        nn.Dropout2d(dropout),
        *head(512, 10),
    )


def four_conv(dropout=0.0) -> nn.Module:
    """R2's network (R2-12); the dropout is ours."""
    return nn.Sequential(
        *conv(1, 16, norm=True),  # [B, 16, 26, 26]
        *conv(16, 32, norm=True, pool=True),  # [B, 32, 12, 12]
        *conv(32, 64, norm=True),  # [B, 64, 10, 10]
        *conv(64, 128, norm=True, pool=True),  # [B, 128, 4, 4]
        *head(2048, 1024, 128, 10, dropout=dropout),
    )


def two_conv(dropout=0.0) -> nn.Module:
    """R3's network (R3-19) without its softmax (R3-E1); the dropout is ours."""
    return nn.Sequential(
        *conv(1, 64, padding=1, norm=True, pool=True),  # [B, 64, 14, 14]
        *conv(64, 128, padding=1, norm=True, pool=True),  # [B, 128, 7, 7]
        *head(6272, 784, 98, 10, dropout=dropout),
    )


MODELS: dict[str, Callable[..., nn.Module]] = {
    network.__name__: network
    for network in (mlp, lenet, alexnet, alexnet_text, vgg11, vgg13, resnet18)
    + (wrn16_4, small_resnet, four_conv, two_conv)
}


def build_model(name: str, seed: int = 0, **options) -> nn.Module:
    """The network MODELS[name](**options), its weights drawn from `seed` on the CPU.
    The global random state stays as it was. ValueError for unknown names or options."""
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
        return MODELS[name](**options)


def count_params(model: nn.Module) -> int:
    """The number of weights and biases."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module) -> int:
    """Multiply-adds per image, of Conv2d and Linear layers only; FLOPs are twice."""
    return sum(row["macs"] for row in layer_table(model))


def layer_table(model: nn.Module) -> list[dict]:
    """A row per leaf layer in the order of execution: layer (its name in `model`), kind
    (its class), output (shape without the batch), parameters, macs. Layers that do
    nothing (Identity, a dropout of 0) and functions such as F.relu have no row."""
    names = {layer: name for name, layer in model.named_modules()}
    rows = []

    def note(layer, inputs, output):
        idle = isinstance(layer, nn.Identity) or getattr(layer, "p", None) == 0
        if layer not in names or idle or list(layer.children()):
            return
        weighted = isinstance(layer, nn.Conv2d | nn.Linear)
        row = {"layer": names[layer], "kind": type(layer).__name__}
        row |= {"output": tuple(output.shape[1:]), "parameters": count_params(layer)}
        row["macs"] = output[0].numel() * layer.weight[0].numel() if weighted else 0
        rows.append(row)

    # Meta tensors have shapes and no values: nothing is computed, the model stays as it
    # is. Two images, because batch norm in training mode refuses a single 1x1 map.
    values = [*model.named_parameters(), *model.named_buffers()]
    meta = {name: value.to("meta") for name, value in values}
    with torch.no_grad(), register_module_forward_hook(note):
        functional_call(model, meta, torch.zeros(2, 1, 28, 28, device="meta"))
    return rows
