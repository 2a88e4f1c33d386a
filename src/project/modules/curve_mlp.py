"""Defines a small MLP that fits a curve."""

from typing import Unpack

from torch import nn

from engine import Count, StepOptions, SupervisedModule


class CurveMLP(SupervisedModule):
    """Predicts y from x by linear -> ReLU -> linear, with biases: x (N, 1) -> (N, 1).

    Squared error averaged over the batch, targets (N, 1).
    """

    def __init__(self, hidden: Count = 10, **step: Unpack[StepOptions]) -> None:
        network = nn.Sequential(
            nn.Linear(1, hidden),  # (N, hidden)
            nn.ReLU(),
            nn.Linear(hidden, 1),  # (N, 1)
        )
        super().__init__(network, loss=nn.MSELoss(), **step)
