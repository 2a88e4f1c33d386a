"""Checks that metrics which somebody follows are logged by somebody."""

from collections.abc import Collection
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping

from engine.config import objects
from engine.config.keys import TARGET
from engine.config.resolved import Config
from engine.errors import UserError, nearest
from engine.steps.callback import in_a_stack


def check_monitors(config: Config, model: LightningModule, data: LightningDataModule) -> None:
    """Refuses to follow a metric that nobody logs.

    Early stopping, learning rates and the choice of the best weights follow metrics. Which metrics
    there are is known before training only for a module that adds nothing to `SupervisedModule`.

    Raises:
        UserError: names who follows which metric, and the metrics that there are.
    """
    nodes = {
        f"callbacks.{name}": node for name, node in (config.get("callbacks") or {}).items() if node
    }
    kinds = {key: objects.located(node[TARGET], key) for key, node in nodes.items()}
    own = [kind for kind in kinds.values() if not kind.__module__.startswith("lightning.")]
    names = getattr(model, "metric_names", lambda data: None)(data)
    if names is None or any(in_a_stack(kind) is None for kind in own):
        return  # a model or a callback of a user's may log anything
    followed = {
        key: node["monitor"] for key, node in nodes.items() if _follows(kinds[key], node, names)
    }
    if monitor := (config.get("scheduler") or {}).get("monitor"):
        followed["scheduler"] = monitor
    # Beside val/acc, a callback may log val/acc/cat.
    known = tuple(f"{name}/" for name in names)
    for key, monitor in followed.items():
        if not f"{monitor}/".startswith(known):
            raise UserError(
                f"{key}.monitor={monitor}: {type(model).__name__} logs no such metric."
                f"{nearest(monitor, names)} It logs: {', '.join(names)}."
            )


def _follows(kind: type, node: dict[str, Any], names: Collection[str]) -> bool:
    """Tells whether a callback needs the metric that its node names."""
    if issubclass(kind, EarlyStopping):
        return bool(node.get("strict", True))
    # Without validation there is no best checkpoint.
    return issubclass(kind, Checkpoint) and bool(node.get("monitor")) and "val/loss" in names
