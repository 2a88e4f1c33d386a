"""Saves and restores what a run has in memory and Lightning leaves out of a checkpoint."""

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn
from torch.optim import Optimizer
from torchmetrics import Metric, MetricTracker
from torchmetrics.wrappers.abstract import WrapperMetric

from engine import processes, seeds
from engine.callbacks import averaged
from engine.data.exact_loader import same
from engine.errors import UserError
from engine.fence import torchmetrics as metrics
from engine.fence.lightning import (
    found_by_searches,
    go_on_in_validation,
    is_within_epoch,
    reloads_each_epoch,
    reset_after_validation,
    restore_metrics,
    results_of_training,
    seen_in_validation,
)
from engine.kept import attributes, gradients, values
from engine.kept.structure import optimizers_of
from engine.run.checkpoint.file import NO_WAY
from engine.steps import rows
from engine.supervised import SupervisedModule

# What a callback may change in a Trainer on the way.
CHANGING = ("accumulate_grad_batches", "gradient_clip_val", "check_val_every_n_epoch")
STEPS = ("optimizer_step", "optimizer_zero_grad")  # hooks that may gather gradients
FOLLOWED = ("callback_metrics", "logged_metrics", "progress_bar_metrics")  # of a Trainer


def so_far(
    trainer: Trainer,
    module: LightningModule,
    changed: Mapping[str, Any],
    optimizers: Sequence[str],
) -> dict[str, Any]:
    """Returns what a resumed run needs beside Lightning's own checkpoint.

    That is whether training was stopped, options of the Trainer, what Lightning's searches have
    found, which parameters the groups of each optimiser have, and which parameters and layers a
    callback has frozen; and of each process the metrics that callbacks and learning rates follow,
    the states of the generators of random numbers, the steps that are in no row yet, what the
    module has logged of the current epoch, its torchmetrics, gradients that it gathers or that
    somebody looks at, buffers of a mean, and attributes of a user's.

    Args:
        trainer: the run's.
        module: the one that is trained.
        changed: the attributes that have changed since training began.
        optimizers: the names of those with which a run begins that loads their states.
    """
    # A run that is measured with a part of a split in its metrics would count the part twice.
    ended = {inner for metric in reset_after_validation(trainer) for inner in metric.modules()}
    parts = dict(module.named_modules())
    found = {name: part for name, part in parts.items() if isinstance(part, Metric)}
    gathers = not module.automatic_optimization or any(is_overridden(own, module) for own in STEPS)
    reads = not gathers and _reads_gradients(trainer, module)
    looked_at = module.named_parameters() if gathers or reads else ()
    gradients = {name: own.grad for name, own in looked_at if own.grad is not None}
    # After a step, those of all processes are the same.
    is_ddp = isinstance(trainer.strategy, DDPStrategy)
    has_stepped = trainer.accumulate_grad_batches == 1
    shared = gradients if reads and is_ddp and has_stepped else {}
    own = {
        "attributes": changed,
        "averaged": averaged.passing_buffers(trainer),
        "gradients": {} if shared else gradients,
        "generators": seeds.generator_states(),
        "followed": {name: dict(getattr(trainer, name)) for name in FOLLOWED},
        "steps": rows.pack(module.steps_since_row) if isinstance(module, SupervisedModule) else [],
        "logged": results_of_training(trainer).state() if is_within_epoch(trainer) else {},
        "metrics": {
            name: metrics.state_of(part)
            for name, part in found.items()
            if part.update_count or isinstance(part, WrapperMetric)  # these count nothing
            if part not in ended
        },
    }
    if trainer.strategy.root_device.type != "cpu":
        own = move_data_to_device(own, "cpu")
    return {
        "stopped": bool(trainer.should_stop),
        "log_every_n_steps": trainer.log_every_n_steps,  # type: ignore[attr-defined]
        "trainer": {name: getattr(trainer, name) for name in CHANGING},
        "found": found_by_searches(trainer),
        "groups": _groups(trainer, module),
        "optimizers": [*optimizers],
        "gradients": move_data_to_device(shared, "cpu"),
        "frozen": [name for name, own in module.named_parameters() if _is_frozen(own)],
        "seen_in_validation": seen_in_validation(trainer),
        "untracked": [name for name, part in parts.items() if _is_untracked(part)],
        "evaluating": [name for name, part in parts.items() if not part.training],
        "processes": processes.gathered(own),
    }


def _reads_gradients(trainer: Trainer, module: LightningModule) -> bool:
    """Tells whether code of a user's names gradients: those of the step before are there, too."""
    callbacks: Any = trainer.callbacks  # type: ignore[attr-defined]
    owners: list[Any] = [*module.modules(), *callbacks]
    kinds: list[Any] = [type(own) for own in owners]
    named = any(attributes.reads(kind, gradients.GRADIENT) for kind in kinds)
    return named or any(map(gradients.reads_gradients, owners))


