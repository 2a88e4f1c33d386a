"""Holds a run that is resumed, and tells what a refused command says and leaves."""

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from engine.run import folders

# A run of a small model on few points: 10 steps an epoch, last.ckpt every 3 steps.
SMALL = [
    "experiment=linear",
    "accelerator=cpu",
    "logger.tensorboard.log_graph=false",
    "module._target_=ways.Small",
    "datamodule._target_=ways.Points",
    "datamodule.batch_size=5",
    "datamodule.steps_per_epoch=null",
    "callbacks.checkpoints.every_n_steps=3",
]
# With validation, dropout and momentum.
RUN = [
    *SMALL,
    "optimizer=sgd",
    "optimizer.lr=0.05",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=4",
]


def refused(command: Callable[..., None], capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Runs a command that is refused, and returns what it says, in two lines at most.

    It hardly waits for a lock: here, whoever holds one holds it all the time.
    """
    capsys.readouterr()
    with mock.patch.object(folders, "GRACE", 0.1), pytest.raises(SystemExit) as stop:
        command(*words, draws=False)
    assert stop.value.code == 2
    says = capsys.readouterr().err
    assert 1 <= len(says.splitlines()) <= 2
    return says


def contents(run_dir: Path) -> dict[str, bytes]:
    """All that a refused command must leave as it is."""
    return {
        str(path.relative_to(run_dir)): path.read_bytes()
        for path in run_dir.rglob("*")
        if path.is_file() and path.name != "lock"
    }
