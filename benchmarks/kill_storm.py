"""Tests that a command that is killed at any file event goes on and ends as if it had not been.

    PYTHONPATH=tests OMP_NUM_THREADS=1 python benchmarks/kill_storm.py FOLDER

Each case of storm.py runs undisturbed first, and its file events are counted (file_events.py).
Then, for as many of them as the case says, at equal distances, a new command gets SIGKILL at this
event, and `resume=` of its folder, or for a sweep the same command, goes on to the end. That must
have exit code 0 and leave what storm.py compares: the names of all files, the content of
metrics.csv, summary.json and checkpoints, the steps and values of TensorBoard's scalars and the
steps of its texts, pictures and histograms, and the trials of a study. What texts, pictures,
histograms, figures and the files of a run's config hold is not compared. Jobs that train together
are compared to rounding, all else to the last bit. Where joblib's worker is killed, the sweep
itself has to go on.

What is done is noted in FOLDER: the same command goes on there. Prints a table, and a line for each
violation with its event; writes benchmarks/results/kill_storm.json. Ends with 1 if there is one.
"""

import argparse
import shutil
import signal
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import warm
from measuring import save, table
from storm import (
    CASES,
    Disturbed,
    different,
    exit_code,
    made,
    note,
    outcomes,
    output,
    start,
    words_to_go_on,
)


class Storm(Disturbed):
    """Kills the commands of a case."""

    def run(self, log_dir: Path, number: int, notes: Path) -> int:
        """Runs the case's command, or what goes on with it, with a kill at an event; 0: none."""
        words = words_to_go_on(self.case, log_dir)
        events = [str(log_dir), str(number), str(notes)]
        with start(log_dir, "file_events", *events, *words) as process:
            return exit_code(process)

    @cached_property
    def events(self) -> list[str]:
        """Returns the events of an undisturbed command, which is run if it has not been."""
        return self.notes_of(lambda notes: self.run(self.whole, 0, notes)).splitlines()

    def kill(self, number: int) -> dict[str, Any]:
        """Kills a command at an event, and goes on; says which event it was and what is wrong."""
        log_dir = self.folder / str(number)
        notes = log_dir.with_suffix(".event")
        for path in (notes, output(log_dir)):
            path.unlink(missing_ok=True)
        shutil.rmtree(log_dir, ignore_errors=True)
        code = self.run(log_dir, number, notes)
        event = notes.read_text().strip() if notes.exists() else ""
        outcome = {"case": self.name, "number": number, "event": event}
        # A killed worker is not the command.
        if code not in (-signal.SIGKILL, 0):
            return {**outcome, "violation": f"exit code {code}"}
        code = self.run(log_dir, 0, Path("/dev/null"))
        if code:
            return {**outcome, "violation": f"goes on: exit code {code}"}
        wrong = different(made(log_dir), self.right, self.case.rel)
        if not wrong:
            shutil.rmtree(log_dir)
            output(log_dir).unlink()
        return {**outcome, "violation": f"other {', '.join(wrong)}" if wrong else ""}


def chosen(events: int, most: int) -> list[int]:
    """Returns the numbers of the events at which to kill, at equal distances."""
    return sorted({round(n) for n in np.linspace(1, events, min(events, most))})


def storm(folder: Path, cases: Sequence[str], most: int | None) -> list[dict[str, Any]]:
    """Kills at the events of some cases, but for those that were done before; returns all."""
    known = {(one["case"], one["number"]) for one in outcomes(folder)}
    for name in cases:
        one = Storm(name, CASES[name], folder)
        for number in chosen(len(one.events), most or one.case.kills):
            if (name, number) not in known:
                outcome = {**one.kill(number), "events": len(one.events)}
                note(folder, outcome)
                if outcome["violation"]:
                    print(f"{name}, {outcome['event']}: {outcome['violation']}", flush=True)
    return outcomes(folder)


def report(killed_at: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Prints a table, and returns what is kept of it; commands that were not reached do not count.

    Threads may change the number of events by a few.
    """
    result: dict[str, Any] = {}
    for case in dict.fromkeys(one["case"] for one in killed_at):
        own = [one for one in killed_at if one["case"] == case]
        killed = [one for one in own if one["event"]]
        wrong = [one for one in own if one["violation"]]
        result[case] = {
            "file events": own[0]["events"],
            "kills": len(killed),
            "as undisturbed": sum(not one["violation"] for one in killed),
            "commits": sorted({str(one.get("commit")) for one in own}),
            "violations": [f"{one['event']}: {one['violation']}" for one in wrong],
        }
    columns = ("file events", "kills", "as undisturbed")
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
    parser.add_argument("--most", type=int, help="kills of a case")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    warm.begin()
    try:
        killed_at = storm(folder, arguments.cases, arguments.most)
    finally:
        warm.end()
    result = report(killed_at)
    save("kill_storm", {"cases": result})
    sys.exit(1 if any(found["violations"] for found in result.values()) else 0)


if __name__ == "__main__":
    main()
