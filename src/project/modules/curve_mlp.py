"""A small MLP that fits a curve."""

from typing import Unpack

from torch import nn

from engine import Count, StepOptions, SupervisedModule


class CurveMLP(SupervisedModule):
    """x (N, 1) -> linear -> ReLU -> linear -> (N, 1); mean squared error, targets (N, 1)."""

    def __init__(self, hidden: Count = 10, **step: Unpack[StepOptions]) -> None:
        network = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        super().__init__(network, loss=nn.MSELoss(), **step)
