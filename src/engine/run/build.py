"""From a config to the objects of a run: data module, module, Trainer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.config import objects
from engine.config.keys import CHOICES, PARTIAL, TARGET
from engine.config.overrides import check_values
from engine.config.resolved import Config
from engine.data.datamodule import TensorDataModule
from engine.errors import UserError, nearest
from engine.run import bad_data
from engine.run.checkpoint_file import WholeFileIO
from engine.run.versions import device
from engine.steps.callback import in_a_stack
from engine.steps.trainer import BlockTrainer

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
    objects.check(config.values_by_node, KINDS, GIVEN, checked)
    node = config.get("optimizer") or {}
    text = f"one step {node}"
    if node.get(PARTIAL) and text not in checked and _is_optimizer(node):
        checked.add(text)
        try:
            objects.build(node, "optimizer")([nn.Parameter(torch.zeros(1))])
        except (TypeError, ValueError, IndexError) as error:
            raise UserError(f"optimizer: {error}") from None


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
    return "test" in getattr(data, "splits", ["test"]) and is_overridden("test_dataloader", data)


def module(config: Config, data: LightningDataModule) -> LightningModule:
    """Builds the module, its initial weights drawn from the seed alone.

    Raises:
        UserError: if the optimiser's options are wrong, or the module does not fit the data.
    """
    check_classes(config, data)
    seed_everything(config["seed"], workers=True, verbose=False)
    model: LightningModule = objects.build(config["module"], "module")
    fit_to(model, data)
    check_monitors(config, model, data)
    return model


def check_monitors(config: Config, model: LightningModule, data: LightningDataModule) -> None:
    """Refuses early stopping by a metric that nobody logs, as far as that is known before training.

    Raises:
        UserError: names the callback, its metric and those that there are.
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
    for key, (node, kind) in callbacks.items():
        # Beside val/acc, a callback may log val/acc/cat.
        known = tuple(f"{name}/" for name in names)
        is_needed = issubclass(kind, EarlyStopping) and node.get("strict", True)
        if is_needed and not f"{node['monitor']}/".startswith(known):
            raise UserError(
                f"{key}.monitor={node['monitor']}: {type(model).__name__} logs no such metric."
                f"{nearest(node['monitor'], names)} It logs: {', '.join(names)}."
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
    if callable(optimizer := getattr(model, "optimizer", None)):
        try:
            optimizer(model.parameters())
        except (TypeError, ValueError, IndexError) as error:
            raise UserError(f"optimizer: {error}") from None
    if hasattr(data, "example"):
        sample = data.example()
        if is_overridden("forward", model):
            model.example_input_array = sample
            model.eval()  # nothing random, nothing counted
            _show(model, sample, data)
            if isinstance(data, TensorDataModule):
                bad_data.check(model, data, sample)
            model.train()


@torch.no_grad()
def _show(model: LightningModule, sample: Tensor, data: LightningDataModule) -> None:
    try:
        model(sample)
    except RuntimeError as error:
        shape = tuple(sample.shape[1:])
        reason = str(error).partition("\n")[0]
        name = type(model).__name__
        raise UserError(
            f"{name} does not take the samples of {type(data).__name__}, {shape}: {reason}"
        ) from None


def trainer(
    config: Config, folder: Path, resumes_at: int | None = None, loggers: bool = True
) -> Trainer:
    """Builds the Trainer, its files below `folder`.

    Args:
        config: the run's.
        folder: the run's.
        resumes_at: the step that a resumed run goes on with; the loggers drop what they have from
            there on.
        loggers: False for a Trainer that only evaluates.

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
    return trainer_with(
        config, folder, callbacks, list(_loggers(config, folder, resumes_at)) if loggers else []
    )


def trainer_with(
    config: Config, folder: Path, callbacks: list[Callback], loggers: list[Logger]
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
        logger=loggers,
        callbacks=callbacks,
        enable_model_summary=False,  # it lists every metric as a layer
        plugins=[WholeFileIO()],
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
    )
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


def _loggers(config: Config, folder: Path, resumes_at: int | None) -> Iterator[Logger]:
    # A logger with `purge_step` drops the rows that a resumed run will log again.
    for name, node in (config.get("logger") or {}).items():
        if node:
            purge = {"purge_step": resumes_at} if "purge_step" in node else {}
            yield objects.build(node, f"logger.{name}", save_dir=str(folder), **purge)


def cast(made: Trainer, model: LightningModule) -> None:
    """Brings a model to the Trainer's precision before a checkpoint is loaded.

    Lightning does so afterwards, and the digits of the checkpoint would be lost.
    """
    made.precision_plugin.convert_module(model)


def describe(made: Trainer, model: LightningModule, data: LightningDataModule) -> str:
    """Describes the device, the data and the network of a run in a few lines."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    splits = getattr(data, "splits", {})
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in splits.items())
    remarks = "".join(f"{remark}\n" for remark in getattr(data, "remarks", list)())
    return (
        f"device: {device(made)}\ndata: {type(data).__name__}, {sizes} samples\n{remarks}"
        f"model: {type(model).__name__}, {parameters:,} parameters\n"
        f"{getattr(model, 'network', '')}"
    )
