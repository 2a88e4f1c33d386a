"""Takes a training step, from the forward pass to the optimiser's update, by a compiled function.

The state stays where PyTorch has it: parameters in the network, momenta in the optimiser. So
checkpoints, learning-rate schedules and histograms read and save it as in an ordinary run, and a
resumed run goes on exactly.
"""

import copy
import logging
import math
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.optim import Optimizer

from engine import signals
from engine.fence.lightning import asked_of_trainers
from engine.fence.torch import (
    allow_saved_tensor_hooks,
    compile_step,
    has_gradient_hooks,
    hooks_of,
    hooks_of_all,
    tensors_by_place,
)
from engine.seeds import kept
from engine.steps.dropout import DropsAsEager
from engine.steps.granted import MOST_SIZES, Granted
from engine.steps.pooling import PoolsByComparison
from engine.steps.updates import RULES, State, flags, numbers, why_not_plain

log = logging.getLogger(__name__)

MOST_COMPILATIONS = 8  # of a run: beyond that, the network changes again and again
MOST_BINDINGS = 100  # to other tensors: beyond that, a capture each time would take too long
MOST_VALUES = 1000  # of an attribute that are looked at
DEPTH = 4  # levels of its lists and records
ROUNDED = 0.02  # of the largest prediction: arithmetic in 16 bits rounds to less
OF_TORCH = {*vars(nn.Module())}  # attributes of each layer
NO_GRADIENT = "some parameters that are to be trained have no gradient"


class CannotCompile(Exception):
    """Says why a step cannot be compiled."""


