"""A deep MLP, to see what initialisation does to its layers."""

from collections import OrderedDict
from typing import Literal, Unpack

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
    """x (N, in_features) -> depth × [linear -> activation] (N, width) -> linear -> (N, out_features), without biases.

    Squared error averaged over batch and outputs, targets (N, out_features).

    Args:
        activation: "tanh", "relu", "sigmoid" or "gelu".
    """

    def __init__(
        self,
        in_features: Count = 500,
        width: Count = 500,
        depth: Count = 10,
        out_features: Count = 10,
        activation: Activation = "tanh",
        **step: Unpack[StepOptions],
    ) -> None:
        network = deep_network(in_features, width, depth, out_features, activation)
        super().__init__(network, loss=nn.MSELoss(), **step)


def deep_network(
    in_features: int, width: int, depth: int, out_features: int, activation: str
) -> nn.Sequential:
    """Layers `linear1`, `tanh1`, … `linear<depth>`, `tanh<depth>`, `output`, without biases.

    Raises:
        UserError: if there is no such activation; it lists those there are.
    """
    made = activation_named(activation)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(1, depth + 1):
        layers[f"linear{number}"] = nn.Linear(
            in_features if number == 1 else width, width, bias=False
        )
        layers[f"{activation}{number}"] = made()  # (N, width)
    layers["output"] = nn.Linear(width, out_features, bias=False)
    return nn.Sequential(layers)


def activation_named(name: str) -> type[nn.Module]:
    """The class of an activation function.

    Raises:
        UserError: if there is none of that name; it lists those there are.
    """
    if name not in ACTIVATIONS:
        hint, known = nearest(name, ACTIVATIONS), ", ".join(ACTIVATIONS)
        raise UserError(
            f"activation={name}: no such activation function.{hint} It is one of: {known}."
        )
    return ACTIVATIONS[name]
