"""The step, its rows and its metrics, against NumPy on a linear model."""

import copy
from collections.abc import Callable, Mapping
from functools import cached_property, partial, partialmethod
from pathlib import Path
from typing import Any, Generic, TypeVar
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder
from sklearn.metrics import f1_score, precision_score, recall_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanAbsoluteError, Metric, MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from commands import run_train
from engine import schedules
from engine.callbacks.divergence import StopOnDivergence
from engine.errors import UserError
from engine.seeds import generator
from engine.steps import rows
from engine.steps.trainer import BlockTrainer
from engine.supervised import SupervisedModule, additions
from fitting import Arrays, columns, plain_trainer
from project import init

LR = 0.05
RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 3)).astype(np.float32)
Y = RNG.normal(size=(10, 2)).astype(np.float32)


def linear(reduction: str = "mean", **options: Any) -> SupervisedModule:
    """x (N, 3) -> (N, 2) without bias, squared error and mean absolute error."""
    options = {
        "optimizer": partial(torch.optim.SGD, lr=LR),
        "metrics": {"mae": MeanAbsoluteError()},
        **options,
    }
    return SupervisedModule(nn.Linear(3, 2, bias=False), nn.MSELoss(reduction=reduction), **options)


def errors_of_sgd(w: np.ndarray, reduction: str, epochs: int) -> list[np.ndarray]:
    """Returns the errors (batch, 2) of SGD on batches of 3, 3, 3 and 1; updates `w`."""
    errors = []
    for epoch in range(epochs):
        order = torch.randperm(10, generator=generator(0, "order", epoch)).numpy()
        for batch in (order[:3], order[3:6], order[6:9], order[9:]):
            error = X[batch] @ w.T - Y[batch]
            grad_w = 2 * error.T @ X[batch]
            w -= LR * (grad_w / error.size if reduction == "mean" else grad_w)
            errors.append(error)
    return errors


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    ("every", "last_steps"),
    [(1, [0, 1, 2, 3, 4, 5, 6, 7]), (2, [1, 3, 5, 7]), (3, [2, 3, 6, 7]), (50, [3, 7])],
    ids=["every step", "every 2", "every 3", "every epoch"],
)
def test_a_row_tells_of_all_steps_since_the_last_one(
    every: int, last_steps: list[int], reduction: str, tmp_path: Path
) -> None:
    module = linear(reduction)
    w = module.network.weight.detach().double().numpy().copy()
    data = Arrays({"train": (X, Y)}, batch_size=3)
    plain_trainer(tmp_path, max_epochs=2, log_every_n_steps=every).fit(module, data)

    errors = errors_of_sgd(w, reduction, epochs=2)
    ends = [step + 1 for step in last_steps]
    rows = [errors[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    losses = [np.mean([(e**2).sum() for e in row]) for row in rows]
    if reduction == "mean":
        losses = [(np.concatenate(row) ** 2).mean() for row in rows]
    step, epoch, lr, loss, mae = columns(tmp_path, "step", "epoch", "lr", "train/loss", "train/mae")
    assert (step, epoch, lr) == (last_steps, [s // 4 for s in last_steps], [LR] * len(rows))
    np.testing.assert_allclose(loss, losses, rtol=1e-5)
    np.testing.assert_allclose(mae, [np.abs(np.concatenate(row)).mean() for row in rows], rtol=1e-5)
    np.testing.assert_allclose(module.network.weight.detach(), w, rtol=1e-5, atol=1e-6)


def test_steps_before_an_early_end_have_a_row(tmp_path: Path) -> None:
    module = linear()
    w = module.network.weight.detach().double().numpy().copy()
    trainer = plain_trainer(tmp_path, max_epochs=2, max_steps=6, log_every_n_steps=50)
    trainer.fit(module, Arrays({"train": (X, Y)}, batch_size=3))

    errors = errors_of_sgd(w, "mean", epochs=2)[4:6]
    steps, losses = columns(tmp_path, "step", "train/loss")
    assert steps == [3, 5]
    assert losses[1] == pytest.approx(np.mean(np.concatenate(errors) ** 2), rel=1e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_an_empty_share_of_a_batch_counts_for_nothing(reduction: str, tmp_path: Path) -> None:
    """As a process has it whose batch has fewer samples than there are processes."""
    module = linear(reduction)
    w = module.network.weight.detach().double().numpy().copy()
    batches = [(torch.from_numpy(X[:n]), torch.from_numpy(Y[:n])) for n in (4, 0)]
    loader = DataLoader(batches, batch_size=None)
    plain_trainer(tmp_path, max_epochs=1, log_every_n_steps=2).fit(module, loader, loader)

    error = X[:4] @ w.T - Y[:4]
    grad_w = 2 * error.T @ X[:4]
    w -= LR * (grad_w / error.size if reduction == "mean" else grad_w)
    np.testing.assert_allclose(module.network.weight.detach(), w, rtol=1e-5, atol=1e-6)
    # of two steps, for a sum
    assert columns(tmp_path, "train/loss")[0] == pytest.approx(
        [(error**2).mean() if reduction == "mean" else (error**2).sum() / 2], rel=1e-5
    )
    assert columns(tmp_path, "train/mae")[0] == pytest.approx([np.abs(error).mean()], rel=1e-5)
    error = X[:4] @ w.T - Y[:4]
    expected = (error**2).mean() if reduction == "mean" else (error**2).sum()
    assert columns(tmp_path, "val/loss")[0] == pytest.approx([expected], rel=1e-5)


def test_one_nan_makes_the_row_and_the_split_nan(tmp_path: Path) -> None:
    y = Y.copy()
    y[4] = np.nan
    module = linear(optimizer=partial(torch.optim.SGD, lr=0.0), metrics={})
    data = Arrays({"train": (X, y), "val": (X, y)}, batch_size=2, eval_batch_size=2)
    plain_trainer(tmp_path, max_epochs=1, log_every_n_steps=5).fit(module, data)
    assert np.isnan(columns(tmp_path, "train/loss")).all()
    assert np.isnan(columns(tmp_path, "val/loss")).all()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("eval_batch_size", [10, 4, 1])
def test_evaluation_is_over_the_whole_split(
    reduction: str, eval_batch_size: int, tmp_path: Path
) -> None:
    module = linear(reduction)
    w = module.network.weight.detach().double().numpy().copy()
    splits = {"train": (X, Y), "val": (X[:7], Y[:7]), "test": (X, Y)}
    data = Arrays(splits, eval_batch_size=eval_batch_size)
    trainer = plain_trainer(tmp_path)
    found = {
        **trainer.validate(module, data, verbose=False)[0],
        **trainer.test(module, data, verbose=False)[0],
    }
    for split, size in (("val", 7), ("test", 10)):
        error = X[:size] @ w.T - Y[:size]
        expected = (error**2).mean() if reduction == "mean" else (error**2).sum()
        assert found[f"{split}/loss"] == pytest.approx(expected, rel=1e-5)
        assert found[f"{split}/mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)


Kind = TypeVar("Kind")


class Plain(SupervisedModule, Generic[Kind]):
    """Has a constructor, harmless warnings, an annotation and a number, as many modules have."""

    HARMLESS = ((".*is smaller than", "a row is written at the end of each epoch, too"),)
    width: int
    depth = 2

    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 2), nn.MSELoss())


class Mixed:
    """Has what a class behind SupervisedModule may add."""

    @property
    def loss(self) -> nn.Module:
        return nn.L1Loss()


class Adds(Plain, Mixed):
    """Has more than methods."""

    width = 3
    automatic_optimization = False  # type: ignore[assignment]
    forward = partialmethod(Plain.forward)  # type: ignore[assignment]

    def method(self) -> None:
        """Does nothing."""

    @classmethod
    def _loss(cls, predictions: Tensor, targets: Tensor) -> Tensor:  # type: ignore[override]
        return predictions.sum()

    @staticmethod
    def augmented(inputs: Tensor) -> Tensor:  # type: ignore[override]
        return inputs

    @cached_property
    def network(self) -> nn.Module:  # type: ignore[override]
        return nn.Linear(3, 2)


def test_additions_are_all_that_may_change_what_a_module_does() -> None:
    assert additions(Plain()) == []
    assert Plain().metric_names(None) == ["train/loss"]
    made = Adds.__new__(Adds)
    assert additions(made) == [
        "automatic_optimization",
        "forward",
        "method",
        "_loss",
        "augmented",
        "network",
        "loss",
    ]
    assert made.metric_names(None) is None


class Scaled(SupervisedModule):
    """Does more in its forward pass than its network."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 5 * super().forward(inputs)


def hooked(*args: Any, **options: Any) -> SupervisedModule:
    made = SupervisedModule(*args, **options)
    made.register_forward_hook(lambda module, inputs, output: 5 * output)
    return made


def replaced(*args: Any, **options: Any) -> SupervisedModule:
    made = SupervisedModule(*args, **options)
    made.forward = lambda inputs: 5 * made.network(inputs)  # type: ignore[method-assign]
    return made


class Times5(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return 5 * super().forward(inputs)


@pytest.mark.parametrize("kind", [Scaled, hooked, replaced], ids=["class", "hook", "object"])
def test_training_goes_the_way_of_forward_as_evaluation_does(kind: Any, tmp_path: Path) -> None:
    """As it happened: training took the network alone, and validation the class's `forward`."""
    tables = []
    for make, layer in ((kind, nn.Linear), (SupervisedModule, Times5)):
        torch.manual_seed(0)
        module = make(layer(3, 2), nn.MSELoss(), optimizer=partial(torch.optim.SGD, lr=LR))
        folder = tmp_path / layer.__name__
        folder.mkdir()
        data = Arrays({"train": (X, Y), "val": (X, Y)}, batch_size=4)
        plain_trainer(folder, max_epochs=2).fit(module, data)
        tables.append((folder / "metrics.csv").read_text())
    assert tables[0] == tables[1]


class Focal(nn.CrossEntropyLoss):
    """Averages over samples, whatever weights it has."""

    def forward(self, *both: Tensor) -> Tensor:
        return F.cross_entropy(*both, self.weight, reduction="none").mean()


def test_a_loss_of_a_subclass_weighs_by_samples() -> None:
    module = SupervisedModule(nn.Linear(3, 3), Focal(weight=torch.tensor([1.0, 5.0, 0.2])))
    for value, labels in ((2.0, [0, 1, 1]), (4.0, [2])):
        module.add_loss(module.val_loss, torch.tensor(value), torch.tensor(labels))
    assert module.val_loss.compute() == (3 * 2 + 4) / 4


def test_an_empty_share_of_labels_weighs_nothing() -> None:
    weights = torch.tensor([1.0, 5.0, 0.2])
    module = SupervisedModule(nn.Linear(3, 3), nn.CrossEntropyLoss(weight=weights))
    labels = torch.tensor([0, 1, 1], dtype=torch.uint8)
    for value, size in ((2.0, 3), (0.0, 0), (4.0, 1)):
        module.add_loss(module.val_loss, torch.tensor(value), labels[:size])
    assert module.val_loss.compute() == pytest.approx((2 * 11 / 3 * 3 + 4 * 1) / (11 + 1))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_in_64_bits_the_loss_of_a_split_is_counted_in_64_bits(
    reduction: str, tmp_path: Path
) -> None:
    """As it happened: the first batch of each process counted in 32 bits, the others in 64."""
    x, y = RNG.normal(size=(10, 3)), RNG.normal(size=(10, 2))
    module = linear(reduction, metrics={}, optimizer=partial(torch.optim.SGD, lr=0.0))
    data = Arrays({"train": (x, y), "val": (x, y)}, eval_batch_size=4)
    trainer = plain_trainer(tmp_path, precision="64-true", max_epochs=2)
    trainer.precision_plugin.convert_module(module)
    trainer.fit(module, data)
    w = module.network.weight.detach().numpy()
    error = (x @ w.T - y) ** 2
    expected = error.mean() if reduction == "mean" else error.sum()
    np.testing.assert_allclose(columns(tmp_path, "val/loss")[0], expected, rtol=1e-14)


@pytest.mark.parametrize("eval_batch_size", [1, 4, 1000])
@pytest.mark.parametrize(
    "options",
    [
        {"weight": torch.tensor([1.0, 5.0, 0.2])},
        {"ignore_index": 1},
        {"ignore_index": 0, "weight": torch.tensor([1.0, 5.0, 0.2])},
        {"label_smoothing": 0.2, "weight": torch.tensor([1.0, 5.0, 0.2])},
        {},
    ],
    ids=["weights", "ignored", "both", "smoothed", "plain"],
)
@pytest.mark.parametrize("shape", [(10,), (10, 2)], ids=["a label", "a label of each place"])
def test_a_loss_of_a_split_is_that_of_all_its_samples(
    shape: tuple[int, ...], options: dict[str, Any], eval_batch_size: int, tmp_path: Path
) -> None:
    """As it happened: with class weights, it depended on `eval_batch_size`."""
    torch.manual_seed(0)
    labels = RNG.integers(0, 3, shape)
    labels[:4] = options.get("ignore_index", labels[:4])  # all of a batch
    outputs = 3 * int(np.prod(shape[1:]))
    network = nn.Sequential(nn.Linear(3, outputs), nn.Unflatten(1, (3, *shape[1:])))
    if len(shape) == 1:
        network = network[:1]
    module = SupervisedModule(network, nn.CrossEntropyLoss(**options))
    splits = dict.fromkeys(("train", "val", "test"), (X, labels))
    data = Arrays(splits, eval_batch_size=eval_batch_size)
    trainer = plain_trainer(tmp_path)
    found = {
        **trainer.validate(module, data, verbose=False)[0],
        **trainer.test(module, data, verbose=False)[0],
    }
    with torch.no_grad():
        predictions = network(torch.from_numpy(X))
        expected = F.cross_entropy(predictions, torch.from_numpy(labels), **options).item()
    assert found == pytest.approx({"val/loss": expected, "test/loss": expected}, rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"weight": torch.tensor([1.0, 5.0, 0.2])},
        {"ignore_index": 1},
        {"ignore_index": 0, "weight": torch.tensor([1.0, 5.0, 0.2])},
        {},
    ],
    ids=["weights", "ignored", "both", "plain"],
)
@pytest.mark.parametrize("shape", [(10,), (10, 4)], ids=["a label", "a label of each place"])
def test_a_row_of_training_is_the_loss_of_all_its_samples(
    shape: tuple[int, ...], options: dict[str, Any], tmp_path: Path
) -> None:
    """As it happened: steps weighed by their samples, so that train and val differed."""
    torch.manual_seed(0)
    labels = np.resize([2, 0, 1, 2, 1, 2, 0], shape)
    outputs = 3 * int(np.prod(shape[1:]))
    network = nn.Sequential(nn.Linear(3, outputs), nn.Unflatten(1, (3, *shape[1:])))
    if len(shape) == 1:
        network = network[:1]
    module = SupervisedModule(
        network, nn.CrossEntropyLoss(**options), optimizer=partial(torch.optim.SGD, lr=0.0)
    )
    data = Arrays({"train": (X, labels)}, batch_size=4)
    plain_trainer(tmp_path, max_epochs=1, log_every_n_steps=100).fit(module, data)
    with torch.no_grad():
        predictions = network(torch.from_numpy(X))
        expected = F.cross_entropy(predictions, torch.from_numpy(labels), **options).item()
    assert columns(tmp_path, "train/loss")[0] == pytest.approx([expected], rel=1e-5)


@pytest.mark.parametrize("every", [1, 8])
def test_a_step_whose_labels_are_all_ignored_does_not_count(every: int, tmp_path: Path) -> None:
    """Of one by itself there is no loss, and no divergence, as there was."""
    labels = np.resize([-100, 1], 8)
    module = SupervisedModule(
        nn.Linear(3, 3), nn.CrossEntropyLoss(), optimizer=partial(torch.optim.SGD, lr=0.0)
    )
    data = Arrays({"train": (X[:8], labels)}, batch_size=1)
    callback = StopOnDivergence()
    trainer = plain_trainer(tmp_path, max_epochs=3, log_every_n_steps=every, callbacks=[callback])
    trainer.fit(module, data)
    assert (callback.diverged, trainer.global_step) == (False, 24)
    with torch.no_grad():
        predictions = module.network(torch.from_numpy(X[1:8:2]))
        each = F.cross_entropy(predictions, torch.ones(4, dtype=torch.int64), reduction="none")
    (found,) = columns(tmp_path, "train/loss")
    if every == 8:
        assert found == pytest.approx([each.mean().item()] * 3, rel=1e-5)
    else:  # there is no mean over nothing
        assert sorted(found) == pytest.approx(sorted(each.tolist() * 3))
        assert len(columns(tmp_path, "lr")[0]) == 24


@pytest.mark.parametrize(("label", "factor"), [(-100, 1.0), (0, np.inf)])
def test_nothing_measured_is_no_divergence_where_training_stops_within_an_epoch(
    label: int, factor: float, tmp_path: Path
) -> None:
    class Stops(SupervisedModule):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.trainer.should_stop = True

    callback = StopOnDivergence()
    data = Arrays({"train": (factor * X[:8], np.full(8, label))}, batch_size=1)
    options: Any = {"max_epochs": 2, "log_every_n_steps": 5, "callbacks": [callback]}
    trainer = plain_trainer(tmp_path, **options)
    trainer.fit(Stops(nn.Linear(3, 3), nn.CrossEntropyLoss()), data)
    assert (callback.diverged, trainer.global_step) == (label == 0, 1)


def test_each_validation_starts_afresh_for_every_metric(tmp_path: Path) -> None:
    """torchmetrics lets metrics of the same counts, as these are, share one state."""
    x = RNG.normal(size=(50, 4)).astype(np.float32)
    y = np.arange(50) % 3
    metrics = {
        "precision": MulticlassPrecision(3),
        "recall": MulticlassRecall(3),
        "f1": MulticlassF1Score(3),
    }

    class Remembers(SupervisedModule):
        def on_validation_end(self) -> None:
            with torch.no_grad():
                predicted.append(self(torch.from_numpy(x)).argmax(1).numpy())

    predicted: list[np.ndarray] = []
    torch.manual_seed(0)
    module = Remembers(
        nn.Linear(4, 3), nn.CrossEntropyLoss(), metrics, partial(torch.optim.SGD, lr=1.0)
    )
    data = Arrays({"train": (x, y), "val": (x, y)}, eval_batch_size=20)
    plain_trainer(tmp_path, max_epochs=3).fit(module, data)

    assert len({tuple(p) for p in predicted}) == 3
    for name, score in {
        "precision": precision_score,
        "recall": recall_score,
        "f1": f1_score,
    }.items():
        expected = [score(y, p, average="macro", zero_division=0) for p in predicted]
        np.testing.assert_allclose(columns(tmp_path, f"val/{name}")[0], expected, rtol=1e-5)


def test_a_subclass_may_do_it_all_the_ordinary_way(tmp_path: Path) -> None:
    class Ordinary(SupervisedModule):
        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            inputs, targets = batch
            loss = (self(inputs) - targets).abs().mean()
            self.log("train/own", loss)
            return loss

        def configure_optimizers(self) -> dict[str, Any]:
            optimizer = torch.optim.SGD(self.parameters(), lr=LR)
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
            }

    module = Ordinary(nn.Linear(3, 2, bias=False), nn.MSELoss())
    w = module.network.weight.detach().double().numpy().copy()
    plain_trainer(tmp_path, max_epochs=6).fit(module, Arrays({"train": (X, Y)}))

    expected = []
    for step in range(6):
        error = X @ w.T - Y
        expected.append(np.abs(error).mean())
        w -= LR * 0.1 ** (step // 2) * np.sign(error).T @ X / error.size
    np.testing.assert_allclose(columns(tmp_path, "train/own")[0], expected, rtol=1e-5)
    np.testing.assert_allclose(module.network.weight.detach(), w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(
    ("batch", "gives"),
    [
        ({"x": torch.ones(4, 3), "y": torch.ones(4, 2)}, "a dict (x, y)"),
        ([torch.ones(4, 3), torch.ones(4, 2), torch.ones(4)], "a list (Tensor, Tensor, Tensor)"),
        ([torch.ones(4, 3), {"y": torch.ones(4, 2)}], "a list (Tensor, dict)"),
        (torch.ones(2, 3), "a Tensor ()"),
    ],
    ids=["dict", "weighted", "several targets", "inputs alone"],
)
def test_batches_that_are_no_pair_are_refused(
    batch: Any, gives: str, split: str, tmp_path: Path
) -> None:
    """As it happened: a dict of two gave the network the word x, and a tensor its first row."""
    pair = [(torch.ones(4, 3), torch.ones(4, 2))]
    loaders = {"train": pair, "val": pair, split: [batch]}
    made = {name: DataLoader(own, batch_size=None) for name, own in loaders.items()}  # type: ignore[arg-type]
    with pytest.raises(UserError) as raised:
        plain_trainer(tmp_path, max_epochs=1).fit(linear(), made["train"], made["val"])
    assert str(raised.value) == (
        f"a loader gives {gives}, and a SupervisedModule takes (inputs, targets), the targets a "
        "tensor.\nOverride training_step, validation_step and test_step, or let the collate_fn of "
        "the DataLoader give such pairs."
    )


def test_lr_of_a_row_is_the_one_that_its_last_step_used(tmp_path: Path) -> None:
    class Scheduled(SupervisedModule):
        def configure_optimizers(self) -> dict[str, Any]:
            optimizer = super().configure_optimizers()
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
            }

    module = Scheduled(nn.Linear(3, 2), nn.MSELoss(), optimizer=partial(torch.optim.SGD, lr=1.0))
    data = Arrays({"train": (X, Y)}, steps_per_epoch=4)
    plain_trainer(tmp_path, max_epochs=1, log_every_n_steps=2).fit(module, data)
    assert columns(tmp_path, "lr", "step") == [[0.5, 0.125], [1, 3]]


def test_lbfgs_takes_a_step_for_a_row(tmp_path: Path) -> None:
    """A row has the loss before its step; torch's own optimiser gives the same weights."""
    lbfgs = partial(torch.optim.LBFGS, lr=0.5, max_iter=7)
    module = linear(optimizer=lbfgs)
    alone = copy.deepcopy(module.network)
    trainer = plain_trainer(tmp_path, max_epochs=1, log_every_n_steps=5)
    trainer.fit(module, Arrays({"train": (X, Y)}, steps_per_epoch=10))
    losses, steps = columns(tmp_path, "train/loss", "step")
    assert steps == [4, 9]
    assert trainer.global_step == 10

    x, y = (torch.as_tensor(array, dtype=torch.float32) for array in (X, Y))
    optimizer = lbfgs(alone.parameters())
    seen: list[float] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = module.loss(alone(x), y)
        seen.append(loss.item())
        loss.backward()
        return loss

    before = []
    for _ in range(10):
        before.append(module.loss(alone(x), y).item())
        optimizer.step(closure)
    assert len(seen) > 20
    np.testing.assert_allclose(losses, np.mean([before[:5], before[5:]], axis=1), rtol=1e-5)
    np.testing.assert_allclose(
        module.network.weight.detach(), alone.weight.detach(), rtol=1e-4, atol=1e-6
    )


class OfPairs(LightningDataModule):
    """Has a target for each input that is equal to it, in an order of its own each time."""

    batch_size = 8

    def train_dataloader(self) -> Any:
        return self.val_dataloader(shuffle=True)

    def val_dataloader(self, shuffle: bool = False) -> Any:
        numbers = torch.arange(48.0)[:, None]
        return DataLoader(TensorDataset(numbers, numbers), self.batch_size, shuffle)


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("make", [Trainer, BlockTrainer])
def test_a_step_after_a_search_of_one_step_is_another_one(
    make: type[Trainer], most: int, tmp_path: Path
) -> None:
    """As it happened: it took the inputs of the search with its own targets, and was in no row."""
    pairs: list[bool] = []
    logged: list[float] = []

    class Pairs(SupervisedModule):
        def compute_loss(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            pairs.append(torch.equal(inputs, targets))
            return super().compute_loss(inputs, targets)

        def log_row(self, row: Mapping[str, float]) -> None:
            logged.append(row["train/loss"])

    module = Pairs(nn.Linear(1, 1), nn.MSELoss(), optimizer=partial(torch.optim.SGD, lr=0.0))
    finder = BatchSizeFinder(max_trials=most, init_val=8, steps_per_trial=1)
    trainer = make(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_epochs=1,
        log_every_n_steps=100,
        logger=False,
        callbacks=[finder],
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, OfPairs())
    assert pairs == [True] * (most + trainer.global_step)
    numbers = torch.arange(48.0)[:, None]
    error = module(numbers) - numbers  # as in all steps: the rate is 0
    assert logged[-1] == pytest.approx(error.square().mean().item(), rel=1e-5)


def test_adam_with_lr_1e_3_unless_told_otherwise() -> None:
    optimizer = SupervisedModule(nn.Linear(1, 1), nn.MSELoss()).configure_optimizers()
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.defaults["lr"] == 1e-3


def test_groups_of_a_subclass_have_the_schedule_that_was_chosen(tmp_path: Path) -> None:
    """As it happened: a schedule could be made by nobody but the base class."""

    class Groups(SupervisedModule):
        def configure_optimizers(self) -> Any:
            weight, bias = self.parameters()
            groups: Any = [{"params": [weight], "lr": LR}, {"params": [bias], "lr": 10 * LR}]
            return self.scheduled(self.optimizer(groups))

    module = Groups(
        nn.Linear(3, 2),
        nn.MSELoss(),
        optimizer=partial(torch.optim.SGD, lr=1.0),
        scheduler=partial(schedules.cosine, warmup=0.0),
    )
    used: list[list[float]] = []

    class Notes(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            used.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    trainer = plain_trainer(tmp_path, max_epochs=5, callbacks=[Notes()])
    trainer.fit(module, Arrays({"train": (X, Y)}))
    shape = [(1 + np.cos(np.pi * step / 5)) / 2 for step in range(5)]
    np.testing.assert_allclose(used, [[LR * own, 10 * LR * own] for own in shape], atol=1e-8)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"optimizer": lambda weights: None}, "module.optimizer: gives None, not an optimizer."),
        ({"optimizer": list}, "module.optimizer: gives list, not an optimizer."),
        (
            {"scheduler": lambda *of: None},
            f"scheduler={__name__}.<lambda>: gives None, not a scheduler.",
        ),
        (
            {"scheduler": lambda *of: {}},
            f"scheduler={__name__}.<lambda>: gives None, not a scheduler.",
        ),
        (
            {"scheduler": lambda *of: {"scheduler": 3}},
            f"scheduler={__name__}.<lambda>: gives int, not a scheduler.",
        ),
    ],
)
def test_what_is_no_optimizer_and_no_scheduler_is_refused(
    options: dict[str, Any], says: str
) -> None:
    with (
        mock.patch.object(SupervisedModule, "trainer", None),
        pytest.raises(UserError, match=rf"^{says}(\n|$)"),
    ):
        SupervisedModule(nn.Linear(1, 1), nn.MSELoss(), **options).configure_optimizers()


