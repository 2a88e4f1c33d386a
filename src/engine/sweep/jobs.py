"""The jobs of a sweep: what has become of each, which process runs it, and a table of them all."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher

from engine import locks
from engine.config.resolved import Config
from engine.errors import RunFailed, UserError, WorkerLost, as_mistake
from engine.fence.hydra import answer_of
from engine.run import folders, identity, summaries
from engine.sweep import gpus

log = logging.getLogger(__name__)

ENDS = (*summaries.COMPLETE, "failed")  # not run again unless sweep.retry or sweep.force says so


class State(NamedTuple):
    """A job's status, folder and summary at one moment."""

    status: str
    folder: Path | None
    summary: dict[str, Any]


class Job:
    """One job of a sweep.

    Args:
        config: the job's.
        sweep_dir: holds the folders of all jobs.
        overrides: all words that make the job.
    """

    def __init__(self, config: Config, sweep_dir: Path, overrides: Sequence[str]) -> None:
        self.config = config
        self.sweep_dir = sweep_dir.absolute()
        self.overrides = list(overrides)
        self.hash = config.hash[: identity.DIGITS]
        self.error: Exception | None = None  # why the job has left no summary
        self._folder: Path | None = None
        self._lock = locks.of_job(self.sweep_dir, self.hash)

    @property
    def folder(self) -> Path | None:
        """Its folder, if it has one yet."""
        if not (self._folder and self._folder.exists()):  # it may be renamed
            self._folder = next(self.sweep_dir.glob(f"*-{self.hash}"), None)
        return self._folder

    @property
    def summary(self) -> dict[str, Any]:
        """What its summary.json says; nothing while there is none."""
        return _summary(self.folder)

    @property
    def ended(self) -> bool:
        """Whether it ran to an end, be it a failure; for the study that pruned it, and no other, pruning is one."""
        return self._is_end(self.summary)

    @property
    def status(self) -> str:
        """`new`, `running` by any process, `interrupted`, `finished`, `diverged` or `failed`."""
        return self.state().status

    def state(self) -> State:
        """Read the job's status, folder and summary: any process may change them."""
        folder = self.folder
        summary = _summary(folder)
        if self._is_end(summary):
            status = str(summary["status"])
        elif self.error:
            status = "failed"
        elif locks.is_held(self._lock):
            status = "running"
        else:
            status = "interrupted" if folder else "new"
        return State(status, folder, summary)

    @property
    def is_due(self) -> bool:
        """Whether the sweep is to run the job: it has not ended, or is to be run again."""
        summary = self.summary
        retries = self.config["sweep.retry"] == "failed"
        again = retries and summary.get("status") in ("failed", "diverged")
        return not self._is_end(summary) or bool(again or self.config["sweep.force"])

    def run(self, train: Callable[[Config, Path], float]) -> float:
        """Run the job, unless it is not due or another process runs it; return its objective.

        With `sweep.wait`, wait for that process instead; if it dies, go on with the job.
        """
        with self.claimed() as folder:
            if folder is None:
                return summaries.objective(self.summary)
            gpus.claim(self.config)
            return train(self.config, folder)

    @contextmanager
    def claimed(self) -> Iterator[Path | None]:
        """Its folder, for this process to run it in: no other does, until the end of this context or of this process.

        None if it is not due, or another process runs it. With a checkpoint in the folder, the run goes on from it.
        """
        if self.config["sweep.dry_run"]:
            raise UserError(
                "sweep.dry_run=true: is for hydra/sweeper=grid and optuna; others would run the jobs."
            )
        with self._locked(wait=self.config["sweep.wait"]) as ours:
            if not ours or not self.is_due:
                yield None
                return
            if (folder := self.folder) and (
                self.config["sweep.force"] or self.summary.get("status") == "diverged"
            ):
                folders.set_aside(folder)
                folder = None
            elif folder and self.ended:  # a failed one goes on from its checkpoint
                (folder / summaries.SUMMARY).unlink()
            yield folder or folders.job_dir(self.config, self.sweep_dir, self.config.overrides)

    def _is_end(self, summary: dict[str, Any]) -> bool:
        study = self.config.get("sweep.trial.study")
        pruned = summary.get("status") == "pruned" and summary.get("study") == study
        return pruned or summary.get("status") in ENDS

    @contextmanager
    def _locked(self, wait: bool) -> Iterator[bool]:
        """Whether no other process runs the job, nor will, until the end of this context or of this process."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        if wait and locks.is_held(self._lock):
            log.info("waiting for another process, which runs %s", self.folder or self.hash)
        lock = locks.take(self._lock, wait)
        try:
            yield lock is not None
        finally:
            if lock:
                lock.release()


def _summary(folder: Path | None) -> dict[str, Any]:
    return (summaries.load(folder) if folder else None) or {}


@runtime_checkable
class TakesJobs(Protocol):
    """A launcher that need not compose the jobs' configs again."""

    def launch_jobs(self, jobs: Sequence[Job]) -> Sequence[JobReturn]:
        """What `launch` returns for the overrides of these jobs."""


