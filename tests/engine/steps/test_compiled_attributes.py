"""What a compiled step has inside: numbers of layers and losses, which may change on the way."""

import copy
import logging
import random
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn
from torch._dynamo.exc import BackendCompilerFailed
from torch.optim import optimizer as of_all
from torch.utils.checkpoint import checkpoint

import compiling
from engine.callbacks.step_seed import StepSeed
from engine.steps import compiled
from engine.steps.callback import StepCallback
from engine.supervised import SupervisedModule
from fitting import Arrays, plain_trainer

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(32, 6)), RNG.normal(size=(32, 2))
NAN, INF = float("nan"), float("inf")


@pytest.fixture(autouse=True)
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiles to PyTorch's own operations."""
    monkeypatch.setattr(torch, "compile", compiling.by("aot_eager"))


def both(
    folder: Path, make: Callable[[], SupervisedModule], *callbacks: type[StepCallback]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Trains for 4 × 4 steps in 64 bits, compiled and not; returns both states."""
    states = []
    for is_compiled in (True, False):
        own = folder / str(is_compiled)
        own.mkdir()
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        module = make()
        trainer = plain_trainer(
            own,
            compiled=is_compiled,
            steps_per_call=100,
            callbacks=[StepSeed(3), *(kind() for kind in callbacks)],
            precision="64-true",
            max_epochs=4,
        )
        trainer.precision_plugin.convert_module(module)
        data = Arrays({"train": (X, Y), "val": (X, Y)}, seed=4, batch_size=8)
        trainer.fit(module, data)
        states.append(dict(module.state_dict()))
    return states[0], states[1]


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in caplog.messages if "compil" in text]


@dataclass
class Record:
    """Holds a number."""

    scale: float = 1.0


class Net(nn.Module):
    """Has numbers in a list, a dict and a record, which its predictions follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 2)
        self.shifts, self.named, self.record = [0.0], {"factor": 1.0}, Record()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x) * self.named["factor"] + self.shifts[0]
        return y * self.record.scale


class Loss(nn.Module):
    """Has a number that the loss follows."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = 0.0

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(predictions, targets) + self.alpha * predictions.abs().mean()


class Anneals(StepCallback):
    """Changes one of the numbers at the start of each epoch."""

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        network = module.network
        if trainer.current_epoch == 0:
            network.shifts[0] = 0.5
        elif trainer.current_epoch == 1:
            network.named["factor"] = 2.0
        elif trainer.current_epoch == 2:
            network.record.scale = 0.3
        else:
            module.loss.alpha = 0.7


def test_numbers_that_a_callback_changes_are_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: they stayed what they were in the first step."""
    caplog.set_level(logging.INFO, logger="engine")
    found, expected = both(tmp_path, lambda: SupervisedModule(Net(), Loss()), Anneals)
    assert len([text for text in told(caplog) if text.startswith("compiling")]) == 4
    for name, right in expected.items():
        torch.testing.assert_close(found[name], right, rtol=1e-11, atol=1e-13)


