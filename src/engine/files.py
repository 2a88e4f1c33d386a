"""Files that are whole: a kill, or a power cut, leaves the old one or the new one."""

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any


def whole_lines(path: Path) -> str:
    """The text of a file up to its last line's end: a kill, or a run that writes, may leave the last one torn."""
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1]


def write_whole(path: Path, text: str) -> None:
    """Write a file by temporary file, fsync and rename: whoever reads it finds the old or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        to_disk(file)
    os.replace(temporary, path)


def to_disk(file: IO[Any]) -> None:
    """Wait until what was written to a file is on the disk; within `synced_together`, leave that to its end."""
    file.flush()
    if (together := _together.get()) is None:
        os.fsync(file.fileno())
    else:
        together.is_due = True


def replace_on_disk(temporary: Path, path: Path) -> None:
    """Rename a file that `to_disk` was called for, but not before it is on the disk: the old one is there till then."""
    if (together := _together.get()) is None:
        os.replace(temporary, path)
    else:
        together.renames[path] = temporary


@dataclass
class _Together:
    """What `synced_together` has to do at its end."""

    is_due: bool = False
    renames: dict[Path, Path] = field(default_factory=dict)  # new names, and old ones


_together: ContextVar[_Together | None] = ContextVar("together", default=None)


@contextlib.contextmanager
def synced_together() -> Iterator[None]:
    """Wait once, at the end, for all that `to_disk` is called for inside: to wait for each file takes milliseconds."""
    token = _together.set(together := _Together())
    try:
        yield
    finally:
        _together.reset(token)
        if together.is_due:
            os.sync()
        for path, temporary in together.renames.items():
            os.replace(temporary, path)
