"""Checks that the messages of a job that trains with others go to the job's own log."""

import logging
from pathlib import Path

import pytest

from engine.vectorized import job_log


def test_what_is_records_for_a_job_is_the_jobs_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever says it: a callback of the engine's, one of the user's, Lightning."""
    records: list[logging.LogRecord] = []
    another: list[logging.LogRecord] = []
    logging.getLogger("engine.callbacks.divergence").warning("for %s", "all")
    with job_log.collected() as collector:
        collector.buffer = records
        logging.getLogger("engine.callbacks.divergence").warning("for one, %d", 1)
        logging.getLogger("mine.callbacks").warning("mine")
        collector.buffer = another
        logging.getLogger("mine.callbacks").warning("for another")
    logging.getLogger("mine.callbacks").warning("afterwards")
    assert [record.getMessage() for record in records] == ["for one, 1", "mine"]
    assert [record.getMessage() for record in another] == ["for another"]
    assert [record.getMessage() for record in caplog.records] == ["for all", "afterwards"]
    job_log.write(tmp_path / "train.log", [job_log.record("a text, 100 %"), *records])
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert [line.partition(" INFO ")[2] or line.partition(" WARNING ")[2] for line in lines] == [
        "engine.vectorized.job_log: a text, 100 %",
        "engine.callbacks.divergence: for one, 1",
        "mine.callbacks: mine",
    ]
