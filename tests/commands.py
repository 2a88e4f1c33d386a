"""Runs the project's commands as a user does: in this process, or in one that can be killed."""

import multiprocessing
import signal
import sys
from pathlib import Path
from unittest import mock

from engine import evaluate, report
from project.train import train

ROOT = train.root
CONF = train.conf
_forkserver = multiprocessing.get_context("forkserver")
# Imports that take seconds are done once for all processes. Only installed modules are possible:
# until Python 3.13 the server that forks the processes does not have our sys.path.
_forkserver.set_forkserver_preload(
    [
        "engine.run.build",
        "engine.door",
        "engine.run.hparams",
        "engine.steps.trainer",
        "project.train",
        "project.modules.lenet",
        "project.datamodules.digits",
        "project.callbacks.classification",
        "engine.callbacks.progress_bar",
        "engine.callbacks.checkpoints",
        "engine.callbacks.step_seed",
        "engine.callbacks.divergence",
        "torch.utils.tensorboard",
        "sklearn.datasets",
        "sklearn.model_selection",
        "pydantic",
    ]
)


def run_train(*words: str) -> None:
    """Runs `python -m project.train …` here; raises SystemExit for any exit code but 0."""
    with mock.patch.object(sys, "argv", ["project.train", *words]):
        train()


def run_evaluate(*words: str) -> None:
    """Runs `python -m project.evaluate …` in this process."""
    with mock.patch.object(sys, "argv", ["project.evaluate", *words]):
        evaluate(train)


def run_report(*words: str) -> None:
    """Runs `python -m project.report …` in this process."""
    with mock.patch.object(sys, "argv", ["project.report", *words]):
        report(train)


def only_run(log_dir: Path) -> Path:
    """Returns the folder of the only run below a log folder."""
    (run_dir,) = (path.parent.parent for path in log_dir.glob("**/.hydra/config.yaml"))
    return run_dir


def train_in_process(
    words: list[str], kill_at: str | None = None, kill_with: int = signal.SIGKILL
) -> int:
    """Runs `python -m project.train …` in a process of its own, and returns the exit code.

    The exit code of a process that a signal ended is negative.

    Args:
        words: of the command line.
        kill_at: the moment of a signal, as `killable.train` takes a moment; None: no signal.
        kill_with: the signal.
    """
    import killable

    process = _forkserver.Process(target=killable.train, args=(words, kill_at, kill_with))
    process.start()
    process.join(timeout=120)
    if process.exitcode is None:
        process.kill()
        raise AssertionError("still running")
    return process.exitcode
