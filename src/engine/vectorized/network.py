"""Runs J networks of one architecture as one.

Parameters are (J, …), inputs and predictions (J, B, …). Each ordinary layer has a rule, which is
faster than `vmap`. Every other layer goes through `vmap`, which raises an error where J of them
cannot be one, such as a layer that draws random numbers.
"""

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.overrides import TorchFunctionMode

from engine.fence.torch import hooks_of
from engine.kept.attributes import may_read

Params = Mapping[str, Tensor]  # names as in the network, (J, …) each
Forward = Callable[[Params, Tensor], Tensor]


def stacked(network: nn.Module) -> Forward:
    """Returns the forward pass of J networks like this one.

    A Sequential goes layer by layer; a layer goes by its rule, or by `vmap`. The pass takes
    parameters (J, …) by name and inputs (J, B, …), and returns predictions (J, B, …).
    """
    steps: list[Forward] = []
    layers = _layers(network)
    while layers:
        images = list(itertools.takewhile(lambda named: _goes_with_images(named[1]), layers))
        if type(layers[0][1]) not in OF_IMAGES:
            images = []
        steps.append(_on_images(images) if images else _named(*layers[0]))
        layers = layers[len(images) or 1 :]

    def forward(params: Params, x: Tensor) -> Tensor:
        for step in steps:
            x = step(params, x)
        return x

    return forward


def _layers(network: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """Returns the layers of nested Sequentials, each after the prefix of its parameters' names."""
    if type(network) is not nn.Sequential or hooks_of(network):
        return [(prefix, network)]
    inner = network.named_modules(remove_duplicate=False)  # named_children() leaves them out
    layers = [(f"{prefix}{name}.", layer) for name, layer in inner if name and "." not in name]
    return [named for name, layer in layers for named in _layers(layer, name)]


def _named(prefix: str, layer: nn.Module) -> Forward:
    rule = _any_layer if hooks_of(layer) else RULES.get(type(layer), _any_layer)
    forward = rule(layer)
    names = {name: f"{prefix}{name}" for name, _ in layer.named_parameters()}
    return lambda params, x: forward({inner: params[name] for inner, name in names.items()}, x)


def stacked_loss(loss: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns a function from predictions (J, B, …) and targets (J, B, …) to J losses: (J,).

    A job's loss is summed or averaged over the job's own samples, as `loss.reduction` says.
    """
    reduction: Any = getattr(loss, "reduction", None)
    weighted = getattr(loss, "weight", None) is not None
    mapped: Callable[[Tensor, Tensor], Tensor] = vmap(loss)
    if type(loss) not in LOSSES or reduction not in ("mean", "sum") or weighted or hooks_of(loss):
        return mapped
    each: Any = copy.copy(loss)
    each.reduction = "none"
    is_entropy = isinstance(loss, nn.CrossEntropyLoss)

    def losses(predictions: Tensor, targets: Tensor) -> Tensor:
        if predictions.shape != targets.shape and not is_entropy:  # the two broadcast in a job
            return mapped(predictions, targets)
        values = each(predictions.flatten(0, 1), targets.flatten(0, 1)).reshape(len(targets), -1)
        total: Tensor = values.sum(1)  # (J,)
        if reduction == "mean":
            counts = is_entropy and not targets.is_floating_point()  # but not ignored targets
            # In uint8, 156 would be -100.
            size = (
                targets.long().ne(each.ignore_index).flatten(1).sum(1)
                if counts
                else values.shape[1]
            )
            total = total / size
        return total

    return losses


class BatchedLinear(torch.autograd.Function):
    """Computes x Wᵀ + b for each job.

    Autograd's own gradient of W would lie in memory transposed, and slow the optimiser.
    """

    # x is (J, N, in), the weight (J, out, in), the bias (J, out).
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
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
    """Returns the forward pass of successive layers for images.

    The channels of all jobs are handled as the channels of one image: (J, B, C, H, W) becomes
    (B, J·C, H, W), and a convolution has J times as many groups.
    """

    def forward(params: Params, x: Tensor) -> Tensor:
        jobs = len(x)
        y = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        for prefix, layer in layers:
            if not isinstance(layer, nn.Conv2d):
                y = layer(y)
                continue
            weight = params[f"{prefix}weight"].flatten(0, 1)
            bias = None if layer.bias is None else params[f"{prefix}bias"].flatten()
            groups = jobs * layer.groups
            y = F.conv2d(y, weight, bias, layer.stride, layer.padding, layer.dilation, groups)
        return y.view(len(y), jobs, -1, *y.shape[2:]).transpose(0, 1)

    return forward


def _per_sample(layer: nn.Module) -> Forward:
    return lambda params, x: layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class EachHasPadding(TorchFunctionMode):
    """Keeps the gradient of padding at zero in each job's embeddings, within this context.

    `vmap` makes one table of all jobs' tables, and keeps the row of padding of the first only.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is F.embedding:
            return _embedding(*args, **(kwargs or {}))
        if function is torch.embedding:
            return _embedding_by_row(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _embedding(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    padding_idx: int | None = None,
    *others: Any,
    **options: Any,
) -> Tensor:
    """Does what `F.embedding` does: rows (…, D) of a table (V, D) for their numbers, (…)."""
    found = F.embedding(input, weight, None, *others, **options)
    if padding_idx is None:
        return found
    pads = input == padding_idx % len(weight)  # -1 is the last row
    return torch.where(pads.unsqueeze(-1), found.detach(), found)


# To `torch.embedding`, -1 is no row.
def _embedding_by_row(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, *others: Any, **options: Any
) -> Tensor:
    found = torch.embedding(weight, indices, -1, *others, **options)
    return torch.where((indices == padding_idx).unsqueeze(-1), found.detach(), found)


def _any_layer(layer: nn.Module) -> Forward:
    # Each operation takes longer within the context.
    kinds: set[Any] = {type(one) for one in layer.modules()}
    pads = any(issubclass(kind, nn.Embedding) or may_read(kind, "embedding") for kind in kinds)

    def run(params: Params, x: Tensor) -> Any:
        with EachHasPadding() if pads else nullcontext():
            return functional_call(layer, dict(params), (x,))

    mapped: Forward = vmap(run)
    return mapped


PER_ELEMENT = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.Identity)
OF_IMAGES = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
RULES: dict[type[nn.Module], Callable[[Any], Forward]] = {
    nn.Linear: _linear,
    nn.Flatten: _per_sample,
    **dict.fromkeys(PER_ELEMENT, lambda layer: lambda params, x: layer(x)),
}
LOSSES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.CrossEntropyLoss)


def _goes_with_images(layer: nn.Module) -> bool:
    padded = isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros"
    return type(layer) in (*OF_IMAGES, *PER_ELEMENT) and not padded and not hooks_of(layer)
