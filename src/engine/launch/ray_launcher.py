"""Runs jobs as tasks of a Ray cluster: `hydra/launcher=ray`."""

import logging
import os
import signal
import socket
from collections.abc import Sequence
from typing import Any

from engine.errors import UserError, WorkerLost
from engine.launch.launcher import Answers, WorkerLauncher
from engine.launch.worker import Work, cores
from engine.sweep import gpus


class RayLauncher(WorkerLauncher):
    """Runs jobs as tasks on a Ray cluster that is there already.

    Args:
        address: of its head; auto: the one that this machine belongs to.
        num_cpus: of the cluster's, for each job; None: the job's threads.
        num_gpus: GPUs for each job; None: one, if the cluster has any and the jobs take one.
        max_retries: how often Ray starts a job again after its process or its machine is lost.
    """

    package = "ray"

    def __init__(
        self,
        address: str = "auto",
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        max_retries: int = 3,
    ) -> None:
        self.address = address
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.max_retries = max_retries

    def answers(self, works: Sequence[Work]) -> Answers:
        import ray

        self._connect()
        running: dict[Any, int] = {}
        try:
            has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            gpu = 1 if has.get("GPU") and gpus.takes_one(self.config) else 0
            remote = ray.remote(
                num_cpus=cores(self.config) if self.num_cpus is None else self.num_cpus,
                num_gpus=gpu if self.num_gpus is None else self.num_gpus,
                max_retries=self.max_retries,
            )(Work.__call__)
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

        head = os.environ.get("RAY_ADDRESS", "") if self.address == "auto" else self.address
        host, _, port = head.rpartition(":")
        try:
            if host and port.isdigit():  # Ray itself would try for seven minutes
                socket.create_connection((host, int(port)), timeout=5).close()
            before = signal.getsignal(signal.SIGTERM)  # Ray sets a handler of its own
            try:
                ray.init(address=self.address, log_to_driver=False, logging_level=logging.WARNING)
            finally:
                signal.signal(signal.SIGTERM, before)
        except OSError:
            raise UserError(
                f"hydra.launcher.address={self.address}: no Ray cluster there; "
                "`ray start --head` starts one here."
            ) from None
