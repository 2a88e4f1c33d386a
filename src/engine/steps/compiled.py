"""A training step, from the forward pass to the optimiser's update, as one compiled function.

The state stays where it always is: parameters in the network, momenta in the optimiser. So whatever reads or saves them
(checkpoints, learning-rate schedules, histograms) goes on as ever, and a resumed run goes on exactly.
"""

import copy
import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.optim import Optimizer

from engine.fence.torch import compile_step, has_gradient_hooks, hooks_of
from engine.steps.cuda_graph import Graph
from engine.steps.pooling import PoolsByComparison
from engine.steps.updates import RULES, State, flags, numbers

log = logging.getLogger(__name__)

MOST_COMPILATIONS = 8  # of a run: more often, a network is not what it was before
MOST_SIZES = 64  # of batches


class CannotCompile(Exception):
    """Why a step cannot be compiled."""


class CompiledStep:
    """Called with a batch's inputs and targets, takes a training step; gives its loss and predictions, without grad.

    The optimiser must have taken one step before, which makes its state: `is_ready` says whether it has. On a GPU the
    compiled function is captured as a CUDA graph, one for each size of batch.

    Args:
        network: maps inputs to predictions.
        loss: maps (predictions, targets) to a scalar.
        optimizer: SGD, Adam or AdamW, over parameters of the network.

    Raises:
        CannotCompile: if the optimiser or its options are others, or there is no working compiler.
    """

    def __init__(self, network: nn.Module, loss: nn.Module, optimizer: Optimizer) -> None:
        check(network, optimizer)
        self.network, self.loss, self.optimizer = network, loss, optimizer
        self.groups = optimizer.param_groups
        self._made: list[
            Any
        ] = []  # what the function was compiled for, and with which tensors it was bound
        self._bound: list[int] = []
        self._compilations = 0

    @property
    def is_ready(self) -> bool:
        """Whether the optimiser has the state that a step updates."""
        state = self.optimizer.state
        return all(
            state.get(p)
            for group in self.groups
            if group.get("momentum") != 0
            for p in _trained(group)
        )

    def refresh(self, inputs: Tensor, targets: Tensor) -> None:
        """Notice what was replaced or changed since the last step: tensors, and how the network computes.

        Raises:
            CannotCompile: if it has to be compiled for that, which is tried on copies of the state, and cannot be.
        """
        state = self.optimizer.state
        made = [
            [_manner(module) for module in self.network.modules()],
            [len(_trained(group)) for group in self.groups],
            [has_gradient_hooks(self.network, self.optimizer)],
        ]
        tensors = [*self.network.parameters(), *self.network.buffers()]
        tensors += [t for entry in state.values() for t in entry.values() if isinstance(t, Tensor)]
        bound = [tensor.data_ptr() for tensor in tensors]
        is_new = made != self._made
        if not is_new and bound == self._bound:
            return
        self._made, self._bound = made, bound
        self._bind()
        if is_new:
            self._compilations += 1
            if self._compilations > MOST_COMPILATIONS:
                raise CannotCompile("the network's own attributes change again and again")
            check(self.network, self.optimizer)
            self._compile()
            self._try(inputs, targets)

    def _bind(self) -> None:
        """Take the tensors that network and optimiser hold now."""
        if not self.is_ready:
            raise CannotCompile("some parameters that are to be trained have no gradient")
        state, rule = self.optimizer.state, RULES[type(self.optimizer)]
        keys = [*rule.state, *(["step"] if rule.counts else [])]
        self.parameters = [p for group in self.groups for p in _trained(group)]
        self._values = [parameter.detach() for parameter in self.parameters]
        self._state = [
            {k: state[p][k] for k in keys if state[p].get(k) is not None} for p in self.parameters
        ]
        ours = set(self.parameters)
        self._fixed = {
            name: p.detach() for name, p in self.network.named_parameters() if p not in ours
        }
        self._fixed |= dict(self.network.named_buffers())
        tensors = [
            *self._values,
            *(t for s in self._state for t in s.values()),
            *self._fixed.values(),
        ]
        self._kept = (
            tensors if all(t.device.type == "cuda" for t in tensors) else []
        )  # Adam's step may be elsewhere
        self._graphs: dict[Any, Graph] = {}
        shape = len(self.groups), len(numbers(self.groups[0]))
        self._numbers = torch.empty(shape, dtype=torch.float64, device=self._values[0].device)
        self._numbers_are: list[tuple[float, ...]] = []

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        current = [numbers(group) for group in self.groups]
        if current != self._numbers_are:
            self._numbers_are = current
            self._numbers.copy_(torch.tensor(current, dtype=torch.float64))
        if not self._kept:
            return self._take(inputs, targets)
        size = inputs.shape, targets.shape
        if size not in self._graphs:
            self._graphs[size] = Graph(self._take, inputs, targets, self._kept)
        return self._graphs[size](inputs, targets)

    def _take(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        loss, predictions = self._step(
            self._values, self._state, self._fixed, self._numbers, inputs, targets
        )
        return loss, predictions

    def _try(self, inputs: Tensor, targets: Tensor) -> None:
        log.info("compiling the training step: up to a minute the first time, seconds from then on")
        values, states, fixed = copy.deepcopy((self._values, self._state, self._fixed))
        try:
            with torch.random.fork_rng([inputs.device] if inputs.device.type == "cuda" else []):
                leaves = [value.clone().requires_grad_() for value in values]
                loss, _ = self._forward(leaves, copy.deepcopy(fixed), inputs.clone(), targets)
                used = [
                    gradient is not None
                    for gradient in torch.autograd.grad(loss, leaves, allow_unused=True)
                ]
                if all(used):
                    self._step(values, states, fixed, self._numbers, inputs.clone(), targets)
        except Exception as error:  # of many kinds: from the network, the loss, the compiler
            raise CannotCompile(first_line(error)) from error
        if not all(used):
            raise CannotCompile("some parameters that are to be trained have no gradient")

    def _compile(self) -> None:
        name_of = {parameter: name for name, parameter in self.network.named_parameters()}
        names = [name_of[parameter] for parameter in self.parameters]
        group_of = [number for number, group in enumerate(self.groups) for _ in _trained(group)]
        rule = RULES[type(self.optimizer)]
        switches = [flags(group) for group in self.groups]
        network, loss_of = self.network, self.loss

        def forward(
            values: list[Tensor], fixed: State, inputs: Tensor, targets: Tensor
        ) -> tuple[Tensor, Tensor]:
            values = [_for_convolutions(value) for value in values]
            state = dict(zip(names, values, strict=True)) | fixed
            with PoolsByComparison():
                predictions = functional_call(network, state, (_for_convolutions(inputs),))
            return loss_of(predictions, targets), predictions

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

        self._forward = forward
        # Guards on the modules cost more than a small step. What they would notice, refresh() looks for once a block:
        # modes, plain attributes, hooks, and which parameters are trained.
        options = {
            "guard_filter_fn": torch.compiler.keep_tensor_guards_unsafe,
            "fallback_random": True,
        }
        if all(value.device.type == "cpu" for value in self._values):
            options["cpp_wrapper"] = True  # kernels are called from C++, which small steps gain by
        self._step = compile_step(step, MOST_SIZES, options)


def check(network: nn.Module, optimizer: Optimizer) -> None:
    """Find out whether a step can be compiled.

    Raises:
        CannotCompile: if not; it says why.
    """
    name = type(optimizer).__name__
    if type(optimizer) not in RULES:
        raise CannotCompile(f"there is no compiled update for {name}, only for SGD, Adam and AdamW")
    for group in optimizer.param_groups:
        for option in ("amsgrad", "maximize", "differentiable"):
            if group.get(option):
                raise CannotCompile(f"there is no compiled update for {name} with {option}")
        if any(isinstance(group.get(key), Tensor) for key in ("lr", "betas")):
            raise CannotCompile(f"{name}'s lr is a tensor")
    if has_gradient_hooks(network, optimizer):
        raise CannotCompile("there are hooks on gradients or on the optimiser's step")
    known = set(network.parameters())
    if any(p not in known for group in optimizer.param_groups for p in group["params"]):
        raise CannotCompile("parameters outside the network are trained")
    try:
        torch.compile(lambda x: x.sin() + 1, fullgraph=True)(torch.zeros(3))
    except Exception as error:  # of many kinds: no compiler, one that does not work, a folder that cannot be written
        raise CannotCompile(f"the compiler does not work: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """The first line of what an error says, with its type."""
    return f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0]


def _trained(group: dict[str, Any]) -> list[nn.Parameter]:
    return [parameter for parameter in group["params"] if parameter.requires_grad]


def _manner(module: nn.Module) -> list[Any]:
    """All of a module that may change what it computes, besides its tensors."""
    plain = [
        (k, v)
        for k, v in vars(module).items()
        if isinstance(v, bool | int | float | str | tuple | None)
    ]
    trained = [parameter.requires_grad for parameter in module.parameters(recurse=False)]
    return [plain, trained, hooks_of(module)]


def _for_convolutions(tensor: Tensor) -> Tensor:
    """Channels last, which convolutions want, within the compiled function only: the state keeps its strides."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
