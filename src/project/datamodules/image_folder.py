"""Serves the user's own images, from one folder for each class."""

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from engine import Count, Fraction, ImageCache, ImageFile, Seed, Split, UserError
from project.datamodules.images import ImageDataModule, carve_validation

SUFFIXES = (".jpg", ".jpeg", ".png")
LAYOUT = "It must hold train/ and test/, and may hold val/, with one folder of images per class."


class ImageFolderDataModule(ImageDataModule):
    """Serves the images in data_dir/{train,test[,val]}/<class>/*.{jpg,jpeg,png}.

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

    @cached_property
    def class_names(self) -> list[str]:  # type: ignore[override]
        """Reads the names of the classes from the folder, when they are asked for."""
        return class_folders(self.data_dir, "train")

    @cached_property
    def cache(self) -> ImageCache:
        """Returns the cache of the decoded images; looks at every file's size and time only."""
        # Validation images are split off before anything is decoded: so the arrays of images need
        # not be copied, nor fit in memory.
        splits = self._carve(find_images(self.data_dir, self.class_names))
        settings = repr((os.path.abspath(self.data_dir), self.val_fraction, self.split_seed))
        digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
        home = self.cache_dir / f"{self.data_dir.absolute().name}-{self.image_size}px-{digest}"
        return ImageCache(home, self.data_dir, splits, self.image_size)

    def prepare_data(self) -> None:
        self.cache.fill()

    def load(self) -> dict[str, Split]:
        return {split: self.cache.read(split, self.in_memory) for split in self.cache.splits}

    def _carve(self, splits: dict[str, list[ImageFile]]) -> dict[str, list[ImageFile]]:
        """Moves a part of the training files to the validation files, if that is wanted."""
        if self.val_fraction and "val" in splits:
            raise UserError(
                f"datamodule.val_fraction={self.val_fraction}: {self.data_dir}/val holds the "
                "validation images.\n"
                "Set datamodule.val_fraction=0, or remove that folder."
            )
        train = splits["train"]
        numbers = Split(torch.arange(len(train)), torch.tensor([file.target for file in train]))
        carved = carve_validation(numbers, self.val_fraction, self.split_seed)
        files = {name: [train[i] for i in part.inputs.tolist()] for name, part in carved.items()}
        return {**splits, **files}


def class_folders(data_dir: Path, split: str) -> list[str]:
    """Returns the sorted names of a split's class folders; hidden folders do not count."""
    if not data_dir.is_dir():
        raise UserError(f"datamodule.data_dir={data_dir}: no such folder. {LAYOUT}")
    if not (data_dir / split).is_dir():
        raise UserError(f"datamodule.data_dir={data_dir}: holds no folder {split}/. {LAYOUT}")
    names = sorted(
        entry.name
        for entry in os.scandir(data_dir / split)
        if entry.is_dir() and entry.name[0] != "."
    )
    if not names:
        raise UserError(f"{data_dir / split}: holds no class folder. {LAYOUT}")
    return names


def find_images(data_dir: Path, classes: list[str]) -> dict[str, list[ImageFile]]:
    """Returns the image files of "train", "test" and, if there is such a folder, "val".

    The files of a split are sorted by class and name.

    Raises:
        UserError: if a split is missing or has other classes, or a class has no image.
    """
    names = ["train", "val", "test"] if (data_dir / "val").is_dir() else ["train", "test"]
    for split in names:
        found = class_folders(data_dir, split)
        if found != classes:
            lacks, adds = sorted(set(classes) - set(found)), sorted(set(found) - set(classes))
            differences = [f"lacks {', '.join(lacks)}"] if lacks else []
            differences += [f"adds {', '.join(adds)}"] if adds else []
            raise UserError(
                f"{data_dir / split}: other classes than in train/: it {' and '.join(differences)}."
            )
    return {
        split: [
            file
            for target, name in enumerate(classes)
            for file in list_images(data_dir, f"{split}/{name}", target)
        ]
        for split in names
    }


def list_images(data_dir: Path, folder: str, target: int) -> list[ImageFile]:
    """Returns the images of one class folder, sorted by name.

    Hidden files, and files with other suffixes, do not count.
    """
    images = []
    try:
        with os.scandir(data_dir / folder) as entries:
            for entry in entries:
                if entry.name.lower().endswith(SUFFIXES) and entry.name[0] != ".":
                    stat = entry.stat()
                    images.append(
                        ImageFile(f"{folder}/{entry.name}", stat.st_size, stat.st_mtime_ns, target)
                    )
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}.") from error
    if not images:
        raise UserError(
            f"{data_dir / folder}: holds no image. "
            f"A class folder needs {', '.join(SUFFIXES)} files."
        )
    return sorted(images)
