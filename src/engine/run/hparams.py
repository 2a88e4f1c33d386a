"""TensorBoard's HParams view: what each run was given, beside what came of it."""

import math
from collections.abc import Iterable, Mapping

from lightning.pytorch import Trainer

from engine.config.resolved import Config, dotted, plain
from engine.run.identity import IRRELEVANT
from engine.run.loggers import tensorboards

CHOICES = ("module", "datamodule", "optimizer", "init")
ALWAYS = ("seed", "datamodule.batch_size", "trainer.max_epochs")


def hyperparameters(config: Config, overrides: Iterable[str]) -> dict[str, bool | float | str]:
    """The columns of a run: `{"init": "he", "optimizer": "Adam", "optimizer.lr": 0.001, "seed": 0, …}`.

    What was chosen, and its numbers where they are few; of the rest, whose many would bury what differs, only what
    was overridden.
    """
    keys = [f"{group}.{key}" for group in ("module", "optimizer", "init") for key in config[group]]
    keys += [*ALWAYS, *(word.lstrip("+~").partition("=")[0] for word in overrides)]
    untold = ("_target_", "_partial_", ".seed")  # told in `choices`, in none, as "seed"
    flat = dotted(plain(config))
    values = {key: flat.get(key) for key in keys if not (key.endswith(untold) or key.startswith(IRRELEVANT))}
    choices = {group: config[group]["_target_"].rpartition(".")[2] for group in CHOICES}
    return {**choices, **{key: value for key, value in values.items() if isinstance(value, bool | int | float | str)}}


def log_start(trainer: Trainer, values: Mapping[str, bool | float | str], metrics: Iterable[str]) -> None:
    """Enter a run with its metrics open: they must be named now, and alike for all runs of a view."""
    for logger in tensorboards(trainer):
        logger.log_hyperparams(dict(values), {f"final/{name}": math.nan for name in metrics})


def log_final(trainer: Trainer, metrics: Mapping[str, float]) -> None:
    """Fill in what `log_start` left open."""
    for logger in tensorboards(trainer):
        logger.log_metrics({f"final/{name}": value for name, value in metrics.items()}, step=trainer.global_step)
