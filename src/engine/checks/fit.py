"""Tries a module on the data: they have to fit together."""

import contextlib
import copy
import inspect
import warnings
from collections.abc import Collection, Iterator
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from engine.checks import bad_data, parts_of_loss
from engine.config.resolved import Config
from engine.data.augment import try_out
from engine.data.datamodule import BATCH_HOOKS, TensorDataModule, class_names_of
from engine.errors import UserError, blamed_on
from engine.kept.between import put_back
from engine.seeds import kept
from engine.steps.callback import overrides
from engine.supervised import SupervisedModule

PLAIN = (bool, int, float, str, type(None))  # kinds of attributes that are put back after a try
MODE = "training"  # the attribute that tells whether a layer trains
# By these values of trainer.precision, Lightning gives inputs the numbers of the weights.
CONVERTING = ("64", "64-true", "bf16-true", "16-true")
MOST = 64  # samples of a validation that are tried at once
# Who has one of these may convert all batches, or has another loss when they come.
HOOKS = [name for name, _ in inspect.getmembers(SupervisedModule, callable) if name[:3] == "on_"]
LATE = ("setup", "configure_model")
# Who has one of these may have gradients by hand, or train other weights than at first.
UPDATES = ("backward", "configure_optimizers", "manual_backward", "optimizer_step")
FREE = ("_loss", "add_loss", "_evaluate", *LATE, *BATCH_HOOKS, *HOOKS)


def check_classes(config: Config, data: LightningDataModule) -> None:
    """Refuses a module for another number of classes than the data have, or for one class."""
    number = config["module"].get("num_classes")
    if number is None or not (names := class_names_of(data)):
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


def may_make_layers(model: LightningModule) -> bool:
    """Tells whether a module has a hook that may make layers, for the data or on the device."""
    return any(is_overridden(hook, model) for hook in LATE)


def fit_to(
    model: LightningModule,
    data: LightningDataModule,
    precision: object = None,
    left_out: Collection[str] = (),
    files: Collection[str] = (),
) -> None:
    """Tries a module's optimiser, and its network and loss on samples: they must fit the data.

    What fails for layers that a hook makes later is left to the first step. Numbers and words that
    a try changes in the user's files are put back, as far as they can be.

    Args:
        model: with its first weights, in 32 bits.
        data: its files are on disk.
        precision: the Trainer's.
        left_out: splits that nothing is evaluated on.
        files: the user's modules that the run imports, by import path.

    Raises:
        UserError: if they do not fit.
    """
    if isinstance(model, SupervisedModule):
        _check_who_updates(model)
    if isinstance(data, TensorDataModule):
        data.example()  # loads the samples, which is no try
    with put_back(files, is_within=True):
        _fit_to(model, data, precision, left_out)


def _fit_to(
    model: LightningModule, data: LightningDataModule, precision: object, left_out: Collection[str]
) -> None:
    optimizer = getattr(model, "optimizer", None)
    comes_later = may_make_layers(model)
    lacks_all = comes_later and not [*model.parameters()]
    # Another `configure_optimizers` may give it a part of the parameters, or groups.
    gives_all = type(model).configure_optimizers is SupervisedModule.configure_optimizers
    if gives_all and callable(optimizer) and not lacks_all:
        with blamed_on("optimizer"), kept(0):  # it may draw its rate
            getattr(optimizer, "tried", optimizer)(model.parameters())
    if isinstance(data, TensorDataModule):
        sample = data.example()
        # A module with an example of its own says itself what it takes.
        if model.example_input_array is None and is_overridden("forward", model):
            model.example_input_array = sample
            prepare = _preparing(data, precision)
            absent = (AttributeError, TypeError) if comes_later else ()
            with _put_back(model), contextlib.suppress(*absent):
                model.eval()  # nothing random, nothing counted
                for name in ("train", *_unlike_training(model, data)):
                    _show(model, data, name, prepare)
                _check_metrics(model, data, prepare)
                bad_data.check(model, data, prepare)
                if isinstance(model, SupervisedModule):
                    _check_loss(model, data, prepare)
                    _check_evaluation(model, data, prepare, left_out)
                    parts_of_loss.tell(model, data)
        if isinstance(model, SupervisedModule):
            try_out(model.transforms, sample)


