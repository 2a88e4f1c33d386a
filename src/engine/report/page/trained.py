"""Says what was trained: what is the same in all runs, and the commands to paste."""

from typing import NamedTuple

from engine.report.read import commands
from engine.report.statistics import numbers
from engine.report.statistics.content import Content


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
    same = {name: numbers.setting(value) for name, value in commands.shared(content.runs).items()}
    told = [("The sweep", text) for text in commands.of_sweeps(content.runs, door)]
    if len(valued := content.valued):
        own = content.rows[content.rows["group"] == valued.index[0]]["value"].astype(float)
        number = own.idxmax() if content.mode == "max" else own.idxmin()
        told.append(("The best run, once more", commands.of_run(content.runs[number], door)))
    told.append(("TensorBoard", commands.of_tensorboard(content.folder)))
    told.append(("This report", content.command))
    return Trained(same, told)
