"""Runs jobs in processes of this machine, with joblib: `hydra/launcher=joblib`."""

import os
from collections import deque
from collections.abc import Sequence
from typing import Any

from engine import signals
from engine.errors import WorkerLost
from engine.launch.launcher import Answers, WorkerLauncher
from engine.launch.worker import Work

A_MOMENT = 0.2  # seconds, after which this process looks for a signal again


class JoblibLauncher(WorkerLauncher):
    """Runs jobs in processes of this machine, by joblib's loky.

    Each process has a pool of its own, because a killed process ends its whole pool.

    A signal is looked for between the calls of joblib. Its exception in one of them would lose a
    process that has just been started, and this process would wait for that one at its end.

    Args:
        n_jobs: the number of processes; None: `at_once`.
    """

    package = "joblib"

    def __init__(self, n_jobs: int | None = None) -> None:
        self.n_jobs = n_jobs
        self.idle: list[Any] = []  # pools for the next job, of the next batch perhaps

    def answers(self, works: Sequence[Work]) -> Answers:
        from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
        from unittest.mock import patch  # imports asyncio, for which `--help` would wait

        from joblib.externals.loky import ProcessPoolExecutor

        if any(work.job and work.job.launched_as for work in works):
            self.close()  # a process that has seen the files of before may find nothing to do again
        todo = deque(enumerate(works))
        most = self.n_jobs or self.at_once()
        running: dict[Future[float | Exception], tuple[int, Any]] = {}
        # They would warn of what a killed process has left.
        ignored = os.environ.get("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
        signals.let_steps_look(True)
        try:
            while todo or running:
                signals.heed()
                while todo and len(running) < most:
                    number, work = todo.popleft()
                    with (
                        signals.out_of_reach_of_ctrl_c(),
                        patch.dict(os.environ, PYTHONWARNINGS=ignored),
                    ):
                        pool = (
                            self.idle.pop()
                            if self.idle
                            else ProcessPoolExecutor(
                                max_workers=1, initializer=signals.end_with_parent
                            )
                        )
                        running[pool.submit(work)] = number, pool
                for future in wait(running, A_MOMENT, FIRST_COMPLETED).done:
                    number, pool = running.pop(future)
                    try:
                        answer = future.result()
                        self.idle.append(pool)
                    except (BrokenExecutor, signals.Interrupted):  # by a signal to it alone
                        pool.shutdown(kill_workers=True)
                        answer = WorkerLost()
                    yield number, answer
        finally:
            for _, pool in running.values():
                pool.shutdown(kill_workers=True)
            signals.let_steps_look(False)

    def close(self) -> None:
        while self.idle:
            self.idle.pop().shutdown(kill_workers=True)
