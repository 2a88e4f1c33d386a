"""Remembers a forced sweep until it ends, so that the same command goes on after an interruption.

A sweep with `sweep.force=true` has a token, which lies beside the locks of its jobs until it ends.
Each job that it has begun anew has a mark with this token.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from filelock import FileLock

from engine import files, locks


def place(sweep_dir: Path, jobs: Iterable[str]) -> Path:
    """Returns the file with the token of a forced sweep over jobs, given by their hashes."""
    digest = hashlib.sha256(" ".join(sorted(jobs)).encode()).hexdigest()
    return sweep_dir / locks.LOCKS / f"{digest[:16]}.token"


def started(path: Path) -> str:
    """Returns the token of a forced sweep, until `ended`.

    A sweep that was interrupted, or that another process is at, has one already.
    """
    files.make_folder(path.parent)
    with files.writing(path), FileLock(path.with_suffix(".lock")):
        token = read(path)
        if not token:
            token = uuid4().hex
            write(path, token)
    return token


def ended(path: Path) -> None:
    """Ends a forced sweep, if there is one: the next one has another token."""
    if path.exists():
        path.unlink(missing_ok=True)


def write(path: Path, token: str) -> None:
    """Writes a token whole, or not at all."""
    files.make_folder(path.parent)
    files.write_whole(path, token)


def read(path: Path) -> str:
    """Returns the token in a file; "" if there is none."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
