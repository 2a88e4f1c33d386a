"""PyTorch: what is used of it beyond its documentation, or is only in its newest versions."""

import copy
import inspect
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Variable
from torch.autograd.graph import log as graph_log
from torch.nn.modules import module as of_modules
from torch.nn.modules.lazy import LazyModuleMixin
from torch.optim import Optimizer
from torch.optim import optimizer as of_all
from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler, SequentialLR
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data.dataloader import _BaseDataLoaderIter

log = logging.getLogger(__name__)
# The code of what torch puts around the `step` of each class of optimisers.
_AROUND_STEP = Optimizer.profile_hook_step(lambda: None).__code__
# Where layers, weights and optimisers keep the hooks of their steps.
_OF_LAYERS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_OF_FORWARD_HOOKS = ("_forward_hooks_always_called", "_forward_hooks_with_kwargs")  # who is how
_OF_PARTS = tuple(f"_{kind}_registration_hooks" for kind in ("buffer", "module", "parameter"))
_OF_ALL_LAYERS = (*_OF_LAYERS, *_OF_FORWARD_HOOKS, *_OF_PARTS)
_OF_WEIGHTS = ("_backward_hooks", "_post_accumulate_grad_hooks")
_OF_OPTIMIZERS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


def version_of(tensor: Tensor) -> int:
    """Returns a number that changes whenever a tensor is written into."""
    return tensor._version


def batches_of(iterator: Any) -> int | None:
    """Returns how many batches an iterator of a DataLoader has given; None for another object."""
    return iterator._num_yielded if isinstance(iterator, _BaseDataLoaderIter) else None


def iterates_itself(loader: DataLoader[Any]) -> bool:
    """Tells whether the class of a DataLoader makes batches in a way of its own."""
    names = ("__iter__", "_get_iterator")
    return any(getattr(type(loader), name) is not getattr(DataLoader, name) for name in names)


def hooks_of(module: nn.Module) -> list[int]:
    """Returns the numbers of a module's own hooks, forward and backward; no two are the same."""
    backward = [*module._backward_hooks, *module._backward_pre_hooks]
    return [*module._forward_hooks, *module._forward_pre_hooks, *backward]


def hook_names(owner: Any) -> list[str]:
    """Names the functions that are hooks of a layer, a weight or an optimiser, in their order.

    That of a lazy layer, which is gone when the layer knows its sizes, is left out. An optimiser of
    a user's need not be one of torch's.
    """
    is_weight = isinstance(owner, Tensor)
    found = _OF_LAYERS if isinstance(owner, nn.Module) else _OF_OPTIMIZERS
    each = (getattr(owner, name, None) for name in (_OF_WEIGHTS if is_weight else found))
    functions = [hook for hooks in each for hook in (hooks or {}).values()]
    names = [getattr(hook, "__qualname__", type(hook).__qualname__) for hook in functions]
    return [name for name in names if name != LazyModuleMixin._infer_parameters.__qualname__]


