"""Jobs that a launcher runs elsewhere: what it loses with a worker, or cannot write."""

import errno
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus

from engine.errors import RunFailed, UserError, WorkerLost
from engine.run import folders
from engine.run.summaries import save
from engine.sweep.jobs import Job, answer_text, conclude, run_all
from sweeping import made


class Workers:
    """A launcher whose workers die of some jobs.

    With them goes what they were given, from the first such job on.
    """

    def __init__(
        self, sweep_dir: Path, deadly: Sequence[str] = (), wrong: Sequence[str] = ()
    ) -> None:
        self.sweep_dir, self.deadly, self.wrong = sweep_dir, deadly, wrong
        self.launched: list[list[str]] = []

    def __call__(self, jobs: Sequence[Job]) -> list[JobReturn]:
        self.launched.append([job.overrides[0] for job in jobs])
        returns = []
        for words in [job.overrides for job in jobs]:
            (own,) = made(self.sweep_dir, words[0])
            if words[0] in self.wrong:
                returns.append(
                    JobReturn(
                        status=JobStatus.FAILED, overrides=words, _return_value=UserError("no")
                    )
                )
                continue
            run_dir = folders.job_dir(own.config, self.sweep_dir, [words[0]])
            folders.save_config(run_dir, own.config, "project.train")
            if words[0] in self.deadly:
                raise RuntimeError("a worker is gone")
            save(run_dir, {"status": "finished", "objective": 0.5})
            returns.append(
                JobReturn(status=JobStatus.COMPLETED, overrides=words, _return_value=0.5)
            )
        return returns


def test_a_job_that_kills_its_worker_takes_no_other_with_it(tmp_path: Path) -> None:
    jobs = made(tmp_path, "seed=1", "seed=2", "seed=3", "seed=4")
    workers = Workers(tmp_path, deadly=["seed=2"])
    states = run_all(jobs, workers)
    assert workers.launched == [
        ["seed=1", "seed=2", "seed=3", "seed=4"],
        ["seed=3", "seed=4"],
        ["seed=2"],
    ]
    assert [now.status for now in states] == ["finished", "failed", "finished", "finished"]
    assert [str(job.error) for job in jobs if job.error] == ["its process was killed"]
    with pytest.raises(RunFailed):
        conclude(jobs, states, "mine.train")


class DeadAtOnce(Workers):
    """A launcher whose workers die before they begin a job, the first times."""

    def __init__(self, sweep_dir: Path, times: int) -> None:
        super().__init__(sweep_dir)
        self.times = times

    def __call__(self, jobs: Sequence[Job]) -> list[JobReturn]:
        if len(self.launched) >= self.times:
            return super().__call__(jobs)
        self.launched.append([job.overrides[0] for job in jobs])
        lost = WorkerLost()
        return [JobReturn(status=JobStatus.FAILED, _return_value=lost) for _ in jobs]


@pytest.mark.parametrize(("times", "status"), [(1, "finished"), (9, "failed")])
def test_a_job_that_is_to_run_again_and_has_not_begun_is_not_finished(
    times: int, status: str, tmp_path: Path
) -> None:
    """As it happened: where workers were killed at once, sweep.force did nothing, with code 0."""
    (old,) = made(tmp_path, "seed=1")
    run_all([old], Workers(tmp_path))
    before = old.stamp
    (job,) = made(tmp_path, "seed=1")
    job.treated["force"] = True
    run_all([job], workers := DeadAtOnce(tmp_path, times))
    assert len(workers.launched) == min(times, 2) + 1
    assert (job.error is None) == (status == "finished")
    assert (job.stamp != before) == (status == "finished")


def test_a_job_that_is_to_run_again_and_is_refused_says_why(tmp_path: Path) -> None:
    (old,) = made(tmp_path, "seed=1")
    run_all([old], Workers(tmp_path))
    (job,) = made(tmp_path, "seed=1")
    job.treated["force"] = True
    run_all([job], workers := Workers(tmp_path, wrong=["seed=1"]))
    assert (len(workers.launched), str(job.error)) == (1, "no")


def test_a_job_that_answers_with_an_error_is_not_lost(tmp_path: Path) -> None:
    """As it happened: it ran twice, and its process was called killed."""

    class Leaves(Workers):
        def __call__(self, jobs: Sequence[Job]) -> list[JobReturn]:
            super().__call__(jobs)
            (run_dir,) = tmp_path.glob("seed=1-*")
            save(run_dir, {"status": "interrupted", "error": None})
            return [JobReturn(status=JobStatus.FAILED, _return_value=RunFailed("exit code 3"))]

    (job,) = made(tmp_path, "seed=1")
    states = run_all([job], workers := Leaves(tmp_path))
    assert (len(workers.launched), str(job.error)) == (1, "exit code 3")
    assert [now.status for now in states] == ["failed"]


def test_the_config_of_a_run_does_not_say_how_its_sweep_treats_it(tmp_path: Path) -> None:
    """A job whose worker was killed is launched again, and waits: its run is the same."""
    forced, waits = made(tmp_path, "sweep.force=true", "sweep.wait=true")
    assert (forced.treated["force"], waits.treated["wait"]) == (True, True)
    assert forced.config.values_by_node == waits.config.values_by_node
    assert forced.hash == waits.hash


def test_a_job_with_a_wrong_config_is_told_of_after_the_others(tmp_path: Path) -> None:
    jobs = made(tmp_path, "seed=1", "seed=2")
    states = run_all(jobs, Workers(tmp_path, wrong=["seed=1"]))
    assert [now.status for now in states] == ["failed", "finished"]
    with pytest.raises(UserError, match=r"^no$"):
        conclude(jobs, states, "mine.train")


def test_equal_jobs_are_launched_once(tmp_path: Path) -> None:
    """As it happened: two equal trials at once had one lock, and the second was told as NaN."""
    jobs = made(tmp_path, "seed=1", "seed=2", "seed=1", "seed=2", "seed=3")
    workers = Workers(tmp_path, wrong=["seed=2"])
    states = run_all(jobs, workers)
    assert workers.launched == [["seed=1", "seed=2", "seed=3"]]
    statuses = ["finished", "failed", "finished", "failed", "finished"]
    assert [now.status for now in states] == statuses
    assert [str(job.error or "") for job in jobs] == ["", "no", "", "no", ""]


def test_the_line_of_a_job_that_another_process_runs_has_no_number(tmp_path: Path) -> None:
    """As it happened: "1 of 4: seed=3: nan", as if it had diverged."""
    (job,) = made(tmp_path, "seed=1")
    assert answer_text(math.nan, job) == "another process runs it"
    assert answer_text(0.25, job) == "0.25"
    run_dir = folders.job_dir(job.config, tmp_path, ["seed=1"])
    folders.save_config(run_dir, job.config, "project.train")
    save(run_dir, {"status": "diverged", "objective": None})
    assert answer_text(math.nan, job) == "nan"
    assert answer_text(math.nan, None) == "nan"


class FullLauncher(Workers):
    """A launcher that finds no space for its own files."""

    def __call__(self, jobs: Sequence[Job]) -> list[JobReturn]:
        raise OSError(errno.ENOSPC, "No space left on device", "/dev/shm/x")


def test_a_launcher_that_finds_no_space(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    jobs = made(tmp_path / "taken back", "seed=1", "seed=2")
    states = run_all(jobs, FullLauncher(tmp_path))
    with pytest.raises(UserError, match=r"^/dev/shm/x: cannot be written: No space left on"):
        conclude(jobs, states, "mine.train")
    assert "its process was killed" not in caplog.text
    assert "tensorboard --logdir" not in caplog.text  # of a folder that is not there