class Masked(nn.Linear):
    """Has a tensor that is no buffer."""

    def __init__(self) -> None:
        super().__init__(6, 2)
        self.mask = torch.ones(2, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.mask


class Masks(StepCallback):
    """Puts another tensor in its place, once, and changes this one's numbers later."""

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 1:
            module.network.mask = torch.tensor([1.0, 0.5], dtype=torch.float64)
        elif trainer.current_epoch == 2:
            module.network.mask.mul_(3)


def test_another_tensor_in_a_plain_attribute_is_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CUDA graph has the address of the one before."""
    bound = mock.Mock(side_effect=compiled.CompiledStep._bind, autospec=True)
    monkeypatch.setattr(compiled.CompiledStep, "_bind", lambda step: bound(step))
    found, expected = both(tmp_path, lambda: SupervisedModule(Masked(), nn.MSELoss()), Masks)
    assert bound.call_count == 2
    for name, right in expected.items():
        torch.testing.assert_close(found[name], right, rtol=1e-11, atol=1e-13)


of_this_file = {"factor": 1.0}


class Squashes:
    """Is no layer, and has a number."""

    slope = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.slope


class FollowsAll(SupervisedModule):
    """Goes by numbers that are no attributes of its network or loss."""

    def __init__(self) -> None:
        loss: Any = lambda y, targets: F.mse_loss(y, targets) * self.alpha  # noqa: E731
        super().__init__(Outer(), loss)
        self.alpha = 1.0


class Outer(nn.Linear):
    """Goes by a number of its class, of this file, and of an object that it calls."""

    shared = 1.0

    def __init__(self) -> None:
        super().__init__(6, 2)
        self.squashes = Squashes()

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x) * type(self).shared * of_this_file["factor"]
        return self.squashes(y)


class AnnealsAll(StepCallback):
    """Changes one of these numbers at the start of each epoch."""

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 0:
            Outer.shared, of_this_file["factor"] = 1.0, 1.0
            module.alpha = 0.5
        elif trainer.current_epoch == 1:
            Outer.shared = 2.0
        elif trainer.current_epoch == 2:
            of_this_file["factor"] = 0.3
        else:
            module.network.squashes.slope = 0.7


def test_numbers_are_noticed_wherever_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: a network of before went on, without a word."""
    caplog.set_level(logging.INFO, logger="engine")
    found, expected = both(tmp_path, FollowsAll, AnnealsAll)
    assert len([text for text in told(caplog) if text.startswith("compiling")]) == 4
    for name, right in expected.items():
        torch.testing.assert_close(found[name], right, rtol=1e-11, atol=1e-13)


class Recurrent(nn.Module):
    """Has an LSTM, which keeps its weights in a list beside."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.last = nn.LSTM(6, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.lstm(x.unsqueeze(0))[0][0])
        return y


class Recomputes(nn.Linear):
    """Computes its activations once more in the backward pass."""

    def __init__(self) -> None:
        super().__init__(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = checkpoint(super().forward, x, use_reentrant=False)
        return y


@pytest.mark.parametrize("network", [Recurrent, Recomputes])
def test_what_cannot_be_compiled_trains_as_if_nobody_had_tried(
    network: type[nn.Module], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: an LSTM computed with the try's weights, and checkpoints ended the run."""
    caplog.set_level(logging.WARNING, logger="engine")
    found, expected = both(tmp_path, lambda: SupervisedModule(network(), nn.MSELoss()))
    assert "the steps are not compiled" in told(caplog)[0]
    assert all(torch.equal(found[name], right) for name, right in expected.items())


class CountsOutside(nn.MSELoss):
    """Counts the calls in a dict of this file, and goes by their number."""

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        of_this_file["calls"] = of_this_file.get("calls", 0.0) + 1
        return super().forward(predictions, targets) * (1 + of_this_file["calls"])


def test_a_step_that_changes_what_it_goes_by_runs_eagerly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="engine")
    both(tmp_path, lambda: SupervisedModule(nn.Linear(6, 2), CountsOutside()))
    (text,) = told(caplog)
    assert text.endswith(
        "a step, and so this try, changes what it goes by, outside of network and loss"
    )


class Penalty(nn.Module):
    """Adds the weights' absolute values.

    Args:
        network: has the weights.
        is_hidden: whether this module does not say that it has the network.
    """

    def __init__(self, network: nn.Module, is_hidden: bool = False) -> None:
        super().__init__()
        vars(self)["weights"] = list(network.parameters())
        if not is_hidden:
            self.network = network

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        penalty: Any = sum(own.abs().sum() for own in vars(self)["weights"])
        return F.mse_loss(predictions, targets) + 0.1 * penalty


def penalised(is_hidden: bool) -> SupervisedModule:
    network = nn.Linear(6, 2)
    return SupervisedModule(network, Penalty(network, is_hidden))


