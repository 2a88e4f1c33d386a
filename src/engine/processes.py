"""Tells every process of a run what each of them knows."""

from typing import Any

from torch import distributed


def is_one_of_several() -> bool:
    """Tells whether this process computes together with others."""
    return distributed.is_available() and distributed.is_initialized()


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
