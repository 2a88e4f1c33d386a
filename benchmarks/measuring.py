"""Lets contestants take turns, computes ratios, and writes results with the machine's name."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from engine.run import versions

Result = TypeVar("Result")
RESULTS = Path(__file__).parent / "results"


def in_turns(
    contestants: Mapping[str, Callable[[], Result]], rounds: int
) -> dict[str, list[Result]]:
    """Returns each contestant's results.

    In each round, every contestant has one turn. So a machine whose speed drifts slows all of them
    alike.
    """
    results: dict[str, list[Result]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            results[name].append(contestant())
    return results


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Returns the median, the smallest and the largest of the rounds' ratios."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def machine() -> dict[str, Any]:
    """Returns the machine that the benchmark runs on: CPU, GPU, threads and versions."""
    cpu = platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
        cpu = f"{len(names)} × {names[0]}" if names else cpu
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    threads = {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "threads": torch.get_num_threads(),
    }
    return {"cpu": cpu, "gpu": gpu, **threads, **versions.versions()}


def commit() -> str | None:
    """Returns the commit that is measured; a `+` follows where the working tree differs from it."""
    return versions.git_commit(Path(__file__).parent)


def save(name: str, result: Mapping[str, Any], is_whole: bool = True) -> None:
    """Writes `benchmarks/results/<name>.json`, with the machine.

    A part of a measurement does not replace the whole one: it goes to `<name>.part.json`.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}{'' if is_whole else '.part'}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n")
    print(f"written: {path}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns rows of words under a header.

    The first column is aligned to the left, the others to the right.
    """
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(
            word.ljust(width) if not column else word.rjust(width)
            for column, (word, width) in enumerate(pairs)
        )
        for pairs in (list(zip(row, widths, strict=True)) for row in [header, *rows])
    ]
    return "\n".join(lines)
