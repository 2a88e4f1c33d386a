"""Tests that a command that is killed at any file event goes on and ends as if it had not been.

    PYTHONPATH=tests OMP_NUM_THREADS=1 python benchmarks/kill_storm.py FOLDER

Each case of storm.py runs undisturbed first, and its file events are noted (file_events.py). Then,
for each of them, a new command gets SIGKILL at this event, and `resume=` of its folder, or for a
sweep the same command, goes on to the end. That must have exit code 0 and leave the same files with
the same content, but for what made.py lists: with times and numbers of processes. Jobs that train
together are compared to rounding, all else to the last bit. Where joblib's worker is killed, the
sweep itself has to go on.

The cases are small, so that there are some hundred events each. A larger command of the same way
runs undisturbed, too. It must have no kind of event that the small one lacks: a kind is a call and
the name of a file, whichever job's. The kinds of all cases are: folders, locks, the run's config
(config.yaml, overrides.yaml, door, made_of.json), train.log, metrics.csv whole and row by row,
TensorBoard's events, last.ckpt, previous.ckpt, best.ckpt, figures, a job's row of HParams,
summary.json, a sweep's multirun.yaml and a study's journal.

What is done is noted in FOLDER: the same command goes on there. Prints a table, and a line for each
violation with its event; writes benchmarks/results/kill_storm.json, or kill_storm.part.json of a
part of a storm. Ends with 1 if there is a violation.
"""

import argparse
import re
import signal
import sys
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import warm
from file_events import name_of, numbered
from measuring import save, table
from storm import CASES, JOBLIB, Case, Disturbed, exit_code, note, outcomes, sign_as_before

# What is in the names of a command's events, and stands for any job, run or study in their kinds.
OF_ONE = (
    (r" \d+$", ""),  # the event's number
    (r"(?<= )(runs|sweeps)/[^/]+", r"\1/NAME"),
    (r"(?<=/)[^/]+-[0-9a-f]{8}(?=/|$)", "JOB"),
    (r"(?<=\.locks/)[^/]*[0-9a-f]{8}[^/]*", "JOB.lock"),
    (r"figures/.*", "figures/FIGURE"),
)


# Files that are written under another name in the same folder, beside .NAME, .NAME.PID, NAME.new.
WRITTEN_AS = {"previous.ckpt": ".last.ckpt", "events.out.tfevents": ".row.PID"}


class Storm(Disturbed):
    """Kills the commands of a case."""

    def run(self, aim: str = "") -> int:
        """Runs the case's command, or what goes on with it, with a kill at an event, or none."""
        with self.start("file_events", str(self.log_dir), aim, str(self.notes)) as process:
            return exit_code(process)

    @cached_property
    def events(self) -> list[str]:
        """Returns the events of an undisturbed command, which is run if it has not been."""
        lines = self.notes_of(self.run).splitlines()
        missed = unseen(lines, self.folder / "whole")
        assert not missed, f"{missed}: who has written this?"
        return numbered(lines)

    def kill(self, event: str) -> dict[str, Any]:
        """Kills a command at an event, and goes on; says what is wrong."""
        self.begin_anew()
        code = self.run(event)
        came = event in numbered(self.notes.read_text().splitlines())
        wrong = [] if came else ["the event did not come"]
        # A killed worker is not the command.
        ends = (-signal.SIGKILL, 0) if JOBLIB[0] in self.case.words else (-signal.SIGKILL,)
        if code not in ends:
            wrong.append(f"exit code {code}")
        if again := self.run():
            wrong.append(f"goes on: exit code {again}")
        wrong = wrong or self.wrong()
        if wrong:
            self.keep(f"wrong_{self.events.index(event) + 1}")
        return {"case": self.name, "event": event, "violation": ", ".join(wrong)}


