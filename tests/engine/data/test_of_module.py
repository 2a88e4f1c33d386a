"""A module that makes its loaders itself hears of them what Lightning alone says."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.utils.data import DataLoader

from engine import LoadersOfModule
from fitting import plain_trainer


class Trains(LightningModule):
    """Has a loader for training only."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.net(batch).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> Any:
        return DataLoader(torch.ones(4, 3), batch_size=2)


class HasData(Trains):
    """Has a loader for validation, and no step."""

    def val_dataloader(self) -> Any:
        return DataLoader(torch.ones(4, 3), batch_size=2)


class HasStep(Trains):
    """Has a step for validation, and no loader."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/sum", batch.sum())


class Validates(HasData, HasStep):
    """Has both."""


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Trains, []),
        (HasData, ["You passed in a `val_dataloader` but have no `validation_step`"]),
        (HasStep, ["You defined a `validation_step` but have no `val_dataloader`"]),
        (Validates, []),
    ],
)
def test_what_is_said_of_a_validation_is_what_lightning_says_without_data(
    kind: type[LightningModule], says: list[str], tmp_path: Path
) -> None:
    """As it happened: each run was told that it passed in a `val_dataloader`, which nobody did."""
    found = []
    for data in (None, LoadersOfModule()):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer = plain_trainer(tmp_path, max_steps=1)
            trainer.fit(kind(), datamodule=data)
        texts = [str(one.message) for one in caught if "val_dataloader" in str(one.message)]
        found.append((texts, trainer.num_val_batches, trainer.global_step))
    assert found[0] == found[1]
    assert [text.partition(".")[0] for text in found[1][0]] == says
