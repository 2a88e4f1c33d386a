"""Lets Lightning's means of weights resume exactly, and be tested."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from torch import Tensor, nn

from engine.fence.lightning import average_of, has_no_mean_yet


def resume(trainer: Trainer, module: LightningModule, states: Mapping[str, Any]) -> None:
    """Gives a mean that had begun its schedule back, as Lightning does at an epoch's start only.

    Args:
        trainer: the run's; training has begun.
        module: the one that is trained.
        states: of the callbacks, from the checkpoint.
    """
    for callback in _of(trainer, StochasticWeightAveraging):
        if states.get(callback.state_key, {}).get("scheduler_state"):
            groups = trainer.optimizers[0].param_groups
            saved = [{key: group[key] for key in group if key != "params"} for group in groups]
            callback.on_train_epoch_start(trainer, module)
            for group, values in zip(groups, saved, strict=True):
                group.update(values)  # a new schedule changes the learning rate


def finish(trainer: Trainer, module: LightningModule) -> None:
    """Gives the module its mean, in a run that has no step left: Lightning calls no hook there."""
    for callback in _of(trainer, WeightAveraging):
        callback.on_train_end(trainer, module)
    for callback in _of(trainer, StochasticWeightAveraging):
        if not (has_no_mean_yet(callback) or _had_epoch(trainer, callback)):
            callback.on_train_end(trainer, module)


def begins_later(trainer: Trainer) -> bool:
    """Tells whether a running mean has not begun though training has."""
    return trainer.global_step > 0 and bool(_not_begun(trainer, WeightAveraging))


def show_trained(trainer: Trainer, module: LightningModule) -> None:
    """Validates the trained weights where no mean has begun: Lightning takes the initial ones."""
    for average in _not_begun(trainer, WeightAveraging):
        _copy(average, module)  # which have changed places for the validation


def wait(trainer: Trainer, module: LightningModule) -> None:
    """Lets a mean that has not begun be the trained weights, if training ends now.

    Without a number of epochs, Lightning's mean of the last epochs ends with the initial ones, too.
    """
    for average in _not_begun(trainer, WeightAveraging, StochasticWeightAveraging):
        _copy(module, average)


def _not_begun(trainer: Trainer, *kinds: type) -> list[Any]:
    return [average_of(own) for own in _of(trainer, *kinds) if has_no_mean_yet(own)]


@torch.no_grad()
def _copy(source: nn.Module, target: nn.Module) -> None:
    for values in ("parameters", "buffers"):
        for own, other in zip(getattr(target, values)(), getattr(source, values)(), strict=True):
            own.copy_(other)


def passing_buffers(trainer: Trainer) -> dict[str, Tensor]:
    """Returns the buffers of a running mean that no state has, by name."""
    average = running_mean(trainer)
    if average is None:
        return {}
    persistent = average.state_dict().keys()
    return {name: own for name, own in average.named_buffers() if name not in persistent}


def restore_buffers(trainer: Trainer, module: LightningModule, saved: Mapping[str, Tensor]) -> None:
    """Sets what `passing_buffers` returned; a module that is only measured is the mean itself."""
    average = running_mean(trainer)
    own = dict((module if average is None else average).named_buffers())
    for name, value in saved.items():
        own[name].copy_(value)


def running_mean(trainer: Trainer) -> nn.Module | None:
    """Returns the running mean of the weights that a callback keeps, if one does."""
    return next(map(average_of, _of(trainer, WeightAveraging)), None)


def ends_with_mean(trainer: Trainer) -> bool | None:
    """Tells whether the weights at the end of training are a mean of the last epochs.

    None: they are not meant to be.
    """
    found = _of(trainer, StochasticWeightAveraging)
    if not found:
        return None
    has_ended = trainer.max_epochs == -1 or all(
        trainer.current_epoch > callback.swa_end for callback in found
    )
    return has_ended and not any(map(has_no_mean_yet, found))


def lacks_statistics(trainer: Trainer) -> bool:
    """Tells whether a mean of the last epochs has the batch statistics of the last weights."""
    return any(
        _has_statistics(trainer, callback) and not _had_epoch(trainer, callback)
        for callback in _of(trainer, StochasticWeightAveraging)
    )


def _had_epoch(trainer: Trainer, callback: StochasticWeightAveraging) -> bool:
    """Tells whether a mean had an epoch of its own, which Lightning adds for batch statistics."""
    has_ended = trainer.max_epochs != -1 and trainer.current_epoch > callback.swa_end + 1
    return has_ended and _has_statistics(trainer, callback)


def _has_statistics(trainer: Trainer, callback: StochasticWeightAveraging) -> bool:
    return callback.pl_module_contains_batch_norm(trainer.lightning_module)


def _of(trainer: Trainer, *kinds: type) -> list[Any]:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, kinds)]
