"""Trains jobs that differ only in seeds, init and the optimiser's numbers as one batched model.

Each job gets the files that it would write alone, but for figures, and its metrics agree to the
rounding of float32, which training may amplify. A job that diverges changes no bit of another job.
A job that cannot train with others runs alone, and a line says why. No other room imports this
room: only its launcher in `hydra_plugins.engine_plugins` does.
"""

from collections.abc import Mapping


class NotStacked(Exception):
    """Says why some jobs have to run one by one."""


def first_of(reasons: Mapping[str, bool]) -> str | None:
    """Returns the first reason that holds; None if there is none."""
    return next((reason for reason, holds in reasons.items() if holds), None)
