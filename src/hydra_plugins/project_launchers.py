"""What Hydra finds by `hydra/launcher=joblib`, `hydra/launcher=ray` and `hydra/launcher=vectorized`."""

import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from project import gpus
from project.composing import Composer
from project.errors import UserError, WorkerLost
from project.launchers import Answers, WorkerLauncher, told
from project.limits import COUNT, check
from project.sweeps import Job
from project.workers import Work, call, cores, end_with_parent, out_of_reach_of_ctrl_c

log = logging.getLogger("project")


class JoblibLauncher(WorkerLauncher):
    """Processes of this machine, by joblib's loky; a pool for each, as a pool ends with the first that is killed.

    Args:
        n_jobs: how many; None: `at_once`.
    """

    package = "joblib"

    def __init__(self, n_jobs: int | None = None) -> None:
        self.n_jobs = n_jobs
        os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")  # what a killed one left
        self.idle: list[Any] = []  # for the next job, of the next batch perhaps

    def answers(self, works: Sequence[Work]) -> Answers:
        from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait

        todo, most = deque(enumerate(works)), self.n_jobs or self.at_once()
        running: dict[Future[float | Exception], tuple[int, Any]] = {}
        try:
            while todo or running:
                while todo and len(running) < most:
                    number, work = todo.popleft()
                    pool = self.idle.pop() if self.idle else self._pool()
                    with out_of_reach_of_ctrl_c():
                        running[pool.submit(work)] = number, pool
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    number, pool = running.pop(future)
                    try:
                        answer = future.result()
                        self.idle.append(pool)
                    except BrokenExecutor:
                        answer = WorkerLost()
                    yield number, answer
        finally:
            for _, pool in running.values():
                pool.shutdown(kill_workers=True)

    def close(self) -> None:
        while self.idle:
            self.idle.pop().shutdown(kill_workers=True)

    @staticmethod
    def _pool() -> Any:
        """A process, which starts with its first job."""
        from joblib.externals.loky import ProcessPoolExecutor

        return ProcessPoolExecutor(max_workers=1, initializer=end_with_parent)


class RayLauncher(WorkerLauncher):
    """Tasks on a Ray cluster that is there already.

    Args:
        address: of its head; auto: the one that this machine belongs to.
        num_cpus: of the cluster's, for each job; None: the job's threads.
        num_gpus: likewise; None: one, where the cluster has any and the jobs take one.
        max_retries: how often Ray starts a job again after its process or its machine is lost.
    """

    package = "ray"

    def __init__(
        self, address: str = "auto", num_cpus: float | None = None, num_gpus: float | None = None, max_retries: int = 3
    ) -> None:
        self.address, self.num_cpus, self.num_gpus, self.max_retries = address, num_cpus, num_gpus, max_retries

    def answers(self, works: Sequence[Work]) -> Answers:
        import ray

        self._connect()
        running: dict[Any, int] = {}
        try:
            remote = ray.remote(**self._resources())(call)
            running = {remote.remote(work): number for number, work in enumerate(works)}
            while running:
                (ended,), _ = ray.wait(list(running))
                try:
                    answer = ray.get(ended)
                except ray.exceptions.RayError:
                    answer = WorkerLost()
                yield running.pop(ended), answer
        finally:
            for task in running:
                ray.cancel(task, force=True)
            ray.shutdown()

    def _connect(self) -> None:
        import ray

        ours = signal.getsignal(signal.SIGTERM)  # Ray sets one of its own
        try:
            self._knock()
            ray.init(address=self.address, log_to_driver=False, logging_level=logging.WARNING)
        except OSError:
            raise UserError(
                f"hydra.launcher.address={self.address}: no Ray cluster there; `ray start --head` starts one here."
            ) from None
        finally:
            signal.signal(signal.SIGTERM, ours)

    def _knock(self) -> None:
        """Fail if nothing is where the cluster's head should be: Ray itself would try for seven minutes."""
        address = os.environ.get("RAY_ADDRESS", "") if self.address == "auto" else self.address
        host, _, port = address.rpartition(":")
        if host and port.isdigit():
            socket.create_connection((host, int(port)), timeout=5).close()

    def _resources(self) -> dict[str, Any]:
        import ray

        has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpu = 1 if has.get("GPU") and gpus.takes_one(self.config) else 0
        return {
            "num_cpus": cores(self.config) if self.num_cpus is None else self.num_cpus,
            "num_gpus": gpu if self.num_gpus is None else self.num_gpus,
            "max_retries": self.max_retries,
        }


class VectorizedLauncher(BasicLauncher):
    """Jobs that differ only in numbers, in this process and at once; the others here, too, one by one.

    Args:
        chunk: how many at once; None: as many as fit in memory.
        figures: whether the callbacks of jobs that train together draw.
    """

    def __init__(self, chunk: int | None = None, figures: bool = False) -> None:
        super().__init__()
        self.chunk, self.figures = chunk, figures

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        check("hydra.launcher.chunk", self.chunk, replace(COUNT, words=(None,)))
        if not isinstance(self.figures, bool):
            raise UserError(f"hydra.launcher.figures={self.figures}: must be true or false.")

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        if len(job_overrides) == 1:  # there is nothing to train it with
            return super().launch(job_overrides, initial_job_idx)
        assert self.hydra_context is not None
        assert self.config is not None
        compose = Composer(self.hydra_context.config_loader, self.config)
        return self.launch_jobs([Job(compose(words), words) for words in job_overrides])

    def launch_jobs(self, jobs: Sequence[Job]) -> list[JobReturn]:
        """What `launch` returns for these jobs."""
        from project.vectorized import Options, run_together

        answers = run_together(jobs, Options(self.chunk, self.figures))
        common = set.intersection(*(set(job.overrides) for job in jobs))
        for count, (job, answer) in enumerate(answers.items(), start=1):
            words = [word for word in job.overrides if word not in common] or ["the job"]
            log.info("%d of %d: %s: %s", count, len(jobs), " ".join(words), told(answer))
        alone = [job for job in jobs if job not in answers]
        returns = dict(zip(alone, super().launch([job.overrides for job in alone], 0) if alone else [], strict=True))
        return [returns[job] if job in returns else _returned(job, answers[job]) for job in jobs]


def _returned(job: Job, answer: float | Exception) -> JobReturn:
    status = JobStatus.FAILED if isinstance(answer, Exception) else JobStatus.COMPLETED
    made = JobReturn(overrides=job.overrides, status=status)
    made.return_value = answer
    return made
