"""From a config to the objects of a run: data module, module, Trainer."""

import logging
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.nn.parameter import is_lazy

from engine.checks.device import check_options, check_statistics, check_strategy
from engine.checks.fit import check_classes, fit_to
from engine.checks.monitors import check_monitors
from engine.config import objects
from engine.config.keys import TARGET
from engine.config.resolved import Config
from engine.data.datamodule import TensorDataModule
from engine.data.of_module import LoadersOfModule
from engine.errors import blamed_on
from engine.fence.lightning import DummyLogger, keep_rows
from engine.messages import counted
from engine.run import code
from engine.run.checkpoint.file import WholeFileIO, some
from engine.run.loggers import tensorboard
from engine.run.loggers.options import given, in_words
from engine.run.versions import device
from engine.supervised import SupervisedModule

log = logging.getLogger(__name__)


@blamed_on("datamodule")
def datamodule(config: Config) -> LightningDataModule:
    """Builds the data module; its data are on disk and checked.

    What it draws by itself, it draws from the run's seed.
    """
    seed_everything(config["seed"], workers=True, verbose=False)
    data: LightningDataModule = objects.build(config["datamodule"], "datamodule")
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        data.prepare_data()
    return data


def serving(model: LightningModule, data: LightningDataModule) -> Any:
    """Returns the object that makes the loaders: the data module, or the module itself."""
    return model if isinstance(data, LoadersOfModule) else data


def has_test(data: Any) -> bool:
    """Tells whether what makes the loaders has a test split."""
    return "test" in _splits(data) and is_overridden("test_dataloader", data)


def has_own_test(model: LightningModule) -> bool:
    """Tells whether a module's class, or one that it adds to, has a `test_step` of a user's."""
    ours = (LightningModule.test_step, SupervisedModule.test_step)
    return type(model).test_step not in ours


def _splits(data: Any) -> Iterable[str]:
    """Returns the splits that can be served for "test"; of a data module of others, just that."""
    return data.splits if isinstance(data, TensorDataModule) else ["test"]


def ways_to_measure(model: LightningModule, data: LightningDataModule) -> dict[str, str]:
    """Returns the splits that a module can be measured on, each with the Trainer's method for it.

    A data module of Lightning's serves a split for "test" and one for "validate". One of ours
    serves any split for "test", which draws figures, too. A user's step for validation may measure
    something else than the one for the test.
    """
    ways: dict[str, str] = {}
    loaders = serving(model, data)
    if is_overridden("test_step", model) and is_overridden("test_dataloader", loaders):
        ways |= dict.fromkeys(_splits(data), "test")
    if is_overridden("validation_step", model) and is_overridden("val_dataloader", loaders):
        has_own = type(model).validation_step is not SupervisedModule.validation_step
        if has_own or has_own_test(model) or "val" not in ways:
            ways["val"] = "validate"
    return ways


def why_nothing(trainer: Trainer, way: str, data: LightningDataModule) -> str:
    """Says why a measuring has given no metric.

    Args:
        trainer: that has measured.
        way: the Trainer's method for it, "validate" or "test".
        data: the data module.
    """
    name, batches = {
        "validate": ("val", trainer.num_val_batches),
        "test": ("test", trainer.num_test_batches),
    }[way]
    if getattr(trainer, key := f"limit_{name}_batches") == 0:
        return f"trainer.{key}=0"
    if not any(batches):
        loaders = serving(trainer.lightning_module, data)
        return f"{type(loaders).__name__}.{name}_dataloader gives no batch"
    step = "validation_step" if name == "val" else "test_step"
    return f"{type(trainer.lightning_module).__name__}.{step} logs nothing"


@blamed_on("module")
def module(
    config: Config, data: LightningDataModule, partials: Mapping[str, objects.Noted] | None = None
) -> LightningModule:
    """Builds the module, its initial weights drawn from the seed alone.

    Args:
        config: the run's.
        data: the data module.
        partials: arguments of the module that are built already.

    Raises:
        UserError: if the optimiser's options are wrong, or the module does not fit the data.
    """
    check_classes(config, data)
    seed_everything(config["seed"], workers=True, verbose=False)
    model: LightningModule = objects.build(config["module"], "module", **(partials or {}))
    splits = ("val", "test")
    left_out = [name for name in splits if config.get(f"trainer.limit_{name}_batches") == 0]
    fit_to(model, data, config.get("trainer.precision"), left_out, code.digests(config, ""))
    check_monitors(config, model, data)
    return model


