"""Measures start-up: from the command to the first step, beside importing Lightning alone.

    OMP_NUM_THREADS=1 python benchmarks/start_up.py [--rounds 7]

Wall seconds of whole processes, as medians over rounds in which they take turns, of
  import    python -c "import lightning"
  step      python -m project.train experiment=lenet datamodule=digits, ended after its first step
  help      python -m project.train --help
  mistake   python -m project.train optimiser=adam, which is refused
  KEY=VALUE         a command that is refused for the limits of a class, three of them
  KEY=VALUE alone   Python imports the modules that this command had imported in the end
Writes benchmarks/results/start_up.json.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from lightning.pytorch import Callback

from measuring import in_turns, save, table


class EndsAtOnce(Callback):
    """Ends the process at once after the first step."""

    def on_train_batch_end(self, *args: object) -> None:
        os._exit(0)


# Words that a class refuses, each of another class, and the words before them.
LIMITS = {
    "module.hidden=0": ["experiment=curve_fit"],
    "module.blocks=0": ["experiment=resnet", "datamodule=digits"],
    "datamodule.val_fraction=2": ["experiment=lenet", "datamodule=digits"],
}
TRAIN = ["-m", "project.train"]
# Prints which modules a command has imported, in their order.
LISTED = """
import json, runpy, sys
try:
    runpy.run_module("project.train", run_name="__main__", alter_sys=True)
except SystemExit:
    print(json.dumps(list(sys.modules)))
"""
# Some can be imported by those only that the command has imported before.
IMPORTED = """
import contextlib, importlib, json, sys
for name in json.load(open(sys.argv[1])):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
"""


def python(words: list[str], code: int = 0) -> str:
    """Runs Python, which must end with the exit code `code`; returns what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with tempfile.TemporaryDirectory() as folder:
        ended = subprocess.run(
            [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
        )
    assert ended.returncode == code, ended.stderr
    return ended.stdout


def seconds(words: list[str], code: int = 0) -> float:
    """Returns the wall seconds of a Python process, which must end with the exit code `code`."""
    began = time.perf_counter()
    python(words, code)
    return time.perf_counter() - began


def limits(folder: Path) -> dict[str, partial[float]]:
    """Returns the processes that are about the limits of a class.

    Args:
        folder: for the names of the modules.
    """
    made = {}
    for word, before in LIMITS.items():
        names = folder / f"{word}.json"
        names.write_text(python(["-c", LISTED, *before, word]))
        made[word] = partial(seconds, [*TRAIN, *before, word], code=2)
        made[f"{word} alone"] = partial(seconds, ["-c", IMPORTED, str(names)])
    return made


def over(times: dict[str, list[float]], longer: str, shorter: str) -> float:
    """Returns the median over the rounds of how much longer one process took than another."""
    pairs = zip(times[longer], times[shorter], strict=True)
    return statistics.median(one - other for one, other in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    digits = ["experiment=lenet", "datamodule=digits", "accelerator=cpu"]
    ends = ["+callbacks.ends._target_=start_up.EndsAtOnce", "paths.log_dir=logs"]
    with tempfile.TemporaryDirectory() as folder:
        processes = {
            "import": partial(seconds, ["-c", "import lightning"]),
            "step": partial(seconds, [*TRAIN, *digits, *ends]),
            "help": partial(seconds, [*TRAIN, "--help"]),
            "mistake": partial(seconds, [*TRAIN, "optimiser=adam"], code=2),
            **limits(Path(folder)),
        }
        times = in_turns(processes, rounds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    rows = [
        [name, f"{medians[name]:.2f}", f"{min(values):.2f}–{max(values):.2f}"]
        for name, values in times.items()
    ]
    print(table(["process", "seconds", "min–max"], rows))
    step = over(times, "step", "import")
    limit = max(over(times, word, f"{word} alone") for word in LIMITS)
    print(f"step - import: {step:.2f} s")
    print(f"KEY=VALUE - alone, the worst: {limit:.2f} s")
    result = {"step_over_import": step, "limit_over_imports": limit}
    save("start_up", {"rounds": rounds, "seconds": times, **result})


if __name__ == "__main__":
    main()
