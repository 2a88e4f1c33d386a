"""The command that compares runs: a ranking in the terminal, a page, a table."""

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from engine import files
from engine.command import Door
from engine.errors import UserError, exit_codes, nearest

USAGE = """\
Compare the runs below a folder, a sweep's or any other, finished or still going on.

  python -m {command} DIR                          by its validation accuracy or loss
  python -m {command} DIR --metric test/acc        by another metric
  python -m {command} DIR --group-by optimizer,lr  in groups that agree in these keys only

  --metric NAME      what to compare: the final value of a metric of metrics.csv
  --mode min|max     which way is better, for a metric whose name does not say it
  --group-by KEY,…   the keys that define a group; by default all that differ, but for seed and fold
  --alpha A          level of the tests, 0.05; intervals are of 1 - A

Prints groups with mean, confidence interval and rank, and which differences are within noise; writes report.html (the
same with figures, in one file), report.md and runs.csv to DIR."""
OPTIONS = ("--metric", "--mode", "--group-by", "--alpha")


class Parser(argparse.ArgumentParser):
    """Complains as the other commands do."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument ") + ".")


def report(door: Door) -> None:
    """Run the command line of the comparing command.

    Args:
        door: of the training command, beside which this command lies.
    """
    with exit_codes():
        words = sys.argv[1:]
        command = door.beside("report")
        if not words or {"-h", "--help"} & set(words):
            say(USAGE.format(command=command))
            return
        write_report(arguments(words), f"python -m {command} {shlex.join(words)}")


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """The words of the command line as folder, metric, mode, group_by and alpha.

    Raises:
        UserError: for an unknown option or a value out of range.
    """
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--metric")
    parser.add_argument("--mode", choices=["min", "max"])
    parser.add_argument("--group-by", type=lambda text: [key for key in text.split(",") if key], default=[])
    parser.add_argument("--alpha", type=float, default=0.05)
    found, unknown = parser.parse_known_args(words)
    if unknown:
        option = unknown[0].partition("=")[0]
        raise UserError(f"{option}: no such option.{nearest(option, OPTIONS)} There are {', '.join(OPTIONS)}.")
    if found.folder is None:
        raise UserError("DIR: missing; name the folder of a sweep, such as logs/sweeps/lenet.")
    if not 0 < found.alpha < 1:
        raise UserError(f"--alpha {found.alpha:g}: must be a number between 0 and 1.")
    return found


def write_report(asked: argparse.Namespace, command: str) -> None:
    """Collect, compute, write the three files and print the table."""
    from engine.report.read import collect, settings
    from engine.report.statistics import metric

    folder = asked.folder.absolute()
    found = collect.collect(folder)
    metric.direction(metric.choose(found[0], asked.metric), asked.mode)  # mistakes are told before pandas is imported
    settings.chosen(found[0], asked.group_by)
    from engine.report.page import markdown, page, tables
    from engine.report.statistics import content

    told = content.compute(
        folder, found, command=command, asked=asked.metric, mode=asked.mode, group_by=asked.group_by, alpha=asked.alpha
    )
    pictures, unread = page.figures(told)
    told = dataclasses.replace(told, problems=[*told.problems, *unread])
    write(folder, {"report.html": page.html(told, pictures), "report.md": markdown.document(told),
                   "runs.csv": tables.csv(told)})  # fmt: skip
    say(f"{tables.terminal(told)}\n\n{folder / 'report.html'}")


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files to a folder, each whole or not at all.

    Raises:
        UserError: if the folder cannot be written to.
    """
    try:
        for name, text in texts.items():
            files.write_whole(folder / name, text)
    except OSError as error:
        raise UserError(f"{folder}: cannot write the report there: {error.strerror}.") from None


def say(text: str) -> None:
    """Print to a reader who may have gone, such as `head`."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit

