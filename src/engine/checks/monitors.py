"""Checks that metrics which somebody follows are logged, and followed the right way."""

import traceback
from collections.abc import Collection
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping

from engine.checks.directions import direction_of
from engine.config import objects
from engine.config.keys import TARGET
from engine.config.resolved import Config
from engine.errors import UserError, nearest
from engine.steps.callback import in_a_stack

BEST = {"min": "least", "max": "largest"}


def check_monitors(config: Config, model: LightningModule, data: LightningDataModule) -> None:
    """Refuses to follow a metric that nobody logs.

    Early stopping, learning rates and the choice of the best weights follow metrics. Which metrics
    there are is known before training only for a module that adds nothing to `SupervisedModule`.

    Raises:
        UserError: names who follows which metric, and the metrics that there are.
    """
    nodes = config.nodes("callbacks")
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
            raise _mistake(f"{key}.monitor", monitor, model, names)


def follows_nothing(error: Exception, config: Config, trainer: Trainer) -> UserError | None:
    """Returns what to say of an error of Lightning's, if it is about a metric that nobody logs.

    A model of a user's may log anything, so that its first validation tells. Early stopping, a
    checkpoint and a learning rate then raise errors of several kinds, which name no key.

    Args:
        error: that ended training.
        config: the run's.
        trainer: the run's.
    """
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    if not str(frame.f_globals.get("__name__")).startswith("lightning."):
        return None
    nodes = config.nodes("callbacks").items()
    # Ours raise no error of Lightning's.
    others = [(key, node) for key, node in nodes if not node[TARGET].startswith("engine.")]
    followed = {f"{key}.monitor": node.get("monitor") for key, node in others}
    for schedule in trainer.lr_scheduler_configs:
        own = (config.get("scheduler") or {}).get("monitor") == schedule.monitor
        kind = type(schedule.scheduler).__name__
        followed["scheduler.monitor" if own else f"{kind}: monitor"] = schedule.monitor
    names = list(trainer.callback_metrics)
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    for key, monitor in followed.items():
        if monitor and monitor not in names and monitor in str(error):
            if trainer.global_step < every:
                return UserError(
                    f"{key}={monitor}: not logged by step {trainer.global_step}: a row comes every "
                    f"{every} steps.\nTo have one at each step: trainer.log_every_n_steps=1"
                )
            epochs = trainer.check_val_every_n_epoch or 1
            if trainer.current_epoch + 1 < epochs and monitor.startswith("val"):
                return UserError(
                    f"{key}={monitor}: not logged by the end of epoch {trainer.current_epoch + 1}: "
                    f"a validation comes every {epochs} epochs.\nLet what follows it have a "
                    f"frequency of {epochs} epochs, too."
                )
            return _mistake(key, monitor, trainer.lightning_module, names)
    return None


def wrong_ways(config: Config) -> list[str]:
    """Says which nodes take the worst value of a metric for the best, by the metric's name."""
    said = []
    nodes = {**config.nodes("callbacks"), "scheduler": config.get("scheduler") or {}}
    for key, node in nodes.items():
        is_lightnings = str(node.get(TARGET)).startswith("lightning.")
        mode = node.get("mode", "min" if is_lightnings else None)
        monitor = node.get("monitor")
        usual = direction_of(str(monitor)) if monitor else None
        if mode in BEST and usual not in (None, mode):
            said.append(
                f"{key}.mode={mode}: takes the {BEST[mode]} {monitor} for the best; "
                f"for the {BEST[usual]}: {key}.mode={usual}"
            )
    return said


def _mistake(key: str, monitor: str, model: LightningModule, names: Collection[str]) -> UserError:
    logged = ", ".join(names) or "nothing"
    return UserError(
        f"{key}={monitor}: {type(model).__name__} logs no such metric."
        f"{nearest(monitor, names)} It logs: {logged}."
    )


def _follows(kind: type, node: dict[str, Any], names: Collection[str]) -> bool:
    """Tells whether a callback needs the metric that its node names."""
    if issubclass(kind, EarlyStopping):
        return bool(node.get("strict", True))
    # Without validation there is no best checkpoint.
    return issubclass(kind, Checkpoint) and bool(node.get("monitor")) and "val/loss" in names