def test_scheduled_refuses_what_is_no_optimizer() -> None:
    """As it happened: without its parentheses, `self.optimizer` was an "unknown configuration"."""
    module = SupervisedModule(nn.Linear(1, 1), nn.MSELoss(), optimizer=partial(torch.optim.SGD))
    says = r"^scheduled\(\) takes an optimizer, such as self\.optimizer\(.*\), not partial$"
    with pytest.raises(TypeError, match=says):
        module.scheduled(module.optimizer)


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ([MeanAbsoluteError()], 'metrics must be torchmetrics by name, such as {"mae": Me'),
        (MeanAbsoluteError(), "metrics must be .*, not MeanAbsoluteError"),
        ({"mae": lambda p, t: (p - t).abs().mean()}, r'metrics\["mae"\] is a function, and must'),
        ({"mae": MeanAbsoluteError}, r'metrics\["mae"\] is the class MeanAbsoluteError, and must'),
        (nn.ModuleDict({"mae": nn.L1Loss()}), r'metrics\["mae"\] is a L1Loss, and must be an obje'),
    ],
)
def test_what_are_no_metrics_by_name_is_refused(metrics: Any, says: str) -> None:
    with pytest.raises(UserError, match=f"^SupervisedModule: {says}") as error:
        SupervisedModule(nn.Linear(1, 1), nn.MSELoss(), metrics)
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize(
    "metrics",
    [
        MetricCollection({"acc": BinaryAccuracy(), "acc80": BinaryAccuracy(threshold=0.8)}),
        MetricCollection(
            {"c": BinaryAccuracy(), "c80": BinaryAccuracy(threshold=0.8)}, prefix="ac"
        ),
        nn.ModuleDict({"acc": BinaryAccuracy(), "acc80": BinaryAccuracy(threshold=0.8)}),
    ],
    ids=["MetricCollection", "with a prefix", "ModuleDict"],
)
def test_collections_of_metrics_are_measured_as_a_dict_of_them(metrics: Any) -> None:
    module = SupervisedModule(nn.Linear(3, 1), nn.BCELoss(), metrics)
    module.val_metrics.update(torch.tensor([0.9, 0.7, 0.6, 0.1]), torch.tensor([1, 1, 0, 0]))
    found = {name: value.item() for name, value in module.val_metrics.compute().items()}
    assert found == {"val/acc": 3 / 4, "val/acc80": 3 / 4}
    module.val_metrics.update(torch.tensor([0.7, 0.7]), torch.tensor([1, 1]))
    found = {name: value.item() for name, value in module.val_metrics.compute().items()}
    assert found == pytest.approx({"val/acc": 5 / 6, "val/acc80": 3 / 6})
    assert [*module.train_metrics, *module.test_metrics] == [
        *("train/acc", "train/acc80"),
        *("test/acc", "test/acc80"),
    ]