def by_a_function() -> SupervisedModule:
    network = nn.Linear(6, 2)

    def loss(predictions: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(predictions, targets) + 0.1 * network.weight.abs().sum()

    return SupervisedModule(network, loss)  # type: ignore[arg-type]


class Scaled(SupervisedModule):
    """Does more in its forward pass than its network."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 5 * super().forward(inputs)


def hooked() -> SupervisedModule:
    made = SupervisedModule(nn.Linear(6, 2), nn.MSELoss())
    made.register_forward_hook(lambda module, inputs, output: 2 * output)
    return made


class Counts(nn.Linear):
    """Counts its calls, and predicts by them."""

    calls = 0

    def __init__(self) -> None:
        super().__init__(6, 2)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * min(1, self.calls / 20)


class CountsLosses(nn.MSELoss):
    """Counts in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = [0]

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        self.counts[0] += 1
        return super().forward(predictions, targets) / self.counts[0]


class Draws(nn.Linear):
    """Draws random numbers of Python's and NumPy's."""

    def __init__(self) -> None:
        super().__init__(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (random.random() + float(np.random.rand()))


class Keeps(nn.Linear):
    """Keeps its last predictions, with the graph that leads to them."""

    def __init__(self) -> None:
        super().__init__(6, 2)
        self.seen: dict[str, Any] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.seen["y"] = super().forward(x)
        return self.seen["y"] * 1


class CountsInBuffer(nn.MSELoss):
    """Counts its calls in a buffer; the third and later ones count more."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        self.steps.add_(1)
        return super().forward(predictions, targets) * (1 + self.steps / 10)


class Holds(nn.Linear):
    """Has what a compiled function may have."""

    def __init__(self) -> None:
        super().__init__(6, 2)
        self.parts = (slice(0, 1), slice(1, 2))
        self.records, self.layers = [Record()], [nn.ReLU()]
        self.words = [str(number) for number in range(20_000)]
        self.named, self.lock = {"mask": torch.ones(2), "layer": nn.Tanh()}, [threading.Lock()]

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return torch.cat([y[:, part] for part in self.parts], dim=1)


def test_what_changes_no_number_is_compiled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="engine")
    found, expected = both(tmp_path, lambda: SupervisedModule(Holds(), nn.MSELoss()))
    (text,) = told(caplog)
    assert text.startswith("compiling")
    for name, right in expected.items():
        torch.testing.assert_close(found[name], right, rtol=1e-11, atol=1e-13)


class Swaps(nn.Module):
    """Swaps two dimensions, as attention does with those of batch and sequence."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class Shares(nn.Sequential):
    """Has two layers under two names each, a layer with one's weight, and transposed dropout."""

    def __init__(self) -> None:
        linear, norm, tied = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 6)
        tied.weight = linear.weight
        swapped = nn.Unflatten(1, (3, 2)), Swaps(), nn.Dropout(0.3), nn.Flatten()
        super().__init__(linear, norm, nn.Tanh(), linear, norm, *swapped, tied)


def test_what_layers_share_is_trained_with_the_same_numbers() -> None:
    """As it happened: the try's weights stayed in the network, and the optimiser had others."""
    batch, loss = (torch.from_numpy(X[:8]), torch.from_numpy(X[8:16])), nn.MSELoss()
    ours = Shares().double()
    theirs = copy.deepcopy(ours)
    layer, weight = ours[0], ours[0].weight
    optimizer, other = (
        torch.optim.SGD(own.parameters(), lr=0.1, momentum=0.9) for own in (ours, theirs)
    )
    for number in range(4):
        with torch.random.fork_rng():
            torch.manual_seed(number)
            other.zero_grad()
            loss(theirs(batch[0]), batch[1]).backward()
            other.step()
        torch.manual_seed(number)
        if number == 0:
            loss(ours(batch[0]), batch[1]).backward()
            optimizer.step()
            step = compiled.CompiledStep(ours, loss, optimizer)
        else:
            step.refresh(*batch)
            step(*batch)
    assert layer.weight is weight
    assert ours[1].num_batches_tracked == 2 * 4
    for name, right in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], right, rtol=1e-11, atol=1e-13)


