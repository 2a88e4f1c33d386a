"""Remembers a sweep that runs jobs again until it ends, so that the same command goes on.

A sweep with `sweep.force=true` or `sweep.retry=failed` has a token, which lies beside the locks of
its jobs until it ends. Each job that it has begun has a mark with this token. So has a job that
another process has run since the sweep began: its mark has the tokens of all such sweeps.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock

from engine import files, locks

MOST = 8  # sweeps at once over some of the same jobs
RUNNING = ".running"  # the lock of a process that is at a sweep
WORDS = ("sweep.force=true", "sweep.retry=failed")  # each asks to run jobs again, once


def word(treated: Mapping[str, Any]) -> str:
    """Returns the word that asks to run jobs again, of what a sweep is told; "" for none."""
    if treated["force"]:
        return WORDS[0]
    return WORDS[1] if treated["retry"] == "failed" else ""


def place(sweep_dir: Path, names: Iterable[str]) -> Path:
    """Returns the file with the token of a sweep, given by its word and the hashes of its jobs."""
    digest = hashlib.sha256(" ".join(sorted(names)).encode()).hexdigest()
    return sweep_dir / locks.LOCKS / f"{digest[:16]}.token"


@contextmanager
def held(path: Path) -> Iterator[str]:
    """Begins a sweep, or goes on with it; gives its token, and keeps `ended` from it meanwhile.

    A sweep that was interrupted, or that another process is at, has a token already.
    """
    files.make_folder(path.parent)
    own = path.with_suffix(f".{uuid4().hex[:8]}{RUNNING}")
    with files.writing(path), _locked(path):
        token = read(path)
        if not token:
            token = uuid4().hex
            write(path, token)
        lock = locks.acquire(own)
    try:
        yield token
    finally:
        if lock:
            lock.release()
        own.unlink(missing_ok=True)


def ended(path: Path) -> None:
    """Ends a sweep that no process is at, if there is one: the next one has another token."""
    if not path.exists():
        return
    with _locked(path):
        for own in path.parent.glob(f"{path.stem}.*{RUNNING}"):
            if locks.is_held(own):
                return
            own.unlink(missing_ok=True)  # of a process that was killed
        path.unlink(missing_ok=True)


def _locked(path: Path) -> FileLock:
    return FileLock(path.with_suffix(".lock"))


def write(path: Path, token: str) -> None:
    """Writes a token whole, or not at all."""
    files.make_folder(path.parent)
    files.write_whole(path, token)


def add(path: Path, token: str) -> None:
    """Writes a token behind the last ones that a file has."""
    write(path, " ".join([*read(path).split()[-MOST:], token]))


def read(path: Path) -> str:
    """Returns the token in a file; "" if there is none."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
