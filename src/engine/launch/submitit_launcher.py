"""Runs jobs with submitit: `hydra/launcher=submitit_slurm` and `submitit_local`."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine.errors import UserError, WorkerLost
from engine.fence.submitit import do_not_wait, terminate
from engine.launch.launcher import Answers, WorkerLauncher
from engine.launch.worker import Work, cores
from engine.signals import out_of_reach_of_ctrl_c
from engine.sweep import gpus


class SubmititLauncher(WorkerLauncher):
    """Runs jobs as one array of Slurm, or each in a new process of this machine.

    Args:
        cluster: slurm; local for processes of this machine.
        folder: for submitit's files, and for what the jobs print.
        n_jobs: the number of local jobs at once; None: `at_once`.
        max_num_timeout: how often a job that Slurm ends for its time is submitted again.
        parameters: of submitit's `update_parameters`; None: its default.
    """

    package = "submitit"

    def __init__(
        self,
        cluster: str,
        folder: str,
        n_jobs: int | None = None,
        max_num_timeout: int = 3,
        **parameters: Any,
    ) -> None:
        self.is_local = cluster == "local"
        self.folder = folder
        self.n_jobs = n_jobs
        self.max_num_timeout = max_num_timeout
        self.parameters = {name: value for name, value in parameters.items() if value is not None}

    def answers(self, works: Sequence[Work]) -> Answers:
        names = gpus.visible() if self.is_local and gpus.takes_one(self.config) else []
        are_numbers = all(map(str.isdigit, names))
        executor = self._executor([int(name) for name in names] if are_numbers else [])
        if not are_numbers:
            works = [replace(work, gpus=",".join(names)) for work in works]
        todo = deque(enumerate(works))
        running: dict[Any, int] = {}
        most = (self.n_jobs or self.at_once()) if self.is_local else len(works)
        try:
            while todo or running:
                if batch := [todo.popleft() for _ in range(min(len(todo), most - len(running)))]:
                    with out_of_reach_of_ctrl_c():
                        submitted = executor.submit_array([work for _, work in batch])
                    running |= {
                        job: number for job, (number, _) in zip(submitted, batch, strict=True)
                    }
                for job in [job for job in running if job.done()]:
                    yield running.pop(job), self._answer(job)
                time.sleep(0.1 if self.is_local else 1)  # seconds
        finally:
            for job in running:
                terminate(job) if self.is_local else job.cancel(check=False)

    def _answer(self, job: Any) -> float | Exception:
        from submitit.core.utils import UncompletedJobError

        if self.is_local:
            do_not_wait(job)
        try:
            return job.result()  # type: ignore[no-any-return]
        except UncompletedJobError:
            return WorkerLost()

    def _executor(self, free: Sequence[int]) -> Any:
        import submitit

        executor: Any
        try:
            if self.is_local:
                executor = submitit.LocalExecutor(self.folder)
                # submitit hides all other GPUs, and each job takes one of these.
                own: dict[str, Any] = {"gpus_per_node": len(free), "visible_gpus": free}
            else:
                executor = submitit.AutoExecutor(
                    self.folder, "slurm", slurm_max_num_timeout=self.max_num_timeout
                )
                own = {"cpus_per_task": cores(self.config)}
            executor.update_parameters(**own | self.parameters)
        except (NameError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"hydra.launcher: {error}") from None
        return executor
