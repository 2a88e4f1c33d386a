"""Sends a run signals on its way, by a callback."""

import errno
import os
import signal
import weakref
from typing import Any

from lightning.pytorch import Callback, Trainer


class Signals(Callback):
    """Sends this process Ctrl-C at a step, where an exception is swallowed.

    Args:
        step: the step; with 0, before training.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def setup(self, *_: Any, **__: Any) -> None:
        if self.step == 0:
            send()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            send()


class Fails(Callback):
    """Fails at the end of training, by an error of its own or by a full disk."""

    def __init__(self, full: bool = False) -> None:
        self.full = full

    def on_fit_end(self, trainer: Trainer, *_: Any) -> None:
        folder = trainer.default_root_dir
        raise OSError(errno.ENOSPC, "No space left", folder) if self.full else ValueError("bad")


class _Thing:
    pass


def send(number: int = signal.SIGINT) -> None:
    """Sends a signal to this process while Python calls a function that may not raise."""
    thing = _Thing()
    reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), number))
    del thing
    assert reference() is None
