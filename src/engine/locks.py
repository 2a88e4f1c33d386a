"""Locks files: the system releases a lock when its owner ends, however it ends."""

import contextlib
import os
import socket
from pathlib import Path
from weakref import WeakValueDictionary

from filelock import FileLock, SoftFileLock, Timeout

from engine import files

FOR_EVER = -1.0
PROCESS = "process"
LOCKS = ".locks"  # the folder with the claims of a sweep's jobs
_acquired: WeakValueDictionary[Path, FileLock] = WeakValueDictionary()  # by this process


def of_job(sweep_dir: Path, digest: str) -> Path:
    """Returns the lock that claims the job with these eight digits of its config's hash."""
    return sweep_dir / LOCKS / f"{digest}.lock"


def acquire(path: Path, seconds: float = 0) -> FileLock | None:
    """Acquires a lock and writes its owner into the file; None if another process holds it.

    Args:
        path: the file.
        seconds: to wait for the other process, or `FOR_EVER`.
    """
    lock = FileLock(path)
    with files.writing(path):
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            return None
        if not isinstance(lock, SoftFileLock):  # a file system without locks: the file is one
            path.write_text(f"{PROCESS} {os.getpid()} on {socket.gethostname()}")
    _acquired[path.resolve()] = lock
    return lock


def is_ours(path: Path) -> bool:
    """Tells whether this thread of this process holds a lock."""
    lock = _acquired.get(path.resolve())
    return lock is not None and lock.is_locked


def owner(path: Path) -> str:
    """Returns the process that holds a lock, in words."""
    text = path.read_text(errors="replace")
    return text if text.startswith(PROCESS) else "another process"


def remove(folder: Path) -> None:
    """Removes a folder of locks, but for those that a process holds: another would take them, too.

    A process that takes a lock meanwhile finds its file gone, and makes it anew.
    """
    with contextlib.suppress(OSError):  # so is the Timeout of a lock that is held
        for path in folder.iterdir():
            with FileLock(path).acquire(blocking=False):
                path.unlink()
        folder.rmdir()


def is_held(path: Path) -> bool:
    """Tells whether a process holds a lock; makes no file where there is none."""
    if not path.is_file():
        return False
    try:
        with FileLock(path).acquire(blocking=False):
            return False
    except Timeout:
        return True