def test_a_default_run_leaves_its_weights_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    words = ["experiment=curve_fit", "accelerator=cpu", "datamodule.steps_per_epoch=1"]
    for name in ("default", "he"):
        run_train(*words, f"init={name}", f"paths.log_dir={tmp_path / name}", draws=False)
    assert "model: CurveMLP" in caplog.text
    assert "init: leaves" not in caplog.text


def test_init_fills_the_network() -> None:
    module = linear(init=lambda network: nn.init.constant_(network.weight, 0.5))
    assert module(torch.ones(1, 3)).tolist() == [[1.5, 1.5]]


LEFT: dict[str, tuple[list[nn.Module], list[str]]] = {
    "filled": ([nn.Linear(3, 2), nn.Conv2d(1, 2, 3), nn.BatchNorm1d(2)], []),
    "constant": ([nn.Linear(3, 2), nn.LayerNorm([3, 2])], []),
    "no weights": ([nn.ReLU()], []),
    "recurrent": ([nn.Linear(3, 2), nn.RNN(2, 2)], ["1.weight_ih_l0", "1.weight_hh_l0"]),
    "transposed": ([nn.Linear(3, 2), nn.ConvTranspose2d(1, 2, 3)], ["1.weight"]),
    "embedding": ([nn.Embedding(3, 2), nn.Linear(3, 2)], ["0.weight"]),
    "nothing filled": ([nn.RNN(2, 2)], ["0.weight_ih_l0", "0.weight_hh_l0"]),
    "empty": ([nn.Linear(3, 2), nn.Embedding(0, 2)], []),
    "attention": ([nn.MultiheadAttention(2, 1)], ["0.in_proj_weight"]),
    "weight norm": (
        [nn.Linear(3, 2), nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))],
        ["1.parametrizations.weight.original0", "1.parametrizations.weight.original1"],
    ),
}


