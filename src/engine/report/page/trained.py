"""Says what was trained: what is the same in all runs, and the commands to paste."""

import logging
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine.config.keys import CHOICES, OWN, TARGET, is_below
from engine.report.read import settings
from engine.report.read.collect import Run
from engine.report.statistics import numbers
from engine.report.statistics.content import Content
from engine.run import folders
from engine.run.records import read
from engine.run.records.read import BrokenFile

log = logging.getLogger(__name__)

# What a reader wants to know first; the choices by their class, the numbers as they are.
FIRST = (
    "optimizer.lr",
    "trainer.max_steps",
    "datamodule.steps_per_epoch",
    "seed",
    "datamodule.batch_size",
    "trainer.max_epochs",
)


class Trained(NamedTuple):
    """Holds what was trained.

    Args:
        same: what is the same in all runs, by short name.
        commands: each with its title.
    """

    same: dict[str, str]
    commands: list[tuple[str, str]]


def of(content: Content, door: str) -> Trained:
    """Returns what the runs of a report have in common, and the commands that a reader wants.

    Args:
        content: of the report.
        door: the import path of the training command, of runs that do not say theirs.
    """
    same = {name: numbers.setting(value) for name, value in shared(content.runs).items()}
    told = of_sweeps(content.runs, door)
    if len(valued := content.valued):
        own = content.rows[content.rows["group"] == valued.index[0]]["value"].astype(float)
        number = own.idxmax() if content.mode == "max" else own.idxmin()
        told.append(("The best run, once more", of_run(content.runs[number], door)))
    place = shlex.quote(os.path.relpath(content.folder))
    told.append(("TensorBoard", f"tensorboard --logdir {place}"))
    told.append(("This report", content.command))
    return Trained(same, told)


def shared(runs: Sequence[Run]) -> dict[str, Any]:
    """Returns what is the same in all runs, by short name: data, model, lr, epochs, batch size."""
    configs = [run.config for run in runs]
    known = {key for config in configs for key in config}
    keys = [key for key in CHOICES if f"{key}.{TARGET}" in known]
    keys += [key for key in FIRST if key in known]
    columns = {key: settings.column(configs, key, runs) for key in keys}
    same = {key: values[0] for key, values in columns.items() if len(set(values)) == 1}
    names = settings.short_names(same)
    return {names[key]: value for key, value in same.items() if value not in ("null", -1)}


def of_sweeps(runs: Sequence[Run], door: str) -> list[tuple[str, str]]:
    """Returns the commands of the sweeps that the runs are jobs of, as they were last started.

    Each is with its title. A folder has the command of its last sweep only.

    Args:
        runs: jobs, or runs of no sweep.
        door: the import path of the training command, of runs that do not say theirs.
    """
    homes: dict[Path, list[Run]] = {}
    for run in runs:
        homes.setdefault(run.path.parent, []).append(run)
    return [
        ("The sweep" if len(set(map(_kind, own))) == 1 else "The last of several sweeps", text)
        for home, own in homes.items()
        if (home / folders.SWEEP).exists() and (text := _of_sweep(home, door_of(own[-1], door)))
    ]


def _kind(run: Run) -> tuple[str, ...]:
    """Returns what the jobs of a sweep have in common: its study, and the keys of their words."""
    return (run.study, *sorted(key for key in run.said if not is_below(key, OWN)))


def _of_sweep(home: Path, door: str) -> str:
    try:
        words = read.sweep(home / folders.SWEEP)
    except BrokenFile as broken:  # a report does without it
        log.warning("%s: %s", broken.path, broken.reason)
        return ""
    own = [word for word in words["hydra"] if not word.startswith("hydra.mode=")]
    return f"python -m {door} -m {shlex.join([*words['task'], *own])}"


def of_run(run: Run, door: str) -> str:
    """Returns the command that does a run once more."""
    return f"python -m {door_of(run, door)} {shlex.join(run.overrides)}".strip()


def door_of(run: Run, otherwise: str) -> str:
    """Returns the import path of the command that made a run."""
    try:
        return read.door(run.path / folders.DOOR) or otherwise
    except BrokenFile as broken:
        log.warning("%s: %s", broken.path, broken.reason)
        return otherwise
