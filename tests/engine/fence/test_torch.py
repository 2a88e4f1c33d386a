"""What is relied on of PyTorch beyond its documentation: a new version breaks here, by name."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, get_worker_info

from engine.fence import torch as fence

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
        tanh, relu = (fence.compile_step(step, 64, OPTIONS) for step in steps)
    assert older.options == [OPTIONS, OPTIONS]
    (text, _) = caplog.messages
    assert text == (
        f"torch {torch.__version__} compiles steps without isolate_recompiles and recompile_limit"
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
        assert fence.compile_step(step, 64, OPTIONS) is step
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
