"""Defines the two-layer ReLU regressor."""

from collections import OrderedDict
from typing import Unpack

from torch import nn

from engine import Count, StepOptions, SupervisedModule


class TwoLayerRegressor(SupervisedModule):
    """Predicts y by linear -> ReLU -> linear, with biases.

    x (N, in_features) -> (N, out_features). Squared error summed over batch and outputs, targets
    (N, out_features).
    """

    def __init__(
        self,
        in_features: Count = 1000,
        hidden: Count = 100,
        out_features: Count = 10,
        **step: Unpack[StepOptions],
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            linear1=nn.Linear(in_features, hidden),  # (N, hidden)
            relu1=nn.ReLU(),
            output=nn.Linear(hidden, out_features),  # (N, out_features)
        )
        network = nn.Sequential(layers)
        super().__init__(network, loss=nn.MSELoss(reduction="sum"), **step)
