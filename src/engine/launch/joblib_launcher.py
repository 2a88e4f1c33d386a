"""engine.launch.joblib_launcher"""

import os
from collections import deque
from collections.abc import Sequence
from typing import Any

from engine.errors import WorkerLost
from engine.launch.launcher import Answers, WorkerLauncher
from engine.launch.worker import Work
from engine.signals import end_with_parent, out_of_reach_of_ctrl_c


class JoblibLauncher(WorkerLauncher):
    """Processes of this machine, by joblib's loky; a pool for each, as a pool ends with the first that is killed.

    Args:
        n_jobs: how many; None: `at_once`.
    """

    package = "joblib"

    def __init__(self, n_jobs: int | None = None) -> None:
        self.n_jobs = n_jobs
        os.environ.setdefault(
            "PYTHONWARNINGS", "ignore:resource_tracker:UserWarning"
        )  # what a killed one left
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
