"""submitit: what is used of it beyond its documentation."""

from typing import Any


def terminate(job: Any) -> None:
    """Sends SIGTERM to the process of a local job: `cancel` would send SIGINT."""
    job._process.terminate()


def do_not_wait(job: Any) -> None:
    """Lets a job that left no result say so at once: it would wait for a slow network drive."""
    job._results_timeout_s = 0
