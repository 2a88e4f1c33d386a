"""Runs the project's commands as a user does: in this process, or in one that can be killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from hydra import compose, initialize_config_dir

from engine import evaluate, figures, report
from engine.config.resolved import Config
from engine.door import Task
from engine.run import folders
from engine.run.loggers import events
from project.train import train
from warm import python

ROOT = train.root
CONF = train.conf
TESTS = Path(__file__).parent
TOGETHER = "hydra/launcher=vectorized"
# The template's own, which the tests train; a user may have more.
EXPERIMENTS = (
    "curve_fit",
    "init_depth",
    "lenet",
    "lenet_init",
    "linear",
    "resnet",
    "tabular",
    "two_layer",
    "two_layer_by_hand",
)
SCHEMES = ("default", "he", "randn", "xavier", "zero")


class Clock:
    """Goes forward where somebody sleeps: a run that goes on waits for the next second."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.ahead += seconds


@contextmanager
def _command(name: str, words: Sequence[str], draws: bool) -> Iterator[None]:
    """Makes this process the one that `python -m project.NAME …` starts."""
    wanted = figures.are_wanted if draws else lambda trainer: False
    with (
        mock.patch.object(sys, "argv", [f"project.{name}", *words]),
        mock.patch.object(figures, "are_wanted", wanted),
        mock.patch.object(events, "time", Clock()),
    ):
        yield


def skip_if_edited(words: Sequence[str] = (TOGETHER,)) -> None:
    """Skips a test of jobs that train together where the user's `train(run)` was edited."""
    from engine.vectorized.eligible import is_edited

    if TOGETHER in words and is_edited(train.train):
        pytest.skip("train(run) was edited, so jobs train one by one")


def run_train(*words: str, draws: bool = True) -> None:
    """Runs `python -m project.train …` here; raises SystemExit for any exit code but 0.

    Args:
        words: of the command line.
        draws: whether there are figures; one takes longer than a small run.
    """
    skip_if_edited(words)
    with _command("train", words, draws):
        train()


def run_evaluate(*words: str, draws: bool = True) -> None:
    """Runs `python -m project.evaluate …` in this process."""
    with _command("evaluate", words, draws):
        evaluate(train)


def run_report(*words: str) -> None:
    """Runs `python -m project.report …` in this process."""
    with _command("report", words, draws=True):
        report(train)


def only_run(log_dir: Path) -> Path:
    """Returns the folder of the only run below a log folder."""
    (run_dir,) = (path.parent.parent for path in log_dir.glob("**/.hydra/config.yaml"))
    return run_dir


def own_schedule(target: str, *words: str) -> list[str]:
    """Returns words that choose a schedule which has no file in conf/."""
    others = [f"~scheduler.{name}" for name in ("every", "factor", "interval", "frequency")]
    return ["scheduler=step", f"scheduler._target_={target}", *others, *words]


def composed(words: list[str]) -> Config:
    """Returns the config of the run that `python -m project.train …` begins."""
    train.open()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=words)
        return Config.resolve(config, words, Task(train).mentioned)


def begin(config: Config, run_dir: Path) -> None:
    """Does a new run in a folder that is not there yet; there are no figures."""
    with _command("train", config.overrides, draws=False):
        train.do(config, run_dir)


def killed_and_resumed(config: Config, moments: list[str], run_dir: Path) -> Path:
    """Does a run that is killed by SIGKILL at each moment and goes on from there.

    It begins as one that was killed before its first step: by a folder with nothing but a config.

    Args:
        config: the run's.
        moments: as `moments.at` takes a moment.
        run_dir: the run's folder, which is made here.

    Returns:
        the run's folder.
    """
    folders.save_config(run_dir, config, train.module)
    command = [f"resume={run_dir}"]
    for moment in moments:
        assert train_in_process(command, kill_at=moment) == -signal.SIGKILL, moment
    assert train_in_process(command) == 0
    return run_dir


def train_in_process(
    words: list[str], kill_at: str | None = None, kill_with: int = signal.SIGKILL
) -> int:
    """Runs `python -m project.train …` in a process of its own, and returns the exit code.

    The exit code of a process that a signal ended is negative.

    Args:
        words: of the command line.
        kill_at: the moment of a signal, as `moments.at` takes a moment; None: no signal.
        kill_with: the signal.
    """
    skip_if_edited(words)
    return subprocess.run(
        killable(words, kill_at, kill_with), env=environment(), timeout=120
    ).returncode


def train_twice_at_once(words: list[str]) -> list[int]:
    """Runs one command in two processes at the same time, and returns their exit codes."""
    codes: list[int] = []
    both = [threading.Thread(target=lambda: codes.append(train_in_process(words))) for _ in "ab"]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    return codes


def killable(
    words: list[str], kill_at: str | None = None, kill_with: int = signal.SIGKILL
) -> list[str]:
    """Returns the command that `train_in_process` runs."""
    return [python(), "-m", "killable", kill_at or "never", str(int(kill_with)), *words]


def environment() -> dict[str, str]:
    """Returns the environment of a process that can import the modules of these tests."""
    paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
