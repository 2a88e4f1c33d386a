"""The compiled step, against torch.optim and against the same run step by step."""

import copy
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import Tensor, nn
from torch._inductor import config
from torch._inductor.utils import fresh_cache
from torch.optim import LBFGS, SGD, Adagrad, Adam

import compiling
from commands import run_train
from engine.callbacks.checkpoints import Checkpoints
from engine.callbacks.step_seed import StepSeed
from engine.run.folders import LAST
from engine.schedules import cosine, one_cycle
from engine.steps import compiled
from engine.steps import trainer as trainer_module
from engine.steps.callback import StepCallback
from engine.steps.compiled import CannotCompile, CompiledStep
from engine.supervised import SupervisedModule
from fitting import OPTIMIZERS, Arrays, Crashes, columns, plain_trainer
from project.modules.two_layer_by_hand import TwoLayerByHand

RNG = np.random.default_rng(0)
TENSORS: Any = torch.tensor([0.9, 0.99]).unbind()
X, Y = RNG.normal(size=(31, 6)), RNG.normal(size=(31, 2))
SAME = OPTIMIZERS["nesterov"]  # where any will do: another one's step takes seconds to compile


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2)
    )


def fit(
    folder: Path,
    is_compiled: bool,
    steps: int = 100,
    optimizer: Any = None,
    last: Path | None = None,
    samples: int = 28,
    **options: Any,
) -> SupervisedModule:
    """Train for 2 × 13 steps in 64 bits, by batches of 4.

    With 31 samples, the last batch of a pass is one of 3, for which the step is compiled again.
    """
    folder.mkdir(exist_ok=True)
    made = options.pop("network", None) or network()
    module = options.pop("module", None) or SupervisedModule(
        made, nn.MSELoss(), optimizer=optimizer or SAME
    )
    callbacks = [StepSeed(3), Checkpoints(5, "val/loss", "min"), *options.pop("callbacks", [])]
    trainer = plain_trainer(
        folder,
        compiled=is_compiled,
        steps_per_call=steps,
        callbacks=callbacks,
        enable_checkpointing=True,
        **{"precision": "64-true", "max_epochs": 2, "log_every_n_steps": 3, **options},
    )
    splits = {"train": (X[:samples], Y[:samples]), "val": (X, Y)}
    data = Arrays(splits, seed=4, batch_size=4, steps_per_epoch=13)
    trainer.precision_plugin.convert_module(module)
    trainer.fit(module, data, ckpt_path=last, weights_only=True)
    return module


def noisy(inputs: Tensor) -> Tensor:
    return inputs + torch.rand(len(inputs), 1, dtype=inputs.dtype)


@pytest.fixture
def without_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "BLOCK_SECONDS", 1e9)


@pytest.fixture
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiles to PyTorch's own operations."""
    monkeypatch.setattr(torch, "compile", compiling.by("aot_eager"))


def tensors(checkpoint: Any) -> list[Tensor]:
    """All tensors of weights, buffers and the optimiser's state."""
    states = [
        state
        for optimizer in checkpoint["optimizer_states"]
        for state in optimizer["state"].values()
    ]
    return [
        *checkpoint["state_dict"].values(),
        *(t for s in states for t in s.values() if isinstance(t, Tensor)),
    ]


def assert_equal_to_rounding(ours: Path, eager: Path) -> None:
    """Compares the last checkpoints and the rows of two runs."""
    saved, right = (torch.load(run / LAST, weights_only=True) for run in (ours, eager))
    for found, expected in zip(tensors(saved), tensors(right), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)
    assert saved["loops"]["fit_loop"] == right["loops"]["fit_loop"]
    assert saved["lr_schedulers"] == right["lr_schedulers"]
    for found_loss, loss in zip(
        *(columns(run, "train/loss")[0] for run in (ours, eager)), strict=True
    ):
        assert found_loss == pytest.approx(loss, rel=1e-11)


def assert_equal(ours: Path, theirs: Path) -> None:
    """Compares the last checkpoints and the rows of two runs, bit by bit."""
    saved, right = (torch.load(run / LAST, weights_only=True) for run in (ours, theirs))
    assert all(torch.equal(a, b) for a, b in zip(tensors(saved), tensors(right), strict=True))
    assert (ours / "metrics.csv").read_text() == (theirs / "metrics.csv").read_text()


