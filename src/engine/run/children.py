"""The processes that Lightning starts for further devices: they join the run that starts them."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import FULL_ERROR, WorkerLost, wants_traceback

if TYPE_CHECKING:  # the command answers `--help` and mistakes before Lightning is imported
    from lightning.pytorch import Trainer

log = logging.getLogger(__name__)

PARENT = "ENGINE_FIRST_PROCESS"  # the variable by which further processes know the first one
A_MOMENT = 1.0  # seconds, in which the system has ended a process that it has just killed
PATIENCE = 10.0  # seconds, after which a process that has failed takes itself for the only one


@contextmanager
def joinable(run_dir: Path, door: str, digest: str) -> Iterator[None]:
    """Lets the processes that Lightning starts join this run, whatever command began it.

    Lightning gives them this process's command line, which may be a whole sweep's, or that of a
    worker. Inside, the command line is `python -m DOOR resume=RUN_DIR trust=DIGEST`: they trust the
    very config that this process has. Afterwards no trace of the processes is left: not in the
    environment, where the next job of a sweep would take itself for one of them, nor in
    torch.distributed, where that job would talk to processes that are gone.

    Args:
        run_dir: the run's folder, which has its config.
        door: the import path of the command, such as `mine.train`.
        digest: of the text of this process's config.
    """
    from unittest.mock import patch

    from torch import distributed

    main = sys.modules["__main__"]
    words = [f"resume={run_dir}", f"trust={digest}"]
    with (
        patch.object(sys, "argv", [sys.argv[0], *words]),
        patch.object(main, "__spec__", find_spec(door)),
        patch.dict(os.environ),
    ):
        if not wants_traceback():
            os.environ.pop(FULL_ERROR, None)  # set by `exit_codes`, not by the user
        os.environ[PARENT] = str(os.getpid())
        try:
            yield
        finally:
            if distributed.is_available() and distributed.is_initialized():
                distributed.destroy_process_group()


def end_others(trainer: "Trainer") -> None:
    """Ends the processes that train together with this one, which has failed.

    Mostly all have failed, for one reason, and the first process says it. So another one waits to
    be ended, and says why it has failed only if it is alone.

    Raises:
        WorkerLost: if one was killed, and this one has failed for want of it.
    """
    from engine.fence.lightning import kill_children

    if not trainer.is_global_zero:
        time.sleep(PATIENCE)
    elif killed := kill_children(trainer, A_MOMENT):
        lost = WorkerLost(f"process {killed[0]} of the run was killed (SIGKILL)")
        log.error("%s", lost)
        raise lost


def await_others(trainer: "Trainer") -> None:
    """Waits for the processes that have trained together with this one, and tells of failed ones.

    They end by themselves, but for what code of a user's still does in them.
    """
    from engine.fence.lightning import taken_children

    until = time.monotonic() + 1.5 * PATIENCE  # one that has failed waits before it says why
    for rank, process in enumerate(taken_children(trainer), start=1):
        try:
            code = process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("process %d of the run is still at work, and ends with this command", rank)
        else:
            if code:
                log.warning("process %d of the run has failed, by exit code %d", rank, code)
