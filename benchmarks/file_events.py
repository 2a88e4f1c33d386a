"""Trains in a process that is killed at a chosen file event.

    python -m file_events FOLDER NUMBER NOTES …    the words of project.train

An event is a call that changes files below FOLDER: a file is opened for writing, a part of it is
written, synced, renamed or removed, a folder is made or removed. The process gets SIGKILL right
before its event NUMBER, and NOTES says which event that was. With the number 0 nothing is killed,
and NOTES has a line for each event.

A write is two events: `write` comes before anything is written, `half` when half of the bytes are.
Events of forked processes are counted, too; only the process with the chosen event is killed.
"""

import builtins
import faulthandler
import io
import mmap
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import kept_configs
from commands import run_train

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")


class FileEvents:
    """Counts file events below a folder, and kills the process that comes to a chosen one.

    Args:
        folder: the folder.
        number: of the event that kills, from 1; 0: none.
        notes: the file that says which event killed; without a kill, all of them.
    """

    def __init__(self, folder: Path, number: int, notes: Path) -> None:
        self.folder = os.path.join(folder, "")
        self.number = number
        self.notes = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.counted = mmap.mmap(-1, 8)  # shared with forked processes
        self.open, self.fsync = io.open, os.fsync

    def begin(self) -> None:
        """Watches this process from now on, to its end."""
        sys.addaudithook(self.audit)
        for module in (builtins, io):
            mock.patch.object(module, "open", self.opened).start()
        mock.patch.object(os, "fsync", self.synced).start()

    def is_below(self, path: Any) -> bool:
        return isinstance(path, str | Path) and str(path).startswith(self.folder)

    def comes(self, kind: str, path: Any, half: Any = None) -> None:
        """Counts an event; kills this process if it is the one, after `half` has been called."""
        number = int.from_bytes(self.counted[:]) + 1
        self.counted[:] = number.to_bytes(8)
        if self.number not in (0, number):
            return
        name = str(path).removeprefix(self.folder)
        os.write(self.notes, f"{number} {kind} {name}\n".encode())
        if self.number:
            if half:
                half()
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and self.is_below(arguments[0]):
            if arguments[2] & WRITES:
                self.comes("open", arguments[0])
        elif event in CHANGES and self.is_below(arguments[0]):
            self.comes(event.removeprefix("os."), arguments[0])

    def opened(self, *arguments: Any, **options: Any) -> Any:
        file = self.open(*arguments, **options)
        raw: Any = getattr(file, "buffer", file)
        raw = getattr(raw, "raw", raw)
        if self.is_below(raw.name) and raw.writable():
            raw.write = partial(self.written, raw.name, raw.write)
        return file

    def written(self, name: str, write: Any, data: Any) -> int:
        self.comes("write", name)
        self.comes("half", name, partial(write, memoryview(data)[: len(data) // 2]))
        done: int = write(data)
        return done

    def synced(self, descriptor: int) -> None:
        path = os.path.realpath(f"/proc/self/fd/{descriptor}")
        if self.is_below(path):
            self.comes("sync", path)
        self.fsync(descriptor)


def train(words: Sequence[str], kept: Path) -> None:
    """Runs `python -m project.train …` in less time than usual; after a minute, says where it is.

    joblib's processes are forked: they need not import anything then.

    Args:
        words: of the command line.
        kept: a file that keeps what Hydra composes, see tests/kept_configs.py.
    """
    faulthandler.dump_traceback_later(60)
    if "hydra/launcher=joblib" in words:
        _fork_workers()
    if kept.exists():
        kept_configs.kept().update(pickle.loads(kept.read_bytes()))
    with kept_configs.keeping():
        run_train(*words)
    if not kept.exists():
        kept.write_bytes(pickle.dumps(kept_configs.kept()))


def _fork_workers() -> None:
    from joblib.externals import loky
    from joblib.externals.loky.backend import get_context

    with warnings.catch_warnings(action="ignore"):
        context = get_context("fork")
    pool = partial(loky.ProcessPoolExecutor, context=context)
    mock.patch.object(loky, "ProcessPoolExecutor", pool).start()


if __name__ == "__main__":
    folder, number, notes, *words = sys.argv[1:]
    FileEvents(Path(folder), int(number), Path(notes)).begin()
    train(words, Path(folder).parent / "kept")
