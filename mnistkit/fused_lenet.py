"""K LeNets as one network: the arithmetic of `lenet` in another order.

LeNet is too thin for a processor: 6 channels fill no vector register, and its layers
are over before the calls have paid off. Here one matrix product computes a block of
neighbouring outputs, the images of a batch lie side by side in memory, and K networks
share each call.
"""

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from mnistkit.records import Run

EPS, MOMENTUM = 1e-5, 0.1  # of nn.BatchNorm2d


class StandardizedMax(Function):
    """Matrix product, batch norm without scale and shift, max pool: weights
    [K, P C i, R] times columns [K, R, N] give the maxima over P, [K, C, i N], and the
    mean and variance [K, C] of each channel. Values that tie share the gradient."""

    @staticmethod
    def forward(ctx, weights: Tensor, columns: Tensor, p: int, c: int):
        y = torch.bmm(weights, columns).view(len(weights), p, c, -1)
        mean = y.mean((1, 3), keepdim=True)
        y -= mean
        var = y.square().mean((1, 3), keepdim=True)
        scale = (var + EPS).rsqrt()
        top = y.amax(1, keepdim=True)
        ctx.save_for_backward(weights, columns, y, top, scale)
        mean, var = mean[:, 0, :, 0], var[:, 0, :, 0]
        ctx.mark_non_differentiable(mean, var)
        return (top * scale)[:, 0], mean, var

    @staticmethod
    def backward(ctx, grad: Tensor, *_):
        weights, columns, y, top, scale = ctx.saved_tensors
        n = y[0, :, 0].numel()
        grad = grad[:, None] * scale
        shift = grad.sum((1, 3), keepdim=True) / n
        slope = (grad * top).sum((1, 3), keepdim=True) * scale.square() / n
        hits = torch.eq(y, top, out=torch.empty_like(y))  # 1.0 where y is the maximum
        grad /= hits.sum(1, keepdim=True)
        dy = hits.mul_(grad).sub_(shift).addcmul_(y, slope, value=-1)
        dy = dy.view(*weights.shape[:2], -1)
        inner = ctx.needs_input_grad[1]  # not so for images
        d_columns = torch.bmm(weights.transpose(1, 2), dy) if inner else None
        return torch.bmm(dy, columns.transpose(1, 2)), d_columns, None, None


class Windows(Function):
    """All 3x3 windows of [K, C, H, W, B], as columns [K, 9 C, (H - 2) (W - 2) B]."""

    @staticmethod
    def forward(ctx, x: Tensor):
        ctx.shape = x.shape
        windows = x.unfold(2, 3, 1).unfold(3, 3, 1)  # [K, C, H - 2, W - 2, B, 3, 3]
        return windows.permute(0, 1, 5, 6, 2, 3, 4).flatten(4).flatten(1, 3)

    @staticmethod
    def backward(ctx, grad: Tensor):  # autograd's own is three times slower
        k, c, h, w, b = ctx.shape
        grad = grad.view(k, c, 3, 3, h - 2, w - 2, b)
        out = grad.new_zeros(ctx.shape)
        for u, v in product(range(3), repeat=2):
            out[:, :, u : u + h - 2, v : v + w - 2] += grad[:, :, u, v]
        return out


def placement(row: Tensor) -> Tensor:
    """Where the 25 weights of a 5x5 kernel stand in the matrix of a block of outputs:
    one-hot [25, 4, M]. `row` [2, 2, U] is the kernel's row that links output row (a, i)
    to input row u; columns are linked alike. a counts within a pool, i the pools."""
    hit = (row == torch.arange(5).view(5, 1, 1, 1)).float()
    return torch.einsum("kaiu,lbjv->klabijuv", hit, hit).reshape(25, 4, -1)


