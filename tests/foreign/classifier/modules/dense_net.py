"""A small network of dense layers."""

import torch
from torch import nn


class DenseNet(nn.Module):
    """Three dense layers with batch norm and dropout.

    Args:
        pixels: numbers of an image.
        width: neurons of a hidden layer.
        classes: numbers of the output.
    """

    def __init__(self, pixels: int = 64, width: int = 32, classes: int = 4) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(pixels, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x.flatten(1))
