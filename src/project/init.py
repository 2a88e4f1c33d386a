"""Initialisation schemes for linear and convolution layers; biases zero, one generator per layer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from project.seeds import generator

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def default(network: nn.Module) -> None:
    """PyTorch's own: leave what the layers' constructors drew."""


def zero(network: nn.Module) -> None:
    """Every weight zero: all neurons of a layer stay the same, so the network learns next to nothing."""
    _fill(network, seed=0, std=lambda fan_in, fan_out: 0.0)


def randn(network: nn.Module, seed: int, scale: float = 1.0) -> None:
    """Weights ~ N(0, scale²), whatever the layer's width."""
    _fill(network, seed, std=lambda fan_in, fan_out: scale)


def xavier(network: nn.Module, seed: int) -> None:
    """Weights ~ N(0, 2 / (fan_in + fan_out)) (Glorot & Bengio 2010): keeps the variance through tanh."""
    _fill(network, seed, std=lambda fan_in, fan_out: (2.0 / (fan_in + fan_out)) ** 0.5)


def he(network: nn.Module, seed: int) -> None:
    """Weights ~ N(0, 2 / fan_in) (He et al. 2015): keeps the variance through ReLU."""
    _fill(network, seed, std=lambda fan_in, fan_out: (2.0 / fan_in) ** 0.5)


@torch.no_grad()
def _fill(network: nn.Module, seed: int, std: Callable[[int, int], float]) -> None:
    """Draw every layer's weight from N(0, std(fan_in, fan_out)²) and zero its bias.

    Each layer draws from a generator made of (seed, layer name): adding a layer changes no other.
    """
    for name, layer in network.named_modules():
        if isinstance(layer, LAYERS):
            fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(layer.weight)
            weight = torch.randn(layer.weight.shape, generator=generator(seed, f"init/{name}"))
            layer.weight.copy_(weight * std(fan_in, fan_out))
            if isinstance(layer.bias, Tensor):
                layer.bias.zero_()
