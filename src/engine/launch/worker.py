"""A job of a sweep in another process: what a launcher sends there, and how the job ends."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus, run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from engine import messages, signals
from engine.door import Task, imported
from engine.errors import (
    FULL_ERROR,
    RunFailed,
    UserError,
    as_mistake,
    named,
    wants_traceback,
)
from engine.fence.hydra import answer_of, composed_by_hydra, take_over
from engine.sweep.jobs import Job

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

OF_SUBMITIT = (signal.SIGUSR1, signal.SIGUSR2)  # by which Slurm says that a job's time is over


@dataclass(frozen=True)
class Work:
    """Does a job when it is called, in a process that can import its door.

    Args:
        context: Hydra's, which composes Hydra's part of the job's config.
        config: the sweep's.
        door: the import path of the command.
        overrides: the job's.
        number: its place among the jobs that were launched with it.
        job: as it was composed and checked; None for a sweeper that is not ours.
        state: Hydra's registries, as they were before the launcher's process imported the classes
            of the jobs: their modules may register resolvers, too.
        traceback: whether the user has set HYDRA_FULL_ERROR=1, which the launcher's process sets
            for itself.
        gpus: the names of those that the job sees, as CUDA_VISIBLE_DEVICES has them, where the
            launcher knows numbers only, and hides all others; None: as the launcher has it.
    """

    context: HydraContext
    config: DictConfig
    door: str
    overrides: list[str]
    number: int
    job: Job | None
    state: dict[Any, Any] = field(repr=False)
    traceback: bool = field(default_factory=wants_traceback)
    gpus: str | None = None

    def __call__(self) -> float | Exception:
        """Runs the job; returns its objective or its error. Only a signal leaves no answer."""
        if self.gpus is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus  # CUDA has not started yet
        try:
            return self._answer()
        except signals.Interrupted as stop:
            for number in OF_SUBMITIT:
                if stop.code == 128 + number:
                    signal.raise_signal(number)  # submitit's handler submits the job again, or not
            raise

    def _answer(self) -> float | Exception:
        with prepared(self.config.threads, self.traceback):
            try:
                with signals.undisguised():
                    return self._run()
            except Exception as error:
                mistake = as_mistake(error)
                # Pickle may not know another class where the launcher is.
                if isinstance(mistake, UserError | RunFailed):
                    return mistake
                return RunFailed(messages.redacted(named(error)))

    def _run(self) -> float:
        # `__main__` is another module here. What that module registers, such as a resolver, the
        # launcher's process has registered, too: to take it over first would refuse the import.
        door = imported(self.door)
        take_over(self.state)
        setup_globals()
        door.open()
        config = composed_by_hydra(self.context.config_loader, self.config, self.overrides)
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{self.number}"
            config.hydra.job.num = self.number
            if self.job:
                config.hydra.sweep.dir = str(self.job.sweep_dir)
        HydraConfig.instance().set_config(config)
        ended = run_job(
            hydra_context=self.context,
            task_function=Task(door, {self.number: self.job} if self.job else {}),
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        if ended.status != JobStatus.COMPLETED:
            raise answer_of(ended)
        return float(answer_of(ended))

    def checkpoint(self) -> "DelayedSubmission":
        """Returns what submitit submits again when Slurm ends a job for its time: the same job."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@contextmanager
def prepared(threads: int, traceback: bool) -> Iterator[None]:
    """Makes this a process that runs jobs: quiet, with so many threads, and ended by SIGTERM."""
    os.environ[FULL_ERROR] = str(int(traceback))
    # These are read when torch and NumPy are imported.
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    os.environ |= dict.fromkeys(names, str(threads))
    # Its handler would raise its error in the midst of a step.
    own = [number for number in OF_SUBMITIT if callable(signal.getsignal(number))]
    with messages.of_a_worker(), signals.heeded(signal.SIGTERM, *own):
        yield


def cores(config: DictConfig) -> int:
    """Returns the number of CPU cores that a job keeps busy: its processes by their threads."""
    devices: Any = config.trainer.devices
    return int(config.threads) * (devices if isinstance(devices, int) else 1)
