"""TensorBoard's HParams view: what each run was given, beside what came of it."""

import math
from collections.abc import Iterable, Mapping

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig

GROUPS = ("module", "datamodule", "optimizer", "init", "trainer")


def hyperparameters(config: DictConfig) -> dict[str, bool | float | str]:
    """Every single value that a run can differ in: `{"optimizer": "Adam", "optimizer.lr": 0.001, "seed": 0, …}`."""
    flat: dict[str, bool | float | str] = {"seed": config.seed}
    for group in GROUPS:
        for key, value in config[group].items():
            if key == "_target_":
                flat[group] = value.rpartition(".")[2]
            elif isinstance(value, bool | int | float | str) and key != "_partial_":
                flat[f"{group}.{key}"] = value
    return flat


def log_start(trainer: Trainer, config: DictConfig, metrics: Iterable[str]) -> None:
    """Enter a run, its metrics not known yet: they must be named now, alike for all runs of a view."""
    for logger in _tensorboards(trainer):
        logger.log_hyperparams(hyperparameters(config), {f"final/{name}": math.nan for name in metrics})


def log_final(trainer: Trainer, metrics: Mapping[str, float]) -> None:
    """Fill in what `log_start` left open."""
    for logger in _tensorboards(trainer):
        logger.log_metrics({f"final/{name}": value for name, value in metrics.items()}, step=trainer.global_step)


def _tensorboards(trainer: Trainer) -> list[TensorBoardLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
