"""Holds a network, data and a Trainer for the contract tests of the fence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from fitting import plain_trainer


class Net(LightningModule):
    """One number, trained by batches of one number; its learning rate may fall at each step."""

    def __init__(self, schedules: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.schedules = schedules

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch).square().mean()
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/loss", self.layer(batch).square().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        if not self.schedules:
            return optimizer
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class Recorder(Callback):
    """Records in some hooks what a function says of the Trainer."""

    def __init__(self, say: Callable[[Trainer], Any], *hooks: str) -> None:
        self.said: list[Any] = []
        for hook in hooks:
            setattr(self, hook, lambda trainer, *args: self.said.append(say(trainer)))


class Endless(IterableDataset[Tensor]):
    """Batches of which nobody knows how many there are."""

    def __iter__(self) -> Any:
        return iter(torch.ones(4, 1, 1))


def loader(batches: int = 3) -> DataLoader[Tensor]:
    return DataLoader(torch.arange(float(batches)).unsqueeze(1))  # type: ignore[arg-type]


def fit(folder: Path, net: Net | None = None, data: Any = None, **options: Any) -> Trainer:
    """Train for two epochs of three batches, with a validation after each."""
    options = {"steps_per_call": 1, "max_epochs": 2, **options}
    trainer = plain_trainer(folder, **options)
    trainer.fit(net or Net(), loader() if data is None else data, loader(1))
    return trainer


class Sized(LightningDataModule):
    """Makes its loaders by a batch size that a search may set."""

    def __init__(self, samples: int, batch_size: int) -> None:
        super().__init__()
        self.samples, self.batch_size = samples, batch_size

    def train_dataloader(self) -> Any:
        return DataLoader([torch.ones(1)] * self.samples, self.batch_size)

    def val_dataloader(self) -> Any:
        return loader(1)
