"""What a network costs: its parameters and multiply-adds, layer by layer."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils.flop_counter import FlopCounterMode

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


def count_params(model: nn.Module) -> int:
    """Return the number of weights and biases."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module) -> int:
    """Return the multiply-adds per image of convolutions and matrix products.

    torch's own FlopCounterMode counts them, whether a layer or a function such as
    F.conv2d computes them. One multiply-add is two floating-point operations (FLOPs).
    """
    return sum(row["macs"] for row in layer_table(model))


def layer_table(model: nn.Module) -> list[dict[str, Any]]:
    """Return one row per layer, in the order in which an image passes through them.

    A row holds layer (its name in `model`), kind (its class), output (the shape of its
    first output without the batch, or () if there is no tensor), parameters (their
    number) and macs (multiply-adds per image). Layers that do nothing (Identity, a
    dropout of 0) have no row.

    A container such as Sequential has a row, after those of its layers, only if it has
    parameters or multiply-adds that are not theirs: those of attention, of functions
    such as F.conv2d, or of layers that no image passes through. The parameters of a
    layer that is used twice are in its first row. So the columns add up to
    `count_params` and `count_macs`.
    """
    try:
        # Tensors on the "meta" device have shapes but no values: nothing is computed,
        # and the weights and running averages of `model` stay as they are.
        values = [*model.named_parameters(), *model.named_buffers()]
        meta = {name: value.to("meta") for name, value in values}
        return _trace(
            model, lambda images: functional_call(model, meta, images), "meta"
        )
    except Exception:
        # A network may need values, for an `if` or in a tensor that is no buffer: a
        # copy computes with them. An error of its own is raised again here.
        copied = copy.deepcopy(model)
        device = next((p.device for p in copied.parameters()), torch.device("cpu"))
        # Fused kernels hide their operations from the counter.
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with (
                warnings.catch_warnings(action="ignore"),  # flags() warns of TF32
                torch.backends.mkldnn.flags(enabled=False),
                torch.random.fork_rng(),
            ):
                return _trace(copied, copied, device)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def _trace(
    model: nn.Module, forward: Callable[[Tensor], Any], device: torch.device | str
) -> list[dict[str, Any]]:
    """Return the rows of layer_table, noted while images pass through `model`."""
    names = {layer: name for name, layer in model.named_modules()}
    rows: list[dict[str, Any]] = []
    seen: set[Tensor] = set()  # parameters that a row has counted
    # For each layer that is being computed: the operations before it, and those that
    # rows of the layers in it have counted.
    opened: list[list[int]] = []
    # Batch norm in training mode refuses a single 1x1 map.
    images = torch.zeros(2, 1, 28, 28, device=device)

    def enter(layer: nn.Module, inputs: tuple) -> None:
        opened.append([counter.get_total_flops(), 0])

    def add_row(layer: nn.Module, inputs: tuple, output: Any) -> None:
        before, in_layers = opened.pop()
        operations = counter.get_total_flops() - before
        if opened:
            opened[-1][1] += operations
        # Two operations are one multiply-add.
        macs = (operations - in_layers) // (2 * len(images))
        new = set(layer.parameters()) - seen
        is_container = len(list(layer.children())) > 0
        counts_nothing = is_container and not new and not macs
        if layer not in names or counts_nothing or _does_nothing(layer):
            return
        seen.update(new)
        rows.append(
            {
                "layer": names[layer],
                "kind": type(layer).__name__,
                "output": _shape(layer, output),
                "parameters": sum(parameter.numel() for parameter in new),
                "macs": macs,
            }
        )

    counter = FlopCounterMode(display=False)
    with (
        torch.no_grad(),
        counter,
        register_module_forward_pre_hook(enter),
        register_module_forward_hook(add_row),
    ):
        forward(images)
    return rows


def _shape(layer: nn.Module, output: Any) -> tuple[int, ...]:
    """Return the shape of the first tensor of an output, without the batch."""
    while isinstance(output, tuple | list | dict) and output:
        output = next(iter(output.values() if isinstance(output, dict) else output))
    if not isinstance(output, Tensor):
        return ()
    shape = tuple(output.shape)
    # Recurrent layers and attention have the batch second, unless told otherwise.
    return shape[1:] if getattr(layer, "batch_first", True) else shape[:1] + shape[2:]


def _does_nothing(layer: nn.Module) -> bool:
    is_off = isinstance(layer, DROPOUT) and layer.p == 0
    return is_off or isinstance(layer, nn.Identity)
