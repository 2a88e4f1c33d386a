"""Defines a small MLP that fits a curve."""

from collections import OrderedDict
from typing import Unpack

from torch import nn

from engine import Count, StepOptions, SupervisedModule


class CurveMLP(SupervisedModule):
    """Predicts y from x by linear -> ReLU -> linear, with biases: x (N, 1) -> (N, 1).

    Squared error averaged over the batch, targets (N, 1).
    """

    def __init__(self, hidden: Count = 10, **step: Unpack[StepOptions]) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            linear1=nn.Linear(1, hidden),  # (N, hidden)
            relu1=nn.ReLU(),
            output=nn.Linear(hidden, 1),  # (N, 1)
        )
        network = nn.Sequential(layers)
        super().__init__(network, loss=nn.MSELoss(), **step)
