"""Tells which jobs of a sweep may train together.

Such jobs differ only in the seed, the init and the numbers of optimiser and schedule.
"""

import ast
import copy
import inspect
import itertools
import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, seed_everything
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from engine.checks.config import check, try_update
from engine.config import objects
from engine.config.keys import SEEDS, TARGET, is_below
from engine.config.objects import located
from engine.config.resolved import Config
from engine.data.datamodule import BATCH_HOOKS, TensorDataModule, is_close, largest_of
from engine.fence.lightning import asked_of_trainers
from engine.kept.gradients import reads_gradients
from engine.kept.values import package_of
from engine.run import build
from engine.run.loggers.table import MetricsCSV
from engine.run.loggers.tensorboard import TensorBoard
from engine.schedules import configured, follows_metric
from engine.seeds import generator_states
from engine.steps.callback import (
    EACH_JOB,
    LEFT_OUT,
    ONCE,
    PER_STEP,
    StepCallback,
    in_a_stack,
    overrides,
)
from engine.supervised import SupervisedModule, additions
from engine.sweep.jobs import Job
from engine.vectorized import NotStacked, first_of, optimizer
from engine.vectorized.alike import replaced
from engine.vectorized.network import Params, stacked, stacked_loss

# The Trainer's options that a stack knows: with the values that it can have, or with any value.
TRAINER = {
    "_target_": ("engine.BlockTrainer",),
    "strategy": ("auto",),
    "precision": ("32-true", "64-true"),
    "devices": (1,),
    "gradient_clip_val": (None,),
    "num_sanity_val_steps": (0,),
    "compiled": (None, False),
    "accumulate_grad_batches": (1,),
    "overfit_batches": (0,),
    "detect_anomaly": (False,),
    "profiler": (None,),
}
ANY_VALUE = (
    "max_epochs",
    "max_steps",
    "log_every_n_steps",
    "steps_per_call",
    "check_val_every_n_epoch",
    "val_check_interval",
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
    "deterministic",
    "accelerator",
)
# The jobs of a stack may differ in these values and nodes.
VALUES = {*SEEDS, *(f"optimizer.{name}" for name in optimizer.NUMBERS)}
NODES = ("init", "sweep")
# Of a schedule, they agree in these; each job has a scheduler of its own.
SCHEDULE = tuple(f"scheduler.{name}" for name in (TARGET, "interval", "frequency"))
# A stack does not call these hooks of a data module.
NOT_CALLED = (
    "setup",
    "teardown",
    "state_dict",
    "load_state_dict",
    "val_dataloader",
    "test_dataloader",
    *BATCH_HOOKS,
)

# A stack calls these hooks of the callbacks that each job has.
CALLED = (
    "on_train_start",
    "on_train_batch_end",
    "on_batch_done",
    "on_train_epoch_end",
    "on_epoch_done",
    "on_train_end",
    "on_fit_end",
    "on_validation_epoch_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
    "on_test_epoch_start",
    "on_test_batch_end",
    "on_test_epoch_end",
    "on_test_end",
    "on_save_checkpoint",
)

ROUNDING = 1e-9  # of the largest number, in 64 bits: a sum may be taken in another order

# The `train(run)` that the template ships: jobs that train together go its way, step for step.
SHIPPED = """
data = run.datamodule()
module = run.module(data)
trainer = run.trainer()
run.fit(trainer, module, data)
run.test(trainer, module, data)
return run.objective(trainer)
"""


def obstacle(config: Config) -> str | None:
    """Returns what in a job's config keeps the job out of a stack; None if there is nothing."""
    for key, value in config["trainer"].items():
        if key not in ANY_VALUE and value not in TRAINER.get(key, ()):
            return f"trainer.{key}={value}"
    if config.get("sweep.trial.callback.pruner"):
        return "a trial that may be pruned"
    if config.get("init_from"):
        return "init_from: the weights of another run"
    for group in ("callbacks", "logger"):
        for key, node in config.nodes(group).items():
            kind = located(node[TARGET], key)
            if kind not in (MetricsCSV, TensorBoard) and in_a_stack(kind) is None:
                return f"{key}: {kind.__name__} has no in_a_stack (docs/interface.md)"
            if (own := in_a_stack(kind)) not in (None, EACH_JOB, ONCE, LEFT_OUT):
                return f'{key}: in_a_stack="{own}" is none of "{EACH_JOB}", "{ONCE}", "{LEFT_OUT}"'
            if in_a_stack(kind) != EACH_JOB:
                continue
            if hook := _not_called(kind):
                return f"{key}: a stack does not call {hook}"
            hooks = [] if issubclass(kind, StepCallback) else overrides(kind, Callback, PER_STEP)
            if hooks:
                return f"{key}.{hooks[0]} wants every step (a StepCallback would say which)"
    return None