class CompiledStep:
    """Takes a training step when it is called with a batch's inputs and targets (B, …).

    A call returns the loss, averaged or summed as `loss` has it, and the predictions, both without
    grad. The optimiser must have taken one step before, which makes its state: `is_ready` says
    whether it has. On a GPU the compiled function is captured as a CUDA graph, one for each size of
    batch.

    Args:
        network: maps inputs to predictions.
        loss: maps (predictions, targets) to a scalar.
        optimizer: SGD, Adam, AdamW or RMSprop, over parameters of the network.

    Raises:
        CannotCompile: if there is no compiled update for the optimiser or its options.
    """

    def __init__(self, network: nn.Module, loss: nn.Module, optimizer: Optimizer) -> None:
        check(network, optimizer)
        self.network, self.loss, self.optimizer = network, loss, optimizer
        roots = [one for one in (network, loss) if isinstance(one, nn.Module)]
        self._parts = [part for root in roots for part in root.modules()]
        self._compiled_for: list[Any] = []  # what the compiler does not look at, or we decide by
        self._addresses: list[int] = []  # of the tensors that the function is called with or reads
        # Of those that it reads, such as a plain attribute of a layer: in no state, and in a graph.
        self._read: list[int] = []
        self._compilations = self._bindings = 0

    @property
    def is_ready(self) -> bool:
        """Tells whether the optimiser has the state that a step updates."""
        return all(
            self.optimizer.state.get(parameter)
            for group in self.optimizer.param_groups
            if RULES[type(self.optimizer)].counts or group["momentum"] != 0
            for parameter in _trained(group)
        )

    def refresh(self, inputs: Tensor, targets: Tensor) -> None:
        """Notices which tensors were replaced since the last step, and what the network changed.

        A new compilation is tried on copies of the state.

        Raises:
            CannotCompile: if the optimiser does now what no compiled step does, or the step has to
                be compiled anew and cannot be, or the compiler does not work.
        """
        check(self.network, self.optimizer)
        if not self.is_ready:
            raise CannotCompile(f"{NO_GRADIENT}, or the optimiser has no state of theirs yet")
        groups = self.optimizer.param_groups
        tensors = [*self.network.parameters(), *self.network.buffers()]
        current = [
            len(tensors),  # more of them, where one that two layers share becomes two
            [hooks_of(part) for part in self._parts],
            [parameter.requires_grad for parameter in self.network.parameters()],
            [(len(_trained(group)), flags(group)) for group in groups],
            hooks_of_all(),
        ]
        for entry in self.optimizer.state.values():
            tensors += [value for value in entry.values() if isinstance(value, Tensor)]
        if not all(tensor.layout is torch.strided for tensor in tensors):
            raise CannotCompile("the network or the optimiser has a sparse tensor")
        own = [tensor.data_ptr() for tensor in tensors]
        is_other = current != self._compiled_for
        try:
            is_new = is_other or self._taken_for_granted() != self._granted_then
        except Exception as error:  # of many kinds, as of the compiler
            signals.heed()
            raise CannotCompile(first_line(error)) from error
        if not is_new and [*own, *self._read] == self._addresses:
            return
        self._compiled_for = current
        self._bind()
        if is_new:
            self._compilations += 1
            if self._compilations > MOST_COMPILATIONS:
                raise CannotCompile("what the network or the loss goes by changes again and again")
            self._compile(inputs, targets, is_other)
        self._addresses = [*own, *self._read]
        self._take = partial(self._step, self._values, self._state, self._fixed, self._numbers)

    def _taken_for_granted(self) -> int:
        """Returns a number that is another one if the step would not be compiled to the same.

        What the update goes by, besides tensors, is looked at elsewhere.
        """
        given = (*self._leaves, *self._fixed.values(), *self._example)
        addresses = {tensor.data_ptr() for tensor in given}
        number = self._granted(self._leaves, self._fixed, *self._example)
        self._read = [own for own in self._granted.addresses if own not in addresses]
        return number

    def _bind(self) -> None:
        """Takes the tensors that network and optimiser hold now."""
        state, groups = self.optimizer.state, self.optimizer.param_groups
        keys = (*RULES[type(self.optimizer)].state, "step")
        self._parameters = [parameter for group in groups for parameter in _trained(group)]
        self._values = [parameter.detach() for parameter in self._parameters]
        self._leaves = [value.detach().requires_grad_() for value in self._values]
        self._state = [
            {key: state[p][key] for key in keys if state[p].get(key) is not None}
            for p in self._parameters
        ]
        numbers_of: dict[Tensor, int] = {own: n for n, own in enumerate(self._parameters)}
        places = tensors_by_place(self.network)
        self._places = {at: numbers_of[own] for at, own in places.items() if own in numbers_of}
        self._fixed = {
            at: own.detach() if isinstance(own, nn.Parameter) else own
            for at, own in places.items()
            if at not in self._places
        }
        self._tensors = [*self._values, *self._fixed.values()]
        self._tensors += [tensor for entry in self._state for tensor in entry.values()]
        # Adam may count its steps in a tensor on the CPU, which no graph can update.
        is_on_gpu = all(tensor.device.type == "cuda" for tensor in self._tensors)
        self._bindings += 1
        self._has_graphs = is_on_gpu and self._bindings <= MOST_BINDINGS
        if is_on_gpu and self._bindings == MOST_BINDINGS + 1:
            log.info("steps are no longer captured: tensors are replaced again and again")
        self._graphs: dict[Any, Graph] = {}
        self._current_numbers = [numbers(group) for group in groups]
        self._numbers = torch.tensor(
            self._current_numbers, dtype=torch.float64, device=self._values[0].device
        )

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        current = [numbers(group) for group in self.optimizer.param_groups]
        if current != self._current_numbers:
            self._current_numbers = current
            self._numbers.copy_(torch.tensor(current, dtype=torch.float64))
        if not self._has_graphs:
            return self._take(inputs, targets)
        size = inputs.shape, targets.shape
        if size not in self._graphs:
            self._graphs[size] = Graph(self._take, inputs, targets, self._tensors)
        return self._graphs[size](inputs, targets)

    def _compile(self, inputs: Tensor, targets: Tensor, is_other: bool) -> None:
        """Makes the compiled step, and tries it on copies of the state.

        Args:
            inputs: of a batch.
            targets: of a batch.
            is_other: whether other tensors are updated than before, or in another way.
        """
        groups, rule = self.optimizer.param_groups, RULES[type(self.optimizer)]
        group_of = [number for number, group in enumerate(groups) for _ in _trained(group)]
        switches = [flags(group) for group in groups]
        network, loss_of, places = self.network, self.loss, self._places
        assigned: list[str] = []  # buffers that the network does not write into, but replaces

        def plain(
            values: list[Tensor], fixed: State, inputs: Tensor, targets: Tensor
        ) -> tuple[Tensor, Tensor]:
            state = {at: values[number] for at, number in places.items()} | fixed
            predictions = functional_call(network, state, (inputs,), tie_weights=False)
            if not torch.compiler.is_compiling():
                assigned.extend(at for at, value in fixed.items() if state[at] is not value)
            return loss_of(predictions, targets), predictions

        def forward(
            values: list[Tensor], fixed: State, inputs: Tensor, targets: Tensor
        ) -> tuple[Tensor, Tensor]:
            values = [_for_convolutions(value) for value in values]
            with PoolsByComparison(), DropsAsEager():
                return plain(values, fixed, _for_convolutions(inputs), targets)

        def step(
            values: list[Tensor],
            states: list[State],
            fixed: State,
            numbers: Tensor,
            inputs: Tensor,
            targets: Tensor,
        ) -> tuple[Tensor, Tensor]:
            gradients, (loss, predictions) = grad_and_value(forward, has_aux=True)(
                values, fixed, inputs, targets
            )
            for value, gradient, state, group in zip(
                values, gradients, states, group_of, strict=True
            ):
                count = state["step"].add_(1).double() if rule.counts else None
                scalars = rule.scalars(count, *numbers[group].unbind())
                by = {name: scalar.to(value.dtype) for name, scalar in scalars.items()}
                rule.update(value, gradient, state, by, switches[group])
            return loss, predictions

        # Guards on all that is read would cost more than a small step: `_granted` has them.
        options: dict[str, Any] = {
            "guard_filter_fn": torch.compiler.keep_tensor_guards_unsafe,
            "fallback_random": True,
            # On the CPU, C++ calls the kernels, which makes small steps faster.
            "cpp_wrapper": all(value.device.type == "cpu" for value in self._values),
        }
        self._step: Callable[..., tuple[Tensor, Tensor]] = compile_step(
            step, MOST_SIZES, options=options
        )
        if is_other:
            self._granted, self._example = Granted(forward), (inputs.clone(), targets.clone())
        log.info("compiling the training step: up to a minute the first time, seconds from then on")
        has_run = sees_weights = goes_on = False
        difference = 0.0
        changed: str | None = None
        before = [
            {name: _Kept(value) for name, value in own_attributes(part).items()}
            for part in self._parts
        ]
        buffers = list(loss_of.buffers()) if isinstance(loss_of, nn.Module) else []
        kept_buffers = copy.deepcopy(buffers)

        def put_back() -> None:
            nonlocal changed
            changed = _put_back(self._parts, before) or changed
            for buffer, value in zip(buffers, kept_buffers, strict=True):
                buffer.copy_(value)

        try:
            values, states, fixed = copy.deepcopy((self._values, self._state, self._fixed))
            on_gpu = [inputs.device] if inputs.device.type == "cuda" else []
            same_draws = partial(torch.random.fork_rng, on_gpu)
            with kept():
                leaves = [value.clone().requires_grad_() for value in values]
                batch = inputs.clone(), targets.clone()
                with asked_of_trainers() as asked, same_draws():
                    loss, expected = plain(leaves, copy.deepcopy(fixed), *batch)
                    with torch.no_grad():
                        _, predictions = forward(values, copy.deepcopy(fixed), *batch)
                    # Predictions have no graph here, but a penalty on the weights has.
                    sees_weights = loss_of(predictions, batch[1]).requires_grad
                    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
                    has_run = True  # without the compiler
                    all_used = all(gradient is not None for gradient in gradients)
                put_back()
                if not (asked or sees_weights or assigned or changed) and all_used:
                    self._granted_then = self._taken_for_granted()
                    with torch.no_grad(), same_draws():
                        forward(values, copy.deepcopy(fixed), *batch)
                    goes_on = self._taken_for_granted() != self._granted_then
                    if not goes_on:
                        put_back()
                        with same_draws():
                            found = self._step(values, states, fixed, self._numbers, *batch)
                        difference = _difference(found, (loss, expected))
        except Exception as error:  # of many kinds: from the network, the loss, the compiler
            signals.heed()
            fault = fault_of_compiler(inputs.device, options["cpp_wrapper"]) if has_run else None
            raise CannotCompile(fault or first_line(error)) from error
        finally:
            allow_saved_tensor_hooks()
            put_back()
        if asked:  # the number of the step or the epoch, say, would stay what it is now
            raise CannotCompile("the network or the loss goes by what its trainer says")
        if sees_weights:
            raise CannotCompile("the loss looks at the weights, and not at predictions only")
        if not all_used:
            raise CannotCompile(NO_GRADIENT)
        if changed or assigned:
            raise CannotCompile(f"a step changes {changed or assigned[0]}")
        if goes_on:
            raise CannotCompile(
                "a step, and so this try, changes what it goes by, outside of network and loss"
            )
        # Compiled all the same: a resumed run compiles with other weights, which may differ less.
        if difference > ROUNDED:
            log.warning(
                "compile=true: a compiled step predicts otherwise than an eager one, by "
                "%.2g of what is largest: it draws random numbers in another order, or is wrong",
                difference,
            )


