"""Defines a small MLP that classifies rows of a table."""

from collections import OrderedDict
from typing import Annotated, Unpack

from annotated_types import Le
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

from engine import Count, Fraction, StepOptions, SupervisedModule


class TabularMLP(SupervisedModule):
    """Classifies rows by `depth` hidden layers with dropout, and a linear output.

    x (N, in_features) -> depth × [linear -> ReLU -> dropout] (N, width) -> linear -> logits
    (N, num_classes). Cross-entropy averaged over the batch, targets (N,) int64.

    Args:
        in_features: columns of x, which have a mean near 0 and a standard deviation near 1.
        num_classes: classes of the data.
        width: neurons of each hidden layer.
        depth: number of hidden layers.
        dropout: share of the neurons that a training step sets to zero.
        step: options of `SupervisedModule`.
    """

    def __init__(
        self,
        in_features: Count = 30,
        num_classes: Count = 2,
        width: Count = 32,
        depth: Annotated[Count, Le(1000)] = 2,  # each layer is an object
        dropout: Fraction = 0.1,
        **step: Unpack[StepOptions],
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number in range(1, depth + 1):
            fan_in = in_features if number == 1 else width
            layers[f"linear{number}"] = nn.Linear(fan_in, width)  # (N, width)
            layers[f"relu{number}"] = nn.ReLU()
            layers[f"dropout{number}"] = nn.Dropout(dropout)
        layers["output"] = nn.Linear(width, num_classes)  # (N, num_classes)
        network = nn.Sequential(layers)
        accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        super().__init__(network, loss=nn.CrossEntropyLoss(), metrics={"acc": accuracy}, **step)
