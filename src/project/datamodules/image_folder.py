"""Serves the user's own images, from one folder for each class."""

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from engine import (
    Count,
    FoundImages,
    Fraction,
    ImageCache,
    ImageFile,
    Seed,
    Split,
    UserError,
    carve_validation,
    find_images,
    fold_of_files,
)
from project.datamodules.images import ImageDataModule


class ImageFolderDataModule(ImageDataModule):
    """Serves the images in data_dir/{train,test[,val]}/<class>, and in sub-folders of <class>.

    The classes are the names of the folders, sorted.

    Args:
        data_dir: the folder with the images; nothing is written to this folder.
        cache_dir: the folder for the decoded images, of 3 · image_size² bytes each.
        image_size: height and width in pixels; an image of another size is resized, and its aspect
            ratio changes.
        val_fraction: of the training images, stratified by class; only for a data_dir without val/.
        split_seed: gives the split, so that runs with different seeds have the same validation
            images.
        in_memory: whether to read all images at the start; otherwise each batch is read from disk.
        options: of `ImageDataModule` and `TensorDataModule`.
    """

    def __init__(
        self,
        data_dir: str,
        cache_dir: str,
        image_size: Count = 32,
        val_fraction: Fraction = 0.0,
        split_seed: Seed = 0,
        in_memory: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.data_dir = Path(data_dir).expanduser()
        self.cache_dir = Path(cache_dir).expanduser()
        self.image_size = image_size
        self.in_memory = in_memory
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        # Of images that need not fit in memory, the files are divided: each fold has its own cache.
        self.divided = () if in_memory or not self.folds else (self.folds, self.fold)
        self.folds = None if self.divided else self.folds

    @cached_property
    def class_names(self) -> list[str]:  # type: ignore[override]
        """Reads the names of the classes from the folder, when they are asked for."""
        return self.found.classes

    @cached_property
    def found(self) -> FoundImages:
        """Returns the image files that there are, and what is left out."""
        return find_images(self.data_dir)

    @cached_property
    def cache(self) -> ImageCache:
        """Returns the cache of the decoded images; looks at every file's size and time only."""
        # Validation images are split off before anything is decoded: so the arrays of images need
        # not be copied, nor fit in memory.
        splits = self._carve(self.found.splits)
        decided = (self.val_fraction, self.split_seed, *self.divided)
        settings = repr((os.path.abspath(self.data_dir), *decided))
        digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
        home = self.cache_dir / f"{self.data_dir.absolute().name}-{self.image_size}px-{digest}"
        return ImageCache(home, self.data_dir, splits, self.image_size)

    def prepare_data(self) -> None:
        self.cache.fill()

    def load(self) -> dict[str, Split]:
        return {split: self.cache.read(split, self.in_memory) for split in self.cache.splits}

    def fingerprint(self) -> str:
        """Returns a digest of the decoded images; they need not fit in memory."""
        return self.cache.digest()

    def remarks(self) -> list[str]:
        remarks = super().remarks()
        if others := self.found.left_out:
            remarks.append(
                f"{self.data_dir}: {len(others):,} files or folders hold no images by their names "
                f"and are left out, such as {others[0]}"
            )
        return remarks

    def _carve(self, splits: dict[str, list[ImageFile]]) -> dict[str, list[ImageFile]]:
        """Moves a part of the training files to the validation files, if that is wanted."""
        if self.val_fraction and "val" in splits:
            folder = splits["val"][0].path.partition("/")[0]
            raise UserError(
                f"datamodule.val_fraction={self.val_fraction}: {self.data_dir / folder} holds the "
                "validation images.\n"
                "Set datamodule.val_fraction=0, or remove that folder."
            )
        train = splits["train"]
        numbers = Split(torch.arange(len(train)), torch.tensor([file.target for file in train]))
        carved = carve_validation(numbers, self.val_fraction, self.split_seed)
        files = {name: [train[i] for i in part.inputs.tolist()] for name, part in carved.items()}
        splits = {**splits, **files}
        return fold_of_files(splits, *self.divided) if self.divided else splits
