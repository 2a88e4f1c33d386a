"""Writes files of events that TensorBoard reads, as its own writer does, but without a thread.

TensorBoard's writer hands each event to a thread, which keeps Python busy for ten times as long as
it takes to write the event here, and writes it some time later.
"""

import contextlib
import functools
import itertools
import logging
import math
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c

from engine.fence.tensorboard import Event
from engine.files import OwnFile, make_folder

log = logging.getLogger(__name__)

HEADER, CHECKSUM = 12, 4  # bytes of a record before and behind its content
NAMES = "events.out.tfevents.*"
Place = tuple[str, int]  # a file's path from the run's folder, and a size

_numbers = itertools.count()  # one for each file of this process; read in the names' order


class Events:
    """Writes events to a file; has the methods of TensorBoard's EventFileWriter.

    Where somebody has changed or removed the file, a later one goes on, and the log says so.

    Args:
        folder: of the file; both are made with the first event.
        suffix: of the file's name.
        run_dir: the run's folder, which is not made anew if somebody removes it.
        holds: whether events stay in memory until `flush`.
    """

    def __init__(self, folder: str, suffix: str, run_dir: Path, holds: bool = False) -> None:
        self.suffix, self.run_dir, self.holds = suffix, run_dir, holds
        self.held: list[bytes] = []  # records that are not in the file yet
        # A thread that writes may be asked for more: by a signal's handler, or by its own message.
        self._lock = threading.RLock()
        self._writes = False
        self._begin(Path(folder))

    def _begin(self, folder: Path) -> None:
        now = time.time()
        latest = _second(max((path.name for path in folder.glob(NAMES)), default=""))
        # TensorBoard reads files in the order of their names. These have the second in which they
        # were begun, and then the number of the process, which may be lower for the later one.
        later = max(now, latest + 1) if latest < math.inf else now
        place = f"{int(later):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers):09d}"
        self.path = folder / f"events.out.tfevents.{place}{self.suffix}"
        self._file = OwnFile(self.path)
        # What the file begins with; empty once it is there.
        self._first = _record(Event(wall_time=now, file_version="brain.Event:2"))

    def get_logdir(self) -> str:
        return str(self.path.parent)

    def begin_with(self, event: Any) -> None:
        """Takes an event that the file, which has none yet, begins with: it comes with the next."""
        event.wall_time = time.time()
        self._first += _record(event)

    def place(self) -> Place:
        """Returns where the events that are written so far end."""
        is_there = not self._first and self.path.exists()  # somebody may have removed it
        name = os.path.relpath(self.path, self.run_dir)
        return name, self.path.stat().st_size if is_there else 0

    def begin_again(self, place: Place, step: int) -> None:
        """Goes on from a place in a file of before, whose later events TensorBoard hides by a step.

        What was logged by hand, such as a picture of a validation, may have that step already,
        though it was there before: this file, which has no event yet, has it once more.

        Args:
            place: what `place` returned.
            step: which TensorBoard is told that training goes on with.
        """
        name, end = place
        content = b""
        with contextlib.suppress(OSError):
            content = (self.run_dir / name).read_bytes()[:end]
        whole = 0
        for record in _records(content):
            whole += len(record)
            event = Event.FromString(record[HEADER:-CHECKSUM])
            if event.step >= step and event.HasField("summary"):
                self.held.append(record)  # in the file before the next checkpoint names it
        if whole < end:
            log.warning("%s: is damaged; what was logged by hand may be lacking", name)

    def add_event(self, event: Any) -> None:
        with self._lock:
            self.held.append(_record(event))
            if not self.holds:
                self._write()

    def flush(self) -> None:
        """Writes what is held, and closes the file until the next event."""
        with self._lock:
            self._write()
            self._file.close()

    def close(self) -> None:
        """Ends the file."""
        self.flush()
        if not self._first and self._file.is_changed():
            _blame(self.path)

    def _write(self) -> None:
        """Writes what is held.

        Raises:
            CannotWrite: if the system does not let it be written; it stays here.
        """
        if self._writes or not self.held:
            return
        self._writes = True
        try:
            changed, count = [], len(self.held)
            while not self._append(b"".join(self.held[:count])):
                changed.append(self.path)
                self._begin(self.path.parent)
            del self.held[:count]
            self._first = b""
            for path in changed:
                _blame(path)
        finally:
            self._writes = False

    def _append(self, content: bytes) -> bool:
        folder = self.path.parent
        if self._first and not folder.is_dir() and self.run_dir.is_dir():
            make_folder(folder)
        return self._file.append(self._first + content)


def _blame(path: Path) -> None:
    log.warning("%s: somebody else has changed it; its curves may have gaps", path)


def _second(name: str) -> float:
    """Returns the second in which a file was begun, as its name says; infinity for a strange one.

    A name comes from a clock, which may have been ahead.
    """
    found = re.match(r"events\.out\.tfevents\.(\d{10})\.", name)
    return int(found[1]) if found else math.inf


def _records(content: bytes) -> Iterator[bytes]:
    """Yields the records of a file, up to the first that is damaged."""
    begin = 0
    while len(size := content[begin : begin + 8]) == 8:
        (length,) = struct.unpack("<Q", size)
        record = content[begin : begin + HEADER + length + CHECKSUM]
        is_whole = len(record) == HEADER + length + CHECKSUM and record[:HEADER] == _header(length)
        if not is_whole or record[-CHECKSUM:] != _checksum(record[HEADER:-CHECKSUM]):
            return
        yield record
        begin += len(record)


def content_of(events: Iterable[Any]) -> bytes:
    """Returns the content of a file with these events."""
    return b"".join(map(_record, events))


def _record(event: Any) -> bytes:
    content = event.SerializeToString()
    return b"".join((_header(len(content)), content, _checksum(content)))


@functools.lru_cache  # most records have one of a few lengths
def _header(length: int) -> bytes:
    size = struct.pack("<Q", length)
    return size + _checksum(size)


def _checksum(data: bytes) -> bytes:
    """Returns the masked CRC-32C of TensorBoard's record files: 4 bytes, little-endian.

    TensorBoard's own function takes longer than all the rest of a row.
    """
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