class Odd(Enum):
    """Is a value of an attribute that a step changes."""

    ONE = 1
    TWO = 2


class Lazy(nn.Linear):
    """Makes a table as it is called first, and has a ring, and an object that answers to all."""

    def __init__(self) -> None:
        super().__init__(6, 2)
        self.ring: list[Any] = [1]
        self.ring.append(self.ring)
        self.answers = mock.MagicMock()

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "cosine"):
            self.cosine = torch.ones(2, dtype=x.dtype).cos()
        return super().forward(x) * self.cosine


def test_a_table_that_a_layer_makes_for_itself_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened in a draft: it was None after the try."""
    caplog.set_level(logging.WARNING, logger="engine")
    found, expected = both(tmp_path, lambda: SupervisedModule(Lazy(), nn.MSELoss()))
    assert told(caplog) == []
    for name, right in expected.items():
        torch.testing.assert_close(found[name], right, rtol=1e-11, atol=1e-13)


class Changes(nn.Linear):
    """Changes attributes of many kinds as it is called."""

    def __init__(self) -> None:
        super().__init__(6, 2)
        self.kind, self.record, self.gone = Odd.ONE, Record(), Record(5.0)
        self.nested: Any = ([0], {"a": defaultdict(int)})

    def forward(self, x: Tensor) -> Tensor:
        self.kind, self.gone = Odd.TWO, None  # type: ignore[assignment]
        self.record.scale += 1
        self.nested[0][0] += 1
        self.new = 3
        return super().forward(x)


def test_what_a_try_changes_is_put_back() -> None:
    layer = Changes()
    before = {name: compiled._Kept(value) for name, value in compiled.own_attributes(layer).items()}
    record, gone = layer.record, layer.gone
    layer(torch.ones(1, 6))
    assert compiled._put_back([layer], [before]) == "Changes.record"
    assert (layer.kind, Odd.TWO.value, Odd.TWO.name) == (Odd.ONE, 2, "TWO")
    assert layer.record is record
    assert layer.record.scale == 1
    assert layer.gone is gone
    assert layer.nested[0] == [0]
    assert type(layer.nested[1]["a"]) is defaultdict
    assert not hasattr(layer, "new")
    assert compiled._put_back([layer], [before]) is None
    layer(torch.ones(1, 6))
    assert compiled._put_back([layer], [before]) == "Changes.record"
    assert (layer.nested[0], layer.record.scale) == ([0], 1)


@pytest.mark.parametrize(
    ("found", "expected", "difference"),
    [
        ((1.0, [100.0, 0.0]), (1.0, [100.0, 2.0]), 0.02),
        ((1.0, [100.0, 0.0]), (1.0, [102.0, 0.0]), 2 / 102),
        ((1e-9, [100.0]), (0.0, [100.0]), 1e-13),
        ((1e5, [0.1]), (1.25e5, [0.1]), 0.2),
        ((NAN, [1.0]), (2.0, [1.0]), INF),
        ((2.0, [NAN]), (2.0, [1.0]), INF),
        ((NAN, [1.0]), (NAN, [2.0]), 0.5),
        ((NAN, [INF]), (INF, [NAN]), 0.0),
        ((1.0, []), (1.0, []), 0.0),
    ],
)
def test_by_how_much_numbers_differ(found: Any, expected: Any, difference: float) -> None:
    pairs = [tuple(map(torch.tensor, pair)) for pair in (found, expected)]
    assert compiled._difference(*pairs) == pytest.approx(difference)  # type: ignore[arg-type]


def test_nested_predictions_are_compared_and_no_classes() -> None:
    loss = torch.tensor(1e-20)
    found = (loss, {"y": (torch.tensor([4.0]), torch.tensor([1, 2]))})
    expected = (2 * loss, {"y": (torch.tensor([8.0]), torch.tensor([3, 4]))})
    assert compiled._difference(found, expected) == 0.5
    heads = [torch.tensor([100.0])] * 12
    assert compiled._difference((loss, heads), (loss, heads)) == 0
    wrong = [*heads[1:], torch.tensor([50.0])]
    assert compiled._difference((loss, wrong), (loss, heads)) == 0.5
    assert compiled._difference((loss, torch.ones(2)), (loss, torch.zeros(2))) == INF


def test_a_step_that_predicts_otherwise_than_an_eager_one_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Within torch.func, AlphaDropout draws in the order of dimensions, and not of memory."""
    caplog.set_level(logging.WARNING, logger="engine")
    layers = [nn.Unflatten(1, (3, 2)), Swaps(), nn.AlphaDropout(0.5), nn.Flatten()]
    make = lambda: SupervisedModule(nn.Sequential(*layers, nn.Linear(6, 2)), nn.MSELoss())  # noqa: E731
    both(tmp_path, make)
    (text,) = told(caplog)
    assert text.startswith("compile=true: a compiled step predicts otherwise than an eager one, by")