def unseen(lines: Sequence[str], folder: Path) -> list[str]:
    """Returns the files below a folder that came to be, or got their content, without an event."""
    calls = [line.partition(" ")[::2] for line in lines]
    made, written = ({path for call, path in calls if call == own} for own in ("open", "write"))
    found = []
    for path in (path for path in folder.rglob("*") if path.is_file()):
        file = Path(name_of(str(path.relative_to(folder))))
        own = (file.name, f".{file.name}", f".{file.name}.PID", f"{file.name}.new")
        names = [*own, WRITTEN_AS.get(file.name, file.name)]
        wanted = made & written if path.stat().st_size else made
        if wanted.isdisjoint(str(file.with_name(name)) for name in names):
            found.append(str(file))
    return sorted(found)


def kinds(events: Sequence[str]) -> set[str]:
    """Returns the kinds of events."""
    found = set()
    for kind in events:
        for pattern, word in OF_ONE:
            kind = re.sub(pattern, word, kind)
        found.add(kind)
    return found


def compared_with_larger(one: Storm) -> dict[str, Any]:
    """Runs a larger command of a case; says what kinds of events it has that the case lacks."""
    larger = Case(one.case.larger, larger=[], prints=one.case.prints)
    with tempfile.TemporaryDirectory() as folder:
        events = Storm(one.name, larger, Path(folder)).events
    return {
        "larger": one.name,
        "events": len(events),
        "kinds": len(kinds(events)),
        "missing": sorted(kinds(events) - kinds(one.events)),
    }


def chosen(events: Sequence[str], most: int | None) -> list[str]:
    """Returns the events at which to kill: all, or some at equal distances."""
    if most is None or most >= len(events):
        return list(events)
    return [events[round(place)] for place in np.linspace(0, len(events) - 1, most)]


def storm(folder: Path, cases: Sequence[str], most: int | None = None) -> list[dict[str, Any]]:
    """Kills at the events of some cases, but for those that were done before; returns all.

    Where all events are meant, a larger command tells whether they are of all kinds.
    """
    known = {(one.get("case"), one.get("event")) for one in outcomes(folder)}
    larger = {one.get("larger") for one in outcomes(folder)}
    for name in cases:
        one = Storm(name, CASES[name], folder)
        if most is None and name not in larger:
            note(folder, compared_with_larger(one))
        for event in chosen(one.events, most):
            if (name, event) not in known:
                outcome = {**one.kill(event), "events": len(one.events)}
                note(folder, outcome)
                if outcome["violation"]:
                    print(f"{name}, {event}: {outcome['violation']}", flush=True)
    return outcomes(folder)


def report(noted: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Prints a table, and returns what is kept of it."""
    result: dict[str, Any] = {}
    for case in dict.fromkeys(one["case"] for one in noted if "case" in one):
        own = [one for one in noted if one.get("case") == case]
        larger = [one for one in noted if one.get("larger") == case]
        missing = [f"no event: {kind}" for one in larger for kind in one["missing"]]
        wrong = [f"{one['event']}: {one['violation']}" for one in own if one["violation"]]
        result[case] = {
            "file events": own[0]["events"],
            "kinds": len(kinds([one["event"] for one in own])),
            "kills": len(own),
            "as undisturbed": len(own) - len(wrong),
            "of a larger command": [
                {key: one[key] for key in ("events", "kinds", "missing")} for one in larger
            ],
            "commits": sorted({str(one.get("commit")) for one in own}),
            "violations": [*wrong, *missing],
        }
    columns = ("file events", "kinds", "kills", "as undisturbed")
    rows = [[case, *(str(found[key]) for key in columns)] for case, found in result.items()]
    rows.append(["all", *(str(sum(found[key] for found in result.values())) for key in columns)])
    print(table(["case", *columns], rows))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--most", type=int, help="kills of a case; default: at each event")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    warm.begin()
    sign_as_before(folder)
    try:
        noted = storm(folder, arguments.cases, arguments.most)
    finally:
        warm.end()
    result = report(noted)
    is_whole = arguments.most is None and len(result) == len(CASES)
    save("kill_storm", {"cases": result}, is_whole)
    sys.exit(1 if any(found["violations"] for found in result.values()) else 0)


if __name__ == "__main__":
    main()
