"""Defines modules and data modules that no experiment has."""

import logging
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from engine.steps.block import Batch, Block
from project.datamodules.parabola import ParabolaDataModule
from project.modules.curve_mlp import CurveMLP
from project.modules.lenet import LeNet5


class WithDropout(CurveMLP):
    """Fits a curve, and draws random numbers at every step."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        layers = list(self.network.named_children())
        layers.insert(1, ("dropout", nn.Dropout(0.5)))
        self.network = nn.Sequential(OrderedDict(layers))


class HooksGradients(CurveMLP):
    """Clips each gradient by a hook on its weight."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for parameter in self.parameters():
            parameter.register_hook(lambda gradient: gradient.clamp(-0.05, 0.05))


class Sharper(nn.Module):
    """Doubles its inputs while the module trains."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x if self.training else x


class WeightedLeNet(LeNet5):
    """Weighs the classes in the loss, and is another network in training than in validation."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.network.append(Sharper())  # type: ignore[operator]
        self.loss = nn.CrossEntropyLoss(weight=torch.linspace(0, 3, 10), ignore_index=4)


class IgnoresFours(LeNet5):
    """Leaves a class out of its loss."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.loss = nn.CrossEntropyLoss(ignore_index=4)


class CentredParabola(ParabolaDataModule):
    """Centres the inputs of a parabola by numbers that differ from seed to seed."""

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        return inputs - self.seed


class ParabolaWithValidation(ParabolaDataModule):
    """Serves a parabola whose validation samples are the training samples."""

    def val_dataloader(self) -> DataLoader[Batch | Block]:
        return self.train_dataloader()


class CannotBeBuilt(CurveMLP):
    """Fails in its constructor."""

    def __init__(self, **options: Any) -> None:
        raise RuntimeError("not today")


class RootOfZero(LeNet5):
    """Has a gradient that is NaN, and a loss that is a number."""

    def compute_loss(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        loss, predictions = super().compute_loss(inputs, targets)
        return loss + 0 * (0 * predictions).sum().sqrt(), predictions


class KnowsSecrets(CurveMLP):
    """Takes secrets, and tells them to whoever listens.

    Args:
        api_key: a secret.
        url: with a password.
        fails: None, or the method that raises an error with both in its text.
        options: of the model.
    """

    def __init__(
        self, api_key: str, url: str = "", fails: str | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.save_hyperparameters("api_key", "url")
        self.secrets = f"api_key is {api_key!r}, url is {url}"
        self.fails = fails
        self.tell("__init__")

    def tell(self, method: str) -> None:
        """Logs the secrets, and raises them if this is the method to fail in."""
        logging.getLogger(__name__).info("in %s, %s", method, self.secrets)
        if self.fails == method:
            raise RuntimeError(self.secrets)

    def on_train_start(self) -> None:
        super().on_train_start()
        self.tell("on_train_start")

    def on_train_end(self) -> None:
        super().on_train_end()
        self.tell("on_train_end")
