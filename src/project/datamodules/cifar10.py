"""Serves CIFAR-10, and downloads the images once."""

import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity

from engine import Fraction, Positive, Seed, Split, UserError, carve_validation, download
from project.datamodules.images import ImageDataModule

CLASS_NAMES = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class CIFAR10DataModule(ImageDataModule):
    """Serves 50,000 training and 10,000 test images, 3×32×32, in ten classes (Krizhevsky 2009).

    The md5 of every file is checked at every start: the files are pickles, and a pickle from
    somebody else can run any code.

    Args:
        data_dir: the folder of `cifar-10-python.tar.gz` and of the files unpacked from the archive.
        val_fraction: of the training samples, stratified by class.
        split_seed: gives the split, so that runs with different seeds have the same validation
            images.
        url: of the archive.
        timeout: seconds to wait for the server's first answer, and then for the next bytes.
        options: of `ImageDataModule` and `TensorDataModule`.
    """

    class_names = CLASS_NAMES

    def __init__(
        self,
        data_dir: str,
        val_fraction: Fraction = 0.0,
        split_seed: Seed = 0,
        url: str = CIFAR10.url,
        timeout: Positive = 8.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.data_dir = Path(data_dir).expanduser()
        self.url = url
        self.timeout = timeout
        self.val_fraction = val_fraction
        self.split_seed = split_seed

    def prepare_data(self) -> None:
        """Downloads and unpacks the files that are missing.

        Raises:
            UserError: if this fails; the message says what was tried, and what to do.
        """
        if is_intact(self.data_dir):
            return
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            # Of jobs that start together, one downloads, and the others wait for the lock.
            with FileLock(self.data_dir / ".lock"):
                if not is_intact(self.data_dir):
                    install(self.data_dir, self.url, self.timeout)
        # The errors of requests are OSErrors, and pooch raises a ValueError for a wrong md5.
        except (OSError, ValueError) as error:
            raise self._mistake(error) from error

    def _mistake(self, error: Exception) -> UserError:
        """Returns the message for a download that failed."""
        archive = self.data_dir / CIFAR10.filename
        found = "holds no intact CIFAR-10"
        if archive.exists() and not check_integrity(archive, CIFAR10.tgz_md5):
            found = f"holds a damaged {archive.name} (wrong md5)"
        limit = " (datamodule.timeout)" if isinstance(error, TimeoutError) else ""
        return UserError(
            f"datamodule.data_dir={self.data_dir}: {found}; "
            f"getting it from {self.url} failed: {root_cause(error)}{limit}.\n"
            f"Put the archive at {archive}, or use datamodule=image_folder "
            "datamodule.data_dir=FOLDER, or datamodule=digits."
        )

    def load(self) -> dict[str, Split]:
        train = read(self.data_dir, train=True)
        test = read(self.data_dir, train=False)
        return {**carve_validation(train, self.val_fraction, self.split_seed), "test": test}


def is_intact(data_dir: Path) -> bool:
    """Tells whether all files are there, each with the published md5."""
    files = [
        *CIFAR10.train_list,
        *CIFAR10.test_list,
        (CIFAR10.meta["filename"], CIFAR10.meta["md5"]),
    ]
    return all(check_integrity(data_dir / CIFAR10.base_folder / name, md5) for name, md5 in files)


def read(data_dir: Path, train: bool) -> Split:
    """Reads the training or the test images: uint8 (N, 3, 32, 32), targets int64 (N,)."""
    try:
        published = CIFAR10(data_dir, train=train)
    except RuntimeError as error:
        raise UserError(f"datamodule.data_dir={data_dir}: holds no intact CIFAR-10.") from error
    images = np.ascontiguousarray(published.data.transpose(0, 3, 1, 2))  # (N, 3, 32, 32)
    return Split(torch.from_numpy(images), torch.tensor(published.targets))


def install(data_dir: Path, url: str, timeout: float) -> None:
    """Puts the archive and its files into `data_dir`.

    Both are made elsewhere and renamed when they are complete. So a killed process never leaves a
    part of a file under its name.
    """
    archive = data_dir / CIFAR10.filename
    batches = data_dir / CIFAR10.base_folder
    if not check_integrity(archive, CIFAR10.tgz_md5):
        download(url, archive, CIFAR10.tgz_md5, timeout)
    partial = data_dir / ".partial"
    shutil.rmtree(partial, ignore_errors=True)  # a killed process may have left one
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
        if batches.exists():
            batches.rename(partial / "damaged")
        (partial / CIFAR10.base_folder).rename(batches)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def root_cause(error: BaseException) -> str:
    """Returns the text of the first error in a chain, like '[Errno 111] Connection refused'."""
    while error.__context__:
        error = error.__context__
    return str(error).rstrip(".")
