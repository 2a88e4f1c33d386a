"""Launches jobs together that differ only in numbers: `hydra/launcher=vectorized`."""

import logging
from collections.abc import Sequence

from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from engine import signals
from engine.config.limits import BOOL, COUNT_OR_NULL, check
from engine.door import Task
from engine.fence.hydra import BasicLauncher
from engine.sweep.jobs import Job, answer_text, own_words

log = logging.getLogger(__name__)


class VectorizedLauncher(BasicLauncher):
    """Trains jobs that differ only in numbers at once, in this process; the others one by one.

    Args:
        chunk: the number of jobs that train at once; None for as many as fit in memory.
        figures: whether the callbacks of jobs that train together draw figures.
    """

    def __init__(self, chunk: int | None = None, figures: bool = False) -> None:
        super().__init__()
        self.chunk, self.figures = chunk, figures

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        check("hydra.launcher.chunk", self.chunk, COUNT_OR_NULL)
        check("hydra.launcher.figures", self.figures, BOOL)

    def launch_jobs(self, jobs: Sequence[Job]) -> list[JobReturn]:
        """Runs jobs that are composed already, and returns what `launch` returns."""
        from engine.vectorized.together import Options, run_together

        assert isinstance(self.task_function, Task)
        options = Options(self.task_function.door, self.chunk, self.figures)
        answers = run_together(jobs, options)
        signals.heed()  # an answer may be what it has broken
        words = dict(zip(jobs, own_words([job.overrides for job in jobs]), strict=True))
        for count, (job, answer) in enumerate(answers.items(), start=1):
            name = " ".join(words[job]) or "the job"
            log.info("%d of %d: %s: %s", count, len(jobs), name, answer_text(answer, job))
        alone = [job for job in jobs if job not in answers]
        returns = iter(self.task_function.launched(self, alone) if alone else [])
        return [_returned(job, answers[job]) if job in answers else next(returns) for job in jobs]


def _returned(job: Job, answer: float | Exception) -> JobReturn:
    status = JobStatus.FAILED if isinstance(answer, Exception) else JobStatus.COMPLETED
    made = JobReturn(overrides=job.overrides, status=status)
    made.return_value = answer
    return made
