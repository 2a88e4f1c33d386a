"""What launchers that run a sweep's jobs in other processes have in common."""

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

from engine.config.limits import COUNT, NOT_NEGATIVE, POSITIVE, Limit, check
from engine.door import Task
from engine.errors import UserError
from engine.launch.worker import Work, cores
from engine.sweep import gpus
from engine.sweep.jobs import answer_text

log = logging.getLogger(__name__)

NUMBERS = {"n_jobs": COUNT, "timeout_min": POSITIVE, "num_cpus": NOT_NEGATIVE, "num_gpus": NOT_NEGATIVE,
           "max_retries": Limit(whole=True, low=-1)}  # fmt: skip
OPTIONS = {
    key: replace(limit, words=(None,)) for key, limit in NUMBERS.items()
}  # null: left to the launcher
Answers = Generator[tuple[int, float | Exception], None, None]


class WorkerLauncher(Launcher):
    """Runs jobs in other processes, and tells of each as it ends; a process that is killed takes no other job with it.

    The return value of a job whose process was killed raises WorkerLost: its folder says how far it came.
    """

    package: str  # that it needs; the extra has the same name
    config: DictConfig

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        if importlib.util.find_spec(self.package) is None:
            choice, extra = config.hydra.runtime.choices["hydra/launcher"], f'".[{self.package}]"'
            raise UserError(
                f"hydra/launcher={choice} needs {self.package}: pip install -c constraints.txt -e {extra}"
            )
        for key, limit in OPTIONS.items():
            check(f"hydra.launcher.{key}", config.hydra.launcher.get(key), limit)
        self.hydra_context, self.config = hydra_context, config
        assert isinstance(task_function, Task)
        self.door = task_function.door

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        assert self.hydra_context is not None
        works = [
            Work(
                self.hydra_context,
                self.config,
                self.door.module,
                list(words),
                initial_job_idx + number,
            )
            for number, words in enumerate(job_overrides)
        ]
        common = set.intersection(*(set(work.overrides) for work in works))
        returns = [JobReturn(overrides=work.overrides, status=JobStatus.FAILED) for work in works]
        with closing(self.answers(works)) as answers:
            for count, (number, answer) in enumerate(answers, start=1):
                returns[number].return_value = answer
                if not isinstance(answer, Exception):
                    returns[number].status = JobStatus.COMPLETED
                words = [word for word in works[number].overrides if word not in common] or [
                    "the job"
                ]
                log.info(
                    "%d of %d: %s: %s", count, len(works), " ".join(words), answer_text(answer)
                )
        return returns

    @abstractmethod
    def answers(self, works: Sequence[Work]) -> Answers:
        """Each work's place and answer, in the order in which they come; closed early, it stops the others at once."""

    def close(self) -> None:
        """End what waits for further jobs: there are none."""

    def at_once(self) -> int:
        """How many jobs this machine takes at once: as many as its cores allow; of several GPUs, no more than those."""
        from joblib import cpu_count  # of this process's share of the machine

        most: int = max(1, cpu_count() // cores(self.config))
        several = len(gpus.visible()) if gpus.takes_one(self.config) else 0
        return min(most, several) if several > 1 else most
