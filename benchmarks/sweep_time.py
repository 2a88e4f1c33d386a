"""Measures sweeps of small jobs: trained together, and one by one.

    python benchmarks/sweep_time.py
    python benchmarks/sweep_time.py --accelerator gpu

A sweep is a whole command, with all files that it writes. Jobs that train together are timed from
the first job, when its config is composed, to the table at the end, when all files are on disk. A
small sweep before has done the imports. Of the other launchers, the time of one job is measured:
the mean time between two summaries, after some jobs have ended. This leaves out the work that a
command does once, and the imports in other processes. Nothing is deleted before the end: for
minutes after a deletion, ext4 takes ten times as long to make a file.

Jobs that train together draw no figures, so the others are timed without figures, too. Every
process has one thread, as is the default. The largest sweep and the jobs one by one are also timed
with threads=2.

Writes benchmarks/results/sweep_time.json, or sweep_time_gpu.json. A run of some of the sweeps
writes ….part.json.
"""

import argparse
import contextlib
import gc
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
from engine.checks import imports
from engine.sweep.compose import Composer
from project.train import train

LAUNCHERS = {
    "basic": (),  # one by one in this process
    "joblib": ("hydra.launcher.n_jobs=2",),  # in two processes
}
TWO_THREADS = "together, 2 threads"
ALONE_TWO_THREADS = "basic, 2 threads"


@dataclass(frozen=True)
class Sweep:
    """Describes a sweep of jobs that differ in their seeds.

    Args:
        words: of the command.
        sizes: numbers of jobs that train together.
        plain: words that turn figures off; empty if the experiment draws none.
        first: number of jobs that end, with another launcher, before the clock starts.
        timed: number of jobs that are timed after them.
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
        [4, 16],
        ["callbacks.classification=null"],
        first=2,
        timed=4,
    ),
}
ON_A_GPU = {
    "lenet": Sweep(
        ["experiment=lenet", "datamodule=digits", "datamodule.batch_size=4"],
        [16, 64],
        ["callbacks.classification=null"],
        first=2,
        timed=6,
    ),
}


def command(words: Sequence[str], jobs: int, *more: str) -> tuple[float, list[float]]:
    """Runs a sweep over `jobs` seeds.

    Returns:
        the seconds from the first job to the end of the sweep; the times at which jobs ended.
    """
    folder = tempfile.mkdtemp()
    composers = []

    def made(self: Composer, *arguments: Any) -> None:
        composers.append(time.monotonic())
        make(self, *arguments)

    make = Composer.__init__
    gc.collect()  # what other sweeps have left, which a command would not have
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
    """Returns the seconds of a sweep whose jobs train together."""
    return command(words, jobs, "hydra/launcher=vectorized", *more)[0]


def job(sweep: Sweep, words: Sequence[str], launcher: str) -> float:
    """Returns the seconds of one job with another launcher."""
    _, ends = command(
        words, sweep.first + sweep.timed, f"hydra/launcher={launcher}", *LAUNCHERS[launcher]
    )
    return (ends[-1] - ends[sweep.first - 1]) / sweep.timed


def contestants(sweep: Sweep, on_gpu: bool) -> dict[str, Callable[[], float]]:
    """Returns the functions that take turns.

    They are sweeps, by the number of jobs, and single jobs, by their launcher.
    """
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
    """Returns a sweep's times, and the other launchers' times as multiples of them."""
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
    """Returns a sweep's rows of the table in the terminal."""
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
            if not results:
                gc.collect()
                imports.freeze()  # as a command does once it has imported PyTorch and Lightning
            results[name] = measured(sweep, measuring.in_turns(turns, arguments.rounds))
            shown += rows(name, results[name])
            print(
                measuring.table(["", "", "", "", ""], rows(name, results[name])),
                file=sys.stderr,
                flush=True,
            )
    print(measuring.table(["jobs", "", "seconds", "× together", "min–max"], shown))
    measuring.save(
        "sweep_time_gpu" if on_gpu else "sweep_time",
        {"rounds": arguments.rounds, "sweeps": results},
        is_whole=len(results) == len(known),
    )


if __name__ == "__main__":
    main()
