"""The jobs that one process runs are as in processes of their own, in whatever order."""

from pathlib import Path

import pytest

import counting
from commands import only_run, own_schedule, run_train, train_in_process
from engine.kept import between
from fitting import columns
from identical import assert_bit_identical
from resuming import RUN


def jobs(log_dir: Path, *words: str) -> dict[str, Path]:
    """Runs a sweep; returns its jobs' folders by what is their own."""
    run_train("-m", *RUN, *words, f"paths.log_dir={log_dir}", draws=False)
    return {path.name[:-9]: path for path in log_dir.glob("sweeps/*/*-????????")}


def test_what_a_job_keeps_in_files_and_classes_is_not_there_for_the_next(tmp_path: Path) -> None:
    hoards = "+callbacks.hoards._target_=keeping.Hoards"
    made = jobs(tmp_path / "sweep", hoards, "seed=0,1")
    alone = tmp_path / "alone"
    assert train_in_process([*RUN, hoards, "seed=1", f"paths.log_dir={alone}"]) == 0
    assert_bit_identical(made["seed=1"], only_run(alone))


def test_the_tries_before_training_are_not_there_for_any_job(tmp_path: Path) -> None:
    """As it happened: the schedule of the first job was the second that was made, and so on."""
    own = ["optimizer._target_=counting.slower", *own_schedule("counting.falls")]
    made = jobs(tmp_path, *own, "seed=0,1")
    rates = {job: {*columns(run, "lr")[0]} for job, run in made.items()}
    assert rates == {"seed=0": {0.05}, "seed=1": {0.05}}


def test_a_table_that_a_schedule_makes_once_is_there_for_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: the try before training made it, and each such run ended with a KeyError."""
    monkeypatch.setattr(counting, "tables", {})
    monkeypatch.setattr(counting, "is_ready", False)
    monkeypatch.setattr(between, "_left", set())
    own = own_schedule("counting.falls_by_a_table")
    assert train_in_process([*RUN, *own, f"paths.log_dir={tmp_path}"]) == 0
    assert {*columns(only_run(tmp_path), "lr")[0]} == {0.05, 0.025}


def test_a_precision_that_a_job_sets_is_its_own(tmp_path: Path) -> None:
    sets = "+callbacks.sets._target_=keeping.SetsPrecision"
    made = jobs(tmp_path / "sets", sets, "+callbacks.sets.bits=64,32", "seed=0")
    usual = jobs(tmp_path / "usual", "seed=0,1")
    tables = [(run / "metrics.csv").read_text() for run in (made["bits=32"], usual["seed=0"])]
    assert tables[0] == tables[1]
