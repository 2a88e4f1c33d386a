"""Measures start-up: from the command to the first step, beside importing Lightning alone.

    OMP_NUM_THREADS=1 python benchmarks/start_up.py [--rounds 7]

Wall seconds of whole processes, as medians over rounds in which they take turns, of
  import    python -c "import lightning"
  step      python -m project.train experiment=lenet datamodule=digits, ended after its first step
  help      python -m project.train --help
  mistake   python -m project.train optimiser=adam, which is refused
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


def seconds(words: list[str], code: int = 0) -> float:
    """Returns the wall seconds of a Python process, which must end with the exit code `code`."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        ended = subprocess.run(
            [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
        )
        took = time.perf_counter() - began
    assert ended.returncode == code, ended.stderr
    return took


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    train = ["-m", "project.train"]
    digits = ["experiment=lenet", "datamodule=digits", "accelerator=cpu"]
    ends = ["+callbacks.ends._target_=start_up.EndsAtOnce", "paths.log_dir=logs"]
    times = in_turns(
        {
            "import": partial(seconds, ["-c", "import lightning"]),
            "step": partial(seconds, [*train, *digits, *ends]),
            "help": partial(seconds, [*train, "--help"]),
            "mistake": partial(seconds, [*train, "optimiser=adam"], code=2),
        },
        rounds,
    )
    medians = {name: statistics.median(values) for name, values in times.items()}
    rows = [
        [name, f"{medians[name]:.2f}", f"{min(values):.2f}–{max(values):.2f}"]
        for name, values in times.items()
    ]
    print(table(["process", "seconds", "min–max"], rows))
    over = statistics.median(
        step - alone for step, alone in zip(times["step"], times["import"], strict=True)
    )
    print(f"step - import: {over:.2f} s")
    save("start_up", {"rounds": rounds, "seconds": times, "step_over_import": over})


if __name__ == "__main__":
    main()
