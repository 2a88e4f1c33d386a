"""What kill_storm.py and signal_storm.py do to a command: five small ones, each way to train once.

A command is as small as it can be while each kind of file event of its way occurs. `larger` has
more epochs, jobs or a larger model; kill_storm.py compares the kinds of both.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import commands
import warm
from made import different, made
from measuring import commit

# An epoch of four steps, with a last.ckpt within it, and a row at another step.
EPOCH = ["datamodule.steps_per_epoch=4", "trainer.max_epochs=1", "trainer.log_every_n_steps=3"]
TINY = ["accelerator=cpu", "callbacks.checkpoints.every_n_steps=2", *EPOCH]
# Two epochs of six steps, as small runs were before.
LONGER = ["datamodule.steps_per_epoch=6", "trainer.max_epochs=2", "trainer.log_every_n_steps=5"]
# Histograms at the first step, and a picture within the training and at its end.
CURVE = [
    *["experiment=curve_fit", "datamodule.samples=20", "callbacks=[curve_fit,histograms]", *TINY],
    "callbacks.curve.every_n_steps=3",
]
NO_GRAPH = "logger.tensorboard.log_graph=false"
DIGITS = ["experiment=lenet", "datamodule=digits", NO_GRAPH, *TINY]
CONFUSION = "callbacks.classification.grid_images=0"  # no other picture of a test
NO_PICTURES = "callbacks.classification=null"
# The smallest model with validation, and a row in each of three checkpoints.
FOLDS = [
    *["experiment=curve_fit", "datamodule.samples=20", "datamodule.folds=2", "callbacks=default"],
    *[NO_GRAPH, *TINY, "datamodule.steps_per_epoch=5", "trainer.log_every_n_steps=2"],
]
LINEAR = ["experiment=linear", NO_GRAPH, *TINY]
SEEDS = "seed=1,2"
TOGETHER = "hydra/launcher=vectorized"
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=1"]
OPTUNA = ["hydra/sweeper=optuna", "optimizer.lr=tag(log,interval(0.001,0.01))"]
# The second trial is drawn from what the first one has given.
TWO_TRIALS = ["hydra.sweeper.n_trials=2", "hydra.sweeper.random_trials=1"]
THREE_TRIALS = ["hydra.sweeper.n_trials=3", "hydra.sweeper.random_trials=2"]
TO_ROUNDING = 1e-4  # of jobs that train together, as in tests/together.py
BLAMES = ("Traceback", "somebody else")  # no kill is a reason to print them
SECONDS = 120  # that a command may take
TOO_LONG = 124


@dataclass(frozen=True)
class Case:
    """Describes a command.

    Args:
        words: of the command line.
        larger: words of a larger command of the same way.
        rel: how far numbers may be from those of an undisturbed command; 0: to the last bit.
        prints: a text by which the undisturbed command tells that it goes the way of the case.
    """

    words: Sequence[str]
    larger: Sequence[str]
    rel: float = 0.0
    prints: str = ""

    @property
    def is_sweep(self) -> bool:
        return "-m" in self.words


CASES = {
    "curve_fit": Case(CURVE, larger=[*CURVE, *LONGER]),
    "digits": Case([*DIGITS, CONFUSION], larger=[*DIGITS, CONFUSION, *LONGER]),
    "vectorised sweep": Case(
        ["-m", *FOLDS, TOGETHER, SEEDS],
        larger=["-m", *DIGITS, *LONGER, NO_PICTURES, TOGETHER, "seed=1,2,3"],
        rel=TO_ROUNDING,
        prints="jobs together",
    ),
    "joblib sweep": Case(
        ["-m", *LINEAR, *JOBLIB, SEEDS],
        larger=["-m", *LINEAR, *LONGER, *JOBLIB, "seed=1,2,3"],
    ),
    "search": Case(
        ["-m", *LINEAR, *OPTUNA, *TWO_TRIALS],
        larger=["-m", *LINEAR, *LONGER, *OPTUNA, *THREE_TRIALS],
    ),
}


class Disturbed:
    """Has the folders of a case, and what its command makes if nobody disturbs it.

    All commands of a case have the same log folder, one after the other: its path is in configs.

    Args:
        name: of the case.
        case: the case.
        folder: for all that its commands make.
    """

    def __init__(self, name: str, case: Case, folder: Path) -> None:
        self.name, self.case, self.folder = name, case, folder / name.replace(" ", "_")
        self.log_dir = self.folder / "logs"
        self.notes = self.folder / "notes"
        self.output = self.folder / "output"  # all that the commands of the log folder have printed

    def notes_of(self, run: Callable[[], int]) -> str:
        """Returns what an undisturbed command has noted; runs it, if it has not been run.

        Args:
            run: runs the command, which notes, and returns its exit code.
        """
        kept = self.folder / "noted"
        if not kept.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.begin_anew()
            assert run() == 0, self.output.read_text()
            assert self.case.prints in self.output.read_text()
            self.log_dir.rename(self.folder / "whole")
            self.notes.rename(kept)
        return kept.read_text()

    @cached_property
    def right(self) -> dict[str, Any]:
        """Returns what an undisturbed command has made."""
        return made(self.folder / "whole")

    def begin_anew(self) -> None:
        """Removes what the commands before have made, printed and noted."""
        shutil.rmtree(self.log_dir, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self.notes, self.output):
            path.unlink(missing_ok=True)

    def start(self, module: str, *words: str) -> "subprocess.Popen[str]":
        """Starts a module with words, and those that begin the command or go on with it."""
        return start(self.output, module, *words, *words_to_go_on(self.case, self.log_dir))

    def wrong(self) -> list[str]:
        """Returns the names of what the commands have made or printed and should not have."""
        printed = self.output.read_text()
        said = [f"says {text!r}" for text in BLAMES if text in printed]
        other = different(made(self.log_dir), self.right, self.case.rel)
        return [*said, *(f"other {name}" for name in other)]

    def keep(self, name: str) -> None:
        """Keeps what the commands have made and printed, to look at it."""
        for path in (self.log_dir, self.output):
            if path.exists():
                path.rename(self.folder / f"{name}.{path.name}")


def start(output: Path, module: str, *words: str) -> "subprocess.Popen[str]":
    """Starts a module with words for project.train; what it prints goes to the end of a file."""
    environment = commands.environment()
    environment["PYTHONPATH"] += f":{Path(__file__).parent}"
    with open(output, "a") as file:
        return subprocess.Popen(
            [warm.python(), "-m", module, *words],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )


def exit_code(process: "subprocess.Popen[str]") -> int:
    """Waits for the end of a command; one that takes too long is killed, and has a code of ours."""
    try:
        return process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return TOO_LONG


def words_to_go_on(case: Case, log_dir: Path) -> list[str]:
    """Returns the words that go on with a command, or begin it once more."""
    begun = [path.parent.parent for path in log_dir.glob("runs/*/*/.hydra/config.yaml")]
    if begun and not case.is_sweep:
        return [f"resume={begun[0]}"]
    return [*case.words, f"paths.log_dir={log_dir}"]


def sign_as_before(folder: Path) -> None:
    """Has commands sign configs by a key in the storm's folder, and so by one key at each start."""
    os.environ["XDG_STATE_HOME"] = str(folder)


def note(folder: Path, outcome: Mapping[str, Any]) -> None:
    """Notes an outcome and the commit, so that a storm that is stopped can go on."""
    with open(folder / "outcomes.jsonl", "a") as file:
        file.write(json.dumps({**outcome, "commit": commit()}) + "\n")


def outcomes(folder: Path) -> list[dict[str, Any]]:
    """Returns all that was noted."""
    path = folder / "outcomes.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
