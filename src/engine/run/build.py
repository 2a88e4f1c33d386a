"""From a config to the objects of a run: data module, module, Trainer."""

import contextlib
import importlib.util
import inspect
import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import (
    Callback,
    Checkpoint,
    DeviceStatsMonitor,
    EarlyStopping,
    ProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MetricCollection

from engine.config import objects
from engine.config.keys import CHOICES, OPEN, PARTIAL, TARGET
from engine.config.limits import shown
from engine.config.overrides import check_values
from engine.config.resolved import Config
from engine.data.datamodule import TensorDataModule
from engine.errors import UserError, nearest
from engine.fence.lightning import DummyLogger, keep_rows
from engine.messages import counted
from engine.run import bad_data, loggers
from engine.run.checkpoint_file import WholeFileIO
from engine.run.versions import device
from engine.steps.callback import in_a_stack
from engine.steps.trainer import BlockTrainer
from engine.supervised import SupervisedModule

KINDS = {
    "datamodule": LightningDataModule,
    "module": LightningModule,
    "trainer": BlockTrainer,
    "callbacks.*": Callback,
    "logger.*": Logger,
}
GIVEN = {"logger.*": ("save_dir",)}  # arguments that are added here


def check(config: Config, checked: set[str] | None = None) -> None:
    """Checks all values of a config: the engine's own, and each object's by its signature.

    Nothing is built, but for an optimiser over one number: torch's optimisers say so which
    numbers they take.

    Args:
        config: the run's.
        checked: the nodes that were right in other configs, which are not checked again.

    Raises:
        UserError: for the first value that is wrong.
    """
    checked = set() if checked is None else checked
    check_values(config)
    for group in CHOICES[:2]:
        if not config.get(group):
            raise UserError(f"{group}: a run needs one.")
    for group in OPEN:
        _check_names(config, group)
    objects.check(config.values_by_node, KINDS, GIVEN, checked)
    node, schedule = config.get("optimizer") or {}, config.get("scheduler")
    ends = config["trainer.max_epochs"] is not None or config["trainer.max_steps"] != -1
    text = f"one step {node} {schedule} {ends}"
    if node.get(PARTIAL) and text not in checked and _is_optimizer(node):
        checked.add(text)
        try:
            optimizer = objects.build(node, "optimizer")([nn.Parameter(torch.zeros(1))])
        except (TypeError, ValueError, IndexError) as error:
            raise UserError(f"optimizer: {error}") from None
        if schedule:
            _check_schedule(schedule, optimizer, 100 if ends else math.inf)


def _check_names(config: Config, group: str) -> None:
    """Refuses what stands in a group of named objects without a name."""
    for name, node in (config.get(group) or {}).items():
        if node and not (isinstance(node, Mapping) and TARGET in node):
            raise UserError(
                f"{group}.{name}={shown(node)}: each object of {group} has a name; "
                f"in conf/{group}/NAME.yaml, write `NAME:` and, below it, `{TARGET}:` and its "
                "arguments."
            )


def _check_schedule(node: Any, optimizer: Optimizer, updates: float) -> None:
    """Tries a schedule on an optimiser, for a number of updates."""
    try:
        made = objects.build(node, "scheduler")(optimizer, lambda interval, frequency: updates)
    except (TypeError, ValueError) as error:
        raise UserError(f"scheduler: {error}") from None
    if not isinstance(made, Mapping):
        raise UserError(
            f"scheduler.{TARGET}={node[TARGET]}: must be a function of (optimizer, updates) that "
            "returns Lightning's lr_scheduler config, as engine.schedules.cosine does."
        )


def _is_optimizer(node: Any) -> bool:
    target = objects.located(node["_target_"], "optimizer")
    return isinstance(target, type) and issubclass(target, Optimizer)


def datamodule(config: Config) -> LightningDataModule:
    """Builds the data module; its data are on disk and checked."""
    data: LightningDataModule = objects.build(config["datamodule"], "datamodule")
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        data.prepare_data()
    return data


def has_test(data: LightningDataModule) -> bool:
    """Tells whether there is a test split."""
    return "test" in _splits(data, ["test"]) and is_overridden("test_dataloader", data)


def _splits(data: LightningDataModule, of_others: Iterable[str]) -> Iterable[str]:
    """Returns the splits of a data module of ours; `of_others` for another one."""
    return data.splits if isinstance(data, TensorDataModule) else of_others


def ways_to_measure(model: LightningModule, data: LightningDataModule) -> dict[str, str]:
    """Returns the splits that a module can be measured on, each with the Trainer's method for it.

    A data module of Lightning's serves a split for "test" and one for "validate". One of ours
    serves any split for "test".
    """
    ways = {}
    if is_overridden("validation_step", model) and is_overridden("val_dataloader", data):
        ways["val"] = "validate"
    if is_overridden("test_step", model) and is_overridden("test_dataloader", data):
        ways |= dict.fromkeys(_splits(data, ["test"]), "test")
    return ways


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
    fit_to(model, data)
    check_monitors(config, model, data)
    return model


def check_monitors(config: Config, model: LightningModule, data: LightningDataModule) -> None:
    """Refuses to follow a metric that nobody logs.

    Early stopping, learning rates and the choice of the best weights follow metrics. Which metrics
    there are is known before training only for a module that adds nothing to `SupervisedModule`.

    Raises:
        UserError: names who follows which metric, and the metrics that there are.
    """
    callbacks = {
        f"callbacks.{name}": (node, objects.located(node[TARGET], f"callbacks.{name}"))
        for name, node in (config.get("callbacks") or {}).items()
        if node
    }
    own = [kind for _, kind in callbacks.values() if not kind.__module__.startswith("lightning.")]
    names = getattr(model, "metric_names", lambda data: None)(data)
    if names is None or any(in_a_stack(kind) is None for kind in own):
        return  # a model or a callback of a user's may log anything
    followed = {
        key: node["monitor"]
        for key, (node, kind) in callbacks.items()
        # Without validation there is no best checkpoint.
        if (issubclass(kind, EarlyStopping) and node.get("strict", True))
        or (issubclass(kind, Checkpoint) and node.get("monitor") and "val/loss" in names)
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


def check_classes(config: Config, data: LightningDataModule) -> None:
    """Refuses a module for another number of classes than the data have, or for one class."""
    names = getattr(data, "class_names", None)
    number = config["module"].get("num_classes")
    if not names or number is None:
        return
    if len(names) == 1:
        raise UserError(
            f"{type(data).__name__} has one class only, {names[0]}: a classifier, with "
            "module.num_classes, needs two or more."
        )
    if number != len(names):
        raise UserError(
            f"module.num_classes={number}: {type(data).__name__} has {len(names)} classes; "
            f"set module.num_classes={len(names)}."
        )


def fit_to(model: LightningModule, data: LightningDataModule) -> None:
    """Tries a module's optimiser, and its network and loss on samples: they must fit the data."""
    optimizer = getattr(model, "optimizer", None)
    if callable(optimizer) and not inspect.ismethod(optimizer):
        try:
            getattr(optimizer, "tried", optimizer)(model.parameters())
        except (TypeError, ValueError, IndexError) as error:
            raise UserError(f"optimizer: {error}") from None
    if isinstance(data, TensorDataModule):
        sample = data.example()
        # A module with an example of its own says itself what it takes.
        if model.example_input_array is None and is_overridden("forward", model):
            model.example_input_array = sample
            model.eval()  # nothing random, nothing counted
            _show(model, sample, data)
            bad_data.check(model, data, sample)
            model.train()
        if isinstance(model, SupervisedModule):
            model.try_transforms(sample)


@torch.no_grad()
def _show(model: LightningModule, sample: Tensor, data: LightningDataModule) -> None:
    try:
        predictions = model(sample)
    except RuntimeError as error:
        shape = tuple(sample.shape[1:])
        reason = str(error).partition("\n")[0]
        name = type(model).__name__
        raise UserError(
            f"{name} does not take the samples of {type(data).__name__}, {shape}: {reason}"
        ) from None
    _check_metrics(model, predictions, data)


def _check_metrics(model: LightningModule, predictions: Any, data: Any) -> None:
    """Refuses metrics of `SupervisedModule` that are no numbers, such as a confusion matrix."""
    metrics = getattr(model, "train_metrics", None)
    for name, metric in metrics.items() if isinstance(metrics, MetricCollection) else ():
        value: Any = None
        # A metric that needs more than one sample fails here, which tells nothing.
        with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore"):
            value = metric.clone()(predictions, data.splits["train"].targets[:1])
        if isinstance(value, Tensor) and value.numel() != 1:
            own = f"{type(model).__name__}: its metric {name.removeprefix('train/')}"
            raise UserError(
                f"{own} gives {value.numel()} numbers, and a row of metrics takes one.\n"
                "Leave it out of `metrics`; a callback can draw it."
            )


def trainer(
    config: Config, folder: Path, resumes_at: int | None = None, logs: bool = True
) -> Trainer:
    """Builds the Trainer, its files below `folder`.

    Args:
        config: the run's.
        folder: the run's.
        resumes_at: the step that a resumed run goes on with; the loggers drop what they have from
            there on.
        logs: False for a Trainer that only evaluates; what a module logs by itself goes nowhere.

    Raises:
        UserError: if the accelerator is not there, or options exclude each other.
    """
    callbacks = [
        objects.build(node, f"callbacks.{name}")
        for name, node in (config.get("callbacks") or {}).items()
        if node
    ]
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
    _check_options(config)
    torch.set_num_threads(config["threads"])
    # Nothing reads uninitialised memory, and to fill it takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    made: Trainer = objects.build(
        config["trainer"],
        "trainer",
        default_root_dir=str(folder),
        logger=logger,
        callbacks=callbacks,
        enable_model_summary=False,  # it lists every metric as a layer
        plugins=[WholeFileIO()],
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
    )
    on_cpu = made.strategy.root_device.type == "cpu"
    watches = any(isinstance(callback, DeviceStatsMonitor) for callback in callbacks)
    if watches and on_cpu and importlib.util.find_spec("psutil") is None:
        raise UserError("DeviceStatsMonitor: reads a CPU by psutil. Run: pip install psutil")
    return made


def _check_options(config: Config) -> None:
    wanted = config["trainer.accelerator"]
    precision = str(config["trainer.precision"])
    clip = config["trainer.gradient_clip_val"]
    if precision.endswith("mixed") and clip and config.get("optimizer.fused"):
        raise UserError(
            f"trainer.gradient_clip_val={clip} with trainer.precision={precision} needs "
            "optimizer.fused=false: a fused optimiser unscales the gradients itself, after they "
            "would be clipped."
        )
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if wanted in ("gpu", "cuda") and not has_gpu:
        raise UserError(
            f"accelerator={wanted}: PyTorch {torch.__version__} sees no GPU; "
            "use accelerator=cpu or accelerator=auto."
        )


def _loggers(config: Config, folder: Path, resumes_at: int | None) -> list[Logger]:
    """Builds the loggers, TensorBoard's first: a module finds the first one as `self.logger`."""
    made: list[Logger] = []
    loggers.wait_for_a_later_name(folder)
    for name, node in (config.get("logger") or {}).items():
        if node:
            kind = objects.located(node[TARGET], f"logger.{name}")
            given = loggers.given(kind, node, folder, resumes_at)
            made.append(loggers.in_words(objects.build(node, f"logger.{name}", **given)))
    for logger in made:
        if isinstance(logger, CSVLogger):
            keep_rows(logger, resumes_at or 0)
    return sorted(made, key=lambda logger: not isinstance(logger, TensorBoardLogger))


def cast(made: Trainer, model: LightningModule) -> None:
    """Brings a model to the Trainer's precision before a checkpoint is loaded.

    Lightning does so afterwards, and the digits of the checkpoint would be lost.
    """
    made.precision_plugin.convert_module(model)


def describe(made: Trainer, model: LightningModule, data: LightningDataModule) -> str:
    """Describes the data, and the model with its device, in two lines and the data's remarks."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    # A data module of others makes its splits in `setup`.
    splits = data.splits if isinstance(data, TensorDataModule) else {}
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in splits.items())
    said = data.remarks() if isinstance(data, TensorDataModule) else []
    lines = [
        f"data: {type(data).__name__}{f', {sizes} samples' if sizes else ''}",
        *said,
        f"model: {type(model).__name__}, {counted(parameters, 'parameter')}, on {device(made)}",
    ]
    return "\n".join(lines)
