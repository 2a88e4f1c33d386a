"""Files that are whole: a kill, or a power cut, leaves the old one or the new one."""

import os
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any


class Disk:
    """How files get to the disk: each one at once."""

    def sync(self, file: IO[Any]) -> None:
        """Wait until what was written to a file is on the disk."""
        os.fsync(file.fileno())

    def replace(self, temporary: Path, path: Path) -> None:
        """Rename a synced file to its place."""
        os.replace(temporary, path)


# Jobs that train together put another in, which waits once for many files.
disk: ContextVar[Disk] = ContextVar("disk", default=Disk())  # noqa: B039  it has no state


def whole_lines(path: Path) -> str:
    """Read a file up to the end of its last line: a kill may leave the last line torn."""
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1]


def write_whole(path: Path, text: str) -> None:
    """Write a text file by temporary file, fsync and rename.

    Whoever reads the file finds the old text or the new one, never a part.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        to_disk(file)
    os.replace(temporary, path)


def to_disk(file: IO[Any]) -> None:
    """Have what was written to a file on the disk."""
    file.flush()
    disk.get().sync(file)


def replace_on_disk(temporary: Path, path: Path) -> None:
    """Rename a file that `to_disk` was called for, but not before it is on the disk."""
    disk.get().replace(temporary, path)
