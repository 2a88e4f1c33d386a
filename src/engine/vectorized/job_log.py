"""What a job says while it trains with others: kept in memory, for its own train.log."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.messages import file_handler


class _Collector(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self.records = records

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def collected(records: list[logging.LogRecord]) -> Iterator[None]:
    """Inside, all messages go to a list, and nowhere else."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    root.handlers[:] = [_Collector(records)]
    try:
        yield
    finally:
        root.handlers[:] = handlers


def record(text: str) -> logging.LogRecord:
    """Make a message for `write`."""
    return logging.LogRecord(__name__, logging.INFO, "", 0, text, None, None)


def write(path: Path, records: Iterable[logging.LogRecord]) -> None:
    """Write messages to a file only."""
    handler = file_handler(path)
    for one in records:
        handler.handle(one)
    handler.close()
