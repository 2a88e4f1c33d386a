"""Trains a run for longer: a new run that goes on from the last checkpoint of another.

The new run has its own folder, with the rows and checkpoints so far, and names the run that it goes
on from. It ends with the bits of a run that had its length from the start, where that ends with an
epoch.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from engine.config.keys import AVERAGES, LENGTHS
from engine.config.overrides import changed, default_of
from engine.config.resolved import Config
from engine.errors import UserError

log = logging.getLogger(__name__)


def config_of(run_dir: Path, own: Config, words: Sequence[str], conf: Path) -> Config:
    """Returns the config of a run that goes on from another, with another length.

    Args:
        run_dir: the folder of the run to go on from.
        own: the config of that run.
        words: of the command line, such as `trainer.max_epochs=40`, which `check_words` has let
            pass.
        conf: the folder with config.yaml.

    Raises:
        UserError: if the run cannot be longer.
    """
    from engine.run.checkpoint.choice import to_go_on_from

    found = to_go_on_from(run_dir, own)
    if not found:
        raise UserError(f"{run_dir}: has no checkpoint to go on from.")
    so_far = found.progress
    if so_far.stopped:
        raise UserError(
            f"{run_dir}: was stopped at step {so_far.steps}, for a reason that its train.log has, "
            "so more epochs would change nothing.\n"
            f"To begin from its weights with another config: init_from={run_dir}"
        )
    _check_shares(run_dir, own, words[0])
    if own["trainer.max_steps"] == so_far.steps:
        log.warning(
            "not exact, unless step %d ends an epoch: trainer.max_steps has cut an epoch, and this "
            "run goes on with the next one",
            so_far.steps,
        )
    longer = changed(OmegaConf.create(own.values_by_node), words, conf)
    if not own.is_ours:  # its maker may have named any folder
        longer.paths.log_dir = default_of("paths.log_dir", conf)
    config = Config.resolve(longer, [*own.overrides, *words])
    for key, done in zip(LENGTHS, so_far[:2], strict=True):
        length = config[key]
        if length not in (None, -1) and length <= done:
            name = key.rpartition("_")[2]
            says = f"{key}={length}: {run_dir} has {done} {name} behind it."
            if not any(word.lstrip("+").startswith(f"{key}=") for word in words):
                free = "null" if key == LENGTHS[0] else "-1"
                says = f"{words[0]}: {says}\nGive {key}, too: {free} for no limit."
            raise UserError(says)
    parent = {"run": str(run_dir), "hash": own.hash, "step": so_far.steps}
    made = Config({**config, "parent": parent}, config.written, config.overrides)
    made.is_ours, made.is_trusted = own.is_ours, own.is_trusted
    return made


def check_words(run_dir: Path, words: Sequence[str]) -> None:
    """Refuses words that are about anything but the length.

    Args:
        run_dir: the folder of the run to go on from.
        words: of the command line.

    Raises:
        UserError: for the first such word.
    """
    for word in words:
        if word.lstrip("+").partition("=")[0] not in LENGTHS:
            raise UserError(
                f"{word}: resume= goes on with the run's own config. Beside insist=true it takes "
                f"{' and '.join(f'{key}=N' for key in LENGTHS)}, to train longer.\n"
                f"To begin from its weights with another config: init_from={run_dir}"
            )


def _check_shares(run_dir: Path, own: Config, word: str) -> None:
    """Refuses a run with something that happens at a share of the training."""
    if any(str(value).endswith(AVERAGES) for value in own.flat.values()):
        raise UserError(
            f"{word}: {AVERAGES} begins at a share of the epochs, which would be another.\n"
            f"Begin from the weights: init_from={run_dir}"
        )
    schedule = own.get("scheduler") or own.get("module.scheduler")
    if schedule and "monitor" not in schedule:
        raise UserError(
            f"{word}: the lengths of scheduler={schedule['_target_']} may be shares of the "
            "training, which would be another.\n"
            f"Begin a new schedule from the weights: init_from={run_dir}"
        )