def _check_who_updates(model: SupervisedModule) -> None:
    """Refuses a module that would take no step."""
    own = overrides(model, SupervisedModule, ("training_step", *HOOKS))
    if not model.automatic_optimization and not own:
        raise UserError(
            f"{type(model).__name__}: has automatic_optimization=False, and the training_step of "
            "SupervisedModule leaves the update to Lightning: nothing would be trained.\n"
            "Leave that out, or override training_step with one that takes the optimizer's step."
        )


def _preparing(data: TensorDataModule, precision: object) -> bad_data.Prepare:
    """Returns what prepares inputs for weights of 32 bits as training does for its own."""
    converts = str(precision) in CONVERTING

    def converted(inputs: Tensor) -> Tensor:
        return inputs.float() if converts and inputs.is_floating_point() else inputs

    return lambda inputs: converted(data.prepare_inputs(converted(inputs)))


def _unlike_training(model: LightningModule, data: TensorDataModule) -> list[str]:
    """Returns the splits whose samples have another shape or dtype, and go straight to `forward`.

    A step of a user's may do anything with them before.
    """
    kinds = {name: (own.inputs.shape[1:], own.inputs.dtype) for name, own in data.splits.items()}
    steps = {"val": "validation_step", data.test_split: "test_step"}
    return [
        name
        for name, step in steps.items()
        if getattr(type(model), step) is getattr(SupervisedModule, step, None)
        and kinds.get(name, kinds["train"]) != kinds["train"]
    ]


@contextlib.contextmanager
def _put_back(model: nn.Module) -> Iterator[None]:
    """Puts back what a try changes: weights, buffers, modes and plain attributes.

    A layer may take a mean from its first batch, and never again. A layer that makes weights or
    layers in its first forward pass keeps these, and its attributes with them.
    """
    parts, before = dict(model.named_modules()), _tensors(model)
    plain = {name: _plain(part) for name, part in parts.items()}
    kept = [
        (name, tensor, tensor.data, tensor.detach().clone())
        for name, tensor in before.items()
        if not is_lazy(tensor) and tensor.layout is torch.strided and not tensor.is_nested
    ]
    lazy = [name for name, tensor in before.items() if is_lazy(tensor)]
    try:
        yield
    finally:
        now = _tensors(model)
        new = {*now, *dict(model.named_modules())} - {*before, *parts}
        makers = {name.rpartition(".")[0] for name in (*new, *lazy)}
        for name, part in parts.items():
            part.__dict__.update(
                {key: own for key, own in plain[name].items() if name not in makers or key == MODE}
            )
        with torch.no_grad():
            for name, tensor, memory, value in kept:
                if now.get(name) is not tensor:
                    where, _, attribute = name.rpartition(".")
                    setattr(parts[where], attribute, tensor)
                if tensor.data_ptr() != memory.data_ptr() or tensor.shape != value.shape:
                    tensor.data = memory if memory.shape == value.shape else value
                if not torch.equal(tensor, value):
                    tensor.copy_(value)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _plain(part: nn.Module) -> dict[str, Any]:
    return {name: own for name, own in vars(part).items() if isinstance(own, PLAIN)}


@torch.no_grad()
def _show(
    model: LightningModule, data: TensorDataModule, split: str, prepare: bad_data.Prepare
) -> None:
    """Refuses a split whose samples the network does not take."""
    # A network may work in place, and take more than one sample.
    sample = data.splits[split].inputs[: min(2, data.batch_size)].clone()
    try:
        sample = prepare(sample)
        model(sample)
    except RuntimeError as error:
        of = "" if split == "train" else f'"{split}" of '
        kind = "" if sample.dtype == torch.float32 else f" of {sample.dtype}"
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{type(model).__name__} does not take the samples of {of}{type(data).__name__}, "
            f"{tuple(sample.shape[1:])}{kind}: {reason}"
        ) from None


