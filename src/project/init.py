"""Initialisation schemes for linear and convolution layers; biases zero, one generator per layer."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from engine import NotNegative, Positive, UserError, generator, nearest

GAINS = ("linear", "tanh", "relu")  # words for gains
Gain = Positive | Literal["linear", "tanh", "relu"]
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def default(network: nn.Module, seed: int = 0) -> None:
    """PyTorch's own: leave what the layers' constructors drew."""


def zero(network: nn.Module, seed: int = 0) -> None:
    """Every weight zero: all neurons of a layer stay the same, so the network learns next to nothing."""
    _fill(network, seed, std=lambda fan_in, fan_out: 0.0)


def randn(network: nn.Module, seed: int, scale: NotNegative = 1.0) -> None:
    """Weights ~ N(0, scale²), whatever the layer's width."""
    _fill(network, seed, std=lambda fan_in, fan_out: scale)


def xavier(network: nn.Module, seed: int, gain: Gain = "linear") -> None:
    """Weights ~ N(0, gain² · 2 / (fan_in + fan_out)) (Glorot & Bengio 2010): a compromise between both directions.

    Args:
        gain: a number, or a word for that of `torch.nn.init.calculate_gain`: linear 1, tanh 5/3, relu √2.
    """
    factor = _gain(gain)
    _fill(network, seed, std=lambda fan_in, fan_out: factor * math.sqrt(2 / (fan_in + fan_out)))


def he(network: nn.Module, seed: int, gain: Gain = "relu") -> None:
    """Weights ~ N(0, gain² / fan_in) (He et al. 2015), gain √2 for ReLU: keeps the variance of what goes forward.

    Args:
        gain: as for `xavier`.
    """
    factor = _gain(gain)
    _fill(network, seed, std=lambda fan_in, fan_out: factor / math.sqrt(fan_in))


SCHEMES: dict[str, Callable[..., None]] = {
    "default": default, "zero": zero, "randn": randn, "xavier": xavier, "he": he
}  # fmt: skip


def scheme(name: str, **options: float | str) -> Callable[..., None]:
    """The scheme of that name, to be called with (network, seed).

    Raises:
        UserError: if there is none, or it has no such option; it lists those there are.
    """
    if name not in SCHEMES:
        hint, known = nearest(name, SCHEMES), ", ".join(SCHEMES)
        raise UserError(f"scheme {name}: no such initialisation.{hint} It is one of: {known}.")
    takes = [
        option
        for option in inspect.signature(SCHEMES[name]).parameters
        if option in ("scale", "gain")
    ]
    for option, value in options.items():
        if option not in takes:
            raise UserError(
                f"scheme {name}: has no {option}; its options: {', '.join(takes) or 'none'}."
            )
        if not isinstance(value, int | float) and not (option == "gain" and value in GAINS):
            words = f", or one of: {', '.join(GAINS)}" if option == "gain" else ""
            raise UserError(f"scheme {name}: {option}={value}: must be a number{words}.")
    return partial(SCHEMES[name], **options)


def fans(layer: nn.Module) -> tuple[int, int]:
    """(fan_in, fan_out): how many inputs one output is a sum of, and how many outputs one input is part of.

    Of a convolution that moves in steps of 1, away from the borders, where Glorot & Bengio and He et al. count them.
    """
    weight: Tensor = layer.weight  # type: ignore[assignment]
    outputs, inputs, *kernel = weight.shape
    groups: int = getattr(layer, "groups", 1)
    return inputs * math.prod(kernel), outputs // groups * math.prod(kernel)


def _gain(gain: Gain) -> float:
    return nn.init.calculate_gain(gain) if isinstance(gain, str) else gain  # type: ignore[arg-type]


@torch.no_grad()
def _fill(network: nn.Module, seed: int, std: Callable[[int, int], float]) -> None:
    """Draw every layer's weight from N(0, std(fan_in, fan_out)²) and zero its bias.

    Each layer draws from a generator made of (seed, layer name): adding a layer changes no other.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, LAYERS):
            weight = torch.randn(layer.weight.shape, generator=generator(seed, f"init/{name}"))
            layer.weight.copy_(weight * std(*fans(layer)))
            if isinstance(layer.bias, Tensor):
                layer.bias.zero_()