def prepare(trainer: Trainer, module: LightningModule, saved: dict[str, Any]) -> None:
    """Begins to go on with what `so_far` returned, before loaders and states of optimisers.

    A run that has no step left needs metrics and attributes for its test. Loaders are made from
    what the attributes of a data set say, such as its samples. Rows go on with the steps that they
    had: a run that is made longer would have longer rows.

    Raises:
        UserError: if it has states of other optimisers.
    """
    trainer.log_every_n_steps = saved["log_every_n_steps"]  # type: ignore[attr-defined]
    if (now := optimizers_of(trainer)) != saved["optimizers"]:
        raise UserError(
            f"{trainer.ckpt_path}: has the states of {', '.join(saved['optimizers'])}, and this "
            f"run begins with {', '.join(now)}.\n{NO_WAY}"
        )
    _regroup(trainer, module, saved["groups"])
    if own := processes.own(saved["processes"]):
        restore_metrics(trainer, move_data_to_device(own["followed"], trainer.strategy.root_device))
        # Loaders are made with the numbers that generators of the data drew when training began.
        kept = {
            path: value
            for path, value in own["attributes"].items()
            if not (_is_of_data(trainer, path) and value[1] == values.STATE)
        }
        _put_back(trainer, module, {**own, "attributes": kept})


def _put_back(trainer: Trainer, module: LightningModule, own: dict[str, Any]) -> list[str]:
    """Gives metrics, attributes and means what they had; names attributes that do not take it.

    Loaders that were made for the epoch that begins have nothing of those of the epoch before.
    """
    refused = []
    for name, state in own["metrics"].items():
        moved = move_data_to_device(state, trainer.strategy.root_device)
        try:
            metrics.resume(_metric(module, name), moved)
        except AttributeError:  # training has made it
            refused.append(f"{type(module).__name__}.{name}")
    # A copy, as hooks of the start may write into what they are given, before it is put back again.
    are_new = reloads_each_epoch(trainer) and not is_within_epoch(trainer)
    kept = copy.deepcopy(own["attributes"])
    refused += attributes.restore(trainer, module, kept, with_loaders=not are_new)
    averaged.restore_buffers(trainer, module, own["averaged"])
    return refused


def restore_to_measure(
    trainer: Trainer, module: LightningModule, saved: dict[str, Any], with_data: bool = True
) -> list[str]:
    """Gives what is only measured what it had in memory when `so_far` was called.

    Args:
        trainer: the one that measures.
        module: the one that is measured.
        saved: what `so_far` returned.
        with_data: whether the data module is given what it had, too.

    Returns:
        the names of attributes that do not take their value.
    """
    nothing: dict[str, Any] = {"metrics": {}, "attributes": {}, "averaged": {}}
    own = processes.own(saved["processes"]) or nothing
    kept = {
        path: value
        for path, value in own["attributes"].items()
        if with_data or not _is_of_data(trainer, path)
    }
    return _put_back(trainer, module, {**own, "attributes": kept})


def _is_of_data(trainer: Trainer, path: str) -> bool:
    """Tells whether an attribute is of the data module, or of what it has."""
    name = type(trainer.datamodule).__name__  # type: ignore[attr-defined]
    return path.partition(".")[0].partition(" ")[0] == name


def restored(saved: Mapping[str, Any]) -> list[str]:
    """Returns the names of the attributes that a resumed run has from a checkpoint."""
    own = processes.own(saved["processes"]) if saved else None
    return [*own["attributes"]] if own else []


def _regroup(trainer: Trainer, module: LightningModule, groups: list[list[list[str]]]) -> None:
    """Gives optimisers the parameters that a callback has added to their groups on the way."""
    parameters = dict(module.named_parameters())
    present = _groups(trainer, module)
    for optimizer, now, then in zip(trainer.optimizers, present, groups, strict=False):
        known = all(name in parameters for names in (*now, *then) for name in names)
        if known and now != then:
            options = [{**group, "params": []} for group in optimizer.param_groups]
            optimizer.param_groups.clear()
            for number, names in enumerate(then):
                group = options[number] if number < len(options) else {}
                own = [parameters[name] for name in names]
                optimizer.add_param_group({**group, "params": own})


def _groups(trainer: Trainer, module: LightningModule) -> list[list[list[str]]]:
    """Returns the names of the parameters by optimiser and group; "" for one of another module."""
    names = {id(own): name for name, own in module.named_parameters()}
    return [
        [[names.get(id(own), "") for own in group["params"]] for group in optimizer.param_groups]
        for optimizer in trainer.optimizers
    ]


