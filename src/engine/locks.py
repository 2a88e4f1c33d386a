"""Locks on files, which the system lets go when their owner dies, however it dies; those that claim jobs of a sweep."""

from pathlib import Path

from filelock import FileLock, Timeout


def folder(sweep_dir: Path) -> Path:
    """Where the locks of a sweep lie."""
    return sweep_dir / ".locks"


def of_job(sweep_dir: Path, digest: str) -> Path:
    """The lock that claims the job with these eight digits of its config's hash."""
    return folder(sweep_dir) / f"{digest}.lock"


def take(path: Path, wait: bool = False) -> FileLock | None:
    """A lock, held from now on; nothing if another holds it, unless this waits for that one."""
    lock = FileLock(path)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        return None
    return lock


def is_held(path: Path) -> bool:
    """Whether anyone holds a lock; makes no file where there is none."""
    if not path.exists():
        return False
    if lock := take(path):
        lock.release()
    return lock is None
