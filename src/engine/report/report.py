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
from engine.door import Door
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

Prints groups with mean, confidence interval and rank, and which differences are within noise;
writes report.html (the same with figures, in one file), report.md and runs.csv to DIR."""
OPTIONS = ("--metric", "--mode", "--group-by", "--alpha")


class Parser(argparse.ArgumentParser):
    """Raises UserError for a wrong command line, as the other commands do."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument ") + ".")


def report(door: Door) -> None:
    """Runs the command line of the comparing command.

    Args:
        door: of the training command, beside which this command lies.
    """
    with exit_codes():
        words = sys.argv[1:]
        command = door.beside("report")
        if not words or {"-h", "--help"} & set(words):
            print_text(USAGE.format(command=command))
            return
        write_report(parse(words), f"python -m {command} {shlex.join(words)}")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parses a command line into folder, metric, mode, group_by and alpha.

    Raises:
        UserError: for an unknown option or a value out of range.
    """
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--metric")
    parser.add_argument("--mode", choices=["min", "max"])
    parser.add_argument(
        "--group-by", type=lambda text: list(filter(None, text.split(","))), default=[]
    )
    parser.add_argument("--alpha", type=float, default=0.05)
    options, unknown = parser.parse_known_args(words)
    if unknown:
        option = unknown[0].partition("=")[0]
        hint = nearest(option, OPTIONS)
        raise UserError(f"{option}: no such option.{hint} There are {', '.join(OPTIONS)}.")
    if options.folder is None:
        raise UserError("DIR: missing; name the folder of a sweep, such as logs/sweeps/lenet.")
    if not 0 < options.alpha < 1:
        raise UserError(f"--alpha {options.alpha:g}: must be a number between 0 and 1.")
    return options


def write_report(options: argparse.Namespace, command: str) -> None:
    """Compares the runs, writes the three files, and prints the table.

    Args:
        options: as `parse` returns them.
        command: the command line, which the report quotes.
    """
    from engine.report.read import collect, settings
    from engine.report.statistics import metric

    folder = options.folder.absolute()
    runs, problems = collect.collect(folder)
    # A user's mistake is answered here, before pandas is imported.
    metric.direction(metric.choose(runs, options.metric), options.mode)
    settings.chosen(runs, options.group_by)
    from engine.report.page import markdown, page, tables
    from engine.report.statistics.content import compute

    content = compute(
        folder,
        runs,
        problems,
        command=command,
        metric_name=options.metric,
        mode=options.mode,
        group_by=options.group_by,
        alpha=options.alpha,
    )
    figures, unread = page.figures(content)
    content = dataclasses.replace(content, problems=[*problems, *unread])
    write(
        folder,
        {
            "report.html": page.html(content, figures),
            "report.md": markdown.document(content),
            "runs.csv": tables.csv(content),
        },
    )
    print_text(f"{tables.terminal(content)}\n\n{folder / 'report.html'}")


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Writes files to a folder, each whole or not at all."""
    for name, text in texts.items():
        files.write_whole(folder / name, text)


def print_text(text: str) -> None:
    """Prints a text; a reader that has gone, such as `head`, is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python flushes stdout once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
