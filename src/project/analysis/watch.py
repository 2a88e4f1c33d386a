"""What goes forward and back through a network's activation functions."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

NONLINEAR = (nn.Tanh, nn.ReLU, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU)


@contextmanager
def watched(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The outputs of all activation functions in a forward pass inside, by layer.

    After a backward pass inside, each has in its `grad` what came back to it: the gradient of the loss by that output.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if output.requires_grad:
                output.retain_grad()
            outputs[name] = output

        return hook

    layers = [
        (name, layer) for name, layer in network.named_modules() if isinstance(layer, NONLINEAR)
    ]
    handles = [layer.register_forward_hook(keep(name)) for name, layer in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