def weights_of(parts: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Returns the weights of layers by name; `named_parameters` takes twice as long."""
    return {
        f"{where}.{name}".lstrip("."): weight
        for where, part in parts.items()
        for name, weight in part._parameters.items()
        if weight is not None
    }


def tensors_by_place(module: nn.Module) -> dict[str, Tensor]:
    """Returns weights and buffers by name: one name of each layer, and each layer's own tensors.

    So `functional_call` wants them, with `tie_weights=False`. Given one tensor of a layer under two
    names, it puts the layer's tensor back under the first, and the call's under the second.
    """
    return {
        f"{where}.{name}".lstrip("."): tensor
        for where, part in module.named_modules()
        for own in (part.named_parameters, part.named_buffers)
        for name, tensor in own(recurse=False, remove_duplicate=False)
    }


def empty_buffers(module: nn.Module) -> list[str]:
    """Names the buffers that are None, and that a module's state would have otherwise."""
    return [
        f"{where}.{name}".lstrip(".")
        for where, part in module.named_modules()
        for name, buffer in part._buffers.items()
        if buffer is None and name not in part._non_persistent_buffers_set
    ]


def loads_in_its_own_way(part: nn.Module) -> bool:
    """Tells whether a layer's class, or a hook of a user's, says how the layer takes its state."""
    hooks = (getattr(own, "hook", own) for own in part._load_state_dict_pre_hooks.values())
    packages = {str(getattr(hook, "__module__", "")).partition(".")[0] for hook in hooks}
    is_own = type(part)._load_from_state_dict is not nn.Module._load_from_state_dict
    return is_own or not packages <= {"engine", "lightning", "torch"}


def only_forwards(module: nn.Module, forward: Callable[..., Any]) -> bool:
    """Tells whether a call of a module does no more than a function, its class's `forward`.

    It does more with a hook, a `forward` of a subclass or of the object, or `module.compile()`.
    """
    has_more = (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or module._compiled_call_impl
    )
    return not has_more and getattr(module.forward, "__func__", None) is forward


def hooks_of_all() -> list[Any]:
    """Returns copies of the tables of hooks that all modules and all optimisers have.

    The last is the kind of the hooks upon gradients: to have one kind excludes the other.
    """
    return [*map(dict, _tables_of_all()), of_modules._global_is_full_backward_hook]


def has_hooks_of_all() -> bool:
    """Tells whether all modules, or all optimisers, have a hook."""
    of_forward = [getattr(of_modules, f"_global{name}") for name in _OF_FORWARD_HOOKS]
    # torch leaves in these how a hook was that has been removed.
    return any(own for own in _tables_of_all() if all(own is not how for how in of_forward))


def put_hooks_of_all(found: Sequence[Any]) -> None:
    """Gives all modules and all optimisers the hooks that `hooks_of_all` returned."""
    *tables, kind = found
    for table, hooks in zip(_tables_of_all(), tables, strict=True):
        table.clear()
        table.update(hooks)
    of_modules._global_is_full_backward_hook = kind


def _tables_of_all() -> list[dict[int, Any]]:
    return [
        *(getattr(of_modules, f"_global{name}") for name in _OF_ALL_LAYERS),
        of_all._global_optimizer_pre_hooks,
        of_all._global_optimizer_post_hooks,
    ]


def has_gradient_hooks(network: nn.Module, optimizer: Optimizer) -> bool:
    """Tells whether there are hooks on gradients, or more than the class does in a step."""
    return bool(
        changes_its_step(optimizer)
        or optimizer._optimizer_step_post_hooks
        or of_all._global_optimizer_post_hooks
        or any(p._backward_hooks or p._post_accumulate_grad_hooks for p in network.parameters())
        or any(module._backward_hooks or module._backward_pre_hooks for module in network.modules())
    )


def backward(loss: Tensor, ones: Tensor) -> None:
    """Computes the gradients as `loss.backward()` does, which takes 20 µs longer on a CPU.

    These are for subclasses of tensors, for the threads of a GPU and for autograd's debug messages.

    Args:
        loss: a scalar.
        ones: 1.0 of its type, on its device.
    """
    if type(loss) is not Tensor or not loss.is_cpu or graph_log.isEnabledFor(logging.DEBUG):
        torch.autograd.backward(loss, ones)
        return
    engine: Any = Variable._execution_engine
    engine.run_backward(
        (loss,), (ones,), False, False, (), allow_unreachable=True, accumulate_grad=True
    )


def changes_its_step(optimizer: Optimizer) -> bool:
    """Tells whether an optimiser does more before its step than its class's own `step`.

    That is a hook, a step of the object, or another `zero_grad` than torch's. Lightning has the
    gradients computed within the step, so that this comes before them.
    """
    is_own = getattr(optimizer.zero_grad, "__func__", None) is not Optimizer.zero_grad
    is_own = is_own or ("step" in vars(optimizer) and not has_step_of_a_schedule(optimizer))
    return is_own or bool(optimizer._optimizer_step_pre_hooks or of_all._global_optimizer_pre_hooks)


def take_step(optimizer: Optimizer) -> None:
    """Calls `optimizer.step()`; without what torch puts around it where that has nothing to do.

    It would look for hooks, and tell a profiler, which takes 30 µs.
    """
    step: Any = type(optimizer).step
    is_told = (
        "step" in vars(optimizer)  # of a scheduler of learning rates, say
        or getattr(step, "__code__", None) is not _AROUND_STEP
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or of_all._global_optimizer_pre_hooks
        or of_all._global_optimizer_post_hooks
        or torch._C._autograd._profiler_enabled()
    )
    if is_told:
        optimizer.step()
    else:
        step.__wrapped__(optimizer)


def has_step_of_a_schedule(optimizer: Optimizer) -> bool:
    """Tells whether an optimiser's own `step` is that of its class, and a schedule counts it."""
    step = vars(optimizer).get("step")
    inner = getattr(step, "__wrapped__", None)
    return hasattr(step, "_wrapped_by_lr_sched") and inner is type(optimizer).step


def schedules_within(schedule: LRScheduler, calls: float) -> Iterator[tuple[LRScheduler, float]]:
    """Yields a schedule, or those that it has one after the other or at once.

    Each comes with the number of the last call that reaches it, counted from its own beginning.

    Args:
        schedule: of a training.
        calls: how often the training calls it.
    """
    if isinstance(schedule, SequentialLR):
        begins = (0, *schedule._milestones)
        ends = (*schedule._milestones, math.inf)
        for inner, begin, end in zip(schedule._schedulers, begins, ends, strict=True):
            yield from schedules_within(inner, min(calls, end - 1) - begin)
    elif isinstance(schedule, ChainedScheduler):
        for inner in schedule._schedulers:
            yield from schedules_within(inner, calls)
    else:
        yield schedule, calls


def with_own_workers(loader: Any) -> Any:
    """Returns a DataLoader whose persistent workers no other pass has; another one as it is.

    A persistent DataLoader has one iterator, and begins it anew for each pass.
    """
    if isinstance(loader, DataLoader) and loader.persistent_workers:
        loader = copy.copy(loader)
        loader._iterator = None
    return loader


def show_in_worker(dataset: object) -> None:
    """Makes `get_worker_info().dataset` another data set, in a worker of a DataLoader."""
    object.__setattr__(get_worker_info(), "dataset", dataset)


def allow_saved_tensor_hooks() -> None:
    """Allows hooks on saved tensors, as checkpoints of activations have, to this process again.

    torch.func forbids them, and a trace that fails within it leaves them so.
    """
    torch._C._autograd._saved_tensors_hooks_enable()


def compile_step(step: Callable[..., Any], sizes: int, **given: Any) -> Callable[..., Any]:
    """Compiles a step, once for each size of a batch, and apart from other steps of its code.

    What an older torch compiles belongs to a function's code. Without guards on modules, one
    network would be trained by the step of another, so there each step gets a copy of the code.

    Args:
        step: a function; other steps may have the same code.
        sizes: how many sizes of a batch there may be; an older torch raises an error after 8.
        given: the compiler's `options`, or a `backend`, as torch.compile takes them.
    """
    wanted = {"isolate_recompiles": True, "recompile_limit": sizes}
    known = inspect.signature(torch.compile).parameters
    if missing := [name for name in wanted if name not in known]:
        if "backend" not in given:
            log.info(
                "torch %s compiles steps without %s: random numbers within a step may be others "
                "than in an eager one, and a change of what a class holds may go unnoticed",
                torch.__version__,
                " and ".join(missing),
            )
        code = step.__code__.replace()
        step = FunctionType(code, step.__globals__, None, step.__defaults__, step.__closure__)
    given |= {name: value for name, value in wanted.items() if name in known}
    return torch.compile(step, fullgraph=True, dynamic=False, **given)