@blamed_on("trainer")
def trainer(
    config: Config, folder: Path, resumes_at: int | None = None, logs: bool = True
) -> Trainer:
    """Builds the Trainer, its files below `folder`.

    Args:
        config: the run's.
        folder: the run's.
        resumes_at: the step that a resumed run goes on with; the loggers drop what they have from
            there on. None: they keep all.
        logs: False for a Trainer that only evaluates; what a module logs by itself goes nowhere.

    Raises:
        UserError: if the accelerator is not there, or options exclude each other.
    """
    callbacks = [objects.build(node, key) for key, node in config.nodes("callbacks").items()]
    if trial := config.get("sweep.trial.callback"):
        callbacks.append(objects.build(trial, "sweep.trial.callback"))
    made = trainer_with(
        config, folder, callbacks, _loggers(config, folder, resumes_at) if logs else []
    )
    if not logs:
        made.loggers = [DummyLogger()]
    return made


def trainer_with(
    config: Config, folder: Path, callbacks: list[Callback], logger: list[Logger]
) -> Trainer:
    """Builds the Trainer around callbacks and loggers.

    Raises:
        UserError: if the accelerator is not there, or options exclude each other.
    """
    check_options(config)
    torch.set_num_threads(config["threads"])
    # Nothing reads uninitialised memory, and to fill it takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    node = {"enable_model_summary": False, **config["trainer"]}  # it lists every metric as a layer
    plugins: Any = node.pop("plugins", None) or []
    own = [
        objects.build(plugin, "trainer.plugins") if TARGET in plugin else plugin
        for plugin in ([plugins] if TARGET in plugins else plugins)
    ]
    made: Trainer = objects.build(
        node,
        "trainer",
        default_root_dir=str(folder),
        logger=logger,
        callbacks=callbacks,
        plugins=[*own, WholeFileIO(config)],
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
    )
    check_statistics(made, callbacks)
    check_strategy(made, config)
    return made


def _loggers(config: Config, folder: Path, resumes_at: int | None) -> list[Logger]:
    """Builds the loggers, TensorBoard's first: a module finds the first one as `self.logger`."""
    made: list[Logger] = []
    nodes = config.nodes("logger")
    for number, (key, node) in enumerate(nodes.items()):
        kind = objects.located(node[TARGET], key)
        options = given(kind, node, folder, resumes_at, list(nodes.values())[:number])
        if (own := node.get("save_dir")) and "save_dir" in options:
            said = "%s.save_dir=%s: not used, as a logger writes into the run's folder"
            log.warning(said, key, own)
        made.append(in_words(objects.build(node, key, **options)))
        if isinstance(made[-1], TensorBoardLogger):
            with blamed_on(key):
                tensorboard.write_events(made[-1], folder)
    for logger in made:
        if isinstance(logger, CSVLogger):
            keep_rows(logger, sys.maxsize if resumes_at is None else resumes_at)
    return sorted(made, key=lambda logger: not isinstance(logger, TensorBoardLogger))


def describe(
    made: Trainer, model: LightningModule, data: LightningDataModule, is_new: bool = True
) -> str:
    """Describes the data, and the model with its device, in two lines and what is remarkable.

    Args:
        made: the run's Trainer.
        model: the run's module.
        data: the run's data.
        is_new: whether training begins with the weights that the module has drawn.
    """
    parameters = list(model.parameters())
    known = [parameter for parameter in parameters if not is_lazy(parameter)]
    size = counted(sum(parameter.numel() for parameter in known), "parameter")
    if lazy := len(parameters) - len(known):
        size = f"{size} and {counted(lazy, 'tensor')} that the first batch makes"
    # A data module of others makes its splits in `setup`.
    splits = data.splits if isinstance(data, TensorDataModule) else {}
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in splits.items())
    said = data.remarks() if isinstance(data, TensorDataModule) else []
    if made.world_size > 1 and not isinstance(data, TensorDataModule):
        said += [
            f"each of {made.world_size} processes takes whole batches of its loaders",
            f"a validation counts up to {made.world_size - 1} samples twice, to share them evenly",
        ]
    lines = [
        f"data: {type(data).__name__}{f', {sizes} samples' if sizes else ''}",
        *said,
        f"model: {type(model).__name__}, {size}, on {device(made)}",
    ]
    if is_new and (left := getattr(model, "not_filled", None)):
        number = counted(len(left), "weight")
        lines.append(f"init: leaves {number} as PyTorch drew them: {some(left)}")
    return "\n".join(lines)
