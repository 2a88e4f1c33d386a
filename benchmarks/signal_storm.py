"""Tests that Ctrl-C and SIGTERM at random moments end a command as they should.

    PYTHONPATH=tests OMP_NUM_THREADS=1 python benchmarks/signal_storm.py FOLDER [--signals 200]

The cases of storm.py take turns, and so do the stages of a command (stages.py): composing,
building, training, validation, testing, the end. A signal comes at a random moment of the stage.
Then

- the exit code is 130 or 143, and there is no traceback; only where the command does not handle
  signals yet, or had ended when the signal came, is the end Python's own;
- a run that has begun says how to go on, and so does a sweep;
- whatever goes on (`resume=`, or the same command) ends as if there had been no signal.

What is done is noted in FOLDER: the same command goes on there. Prints a table, and a line for each
violation; writes benchmarks/results/signal_storm.json, or signal_storm.part.json of fewer than 200
signals. Ends with 1 if there is a violation.
"""

import argparse
import itertools
import json
import random
import signal
import sys
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import warm
from measuring import save, table
from stages import BEFORE, END, OVER, STAGES
from storm import CASES, Disturbed, exit_code, note, outcomes, sign_as_before

CONFIG = ".hydra/config.yaml"  # of a run that has begun
GO_ON = {False: "go on with:\n  python -m", True: "the same command goes on"}
CAME_IN = (BEFORE, *STAGES, OVER)
SIGNALS = 200  # of a whole storm
DELIVERY = 1.0  # seconds that a signal may take to a process of a busy machine
Stage = tuple[str, float, float]  # its name, its begin and its length in seconds


class End(NamedTuple):
    """Describes the end of a command that has got a signal.

    Args:
        stage: in which it got the signal.
        code: its exit code; negative: the number of the signal that ended the process.
        is_over: whether the command came to its end by itself right after the signal was sent.
        printed: all that it has printed.
        has_begun: whether a run or a sweep has a folder.
        is_whole: whether all of it is done.
    """

    stage: str
    code: int
    is_over: bool
    printed: str
    has_begun: bool
    is_whole: bool

    def is_pythons(self, sent: int) -> bool:
        """Tells whether Python itself ended, before the command began or when all was done."""
        if self.stage == BEFORE:
            return self.code == -sent
        return self.stage in (END, OVER) and self.is_over and self.code in (0, -sent)

    def wrong(self, sent: int, is_sweep: bool) -> list[str]:
        """Returns what is wrong with the end."""
        if self.is_pythons(sent):
            return []
        wrong = ["a traceback"] if "Traceback" in self.printed else []
        if self.code != 128 + sent:
            wrong.append(f"exit code {self.code}")
        if self.has_begun and not self.is_whole and GO_ON[is_sweep] not in self.printed:
            wrong.append("does not say how to go on")
        return wrong


