"""The base class of launchers that run a sweep's jobs in other processes."""

import importlib.util
import logging
from abc import abstractmethod
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from engine import signals
from engine.config.limits import (
    COUNT_OR_NULL,
    FROM_MINUS_ONE,
    NOT_NEGATIVE_OR_NULL,
    POSITIVE_OR_NULL,
    check,
)
from engine.door import Task
from engine.errors import UserError
from engine.fence.hydra import registries
from engine.launch.worker import Work, cores
from engine.run import identity
from engine.sweep import gpus
from engine.sweep.jobs import answer_text, own_words

log = logging.getLogger(__name__)

# The options of all launchers. Null leaves an option to the library that runs the jobs.
OPTIONS = {
    "n_jobs": COUNT_OR_NULL,
    "timeout_min": POSITIVE_OR_NULL,
    "num_cpus": NOT_NEGATIVE_OR_NULL,
    "num_gpus": NOT_NEGATIVE_OR_NULL,
    "max_retries": replace(FROM_MINUS_ONE, words=(None,)),
}
Answers = Generator[tuple[int, float | Exception], None, None]


class WorkerLauncher(Launcher):
    """Runs jobs in other processes and logs each as it ends; a killed process ends no other.

    The return value of a job whose process was killed raises WorkerLost; the job's folder has what
    the job has left.
    """

    package: str  # that the launcher needs; the extra has the same name
    config: DictConfig

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        if importlib.util.find_spec(self.package) is None:
            choice = config.hydra.runtime.choices["hydra/launcher"]
            command = f'pip install -c constraints.txt -e ".[{self.package}]"'
            raise UserError(f"hydra/launcher={choice} needs {self.package}: {command}")
        for key, limit in OPTIONS.items():
            check(f"hydra.launcher.{key}", config.hydra.launcher.get(key), limit)
        assert isinstance(task_function, Task)
        self.hydra_context = hydra_context
        self.config = config
        self.task = task_function
        self.state = registries()

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        assert self.hydra_context is not None
        sweep = self.hydra_context, self.config, self.task.door.module
        works = [
            Work(*sweep, list(words), number, self.task.jobs.get(number), self.state)
            for number, words in enumerate(job_overrides, start=initial_job_idx)
        ]
        names = own_words(job_overrides)
        returns = [JobReturn(overrides=work.overrides, status=JobStatus.FAILED) for work in works]
        try:
            with closing(self.answers(works)) as answers:
                for count, (number, answer) in enumerate(answers, start=1):
                    signals.heed()
                    returns[number].return_value = answer
                    if not isinstance(answer, Exception):
                        returns[number].status = JobStatus.COMPLETED
                    job = works[number].job
                    own = job and not names[number] and job.folder  # alone, as it is tried again
                    name = " ".join(names[number]) or (own.name if own else "the job")
                    said = answer_text(answer, job)
                    log.info("%d of %d: %s: %s", count, len(works), name, said)
        finally:
            identity.forget()  # the jobs have looked at files later than this process
        return returns

    @abstractmethod
    def answers(self, works: Sequence[Work]) -> Answers:
        """Yields the place and the answer of each work, as the answers come.

        Closed early, this stops the other works at once.
        """

    def at_once(self) -> int:
        """Returns how many jobs this machine runs at once.

        There are as many as its cores allow, and of several GPUs at most one for each.
        """
        from joblib import cpu_count  # of this process's share of the machine

        most: int = max(1, cpu_count() // cores(self.config))
        several = len(gpus.visible()) if gpus.takes_one(self.config) else 0
        return min(most, several) if several > 1 else most
