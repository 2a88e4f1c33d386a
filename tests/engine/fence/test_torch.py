"""What is relied on of PyTorch beyond its documentation: a new version breaks here, by name."""

import functools
import inspect
from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as of_modules
from torch.optim import optimizer as of_all
from torch.utils.data import DataLoader, Dataset, TensorDataset, get_worker_info

from engine.fence import torch as fence
from engine.fence.lightning import restart_workers

Hooks = list[Callable[[Any, Any], Any]]  # each registers a hook on a module or an optimiser

ON_MODULES: Hooks = [
    lambda module, _: module.register_forward_hook(lambda *args: None),
    lambda module, _: module.register_forward_pre_hook(lambda *args: None),
    lambda module, _: module.register_full_backward_hook(lambda *args: None),
    lambda module, _: module.register_full_backward_pre_hook(lambda *args: None),
]
ON_GRADIENTS: Hooks = [
    *ON_MODULES[2:],
    lambda module, _: module.weight.register_hook(lambda grad: None),
    lambda module, _: module.weight.register_post_accumulate_grad_hook(lambda p: None),
    lambda _, optimizer: optimizer.register_step_pre_hook(lambda *args: None),
    lambda _, optimizer: optimizer.register_step_post_hook(lambda *args: None),
    lambda _, optimizer: of_all.register_optimizer_step_pre_hook(lambda *args: None),
    lambda _, optimizer: of_all.register_optimizer_step_post_hook(lambda *args: None),
]
OF_ALL: list[Callable[[], Any]] = [
    lambda: of_modules.register_module_forward_hook(lambda *args: None),
    lambda: of_modules.register_module_forward_pre_hook(lambda *args: None),
    lambda: of_modules.register_module_full_backward_hook(lambda *args: None),
    lambda: of_modules.register_module_full_backward_pre_hook(lambda *args: None),
    lambda: of_modules.register_module_buffer_registration_hook(lambda *args: None),
    lambda: of_modules.register_module_module_registration_hook(lambda *args: None),
    lambda: of_modules.register_module_parameter_registration_hook(lambda *args: None),
    lambda: of_all.register_optimizer_step_pre_hook(lambda *args: None),
    lambda: of_all.register_optimizer_step_post_hook(lambda *args: None),
]


def linear() -> tuple[nn.Linear, torch.optim.Optimizer]:
    layer = nn.Linear(2, 2)
    return layer, torch.optim.SGD(layer.parameters(), lr=0.1)


def test_version_of_changes_whenever_a_tensor_is_written_into() -> None:
    tensor = torch.zeros(3)
    before = fence.version_of(tensor)
    _ = tensor + 1
    assert fence.version_of(tensor) == before
    tensor[1:].relu_()  # a view of it
    assert fence.version_of(tensor) != before


def test_a_pass_with_own_workers_begins_no_other_one_anew() -> None:
    numbers = TensorDataset(torch.arange(4))
    loader = DataLoader(numbers, num_workers=1, persistent_workers=True)
    batches = iter(loader)
    got = [next(batches)]
    assert len(list(fence.with_own_workers(loader))) == 4
    got += batches
    assert [int(own) for (own,) in got] == [0, 1, 2, 3]
    assert fence.with_own_workers(plain := DataLoader(numbers)) is plain
    del batches
    restart_workers(loader)


def test_batches_of_an_iterator_are_those_that_it_has_given() -> None:
    batches = iter(DataLoader([1, 2, 3]))  # type: ignore[arg-type]
    assert fence.batches_of(batches) == 0
    next(batches)
    assert fence.batches_of(batches) == 1
    assert fence.batches_of(iter([1])) is None


def test_hooks_of_has_a_number_for_each_hook() -> None:
    module, optimizer = linear()
    assert fence.hooks_of(module) == []
    handles = [hook(module, optimizer) for hook in ON_MODULES]
    numbers = fence.hooks_of(module)
    assert len(set(numbers)) == len(numbers) == 4
    handles[0].remove()
    assert len(fence.hooks_of(module)) == 3
    ON_MODULES[0](module, optimizer)
    assert fence.hooks_of(module) != numbers  # another hook, not the first one again


def test_only_forwards_finds_all_that_a_call_may_do_besides() -> None:
    module, optimizer = linear()
    forward = nn.Linear.forward
    assert fence.only_forwards(module, forward)
    for hook in ON_MODULES:
        handle = hook(module, optimizer)
        assert not fence.only_forwards(module, forward)
        handle.remove()
    module.compile()
    assert not fence.only_forwards(module, forward)
    module, _ = linear()
    module.forward = lambda inputs: inputs  # type: ignore[method-assign]
    assert not fence.only_forwards(module, forward)

    class Other(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs)

    assert not fence.only_forwards(Other(1, 1), forward)


