"""Fills linear and convolution layers by an initialisation scheme; biases become zero."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from engine import NotNegative, Positive, UserError, generator, leaves_all, nearest

# The values of `torch.nn.init.calculate_gain`, by its words.
GAINS = {"linear": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2)}
Gain = Positive | Literal["linear", "tanh", "relu"]
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@leaves_all
def default(network: nn.Module, seed: int = 0) -> None:
    """Leaves what the layers' constructors drew: PyTorch's own initialisation."""


def zero(network: nn.Module, seed: int = 0) -> None:
    """Makes every weight zero.

    All neurons of a layer then stay the same, so the network learns next to nothing.
    """
    _fill(network, seed, std=lambda fan_in, fan_out: 0.0)


def randn(network: nn.Module, seed: int, scale: NotNegative = 1.0) -> None:
    """Draws weights ~ N(0, scale²), whatever the layer's width."""
    _fill(network, seed, std=lambda fan_in, fan_out: scale)


def xavier(network: nn.Module, seed: int, gain: Gain = "linear") -> None:
    """Draws weights ~ N(0, gain² · 2 / (fan_in + fan_out)) (Glorot & Bengio 2010).

    The variance is a compromise: fan_in alone would keep the activations' variance from layer to
    layer, fan_out alone the gradients'.

    Args:
        gain: a number, or a word for the gain of an activation function: linear 1, tanh 5/3,
            relu √2.
    """
    factor = _gain(gain)
    _fill(network, seed, std=lambda fan_in, fan_out: factor * math.sqrt(2 / (fan_in + fan_out)))


def he(network: nn.Module, seed: int, gain: Gain = "relu") -> None:
    """Draws weights ~ N(0, gain² / fan_in) (He et al. 2015).

    With ReLU and its gain √2, the mean square of the activations stays the same from layer to
    layer.

    Args:
        gain: as for `xavier`.
    """
    factor = _gain(gain)
    _fill(network, seed, std=lambda fan_in, fan_out: factor / math.sqrt(fan_in))


SCHEMES: dict[str, Callable[..., None]] = {
    "default": default,
    "zero": zero,
    "randn": randn,
    "xavier": xavier,
    "he": he,
}


def scheme(name: str, **options: float | str) -> Callable[..., None]:
    """Returns the scheme of that name, a function of (network, seed).

    Raises:
        UserError: if there is no such scheme, or the scheme has no such option; the message lists
            the known ones.
    """
    if name not in SCHEMES:
        hint = nearest(name, SCHEMES)
        known = ", ".join(SCHEMES)
        raise UserError(f"scheme {name}: no such initialisation.{hint} It is one of: {known}.")
    parameters = inspect.signature(SCHEMES[name]).parameters
    takes = [option for option in parameters if option in ("scale", "gain")]
    for option, value in options.items():
        if option not in takes:
            known = ", ".join(takes) or "none"
            raise UserError(f"scheme {name}: has no {option}; its options: {known}.")
        if not isinstance(value, int | float) and not (option == "gain" and value in GAINS):
            words = f", or one of: {', '.join(GAINS)}" if option == "gain" else ""
            raise UserError(f"scheme {name}: {option}={value}: must be a number{words}.")
    return partial(SCHEMES[name], **options)


def fans(layer: nn.Module) -> tuple[int, int]:
    """Returns (fan_in, fan_out) of a layer.

    fan_in is the number of inputs that one output is a sum of. fan_out is the number of outputs
    that one input is part of. Of a convolution, both are counted for a stride of 1 and away from
    the borders, as Glorot & Bengio (2010) and He et al. (2015) do.
    """
    outputs, inputs, *kernel = cast(Tensor, layer.weight).shape
    groups: int = getattr(layer, "groups", 1)
    return inputs * math.prod(kernel), outputs // groups * math.prod(kernel)


def _gain(gain: Gain) -> float:
    return GAINS[gain] if isinstance(gain, str) else gain


@torch.no_grad()
def _fill(network: nn.Module, seed: int, std: Callable[[int, int], float]) -> None:
    """Draws every layer's weight from N(0, std(fan_in, fan_out)²), and makes its bias zero.

    Each layer draws from a generator made of (seed, layer name). So a new layer does not change
    the weights of the others.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, LAYERS):
            weight = torch.randn(layer.weight.shape, generator=generator(seed, f"init/{name}"))
            layer.weight.copy_(weight * std(*fans(layer)))
            if isinstance(layer.bias, Tensor):
                layer.bias.zero_()