def test_the_reason_of_a_compiler_is_told() -> None:
    error = BackendCompilerFailed(lambda graph: None, NotImplementedError("Cannot\nMore"), None)
    told = compiled.first_line(error)
    assert told.startswith("BackendCompilerFailed: backend=")
    assert told.endswith("raised: NotImplementedError: Cannot")


def test_sparse_state_is_not_compiled() -> None:
    """As it happened: a traceback, as there is no address of such a tensor."""
    table, batch = nn.EmbeddingBag(4, 1, sparse=True), (torch.tensor([[0, 2]]), torch.ones(1, 1))
    optimizer = torch.optim.SGD(table.parameters(), lr=0.1, momentum=0.9)
    nn.MSELoss()(table(batch[0]), batch[1]).backward()
    optimizer.step()
    with pytest.raises(compiled.CannotCompile, match="has a sparse tensor"):
        compiled.CompiledStep(table, nn.MSELoss(), optimizer).refresh(*batch)


class Warms(nn.Module):
    """Multiplies what a layer or a loss gives by a factor that it asks for.

    Args:
        part: the layer or the loss.
        ask: returns the factor.
    """

    def __init__(self, part: nn.Module, ask: Callable[[], float]) -> None:
        super().__init__()
        self.part, self.ask = part, ask

    def forward(self, *tensors: Tensor) -> Tensor:
        y: Tensor = self.part(*tensors) * (1 + self.ask())
        return y


class Damped(nn.Linear):
    """Gives the less, the larger the gradient of the step before was."""

    def forward(self, x: Tensor) -> Tensor:
        before = self.weight.grad
        return super().forward(x) / (1 if before is None else 1 + before.abs().mean())


class Nested(LightningModule):
    """Is a network that is a LightningModule, which finds its Trainer by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x) * (1 + self.global_step)
        return y


def by_step() -> SupervisedModule:
    module = SupervisedModule(nn.Linear(6, 2), nn.MSELoss())
    module.loss = Warms(module.loss, lambda: module.global_step)
    return module


def by_epoch() -> SupervisedModule:
    module = SupervisedModule(nn.Linear(6, 2), nn.MSELoss())
    found = weakref.ref(module)
    module.network = Warms(module.network, lambda: found().current_epoch)  # type: ignore[union-attr]
    return module


class HandsTrainer(StepCallback):
    """Gives the loss a function that knows the Trainer."""

    def on_train_start(self, trainer: Any, module: Any) -> None:
        module.loss.ask = lambda: trainer.global_step


class Switches(SupervisedModule):
    """Has another loss from the third epoch on."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 2), nn.MSELoss())

    @property
    def loss(self) -> nn.Module:  # type: ignore[override]
        return nn.MSELoss() if self.current_epoch < 2 else nn.L1Loss()

    @loss.setter
    def loss(self, loss: nn.Module) -> None:
        """Leaves the losses as they are."""


