"""The name of a run's folder: made and read here only."""

import re
from collections.abc import Sequence
from pathlib import Path

from engine import locks

DIGITS = 8  # of the config's hash, in a folder's name
NUMBER = re.compile(r"\d+\.\d+(e[+-]?\d+)?", re.IGNORECASE)


def slug(overrides: Sequence[str], longest: int = 80) -> str:
    """Returns overrides as the readable part of a folder's name: `optimizer.lr=0.1` -> `lr=0.1`.

    Hyphens part the overrides, because a browser breaks a long name at hyphens only. Numbers have
    4 significant digits; the hash beside the slug tells closer ones apart.

    Args:
        overrides: words of a command line.
        longest: in bytes; file systems take 255 for a whole name.
    """
    name = "-".join(f"{last_name(key)}={value}" for key, value in settings(overrides))
    plain = re.sub(r"[^\w.,=+-]+", "_", name)
    return plain.encode()[:longest].decode(errors="ignore") or "default"


def settings(overrides: Sequence[str]) -> list[tuple[str, str]]:
    """Returns each override's key, and its value as people read it."""
    pairs = [word.lstrip("+~").partition("=") for word in overrides]
    return [(key, NUMBER.sub(_short, value)) for key, _, value in pairs]


def last_name(key: str) -> str:
    """Returns what a reader calls a key: `optimizer.lr` -> `lr`."""
    return re.split("[./]", key)[-1]


def _short(number: re.Match[str]) -> str:
    return min(number[0], f"{float(number[0]):.4g}", key=len)


def job_name(words: Sequence[str], config_hash: str, is_whole: bool = False) -> str:
    """Returns the name of a job's folder, `<slug>-<first digits of the hash>`.

    With the whole hash, its other digits stand before the first ones.
    """
    others = f"-{config_hash[DIGITS:]}" if is_whole else ""
    return f"{slug(words)}{others}-{config_hash[:DIGITS]}"


def digest_of(folder: Path) -> str:
    """Returns the digits of the hash in the name of a job's folder."""
    return folder.name[-DIGITS:]


def is_of_job(folder: Path) -> bool:
    """Tells whether a folder's name is that of a job of a sweep: `<slug>-<hash>`."""
    return re.search(rf"-[0-9a-f]{{{DIGITS}}}$", folder.name) is not None


def lock_of(run_dir: Path) -> Path:
    """Returns the lock of a run's folder: for a job of a sweep, what claims the job."""
    folder = run_dir.resolve()
    is_job = is_of_job(folder)
    return locks.of_job(folder.parent, digest_of(folder)) if is_job else folder / ".hydra/lock"


def is_set_aside(name: str) -> bool:
    """Tells whether a folder's name is `<slug>-<hash>.<n>`: an older copy of a job."""
    return re.search(rf"-[0-9a-f]{{{DIGITS}}}\.\d+$", name) is not None