class FusedLeNet(nn.Module):
    """K networks `lenet` as one: images [B, K, 28, 28], or [B, 1, 28, 28] for all of
    them, to logits [B, K, 10]. `vectors` holds the parameters of each network. A bias
    before batch norm has no effect on the loss; here its gradient is exactly 0."""

    def __init__(self, runs: list[Run]):
        super().__init__()
        self.runs, self.steps = runs, 0
        self.models = [run.build_model() for run in runs]
        vectors = [parameters_to_vector(m.parameters()).detach() for m in self.models]
        self.vectors = nn.ParameterList(vectors)
        self.shapes = [parameter.shape for parameter in self.models[0].parameters()]
        for layer, channels in enumerate((6, 16, 120)):
            self.register_buffer(f"mean{layer}", torch.zeros(len(runs), channels))
            self.register_buffer(f"var{layer}", torch.ones(len(runs), channels))
        # Layer 0 makes 2x2 pools from 8x8 pixels, layer 1 one pool from 3x3 of those
        # groups of 2x2; layer 2 sees a whole image at once.
        a, i = torch.arange(2).view(2, 1, 1), torch.arange(2).view(2, 1)
        self.register_buffer("places0", placement(torch.arange(8) - 2 * i - a))
        self.register_buffer("places1", placement(2 * torch.arange(3) + i - a))
        self.places2 = None

    def forward(self, images: Tensor) -> Tensor:
        self.steps += self.training
        k, sizes = len(self.vectors), [shape.numel() for shape in self.shapes]
        parts = torch.stack(list(self.vectors)).split(sizes, 1)
        p = [part.view(k, *s) for part, s in zip(parts, self.shapes, strict=True)]
        x = F.pad(images.permute(1, 2, 3, 0), (0, 0, 2, 2, 2, 2))  # [K, 32, 32, B]
        x = x.unfold(1, 8, 4).unfold(2, 8, 4)  # [K, 7, 7, B, 8, 8]
        x = x.permute(0, 4, 5, 1, 2, 3).flatten(3).flatten(1, 2)  # [K, 64, 49 B]
        x = self._block(0, x.expand(k, -1, -1), *p[:4])  # [K, 6, 2 2 7 7 B]
        x = Windows.apply(x.view(k, 24, 7, 7, -1))  # [K, 216, 25 B]
        x = self._block(1, x, *p[4:8])  # [K, 16, 5 5 B]
        x = self._block(2, x.view(k, 400, -1), *p[8:12])  # [K, 120, B]
        x = torch.baddbmm(p[13][..., None], p[12], self._drop(x)).relu()
        return torch.baddbmm(p[15][..., None], p[14], self._drop(x)).permute(2, 0, 1)

    def _block(self, layer: int, columns, kernel, bias, gamma, beta) -> Tensor:
        """Convolution, batch norm, max pool, ReLU. The maximum is taken before gamma,
        whose sign therefore goes into the kernel."""
        (k, c), places = gamma.shape, getattr(self, f"places{layer}")
        mean, var = getattr(self, f"mean{layer}"), getattr(self, f"var{layer}")
        sign = torch.where(gamma < 0, -1.0, 1.0)
        scale = sign if self.training else gamma * (var + EPS).rsqrt()
        weights = kernel.flatten(2) * scale[..., None]
        if places is not None:  # [K, C, inputs, 25] -> [K, 4, C, inputs, M]
            weights = weights.view(k, c, -1, 25) @ places.flatten(1)
            weights = weights.unflatten(3, (4, -1)).permute(0, 3, 1, 2, 4)
        weights = weights.reshape(k, -1, columns.shape[1])
        p = 1 if places is None else 4
        if not self.training:
            y = torch.bmm(weights, columns).view(k, p, c, -1).amax(1)
            return y.add_((beta + (bias - mean) * scale)[..., None]).relu_()
        x, batch_mean, batch_var = StandardizedMax.apply(weights, columns, p, c)
        n = p * x.shape[2]
        with torch.no_grad():
            mean.lerp_(batch_mean * sign + bias, MOMENTUM)
            var.lerp_(batch_var * (n / (n - 1)), MOMENTUM)
        return (x * (gamma * sign)[..., None] + beta[..., None]).relu()

    def _drop(self, x: Tensor) -> Tensor:
        """Dropout of [K, C, B], each run with its own rate and generator."""
        if not self.training or not any(run.dropout for run in self.runs):
            return x
        masks = x.new_ones(len(x), x.shape[2], x.shape[1])
        for mask, run, g in zip(masks, self.runs, self.generators, strict=True):
            if run.dropout:
                mask.bernoulli_(1 - run.dropout, generator=g).div_(1 - run.dropout)
        return x * masks.transpose(1, 2)

    def split_up(self) -> list[nn.Module]:
        """The K networks `lenet` with the present weights."""
        for k, model in enumerate(self.models):
            model.to(self.mean0.device)
            vector_to_parameters(self.vectors[k], model.parameters())
            for layer, norm in enumerate((model[1], model[5], model[9])):
                norm.running_mean = getattr(self, f"mean{layer}")[k]
                norm.running_var = getattr(self, f"var{layer}")[k]
                norm.num_batches_tracked.fill_(self.steps)
        return self.models