@pytest.mark.parametrize("scheme", ["default", "zero", "randn", "xavier", "he"])
@pytest.mark.parametrize("name", LEFT)
def test_weights_that_init_leaves_are_known(name: str, scheme: str) -> None:
    """As it happened: init=zero let recurrent layers learn, and nothing said why."""
    layers, left = LEFT[name]
    network = copy.deepcopy(nn.Sequential(*layers))
    fill = partial(init.SCHEMES[scheme], seed=0)
    model = SupervisedModule(network, nn.MSELoss(), init=fill)
    assert model.not_filled == (left if scheme != "default" else [])


def test_accumulated_gradients_give_the_rows_of_whole_batches(tmp_path: Path) -> None:
    rows = []
    for accumulate in (1, 2):
        torch.manual_seed(0)
        folder = tmp_path / str(accumulate)
        folder.mkdir()
        data = Arrays({"train": (X[:8], Y[:8])}, batch_size=2 // accumulate)
        options = {"max_epochs": 1, "log_every_n_steps": 2, "accumulate_grad_batches": accumulate}
        plain_trainer(folder, **options).fit(linear(), data)
        rows.append(columns(folder, "step", "train/loss", "train/mae"))
    assert rows[0][0] == [1, 3]
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-5)


@pytest.mark.parametrize(
    "metrics", [{"mae": MeanAbsoluteError()}, None], ids=["with metrics", "without"]
)
@pytest.mark.parametrize("sizes", [[], [3], [3, 0, 2]], ids=str)
def test_a_checkpoint_has_the_steps_that_no_row_has_told_of(
    sizes: list[int], metrics: dict[str, Metric] | None, tmp_path: Path
) -> None:
    module, resumed = linear(metrics=metrics), linear(metrics=metrics)
    seen = [
        (torch.randn(2 * size, 2), torch.randn(size)) for size in sizes
    ]  # two predictions a sample, say
    losses = torch.rand(len(sizes)).tolist()
    module.steps_since_row = [
        (loss, size, pair if metrics else ())
        for loss, size, pair in zip(losses, sizes, seen, strict=True)
    ]
    torch.save(rows.pack(module.steps_since_row), tmp_path / "steps.ckpt")
    packed = torch.load(tmp_path / "steps.ckpt", weights_only=True)
    resumed.steps_since_row = rows.unpack(packed)
    torch.testing.assert_close(resumed.steps_since_row, module.steps_since_row, rtol=0, atol=0)


