"""Keeps the messages of a job that trains with others in memory, for the job's own train.log."""

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging.handlers import BufferingHandler
from pathlib import Path

from engine.messages import file_handler


@contextmanager
def collected() -> Iterator[BufferingHandler]:
    """Sends all messages inside to the `buffer` of the handler, a list, and nowhere else."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    collector = BufferingHandler(sys.maxsize)
    root.handlers[:] = [collector]
    try:
        yield collector
    finally:
        root.handlers[:] = handlers


def record(text: str) -> logging.LogRecord:
    """Returns a message for `write`."""
    return logging.LogRecord(__name__, logging.INFO, "", 0, text, None, None)


def write(path: Path, records: Iterable[logging.LogRecord]) -> None:
    """Writes messages to a file only."""
    handler = file_handler(path)
    for message in records:
        handler.handle(message)
    handler.close()
