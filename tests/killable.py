"""A training process that dies of SIGKILL at a chosen moment."""

import os
import signal
from typing import Any

import torch
from commands import run_train
from lightning.pytorch import Callback, Trainer

import project.build


def train(words: list[str], kill_at: str | None) -> None:
    """Run the training command, and die at `<hook of Callback>:<global step>` where given: after our own callbacks."""
    torch.set_num_threads(1)
    if kill_at:
        _arm(*kill_at.split(":"))
    run_train(*words)


def _arm(hook: str, step: str) -> None:
    def die(self: Callback, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        if trainer.global_step == int(step) and not trainer.sanity_checking:
            os.kill(os.getpid(), signal.SIGKILL)

    killer = type("Killer", (Callback,), {hook: die})()
    made = project.build.trainer

    def with_killer(*args: Any, **kwargs: Any) -> Trainer:
        trainer = made(*args, **kwargs)
        trainer.callbacks.append(killer)
        return trainer

    project.build.trainer = with_killer