@pytest.mark.parametrize(
    "kinds",
    [(float, float), (torch.tensor, torch.tensor), (float, torch.tensor)],
    ids=["numbers", "tensors", "one of each"],
)
def test_a_row_is_of_losses_as_numbers_or_as_tensors(
    kinds: list[Callable[[float], Any]], tmp_path: Path
) -> None:
    """On a GPU they are tensors, but for those of a checkpoint."""
    module = linear(metrics={})
    trainer = plain_trainer(tmp_path, max_epochs=0)
    trainer.fit(module, Arrays({"train": (X, Y)}))
    module.steps_since_row = [(kinds[0](0.5), 1, ()), (kinds[1](2.0), 3, ())]
    assert module._write_row(7) == {"train/loss": (0.5 + 3 * 2.0) / 4}


def test_metrics_that_agree_on_the_first_batch_are_measured_each_by_itself() -> None:
    """As it happened: a second threshold showed the numbers of the first one for a whole run."""
    metrics = {"acc": BinaryAccuracy(), "acc80": BinaryAccuracy(threshold=0.8)}
    module = SupervisedModule(nn.Linear(3, 1), nn.BCELoss(), metrics)
    truths = torch.tensor([1, 0])
    for guesses in ([0.9, 0.1], [0.7, 0.6]):
        module.val_metrics.update(torch.tensor(guesses), truths)
    found = {name: value.item() for name, value in module.val_metrics.compute().items()}
    assert found == {"val/acc": 0.75, "val/acc80": 0.75}
    module.val_metrics.update(torch.tensor([0.7, 0.7]), torch.tensor([1, 1]))
    found = {name: value.item() for name, value in module.val_metrics.compute().items()}
    assert found == {"val/acc": pytest.approx(5 / 6), "val/acc80": 0.5}


