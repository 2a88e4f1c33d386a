"""Trains in a process that gets a signal at a chosen moment."""

import os
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from commands import run_train
from engine.run import build
from engine.steps.callback import StepCallback


def train(words: list[str], kill_at: str | None, kill_with: int) -> None:
    """Runs the training command, with a signal at `<hook of Callback>:<global step>`.

    It comes after our own callbacks; only after an epoch, before the checkpoints, which Lightning
    calls last.
    """
    torch.set_num_threads(1)
    if kill_at:
        _arm(*kill_at.split(":"), kill_with)
    run_train(*words)


def train_printing_to(path: str, words: list[str]) -> None:
    """Runs the training command, with its output in a file."""
    with open(path, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    train(words, kill_at=None, kill_with=0)


def _arm(hook: str, step: str, kill_with: int) -> None:
    def die(self: Callback, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        if trainer.global_step == int(step) and not trainer.sanity_checking:
            os.kill(os.getpid(), kill_with)

    def watches(self: StepCallback, trainer: Trainer, at: int, batch_idx: int) -> bool:
        return at in (int(step) - 1, int(step))

    killer = type("Killer", (StepCallback,), {hook: die, "watches": watches})()
    made = build.trainer_with

    def with_killer(*args: Any, **kwargs: Any) -> Trainer:
        trainer = made(*args, **kwargs)
        trainer.callbacks.append(killer)
        return trainer

    build.trainer_with = with_killer
