"""A LightningDataModule of small images that are made offline."""

from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split


def make_images(number: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns images (N, 1, 8, 8) and classes (N): a bright bar, at one of four places."""
    numbers = torch.Generator().manual_seed(seed)
    targets = torch.randint(4, (number,), generator=numbers)
    images = torch.randn(number, 1, 8, 8, generator=numbers)
    for image, target in zip(images, targets, strict=True):
        image[0, 2 * target : 2 * target + 2] += 1.0
    return images, targets


class TinyImages(LightningDataModule):
    """Serves the images by ordinary DataLoaders.

    Args:
        data_dir: where the images lie; they are made if they are missing.
        train_val_test_split: images of each split.
        batch_size: of each loader, over all devices together.
        num_workers: processes of each loader.
        pin_memory: whether batches are put into memory that a GPU reads fast.
    """

    def __init__(
        self,
        data_dir: str = "data/",
        train_val_test_split: tuple[int, int, int] = (160, 40, 40),
        batch_size: int = 16,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.data_train: Dataset | None = None
        self.data_val: Dataset | None = None
        self.data_test: Dataset | None = None
        self.batch_size_per_device = batch_size

    @property
    def num_classes(self) -> int:
        return 4

    def prepare_data(self) -> None:
        """Makes the images; only one process does. Nothing is assigned here."""
        path = Path(self.hparams.data_dir) / "tiny_images.pt"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(make_images(sum(self.hparams.train_val_test_split), seed=0), path)

    def setup(self, stage: str | None = None) -> None:
        """Loads the images and divides them; each process does, for fit and for test."""
        if self.trainer is not None:
            if self.hparams.batch_size % self.trainer.world_size != 0:
                raise RuntimeError(
                    f"Batch size ({self.hparams.batch_size}) is not divisible by the number of "
                    f"devices ({self.trainer.world_size})."
                )
            self.batch_size_per_device = self.hparams.batch_size // self.trainer.world_size
        if not self.data_train and not self.data_val and not self.data_test:
            images, targets = torch.load(Path(self.hparams.data_dir) / "tiny_images.pt")
            self.data_train, self.data_val, self.data_test = random_split(
                dataset=TensorDataset(images, targets),
                lengths=self.hparams.train_val_test_split,
                generator=torch.Generator().manual_seed(42),
            )

    def _loader(self, data: Dataset, shuffle: bool) -> DataLoader[Any]:
        return DataLoader(
            dataset=data,
            batch_size=self.batch_size_per_device,
            num_workers=self.hparams.num_workers,
            pin_memory=self.hparams.pin_memory,
            persistent_workers=self.hparams.num_workers > 0,
            shuffle=shuffle,
        )

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.data_train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.data_val, shuffle=False)

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.data_test, shuffle=False)

    def teardown(self, stage: str | None = None) -> None:
        pass

    def state_dict(self) -> dict[Any, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass
