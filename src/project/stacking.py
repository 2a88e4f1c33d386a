"""J networks of one architecture as one: parameters (J, …), inputs (J, B, …), predictions (J, B, …).

Ordinary layers have a rule each, which is faster than `vmap`; every other goes through `vmap`, which raises an error
where it cannot know what J of them would do, such as draw random numbers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

Params = Mapping[str, Tensor]  # names as in the network, (J, …) each
Forward = Callable[[Params, Tensor], Tensor]


def stacked(network: nn.Module) -> Forward:
    """The forward pass of J networks like this: Sequentials layer by layer, layers by their rule, the rest by vmap."""
    if type(network) is not nn.Sequential or _is_hooked(network):
        return _rule(network)(network)
    layers = [
        (stacked(layer), {f"{name}.{key}": key for key, _ in layer.named_parameters()})
        for name, layer in network.named_children()
    ]

    def forward(params: Params, x: Tensor) -> Tensor:
        for layer, names in layers:
            x = layer({inner: params[name] for name, inner in names.items()}, x)
        return x

    return forward


def stacked_loss(loss: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Of predictions (J, B, …) and targets (J, B, …) the loss of each job: (J,)."""
    mapped: Callable[[Tensor, Tensor], Tensor] = vmap(loss)
    return mapped


class BatchedLinear(torch.autograd.Function):
    """x Wᵀ + b of each job. Autograd's own gradient of W would lie in memory transposed, and slow the optimiser."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # (J, N, in), (J, out, in), …
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        by = weight.transpose(1, 2)
        return torch.bmm(x, by) if bias is None else torch.baddbmm(bias.unsqueeze(1), x, by)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        (grad,), (x, weight) = grads, ctx.saved_tensors
        grad_x = torch.bmm(grad, weight) if ctx.needs_input_grad[0] else None
        return grad_x, torch.bmm(grad.transpose(1, 2), x), grad.sum(1) if ctx.has_bias else None


def _linear(layer: nn.Linear) -> Forward:
    def forward(params: Params, x: Tensor) -> Tensor:  # (J, B, …, in)
        y: Tensor = BatchedLinear.apply(x.flatten(1, -2), params["weight"], params.get("bias"))
        return y.view(*x.shape[:-1], -1)

    return forward


def _conv2d(layer: nn.Conv2d) -> Forward:
    def forward(params: Params, x: Tensor) -> Tensor:  # (J, B, C, H, W)
        bias = params["bias"].flatten() if "bias" in params else None
        weight, groups = params["weight"].flatten(0, 1), len(x) * layer.groups
        y = F.conv2d(_as_channels(x), weight, bias, layer.stride, layer.padding, layer.dilation, groups)
        return _as_jobs(y, len(x))

    return forward


def _per_channel(layer: nn.Module) -> Forward:
    return lambda params, x: _as_jobs(layer(_as_channels(x)), len(x))


def _per_element(layer: nn.Module) -> Forward:
    return lambda params, x: layer(x)


def _per_sample(layer: nn.Module) -> Forward:
    return lambda params, x: layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _any_layer(layer: nn.Module) -> Forward:
    mapped: Forward = vmap(lambda params, x: functional_call(layer, dict(params), (x,)))
    return mapped


RULES: dict[type[nn.Module], Callable[[Any], Forward]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv2d,
    **dict.fromkeys((nn.MaxPool2d, nn.AvgPool2d), _per_channel),
    **dict.fromkeys((nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.Identity), _per_element),
    nn.Flatten: _per_sample,
}


def _rule(layer: nn.Module) -> Callable[[Any], Forward]:
    padded = isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros"
    if _is_hooked(layer) or padded:
        return _any_layer
    return RULES.get(type(layer), _any_layer)


def _is_hooked(layer: nn.Module) -> bool:
    return bool(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks)


def _as_channels(x: Tensor) -> Tensor:
    """(J, B, C, H, W) -> (B, J·C, H, W), channels last, which is a view but for the first layer."""
    return x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)


def _as_jobs(y: Tensor, jobs: int) -> Tensor:
    """(B, J·C, H, W) -> (J, B, C, H, W)"""
    return y.view(len(y), jobs, -1, *y.shape[2:]).transpose(0, 1)