@pytest.mark.parametrize("hook", ON_GRADIENTS)
def test_has_gradient_hooks_finds_each_kind(hook: Callable[..., Any]) -> None:
    layer, optimizer = linear()
    network = nn.Sequential(layer)
    layer.register_forward_hook(lambda *args: None)
    assert not fence.has_gradient_hooks(network, optimizer)
    handle = hook(layer, optimizer)
    assert fence.has_gradient_hooks(network, optimizer)
    handle.remove()
    assert not fence.has_gradient_hooks(network, optimizer)


def test_a_step_of_the_object_counts_as_a_hook_and_that_of_a_scheduler_does_not() -> None:
    layer, optimizer = linear()
    torch.optim.lr_scheduler.ConstantLR(optimizer)
    assert not fence.has_gradient_hooks(layer, optimizer)
    step = optimizer.step
    optimizer.step = lambda closure=None: step(closure)  # type: ignore[method-assign]
    assert fence.has_gradient_hooks(layer, optimizer)


@pytest.mark.parametrize("register", OF_ALL)
def test_hooks_of_all_has_each_kind_and_they_are_put_back(register: Callable[[], Any]) -> None:
    before = fence.hooks_of_all()
    assert not any(before)
    assert not fence.has_hooks_of_all()
    register()
    assert fence.has_hooks_of_all()
    assert [len(table) for table in fence.hooks_of_all()[:-1]].count(1) == 1
    fence.put_hooks_of_all(before)
    assert fence.hooks_of_all() == before
    # To have one kind of hooks upon gradients excludes the other, also when they are removed.
    of_modules.register_module_backward_hook(lambda *args: None).remove()
    fence.put_hooks_of_all(before)


def test_hooks_of_all_are_put_back_with_what_they_are_given() -> None:
    """As it happened: the number of a hook that was gone stayed among those that get keywords."""
    before = fence.hooks_of_all()
    of_modules.register_module_forward_hook(lambda *args: None, with_kwargs=True, always_call=True)
    fence.put_hooks_of_all(before)
    assert len(of_modules._global_forward_hooks_with_kwargs) == 0
    assert len(of_modules._global_forward_hooks_always_called) == 0


def test_a_hook_of_all_that_was_removed_is_none() -> None:
    """As it happened: torch keeps how it was called, so that later jobs trained one by one."""
    before = fence.hooks_of_all()
    of_modules.register_module_forward_hook(lambda *args: None, with_kwargs=True).remove()
    assert len(of_modules._global_forward_hooks_with_kwargs) == 1
    assert not fence.has_hooks_of_all()
    fence.put_hooks_of_all(before)


def gradients(backward: Callable[[Tensor], None]) -> list[Tensor | None]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
    network[0].bias.requires_grad_(False)
    for _ in range(2):  # they are summed
        backward(network(torch.randn(4, 3)).square().mean())
    return [parameter.grad for parameter in network.parameters()]


def test_backward_gives_the_gradients_of_torch() -> None:
    ours = gradients(lambda loss: fence.backward(loss, torch.ones_like(loss)))
    torchs = gradients(lambda loss: loss.backward())
    assert torchs[1] is ours[1] is None
    for one, other in zip(ours, torchs, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)  # type: ignore[arg-type]


def test_backward_refuses_what_torch_refuses() -> None:
    with pytest.raises(RuntimeError, match="does not require grad"):
        fence.backward(torch.tensor(1.0), torch.tensor(1.0))
    loss = torch.ones(1, requires_grad=True).square().sum()
    fence.backward(loss, torch.ones_like(loss))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        fence.backward(loss, torch.ones_like(loss))


class Counted(Tensor):
    """Counts the calls that concern it."""

    calls: ClassVar[list[str]] = []

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.calls.append(func.__name__)
        return super().__torch_function__(func, types, args, kwargs)


def test_backward_leaves_a_subclass_of_tensors_and_debug_messages_to_torch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    weight = torch.ones(1, requires_grad=True)
    fence.backward((weight * 2).sum().as_subclass(Counted), torch.tensor(1.0))
    assert "backward" in Counted.calls
    assert weight.grad == 2
    with caplog.at_level("DEBUG", torch.autograd.graph.log.name):
        fence.backward((weight * 3).sum(), torch.tensor(1.0))
    assert "MulBackward" in caplog.text
    assert weight.grad == 5


