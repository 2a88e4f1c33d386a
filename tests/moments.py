"""Does something at a chosen moment of a run, such as what a kill at that moment would leave."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from lightning.pytorch import Callback, Trainer

from engine.run import build
from engine.steps.callback import StepCallback


@contextmanager
def at(moment: str, act: Callable[[], object]) -> Iterator[None]:
    """Has the runs of this context do something, after what our own callbacks do.

    Only after an epoch it comes before the checkpoints, which Lightning calls last.

    Args:
        moment: a hook of Callback, and the global step if only one is meant, such as
            `on_train_batch_end:8`.
        act: is called then.
    """
    hook, _, step = moment.partition(":")

    def react(self: Callback, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        if step in ("", str(trainer.global_step)) and not trainer.sanity_checking:
            act()

    def watches(self: StepCallback, trainer: Trainer, at: int, batch_idx: int) -> bool:
        return bool(step) and at in (int(step) - 1, int(step))

    watcher = type("Watcher", (StepCallback,), {hook: react, "watches": watches})()
    made = build.trainer_with

    def with_watcher(*args: Any, **kwargs: Any) -> Trainer:
        trainer = made(*args, **kwargs)
        trainer.callbacks.append(watcher)
        return trainer

    with mock.patch.object(build, "trainer_with", with_watcher):
        yield


@contextmanager
def as_killed(moment: str, run_dir: Path, left: Path) -> Iterator[None]:
    """Copies a run's folder at a moment: what a SIGKILL would leave there; the run goes on.

    Args:
        moment: as `at` takes it; of several, such as batches of a test, the first.
        run_dir: the folder of a run of this context.
        left: the copy, which is made.
    """

    def copy() -> None:
        if not left.exists():
            shutil.copytree(run_dir, left)

    with at(moment, copy):
        yield
    assert left.is_dir(), moment