@torch.no_grad()
def _check_metrics(
    model: LightningModule, data: TensorDataModule, prepare: bad_data.Prepare
) -> None:
    """Refuses metrics of `SupervisedModule` that fail, or are no number: a matrix, a dict."""
    if not isinstance(model, SupervisedModule):  # which may do anything with them
        return
    # A step of a user's may give them other predictions and targets.
    gets_these = not overrides(model, SupervisedModule, bad_data.OWN_STEP)
    train = data.splits["train"]
    inputs, targets = train.select(torch.arange(min(2, data.batch_size, len(train))))
    predictions: Any = model(prepare(inputs))
    for name, metric in model.train_metrics.items():
        own = f"{type(model).__name__}: its metric {name.removeprefix('train/')}"
        seen, value = metric.clone(), None
        with warnings.catch_warnings(action="ignore"):
            try:
                seen.update(predictions, targets)
            except Exception as error:
                if not gets_these or not isinstance(predictions, Tensor):
                    continue
                kinds = " and targets ".join(
                    f"{bad_data.shape_of(part)} of {part.dtype}" for part in (predictions, targets)
                )
                reason = str(error).partition("\n")[0]
                raise UserError(
                    f"{own} does not take predictions {kinds}: {reason}{bad_data.CONVERT}"
                ) from None
            # One that needs more samples fails here, which tells nothing.
            with contextlib.suppress(Exception):
                value = seen.compute()
        is_tensor = isinstance(value, Tensor)
        if value is None or (is_tensor and value.numel() == 1):
            continue
        gives = f"{value.numel()} numbers" if is_tensor else f"a {type(value).__name__}"
        raise UserError(
            f"{own} gives {gives}, and a row of metrics takes one number.\n"
            "Leave it out of `metrics`; a callback can draw it, a module of yours can log it."
        )


def _check_loss(model: SupervisedModule, data: TensorDataModule, prepare: bad_data.Prepare) -> None:
    """Refuses a loss that is not one number, or that no weight has made."""
    if overrides(model, SupervisedModule, (*bad_data.OWN_STEP, *UPDATES, *FREE)):
        return
    train = data.splits["train"]
    inputs, targets = train.select(torch.arange(min(MOST, data.batch_size, len(train))))
    try:
        tried = copy.deepcopy(model)  # which may keep what it computes, and gradients with that
    except Exception:  # by code of its own
        return
    for is_training in (False, True):  # a network may give classes where it is evaluated
        wrong = ""
        tried.train(is_training)
        with kept(), warnings.catch_warnings(action="ignore"), contextlib.suppress(Exception):
            wrong = _wrong_with(tried.loss(tried(prepare(inputs)), targets), tried)
            if not wrong:
                return
    if wrong:
        name = getattr(model.loss, "__name__", type(model.loss).__name__)
        raise UserError(f"{type(model).__name__}: its loss, {name}, {wrong}")


def _wrong_with(loss: Any, model: nn.Module) -> str:
    """Says why nobody can train with what a loss gives for a batch; "" if one can."""
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        gives = (
            f"values {bad_data.shape_of(loss)}"
            if isinstance(loss, Tensor)
            else f"a {type(loss).__name__}"
        )
        return (
            f"gives {gives} for a batch, and training needs one number.\n"
            'Leave out reduction="none", or override compute_loss.'
        )
    is_trained = any(own.requires_grad for own in model.parameters())
    # One that is 0 may have found nothing to compare in this batch.
    if not loss.requires_grad and is_trained and loss.item():
        return (
            "has no gradients: no weight that is trained has made it.\n"
            "Leave out detach(), item(), argmax() and no_grad() in forward and in the loss."
        )
    return ""


@torch.no_grad()
def _check_evaluation(
    model: SupervisedModule,
    data: TensorDataModule,
    prepare: bad_data.Prepare,
    left_out: Collection[str],
) -> None:
    """Refuses a step of a user's that converts in training only what validation or test needs."""
    own = overrides(model, SupervisedModule, bad_data.OWN_STEP[:2])
    if (
        not own
        or overrides(model, SupervisedModule, FREE)
        or overrides(data, TensorDataModule, FREE)
    ):
        return
    for name, step in {"val": "validation_step", data.test_split: "test_step"}.items():
        split = data.splits.get(name)
        if split is None or name in left_out or overrides(model, SupervisedModule, (step,)):
            continue
        inputs, targets = split.select(torch.arange(min(MOST, data.eval_batch_size, len(split))))
        try:
            with warnings.catch_warnings(action="ignore"):
                predictions = model(prepare(inputs))
                model.loss(predictions, targets)
                for metric in model.val_metrics.values():
                    metric.clone().update(predictions, targets)
        except Exception as error:
            raise UserError(
                f"{type(model).__name__}: its {step} fails, as {own[0]} is of training only: "
                f"{str(error).partition(chr(10))[0]}\nDo the same in a subclass, in forward of the "
                f"loss or in update of the metric, or override {step}, too."
            ) from None
