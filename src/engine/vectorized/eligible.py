"""Which jobs of a sweep may train together: those that differ only in seed, init and numbers of the optimiser."""

import ast
import copy
import inspect
import json
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.config.keys import SEEDS, TARGET, is_below
from engine.config.objects import located
from engine.config.resolved import Config
from engine.data.datamodule import BATCH_HOOKS, TensorDataModule
from engine.run import build
from engine.run.loggers import MetricsCSV, TensorBoard
from engine.steps.callback import in_a_stack, overrides
from engine.supervised import SupervisedModule
from engine.sweep.jobs import Job
from engine.vectorized import optimizer
from engine.vectorized.network import stacked, stacked_loss

TRAINER = {  # the options of a Trainer that a stack goes with; None: any value
    "_target_": ("engine.BlockTrainer",), "strategy": ("auto",), "precision": ("32-true", "64-true"),
    "devices": (1,), "gradient_clip_val": (None,), "num_sanity_val_steps": (0,), "use_distributed_sampler": (False,),
    **dict.fromkeys(("max_epochs", "max_steps", "log_every_n_steps", "steps_per_call", "compiled",
                     "check_val_every_n_epoch",
                     "limit_train_batches", "limit_val_batches", "limit_test_batches", "deterministic", "accelerator")),
}  # fmt: skip
# What the jobs of a stack may differ in: these values, and nodes.
VALUES = {*SEEDS, *(f"optimizer.{name}" for name in optimizer.NUMBERS)}
NODES = ("init", "sweep")
# Hooks of a data module that a stack does not call:
NOT_ASKED = (
    "setup",
    "teardown",
    "state_dict",
    "load_state_dict",
    "val_dataloader",
    "test_dataloader",
    *BATCH_HOOKS,
)


# The `train(run)` that the template ships: jobs that train together go its way, step for step.
SHIPPED = """
data = run.datamodule()
module = run.module(data)
trainer = run.trainer()
run.fit(trainer, module, data)
run.test(trainer, module, data)
return run.objective(trainer)
"""


class NotStacked(Exception):
    """Why some jobs are to run one by one."""


def obstacle(config: Config) -> str | None:
    """Return what in a job's config does not go with other jobs in a stack, if anything."""
    if config["trainer"].get("compiled"):
        return "compile=true"
    for key, value in config["trainer"].items():
        if key not in TRAINER or ((allowed := TRAINER[str(key)]) and value not in allowed):
            return f"trainer.{key}={value}"
    if config.get("sweep.trial.callback"):
        return "a trial that may be pruned"
    for name, node in (config.get("callbacks") or {}).items():
        if node and in_a_stack(located(node[TARGET], f"callbacks.{name}")) is None:
            return f"callbacks.{name}"
    for name, node in (config.get("logger") or {}).items():
        if node and located(node[TARGET], f"logger.{name}") not in (MetricsCSV, TensorBoard):
            return f"logger.{name}"
    return None


def common(config: Config) -> str:
    """Return a job's config without what the jobs of a stack may differ in."""
    copies = [key for key, value in config.written.items() if value in ("${init}", "${optimizer}")]
    own = (*NODES, *copies)
    kept = {k: v for k, v in config.flat.items() if k not in VALUES and not is_below(k, own)}
    return json.dumps([copies, kept], sort_keys=True)


def try_out(group: Sequence[Job]) -> tuple[list[TensorDataModule], list[SupervisedModule]]:
    """Build two of the jobs' data and modules, and try a step of both together.

    Raises:
        NotStacked: if the step fails, or does not give what each job's step gives alone.
    """
    seed = group[0].config["seed"]
    other = next((job for job in group if job.config["seed"] != seed), group[1])
    configs = [group[0].config, other.config]
    for config in configs:
        build.check(config)
    data: list[Any] = [build.datamodule(config) for config in configs]
    modules: list[Any] = [
        build.module(config, own) for config, own in zip(configs, data, strict=True)
    ]
    if reason := _odd_data(data[0]) or _odd_module(modules[0]):
        raise NotStacked(reason)
    samples = data[0].splits["train"].inputs[: data[0].batch_size]
    if not torch.equal(*(own.prepare_inputs(samples).nan_to_num() for own in data)):
        name = type(data[0]).__name__
        raise NotStacked(f"{name} prepares the same inputs otherwise for each job")
    # The first job has the first samples, the other one the last: they differ.
    batches = [_batch(own, first) for own, first in zip(data, (True, False), strict=True)]
    _compare(modules, batches)
    return data, modules


