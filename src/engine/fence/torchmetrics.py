"""torchmetrics: what is used of it beyond its documentation."""

from typing import Any

from torchmetrics import Metric


def state_of(metric: Metric) -> dict[str, Any]:
    """Returns the state of a metric, and how often it was updated: means need that number."""
    return {**metric.metric_state, "_update_count": metric._update_count}


def resume(metric: Metric, state: dict[str, Any]) -> None:
    """Gives a metric the state that `state_of` returned."""
    for name, value in state.items():
        setattr(metric, name, value)
