"""Writes files of events that TensorBoard reads, as its own writer does, but without a thread.

TensorBoard's writer hands each event to a thread, which keeps Python busy for ten times as long as
it takes to write the event here. There is no moment at which one knows what is in the file.
"""

import functools
import itertools
import logging
import os
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import google_crc32c

from engine.fence.tensorboard import Event
from engine.files import CannotWrite, OwnFile, make_folder

log = logging.getLogger(__name__)

_numbers = itertools.count()  # one for each file of this process; read in the names' order


class Events:
    """Writes events to a file; has the methods of TensorBoard's EventFileWriter.

    Where somebody has changed or removed the file, a new one goes on, and the log says so.

    Args:
        folder: of the file, which is made with the first event.
        suffix: of the file's name.
        holds: whether events stay in memory until `flush`.
    """

    def __init__(self, folder: str, suffix: str = "", holds: bool = False) -> None:
        self.suffix, self.holds = suffix, holds
        self.held: list[bytes] = []  # records that are not in the file yet
        self._lock = threading.RLock()
        self._has_folder = False
        self._begin(Path(folder))

    def _begin(self, folder: Path) -> None:
        now = time.time()
        name = f"{_prefix(now)}.{next(_numbers):09d}{self.suffix}"
        self._file = OwnFile(folder / name)
        # The record that a file begins with; empty once it is there.
        self._first = _record(Event(wall_time=now, file_version="brain.Event:2"))

    @property
    def path(self) -> Path:
        return self._file.path

    def get_logdir(self) -> str:
        return str(self.path.parent)

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
            self._warn()

    def _write(self) -> None:
        """Writes what is held.

        Raises:
            CannotWrite: if the system does not let it be written; the next try is a new file.
        """
        if not self.held:
            return
        if not self._has_folder:
            make_folder(self.path.parent)
            self._has_folder = True
        try:
            if not self._file.append(self._first + b"".join(self.held)):
                self._warn()
                self._begin(self.path.parent)
                self._file.append(self._first + b"".join(self.held))
        except CannotWrite:
            self._begin(self.path.parent)
            raise
        self.held, self._first = [], b""

    def _warn(self) -> None:
        log.warning("%s: somebody else has changed it; its curves may have gaps", self.path)


def wait_for_a_later_name(folder: Path) -> None:
    """Waits until new events of TensorBoard would come after those that a folder has.

    TensorBoard reads files in the order of their names. These have the second in which they were
    begun, and then the number of the process, which may be lower for the later one.
    """
    latest = max((path.name for path in folder.glob("events.out.tfevents.*")), default="")
    while _prefix(time.time()) <= latest:
        time.sleep(0.05)


def _prefix(now: float) -> str:
    """Returns how the names of files that this process begins now begin, as TensorBoard's do."""
    return f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}"


def _record(event: Any) -> bytes:
    content = event.SerializeToString()
    return b"".join((_header(len(content)), content, _checksum(content)))


@functools.cache  # most records have one of a few lengths
def _header(length: int) -> bytes:
    size = struct.pack("<Q", length)
    return size + _checksum(size)


def _checksum(data: bytes) -> bytes:
    """Returns the masked CRC-32C of TensorBoard's record files: 4 bytes, little-endian.

    TensorBoard's own function takes longer than all the rest of a row.
    """
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
