"""What kill_storm.py and signal_storm.py do to a command, and what it must have made in the end."""

import csv
import json
import logging
import math
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.plugin_event_accumulator import (
    TENSORS,
    EventAccumulator,
)
from tensorboard.util.tensor_util import make_ndarray

import commands
import warm
from measuring import commit

logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it says what it hides
# Two epochs of six steps, with a last.ckpt within each, and rows at other steps.
TINY = [
    "accelerator=cpu",
    "datamodule.steps_per_epoch=6",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=5",
    "callbacks.checkpoints.every_n_steps=4",
]
DIGITS = [
    *["experiment=lenet", "datamodule=digits", *TINY],
    *["callbacks.classification=null", "logger.tensorboard.log_graph=false"],
]
LINEAR = ["experiment=linear", "logger.tensorboard.log_graph=false", *TINY]
TO_ROUNDING = 1e-4  # of jobs that train together, as in tests/together.py
# What must be as if nothing had happened. What a checkpoint counts besides is Lightning's own.
OF_A_CHECKPOINT = (
    "state_dict",
    "optimizer_states",
    "lr_schedulers",
    "callbacks",
    "has_best",
    "config_hash",
    "epoch",
    "global_step",
)
CHARTS = "custom_scalars__config__"  # a tag of which TensorBoard takes the last
OF_THE_MOMENT = ("seconds", "git")  # in summary.json
SECONDS = 120  # that a command may take
TOO_LONG = 124


@dataclass(frozen=True)
class Case:
    """Describes a command.

    Args:
        words: of the command line.
        kills: how many kill_storm.py does, if the command has as many file events.
        rel: how far numbers may be from those of an undisturbed command; 0: to the last bit.
    """

    words: Sequence[str]
    kills: int
    rel: float = 0.0

    @property
    def is_sweep(self) -> bool:
        return "-m" in self.words


