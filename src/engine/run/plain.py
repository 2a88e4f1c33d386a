"""Reduces a checkpoint to what `torch.load(weights_only=True)` loads: plain values."""

import copy
import io
import operator
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from engine.config.nested import copied
from engine.errors import UserError
from engine.messages import redacted

LEAVES = {type(None), bool, int, float, complex, str, bytes, Tensor, nn.Parameter}
MAPPINGS = (dict, OrderedDict, Counter)
SEQUENCES = (list, tuple, set)
# Of layers that the first batch makes: whole before there is a checkpoint.
LAZY = (UninitializedBuffer.__name__, UninitializedParameter.__name__)
NOTHING = object()  # stands for a value that is not kept
OWNERS = (LightningModule, LightningDataModule)
# Hyper-parameters make an object anew by `load_from_checkpoint`. A run that is resumed makes its
# objects from its config, so it needs none of them.
HYPER_PARAMETERS = tuple(owner.CHECKPOINT_HYPER_PARAMS_KEY for owner in OWNERS)
KINDS_OF_THESE = tuple(owner.CHECKPOINT_HYPER_PARAMS_TYPE for owner in OWNERS)

Path = tuple[Any, ...]


class Lacking(NamedTuple):
    """Names a value that a checkpoint cannot have: the keys that lead to it, and its class."""

    path: Path
    kind: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path))} ({self.kind})"


def plain(checkpoint: Mapping[str, Any]) -> tuple[dict[str, Any], list[Lacking], list[Lacking]]:
    """Returns a checkpoint without what `torch.load(weights_only=True)` would not load.

    Hyper-parameters are changed to what is most like them: a config of OmegaConf to a dict, a path
    to a word, a number of NumPy's to Python's. Of other values, only those are changed that
    calculate as before, such as a `numpy.float64`.

    Returns:
        the checkpoint; the hyper-parameters that it lacks; what a resumed run would need of it.
    """
    made = dict(checkpoint)
    dropped: list[Lacking] = []
    needed: list[Lacking] = []
    for key, value in checkpoint.items():
        if key in HYPER_PARAMETERS:
            made[key] = copied(_plain(value, (), _readable, dropped), _redacted)
        elif key in KINDS_OF_THESE:  # Lightning takes a name, too
            made[key] = value.__name__
        else:
            made[key] = _plain(value, (key,), _exact, needed)
    return made, dropped, needed


def in_words(hyper_parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns hyper-parameters for a logger: a value that is not plain by its `repr`.

    Lightning's loggers would write a network with all its weights into hparams.yaml.
    """
    made: dict[str, Any] = copied(_plain(dict(hyper_parameters), (), _words, []), _redacted)
    return made


def check(trainer: Trainer, checkpoint: Mapping[str, Any]) -> list[Lacking]:
    """Returns the hyper-parameters that checkpoints of a run will not have.

    Args:
        trainer: the run's.
        checkpoint: as Lightning would write it.

    Raises:
        UserError: if checkpoints would lack what a resumed run needs.
    """
    _, dropped, needed = plain(checkpoint)
    for lacking in needed:
        if lacking.kind not in LAZY:
            raise refusal(lacking, _owner(trainer, lacking.path))
    return dropped


def refusal(lacking: Lacking, owner: str = "checkpoint") -> UserError:
    """Returns the error about a value that a resumed run would need.

    Args:
        lacking: the value.
        owner: whose state it is in.
    """
    return UserError(
        f"{owner}: {lacking} cannot be in a checkpoint, so a resumed run would lack it.\n"
        "Save plain values: numbers, words, tensors, and lists, tuples, sets and dicts of them."
    )


def _owner(trainer: Trainer, path: Path) -> str:
    """Returns the class whose state a path leads to; for an added entry, those who may add one."""
    callbacks: Any = trainer.callbacks  # type: ignore[attr-defined]
    module = trainer.lightning_module
    data = trainer.datamodule  # type: ignore[attr-defined]
    parts: dict[str, Any] = {
        "callbacks": {callback.state_key: callback for callback in callbacks},
        "optimizer_states": dict(enumerate(trainer.optimizers)),
        "lr_schedulers": {n: c.scheduler for n, c in enumerate(trainer.lr_scheduler_configs)},
    }
    if path[0] in parts:
        return type(parts[path[0]][path[1]]).__name__
    if path[0] == type(data).__qualname__:
        return type(data).__name__
    if path[0] == "state_dict":
        return type(module).__name__
    kinds = [type(own) for own in (*callbacks, module)]
    names = [
        kind.__name__
        for kind in kinds
        if not kind.on_save_checkpoint.__module__.startswith(("engine.", "lightning."))
    ]
    return f"on_save_checkpoint of {' or '.join(dict.fromkeys(names))}"


def _plain(value: Any, path: Path, changed: Callable[[Any], Any], lacking: list[Lacking]) -> Any:
    """Returns a value without what is not plain in it; the value itself where all of it is.

    Args:
        value: any.
        path: the keys that lead to the value.
        changed: returns a plain value in the place of one that is not, or the same.
        lacking: takes what is left out.
    """
    kind = type(value)
    if kind in LEAVES:
        return value
    if kind in MAPPINGS:
        return _plain_mapping(value, path, changed, lacking)
    if kind in SEQUENCES:
        if LEAVES.issuperset(map(type, value)):  # quicker than a call for each
            return value
        inner: list[Lacking] = []
        parts = [_plain(part, (*path, n), changed, inner) for n, part in enumerate(value)]
        lacking += inner
        if inner:  # without one of its values, the others would have other places
            return NOTHING
        same = all(map(operator.is_, parts, value))
        return value if same else kind(parts)
    if (other := changed(value)) is not value:
        return _plain(other, path, changed, lacking)
    if not _loads(value):
        lacking.append(Lacking(path, kind.__name__))
        return NOTHING
    return value


def _plain_mapping(
    value: Any, path: Path, changed: Callable[[Any], Any], lacking: list[Lacking]
) -> Any:
    if LEAVES.issuperset(map(type, value)) and LEAVES.issuperset(map(type, value.values())):
        return value  # quicker than two calls for each
    made = {}
    same = True
    for old, own in value.items():
        key, part = (_plain(half, (*path, old), changed, lacking) for half in (old, own))
        same = same and key is old and part is own
        if key is not NOTHING and part is not NOTHING:
            made[key] = part
    if same:
        return value
    other = copy.copy(value)  # with its attributes: those of a `state_dict` have its version
    other.clear()
    other.update(made)
    return other


def _redacted(value: Any) -> Any:
    return redacted(value) if isinstance(value, str) else value


def _exact(value: Any) -> Any:
    """Returns a number of Python's for one of NumPy's, where both calculate alike."""
    return value.item() if isinstance(value, np.float64 | np.integer | np.bool_) else value


def _readable(value: Any) -> Any:
    """Returns what is most like a value and plain, or the value."""
    if isinstance(value, DictConfig | ListConfig):
        return OmegaConf.to_container(value, resolve=True)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, PurePath):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def _words(value: Any) -> Any:
    other = _readable(value)
    return repr(value) if other is value and not _loads(value) else other


def _loads(value: Any) -> bool:
    """Tells whether torch loads a value as plain, such as a dtype or a device."""
    if callable(value):  # to write a whole network takes long
        return False
    file = io.BytesIO()
    try:
        torch.save(value, file)
        file.seek(0)
        torch.load(file, weights_only=True)
    except Exception:  # a class may raise anything
        return False
    return True
