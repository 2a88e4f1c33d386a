"""Defines a deep MLP, to see how initialisation changes its layers."""

from collections import OrderedDict
from typing import Annotated, Literal, Unpack

from annotated_types import Le
from torch import nn

from engine import Count, StepOptions, SupervisedModule, UserError, nearest

Activation = Literal["tanh", "relu", "sigmoid", "gelu"]
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
}


class DeepMLP(SupervisedModule):
    """Predicts y by `depth` hidden layers and a linear output, all without biases.

    x (N, in_features) -> depth × [linear -> activation] (N, width) -> linear -> (N, out_features).
    Squared error averaged over batch and outputs, targets (N, out_features).

    Args:
        activation: "tanh", "relu", "sigmoid" or "gelu".
    """

    def __init__(
        self,
        in_features: Count = 500,
        width: Count = 500,
        depth: Annotated[Count, Le(1000)] = 10,  # each layer is an object
        out_features: Count = 10,
        activation: Activation = "tanh",
        **step: Unpack[StepOptions],
    ) -> None:
        network = deep_network(in_features, width, depth, out_features, activation)
        super().__init__(network, loss=nn.MSELoss(), **step)


def deep_network(
    in_features: int, width: int, depth: int, out_features: int, activation: str
) -> nn.Sequential:
    """Builds the layers `linear1`, `tanh1`, … `linear<depth>`, `tanh<depth>`, `output`.

    Raises:
        UserError: if there is no such activation function; the message lists the known ones.
    """
    make_activation = activation_named(activation)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(1, depth + 1):
        fan_in = in_features if number == 1 else width
        layers[f"linear{number}"] = nn.Linear(fan_in, width, bias=False)  # (N, width)
        layers[f"{activation}{number}"] = make_activation()
    layers["output"] = nn.Linear(width, out_features, bias=False)  # (N, out_features)
    return nn.Sequential(layers)


def activation_named(name: str) -> type[nn.Module]:
    """Returns the class of an activation function.

    Raises:
        UserError: if there is no such activation function; the message lists the known ones.
    """
    if name not in ACTIVATIONS:
        hint = nearest(name, ACTIVATIONS)
        known = ", ".join(ACTIVATIONS)
        raise UserError(
            f"activation={name}: no such activation function.{hint} It is one of: {known}."
        )
    return ACTIVATIONS[name]
