"""Defines linear regression."""

from typing import Unpack

from torch import nn

from engine import Count, StepOptions, SupervisedModule


class LinearRegressor(SupervisedModule):
    """Predicts y = x wᵀ, or x wᵀ + b with `bias`: x (N, in_features) -> (N, out_features).

    Squared error summed over batch and outputs, targets (N, out_features).
    """

    def __init__(
        self,
        in_features: Count = 1,
        out_features: Count = 1,
        bias: bool = False,
        **step: Unpack[StepOptions],
    ) -> None:
        network = nn.Linear(in_features, out_features, bias)
        super().__init__(network, loss=nn.MSELoss(reduction="sum"), **step)