@pytest.fixture
def compiled_steps(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[list[CompiledStep]]:
    """Lists the steps that are compiled, once for each compilation; none may end in eager steps."""
    steps: list[CompiledStep] = []
    compile_once = CompiledStep._compile

    def noted(self: CompiledStep, *given: Any) -> None:
        compile_once(self, *given)
        steps.append(self)

    monkeypatch.setattr(CompiledStep, "_compile", noted)
    yield steps
    assert "the steps are not compiled" not in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("without_hurry")
@pytest.mark.parametrize(
    ("name", "samples", "schedule"),
    [
        ("nesterov", 31, None),
        ("adamw", 28, partial(one_cycle, start=3.0)),
        ("rmsprop, centred", 28, cosine),
    ],
)
def test_a_compiled_run_is_the_eager_one(
    name: str, samples: int, schedule: Any, tmp_path: Path, compiled_steps: list[CompiledStep]
) -> None:
    """Compares to rounding, with batch statistics and dropout; and blocks of all sizes exactly.

    A schedule gives another learning rate, and another beta1, at each step: the numbers of one
    compiled function change.
    """
    for folder, is_compiled, steps in (("eager", False, 100), ("1", True, 1), ("100", True, 100)):
        module = SupervisedModule(
            network(), nn.MSELoss(), optimizer=OPTIMIZERS[name], scheduler=schedule
        )
        fit(tmp_path / folder, is_compiled, steps, module=module, samples=samples)
    assert len(compiled_steps) == 2
    assert_equal_to_rounding(tmp_path / "1", tmp_path / "eager")
    assert_equal(tmp_path / "100", tmp_path / "1")
    if schedule:
        rates, right = (columns(tmp_path / folder, "lr")[0] for folder in ("1", "eager"))
        assert rates == right
        assert len(set(rates)) == len(rates)


@pytest.mark.usefixtures("without_hurry", "traced_only")
@pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval")
def test_gradients_that_begin_to_accumulate_on_the_way_are_not_compiled(
    tmp_path: Path, compiled_steps: list[CompiledStep], caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: a compiled step updated the weights for each batch."""
    for folder, is_compiled in (("eager", False), ("compiled", True)):
        gathers = GradientAccumulationScheduler({1: 3, 2: 1})
        fit(tmp_path / folder, is_compiled, 100, max_epochs=3, callbacks=[gathers])
    assert len(compiled_steps) == 1
    assert_equal_to_rounding(tmp_path / "compiled", tmp_path / "eager")
    assert caplog.text.count("the steps are not compiled: trainer.accumulate_grad_batches=3") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("without_hurry")
def test_an_augmented_compiled_run_is_the_eager_one(
    tmp_path: Path, compiled_steps: list[CompiledStep]
) -> None:
    """Compares to rounding; and blocks of all sizes exactly. The network draws, too."""
    for folder, is_compiled, steps in (("eager", False, 100), ("1", True, 1), ("100", True, 100)):
        augment = {"noisy": noisy, "masked": nn.Dropout(0.2)}
        module = SupervisedModule(network(), nn.MSELoss(), optimizer=SAME, augment=augment)
        fit(tmp_path / folder, is_compiled, steps, module=module)
    assert len(compiled_steps) == 2
    assert_equal_to_rounding(tmp_path / "1", tmp_path / "eager")
    assert_equal(tmp_path / "100", tmp_path / "1")


@pytest.mark.slow
@pytest.mark.usefixtures("without_hurry")
def test_a_compiled_run_resumes_exactly(tmp_path: Path, compiled_steps: list[CompiledStep]) -> None:
    """By blocks of another size, too."""
    fit(tmp_path / "whole", True)
    with pytest.raises(RuntimeError, match="crash"):
        fit(tmp_path / "parts", True, callbacks=[Crashes(18)])
    fit(tmp_path / "parts", True, 7, last=tmp_path / "parts" / LAST)
    assert len(compiled_steps) == 3
    saved, right = (
        torch.load(tmp_path / run / LAST, weights_only=True) for run in ("parts", "whole")
    )
    assert all(torch.equal(a, b) for a, b in zip(tensors(saved), tensors(right), strict=True))


@pytest.mark.slow
def test_whoever_looks_into_a_step_sees_its_gradients(
    tmp_path: Path, compiled_steps: list[CompiledStep]
) -> None:
    class Gradients(StepCallback):
        """Keeps the first gradient of steps 4 and 9."""

        looks_inside = True

        def __init__(self) -> None:
            self.seen: list[Tensor | None] = []

        def watches(self, trainer: Any, step: int, batch_idx: int) -> bool:
            return step in (4, 9)

        def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
            if trainer.global_step in (4, 9):
                self.seen.append(module.network[0].weight.grad.clone())

    compiled_one, eager = Gradients(), Gradients()
    fit(tmp_path / "compiled", True, callbacks=[compiled_one], max_epochs=1)
    fit(tmp_path / "eager", False, callbacks=[eager], max_epochs=1)
    assert len(compiled_steps) == 1
    assert len(eager.seen) == 2
    for found, expected in zip(compiled_one.seen, eager.seen, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.slow
def test_what_is_frozen_or_replaced_on_the_way_is_noticed(
    tmp_path: Path, compiled_steps: list[CompiledStep]
) -> None:
    class Freezes(StepCallback):
        """Freezes some layers after an epoch, and replaces the optimiser's state."""

        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
            if trainer.current_epoch == 1:
                module.network[1].eval()
                module.network[4].requires_grad_(False)
                trainer.optimizers[0].load_state_dict(
                    copy.deepcopy(trainer.optimizers[0].state_dict())
                )

    modules = [
        fit(tmp_path / str(c), c, callbacks=[Freezes()], limit_val_batches=0) for c in (False, True)
    ]
    for found, expected in zip(
        modules[1].state_dict().values(), modules[0].state_dict().values(), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)
    assert modules[1].network[1].num_batches_tracked == 13
    assert len(compiled_steps) == 2


def double(parameter: Tensor) -> None:
    assert parameter.grad is not None
    parameter.grad.mul_(2)


class Changes(StepCallback):
    """Changes something of a network at the start of each epoch, and keeps the weights before."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        first, *_, dropout, last = module.network
        self.weights.append(copy.deepcopy(module.network.state_dict()))
        if trainer.current_epoch == 1:
            dropout.p = 0.0
        elif trainer.current_epoch == 2:
            last.requires_grad_(True)
        elif trainer.current_epoch == 3:
            first.register_forward_hook(lambda layer, inputs, output: 2 * output)
        elif trainer.current_epoch == 4:
            first.weight.register_post_accumulate_grad_hook(double)


@pytest.mark.slow
@pytest.mark.usefixtures("traced_only")
def test_what_changes_on_the_way_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A frozen layer does not keep the others from being compiled; a hook on a gradient does."""
    caplog.set_level(logging.INFO, logger="engine")
    found, expected = Changes(), Changes()
    for is_compiled, changes in ((True, found), (False, expected)):
        made = network()
        made[4].requires_grad_(False)
        sgd = partial(SGD, lr=0.05)
        options: dict[str, Any] = {"callbacks": [changes], "optimizer": sgd, "max_epochs": 6}
        fit(tmp_path / str(is_compiled), is_compiled, network=made, **options)
    said = [text.partition(" ")[0] for text in caplog.messages if "compil" in text]
    assert said == ["compiling"] * 4 + ["compile=true,"]
    for epoch, (ours, theirs) in enumerate(zip(found.weights, expected.weights, strict=True)):
        for name, right in theirs.items():
            says = f"{name} at the start of epoch {epoch}"
            torch.testing.assert_close(ours[name], right, rtol=1e-11, atol=1e-13, msg=says)


class Doubled(SupervisedModule):
    """Its loss is twice as large."""

    def _loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return 2 * super()._loss(predictions, targets)


def hooked() -> nn.Sequential:
    made = network()
    made[0].weight.register_hook(lambda gradient: 2 * gradient)
    return made


class Unused(nn.Linear):
    """A layer, and a parameter that does nothing."""

    def __init__(self) -> None:
        super().__init__(6, 2)
        self.idle = nn.Parameter(torch.ones(3))


class Branches(nn.Module):
    """Does something else where the sum of its inputs is negative."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(inputs)
        return outputs if inputs.sum().item() > 0 else -outputs


class Complex(nn.Module):
    """Gives the sizes of what complex weights give."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6, 2, dtype=torch.cfloat))

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs.to(self.weight.dtype) @ self.weight).abs()


class Assigns(nn.Module):
    """Has a mean of its inputs in a buffer that it replaces."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 2)
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, inputs: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * inputs.detach().mean(0)
        outputs: Tensor = self.layer(inputs - self.mean)
        return outputs


def seeded(made: type[nn.Module]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return made()

    return make


def by_hand() -> TwoLayerByHand:
    torch.manual_seed(0)
    return TwoLayerByHand(6, 8, 2)


def hooked_later() -> nn.Sequential:
    made = network()
    made[0].weight.register_post_accumulate_grad_hook(double)
    return made


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"optimizer": partial(Adagrad, lr=0.01)},
            "there is no compiled update for Adagrad, only for SGD, Adam, AdamW and RMSprop",
        ),
        (
            {"optimizer": partial(LBFGS, max_iter=2)},
            "LBFGS may evaluate a step several times",
        ),
        (
            {"optimizer": partial(Adam, amsgrad=True)},
            "there is no compiled update for Adam with amsgrad",
        ),
        ({"optimizer": partial(Adam, lr=torch.tensor(0.1))}, "Adam's lr is a tensor"),
        ({"optimizer": partial(Adam, betas=TENSORS)}, "Adam's beta1 is a tensor"),
        ({"network": Complex}, "there is no compiled update for SGD of complex parameters"),
        ({"gradient_clip_val": 1.0}, "trainer.gradient_clip_val=1.0"),
        ({"accumulate_grad_batches": 2}, "trainer.accumulate_grad_batches=2"),
        ({"module": by_hand}, "TwoLayerByHand.compute_loss wants every step"),
        ({"module": lambda: Doubled(network(), nn.MSELoss())}, "Doubled has a _loss of its own"),
        ({"network": hooked}, "there are hooks on gradients or on the optimiser's step"),
        ({"network": hooked_later}, "there are hooks on gradients or on the optimiser's step"),
        ({"network": seeded(Unused)}, "some parameters that are to be trained have no gradient"),
        (
            {"network": seeded(Unused), "optimizer": partial(SGD, lr=0.1, weight_decay=0.1)},
            "some parameters that are to be trained have no gradient",
        ),
        ({"network": seeded(Assigns)}, "a step changes mean"),
        ({"network": Branches}, "UserError: Consider annotating your code using torch._check*()"),
    ],
    ids=[
        "optimiser",
        "closure",
        "option",
        "tensor",
        "tensor of betas",
        "complex",
        "clipping",
        "accumulation",
        "own step",
        "own loss",
        "hooks",
        "hooks on what accumulates",
        "unused",
        "unused and plain",
        "assigned buffer",
        "branches",
    ],
)
def test_what_cannot_be_compiled_runs_eagerly(
    options: dict[str, Any], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def made() -> dict[str, Any]:
        return {
            key: value() if key in ("network", "module") else value
            for key, value in options.items()
        }

    caplog.set_level(logging.WARNING, logger="engine")
    found, expected = (fit(tmp_path / str(c), c, **made()) for c in (True, False))
    told = [
        record.getMessage() for record in caplog.records if "compile=true" in record.getMessage()
    ]
    assert len(told) == 1
    assert told[0].startswith(f"compile=true, but the steps are not compiled: {reason}")
    assert all(map(torch.equal, found.state_dict().values(), expected.state_dict().values()))


def test_without_a_weight_to_train_no_step_is_compiled() -> None:
    layer = nn.Linear(2, 1).requires_grad_(False)
    with pytest.raises(CannotCompile, match="no parameter is to be trained"):
        CompiledStep(layer, nn.MSELoss(), SGD(layer.parameters(), lr=0.1))


def test_parameters_of_something_else_are_not_forgotten() -> None:
    layer, other = nn.Linear(2, 1), nn.Parameter(torch.zeros(1))
    with pytest.raises(CannotCompile, match="parameters outside the network are trained"):
        CompiledStep(layer, nn.MSELoss(), SGD([*layer.parameters(), other], lr=0.1))


class Wrong(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        raise ValueError("wrong by itself")


def test_the_compiler_is_blamed_for_its_own_faults_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Tensor:
        raise torch.OutOfMemoryError("full")

    def asked(*_: Any) -> None:
        raise AssertionError("nobody compiles anything")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "zeros", full)
        assert compiled.fault_of_compiler(torch.device("cpu"), True) is None
    monkeypatch.setattr(compiled, "fault_of_compiler", asked)
    network = Wrong(2, 1)
    step = CompiledStep(network, nn.MSELoss(), SGD(network.parameters(), lr=0.1))
    with pytest.raises(CannotCompile, match=r"^ValueError: wrong by itself$"):
        step.refresh(torch.ones(4, 2), torch.ones(4, 1))


@pytest.mark.slow
def test_without_a_compiler_a_run_says_so_and_is_the_eager_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="engine")
    words = ["experiment=linear", "accelerator=cpu", "logger=csv", f"paths.log_dir={tmp_path}"]
    torch.compiler.reset()
    with fresh_cache(), config.patch({"cpp.cxx": ("/nonexistent",)}):
        run_train(*words, "compile=true", "name=asked")
    says = "compile=true, but the steps are not compiled: the compiler does not work: InductorError"
    assert says in caplog.text
    run_train(*words, "name=eager")
    tables = [path.read_text() for path in sorted(tmp_path.glob("runs/*/*/metrics.csv"))]
    assert len(tables) == 2
    assert tables[0] == tables[1]
