"""Measures the peak memory of a training process, for three numbers of images.

    OMP_NUM_THREADS=1 python benchmarks/memory.py [--rounds 3]

Each contestant of step_time.py trains in a process of its own: LeNet-5 at batch 4 for 300 steps, on
1,000, 10,000 and 50,000 images of CIFAR-10's size (3 kB each). The results are the largest resident
set (MB) and milliseconds per step. `import` is a process that only imports Lightning. Writes
benchmarks/results/memory.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

from measuring import in_turns, save, table

SIZES = [1_000, 10_000, 50_000]
LOOPS = ["hand", "eager", "template"]


def measured(loop: str, images: int) -> dict[str, float]:
    """Trains in another process, and returns its memory (MB) and its time per step (ms)."""
    words = [sys.executable, "-m", "memory", "--loop", loop, "--images", str(images)]
    folder = Path(__file__).parent
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=folder)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def train(loop: str, images: int) -> None:
    """Trains in this process, and prints its memory and its time as JSON."""
    milliseconds = 0.0
    if loop == "import":
        import lightning  # noqa: F401
    else:
        import step_time
        from engine import messages
        from project.train import train

        train.open()
        messages.silence_harmless()
        step_time.IMAGES = images
        case = step_time.Case("lenet", 300, batch_size=4)
        terminal, sys.stdout = sys.stdout, step_time.Terminal()
        milliseconds = step_time.contestants(case, [loop])[loop]()
        sys.stdout = terminal
    print(json.dumps({"megabytes": peak(), "ms_per_step": milliseconds}))


def peak() -> float:
    """Returns the largest resident set of this process so far, in MB (Linux).

    `ru_maxrss` would count the parent process, too.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loop", help=argparse.SUPPRESS)
    parser.add_argument("--images", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.loop:
        train(arguments.loop, arguments.images)
        return
    pairs = [("import", 0), *((loop, images) for images in SIZES for loop in LOOPS)]
    results: list[dict[str, object]] = []
    times = in_turns(
        {f"{loop} {images}": partial(measured, loop, images) for loop, images in pairs},
        arguments.rounds,
    )
    rows = []
    for (loop, images), values in zip(pairs, times.values(), strict=True):
        megabytes = statistics.median(value["megabytes"] for value in values)
        milliseconds = statistics.median(value["ms_per_step"] for value in values)
        results.append(
            {"loop": loop, "images": images, "megabytes": megabytes, "ms_per_step": milliseconds}
        )
        rows.append(
            [loop, f"{images:,}" if images else "", f"{megabytes:.0f}", f"{milliseconds:.3f}"]
        )
    print(table(["loop", "images", "MB", "ms/step"], rows))
    save("memory", {"rounds": arguments.rounds, "peaks": results})


if __name__ == "__main__":
    main()
