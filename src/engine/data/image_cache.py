"""Decodes image files once, into .npy files that later runs read or map into memory."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from PIL import __version__ as pillow
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from engine.data.decode import decode
from engine.data.split import Split
from engine.errors import UserError
from engine.files import write_whole

FORMAT = 4  # of the cache: raise it when the same files are decoded or stored in another way
KINDS = ("images", "targets")  # a file of each for each split
CHUNK = 256  # images decoded before they are written
# Bytes of a file, on average, from which several threads are faster than one. With smaller files
# the threads wait for Python's lock.
LARGE = 10_000


class ImageFile(NamedTuple):
    """Names an image and its class, with a size and times that tell whether the file changed.

    Copies and archives may keep the time of the content, and other images of one size are common.
    So there is the time when the file itself was put there, too.
    """

    path: str  # below the data folder
    size: int  # bytes
    mtime_ns: int
    target: int
    ctime_ns: int = 0


class ImageCache:
    """Holds the images of some splits, uint8 (N, 3, S, S), and their targets, int64 (N,).

    The folder's name is a hash of the files that were decoded, and a folder gets that name when it
    is complete: so a folder of that name is right. Caches of other contents below the same `home`
    are stale.

    Args:
        home: folder for the caches of one data set under one choice of settings.
        data_dir: what the files' paths are relative to.
        splits: the files of each split.
        image_size: S, in pixels; images of another size are resized (bilinear, antialiased).
    """

    def __init__(
        self,
        home: str | Path,
        data_dir: str | Path,
        splits: dict[str, list[ImageFile]],
        image_size: int,
    ) -> None:
        self.home = Path(home)
        self.data_dir = Path(data_dir)
        self.splits = splits
        self.image_size = image_size
        # Another version of Pillow may decode the same file to other pixels.
        content = hashlib.sha256(repr((FORMAT, pillow, image_size)).encode())
        for split, files in splits.items():
            content.update(repr((split, files)).encode())
        self.folder = self.home / content.hexdigest()[:16]

    def fill(self) -> None:
        """Decodes the images, unless that is done.

        Raises:
            UserError: if an image cannot be read or the cache cannot be written. Then nothing of
                the cache is left.
        """
        if self.folder.exists():
            return
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            # Of jobs that start together, one decodes and the others wait for it.
            with FileLock(self.home / ".lock"):
                if not self.folder.exists():
                    self._replace_stale()
        except OSError as error:
            raise UserError(
                f"datamodule.cache_dir={self.home.parent}: cannot be written: {error}"
            ) from error

    def read(self, split: str, in_memory: bool) -> Split:
        """Returns one split, in memory or over a memory-mapped file.

        Raises:
            UserError: if another run has replaced the cache.
        """
        # "c": pages are private to a process that writes to them, so torch may call them writable.
        path = self.folder / f"{split}_images.npy"
        with self._while_it_is_there():
            images = np.load(path, mmap_mode=None if in_memory else "c")
            targets = np.load(self.folder / f"{split}_targets.npy")
        return Split(torch.from_numpy(images), torch.from_numpy(targets))

    def digest(self) -> str:
        """Returns a digest of the decoded images and their targets; computed once for a cache.

        Raises:
            UserError: if another run has replaced the cache.
        """
        path = self.folder / "digest"
        with self._while_it_is_there():
            if path.exists():
                return path.read_text()
            digest = hashlib.sha256()
            names = [f"{split}_{kind}.npy" for split in self.splits for kind in KINDS]
            for name in sorted(names):
                with open(self.folder / name, "rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        with contextlib.suppress(OSError):  # the folder may be somebody else's
            write_whole(path, digest.hexdigest()[:16])
        return digest.hexdigest()[:16]

    @contextlib.contextmanager
    def _while_it_is_there(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise UserError(
                f"{self.folder}: is gone since this run began: another one found other images in "
                f"{self.data_dir}, and decoded those.\nBegin this run again."
            ) from error

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
        def decoded(file: ImageFile) -> bytes:
            return decode(self.data_dir / file.path, self.image_size).tobytes()

        sizes = [file.size for files in self.splits.values() for file in files]
        threads = os.cpu_count() if sum(sizes) > LARGE * len(sizes) else 1
        bar = tqdm(total=len(sizes), desc="Decoding", unit="img", disable=None)  # on a terminal
        with ThreadPoolExecutor(threads) as pool, bar as progress:
            for split, files in self.splits.items():
                targets = np.array([file.target for file in files], dtype=np.int64)
                np.save(folder / f"{split}_targets.npy", targets)
                shape = (len(files), 3, self.image_size, self.image_size)
                # A plain file raises an error on a full disk; with a memory map, the process would
                # be killed.
                with open(folder / f"{split}_images.npy", "wb") as array:
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(array, header)
                    for start in range(0, len(files), CHUNK):
                        chunk = files[start : start + CHUNK]
                        array.writelines(pool.map(decoded, chunk))
                        progress.update(len(chunk))
        # After a power cut, no renamed folder may hold empty files.
        for path in folder.iterdir():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