TRAINER = "the network or the loss goes by what its trainer says"
WEIGHTS = "the loss looks at the weights"
DRAWN = "UserError: Could not guard on data-dependent expression"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: penalised(False), WEIGHTS),
        (lambda: penalised(True), WEIGHTS),
        (by_a_function, WEIGHTS),
        (lambda: Scaled(nn.Linear(6, 2), nn.MSELoss()), "Scaled has a forward of its own"),
        (hooked, "SupervisedModule has a forward hook of its own"),
        (lambda: SupervisedModule(Counts(), nn.MSELoss()), "a step changes Counts.calls"),
        (
            lambda: SupervisedModule(nn.Linear(6, 2), CountsLosses()),
            "a step changes CountsLosses.counts",
        ),
        (lambda: SupervisedModule(Damped(6, 2), nn.MSELoss()), "Damped reads gradients"),
        (lambda: SupervisedModule(Draws(), nn.MSELoss()), DRAWN),
        (lambda: SupervisedModule(Keeps(), nn.MSELoss()), "BackendCompilerFailed"),
        (by_step, TRAINER),
        (by_epoch, TRAINER),
        (lambda: SupervisedModule(Nested(), nn.MSELoss()), TRAINER),
        (Switches, "Switches has a loss of its own"),
    ],
    ids=[
        "penalty",
        "hidden",
        "function",
        "forward",
        "hook",
        "counts",
        "list",
        "gradient",
        "draws",
        "keeps",
        "step",
        "epoch",
        "nested",
        "property",
    ],
)
def test_what_a_compiled_step_would_not_follow_runs_eagerly(
    make: Callable[[], SupervisedModule],
    reason: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, logger="engine")
    found, expected = both(tmp_path, make)
    (text,) = told(caplog)
    assert text.startswith(f"compile=true, but the steps are not compiled: {reason}")
    assert all(torch.equal(found[name], right) for name, right in expected.items())


def test_who_asks_a_trainer_that_a_callback_hands_over_runs_eagerly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="engine")
    make = lambda: SupervisedModule(nn.Linear(6, 2), Warms(nn.MSELoss(), lambda: 0.0))  # noqa: E731
    found, expected = both(tmp_path, make, HandsTrainer)
    assert told(caplog) == [f"compile=true, but the steps are not compiled: {TRAINER}"]
    assert all(torch.equal(found[name], right) for name, right in expected.items())


class Replaces(StepCallback):
    """Puts something else in place of a part of the step, from the third epoch on."""

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 2:
            self.replace(trainer, module)

    def replace(self, trainer: Any, module: Any) -> None:
        module.loss = nn.L1Loss()


class ReplacesNetwork(Replaces):
    """Puts a layer behind the network."""

    def replace(self, trainer: Any, module: Any) -> None:
        module.network = nn.Sequential(module.network, nn.Tanh())


class ReplacesOptimizer(Replaces):
    """Takes another optimiser, with a rate of its own."""

    def replace(self, trainer: Any, module: Any) -> None:
        trainer.optimizers = [torch.optim.SGD(module.parameters(), lr=0.05)]


