"""Syncs many files at once: to wait for each of them takes milliseconds."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from engine.files import Disk, disk, writing

syncfs = getattr(ctypes.CDLL(None), "syncfs", None)  # Linux has this function, macOS does not


class SyncedTogether(Disk):
    """Notes which file systems were written to and which files wait for their new names."""

    def __init__(self) -> None:
        self.folders: dict[int, str] = {}  # one folder of each file system, by device number
        self.renames: dict[Path, Path] = {}  # new name → temporary name

    def sync(self, file: IO[Any]) -> None:
        if syncfs is None:
            super().sync(file)
        else:
            self.folders[os.fstat(file.fileno()).st_dev] = os.path.dirname(file.name)

    def replace(self, temporary: Path, path: Path) -> None:
        self.renames[path] = temporary


@contextlib.contextmanager
def synced_together() -> Iterator[None]:
    """Waits at its end until all files written inside are on the disk, and then renames them."""
    token = disk.set(together := SyncedTogether())
    try:
        yield
    finally:
        disk.reset(token)
        for folder in together.folders.values():
            with writing(Path(folder)):  # somebody may have removed it
                descriptor = os.open(folder, os.O_RDONLY)
            if syncfs(descriptor):  # type: ignore[misc]
                os.sync()
            os.close(descriptor)
        for path, temporary in together.renames.items():
            with writing(path):
                os.replace(temporary, path)
