"""Sweeps of small jobs: trained together, and one by one, as commands with everything that they write.

    OMP_NUM_THREADS=1 python benchmarks/sweep_time.py

A time is that of the whole command, from composing the jobs to the table, but for imports: a small sweep comes first.
One by one a few jobs are timed, and their time is scaled to all. Jobs that train together draw no figures; so one by
one is timed without them, too. One thread.
"""

import contextlib
import functools
import io
import logging
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import measuring
from project import train

LENET = ["experiment=lenet", "datamodule=digits", "datamodule.batch_size=4"]
SWEEPS = {  # words, jobs, how many of them are timed one by one
    "256 curve_fit": (["experiment=curve_fit"], 256, 6),
    "64 curve_fit": (["experiment=curve_fit"], 64, 6),
    "64 linear": (["experiment=linear"], 64, 16),
    "16 LeNet-5": (LENET, 16, 2),
}
NO_FIGURES = {
    "experiment=curve_fit": ["callbacks=default"],
    "experiment=linear": [],
    "experiment=lenet": ["callbacks.classification=null"],
}
ROUNDS = 3


def command(words: list[str], jobs: int, *more: str) -> float:
    """Seconds that a sweep over so many seeds takes."""
    folder = Path(tempfile.mkdtemp())
    sys.argv = ["train", "-m", *words, f"seed=range({jobs})", "accelerator=cpu", *more, f"paths.log_dir={folder}"]
    began = time.monotonic()
    with contextlib.redirect_stdout(said := io.StringIO()):
        try:
            train.main()
        except SystemExit:
            print(said.getvalue(), file=sys.stderr)
            raise
    whole = time.monotonic() - began
    ended = list(folder.glob("sweeps/*/*/summary.json"))
    assert len(ended) == jobs
    shutil.rmtree(folder)
    return whole


def together(words: list[str], jobs: int) -> float:
    return command(words, jobs, "hydra/launcher=vectorized")


def one_by_one(words: list[str], jobs: int, timed: int, *more: str) -> float:
    return command(words, timed, *more) * jobs / timed


def main() -> None:
    logging.getLogger().addHandler(logging.NullHandler())
    results = {}
    rows = []
    for name in sys.argv[1:] or SWEEPS:
        words, jobs, timed = SWEEPS[name]
        plain = NO_FIGURES[words[0]]
        contestants: dict[str, Callable[[], float]] = {
            "together": functools.partial(together, words, jobs),
            "one by one": functools.partial(one_by_one, words, jobs, timed),
        }
        if plain:
            contestants["one by one, no figures"] = functools.partial(one_by_one, words, jobs, timed, *plain)
        together(words, 2), one_by_one(words, 1, 1)
        seconds = measuring.in_turns(contestants, ROUNDS)
        for contestant, times in seconds.items():
            ratio = measuring.ratio(times, seconds["together"])
            results[f"{name}, {contestant}"] = {"seconds": times, "to together": ratio}
            rows.append([f"{name}, {contestant}", f"{statistics.median(times):.1f}", f"{ratio['median']:.1f}"])
            print(*rows[-1], file=sys.stderr, flush=True)
    print(measuring.table(["sweep", "seconds", "× together"], rows))
    measuring.save("sweep_time", results)


if __name__ == "__main__":
    main()