def sharing(trainer: Trainer, module: LightningModule) -> Callable[[], None]:
    """Returns what lets optimisers share again what they share now, such as one within another.

    The one that loads a state has a new list and new dicts of groups then, and a new state. The
    other one has the old ones, and learning rates that are set would no longer reach it.
    """
    inner = (own for _, own in attributes.owners_of(trainer, module, with_loaders=False))
    others = (own for own in inner if issubclass(type(own), Optimizer))
    # Those of the Trainer come first, as they are the ones that load a state.
    found = dict.fromkeys([*trainer.optimizers, *others])
    pairs = [*itertools.combinations(found, 2)]
    whole = [
        (one, other, name)
        for one, other in pairs
        for name in ("param_groups", "state")
        if getattr(one, name) is getattr(other, name)
    ]
    single = [
        (one, number, other, place)
        for one, other in pairs
        for number, group in enumerate(one.param_groups)
        for place, own in enumerate(other.param_groups)
        if group is own
    ]

    def share() -> None:
        for one, number, other, place in single:
            with suppress(IndexError):  # a callback has taken groups away
                other.param_groups[place] = one.param_groups[number]
        for one, other, name in whole:
            if getattr(other, name) is not getattr(one, name):  # it may be a property
                setattr(other, name, getattr(one, name))

    return share


def resume(
    trainer: Trainer, module: LightningModule, saved: dict[str, Any], share: Callable[[], None]
) -> list[str]:
    """Goes on with what `so_far` returned, when training has begun.

    Lightning begins no epoch anew in its middle, so that what a hook does at an epoch's start is
    part of it.

    Args:
        trainer: the run's.
        module: the one that is trained.
        saved: what `so_far` returned.
        share: what `sharing` returned, before states were loaded.

    Returns:
        the names of attributes that do not take their value.
    """
    refused = []
    for name, value in saved["trainer"].items():
        setattr(trainer, name, value)
    results_of_training(trainer).clear()  # `on_train_start` has logged once more
    go_on_in_validation(trainer, saved["seen_in_validation"])
    if own := processes.own(saved["processes"]):
        seeds.restore_generators(own["generators"])
        device = trainer.strategy.root_device
        refused = _put_back(trainer, module, own)
        if is_within_epoch(trainer):
            results_of_training(trainer).resume(move_data_to_device(own["logged"], device), module)
        if isinstance(module, SupervisedModule):
            module.steps_since_row = rows.unpack(move_data_to_device(own["steps"], device))
        for name, gradient in (saved["gradients"] | own["gradients"]).items():
            module.get_parameter(name).grad = move_data_to_device(gradient, device)
    share()
    trainer.should_stop = trainer.should_stop or saved["stopped"]
    for name, parameter in module.named_parameters():
        if _is_frozen(parameter) != (name in saved["frozen"]):
            parameter.requires_grad_(not parameter.requires_grad)
    for name, part in module.named_modules():
        if part.training == (name in saved["evaluating"]):
            part.training = not part.training
        if _is_untracked(part) != (name in saved["untracked"]):
            part.track_running_stats = name not in saved["untracked"]
    return refused


def _is_frozen(parameter: nn.Parameter) -> bool:
    """Tells whether nothing trains a parameter.

    A frozen copy that follows the weights with gradients on has a history, and is no leaf then: so
    it requires gradients, which no parameter does that is changed in place and trained.
    """
    return not (parameter.requires_grad and parameter.is_leaf)


def _is_untracked(part: nn.Module) -> bool:
    """Tells whether a callback has taken running statistics from a layer: BaseFinetuning does."""
    return getattr(part, "track_running_stats", None) is False


def differing(trainer: Trainer, module: LightningModule, saved: Mapping[str, Any]) -> list[str]:
    """Names the weights and optimisers that are not as a checkpoint has them.

    Training has begun, and takes its first step next. So a hook that runs at each start has changed
    them: it ran when the training began, too, and its work was in the checkpoint already.

    Args:
        trainer: the run's.
        module: the one that is trained.
        saved: the checkpoint, as all that took their states from it have left it.
    """
    states = map(trainer.strategy.optimizer_state, trainer.optimizers)
    own = {f"optimiser {number}": state for number, state in enumerate(states)}
    then = {f"optimiser {number}": one for number, one in enumerate(saved["optimizer_states"])}
    own |= module.state_dict()
    then |= saved.get("current_model_state", saved["state_dict"])  # that may be a running mean
    now = move_data_to_device({name: own[name] for name in own if name in then}, "cpu")
    return [name for name in now if not same(now[name], then[name])]


def _metric(module: LightningModule, name: str) -> Metric:
    """Returns a metric by its name; a MetricTracker makes one for each of its steps."""
    part: Any = module
    for child in name.split("."):
        while isinstance(part, MetricTracker) and not hasattr(part, child):
            part.increment()
        part = getattr(part, child)
    found: Metric = part
    return found
