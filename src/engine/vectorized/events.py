"""A run's events, in memory until they are flushed: one process may write hundreds of runs at once."""

import io
import itertools
import os
import socket
import struct
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import google_crc32c
from torch.utils.tensorboard import SummaryWriter

from engine.fence.lightning import open_writer, prefix_of, rank_zero_experiment, writer_of
from engine.fence.tensorboard import Event, Summary, WriterUpon, events_of
from engine.run.loggers import Row, TensorBoard

_count = itertools.count()  # of this process's files


class BufferedTensorBoard(TensorBoard):
    """What `TensorBoard` writes, without a thread or an open file."""

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        writer: SummaryWriter = open_writer(self, partial(WriterUpon, BufferedEvents))
        return writer

    def log_rows(self, rows: Iterable[Row]) -> None:
        """What `log_metrics` does with each."""
        if prefix_of(self):
            for row in rows:
                self.log_metrics(row.values, row.step)
            return
        events = events_of(self.experiment)
        tags: list[str] | None = None
        for row in rows:
            if tags != (tags := list(row.values)):
                event = Event(summary=Summary(value=[Summary.Value(tag=tag) for tag in tags]))
            event.wall_time, event.step = row.time, row.step
            for value, number in zip(event.summary.value, row.values.values(), strict=True):
                value.simple_value = float(number)
            events.add_event(event)

    def flush(self) -> None:
        """Write what has come since the last time."""
        if writer := writer_of(self):
            writer.flush()


class BufferedEvents:
    """A file of events, with the methods of TensorBoard's EventFileWriter."""

    def __init__(self, folder: str) -> None:
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.b{next(_count)}"
        self.path, self._buffer = Path(folder) / name, io.BytesIO()
        self.add_event(Event(wall_time=now, file_version="brain.Event:2"))

    def add_event(self, event: Any) -> None:
        record = event.SerializeToString()
        size = struct.pack("<Q", len(record))
        self._buffer.write(b"".join((size, _checksum(size), record, _checksum(record))))

    def add_records(self, records: bytes) -> None:
        """Add events as they lie in a file."""
        self._buffer.write(records)

    def records(self) -> bytes:
        """What is not in the file yet."""
        return self._buffer.getvalue()

    def get_logdir(self) -> str:
        return str(self.path.parent)

    def flush(self) -> None:
        if records := self.records():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab") as file:
                file.write(records)
            self._buffer = io.BytesIO()

    def close(self) -> None:
        self.flush()

    def reopen(self) -> None:
        """There is nothing to open."""


def _checksum(data: bytes) -> bytes:
    """As TensorBoard's record files have it; TensorBoard's own takes longer than all the rest of a row."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
