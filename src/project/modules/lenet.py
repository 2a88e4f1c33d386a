"""Defines LeNet-5 for 32×32 colour images."""

from collections import OrderedDict
from typing import Unpack

from torch import nn
from torchmetrics.classification import MulticlassAccuracy

from engine import Count, StepOptions, SupervisedModule


class LeNet5(SupervisedModule):
    """Classifies images by LeNet-5 (LeCun et al. 1998, fig. 2), with ReLU and max-pooling.

    x (N, 3, 32, 32) -> logits (N, num_classes); 62,006 parameters with ten classes.
    Cross-entropy averaged over the batch, targets (N,) int64.
    """

    def __init__(self, num_classes: Count = 10, **step: Unpack[StepOptions]) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=nn.Conv2d(3, 6, kernel_size=5),  # (N, 6, 28, 28)
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),  # (N, 6, 14, 14)
            conv2=nn.Conv2d(6, 16, kernel_size=5),  # (N, 16, 10, 10)
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),  # (N, 16, 5, 5)
            flatten=nn.Flatten(),  # (N, 400)
            linear1=nn.Linear(400, 120),  # (N, 120)
            relu3=nn.ReLU(),
            linear2=nn.Linear(120, 84),  # (N, 84)
            relu4=nn.ReLU(),
            output=nn.Linear(84, num_classes),  # (N, num_classes)
        )
        network = nn.Sequential(layers)
        accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        super().__init__(network, loss=nn.CrossEntropyLoss(), metrics={"acc": accuracy}, **step)