class Halves(torch.optim.SGD):
    """Halves the gradients before each step."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad /= 2
        return super().step(closure)


class Quarters(Halves):
    """Halves them once more, in a wrapper with the marks by which torch knows its own."""

    @functools.wraps(torch.optim.SGD.step)
    def step(self, closure: Any = None) -> Any:
        for parameter in self.param_groups[0]["params"]:
            parameter.grad /= 2
        return super().step(closure)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, Halves, Quarters])
def test_take_step_takes_the_optimisers_step(kind: Any) -> None:
    weights = [torch.ones(2, requires_grad=True) for _ in range(2)]
    ours, torchs = (kind([weight], lr=0.1) for weight in weights)
    for _ in range(3):
        for weight in weights:
            weight.grad = torch.tensor([1.0, -2.0])
        fence.take_step(ours)
        torchs.step()
    assert torch.equal(*weights)


def of_all_before(told: list[object], optimizer: Any) -> Any:
    return of_all.register_optimizer_step_pre_hook(lambda *args: told.append(args))


def of_all_after(told: list[object], optimizer: Any) -> Any:
    return of_all.register_optimizer_step_post_hook(lambda *args: told.append(args))


@pytest.mark.parametrize(
    "listen",
    [
        lambda told, optimizer: optimizer.register_step_pre_hook(lambda *args: told.append(args)),
        lambda told, optimizer: optimizer.register_step_post_hook(lambda *args: told.append(args)),
        of_all_before,
        of_all_after,
    ],
)
def test_take_step_tells_who_listens(listen: Callable[..., Any]) -> None:
    layer, optimizer = linear()
    layer.weight.grad = torch.ones(2, 2)
    told: list[object] = []
    handle = listen(told, optimizer)
    fence.take_step(optimizer)
    assert len(told) == 1
    handle.remove()
    fence.take_step(optimizer)
    assert len(told) == 1


def test_changes_its_step_finds_what_comes_before_a_step_of_the_optimiser() -> None:
    _, optimizer = linear()
    assert not fence.changes_its_step(optimizer)
    handle = optimizer.register_step_pre_hook(lambda *args: None)
    assert fence.changes_its_step(optimizer)
    handle.remove()
    optimizer.register_step_post_hook(lambda *args: None)
    assert not fence.changes_its_step(optimizer)
    handle = of_all.register_optimizer_step_pre_hook(lambda *args: None)
    assert fence.changes_its_step(optimizer)
    handle.remove()
    torch.optim.lr_scheduler.ConstantLR(optimizer)
    assert not fence.changes_its_step(optimizer)
    for is_scheduled in (False, True):
        _, optimizer = linear()
        own = MethodType(lambda self, closure=None: None, optimizer)
        optimizer.step = own  # type: ignore[method-assign]
        if is_scheduled:
            torch.optim.lr_scheduler.ConstantLR(optimizer)
        assert fence.changes_its_step(optimizer)


@pytest.mark.parametrize("is_scheduled", [False, True])
@pytest.mark.parametrize("is_changed", [False, True])
def test_has_step_of_a_schedule(is_changed: bool, is_scheduled: bool) -> None:
    _, optimizer = linear()
    if is_changed:
        optimizer.step = MethodType(lambda self: None, optimizer)  # type: ignore[method-assign]
    if is_scheduled:
        torch.optim.lr_scheduler.ConstantLR(optimizer)
    assert fence.has_step_of_a_schedule(optimizer) is (is_scheduled and not is_changed)


class KeepsHalf(torch.optim.SGD):
    """Begins a step with half of the gradients of the step before."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        for own in self.param_groups[0]["params"]:
            if own.grad is not None:
                own.grad.mul_(0.5)


def test_changes_its_step_finds_how_gradients_are_made_zero() -> None:
    weight = nn.Parameter(torch.ones(2))
    assert fence.changes_its_step(KeepsHalf([weight], lr=0.1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    optimizer.zero_grad = lambda set_to_none=True: None  # type: ignore[method-assign]
    assert fence.changes_its_step(optimizer)
    kinds = [own for own in vars(torch.optim).values() if isinstance(own, type)]
    own = [kind for kind in kinds if issubclass(kind, torch.optim.Optimizer)]
    assert len(own) > 10
    assert {kind.zero_grad for kind in own} == {torch.optim.Optimizer.zero_grad}


def test_take_step_tells_a_scheduler_and_a_profiler() -> None:
    layer, optimizer = linear()
    layer.weight.grad = torch.ones(2, 2)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        fence.take_step(optimizer)
    assert "Optimizer.step#SGD.step" in {event.key for event in profiler.key_averages()}
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer)
    fence.take_step(optimizer)
    scheduler.step()  # it would warn of steps of its own before the optimiser's


def test_hooks_on_saved_tensors_are_allowed_again() -> None:
    def square(x: Tensor) -> Tensor:
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t + 1, lambda t: t):
            y: Tensor = x * x
        return y

    torch._C._autograd._saved_tensors_hooks_disable("forbidden")
    x = torch.tensor(3.0, requires_grad=True)
    try:
        with pytest.raises(RuntimeError, match="forbidden"):
            square(x)
    finally:
        fence.allow_saved_tensor_hooks()
    square(x).backward()  # type: ignore[no-untyped-call]
    assert x.grad == 8.0


