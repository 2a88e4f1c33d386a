"""Gives the tests of launchers a sweep that says what it does."""

import sys
from pathlib import Path

import pytest

from commands import TESTS, run_train
from launching import Run
from warm import python


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Run:
    """Run a sweep in this process, its jobs in others; returns what it says."""
    caplog.set_level("INFO")
    monkeypatch.setenv("PYTHONPATH", str(TESTS))  # whose callbacks the jobs have
    monkeypatch.setattr(sys, "executable", python())

    def run(log_dir: Path, *words: str) -> str:
        caplog.clear()
        run_train("-m", *words, f"paths.log_dir={log_dir}")
        return "\n".join(record.getMessage() for record in caplog.records)

    return run
