"""What is relied on of submitit beyond its documentation: a new version breaks here, by name."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
import submitit
from submitit.core.utils import UncompletedJobError

from engine.fence import submitit as fence


class Recorded:
    """A process that a job asks to end."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    def terminate(self) -> None:
        self.signals.append(signal.SIGTERM)

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


def test_terminate_sends_sigterm_where_cancel_sends_sigint(tmp_path: Path) -> None:
    process: Any = Recorded()
    job: Any = submitit.LocalJob(tmp_path, "1", process=process)
    job.cancel()
    fence.terminate(job)
    assert process.signals == [signal.SIGINT, signal.SIGTERM]


def test_do_not_wait_makes_a_lost_job_say_so_at_once(tmp_path: Path) -> None:
    executor = submitit.LocalExecutor(tmp_path)
    executor.update_parameters(timeout_min=1)
    job: Any = executor.submit(time.sleep, 60)
    fence.terminate(job)
    while not job.done():
        time.sleep(0.01)
    fence.do_not_wait(job)
    asked = time.monotonic()
    with pytest.raises(UncompletedJobError):
        job.result()
    assert time.monotonic() - asked < 2  # seconds; by itself, submitit waits for 15
