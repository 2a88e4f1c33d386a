"""Many files synced at once: to wait for each of them takes milliseconds."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from engine.files import Disk, disk

syncfs = getattr(ctypes.CDLL(None), "syncfs", None)  # Linux has it, macOS does not


class SyncedTogether(Disk):
    """Waits at the end for the file systems that files were written to, and renames files then."""

    def __init__(self) -> None:
        self._folders: dict[int, str] = {}  # a folder of each file system
        self._renames: dict[Path, Path] = {}  # new names, and old ones

    def sync(self, file: IO[Any]) -> None:
        if syncfs is None:
            super().sync(file)
        else:
            self._folders[os.fstat(file.fileno()).st_dev] = os.path.dirname(file.name)

    def replace(self, temporary: Path, path: Path) -> None:
        self._renames[path] = temporary

    def end(self) -> None:
        """Wait for the disk, then rename."""
        for folder in self._folders.values():
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                if syncfs(descriptor):  # type: ignore[misc]
                    os.sync()
            finally:
                os.close(descriptor)
        for path, temporary in self._renames.items():
            os.replace(temporary, path)


@contextlib.contextmanager
def synced_together() -> Iterator[None]:
    """Wait once, at the end, for all files that are to be on the disk."""
    token = disk.set(together := SyncedTogether())
    try:
        yield
    finally:
        disk.reset(token)
        together.end()
