"""Tests that a long run keeps neither memory nor open files: a run, and jobs that train together.

    OMP_NUM_THREADS=1 python benchmarks/soak.py [--minutes 10]

Each trains in a process of its own, which looks at itself every few seconds: resident memory (MB),
how much of it is free, open files, bytes of TensorBoard's files, optimiser steps. Looks before
WARM_UP of the time do not count. Then

- the process has trained for as long as it was asked to, and then Ctrl-C has ended it;
- memory in use grows by at most 2 %: the median of the last quarter against that of the first.
  It is the resident memory without what C's allocator has got back and keeps for the next request:
  glibc keeps up to 64 MB at its heap's end, now more and now less. The table has both;
- there are as many open files at the end as at the beginning, at the most of a quarter;
- TensorBoard's files grow by as many bytes a step all the time: no look is farther from the
  straight line than 2 % of the whole growth.

Writes benchmarks/results/soak.json, or soak.part.json of less than 10 minutes, and ends with 1 if
one of these does not hold (Linux).
"""

import argparse
import contextlib
import ctypes
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.errors import CTRL_C
from measuring import save, table

ENDLESS = [
    "experiment=lenet",
    "datamodule=digits",
    "accelerator=cpu",
    "trainer.max_epochs=1000000",
    "trainer.log_every_n_steps=50",
]
WAYS = {
    "run": ENDLESS,
    "vectorised sweep": ["-m", *ENDLESS, "seed=range(8)", "hydra/launcher=vectorized"],
}
LESS: list[str] = []  # further words of the command line, such as those of a short run
WARM_UP = 0.2  # share of the time
MINUTES = 10  # of each process
LOOKS = 100
ASKED = 0.95  # least share of the time that was asked for
MOST = 0.02  # growth of the memory, and distance from a straight line


class Look(NamedTuple):
    """Says how a process is at a moment."""

    seconds: float
    megabytes: float  # resident
    free: float  # MB of these
    files: int
    event_bytes: int
    steps: int


class _Mallinfo(ctypes.Structure):
    """What mallinfo2(3) of glibc 2.33 and later returns, of all heaps."""

    _fields_ = [
        *((f"_{number}", ctypes.c_size_t) for number in range(8)),
        ("fordblks", ctypes.c_size_t),  # bytes in free blocks
        ("keepcost", ctypes.c_size_t),
    ]


def free_bytes() -> int:
    """Returns how much memory the allocator has got back and keeps; 0 where it does not say so."""
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        return 0
    mallinfo.restype = _Mallinfo
    return int(mallinfo().fordblks)


def look(log_dir: Path, began: float) -> Look:
    """Looks at this process, and at the first of its runs."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    events = sum(path.stat().st_size for path in log_dir.rglob("events.out.tfevents.*"))
    tables = sorted(log_dir.rglob("metrics.csv"))
    rows = tables[0].read_text().splitlines()[1:] if tables else []
    return Look(
        time.monotonic() - began,
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        free_bytes() / 2**20,
        len(os.listdir("/proc/self/fd")),
        events,
        int(rows[-1].split(",")[1]) if rows else 0,
    )


def watched(words: Sequence[str], minutes: float) -> list[Look]:
    """Trains in this process for some minutes after its first row; returns what was seen of it."""
    from project.train import train

    looks: list[Look] = []

    def watch() -> None:
        while not look(log_dir, 0.0).steps:
            time.sleep(0.1)
        began = time.monotonic()
        while time.monotonic() < began + 60 * minutes:
            looks.append(look(log_dir, began))
            time.sleep(60 * minutes / LOOKS)
        os.kill(os.getpid(), signal.SIGINT)

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        log_dir = Path(folder)
        sys.argv = ["train", *words, f"paths.log_dir={folder}"]
        # A shell that begins this in the background has it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Thread(target=watch, daemon=True).start()
        try:
            train()
        except SystemExit as stop:
            if stop.code != CTRL_C:
                raise
    return looks


def in_a_process(way: str, minutes: float) -> list[Look]:
    """Does the same in a process of its own."""
    words = [sys.executable, "-m", "soak", "--way", way, "--minutes", str(minutes), *LESS]
    folder = Path(__file__).parent
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, cwd=folder)
    return [Look(*values) for values in json.loads(done.stdout.splitlines()[-1])]


def judged(looks: Sequence[Look], minutes: float) -> dict[str, Any]:
    """Says how much a process has grown after its warm-up, and whether that is little enough.

    Args:
        looks: at the process.
        minutes: that it was asked for.
    """
    counted = looks[int(WARM_UP * len(looks)) :]
    quarter = max(1, len(counted) // 4)
    parts = counted[:quarter], counted[-quarter:]
    resident = [statistics.median(one.megabytes for one in part) for part in parts]
    ends = [statistics.median(one.megabytes - one.free for one in part) for part in parts]
    # Loggers close their files where they are saved, and open them for the next row.
    files = [max(one.files for one in part) for part in parts]
    steps = np.array([one.steps for one in counted], float)
    written = np.array([one.event_bytes for one in counted], float)
    slope, off = 0.0, 1.0  # of a process that has taken no step meanwhile
    if steps[-1] > steps[0] and written[-1] > written[0]:
        slope, start = np.polyfit(steps, written, 1)
        off = np.abs(written - (slope * steps + start)).max() / (written[-1] - written[0])
    growth = ends[1] / ends[0] - 1
    holds = growth <= MOST and files[0] == files[-1] and off <= MOST
    return {
        "minutes": round(looks[-1].seconds / 60, 2),
        "steps": looks[-1].steps,
        "resident megabytes": [round(value, 1) for value in resident],
        "megabytes in use": [round(value, 1) for value in ends],
        "growth": round(growth, 5),
        "open files": [files[0], files[-1]],
        "event bytes a step": round(float(slope), 3),
        "off the line": round(float(off), 5),
        "holds": bool(holds and looks[-1].seconds >= ASKED * 60 * minutes),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        words = [*WAYS[arguments.way], *arguments.words]
        print(json.dumps(watched(words, arguments.minutes)))
        return
    results = {}
    for way in WAYS:
        looks = in_a_process(way, arguments.minutes)
        results[way] = {**judged(looks, arguments.minutes), "looks": looks[:: max(1, LOOKS // 20)]}
    rows = [
        [
            way,
            f"{found['steps']:,}",
            "{:.0f} → {:.0f}".format(*found["resident megabytes"]),
            "{:.0f} → {:.0f}".format(*found["megabytes in use"]),
            f"{found['growth']:+.1%}",
            "{} → {}".format(*found["open files"]),
            f"{found['off the line']:.1%}",
            "holds" if found["holds"] else "DOES NOT HOLD",
        ]
        for way, found in results.items()
    ]
    head = ["", "steps", "MB", "in use", "growth", "open files", "off the line", ""]
    print(table(head, rows))
    save("soak", {"results": results}, is_whole=arguments.minutes >= MINUTES)
    sys.exit(0 if all(found["holds"] for found in results.values()) else 1)


if __name__ == "__main__":
    main()
