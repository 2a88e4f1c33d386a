"""The command that compares runs: a ranking in the terminal, a page, a table."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from engine import files
from engine.checks import imports
from engine.door import Door
from engine.errors import UserError, exit_codes, nearest

USAGE = """\
Compare the runs below a folder, a sweep's or any other, finished or going on.

  python -m {command} DIR

By default, runs are compared by their objective, as in the sweep's own table.
Where no run has one, a note says so, and which metric is compared.

  --metric NAME     compare by the last value of another metric of metrics.csv,
                    such as test/acc
  --mode min|max    which way is better, for a metric whose name does not say it
  --group-by KEY,…  the keys that define a group, such as optimizer,lr; by
                    default all that differ, but for seed and fold
  --alpha A         level of the tests, 0.05; intervals are of 1 - A
  --latex           for papers, too: report.tex, and figures/ as PDF and SVG

Prints groups with mean, confidence interval and rank, and which differences
are shown by the tests; writes report.html (the same with figures, in one file),
report.md and runs.csv to DIR. Runs of other experiments, data or objectives are
ranked apart."""
OPTIONS = ("--metric", "--mode", "--group-by", "--alpha", "--latex")


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
            print(USAGE.format(command=command))
            return
        with imports.large(has_torch=False):  # a report keeps nearly all that it makes to its end
            write_report(parse(words), f"python -m {command} {shlex.join(words)}", door.module)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parses a command line into folder, metric, mode, group_by, alpha and latex.

    Raises:
        UserError: for an unknown option or a value out of range.
    """
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("folder", type=lambda text: Path(_given(text)), nargs="?", metavar="DIR")
    parser.add_argument("--metric", type=_given)
    parser.add_argument("--mode", choices=["min", "max"])
    parser.add_argument(
        "--group-by", type=lambda text: list(filter(None, _given(text).split(","))), default=[]
    )
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--latex", action="store_true")
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


def _given(word: str) -> str:
    """Refuses an empty word, as of a variable that is not set; it would mean something else."""
    if not word:
        raise argparse.ArgumentTypeError("is empty; give it a value, or leave it out")
    return word


def write_report(options: argparse.Namespace, command: str, door: str) -> None:
    """Compares the runs, writes the files, and prints the tables.

    Args:
        options: as `parse` returns them.
        command: the command line, which the report quotes.
        door: the import path of the training command.
    """
    from engine.report.read import collect, settings
    from engine.report.statistics import metric, parts

    folder = options.folder.absolute()
    runs, problems = collect.collect(folder)
    if options.metric:
        metric.known(runs, options.metric)
    # A user's mistake is answered here, before pandas is imported.
    settings.chosen(runs, options.group_by)
    ranked = []
    reasons = []
    for part in parts.split(runs, options.metric):
        try:
            part.check(options.metric, options.mode, options.group_by)
            ranked.append(part)
        except UserError as reason:
            reasons.append(reason)
            problems.append(collect.Problem(part.title, str(reason)))
    if not ranked:
        raise reasons[0]
    from engine.report.page import latex, page, tables
    from engine.report.statistics.content import compute

    contents = [
        compute(
            folder,
            part.runs,
            problems if part is ranked[0] else [],
            command=command,
            metric_name=options.metric,
            mode=options.mode,
            group_by=options.group_by,
            alpha=options.alpha,
            title=part.title if len(ranked) > 1 else "",
        )
        for part in ranked
    ]
    made = [page.part_of(content, door) for content in contents]
    contents = [part.content for part in made]
    # Printed first: the folder may be one that nobody can write to.
    print("\n\n\n".join(map(tables.terminal, contents)), flush=True)
    texts = {"report.html": page.html(made), "report.md": page.markdown(made)}
    write(folder, {**texts, "runs.csv": tables.csv(contents)})
    if options.latex:
        write(folder, latex.files(made))
    print(f"\n{folder / 'report.html'}")


def write(folder: Path, contents: Mapping[str, str | bytes]) -> None:
    """Writes files to a folder, each whole or not at all."""
    try:
        for name, content in contents.items():
            files.make_folder((folder / name).parent)
            files.write_whole(folder / name, content)
    except files.CannotWrite as refused:
        refused.else_ = files.A_COPY
        raise
