"""A LightningDataModule of small images of bars, for a GAN to learn."""

from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset, random_split


class Bars(LightningDataModule):
    """Serves images (1, 8, 8) with a bright bar in the upper half.

    Args:
        batch_size: of each loader.
        num_workers: processes of each loader.
    """

    def __init__(self, batch_size: int = 32, num_workers: int = 0) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.dims = (1, 8, 8)

    def setup(self, stage: str | None = None) -> None:
        numbers = torch.Generator().manual_seed(0)
        images = 0.2 * torch.randn(200, *self.dims, generator=numbers) - 0.5
        images[:, :, 1:3] += 1.0
        data = TensorDataset(images.clamp(-1, 1), torch.zeros(200))
        self.train, self.val = random_split(
            data, [160, 40], generator=torch.Generator().manual_seed(1)
        )

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(
            self.train, batch_size=self.batch_size, shuffle=True, num_workers=self.num_workers
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.val, batch_size=self.batch_size, num_workers=self.num_workers)