CASES = {
    # With a graph, and a picture at the end of training.
    "curve_fit": Case(
        [
            "experiment=curve_fit",
            "datamodule.samples=20",
            "callbacks.curve.every_n_steps=100",
            *TINY,
        ],
        kills=1000,  # each one
    ),
    "digits": Case(DIGITS, kills=110),
    "vectorised sweep": Case(
        ["-m", *DIGITS, "hydra/launcher=vectorized", "seed=1,2"], kills=90, rel=TO_ROUNDING
    ),
    "joblib sweep": Case(
        ["-m", *LINEAR, "hydra/launcher=joblib", "hydra.launcher.n_jobs=1", "seed=1,2"],
        kills=80,
    ),
    "search": Case(
        [
            *["-m", *LINEAR, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3"],
            *["hydra.sweeper.random_trials=2", "optimizer.lr=tag(log,interval(0.001,0.01))"],
        ],
        kills=90,
    ),
}


class Disturbed:
    """Has the folders of a case, and what its command makes if nobody disturbs it.

    Args:
        name: of the case.
        case: the case.
        folder: for all that its commands make.
    """

    def __init__(self, name: str, case: Case, folder: Path) -> None:
        self.name, self.case, self.folder = name, case, folder / name.replace(" ", "_")
        self.whole = self.folder / "whole"

    def notes_of(self, run: Callable[[Path], int]) -> str:
        """Returns what an undisturbed command has noted; runs it, if it has not been run.

        Args:
            run: runs the command, which notes into a file, and returns its exit code.
        """
        kept = self.folder / "noted"
        if not kept.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            notes = self.folder / "notes"
            assert run(notes) == 0, output(self.whole).read_text()
            notes.rename(kept)
        return kept.read_text()

    @cached_property
    def right(self) -> dict[str, Any]:
        """Returns what an undisturbed command has made."""
        return made(self.whole)


def start(log_dir: Path, module: str, *words: str) -> "subprocess.Popen[str]":
    """Starts a module with words for project.train; what it prints goes to a file."""
    environment = commands.environment()
    environment["PYTHONPATH"] += f":{Path(__file__).parent}"
    with open(output(log_dir), "a") as file:
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


def output(log_dir: Path) -> Path:
    """Returns the file with all that the commands of a log folder have printed."""
    return log_dir.with_suffix(".out")


def words_to_go_on(case: Case, log_dir: Path) -> list[str]:
    """Returns the words that go on with a command, or begin it once more."""
    begun = [path.parent.parent for path in log_dir.glob("runs/*/*/.hydra/config.yaml")]
    if begun and not case.is_sweep:
        return [f"resume={begun[0]}"]
    return [*case.words, f"paths.log_dir={log_dir}"]


def note(folder: Path, outcome: Mapping[str, Any]) -> None:
    """Notes an outcome and the commit, so that a storm that is stopped can go on."""
    with open(folder / "outcomes.jsonl", "a") as file:
        file.write(json.dumps({**outcome, "commit": commit()}) + "\n")


def outcomes(folder: Path) -> list[dict[str, Any]]:
    """Returns all that was noted."""
    path = folder / "outcomes.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def made(log_dir: Path) -> dict[str, Any]:
    """Returns all that the commands of a log folder have made, as far as it must be the same."""
    runs = {path.parent.parent for path in log_dir.rglob(".hydra/config.yaml")}
    is_job = {run: run.parent.parent.name == "sweeps" for run in runs}
    found = {f"{run.name if is_job[run] else 'run'}: {k}": v for run in runs for k, v in _of(run)}
    return {**found, **{f"study {path.name}": _trials(path) for path in log_dir.rglob("study.log")}}


def _of(run: Path) -> Iterator[tuple[str, Any]]:
    """Yields the parts of a run."""
    files = [path for path in run.rglob("*") if path.is_file()]
    shown = [path for path in files if "tfevents" not in path.name]
    kept = [path for path in shown if not path.name.startswith(".")]  # a kill leaves .x.PID
    yield "files", sorted(str(path.relative_to(run)) for path in kept)
    summary = json.loads((run / "summary.json").read_text())
    yield "summary.json", {key: summary[key] for key in summary if key not in OF_THE_MOMENT}
    with open(run / "metrics.csv", newline="") as table:
        yield "metrics.csv", [list(map(_number, row)) for row in csv.reader(table)]
    for path in sorted(run.glob("checkpoints/*.ckpt")):
        saved = torch.load(path, weights_only=True)
        yield path.name, {key: saved[key] for key in OF_A_CHECKPOINT}
        if "so_far" in saved:
            yield f"{path.name}, so far", saved["so_far"]
    yield "TensorBoard", _events(run)
    if (run / "hparams").exists():
        yield "HParams", _events(run / "hparams")


def _events(folder: Path) -> dict[str, Any]:
    """Returns what TensorBoard shows: steps and values of scalars, steps of all else."""
    events = EventAccumulator(str(folder), size_guidance={TENSORS: 0}).Reload()
    shown = {}
    for tag in events.Tags()[TENSORS]:
        is_scalar = events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
        points = events.Tensors(tag)[-1:] if tag == CHARTS else events.Tensors(tag)
        shown[tag] = [
            (one.step, float(make_ndarray(one.tensor_proto)) if is_scalar else None)
            for one in points
        ]
    return {tag: points for tag, points in shown.items() if points}


def _trials(journal: Path) -> list[Any]:
    """Returns the trials of the only study in a journal."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(journal)))
    (study,) = optuna.get_all_study_summaries(storage)
    trials = optuna.load_study(study_name=study.study_name, storage=storage).trials
    return [
        [
            one.number,
            one.state.name,
            one.params,
            one.values,
            one.intermediate_values,
            one.user_attrs,
        ]
        for one in trials
    ]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def different(ours: Mapping[str, Any], theirs: Mapping[str, Any], rel: float) -> list[str]:
    """Returns the names of the parts that are not the same, or that only one has."""
    names = sorted({*ours, *theirs})
    if rel:  # generators of random numbers, which each step seeds, are elsewhere
        names = [name for name in names if not name.endswith("so far")]
    return [
        name
        for name in names
        if (name in ours) != (name in theirs) or not same(ours[name], theirs[name], rel)
    ]


def same(ours: Any, theirs: Any, rel: float) -> bool:
    """Compares nested containers of tensors, numbers and words; NaN equals NaN."""
    if isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor):
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            return False
        return torch.allclose(
            ours.double(), theirs.double(), rtol=rel, atol=rel * 1e-3, equal_nan=True
        )
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[k], theirs[k], rel) for k in ours)
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(
            same(one, other, rel) for one, other in zip(ours, theirs, strict=True)
        )
    if isinstance(ours, float) and isinstance(theirs, float):
        both_nan = math.isnan(ours) and math.isnan(theirs)
        return both_nan or math.isclose(ours, theirs, rel_tol=rel, abs_tol=rel * 1e-3)
    return bool(ours == theirs)