def test_a_mean_by_another_name_is_a_mean() -> None:
    """As it happened: batchmean was summed over batches."""
    module = SupervisedModule(nn.Linear(3, 3), nn.KLDivLoss(reduction="batchmean"))
    guesses = torch.rand(10, 3).log_softmax(1)
    truths = torch.rand(10, 3).softmax(1)
    for some in (slice(0, 4), slice(4, 8), slice(8, 10)):
        value = module.loss(guesses[some], truths[some])
        module.add_loss(module.val_loss, value, truths[some])
    expected = (truths * (truths.log() - guesses)).sum() / 10
    assert module.val_loss.compute().item() == pytest.approx(expected.item())


@pytest.mark.parametrize("ignored", [-100, 3])
def test_the_loss_of_sequences_is_that_of_all_their_labels(ignored: int) -> None:
    """As it happened: a batch of short ones weighed as much as one of long ones."""
    loss = nn.CrossEntropyLoss(ignore_index=ignored)
    model = SupervisedModule(nn.Linear(1, 1), loss)
    generator = torch.Generator().manual_seed(0)
    metric, values, labels = model.val_loss, [], []
    for samples, length in ((3, 9), (1, 1), (2, 4)):
        predictions = torch.randn(samples, 5, length, generator=generator)
        targets = torch.randint(0, 5, (samples, length), generator=generator)
        targets[:, -1] = ignored if length > 1 else 1
        model.add_loss(metric, loss(predictions, targets), targets)
        values.append(predictions.transpose(1, 2).reshape(-1, 5))
        labels.append(targets.flatten())
    torch.testing.assert_close(metric.compute(), loss(torch.cat(values), torch.cat(labels)))