@pytest.mark.parametrize("callback", [Replaces, ReplacesNetwork, ReplacesOptimizer])
def test_what_comes_in_place_of_a_compiled_part_is_not_left_out(
    callback: type[StepCallback], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: the compiled step went on with the part that it knew."""
    caplog.set_level(logging.WARNING, logger="engine")
    found, expected = both(
        tmp_path, lambda: SupervisedModule(nn.Linear(6, 2), nn.MSELoss()), callback
    )
    reason = "another network, loss or optimiser has come in its place"
    assert told(caplog) == [f"compile=true, but the steps are not compiled: {reason}"]
    assert list(found) == list(expected)
    for name, right in expected.items():
        torch.testing.assert_close(found[name], right, rtol=1e-11, atol=1e-13)


class ClipsLater(Replaces):
    def replace(self, trainer: Any, module: Any) -> None:
        trainer.gradient_clip_val = 0.01


def bound(optimizer: torch.optim.Optimizer, *args: Any) -> None:
    with torch.no_grad():
        for own in optimizer.param_groups[0]["params"]:
            own.clamp_(-0.1, 0.1)


class BoundsAll(Replaces):
    """Registers a hook for all optimisers."""

    def replace(self, trainer: Any, module: Any) -> None:
        self.handle = of_all.register_optimizer_step_post_hook(bound)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        self.handle.remove()


class Appends(Replaces):
    """Appends an ordinary callback, which reads gradients."""

    def replace(self, trainer: Any, module: Any) -> None:
        trainer.callbacks.append(FollowsGradients())


class FollowsGradients(Callback):
    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        norm = sum(float(own.grad.norm()) for own in module.parameters() if own.grad is not None)
        trainer.optimizers[0].param_groups[0]["lr"] = 0.05 / (1 + norm)


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        (ClipsLater, "trainer.gradient_clip_val=0.01"),
        (BoundsAll, "there are hooks on gradients or on the optimiser's step"),
        (Appends, "FollowsGradients reads gradients"),
    ],
)
def test_what_a_step_does_besides_is_not_left_out(
    callback: type[StepCallback], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: it was asked for when the step was compiled only."""
    caplog.set_level(logging.WARNING, logger="engine")
    sgd = partial(torch.optim.SGD, lr=0.05)
    make = lambda: SupervisedModule(nn.Linear(6, 2), nn.MSELoss(), optimizer=sgd)  # noqa: E731
    found, expected = both(tmp_path, make, callback)
    (text,) = told(caplog)
    assert text.startswith(f"compile=true, but the steps are not compiled: {reason}")
    for name, right in expected.items():
        torch.testing.assert_close(found[name], right, rtol=1e-11, atol=1e-13)


def own_step(optimizer: Any) -> None:
    step = optimizer.step
    optimizer.step = lambda closure=None: step(closure)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda own: own.param_groups[0].update(maximize=True), "for SGD with maximize"),
        (lambda own: own.param_groups[0].update(lr=torch.tensor(0.1)), "SGD's lr is a tensor"),
        (lambda own: own.param_groups[0].update(momentum=0.9), "has no state of theirs yet"),
        (lambda own: own.param_groups[0]["params"][0].requires_grad_(False), "no parameter is to"),
        (own_step, "hooks on gradients or on the optimiser's step"),
    ],
    ids=["maximize", "tensor", "momentum", "frozen", "step"],
)
def test_what_an_optimiser_does_now_is_noticed(change: Callable[[Any], Any], reason: str) -> None:
    """As it happened: a step goes on that was compiled before."""
    network, batch = nn.Linear(1, 1, bias=False), (torch.ones(1, 1), torch.zeros(1, 1))
    network.weight.data.fill_(1.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.25)
    step = compiled.CompiledStep(network, nn.MSELoss(), optimizer)
    for _ in range(2):
        step.refresh(*batch)
        with torch.no_grad():
            step(*batch)
    assert network.weight.item() == 0.25  # w - 0.25 * 2 w, twice
    change(optimizer)
    with pytest.raises(compiled.CannotCompile, match=reason):
        step.refresh(*batch)


def test_a_buffer_of_the_loss_counts_the_steps_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A try must not count."""
    caplog.set_level(logging.WARNING, logger="engine")
    make = lambda: SupervisedModule(nn.Linear(6, 2), CountsInBuffer())  # noqa: E731
    found, expected = both(tmp_path, make)
    for name, right in expected.items():
        torch.testing.assert_close(found[name], right, rtol=1e-11, atol=1e-13)
