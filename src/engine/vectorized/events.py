"""Keeps a run's events in memory until a flush: one process may write hundreds of runs at once."""

import functools
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

from engine.fence.lightning import open_writer, prefix_of, rank_zero_experiment
from engine.fence.tensorboard import Event, Summary, WriterUpon, events_of
from engine.files import make_folder, writing
from engine.run.loggers import Row, TensorBoard, tag_of

_numbers = itertools.count()  # one for each file of this process; read in the names' order


class BufferedTensorBoard(TensorBoard):
    """Writes the events that `TensorBoard` writes, without a thread or an open file."""

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        writer: SummaryWriter = open_writer(self, partial(WriterUpon, BufferedEvents))
        return writer

    def log_rows(self, rows: Iterable[Row]) -> None:
        """Logs rows of metrics, one event a row.

        An event is made anew only where the names of the metrics change: that takes longer than
        to fill in the numbers.
        """
        prefix = f"{prefix_of(self)}-" if prefix_of(self) else ""
        events = events_of(self.experiment)
        names: list[str] | None = None
        for row in rows:
            if names != (names := list(row.values)):
                tags = {name: tag_of(name) for name in names if name != "epoch"}
                values = [Summary.Value(tag=prefix + tag) for tag in tags.values()]
                event = Event(summary=Summary(value=values))
                places = list(zip(tags, event.summary.value, strict=True))
                self.show_charts(tags.values())
            event.wall_time, event.step = row.time, row.step
            for name, value in places:
                value.simple_value = float(row.values[name])
            events.add_event(event)


class BufferedEvents:
    """Appends events to a file at each flush; has the methods of TensorBoard's EventFileWriter."""

    def __init__(self, folder: str) -> None:
        now = time.time()
        source = f"{socket.gethostname()}.{os.getpid()}.b{next(_numbers):09d}"
        self.path = Path(folder) / f"events.out.tfevents.{int(now):010d}.{source}"
        self.buffer = io.BytesIO()  # the records that are not in the file yet
        self.add_event(Event(wall_time=now, file_version="brain.Event:2"))

    def add_event(self, event: Any) -> None:
        record = event.SerializeToString()
        self.buffer.write(b"".join((_header(len(record)), record, _checksum(record))))

    def get_logdir(self) -> str:
        return str(self.path.parent)

    def flush(self) -> None:
        if records := self.buffer.getvalue():
            make_folder(self.path.parent)
            with writing(self.path), open(self.path, "ab") as file:
                file.write(records)
            self.buffer = io.BytesIO()

    close = flush


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
