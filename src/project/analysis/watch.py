"""Watches what goes forward and back through a network's activation functions."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

NONLINEAR = (nn.Tanh, nn.ReLU, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU)


def layers(network: nn.Module) -> dict[str, nn.Module]:
    """Returns the activation functions that a network has as layers, by name."""
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, NONLINEAR)}


@contextmanager
def watched(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Gives the outputs of all activation functions, by layer: filled by a forward pass inside.

    A layer that is used again has its second output as `<layer>.2`, and so on. After a backward
    pass inside, the `grad` of each output is the gradient of the loss by that output. Checkpoints
    of activations compute outputs once more in the backward pass: with `use_reentrant=True` these
    replace the first ones, which have no gradient, and else they look like another use.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str, layer: nn.Module, inputs: object, output: Tensor) -> Tensor:
        # Autograd keeps the gradients of parameters only, unless it is asked for more.
        if output.requires_grad:
            output.retain_grad()
        uses = (
            use
            for number in itertools.count(1)
            if (use := f"{name}.{number}".removesuffix(".1")) not in outputs
            # The backward pass computes once more what the forward pass kept no graph of.
            or (output.requires_grad > outputs[use].requires_grad and output.equal(outputs[use]))
        )
        outputs[next(uses)] = output
        return output.clone()  # which what follows may change in place

    handles = [
        layer.register_forward_hook(partial(keep, name)) for name, layer in layers(network).items()
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
