"""J networks of one architecture as one: parameters (J, …), inputs (J, B, …), predictions (J, B, …).

Ordinary layers have a rule each, which is faster than `vmap`; every other goes through `vmap`, which raises an error
where it cannot know what J of them would do, such as draw random numbers.
"""

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from engine.fence.torch import hooks_of

Params = Mapping[str, Tensor]  # names as in the network, (J, …) each
Forward = Callable[[Params, Tensor], Tensor]


def stacked(network: nn.Module) -> Forward:
    """The forward pass of J networks like this: Sequentials layer by layer, layers by their rule, the rest by vmap."""
    steps: list[Forward] = []
    layers = _layers(network)
    while layers:
        images = list(itertools.takewhile(lambda named: _goes_with_images(named[1]), layers))
        if images and type(images[0][1]) in OF_IMAGES:
            steps.append(_on_images(images))
        else:
            images = []
            steps.append(_named(*layers[0]))
        layers = layers[len(images) or 1 :]

    def forward(params: Params, x: Tensor) -> Tensor:
        for step in steps:
            x = step(params, x)
        return x

    return forward


def _layers(network: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """The layers of Sequentials within Sequentials, by the beginnings of their parameters' names."""
    if type(network) is not nn.Sequential or hooks_of(network):
        return [(prefix, network)]
    inner = network.named_modules(remove_duplicate=False)  # named_children() leaves them out
    layers = [(f"{prefix}{name}.", layer) for name, layer in inner if name and "." not in name]
    return [named for name, layer in layers for named in _layers(layer, name)]


def _named(prefix: str, layer: nn.Module) -> Forward:
    forward, names = (
        _rule(layer)(layer),
        {name: f"{prefix}{name}" for name, _ in layer.named_parameters()},
    )
    return lambda params, x: forward({inner: params[name] for inner, name in names.items()}, x)


def stacked_loss(loss: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Of predictions (J, B, …) and targets (J, B, …) the loss of each job: (J,)."""
    reduction: Any = getattr(loss, "reduction", None)
    weighted = getattr(loss, "weight", None) is not None
    mapped: Callable[[Tensor, Tensor], Tensor] = vmap(loss)
    if type(loss) not in LOSSES or reduction not in ("mean", "sum") or weighted or hooks_of(loss):
        return mapped
    each: Any = copy.copy(loss)
    each.reduction = "none"

    def losses(predictions: Tensor, targets: Tensor) -> Tensor:
        if predictions.shape != targets.shape and not isinstance(
            loss, nn.CrossEntropyLoss
        ):  # they broadcast
            return mapped(predictions, targets)
        values = each(predictions.flatten(0, 1), targets.flatten(0, 1)).reshape(len(targets), -1)
        total: Tensor = values.sum(1)
        if reduction == "mean":
            counts = isinstance(loss, nn.CrossEntropyLoss) and not targets.is_floating_point()
            total = total / (
                targets.ne(each.ignore_index).flatten(1).sum(1) if counts else values.shape[1]
            )
        return total

    return losses


class BatchedLinear(torch.autograd.Function):
    """x Wᵀ + b of each job. Autograd's own gradient of W would lie in memory transposed, and slow the optimiser."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:  # (J, N, in), (J, out, in), …
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


def _on_images(layers: Sequence[tuple[str, nn.Module]]) -> Forward:
    """Layers for images (J, B, C, H, W) one after another, with all jobs' channels as those of one: (B, J·C, H, W)."""
    named = [
        (layer, {name: f"{prefix}{name}" for name, _ in layer.named_parameters()})
        for prefix, layer in layers
    ]

    def forward(params: Params, x: Tensor) -> Tensor:
        jobs = len(x)
        y = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        for layer, names in named:
            if isinstance(layer, nn.Conv2d):
                y = _conv2d(
                    layer,
                    {inner: params[name].flatten(0, 1) for inner, name in names.items()},
                    y,
                    jobs,
                )
            else:
                y = layer(y)
        return y.view(len(y), jobs, -1, *y.shape[2:]).transpose(0, 1)

    return forward


def _conv2d(layer: nn.Conv2d, params: Params, x: Tensor, jobs: int) -> Tensor:
    groups = jobs * layer.groups
    return F.conv2d(
        x, params["weight"], params.get("bias"), layer.stride, layer.padding, layer.dilation, groups
    )


def _per_element(layer: nn.Module) -> Forward:
    return lambda params, x: layer(x)


def _per_sample(layer: nn.Module) -> Forward:
    return lambda params, x: layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _any_layer(layer: nn.Module) -> Forward:
    mapped: Forward = vmap(lambda params, x: functional_call(layer, dict(params), (x,)))
    return mapped


PER_ELEMENT = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.Identity)
OF_IMAGES = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
RULES: dict[type[nn.Module], Callable[[Any], Forward]] = {
    nn.Linear: _linear, **dict.fromkeys(PER_ELEMENT, _per_element), nn.Flatten: _per_sample,
}  # fmt: skip
LOSSES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.CrossEntropyLoss)


def _rule(layer: nn.Module) -> Callable[[Any], Forward]:
    return _any_layer if hooks_of(layer) else RULES.get(type(layer), _any_layer)


def _goes_with_images(layer: nn.Module) -> bool:
    padded = isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros"
    return type(layer) in (*OF_IMAGES, *PER_ELEMENT) and not padded and not hooks_of(layer)
