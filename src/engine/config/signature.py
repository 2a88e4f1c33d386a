"""Tells the runs that this user made from received ones, by an HMAC in each config.yaml.

The key lies in the user's state folder, which no run's folder can reach. The HMAC is a comment in
the last line of the file itself, as two files cannot be replaced together.
"""

import contextlib
import functools
import hashlib
import hmac
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

MARK = "# signed: "
SIZE = 32  # bytes of the key


def key_file() -> Path:
    """Returns where the user's key lies, `~/.local/state` by the XDG specification."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state, "research-engine", "key")


def signed(text: str) -> str:
    """Returns a text of whole lines with its HMAC in a last line; without one if there is no key.

    A user without a writable state folder has no key.
    """
    key = _key()
    return f"{text}{MARK}{_digest(key, text)}\n" if key else text


def is_ours(text: str) -> bool:
    """Tells whether this user has signed a text, and nobody has changed it since."""
    body, mark, digest = text.rpartition(MARK)
    key = _key() if mark else b""
    return bool(key) and hmac.compare_digest(digest.encode(), f"{_digest(key, body)}\n".encode())


def digest_of(text: str) -> str:
    """Returns the SHA-256 of a config.yaml, by which a process tells its children what it trusts.

    Nothing that a folder has can have this digest but the very config that the parent has read.
    """
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _key() -> bytes:
    """Reads the user's key, and makes it at the first use; returns nothing if that cannot be."""
    try:
        path = key_file()
        if not path.exists():
            _make(path)
        if path.stat().st_mode & 0o077:
            raise OSError(f"{path}: others can read it; chmod 600 {path}")
        key = path.read_bytes()
        if len(key) != SIZE:
            raise OSError(f"{path}: is no key; remove it")
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        _say(str(error))
        return b""
    return key


def _make(path: Path) -> None:
    """Makes the key. Of several processes, the first one's key stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(os.urandom(SIZE))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@functools.cache
def _say(reason: str) -> None:
    log.warning("runs cannot be signed as yours, and count as received ones: %s", reason)
