"""A Python that starts in a fraction of a second, because Lightning is imported already.

`python()` is the path of a program that does what `python -m MODULE …` does, by a process that is
forked from a server (warm_server.py). Whatever else it is asked for, it hands to the real Python.
The server starts when a test first asks for it, or at once where tests are handed to processes,
which would wait for it. It serves all the processes of a test session.
"""

import contextlib
import functools
import gc
import importlib.metadata
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from filelock import FileLock

import engine

FOLDER = "WARM_PYTHON"  # the variable with the session's folder: its server, its program
HERE = Path(__file__).parent


def forget_the_disk() -> None:
    """Lets this process not wait for the disk: a test ends processes, and never the power."""
    os.fsync = lambda descriptor: None
    os.sync = lambda: None


def look_at_packages_once() -> None:
    """Keeps what the installed packages register: each Trainer reads the files of all packages."""
    importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)


def collect_seldom() -> None:
    """Has Python look for garbage after 50,000 new objects, not 700.

    A small run makes about so many, and a process of tests does a thousand runs.
    """
    gc.set_threshold(50_000, 5, 5)


def begin(at_once: bool = False) -> None:
    """Makes the session's folder; its processes find it by the environment.

    Args:
        at_once: whether to start the server, too.
    """
    folder = tempfile.mkdtemp(prefix="warm-")
    Path(folder, "session").write_text(str(os.getpid()))
    os.environ[FOLDER] = folder
    os.environ["XDG_STATE_HOME"] = folder  # runs of tests are not signed with the user's key
    if at_once:
        _start(Path(folder))


def end() -> None:
    """Ends the server, and whatever it has started, and removes the folder."""
    folder = Path(os.environ.pop(FOLDER))
    if (pid := folder / "pid").exists():
        server = int(pid.read_text())
        with contextlib.suppress(ProcessLookupError):  # it has failed
            os.killpg(server, signal.SIGKILL)  # the group is the server's own
        with contextlib.suppress(ChildProcessError):  # another process has started it
            os.waitpid(server, 0)
    shutil.rmtree(folder)


def python() -> str:
    """Returns the path of the program; starts the server, if nobody has, and waits for it."""
    folder = Path(os.environ[FOLDER])
    program = folder / "python"
    with FileLock(folder / "lock"):
        if not program.exists():
            if not (folder / "pid").exists():
                _start(folder)
            _wait(folder)
            client = (HERE / "warm_client.py").read_text()
            program.write_text(f"#!{sys.executable} -SE\n{client}")
            program.chmod(0o755)
    return str(program)


def _start(folder: Path) -> None:
    # A copy of the repository has sources of its own, which are not installed.
    sources = str(Path(engine.__file__).resolve().parents[1])
    (folder / "sources").write_text(sources)
    environment = {**os.environ, "PYTHONPATH": sources}
    words = [sys.executable, str(HERE / "warm_server.py"), str(folder)]
    # No Popen: the server outlives whoever starts it, who must not be warned of that.
    pid = os.posix_spawn(sys.executable, words, environment, setsid=True)
    (folder / "pid").write_text(str(pid))


def _wait(folder: Path) -> None:
    pid = int((folder / "pid").read_text())
    until = time.monotonic() + 120
    while not (folder / "project").exists():  # the later of the two sockets
        log = folder / "log"
        said = log.read_text() if log.exists() else ""
        assert "Traceback" not in said, said
        with contextlib.suppress(ChildProcessError):  # another process has started it
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), said
        assert time.monotonic() < until, said
        time.sleep(0.05)
