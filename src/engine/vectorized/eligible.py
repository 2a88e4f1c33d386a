"""Which jobs of a sweep may train together: those that differ only in seed, init and numbers of the optimiser."""

import json
from collections.abc import Sequence
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
NOT_ASKED = ("setup", "teardown", "state_dict", "load_state_dict", "val_dataloader", "test_dataloader", *BATCH_HOOKS)


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
    """Two of the jobs' data and modules, after a step of both together has given what each gives alone."""
    other = next((job for job in group if job.config["seed"] != group[0].config["seed"]), group[1])
    configs = [group[0].config, other.config]
    for config in configs:
        build.check(config)
    data: list[Any] = [build.datamodule(config) for config in configs]
    modules: list[Any] = [build.module(config, own) for config, own in zip(configs, data, strict=True)]
    for reason in (_odd_data(data[0]), _odd_module(modules[0])):
        if reason:
            raise NotStacked(reason)
    names = [name for name, _ in modules[0].network.named_parameters()]
    batches = [_batch(own, first) for own, first in zip(data, (True, False), strict=True)]  # of samples that differ
    samples = data[0].splits["train"].inputs[: data[0].batch_size]
    if not torch.equal(*(own.prepare_inputs(samples).nan_to_num() for own in data)):
        raise NotStacked(f"{type(data[0]).__name__} prepares the same inputs otherwise for each job")
    try:
        params = {name: torch.stack([m.network.get_parameter(name).detach() for m in modules]) for name in names}
        inputs, targets = (torch.stack(parts) for parts in zip(*batches, strict=True))
        predictions = stacked(modules[0].network)({n: p.requires_grad_() for n, p in params.items()}, inputs)
        losses = stacked_loss(modules[0].loss)(predictions, targets)
        gradients = torch.autograd.grad(losses.sum(), list(params.values()))
    except Exception as error:
        said = (str(error) or repr(error)).partition(". ")[0].splitlines()[0]
        raise NotStacked(f"{type(modules[0]).__name__}: {said}") from None
    for number, (module, (inputs, targets)) in enumerate(zip(modules, batches, strict=True)):
        loss = module.loss(module.network(inputs), targets)
        alone = loss.detach(), *torch.autograd.grad(loss, list(module.network.parameters()))
        together = losses[number].detach(), *(gradient[number] for gradient in gradients)
        if not all(_is_close(*pair) for pair in zip(together, alone, strict=True)):
            raise NotStacked(f"{type(module).__name__} gives other numbers in a stack")
    return data, modules


def _is_close(one: Tensor, other: Tensor) -> bool:
    """Whether they differ by rounding, which is relative to the largest of the numbers that were added up."""
    largest = float(other.abs().nan_to_num().max())
    return torch.allclose(one, other, rtol=1e-3, atol=1e-6 + 1e-3 * largest, equal_nan=True)


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
    own = [key for kind in between for key, value in vars(kind).items() if callable(value) and key != "__init__"]
    if own:
        return f"{name} has a {own[0]} of its own"
    if {id(p) for p in module.parameters()} != {id(p) for p in module.network.parameters()}:
        return f"{name} has parameters outside its network"
    if any(True for _ in module.network.buffers()) or not all(p.requires_grad for p in module.parameters()):
        return f"{name} has buffers, or parameters that are not trained"
    return optimizer.why_not_stacked(module.configure_optimizers())
