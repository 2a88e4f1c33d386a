"""Trains in a process that is killed at a chosen file event.

    python -m file_events FOLDER EVENT NOTES …    the words of project.train

An event is a call that changes files below FOLDER: one that makes, empties, renames or removes a
file, writes a part of one, makes or removes a folder. A call that changes nothing is none, such as
mkdir of a folder that is there, or fsync: a kill before it leaves what a kill before the next event
leaves. The process gets SIGKILL right before its EVENT. NOTES gets a line for each event. With ""
for EVENT nothing is killed.

A write is two events: `write` comes before anything is written, `half` when half of the bytes are.
An event has a name, such as `write runs/lenet/TIME/train.log 3`: the third of its kind. So it is
the same one whatever other threads do meanwhile. Events of forked processes are counted, too; only
the process with the chosen event is killed.
"""

import builtins
import faulthandler
import io
import os
import pickle
import re
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import kept_configs
from commands import run_train
from engine import figures

# What may be in the name of a file by chance, and what stands for it in the name of an event.
BY_CHANCE = (
    (r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(_\d+)?", "TIME"),  # the folder of a run
    (r"(?<=tfevents)\..*", ""),  # with the time and the process
    (r"(^|/)(\.[^/]+)\.\d+$", r"\1\2.PID"),  # the part of a file that a process writes
)
# Calls that change what is there, and calls that make what is not there.
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.truncate")
MAKES = {"os.mkdir": 0, "os.link": 1, "os.symlink": 1}  # with the place of the new path


def name_of(path: str) -> str:
    """Returns a path without what is in it by chance."""
    for pattern, word in BY_CHANCE:
        path = re.sub(pattern, word, path)
    return path


def numbered(lines: Iterable[str]) -> list[str]:
    """Returns the names of events: lines of notes, each with its number among those like it."""
    seen: Counter[str] = Counter()
    names = []
    for line in lines:
        seen[line] += 1
        names.append(f"{line} {seen[line]}")
    return names


class FileEvents:
    """Notes file events below a folder, and kills the process that comes to a chosen one.

    Args:
        folder: the folder.
        aim: the name of the event that kills; "": none.
        notes: the file that has a line for each event so far, of forked processes, too.
    """

    def __init__(self, folder: Path, aim: str, notes: Path) -> None:
        self.folder = os.path.join(folder, "")
        self.aim = aim
        self.path = notes
        self.notes = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.open = io.open

    def begin(self) -> None:
        """Watches this process from now on, to its end."""
        sys.addaudithook(self.audit)
        for module in (builtins, io):
            mock.patch.object(module, "open", self.opened).start()

    def below(self, path: Any) -> str | None:
        """Returns the path as text, if it is below the folder. TensorBoard names files by bytes."""
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        return text if text.startswith(self.folder) else None

    def comes(self, kind: str, path: str, half: Any = None) -> None:
        """Notes an event; kills this process if it is the one, after `half` has been called."""
        line = f"{kind} {name_of(path.removeprefix(self.folder)).rstrip('/')}"
        os.write(self.notes, f"{line}\n".encode())
        kind, _, number = self.aim.rpartition(" ")
        if kind != line:
            return
        with self.open(self.path) as file:
            if file.read().splitlines().count(line) != int(number):
                return
        if half:
            half()
        os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Takes what Python is about to do."""
        if event == "open":
            self._opens(*arguments)
        elif event in CHANGES or event in MAKES:
            path = self.below(arguments[MAKES.get(event, 0)])
            if path and _changes(event, path):
                self.comes(event.removeprefix("os."), path)

    def _opens(self, named: Any, mode: str | None, flags: int) -> None:
        if path := self.below(named):
            is_made = flags & os.O_CREAT and not os.path.lexists(path)
            is_emptied = flags & os.O_TRUNC and os.path.isfile(path) and os.path.getsize(path)
            if is_made or is_emptied:
                self.comes("open", path)

    def opened(self, *arguments: Any, **options: Any) -> Any:
        """Opens a file as `open` does, and watches what is written to it."""
        file = self.open(*arguments, **options)
        raw: Any = getattr(file, "buffer", file)
        raw = getattr(raw, "raw", raw)
        if raw.writable() and (path := self.below(raw.name)):
            raw.write = partial(self.written, path, raw.write)
        return file

    def written(self, path: str, write: Any, data: Any) -> int:
        if len(data):
            self.comes("write", path)
        if len(data) > 1:
            self.comes("half", path, partial(write, memoryview(data)[: len(data) // 2]))
        done: int = write(data)
        return done


def _changes(event: str, path: str) -> bool:
    """Tells whether a call will change something."""
    is_there = os.path.lexists(path)
    if event in CHANGES:
        return is_there
    return not is_there and os.path.isdir(os.path.dirname(path.rstrip("/")))


def train(words: Sequence[str], kept: Path) -> None:
    """Runs `python -m project.train …` in less time than usual; after a minute, says where it is.

    joblib's processes are forked: they need not import anything then. Pictures do not show the
    name of the run's folder, which has the time.

    Args:
        words: of the command line.
        kept: a file that keeps what Hydra composes, see tests/kept_configs.py.
    """
    faulthandler.dump_traceback_later(60)
    mock.patch.object(figures, "run_name", return_value="a run").start()
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
    folder, aim, notes, *words = sys.argv[1:]
    FileEvents(Path(folder), aim, Path(notes)).begin()
    train(words, Path(folder).parent / "kept")