def _not_called(kind: type) -> str | None:
    """Names a hook of a user's callback that a stack does not call."""
    if package_of(kind) == "engine":
        return None  # these know what they are not called for
    named = [name for name in dir(StepCallback) if name.startswith("on_") or name == "teardown"]
    left = [name for name in named if name not in CALLED]
    return next(iter(overrides(kind, StepCallback, left)), None)


def common(config: Config) -> str:
    """Returns a job's config as text, without the values in which a stack's jobs may differ."""
    nodes = ("${init}", "${optimizer}", "${scheduler}")
    copies = [key for key, value in config.written.items() if value in nodes]
    own = (*NODES, *copies)
    kept = {
        key: value
        for key, value in config.ordered.items()
        if key in SCHEDULE or (key not in VALUES and not is_below(key, (*own, "scheduler")))
    }
    return json.dumps([copies, kept], sort_keys=True)


def try_out(group: Sequence[Job]) -> tuple[list[TensorDataModule], list[SupervisedModule]]:
    """Builds the data and modules of two of the jobs, and tries a step of both together.

    Raises:
        NotStacked: if the step fails, or gives other numbers than each job's step alone.
    """
    seed = group[0].config["seed"]
    other = next((job for job in group if job.config["seed"] != seed), group[1])
    configs = [group[0].config, other.config]
    for config in configs:
        check(config)
        try_update(config)
    data: list[Any] = [build.datamodule(config) for config in configs]
    if not _is_prepared_alike(config, generator_states()):
        raise NotStacked(f"{type(data[0]).__name__} draws random numbers in prepare_data")
    if reason := _odd_data(data[0]):
        raise NotStacked(reason)
    # Jobs with the same samples would hide that a stack mixes them up.
    with asked_of_trainers() as asked:
        batches = [training_batch(data[0]), training_batch(data[1], last=True)]
    if asked:  # a stack has one Trainer
        name = type(data[0]).__name__
        raise NotStacked(f"{name} prepares inputs by what its trainer says")
    modules: list[Any] = [build.module(*pair) for pair in zip(configs, data, strict=True)]
    if reason := _odd_module(modules[0]):
        raise NotStacked(reason)
    with asked_of_trainers() as asked:
        _compare(modules, batches)
    if asked:  # the first job's network and loss compute for all, and its Trainer may end earlier
        name = type(modules[0]).__name__
        raise NotStacked(f"{name}: its network or loss goes by what its trainer says")
    return data, modules


