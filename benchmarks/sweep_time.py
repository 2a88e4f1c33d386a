"""Sweeps of small jobs: trained together, and one by one, as commands with everything that they write.

    python benchmarks/sweep_time.py
    python benchmarks/sweep_time.py --accelerator gpu

Jobs that train together are timed from the first job, whose config is composed then, to the table at the end, all files
on disk; a small sweep before has done the imports. Of the other launchers a job is timed, by when summaries are written
once some jobs have ended: that leaves out what a command does once, and imports in other processes. Nothing is deleted
before the end: for minutes after that, ext4 takes ten times as long to make a file.
Jobs that train together draw no figures; so the others are timed without them, too. Everything has one thread a
process, as is the default; the largest sweep is timed with threads=2, too, and so are jobs one by one.
Writes benchmarks/results/sweep_time.json, or sweep_time_gpu.json; ….part.json for some of the sweeps.
"""

import argparse
import contextlib
import io
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import measuring
from engine.sweep.compose import Composer
from project.train import train

LAUNCHERS = {
    "basic": (),
    "joblib": ("hydra.launcher.n_jobs=2",),
}  # one by one in this process; in two processes
TWO_THREADS = "together, 2 threads"
ALONE_TWO_THREADS = "basic, 2 threads"


@dataclass(frozen=True)
class Sweep:
    """Jobs that differ in their seeds.

    Args:
        words: of the command.
        sizes: numbers of jobs that train together.
        plain: what turns figures off; empty if there are none.
        first: jobs that end, with another launcher, before others are timed.
        timed: those.
    """

    words: Sequence[str]
    sizes: Sequence[int]
    plain: Sequence[str] = ()
    first: int = 4
    timed: int = 32


SWEEPS = {
    "curve_fit": Sweep(["experiment=curve_fit"], [16, 64, 256], ["callbacks=default"]),
    "linear": Sweep(["experiment=linear"], [64]),
    "lenet": Sweep(
        ["experiment=lenet", "datamodule=digits", "datamodule.batch_size=4"],
        [4, 16], ["callbacks.classification=null"], 2, 4,
    ),
}  # fmt: skip
ON_A_GPU = {
    "lenet": Sweep(
        ["experiment=lenet", "datamodule=digits", "datamodule.batch_size=4"],
        [16, 64], ["callbacks.classification=null"], 2, 6,
    ),
}  # fmt: skip


def command(words: Sequence[str], jobs: int, *more: str) -> tuple[float, list[float]]:
    """Seconds that a sweep over so many seeds takes, from its first job to its end; and when its jobs ended."""
    folder, composers = tempfile.mkdtemp(), []

    def made(self: Composer, *arguments: Any) -> None:
        composers.append(time.monotonic())
        make(self, *arguments)

    make = Composer.__init__
    sys.argv = ["train", "-m", *words, f"seed=range({jobs})", *more, f"paths.log_dir={folder}"]
    with (
        mock.patch.object(Composer, "__init__", made),
        contextlib.redirect_stdout(said := io.StringIO()),
    ):
        try:
            train()
        except SystemExit:
            print(said.getvalue(), file=sys.stderr)
            raise
    seconds = time.monotonic() - composers[0]
    ends = sorted(path.stat().st_mtime for path in Path(folder).glob("sweeps/*/*/summary.json"))
    assert len(ends) == jobs
    return seconds, ends


def together(words: Sequence[str], jobs: int, *more: str) -> float:
    """Seconds that a sweep of jobs takes that train together."""
    return command(words, jobs, "hydra/launcher=vectorized", *more)[0]


def job(sweep: Sweep, words: Sequence[str], launcher: str) -> float:
    """Seconds that a job takes with another launcher."""
    _, ends = command(
        words, sweep.first + sweep.timed, f"hydra/launcher={launcher}", *LAUNCHERS[launcher]
    )
    return (ends[-1] - ends[sweep.first - 1]) / sweep.timed


def contestants(sweep: Sweep, on_gpu: bool) -> dict[str, Callable[[], float]]:
    """What takes turns: sweeps by their number of jobs; jobs by their launcher, and one by one with figures."""
    words = [*sweep.words, f"accelerator={'gpu' if on_gpu else 'cpu'}"]
    made: dict[str, Callable[[], float]] = {
        str(jobs): partial(together, words, jobs) for jobs in sweep.sizes
    }
    if not on_gpu:
        made[TWO_THREADS] = partial(together, words, sweep.sizes[-1], "threads=2")
        made[ALONE_TWO_THREADS] = partial(job, sweep, [*words, *sweep.plain, "threads=2"], "basic")
    for launcher in ["basic"] if on_gpu else LAUNCHERS:
        made[launcher] = partial(job, sweep, [*words, *sweep.plain], launcher)
    if sweep.plain:
        made["basic, figures"] = partial(job, sweep, words, "basic")
    return made


def measured(sweep: Sweep, times: dict[str, list[float]]) -> dict[str, Any]:
    """Times of a sweep, and how many times as long the same jobs take with the other launchers."""
    sizes = [str(jobs) for jobs in sweep.sizes]
    others = [name for name in times if name not in (*sizes, TWO_THREADS)]
    ratios = {
        jobs: {
            name: measuring.ratio([int(jobs) * s for s in times[name]], times[jobs])
            for name in others
        }
        for jobs in sizes
    }
    if TWO_THREADS in times:
        ratios[sizes[-1]][TWO_THREADS] = measuring.ratio(times[TWO_THREADS], times[sizes[-1]])
    return {
        "seconds together": {jobs: times[jobs] for jobs in sizes},
        "seconds a job": {name: times[name] for name in others},
        "ratio_to_together": ratios,
    }


def rows(name: str, result: dict[str, Any]) -> list[list[str]]:
    """What the terminal shows of a sweep."""
    made = []
    for jobs, seconds in result["seconds together"].items():
        made.append([f"{jobs} {name}", "together", f"{statistics.median(seconds):.1f}", "", ""])
        for way, ratio in result["ratio_to_together"][jobs].items():
            whole = statistics.median(seconds) * ratio["median"]
            spread = f"{ratio['min']:.1f}–{ratio['max']:.1f}"
            made.append(["", way, f"{whole:.1f}", f"{ratio['median']:.1f}", spread])
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweeps", nargs="*", default=list(SWEEPS), choices=list(SWEEPS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--accelerator", default="cpu", choices=["cpu", "gpu"])
    arguments = parser.parse_args()
    on_gpu = arguments.accelerator == "gpu"
    known = ON_A_GPU if on_gpu else SWEEPS
    logging.getLogger().addHandler(logging.NullHandler())
    results, shown = {}, []
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(tempfile, "tempdir", folder):
        for name in [name for name in known if name in arguments.sweeps]:
            sweep, turns = known[name], contestants(known[name], on_gpu)
            for launcher in ("vectorized", "basic"):  # imports
                command(
                    [*sweep.words, f"accelerator={arguments.accelerator}"],
                    2,
                    f"hydra/launcher={launcher}",
                )
            results[name] = measured(sweep, measuring.in_turns(turns, arguments.rounds))
            shown += rows(name, results[name])
            print(
                measuring.table(["", "", "", "", ""], rows(name, results[name])),
                file=sys.stderr,
                flush=True,
            )
    print(measuring.table(["jobs", "", "seconds", "× together", "min–max"], shown))
    name = (
        "sweep_time" + ("_gpu" if on_gpu else "") + ("" if len(results) == len(known) else ".part")
    )
    measuring.save(name, {"rounds": arguments.rounds, "sweeps": results})


if __name__ == "__main__":
    main()
