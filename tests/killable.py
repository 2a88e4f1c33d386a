"""Trains in a process that gets a signal at a chosen moment.

    python -m killable <hook of Callback>:<global step> SIGNAL …   the words of project.train
    python -m killable never 0 …
    python -m killable never 0 in=FOLDER …   a new run in this folder

There are no figures.
The signal comes after our own callbacks; only after an epoch, before the checkpoints, which
Lightning calls last.
"""

import os
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from commands import begin, run_train
from engine.run import build
from engine.steps.callback import StepCallback


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


if __name__ == "__main__":
    moment, number, *words = sys.argv[1:]
    if moment != "never":
        _arm(*moment.split(":"), int(number))
    if words[0].startswith("in="):
        begin(words[1:], Path(words[0].removeprefix("in=")))
    else:
        run_train(*words, draws=False)