def _compare(modules: Sequence[Any], batches: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Compare a step of two jobs together with each one's own, in 64 bits.

    There rounding is far below any difference in what is computed: 1e-9 of the largest number.
    """
    name = type(modules[0]).__name__
    networks = [copy.deepcopy(module.network).double() for module in modules]
    loss = copy.deepcopy(modules[0].loss).double()
    wide = [[_wide(part) for part in batch] for batch in batches]
    try:
        params = {
            key: torch.stack([network.get_parameter(key).detach() for network in networks])
            for key, _ in networks[0].named_parameters()
        }
        inputs, targets = (torch.stack(parts) for parts in zip(*wide, strict=True))
        together = {key: value.requires_grad_() for key, value in params.items()}
        losses = stacked_loss(loss)(stacked(networks[0])(together, inputs), targets)
        gradients = torch.autograd.grad(losses.sum(), list(together.values()))
    except Exception as error:
        said = (str(error) or repr(error)).partition(". ")[0].splitlines()[0]
        raise NotStacked(f"{name}: {said}") from None
    for number, (network, (own_inputs, own_targets)) in enumerate(zip(networks, wide, strict=True)):
        own_loss = loss(network(own_inputs), own_targets)
        alone = own_loss.detach(), *torch.autograd.grad(own_loss, list(network.parameters()))
        stack = losses[number].detach(), *(gradient[number] for gradient in gradients)
        if not all(_is_close(*pair) for pair in zip(stack, alone, strict=True)):
            raise NotStacked(f"{name} gives other numbers in a stack")


def _wide(part: Tensor) -> Tensor:
    return part.double() if part.is_floating_point() else part


def _is_close(one: Tensor, other: Tensor) -> bool:
    """Tell whether tensors differ by no more than 1e-9 of the largest number."""
    largest = float(other.abs().nan_to_num().max())
    return torch.allclose(one, other, rtol=1e-9, atol=1e-9 * largest, equal_nan=True)


def first_batch(data: TensorDataModule) -> tuple[Tensor, Tensor]:
    return _batch(data, first=True)


def _batch(data: TensorDataModule, first: bool) -> tuple[Tensor, Tensor]:
    """The training samples as they lie there, the first of them or the last."""
    train = data.splits["train"]
    chosen = slice(data.batch_size) if first else slice(-data.batch_size, None)
    return data.prepare_inputs(train.inputs[chosen]), train.targets[chosen]


def _odd_data(data: Any) -> str | None:
    if not isinstance(data, TensorDataModule):
        return f"{type(data).__name__} is no TensorDataModule"
    hooks = overrides(data, TensorDataModule, NOT_ASKED)
    return f"{type(data).__name__} has a {hooks[0]} of its own" if hooks else data.why_no_blocks()


def _odd_module(module: Any) -> str | None:
    """What a stack would not know of a module, if anything."""
    name = type(module).__name__
    if not isinstance(module, SupervisedModule):
        return f"{name} is no SupervisedModule"
    between = type(module).__mro__[: type(module).__mro__.index(SupervisedModule)]
    own = [
        key
        for kind in between
        for key, value in vars(kind).items()
        if callable(value) and key != "__init__"
    ]
    if own:
        return f"{name} has a {own[0]} of its own"
    if {id(p) for p in module.parameters()} != {id(p) for p in module.network.parameters()}:
        return f"{name} has parameters outside its network"
    if any(True for _ in module.network.buffers()) or not all(
        p.requires_grad for p in module.parameters()
    ):
        return f"{name} has buffers, or parameters that are not trained"
    return optimizer.why_not_stacked(module.configure_optimizers())


def is_edited(train: Callable[..., Any]) -> bool:
    """Tell whether a function does anything else than the shipped one; comments do not count.

    An edited one may do anything, so its jobs run one by one.
    """
    try:
        (function,) = ast.parse(textwrap.dedent(inspect.getsource(train))).body
    except (OSError, TypeError, SyntaxError):
        return True
    if not isinstance(function, ast.FunctionDef) or len(function.decorator_list) != 1:
        return True
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return [ast.dump(line) for line in body] != [ast.dump(line) for line in ast.parse(SHIPPED).body]
