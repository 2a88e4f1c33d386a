"""Tries command lines at random: each one runs, or is refused in a few lines and leaves nothing.

    PYTHONPATH=tests python benchmarks/fuzz.py [--lines 20000] [--seed 0] [--seconds 500] [--add]

The words are made of the composed config: each key with values of every kind, near misses of keys
and choices, `+`, `++`, `~`, `-m`, commas, interpolations, quotes and brackets. Each line goes up to
the checked config, and of twenty lines one is trained on. Prints how many lines ran, how many were
refused, how many of these only before the first step, by no one part of the config, and for each
violation the line without the words that it does not need. Writes benchmarks/results/fuzz.json;
with --add, the results of other seeds stay there, and the sums are over all. Ends with 1 if there
is a violation.
"""

import argparse
import itertools
import json
import math
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import kept_configs
import warm
from engine.checks import imports
from fuzz_judge import Judge, can_train
from fuzz_lines import Line, Lines
from fuzz_verdict import RIGHT
from measuring import RESULTS, commit, save
from project.train import train

TRAINED = 20  # of so many lines, one is trained on


class Report(NamedTuple):
    """Counts the outcomes of lines, and has an example of each violation, with what was seen."""

    outcomes: Counter[str]
    trained: Counter[str]
    violations: dict[str, tuple[Line, str]]

    def __str__(self) -> str:
        ends, trained = (
            ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in RIGHT)
            for counts in (self.outcomes, self.trained)
        )
        text = (
            f"{self.outcomes.total():,} lines: {ends}; of those that ran, trained on: {trained}; "
        )
        text += f"{len(self.violations)} kinds of violations"
        for outcome, (line, about) in self.violations.items():
            number = self.outcomes[outcome] + self.trained[outcome]
            text += f"\n\n{number} × {outcome}\n  {shlex.join(line)}\n{about.rstrip()[-1500:]}"
        return text

    def kept(self) -> dict[str, Any]:
        """Returns what is kept of it."""
        return {
            "lines": self.outcomes.total(),
            "outcomes": self.outcomes,
            "trained": self.trained,
            "violations": {what: shlex.join(line) for what, (line, _) in self.violations.items()},
        }


def fuzz(count: int, seed: int, sandbox: Path, seconds: float = math.inf) -> Report:
    """Judges so many lines, or as many as there is time for, and trains on one of twenty."""
    until = time.monotonic() + seconds
    report = Report(Counter(), Counter(), {})
    files = tuple(kept_configs.files([SimpleNamespace(path=train.conf, scheme=lambda: "file")]))
    with kept_configs.keeping(), mock.patch.object(kept_configs, "files", return_value=files):
        judge = Judge(sandbox)
        for line in itertools.islice(Lines(seed), count):
            if time.monotonic() > until:
                break
            _try(judge, line, report)
    return report


def _try(judge: Judge, line: Line, report: Report) -> None:
    """Judges a line, and once more trained, if it is due; adds what became of it to a report."""
    verdict = judge(line)
    report.outcomes[verdict.outcome] += 1
    is_due = report.trained.total() * TRAINED < report.outcomes.total()
    trains = verdict.outcome == "ran" and is_due and can_train(judge.configs, line)
    if trains:
        verdict = judge(line, trains)
        report.trained[verdict.outcome] += 1
    if verdict.is_violation and verdict.outcome not in report.violations:
        short = shortest(judge, line, trains, verdict.outcome)
        report.violations[verdict.outcome] = short, judge(short, trains).about


def shortest(judge: Judge, line: Line, trains: bool, outcome: str) -> Line:
    """Returns a line without the words that a violation does not need."""
    for number in reversed(range(len(line))):
        without = (*line[:number], *line[number + 1 :])
        judge(without)
        if judge(without, trains).outcome == outcome:
            line = without
    return line


def together(pieces: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the sums over pieces of a fuzz, by seed, and the pieces."""
    summed = {
        name: dict(sum((Counter(piece[name]) for piece in pieces.values()), Counter()))
        for name in ("outcomes", "trained")
    }
    return {
        "lines": sum(piece["lines"] for piece in pieces.values()),
        **summed,
        "violations": {
            what: line for p in pieces.values() for what, line in p["violations"].items()
        },
        "seconds": sum(piece["seconds"] for piece in pieces.values()),
        "pieces": dict(pieces),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="at most")
    parser.add_argument("--add", action="store_true", help="to the results of other seeds")
    options = parser.parse_args()
    began = time.monotonic()
    begun_at = commit()
    imports.freeze()
    warm.begin()  # what Hydra composes is kept there
    try:
        with tempfile.TemporaryDirectory() as sandbox:
            report = fuzz(options.lines, options.seed, Path(sandbox), options.seconds)
    finally:
        warm.end()
    seconds = round(time.monotonic() - began)
    print(f"{report}\n{seconds} s")
    kept = RESULTS / "fuzz.json"
    before = json.loads(kept.read_text())["pieces"] if options.add and kept.exists() else {}
    piece = {**report.kept(), "seconds": seconds, "commit": begun_at}
    save("fuzz", together({**before, str(options.seed): piece}))
    sys.exit(bool(report.violations))


if __name__ == "__main__":
    main()
