"""What Hydra finds by `hydra/launcher=submitit_local` and `hydra/launcher=submitit_slurm`."""

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from engine.errors import UserError, WorkerLost
from engine.fence.submitit import do_not_wait, terminate
from engine.launch.launcher import Answers, WorkerLauncher
from engine.launch.worker import Work, cores
from engine.signals import out_of_reach_of_ctrl_c
from engine.sweep import gpus


class SubmititLauncher(WorkerLauncher):
    """Jobs of Slurm's, as one array; or, for `cluster: local`, processes of this machine, a new one for each job.

    Args:
        cluster: slurm or local.
        folder: for submitit's files, and for what the jobs print.
        n_jobs: how many local ones at once; None: `at_once`.
        max_num_timeout: how often Slurm may end a job for its time before it is not submitted again.
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
        self.cluster, self.folder, self.n_jobs, self.max_num_timeout = (
            cluster,
            folder,
            n_jobs,
            max_num_timeout,
        )
        self.parameters = {name: value for name, value in parameters.items() if value is not None}

    def answers(self, works: Sequence[Work]) -> Answers:
        executor, todo = self._executor(), deque(enumerate(works))
        running: dict[Any, int] = {}
        local = self.cluster == "local"
        most = (self.n_jobs or self.at_once()) if local else len(works)
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
                time.sleep(0.1 if local else 1)
        finally:
            for job in running:
                terminate(job) if local else job.cancel(check=False)

    def _answer(self, job: Any) -> float | Exception:
        """A job's answer."""
        from submitit.core.utils import UncompletedJobError

        if self.cluster == "local":
            do_not_wait(job)
        try:
            answer: float | Exception = job.result()
        except UncompletedJobError:
            answer = WorkerLost()
        return answer

    def _executor(self) -> Any:
        import submitit

        executor: Any
        try:
            if self.cluster == "local":
                executor, own = submitit.LocalExecutor(self.folder), self._gpus()
            else:
                executor = submitit.AutoExecutor(
                    self.folder, "slurm", slurm_max_num_timeout=self.max_num_timeout
                )
                own = {"cpus_per_task": cores(self.config)}
            executor.update_parameters(**own | self.parameters)
        except (NameError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"hydra.launcher: {error}") from None
        return executor

    def _gpus(self) -> dict[str, Any]:
        """The GPUs that local jobs may use: submitit hides all others, and each job takes one of them."""
        indices = [int(gpu) for gpu in gpus.visible()] if gpus.takes_one(self.config) else []
        return {"gpus_per_node": len(indices), "visible_gpus": indices}