def test_compile_step_knows_the_arguments_of_this_torch() -> None:
    known = inspect.signature(torch.compile).parameters
    assert {"isolate_recompiles", "recompile_limit"} <= known.keys()
    assert {"cpp_wrapper", "fallback_random"} <= set(torch._inductor.list_options())
    assert callable(torch.compiler.keep_tensor_guards_unsafe)


OPTIONS = {"guard_filter_fn": torch.compiler.keep_tensor_guards_unsafe, "fallback_random": True}


def step_with(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Make a step of a network; all such steps have the same code."""

    def step(x: Tensor) -> Tensor:
        y: Tensor = network(x)
        return y

    return step


class OfTorch211:
    """`torch.compile` with the arguments of torch 2.11; it leaves out the slow part, inductor.

    What it cannot be given, it does not know: a call with another argument is a TypeError.
    """

    def __init__(self) -> None:
        self.compile = torch.compile
        self.options: list[Any] = []

    def __call__(
        self,
        model: Callable[..., Any],
        *,
        fullgraph: bool = False,
        dynamic: bool | None = None,
        backend: str = "inductor",
        mode: str | None = None,
        options: dict[str, Any] | None = None,
        disable: bool = False,
    ) -> Callable[..., Any]:
        self.options.append(dict(options or {}))
        kept = {"guard_filter_fn": (options or {})["guard_filter_fn"]}
        return self.compile(
            model, fullgraph=fullgraph, dynamic=dynamic, backend="eager", options=kept
        )


def test_compile_step_does_without_what_an_older_torch_does_not_know(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    older = OfTorch211()
    monkeypatch.setattr(torch, "compile", older)
    steps = [step_with(nn.Tanh()), step_with(nn.ReLU())]
    x = torch.linspace(-1, 1, 5)
    with caplog.at_level("INFO"):
        tanh, relu = (fence.compile_step(step, 64, options=OPTIONS) for step in steps)
    assert older.options == [OPTIONS, OPTIONS]
    (text, _) = caplog.messages
    assert text == (
        f"torch {torch.__version__} compiles steps without isolate_recompiles and recompile_limit: "
        "random numbers within a step may be others than in an eager one, and a change of what a "
        "class holds may go unnoticed"
    )
    for size in (5, 3):  # neither is taken for the other, though nothing guards the network
        torch.testing.assert_close(tanh(x[:size]), x[:size].tanh())
        torch.testing.assert_close(relu(x[:size]), x[:size].relu())


def test_without_a_copy_of_its_code_a_step_is_another_networks_in_an_older_torch() -> None:
    """What the copy is for; should this fail, `compile_step` need not copy."""
    older = OfTorch211()
    x = torch.linspace(-1, 1, 7)
    tanh, relu = (
        older(step_with(network), fullgraph=True, dynamic=False, options=OPTIONS)
        for network in (nn.Tanh(), nn.ReLU())
    )
    torch.testing.assert_close(tanh(x), x.tanh())
    torch.testing.assert_close(relu(x), x.tanh())


def test_compile_step_gives_this_torch_all_that_it_knows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given: dict[str, Any] = {}

    def newer(model: Any, *, recompile_limit: int, isolate_recompiles: bool, **others: Any) -> Any:
        given.update(others, recompile_limit=recompile_limit, isolated=isolate_recompiles)
        return model

    monkeypatch.setattr(torch, "compile", newer)
    step = step_with(nn.Tanh())
    with caplog.at_level("INFO"):
        assert fence.compile_step(step, 64, options=OPTIONS) is step
    assert given == {
        "fullgraph": True,
        "dynamic": False,
        "options": OPTIONS,
        "recompile_limit": 64,
        "isolated": True,
    }
    assert not caplog.messages


class AskedFor(Dataset[int]):
    """Says whether a worker knows another data set, with 3 samples."""

    def __getitem__(self, index: int) -> int:
        return len(get_worker_info().dataset)

    def __len__(self) -> int:
        return 1


def test_show_in_worker_is_what_a_worker_asks_for() -> None:
    shown = partial(_shown, [0, 0, 0])
    loader = DataLoader(AskedFor(), num_workers=1, worker_init_fn=shown)
    assert [int(length) for length in loader] == [3]


def _shown(dataset: list[int], worker_id: int) -> None:
    fence.show_in_worker(dataset)
