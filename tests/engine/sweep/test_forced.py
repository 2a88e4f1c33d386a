"""sweep.force=true, sweep.retry=failed: each job runs again once.

That holds however often the sweep is interrupted, and whoever else runs the same jobs.
"""

import contextlib
import os
import pickle
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus

from engine.errors import NotWritten, RunFailed, UserError, WorkerLost
from engine.run import folders, identity
from engine.run.summaries import save
from engine.signals import Interrupted
from engine.sweep import forced as of_sweeps
from engine.sweep.jobs import Job, conclude, run_all
from sweeping import made

WORDS = ("seed=1", "seed=2", "seed=3")


class Worker:
    """A launcher that runs jobs one by one, and is interrupted in the midst of one."""

    def __init__(self, stops_in: str = "", status: str = "finished") -> None:
        self.stops_in, self.status = stops_in, status
        self.ran: list[str] = []

    def __call__(self, jobs: Sequence[Job]) -> list[JobReturn]:
        for job in jobs:
            with job.claimed() as folder:
                if folder is None:
                    continue
                self.ran.append(job.overrides[0])
                folders.save_config(folder, job.config, "project.train")
                if job.overrides[0] == self.stops_in:
                    raise Interrupted(130)
                save(folder, {"status": self.status, "objective": 0.5})
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=0.5) for _ in jobs]


def forced(sweep_dir: Path, stops_in: str = "", words: Sequence[str] = WORDS) -> list[str]:
    """Forces a sweep as the same command would; the jobs that it ran."""
    jobs = made(sweep_dir, *words)
    for job in jobs:
        job.treated["force"] = True
    worker = Worker(stops_in)
    try:
        run_all(jobs, worker)
    except Interrupted:
        assert stops_in
    return worker.ran


def folders_of(sweep_dir: Path, word: str) -> list[str]:
    return sorted(path.name.partition("-")[2][8:] for path in sweep_dir.glob(f"{word}-*"))


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """The folder of a sweep that has ended."""
    run_all(made(tmp_path, *WORDS), Worker())
    return tmp_path


