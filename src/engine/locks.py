"""Locks files: the system releases a lock when its owner ends, however it ends."""

from pathlib import Path

from filelock import FileLock, Timeout

from engine import files


def folder(sweep_dir: Path) -> Path:
    """Returns the folder that has a sweep's locks."""
    return sweep_dir / ".locks"


def of_job(sweep_dir: Path, digest: str) -> Path:
    """Returns the lock that claims the job with these eight digits of its config's hash."""
    return folder(sweep_dir) / f"{digest}.lock"


def acquire(path: Path, wait: bool = False) -> FileLock | None:
    """Acquires a lock; if another process holds it, waits for that process or returns None."""
    lock = FileLock(path)
    with files.writing(path):
        try:
            lock.acquire(blocking=wait)
        except Timeout:
            return None
    return lock


def is_held(path: Path) -> bool:
    """Tells whether a process holds a lock; makes no file where there is none."""
    if not path.exists():
        return False
    if lock := acquire(path):
        lock.release()
    return lock is None