def _compare(modules: Sequence[Any], batches: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Compares a step of two jobs together with the step of each job alone, in 64 bits.

    In 64 bits rounding is far below 1e-9 of the largest number, so that any larger difference is a
    difference of the computation.

    Raises:
        NotStacked: if the step fails, or the numbers differ.
    """
    name = type(modules[0]).__name__
    networks, losses = zip(*map(_disturbed, modules, itertools.count()), strict=True)
    wide = [[p.double() if p.is_floating_point() else p for p in batch] for batch in batches]
    drawn = generator_states()
    buffers = [own.clone() for own in losses[0].buffers()]
    with _refusing(name):
        if _sees_weights(modules[0], *wide[0]):
            raise NotStacked(f"{name}: its loss looks at the weights, and not at predictions only")
        params = {
            key: torch.stack([n.get_parameter(key).detach() for n in networks]).requires_grad_()
            for key, _ in networks[0].named_parameters()
        }
        inputs, targets = (torch.stack(both) for both in zip(*wide, strict=True))
        together = stacked_loss(losses[0])(stacked(networks[0])(params, inputs), targets)
        gradients = torch.autograd.grad(together.sum(), list(params.values()))
    _refuse_changed(name, losses[0], buffers, "in each step")
    each = zip(networks, losses, wide, strict=True)
    for number, (network, own_loss, (own_inputs, own_targets)) in enumerate(each):
        own = own_loss(network(own_inputs), own_targets)
        alone = torch.autograd.grad(own, list(network.parameters()))
        # A gradient that is 0 but for rounding is compared with the others.
        largest = max(map(largest_of, alone))
        pairs = zip((gradient[number] for gradient in gradients), alone, strict=True)
        same = all(is_close(*pair, ROUNDING, largest) for pair in pairs)
        if not (same and is_close(together[number].detach(), own.detach(), ROUNDING)):
            raise NotStacked(f"{name} gives other numbers in a stack")
    with _refusing(name):
        _compare_evaluated(name, networks, losses, params, inputs, targets)
    if generator_states() != drawn:
        raise NotStacked(f"{name}: each step draws random numbers")
    with _refusing(name):
        _compare_updates(modules, networks, params, gradients)


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Raises NotStacked with the first sentence of whatever error is raised in this context."""
    try:
        yield
    except NotStacked:
        raise
    except Exception as error:
        said = (str(error) or repr(error)).partition(". ")[0].splitlines()[0]
        raise NotStacked(f"{name}: {said}") from None


def _refuse_changed(name: str, loss: nn.Module, buffers: Sequence[Tensor], when: str) -> None:
    """Refuses a loss whose buffers are others now: a stack has those of the first job for all."""
    if not all(map(torch.equal, loss.buffers(), buffers)):
        raise NotStacked(f"{name}: its loss changes a buffer {when}")


@torch.no_grad()
def _disturbed(module: Any, seed: int) -> tuple[nn.Module, nn.Module]:
    """Returns copies of a module's network and loss in 64 bits, with somewhat other weights.

    Weights of zero, or equal ones, would hide differences.
    """
    network, loss = copy.deepcopy((module.network, module.loss))  # a loss may know the network
    noise = torch.Generator().manual_seed(seed)
    for own in network.double().parameters():
        drawn = torch.randn(own.shape, generator=noise, dtype=own.dtype)
        own += 0.1 * drawn * torch.where(own == 0, 1.0, own.abs())
    return network, loss.double()


@torch.no_grad()
def _sees_weights(module: Any, inputs: Tensor, targets: Tensor) -> bool:
    """Tells whether a loss is another one for the same predictions with other weights."""
    network, loss = copy.deepcopy((module.network, module.loss))
    predictions = network.double()(inputs)
    drawn = generator_states()
    usual = loss.double()(predictions, targets.clone())
    if generator_states() != drawn:  # which is a reason of its own
        return False
    other = _disturbed(module, 0)[1](predictions, targets.clone())
    return not torch.allclose(usual, other, rtol=0, atol=0, equal_nan=True)


@torch.no_grad()
def _compare_evaluated(
    name: str,
    networks: Sequence[nn.Module],
    losses: Sequence[nn.Module],
    params: Params,
    inputs: Tensor,
    targets: Tensor,
) -> None:
    """Compares predictions and losses of two jobs that are evaluated together with those alone.

    Raises:
        NotStacked: if they differ, if predictions depend on the batch, which a stack divides, or if
            a loss changes a buffer.
    """
    for part in (*networks, *losses):
        part.eval()
    buffers = [own.clone() for own in losses[0].buffers()]
    together = stacked(networks[0])(params, inputs)
    for network, own, stack in zip(networks, inputs, together, strict=True):
        alone = network(own)
        parts = [network(part) for part in torch.split(own, -(-len(own) // 2))]
        if not is_close(torch.cat(parts), alone, ROUNDING):
            raise NotStacked(f"{name}: its predictions depend on the other samples of a batch")
        if not is_close(stack, alone, ROUNDING):
            raise NotStacked(f"{name} gives other numbers in a stack that is evaluated")
    # A loss may work in place.
    values = stacked_loss(losses[0])(together.clone(), targets.clone())
    _refuse_changed(name, losses[0], buffers, "where it is evaluated")
    for loss, predictions, own, value in zip(losses, together, targets, values, strict=True):
        if not is_close(value, loss(predictions.clone(), own.clone()), ROUNDING):
            raise NotStacked(f"{name}: its loss gives other numbers in a stack that is evaluated")


def _compare_updates(
    modules: Sequence[Any],
    networks: Sequence[nn.Module],
    params: Params,
    gradients: Sequence[Tensor],
) -> None:
    """Compares two updates of both jobs together with those of each job's own optimiser.

    Raises:
        NotStacked: if the weights differ.
    """
    pairs = zip(modules, networks, strict=True)
    singles = [module.optimizer(network.parameters()) for module, network in pairs]
    for network, single in zip(networks, singles, strict=True):
        trained = [id(one) for group in single.param_groups for one in group["params"]]
        if (
            trained != list(map(id, network.parameters()))
            or optimizer.why_not_stacked(single)
            or optimizer.switches(single) != optimizer.switches(singles[0])
            or replaced(single)
        ):
            return  # `why_unlike` says so, job by job
    together = [own.detach().clone() for own in params.values()]
    stack = optimizer.StackedOptimizer(together, singles)
    for own, gradient in zip(together, gradients, strict=True):
        own.grad = gradient
    for number, network in enumerate(networks):
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            # Fused optimisers take a gradient to lie in memory as its parameter does.
            parameter.grad = torch.empty_like(parameter).copy_(gradient[number])
    for one in (stack, *singles) * 2:  # the second update goes by what the first has left
        one.step()
    for number, network in enumerate(networks):
        each = zip(together, network.parameters(), strict=True)
        if not all(is_close(own[number], alone.detach(), ROUNDING) for own, alone in each):
            kind = type(singles[number]).__name__
            raise NotStacked(f"optimizer {kind} gives other numbers in a stack")


def training_batch(data: TensorDataModule, last: bool = False) -> tuple[Tensor, Tensor]:
    """Returns a batch of the first training samples, or the last: inputs (B, …), targets (B, …)."""
    train = data.splits["train"]
    chosen = slice(-data.batch_size, None) if last else slice(data.batch_size)
    return data.prepare_inputs(train.inputs[chosen]), train.targets[chosen]


def _is_prepared_alike(config: Config, states: Any) -> bool:
    """Tells whether `prepare_data` draws nothing: alone, it goes on where the constructor ends.

    Args:
        config: of a job whose data module was just built.
        states: of the generators of random numbers since then.
    """
    seed_everything(config["seed"], workers=True, verbose=False)
    objects.build(config["datamodule"], "datamodule")
    return bool(generator_states() == states)


def _odd_data(data: Any) -> str | None:
    if not isinstance(data, TensorDataModule):
        return f"{type(data).__name__} is no TensorDataModule"
    hooks = overrides(data, TensorDataModule, NOT_CALLED)
    return f"{type(data).__name__} has a {hooks[0]} of its own" if hooks else data.why_no_blocks()


def _odd_module(module: Any) -> str | None:
    """Returns what a stack would not know of a module; None if there is nothing."""
    name = type(module).__name__
    if not isinstance(module, SupervisedModule):
        return f"{name} is no SupervisedModule"
    if more := additions(module):
        return f"{name} has a {more[0]} of its own"
    if not isinstance(module.loss, nn.Module):
        return f"{name}: its loss is no nn.Module"
    parts = (*module.network.modules(), *module.loss.modules())
    own, weights = [*module.parameters()], [*module.network.parameters()]
    named = [*module.network.named_parameters(remove_duplicate=False)]
    reasons = {
        f"{name} has a layer that stays in eval mode": not all(part.training for part in parts),
        **{f"{type(one).__name__} reads gradients": True for one in filter(reads_gradients, parts)},
        "augment: each job's step draws random numbers": bool(module.transforms),
        f"{name} has parameters outside its network": set(own) != set(weights),
        f"{name} has layers that share weights": len(weights) < len(named),
        f"{name} has buffers, or parameters that are not trained": (
            not all(one.requires_grad for one in own) or any(True for _ in module.network.buffers())
        ),
    }
    if reason := first_of(reasons):
        return reason
    drawn = generator_states()
    single = module.optimizer(own)
    reason = optimizer.why_not_stacked(single)
    if module.scheduler and not reason:
        config = configured(module.scheduler, single, lambda interval, frequency: 100)
        if not isinstance(made := config["scheduler"], LRScheduler):
            # Lightning refuses it, but not of a module with an `lr_scheduler_step`, as a stack is.
            return f"scheduler: {type(made).__name__} is no LRScheduler"
        if follows_metric(config):
            return "scheduler: the learning rate of each job follows a metric of the job"
    if generator_states() != drawn:  # alone, each job's are seeded before
        return "the optimiser or the schedule draws random numbers as it is made"
    return reason


def is_edited(train: Callable[..., Any]) -> bool:
    """Tells whether a `train(run)` does anything else than the shipped one; comments do not count.

    An edited function may do anything, so its jobs run one by one.
    """
    try:
        (function,) = ast.parse(textwrap.dedent(inspect.getsource(train))).body
    except (OSError, TypeError, SyntaxError):
        return True
    if not isinstance(function, ast.FunctionDef) or len(function.decorator_list) != 1:
        return True
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return [ast.dump(line) for line in body] != [ast.dump(line) for line in ast.parse(SHIPPED).body]
