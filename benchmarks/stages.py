"""Trains in a process that notes which part of the command has begun, and when.

    python -m stages FOLDER NOTES …    the words of project.train

NOTES gets a line for each: the seconds of the machine's clock, and the stage. Composing begins when
the command handles signals; it is over when it no longer does. Processes of joblib note theirs,
too.
"""

import functools
import os
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

from engine import TensorDataModule
from engine.callbacks.step_seed import StepSeed
from engine.door import Door
from engine.vectorized.module import StackedModule
from file_events import train

COMPOSING, BUILDING, TRAINING = "composing", "building", "training"
VALIDATION, TESTING, END = "validation", "testing", "the end"
STAGES = (COMPOSING, BUILDING, TRAINING, VALIDATION, TESTING, END)
BEFORE, OVER = "before", "over"  # a signal is Python's own then
BEGIN = (  # with these calls
    (Door, "open", COMPOSING),
    (TensorDataModule, "prepare_data", BUILDING),
    (StepSeed, "on_train_start", TRAINING),
    (StepSeed, "on_validation_start", VALIDATION),
    (StepSeed, "on_validation_end", TRAINING),
    (StepSeed, "on_fit_end", END),
    (StepSeed, "on_test_start", TESTING),
    (StepSeed, "on_test_end", END),
    # Of jobs that train together.
    (StackedModule, "on_train_start", TRAINING),
    (StackedModule, "on_validation_epoch_start", VALIDATION),
    (StackedModule, "on_validation_end", TRAINING),
    (StackedModule, "on_fit_end", END),
    (StackedModule, "on_test_start", TESTING),
    (StackedModule, "on_test_end", END),
)


def begin(notes: Path) -> None:
    """Notes each stage from now on, and that the command has come to its end by itself."""
    file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(stage: str) -> None:
        os.write(file, f"{time.monotonic()} {stage}\n".encode())

    def noted(call: Any, stage: str) -> Any:
        @functools.wraps(call)
        def noting(*arguments: Any, **options: Any) -> Any:
            note(stage)
            return call(*arguments, **options)

        return noting

    for owner, name, stage in BEGIN:
        setattr(owner, name, noted(getattr(owner, name), stage))
    command: Any = Door.__call__

    def to_its_end(door: Door) -> None:
        command(door)
        note(OVER)

    mock.patch.object(Door, "__call__", to_its_end).start()


if __name__ == "__main__":
    folder, notes, *words = sys.argv[1:]
    begin(Path(notes))
    train(words, Path(folder).parent / "kept")
