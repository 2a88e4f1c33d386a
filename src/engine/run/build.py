"""From a config to the objects of a run: data module, module, Trainer."""

import functools
import os
import random
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.model_helpers import is_overridden
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from engine.config.objects import make
from engine.config.resolved import Config
from engine.errors import UserError
from engine.run.checkpoint import WholeFileIO
from engine.run.versions import device

_has_gpu = functools.cache(torch.accelerator.is_available)  # it loads a library every time


def datamodule(config: Config) -> LightningDataModule:
    """The data module, its data on disk and checked."""
    data: LightningDataModule = make(config, "datamodule")
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        data.prepare_data()
    return data


def has_test(data: LightningDataModule) -> bool:
    """Whether there is a test split."""
    return "test" in getattr(data, "splits", ["test"]) and is_overridden("test_dataloader", data)


def module(config: Config, data: LightningDataModule) -> LightningModule:
    """The module, its initial weights drawn from the seed alone.

    Raises:
        UserError: if the optimiser's options are wrong, or the module does not fit the data.
    """
    names = getattr(data, "class_names", None)
    if names and (number := config["module"].get("num_classes", len(names))) != len(names):
        raise UserError(
            f"module.num_classes={number}: {config['datamodule']['_target_'].rpartition('.')[2]} has "
            f"{len(names)} classes; set module.num_classes={len(names)}."
        )
    _seed(config["seed"])
    model: LightningModule = make(config, "module")
    if callable(optimizer := getattr(model, "optimizer", None)):
        try:
            optimizer(model.parameters())
        except (TypeError, ValueError, IndexError) as error:
            raise UserError(f"optimizer: {error}") from None
    if hasattr(data, "example") and is_overridden("forward", model):
        model.example_input_array = sample = data.example()
        _show(model, sample, data)
    return model


def _seed(seed: int) -> None:
    """Lightning's `seed_everything`; where there is no GPU, without PyTorch's many backends, half a millisecond."""
    if _has_gpu():
        seed_everything(seed, workers=True, verbose=False)
    else:
        os.environ |= {"PL_GLOBAL_SEED": str(seed), "PL_SEED_WORKERS": "1"}
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)


@torch.no_grad()
def _show(model: LightningModule, sample: Tensor, data: LightningDataModule) -> None:
    """Show the network a sample: that the two do not fit is a mistake in the config, not a failed run."""
    model.eval()  # nothing random, nothing counted
    try:
        model(sample)
    except RuntimeError as error:
        shape, reason = tuple(sample.shape[1:]), str(error).partition("\n")[0]
        raise UserError(
            f"{type(model).__name__} does not take the samples of {type(data).__name__}, {shape}: {reason}"
        ) from None
    model.train()


def trainer(config: DictConfig, folder: Path, resumes_at: int | None = None, logs: bool = True) -> Trainer:
    """The Trainer, its files below `folder`.

    Args:
        resumes_at: the step that a resumed run goes on with; the loggers drop what they have from there on.
        logs: False for a Trainer that only evaluates: no logger.

    Raises:
        UserError: if the accelerator is not there, or options exclude each other.
    """
    wanted, precision = config.trainer.accelerator, str(config.trainer.precision)
    if precision.endswith("mixed") and config.trainer.gradient_clip_val and config.get("optimizer", {}).get("fused"):
        raise UserError(
            f"trainer.gradient_clip_val={config.trainer.gradient_clip_val} with trainer.precision={precision} needs "
            "optimizer.fused=false: a fused optimiser unscales the gradients itself, after they would be clipped."
        )
    if wanted in ("gpu", "cuda") and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise UserError(
            f"accelerator={wanted}: PyTorch {torch.__version__} sees no GPU; use accelerator=cpu or accelerator=auto."
        )
    torch.set_num_threads(config.threads)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # slow; nothing reads it
    loggers = [_logger(logger, folder, resumes_at) for logger in config.get("logger", {}).values() if logger and logs]
    callbacks = [instantiate(callback) for callback in config.get("callbacks", {}).values() if callback]
    if OmegaConf.select(config, "sweep.trial.pruner"):
        from engine.search.pruning import Pruning

        monitor = OmegaConf.select(config, "callbacks.checkpoints.monitor")
        callbacks.append(Pruning(monitor=monitor, **config.sweep.trial))
    made: Trainer = instantiate(
        config.trainer,
        default_root_dir=str(folder),
        logger=loggers,
        callbacks=callbacks,
        enable_model_summary=False,  # it lists every metric as a layer
        plugins=[WholeFileIO()],
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        _convert_="all",
    )
    return made


def _logger(config: DictConfig, folder: Path, resumes_at: int | None) -> Logger:
    """A logger into the run's folder; one with `purge_step` drops there what a resumed run will log again."""
    purge = {"purge_step": resumes_at} if "purge_step" in config else {}
    made: Logger = instantiate(config, save_dir=str(folder), **purge)
    return made


def cast(made: Trainer, model: LightningModule) -> None:
    """Bring a model to the Trainer's precision: Lightning does so after loading a checkpoint, whose digits get lost."""
    made.precision_plugin.convert_module(model)


def describe(made: Trainer, model: LightningModule, data: LightningDataModule) -> str:
    """The device, the data and the network of a run, in a few lines."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in getattr(data, "splits", {}).items())
    return (
        f"device: {device(made)}\ndata: {type(data).__name__}, {sizes} samples\n"
        f"model: {type(model).__name__}, {parameters:,} parameters\n{getattr(model, 'network', '')}"
    )


def step_of(checkpoint: Path) -> int:
    """The step that a run resumed from a checkpoint goes on with."""
    return int(torch.load(checkpoint, weights_only=True, map_location="cpu")["global_step"])




