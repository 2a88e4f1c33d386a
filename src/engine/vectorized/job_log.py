"""engine.vectorized.job_log"""

import logging
from collections.abc import Iterable
from pathlib import Path

from engine.messages import _file_handler


def write(path: Path, records: Iterable[logging.LogRecord]) -> None:
    """Send messages to a file only."""
    handler = _file_handler(path)
    for record in records:
        handler.handle(record)
    handler.close()


def record(text: str) -> logging.LogRecord:
    """A message for `write`."""
    return logging.LogRecord("project", logging.INFO, "", 0, text, None, None)


class Diverted(logging.Handler):
    """While in use as a context, takes what the callbacks say to `where`; to the usual places while that is None."""

    def __init__(self) -> None:
        super().__init__()
        self.where: list[logging.LogRecord] | None = None
        self._source = logging.getLogger("project.callbacks")

    def emit(self, record: logging.LogRecord) -> None:
        if self.where is None:
            logging.getLogger().handle(record)
        else:
            self.where.append(record)

    def __enter__(self) -> "Diverted":
        self._source.addHandler(self)
        self._source.propagate = False
        return self

    def __exit__(self, *error: object) -> None:
        self._source.removeHandler(self)
        self._source.propagate = True