def test_the_same_command_goes_on_with_a_forced_sweep(
    ended: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: each start ran all jobs again, and it was said to go on."""
    caplog.set_level("INFO")
    assert forced(ended, stops_in="seed=2") == ["seed=1", "seed=2"]
    assert "goes on" not in caplog.text
    assert forced(ended, stops_in="seed=3") == ["seed=2", "seed=3"]  # the first is interrupted
    # As it happened: a second process said "it was interrupted" of a sweep that the first one ran.
    says = "goes on with a sweep that was interrupted, or that another process runs; left: 2 of 3"
    assert f"{says} jobs" in caplog.text
    assert forced(ended) == ["seed=3"]
    assert [folders_of(ended, word) for word in WORDS] == [["", ".1"]] * 3
    assert forced(ended) == [*WORDS]  # it has ended, and is asked for once more
    assert [folders_of(ended, word) for word in WORDS] == [["", ".1", ".2"]] * 3


def test_what_a_forced_sweep_has_not_run_yet_is_not_called_finished(ended: Path) -> None:
    forced(ended, stops_in="seed=2")
    jobs = made(ended, *WORDS)
    (token,) = (path.read_text() for path in ended.glob(".locks/*.token"))
    for job in jobs:
        job.treated["force"], job.token = True, token
    assert [job.state().status for job in jobs] == ["finished", "interrupted", "to run again"]


def test_a_job_whose_code_has_changed_since_runs_once_more(
    ended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced(ended, stops_in="seed=2")
    seed_1 = next(ended.glob("seed=1-????????"))

    def changed(run_dir: Path, config: Any) -> identity.Changed:
        return identity.Changed(code=("lenet.py",) if run_dir == seed_1 else ())

    monkeypatch.setattr(identity, "changed", changed)
    assert forced(ended) == [*WORDS]


def test_a_forced_job_begins_anew_once_though_its_worker_is_started_again(ended: Path) -> None:
    """As it happened: a job that Slurm submitted again lost what it had trained."""
    (job,) = made(ended, "seed=1")
    job.treated["force"] = True

    def twice(jobs: Sequence[Job]) -> list[JobReturn]:
        sent = pickle.dumps(jobs[0])
        for _ in range(2):
            with pickle.loads(sent).claimed() as folder:
                assert folder is not None
                folders.save_config(folder, job.config, "project.train")
        save(folder, {"status": "finished", "objective": 0.5})
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=0.5)]

    run_all([job], twice)
    assert folders_of(ended, "seed=1") == ["", ".1"]


def test_a_clock_that_was_set_back_changes_nothing(ended: Path) -> None:
    """As it happened: no job ran, a kill was said, and the code was 0."""
    later = time.time() + 3600
    for path in ended.rglob("*.yaml"):
        os.utime(path, (later, later))
    assert forced(ended) == [*WORDS]


def test_a_job_whose_data_change_once_it_has_run_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor has it lost its worker; the next sweep runs it again."""
    jobs, worker = made(tmp_path, *WORDS), Worker()

    def launch(jobs: Sequence[Job]) -> list[JobReturn]:
        returns = worker(jobs)
        monkeypatch.setattr(identity, "changed", lambda *_: identity.Changed(data="data"))
        return returns

    states = run_all(jobs, launch)
    assert worker.ran == [*WORDS]
    assert [now.status for now in states] == ["other data"] * 3
    assert [job.error for job in jobs] == [None] * 3
    conclude(jobs, states, "mine.train")  # raises nothing
    run_all(made(tmp_path, *WORDS), worker)
    assert worker.ran == [*WORDS] * 2


def test_a_job_that_did_not_run_again_is_a_failure(ended: Path) -> None:
    (job,) = made(ended, "seed=1")
    job.treated["force"] = True

    def dead(jobs: Sequence[Job]) -> list[JobReturn]:
        return [JobReturn(status=JobStatus.FAILED, _return_value=WorkerLost()) for _ in jobs]

    states = run_all([job], dead)
    assert [now.status for now in states] == ["to run again"]
    with pytest.raises(RunFailed, match=r"^a job failed$"):
        conclude([job], states, "mine.train")


def test_a_sweep_that_shares_a_job_with_an_interrupted_one_runs_all_of_its_own(ended: Path) -> None:
    run_all(made(ended, "seed=5"), Worker())
    forced(ended, stops_in="seed=2")
    assert forced(ended, words=("seed=3", "seed=5")) == ["seed=3", "seed=5"]


def test_a_plain_sweep_ends_a_forced_one_that_was_interrupted(ended: Path) -> None:
    forced(ended, stops_in="seed=2")
    run_all(made(ended, *WORDS), Worker())
    assert forced(ended) == [*WORDS]


@pytest.mark.parametrize("word", ["", "force", "retry"])
def test_a_sweep_in_another_shell_leaves_a_forced_one_going_on(word: str, ended: Path) -> None:
    """As it happened: it ended the forced one, whose jobs ran once more after a kill."""
    others = made(ended, *WORDS)
    for job in others:
        job.treated |= {"force": True} if word == "force" else {"retry": "failed"} if word else {}
    ran: list[str] = []

    def launch(jobs: Sequence[Job]) -> list[JobReturn]:
        done = Worker()(jobs[:1])
        other = Worker()
        run_all(others, other)
        ran.extend(other.ran)
        return [*done, *Worker(stops_in="seed=2")(jobs[1:])]

    jobs = made(ended, *WORDS)
    for job in jobs:
        job.treated["force"] = True
    # It shares the jobs if it is the same command: then none is left.
    with contextlib.nullcontext() if word == "force" else pytest.raises(Interrupted):
        run_all(jobs, launch)
    assert ran == (["seed=2", "seed=3"] if word == "force" else [])
    assert forced(ended) == ([*WORDS] if word == "force" else ["seed=2", "seed=3"])
    assert forced(ended) == [*WORDS]  # it has ended
    assert not list(ended.glob(".locks/*.running"))


def test_a_process_that_was_killed_does_not_hold_its_sweep(ended: Path) -> None:
    forced(ended, stops_in="seed=2")
    (token,) = ended.glob(".locks/*.token")
    token.with_suffix(".0123abcd.running").touch()
    run_all(made(ended, *WORDS), Worker())
    assert not [*ended.glob(".locks/*.token"), *ended.glob(".locks/*.running")]


def test_two_sweeps_that_begin_at_once_have_one_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: each had its own, and so each ran all jobs."""
    place = of_sweeps.place(tmp_path, ["0123", "4567"])
    tokens: list[str] = []

    def begin() -> None:
        with of_sweeps.held(place) as token:
            tokens.append(token)

    other = threading.Thread(target=begin)

    def slowly(path: Path, token: str, write: Any = of_sweeps.write) -> None:
        if threading.current_thread() is not other:
            other.start()
            other.join(0.2)  # seconds: without a lock, the other one ends in less
        write(path, token)

    monkeypatch.setattr(of_sweeps, "write", slowly)
    begin()
    other.join()
    assert tokens == [place.read_text()] * 2


def test_a_sweep_of_which_a_job_is_refused_has_ended(ended: Path) -> None:
    class Refuses(Worker):
        def __call__(self, jobs: Sequence[Job]) -> list[JobReturn]:
            refused = JobReturn(status=JobStatus.FAILED, _return_value=UserError("no network"))
            return [*super().__call__(jobs[:-1]), refused]

    for _ in range(2):
        jobs = made(ended, *WORDS)
        for job in jobs:
            job.treated["force"] = True
        run_all(jobs, worker := Refuses())
        assert worker.ran == ["seed=1", "seed=2"]


def test_a_full_disk_interrupts_a_forced_sweep(ended: Path) -> None:
    class Full(Worker):
        def __call__(self, jobs: Sequence[Job]) -> list[JobReturn]:
            full = JobReturn(status=JobStatus.FAILED, _return_value=NotWritten("no space"))
            return [*super().__call__(jobs[:-1]), full]

    jobs = made(ended, *WORDS)
    for job in jobs:
        job.treated["force"] = True
    run_all(jobs, Full())
    assert forced(ended) == ["seed=3"]


def retried(sweep_dir: Path, worker: Worker) -> list[str]:
    """Runs failed jobs again, as the same command would; the jobs that it ran."""
    jobs = made(sweep_dir, *WORDS)
    for job in jobs:
        job.treated["retry"] = "failed"
    try:
        run_all(jobs, worker)
    except Interrupted:
        assert worker.stops_in
    return worker.ran


@pytest.fixture
def diverged(tmp_path: Path) -> Path:
    """The folder of a sweep of which all jobs have diverged."""
    run_all(made(tmp_path, *WORDS), Worker(status="diverged"))
    return tmp_path


def test_the_same_command_goes_on_with_a_retry(
    diverged: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: each start began with the first job, which diverged again."""
    caplog.set_level("INFO")
    assert retried(diverged, Worker("seed=2", "diverged")) == ["seed=1", "seed=2"]
    assert "goes on" not in caplog.text
    assert retried(diverged, Worker("", "diverged")) == ["seed=2", "seed=3"]
    says = "goes on with a sweep that was interrupted, or that another process runs; left: 2 of 3"
    assert f"sweep.retry=failed {says} jobs" in caplog.text
    assert retried(diverged, Worker("", "diverged")) == [*WORDS]  # it has ended


def test_a_forced_sweep_that_was_interrupted_takes_no_job_from_a_retry(ended: Path) -> None:
    jobs = made(ended, *WORDS)
    for job in jobs:
        job.treated["force"] = True
    with pytest.raises(Interrupted):
        run_all(jobs, Worker("seed=2", "diverged"))
    assert retried(ended, Worker()) == ["seed=1", "seed=2"]
    assert forced(ended) == [*WORDS]


def test_a_retry_that_has_nothing_to_do_writes_nothing(
    ended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    monkeypatch.setattr("engine.files.write_whole", lambda path, text: written.append(path))
    assert retried(ended, Worker()) == []
    assert written == []


def test_two_shells_share_the_jobs_of_a_retry(diverged: Path) -> None:
    """As it happened: each shell ran each job that diverged."""
    shells = [Worker(status="diverged") for _ in range(2)]

    class Shared(Worker):
        def __call__(self, jobs: Sequence[Job]) -> list[JobReturn]:
            done = shells[0](jobs[:1])
            assert retried(diverged, shells[1]) == ["seed=2", "seed=3"]
            return [*done, *shells[0](jobs[1:])]

    retried(diverged, Shared())
    assert shells[0].ran == ["seed=1"]
    assert [folders_of(diverged, word) for word in WORDS] == [["", ".1"]] * 3


@pytest.mark.parametrize("claims", [True, False], ids=["before a claim", "while it is claimed"])
def test_a_job_that_another_forced_sweep_runs_meanwhile_is_run(claims: bool, ended: Path) -> None:
    """As it happened: it ran twice, or was "to run again" in a sweep that ended with code 0."""
    theirs = made(ended, *WORDS)
    for job in theirs:
        job.treated["force"] = True
    own = Worker()

    def launch(jobs: Sequence[Job]) -> list[JobReturn]:
        run_all(theirs, other := Worker())
        assert other.ran == [*WORDS]
        returns = own(jobs) if claims else []
        return returns or [JobReturn(status=JobStatus.COMPLETED, _return_value=0.5) for _ in jobs]

    jobs = made(ended, *WORDS[:2])
    for job in jobs:
        job.treated["force"] = True
    assert [now.status for now in run_all(jobs, launch)] == ["finished"] * 2
    assert own.ran == []
    assert [job.state().status for job in theirs] == ["finished"] * 3  # they keep their marks
    assert [folders_of(ended, word) for word in WORDS] == [["", ".1"]] * 3
    assert forced(ended, words=WORDS[:2]) == [*WORDS[:2]]  # it has ended


def test_a_job_that_ends_elsewhere_while_another_is_waited_for_is_run(ended: Path) -> None:
    """As it happened: "to run again", in a sweep that ended with code 0."""
    theirs = made(ended, *WORDS)
    for job in theirs:
        job.treated["force"] = True

    def launch(jobs: Sequence[Job]) -> list[JobReturn]:
        if len(jobs) == 1:  # it is waited for
            run_all(theirs, Worker())
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=0.5) for _ in jobs]

    jobs = made(ended, *WORDS[:2])
    for job in jobs:
        job.treated["force"] = True
    assert [now.status for now in run_all(jobs, launch)] == ["finished"] * 2
    assert [folders_of(ended, word) for word in WORDS] == [["", ".1"]] * 3


def test_a_folder_that_is_renamed_on_the_way_is_no_job_that_another_process_ran(
    ended: Path,
) -> None:
    own, jobs = Worker(), made(ended, *WORDS)

    def launch(due: Sequence[Job]) -> list[JobReturn]:
        if len(due) == 3:
            assert due[1].folder
            due[1].folder.rename(ended / f"mine-{due[1].config.hash}")
        return own(due)

    for job in jobs:
        job.treated["force"] = True
    assert [now.status for now in run_all(jobs, launch)] == ["finished"] * 3
    assert sorted(own.ran) == [*WORDS]


def test_a_job_that_was_killed_in_one_sweep_and_ran_in_another_runs_no_more(ended: Path) -> None:
    assert forced(ended, stops_in=WORDS[1], words=WORDS[:2]) == [*WORDS[:2]]
    assert forced(ended, words=WORDS[1:]) == [*WORDS[1:]]
    assert forced(ended, words=WORDS[:2]) == []
