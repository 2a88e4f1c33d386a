"""torchmetrics: what is used of it beyond its documentation."""

import copy
from typing import Any

from torchmetrics import Metric


def state_of(metric: Metric) -> dict[str, Any]:
    """Returns the state of a metric, and how often it was updated: means need that number."""
    return {**metric.metric_state, "_update_count": metric._update_count}


def resume(metric: Metric, state: dict[str, Any]) -> None:
    """Gives a metric a copy of the state that `state_of` returned.

    A checkpoint has one tensor for several metrics of a collection that share their states. Each of
    them counts the next batch for itself, before the collection finds out once more that they do.
    """
    for name, value in copy.deepcopy(dict(state)).items():
        setattr(metric, name, value)
