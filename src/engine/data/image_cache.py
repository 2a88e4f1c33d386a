"""Image files decoded once, into .npy files on disk that later runs read or map into memory."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from engine.data.split import Split
from engine.errors import UserError

FORMAT = 1  # of the cache: raise it when the same files would be decoded or stored otherwise
CHUNK = 256  # images decoded before they are written
LARGE = 10_000  # bytes of a file, on average, from which more threads than one pay: below, they wait for Python's lock


class ImageFile(NamedTuple):
    """An image, what tells whether it changed since, and its class."""

    path: str  # below the data folder
    size: int  # bytes
    mtime_ns: int
    target: int


class ImageCache:
    """The images of some splits, as uint8 (N, 3, S, S), and their targets, int64 (N,).

    The folder's name is a hash of what was decoded, and it gets that name when it is complete: a cache that is
    there is right. Caches of other contents below the same `home` are stale.

    Args:
        home: folder for the caches of one data set under one choice of settings.
        data_dir: what the files' paths are relative to.
        splits: the files of each split.
        image_size: S, in pixels; images of another size are resized (bilinear, antialiased).
    """

    def __init__(
        self, home: Path, data_dir: Path, splits: dict[str, list[ImageFile]], image_size: int
    ) -> None:
        self.home, self.data_dir, self.splits, self.image_size = home, data_dir, splits, image_size
        content = hashlib.sha256(repr((FORMAT, image_size)).encode())
        for split, files in splits.items():
            content.update(repr((split, files)).encode())
        self.folder = home / content.hexdigest()[:16]

    def fill(self) -> None:
        """Decode the images, unless that is done.

        Raises:
            UserError: if an image cannot be read or the cache cannot be written; then nothing is left of it.
        """
        if self.folder.exists():
            return
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            with FileLock(
                self.home / ".lock"
            ):  # jobs started together: one decodes, the others wait for it
                if not self.folder.exists():
                    self._replace_stale()
        except OSError as error:
            raise UserError(
                f"datamodule.cache_dir={self.home.parent}: cannot be written: {error}"
            ) from error

    def read(self, split: str, in_memory: bool) -> Split:
        """One split, in memory or over a memory-mapped file."""
        # "c": pages are private to a process that writes to them, so that torch may take the array as writable.
        images = np.load(self.folder / f"{split}_images.npy", mmap_mode=None if in_memory else "c")
        targets = np.load(self.folder / f"{split}_targets.npy")
        return Split(torch.from_numpy(images), torch.from_numpy(targets))

    def _replace_stale(self) -> None:
        for stale in self.home.glob("*/"):  # of other contents, and what a killed process left
            shutil.rmtree(stale)
        partial = self.home / ".partial"
        partial.mkdir()
        try:
            self._write(partial)
            partial.rename(self.folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _write(self, folder: Path) -> None:
        sizes = [file.size for files in self.splits.values() for file in files]
        threads = os.cpu_count() if sum(sizes) > LARGE * len(sizes) else 1
        with (
            ThreadPoolExecutor(threads) as pool,
            tqdm(
                total=len(sizes), desc="Decoding", unit="img", disable=None
            ) as progress,  # None: on a terminal only
        ):
            for split, files in self.splits.items():
                np.save(
                    folder / f"{split}_targets.npy",
                    np.array([file.target for file in files], dtype=np.int64),
                )
                shape = (len(files), 3, self.image_size, self.image_size)
                # Written as a plain file: on a full disk that raises an error, where a memory map would be killed.
                with open(folder / f"{split}_images.npy", "wb") as array:
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(array, header)
                    for start in range(0, len(files), CHUNK):
                        chunk = files[start : start + CHUNK]
                        array.writelines(pool.map(self._decode, chunk))
                        progress.update(len(chunk))
        _sync(sorted(folder.iterdir()))

    def _decode(self, file: ImageFile) -> bytes:
        return decode(self.data_dir / file.path, self.image_size).tobytes()


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """An image file as RGB, resized to `size` where it is of another: (3, size, size).

    Raises:
        UserError: if it cannot be read.
    """
    try:
        with Image.open(path) as image:
            rgb = image.convert("RGB")
    except Exception as error:  # Pillow's decoders raise of every kind on a damaged file
        raise UserError(f"{path}: cannot be read as an image. Repair or remove it.") from error
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(rgb).transpose(2, 0, 1)


def _sync(paths: Sequence[Path]) -> None:
    """Have files on disk, so that after a power cut no renamed folder holds empty ones."""
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