class Signals(Disturbed):
    """Sends the commands of a case signals."""

    def begin(self, notes: Path) -> Any:
        """Starts the case's command, or what goes on with it."""
        return self.start("stages", str(self.log_dir), str(notes))

    @cached_property
    def stages(self) -> list[Stage]:
        """Returns the stages of an undisturbed command, which is run if it has not been."""

        def run() -> int:
            with self.begin(self.notes) as process:
                return exit_code(process)

        noted = moments_in(self.notes_of(run))
        return [
            (name, begun, then - begun) for (begun, name), (then, _) in itertools.pairwise(noted)
        ]

    def send(self, number: int) -> dict[str, Any]:
        """Sends one signal, and goes on; says when it came and what is wrong."""
        moments = random.Random(f"{self.name} {number}")
        sent = moments.choice([signal.SIGINT, signal.SIGTERM])
        names = [name for name in STAGES if any(name == one[0] for one in self.stages)]
        # So each case gets to each of its stages. The first six signals leave out validation only,
        # as three of the cases neither validate nor test.
        turn = (3 + number % len(CASES) - number // len(CASES)) % len(STAGES)
        aimed_at = names[turn % len(names)]
        own = [one for one in self.stages if one[0] == aimed_at]
        which = moments.randrange(len(own))
        self.begin_anew()
        with self.begin(self.notes) as process:
            wait_for(aimed_at, which + 1, self.notes, process)
            time.sleep(moments.uniform(0, own[which][2]))
            end = self.answered(process, sent)
        outcome = {"case": self.name, "number": number, "signal": sent.name, "stage": end.stage}
        wrong = end.wrong(sent, self.case.is_sweep)
        if end.is_pythons(sent):  # what it says then is its own
            self.output.write_text("")
        with self.begin(Path("/dev/null")) as process:
            if again := exit_code(process):
                wrong.append(f"goes on: exit code {again}")
        wrong = wrong or self.wrong()
        if wrong:
            self.keep(f"wrong_{number}")
        return {**outcome, "aimed at": aimed_at, "code": end.code, "violation": ", ".join(wrong)}

    def answered(self, process: Any, sent: int) -> End:
        """Sends a command a signal, and returns how it ended."""
        stage = stage_of(self.notes)
        moment = time.monotonic()
        process.send_signal(sent)
        code = exit_code(process)
        over = [then for then, name in read(self.notes) if name == OVER]
        files = list(self.log_dir.rglob("summary.json"))
        statuses = [json.loads(path.read_text())["status"] for path in files]
        jobs = sum(name.endswith("summary.json: status") for name in self.right)
        return End(
            stage,
            code,
            is_over=bool(over) and over[0] < moment + DELIVERY,
            printed=self.output.read_text(),
            has_begun=any(any(self.log_dir.rglob(name)) for name in ("multirun.yaml", CONFIG)),
            is_whole=statuses.count("finished") == jobs,
        )


def read(notes: Path) -> list[tuple[float, str]]:
    """Returns the moments and the names of the stages that have begun."""
    return moments_in(notes.read_text() if notes.exists() else "")


def moments_in(text: str) -> list[tuple[float, str]]:
    """Returns the moments and the names of the stages in a text of notes."""
    pairs = (line.split(" ", 1) for line in text.splitlines())
    return [(float(moment), name) for moment, name in pairs]


def stage_of(notes: Path) -> str:
    """Returns the stage of a command."""
    return (read(notes) or [(0.0, BEFORE)])[-1][1]


def wait_for(stage: str, times: int, notes: Path, process: Any) -> None:
    """Waits until a stage has begun some times; no longer than the process lives."""
    while process.poll() is None and [name for _, name in read(notes)].count(stage) < times:
        time.sleep(0.003)


def storm(folder: Path, signals: int) -> list[dict[str, Any]]:
    """Sends signals to the cases in turns, but for those that were sent before; returns all."""
    known = {(one["case"], one["number"]) for one in outcomes(folder)}
    cases = [Signals(name, case, folder) for name, case in CASES.items()]
    for number in range(signals):
        one = cases[number % len(cases)]
        if (one.name, number) not in known:
            outcome = one.send(number)
            note(folder, outcome)
            if outcome["violation"]:
                print(said(outcome), flush=True)
    return outcomes(folder)


def said(one: dict[str, Any]) -> str:
    """Returns a violation in words."""
    return f"{one['case']} {one['number']}, {one['signal']} in {one['stage']}: {one['violation']}"


def report(sent: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Prints a table of the stages in which signals came, and returns what is kept of it."""
    result: dict[str, Any] = {}
    for case in CASES:
        own = [one for one in sent if one["case"] == case]
        wrong = [one for one in own if one["violation"]]
        result[case] = {
            **{stage: sum(one["stage"] == stage for one in own) for stage in CAME_IN},
            "signals": len(own),
            "had finished": sum(one["code"] == 0 for one in own),
            "right": len(own) - len(wrong),
            "commits": sorted({str(one.get("commit")) for one in own}),
            "violations": list(map(said, wrong)),
        }
    columns = (*CAME_IN, "signals", "had finished", "right")
    rows = [[case, *(str(found[key]) for key in columns)] for case, found in result.items()]
    rows.append(["all", *(str(sum(found[key] for found in result.values())) for key in columns)])
    print(table(["case", *columns], rows))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--signals", type=int, default=SIGNALS)
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    warm.begin()
    sign_as_before(folder)
    try:
        sent = storm(folder, arguments.signals)
    finally:
        warm.end()
    result = report(sent)
    is_whole = sum(found["signals"] for found in result.values()) >= SIGNALS
    save("signal_storm", {"cases": result}, is_whole)
    sys.exit(1 if any(found["violations"] for found in result.values()) else 0)


if __name__ == "__main__":
    main()