class Graph:
    """Takes a step for batches of one size by replaying a CUDA graph.

    Args:
        step: maps inputs and targets to loss and predictions.
        inputs: (B, …), an example of the size.
        targets: (B, …), an example of the size.
        state: the tensors that the step updates. The step runs to warm up; then the tensors get
            back their values.
    """

    def __init__(
        self,
        step: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        inputs: Tensor,
        targets: Tensor,
        state: Sequence[Tensor],
    ) -> None:
        self.inputs, self.targets = inputs.clone(), targets.clone()
        before = [tensor.clone() for tensor in state]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step(self.inputs, self.targets)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss, self.predictions = step(self.inputs, self.targets)
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        self.inputs.copy_(inputs)
        self.targets.copy_(targets)
        self.graph.replay()
        return self.loss.clone(), self.predictions.clone()


def check(network: nn.Module, optimizer: Optimizer) -> None:
    """Finds out whether a step can be compiled.

    Raises:
        CannotCompile: if a step cannot be compiled; the error says why.
    """
    groups, parameters = optimizer.param_groups, set(network.parameters())
    no_update = f"there is no compiled update for {type(optimizer).__name__}"
    options = ("amsgrad", "maximize", "differentiable")
    reasons = {
        f"{no_update}, only for SGD, Adam, AdamW and RMSprop": type(optimizer) not in RULES,
        **{f"{no_update} with {key}": any(group.get(key) for group in groups) for key in options},
        f"{no_update} of complex parameters": any(own.is_complex() for own in parameters),
        "there are hooks on gradients or on the optimiser's step": has_gradient_hooks(
            network, optimizer
        ),
        "parameters outside the network are trained": any(
            parameter not in parameters for group in groups for parameter in group["params"]
        ),
        "no parameter is to be trained": not any(map(_trained, groups)),
    }
    for reason, holds in reasons.items():
        if holds:
            raise CannotCompile(reason)
    if tensor := why_not_plain(optimizer):
        raise CannotCompile(tensor)


