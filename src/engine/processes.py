"""Tells every process of a run what each of them knows."""

import os
from typing import Any

from torch import distributed

# Lightning's, torchrun's, Slurm's and LSF's names of a process's number among several.
RANKS = ("LOCAL_RANK", "NODE_RANK", "RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def is_one_of_several() -> bool:
    """Tells whether this process computes together with others."""
    return distributed.is_available() and distributed.is_initialized()


def is_first() -> bool:
    """Tells whether this process writes a run's files: of several, the one of rank 0 does."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)


def gathered(value: Any) -> list[Any]:
    """Returns the value that each process has, by rank; every process must call this."""
    values = [value]
    if is_one_of_several():
        values *= distributed.get_world_size()
        distributed.all_gather_object(values, value)
    return values


def own(values: list[Any]) -> Any | None:
    """Returns this process's part of what `gathered` returned; None if there is none."""
    rank = distributed.get_rank() if is_one_of_several() else 0
    return values[rank] if rank < len(values) else None
