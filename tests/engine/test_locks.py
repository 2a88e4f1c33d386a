"""Locks: held by one process, and by nobody once it is killed."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from engine import locks

HOLDER = """
import sys
from pathlib import Path
from engine import locks
lock = locks.acquire(Path(sys.argv[1]))
print(lock is not None, flush=True)
sys.stdin.read()
"""


def test_a_lock_is_held_until_its_owner_dies(tmp_path: Path) -> None:
    path = locks.of_job(tmp_path, "0123abcd")
    assert path == tmp_path / ".locks" / "0123abcd.lock"
    assert not locks.is_held(path)
    assert not path.parent.exists()  # to ask makes nothing
    path.parent.mkdir()
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "True\n"
        assert locks.is_held(path)
        assert locks.acquire(path) is None
        assert not locks.is_ours(path)
        assert locks.owner(path) == f"process {holder.pid} on {socket.gethostname()}"
        holder.kill()
    assert not locks.is_held(path)
    assert not locks.is_held(path)  # to ask holds nothing
    ours = locks.acquire(path)
    assert ours
    assert locks.is_held(path)
    assert locks.is_ours(tmp_path / ".locks/../.locks/0123abcd.lock")
    assert locks.owner(path).startswith(f"process {os.getpid()} on ")
    ours.release()
    assert not locks.is_ours(path)
    assert not locks.is_held(path)