@runtime_checkable
class HasWorkers(Protocol):
    """A launcher whose processes wait for further jobs."""

    def close(self) -> None:
        """End the processes: there are no further jobs."""


def check_all(jobs: Sequence[Job]) -> None:
    """Check the configs of all jobs that are due, before the first of them runs.

    Raises:
        UserError: for the first that is wrong; names the key.
    """
    if not (due := [job for job in jobs if job.is_due]):
        return
    from engine import messages
    from engine.run import build

    messages.silence_harmless()
    checked: set[str] = set()
    for job in due:
        build.check(job.config, checked)


def run_all(jobs: Sequence[Job], launcher: Launcher) -> None:
    """Run what is due, and wait for what other processes run; one job's end, even a kill, does not end the others."""
    log.info("%s", count([job.status for job in jobs]))
    _launch([job for job in jobs if job.is_due], launcher)
    left = [job for job in jobs if not job.ended]
    _launch([job for job in left if job.status == "new"], launcher)  # where a kill took all workers
    for job in left:  # alone, as it may take its worker with it once more
        if not job.ended and not job.error:
            _launch([job], launcher, "sweep.retry=null", "sweep.force=false", "sweep.wait=true")
            if not job.ended and not job.error:
                job.error = RunFailed("its process was killed")


def _launch(jobs: Sequence[Job], launcher: Launcher, *more: str) -> None:
    try:
        if jobs and not more and isinstance(launcher, TakesJobs):
            returns = launcher.launch_jobs(jobs)
        else:
            returns = (
                launcher.launch([[*job.overrides, *more] for job in jobs], initial_job_idx=0)
                if jobs
                else []
            )
    except UserError:  # an option of the launcher's is wrong
        raise
    except Exception as error:  # the launcher's own: some worker is gone
        log.warning("%s: %s", type(error).__name__, error)
        return
    for job, result in zip(jobs, returns, strict=True):
        cause = answer_of(result)
        if isinstance(cause, Exception) and not isinstance(cause, WorkerLost) and not job.summary:
            job.error = as_mistake(cause)
            if not isinstance(job.error, UserError | RunFailed):
                log.error("%s", " ".join(job.overrides), exc_info=cause)


def conclude(jobs: Sequence[Job]) -> None:
    """Show the table of all jobs.

    Raises:
        UserError: if a job's config is wrong.
        RunFailed: if a job failed.
    """
    states = [job.state() for job in jobs]
    log.info("\n%s", table(jobs, states))
    for job in jobs:
        if isinstance(job.error, UserError):
            raise job.error
    if any(status == "failed" for status, _, _ in states):
        raise RunFailed("a job failed")


def table(jobs: Sequence[Job], states: Sequence[State] | None = None) -> str:
    """A line a job: status, folder, objective, seconds, the first line of its error; then how many of each status."""
    states = [job.state() for job in jobs] if states is None else states
    names = _names(jobs, [folder for _, folder, _ in states])
    width = max(map(len, names), default=0)
    lines = []
    for job, name, (status, folder, summary) in zip(jobs, names, states, strict=True):
        objective, seconds = summaries.objective(summary), summary.get("seconds")
        numbers = f"{'' if math.isnan(objective) else f'{objective:.6g}':>12}"
        numbers += f"{'' if seconds is None else f'{seconds:.1f} s':>12}"
        lines.append(f"  {status:<11}  {name:<{width}}{numbers}".rstrip())
        if error := job.error or summary.get("error"):
            first = (str(error) or repr(error)).partition("\n")[0]
            lines.append(f"    {first}" + (f"\n    {folder / 'train.log'}" if folder else ""))
    return "\n".join([*lines, count([status for status, _, _ in states])])


def count(statuses: Sequence[str]) -> str:
    """`40 jobs: 30 finished, 1 failed, 9 new`"""
    words = [f"{number} {status}" for status, number in Counter(statuses).items()]
    return f"{len(statuses)} jobs: {', '.join(words)}"


def _names(jobs: Sequence[Job], folders: Sequence[Path | None]) -> list[str]:
    """The names of the jobs' folders; where there is none yet, what the job differs by from others."""
    common = set.intersection(*(set(job.overrides) for job in jobs)) if jobs else set()
    return [
        folder.name
        if folder
        else identity.slug([word for word in job.overrides if word not in common])
        for job, folder in zip(jobs, folders, strict=True)
    ]


def answer_text(answer: float | Exception) -> str:
    """Return a job's answer as the line about the job shows it."""
    if isinstance(answer, Exception):
        return str(answer).partition("\n")[0]
    return f"{answer:.6g}"