def fault_of_compiler(device: torch.device, cpp_wrapper: bool) -> str | None:
    """Compiles next to nothing, as a step is compiled, and returns what keeps it from that, if so.

    It is asked after a step could not be compiled. It takes seconds the first time.
    """
    options: dict[str, Any] = {"cpp_wrapper": cpp_wrapper}
    try:
        numbers = torch.zeros(3, device=device)
    except RuntimeError:  # the GPU's memory is full, or it takes no more orders
        return None
    try:
        torch.compile(lambda x: x.sin() + 1, fullgraph=True, options=options)(numbers)
    except Exception as error:  # of many kinds: no compiler, a broken one, an unwritable folder
        return f"the compiler does not work: {first_line(error)}"
    return None


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, after the error's type.

    What a line introduces with a colon at its end belongs to it.
    """
    message = re.sub(r":\s*\n\s*", ": ", str(error).strip())
    return f"{type(error).__name__}: {message}".partition("\n")[0]


def _trained(group: dict[str, Any]) -> list[nn.Parameter]:
    return [parameter for parameter in group["params"] if parameter.requires_grad]


def own_attributes(module: nn.Module) -> dict[str, Any]:
    """Returns a module's own attributes, besides those of each layer."""
    return {name: value for name, value in vars(module).items() if name not in OF_TORCH}


