"""TensorBoard's HParams view: what each run was given, beside its final metrics."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch import Trainer
from torchmetrics import MetricCollection

from engine.config.keys import ALWAYS_SHOWN, CHOICES, IRRELEVANT, PARTIAL, TARGET, is_below
from engine.config.resolved import Config, dotted
from engine.run.loggers import tensorboards


def hyperparameters(config: Config) -> dict[str, bool | float | str]:
    """Returns the columns of a run: `{"init": "he", "optimizer": "Adam", "optimizer.lr": 0.001}`.

    The columns are what was chosen, the values of module, optimiser, init, scheduler and
    augment, and whatever was overridden. All values of the config would bury those that differ.
    """
    nodes = {group: config.get(group) or {} for group in CHOICES}
    shown = [
        f"{group}.{key}"
        for group, node in nodes.items()
        for key in (node if TARGET in node else dotted(node))
        if group != "datamodule"
    ]
    shown += ALWAYS_SHOWN
    shown += [word.lstrip("+~").partition("=")[0] for word in config.overrides]
    values = {
        key: config.flat.get(key)
        for key in shown
        if not key.endswith((TARGET, PARTIAL, ".seed")) and not is_below(key, IRRELEVANT)
    }
    choices = {group: _chosen(node) for group, node in nodes.items()}
    plain = {k: v for k, v in values.items() if isinstance(v, bool | int | float | str)}
    return {**choices, **plain}


def _chosen(node: Mapping[str, Any]) -> str:
    """Returns the name of a node's class, or the names of its objects."""
    if TARGET in node:
        return str(node[TARGET]).rpartition(".")[2]
    return " + ".join(name for name, own in node.items() if own) or "none"


def names_of_tests(module: object) -> list[str]:
    """Returns the metrics of a `SupervisedModule` in the test; [] for another module."""
    metrics = getattr(module, "test_metrics", None)
    return [str(name) for name in metrics] if isinstance(metrics, MetricCollection) else []


def log_start(
    trainer: Trainer, values: Mapping[str, bool | float | str], metrics: Iterable[str]
) -> None:
    """Enters a run with its metrics open: TensorBoard wants their names now, alike for all runs."""
    for logger in tensorboards(trainer):
        logger.log_hyperparams(dict(values), {f"final/{name}": math.nan for name in metrics})


def log_final(trainer: Trainer, metrics: Mapping[str, float]) -> None:
    """Fills in what `log_start` left open."""
    for logger in tensorboards(trainer):
        final = {f"final/{name}": value for name, value in metrics.items()}
        logger.log_metrics(final, step=trainer.global_step)
