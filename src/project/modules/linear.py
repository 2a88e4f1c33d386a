"""Linear regression."""

from typing import Unpack

from torch import nn

from engine import Count, StepOptions, SupervisedModule


class LinearRegressor(SupervisedModule):
    """y = x wᵀ (+ b): x (N, in_features) -> (N, out_features).

    Squared error summed over batch and outputs, targets (N, out_features).
    """

    def __init__(
        self,
        in_features: Count = 1,
        out_features: Count = 1,
        bias: bool = False,
        **step: Unpack[StepOptions],
    ) -> None:
        super().__init__(
            nn.Linear(in_features, out_features, bias), loss=nn.MSELoss(reduction="sum"), **step
        )