def _constants(value: Any, most: int = MOST_VALUES, depth: int = DEPTH) -> Any:
    """Returns what a compiled function has inside of a value: numbers and words, not tensors.

    Args:
        value: an attribute, or an element of one.
        most: the values that are looked at; a larger list counts as the object that it is.
        depth: the levels of lists and records that are looked into.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return type(value), "nan" if value != value else value
    if isinstance(value, Tensor):
        return Tensor
    is_record = _is_record(value)
    if depth and (is_record or isinstance(value, dict | list | tuple | set | deque)):
        inner = vars(value) if is_record else value
        items = list(inner.items() if isinstance(inner, dict) else inner)
        if len(items) <= most:
            left = most // max(1, len(items))
            return [type(value), *(_constants(one, left, depth - 1) for one in items)]
    return id(value)


def _tensors(value: Any, depth: int = DEPTH) -> Any:
    """Returns which tensors are in a value: an attribute, or an element of one."""
    if isinstance(value, Tensor):
        return id(value)
    if depth and isinstance(value, dict | list | tuple) and len(value) <= MOST_VALUES:
        items = value.values() if isinstance(value, dict) else value
        return [_tensors(one, depth - 1) for one in items]
    return None


def _is_record(value: Any) -> bool:
    """Tells whether a value is an object with numbers of its own, such as a dataclass."""
    if isinstance(value, (nn.Module, type, Enum, ModuleType)) or callable(value):
        return False
    try:
        return type(vars(value)) is dict
    except Exception:  # it has none, or does what it likes
        return False


def _copied(value: Any, depth: int = DEPTH) -> Any:
    """Returns a copy of nested lists and dicts, with the same objects in them."""
    if depth and type(value) is dict:
        return {key: _copied(one, depth - 1) for key, one in value.items()}
    if depth and type(value) in (list, tuple):
        return type(value)(_copied(one, depth - 1) for one in value)
    return copy.copy(value) if isinstance(value, dict | list | set | deque) else value


class _Kept:
    """Holds an attribute as it was before a try.

    Args:
        value: of the attribute.
    """

    def __init__(self, value: Any) -> None:
        self.constants, self.tensors = _constants(value), _tensors(value)
        self.value = value if _is_record(value) else _copied(value)
        self.inner = _copied(vars(value)) if _is_record(value) else None

    def put_back(self, part: nn.Module, name: str) -> None:
        if self.inner is not None:
            vars(self.value).clear()
            vars(self.value).update(_copied(self.inner))
        setattr(part, name, _copied(self.value))  # the next try may write into it


def _put_back(parts: Sequence[nn.Module], before: Sequence[dict[str, _Kept]]) -> str | None:
    """Gives attributes what they had before a try; names the last one that had changed.

    Tensors that a layer has made for itself, such as a table that it looks up, stay.
    """
    changed = None
    for part, then in zip(parts, before, strict=True):
        now = own_attributes(part)
        for name in sorted(now.keys() | then.keys()):
            if name not in then and isinstance(now[name], Tensor):
                continue
            if name in then and name in now and _constants(now[name]) == then[name].constants:
                if _tensors(now[name]) != then[name].tensors:  # such as the weights of an LSTM
                    then[name].put_back(part, name)
                continue
            changed = f"{type(part).__name__}.{name}"
            if name in then:
                then[name].put_back(part, name)
            else:
                delattr(part, name)
    return changed


def _difference(found: tuple[Any, Any], expected: tuple[Any, Any]) -> float:
    """Returns how much losses or predictions differ, as a part of the largest prediction.

    A loss may be small as the difference of large numbers, or of their squares. Tensors with
    numbers that are not finite in an eager step are not compared.
    """
    predictions = _apart(found[1], expected[1])
    scale = max((largest for _, largest in predictions), default=0.0)
    losses = [(apart, max(own, scale, scale**2)) for apart, own in _apart(found[0], expected[0])]
    parts = [*((apart, scale) for apart, _ in predictions), *losses]
    return max((apart / of if of else math.inf for apart, of in parts if apart), default=0.0)


def _apart(found: Any, expected: Any) -> list[tuple[float, float]]:
    """Returns for each tensor how far both are apart, and the largest number that is expected."""
    pairs = zip(_numbers_in(found), _numbers_in(expected), strict=True)
    return [
        (float((ours - right).abs().max().nan_to_num(math.inf)), float(right.abs().max()))
        for ours, right in pairs
        if right.numel() and right.isfinite().all()
    ]


def _numbers_in(values: Any) -> list[Tensor]:
    """Returns the tensors of real or complex numbers in nested tuples, lists and mappings."""
    if isinstance(values, Tensor):
        return [values.detach()] if values.is_floating_point() or values.is_complex() else []
    inner = values.values() if isinstance(values, Mapping) else values
    is_open = isinstance(values, Mapping | list | tuple)
    return [own for value in inner for own in _numbers_in(value)] if is_open else []


def _for_convolutions(tensor: Tensor) -> Tensor:
    """Returns images (N, C, H, W) with their channels last in memory, as convolutions want them.

    Only the compiled function sees that: the state keeps its strides.
    """
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
