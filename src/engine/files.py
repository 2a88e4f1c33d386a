"""Writes files whole: after a kill or a power cut there is the old file or the new one."""

import os
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any


class Disk:
    """Gets files to the disk, each one at once."""

    def sync(self, file: IO[Any]) -> None:
        """Waits until everything that was written to a file is on the disk."""
        file.flush()
        os.fsync(file.fileno())

    def replace(self, temporary: Path, path: Path) -> None:
        """Renames a synced file to its place."""
        os.replace(temporary, path)


# Jobs that train together put another object in, which waits once for many files.
disk: ContextVar[Disk] = ContextVar("disk", default=Disk())  # noqa: B039  it has no state


def whole_lines(path: Path) -> str:
    """Reads a file up to the end of its last whole line: a kill may have cut the last line."""
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1]


def write_whole(path: Path, text: str | bytes) -> None:
    """Writes a file by temporary file, fsync and rename; text as UTF-8.

    Whoever reads the file finds the old text or the new one, never a part.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "wb") as file:
        file.write(text.encode("utf-8") if isinstance(text, str) else text)
        disk.get().sync(file)
    os.replace(temporary, path)
