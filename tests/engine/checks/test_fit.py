"""Module and data have to fit together."""

import copy
import json
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Unpack

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanSquaredError, MetricCollection, R2Score
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryConfusionMatrix,
    MultilabelAveragePrecision,
)
from torchmetrics.wrappers import BootStrapper, ClasswiseWrapper, MinMaxMetric, Running

import counting
import engine.supervised
import ways
from commands import ROOT, run_train
from engine.checks.fit import check_classes, fit_to
from engine.errors import UserError
from engine.seeds import generator_states
from engine.supervised import SupervisedModule
from fitting import Arrays, columns, plain_trainer
from project import init


class Later(LightningModule):
    """Makes its layer in `configure_model`."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.optimizer = partial(torch.optim.SGD, lr=0.1)
        self.in_features = in_features
        self.layer: nn.Module | None = None

    def configure_model(self) -> None:
        self.layer = nn.Linear(self.in_features, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(inputs)  # type: ignore[misc]
        return outputs


def test_a_try_changes_nothing_in_a_users_file() -> None:
    """What loading the samples and making the module change is no try, and stays."""

    class Loads(Arrays):
        def load(self) -> Any:
            counting.Tires.calls += 100
            return super().load()

    network = nn.Sequential(nn.Linear(2, 1), counting.Tires(1, 1))
    optimizer = partial(counting.slower, lr=0.1)
    module = SupervisedModule(network, nn.MSELoss(), optimizer=optimizer)
    data = Loads({"train": (np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))})
    try:
        fit_to(module, data, files=["counting"])
        assert (counting.Tires.calls, counting.optimizers) == (100, 0)
        fit_to(module, data)
        assert counting.optimizers == 1
    finally:
        counting.Tires.calls = counting.optimizers = 0


@pytest.mark.parametrize("layer", [counting.AddsOnce, counting.AddsOwn])
def test_what_a_try_puts_into_a_table_is_there_for_training(
    layer: type[nn.Linear], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: each run of such a network ended before its first step, with a KeyError."""
    for name, value in {"tables": {}, "is_ready": False, "optimizers": 0}.items():
        monkeypatch.setattr(counting, name, value)
    optimizer = partial(counting.slower, lr=0.1)
    module = SupervisedModule(network := layer(2, 1), nn.MSELoss(), optimizer=optimizer)
    data = Arrays({"train": (np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))})
    fit_to(module, data, files=["counting"])
    expected = network.weight.sum() + network.bias + 0.5
    assert module(torch.ones(1, 2)).item() == pytest.approx(expected.item())
    assert "a try before training has changed counting.optimizers, and" in caplog.text


def test_a_try_draws_nothing_of_the_run() -> None:
    """As it happened: an optimiser that draws its rate had another one than in Lightning."""
    optimizer = partial(counting.drawn, lr=0.1)
    module = SupervisedModule(nn.Linear(2, 1), nn.MSELoss(), optimizer=optimizer)
    before = generator_states()
    fit_to(module, Arrays({"train": (np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))}))
    assert generator_states() == before


def test_what_fails_for_a_layer_that_comes_later_is_not_refused() -> None:
    """As it happened: "'NoneType' object is not callable", and no parameters to optimise."""
    data = Arrays({"train": (np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))})
    data.setup("fit")
    fit_to(module := Later(2), data)
    assert module.example_input_array.shape == (1, 2)
    fit_to(whole := Later(3), data)
    whole.configure_model()
    whole.example_input_array = None
    with pytest.raises(UserError, match=r"^Later does not take the samples of Arrays, \(2,\): "):
        fit_to(whole, data)


@pytest.mark.parametrize(
    ("names", "number", "says"),
    [
        (["cat", "dog"], 2, None),
        (["cat"], None, None),
        (None, 7, None),
        # Whoever makes no classifier may have anything by that name.
        ({"cat": 0}, None, None),
        (len, 7, None),
        (
            {"cat": 0},
            7,
            "SimpleNamespace.class_names: is a dict; must be a list of words, such as "
            '["cat", "dog"].',
        ),
        (
            ["cat", "dog"],
            3,
            "module.num_classes=3: SimpleNamespace has 2 classes; set module.num_classes=2.",
        ),
        (
            ["cat"],
            1,
            "SimpleNamespace has one class only, cat: a classifier, with module.num_classes, "
            "needs two or more.",
        ),
    ],
    ids=[
        "two",
        "one without a classifier",
        "unknown",
        "a dict without a classifier",
        "a method",
        "a dict",
        "another number",
        "one",
    ],
)
def test_a_classifier_is_for_the_classes_of_the_data(
    names: Any, number: int | None, says: str | None
) -> None:
    config: Any = {"module": {} if number is None else {"num_classes": number}}
    data: Any = SimpleNamespace(class_names=names)
    if says is None:
        check_classes(config, data)
        return
    with pytest.raises(UserError) as raised:
        check_classes(config, data)
    assert str(raised.value) == says


class Shifts(nn.Module):
    """Works in place on its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sub_(0.25)


def test_a_network_that_works_in_place_changes_no_sample() -> None:
    """As it happened: the first sample of training was another one from then on."""
    samples = np.ones((4, 3), np.float32)
    data = Arrays({"train": (samples, samples)})
    module = SupervisedModule(nn.Sequential(Shifts(), nn.Linear(3, 3)), nn.MSELoss())
    fit_to(module, data)
    assert data.splits["train"].inputs.eq(1).all()


class TakesFirst(nn.Module):
    """Takes the mean of its first batch, whatever the mode, as ActNorm does."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(3))
        self.register_buffer("is_initialised", torch.tensor(False))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if not self.is_initialised:
            self.mean.data = x.mean(0)
            self.is_initialised = torch.tensor(True)
        return x - self.mean


ROWS = np.random.default_rng(0).normal(size=(6, 3))
SINGLE = ROWS.astype(np.float32)


@pytest.mark.parametrize("precision", [None, "64-true", "bf16-true"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_samples_of_each_split_are_tried_in_the_precision_of_training(
    split: str, precision: str | None
) -> None:
    """As it happened: float64 data were refused in 64 bits, and those of val ended an epoch."""

    def refusal(**splits: Any) -> str:
        model = SupervisedModule(nn.Linear(3, 1), nn.MSELoss())
        try:
            fit_to(model, Arrays({name: (x, x[:, :1]) for name, x in splits.items()}), precision)
        except UserError as mistake:
            return str(mistake)
        return ""

    begins = "SupervisedModule does not take the samples of"
    kinds = " of torch.float64: mat1 and mat2 must have the same dtype"
    one, other = refusal(train=ROWS), refusal(train=SINGLE, **{split: ROWS})
    if precision is None:
        assert one.startswith(f"{begins} Arrays, (3,){kinds}")
        assert other.startswith(f'{begins} "{split}" of Arrays, (3,){kinds}')
    else:
        assert (one, other) == ("", "")
    narrow = refusal(train=SINGLE, **{split: SINGLE[:, :2]})
    assert narrow.startswith(f'{begins} "{split}" of Arrays, (2,): ')
    assert refusal(train=SINGLE, **{split: SINGLE}, more=SINGLE[:, :2]) == ""


def test_data_in_64_bits_are_trained_on_in_64_bits(tmp_path: Path) -> None:
    """Three steps of SGD on all samples are those of NumPy."""
    data = ["datamodule._target_=ways.Doubles", "datamodule.batch_size=50"]
    numbers = ["module.in_features=3", "init=zero", "trainer.precision=64-true"]
    device = ["accelerator=cpu", "logger=csv", "trainer.max_steps=3"]
    run_train("experiment=linear", *data, *numbers, *device, f"paths.log_dir={tmp_path}")
    splits = ways.Doubles(seed=0, batch_size=50).splits
    samples, targets = splits["train"].inputs.numpy(), splits["train"].targets.numpy()
    weights = np.zeros((3, 1))
    for _ in range(3):
        weights -= 0.01 * 2 * samples.T @ (samples @ weights - targets)
    samples, targets = splits["test"].inputs.numpy(), splits["test"].targets.numpy()
    loss = np.square(samples @ weights - targets).sum()
    metrics = json.loads(next(tmp_path.rglob("summary.json")).read_text())["metrics"]
    assert metrics["test/loss"] == pytest.approx(loss, rel=1e-12)


def test_a_try_leaves_no_trace_in_the_network() -> None:
    """As it happened: a layer had the mean of one sample, and never that of the first batch."""
    samples = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    data = Arrays({"train": (samples, samples)})
    frozen = nn.Dropout().eval()
    layer = TakesFirst()
    module = SupervisedModule(nn.Sequential(layer, frozen, nn.Linear(3, 3)), nn.MSELoss())
    parameter = layer.mean
    fit_to(module, data)
    assert layer.mean is parameter
    assert layer.mean.eq(0).all()
    assert not layer.is_initialised
    assert (layer.calls, layer.training, frozen.training) == (0, True, False)


class MakesLayer(nn.Module):
    """Makes a layer in its first forward pass, as one that knows no shapes before."""

    def __init__(self) -> None:
        super().__init__()
        self.is_made = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_made:
            self.layer, self.is_made = nn.Linear(x.shape[1], 3), True
        made: Tensor = self.layer(x)
        return made


class Odd(nn.Module):
    """Has a sparse buffer, and one that grows."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("edges", torch.eye(3).to_sparse())
        self.register_buffer("seen", torch.zeros(1))
        self.norm = nn.LazyBatchNorm1d(affine=False)

    def forward(self, x: Tensor) -> Tensor:
        self.seen.resize_(len(x) + 2)
        made: Tensor = self.norm(x) @ self.edges.to_dense()
        return made


def test_a_module_that_takes_no_step_is_refused_before_a_folder_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: a run finished after 0 steps, and said nothing."""
    words = ["experiment=curve_fit", "accelerator=cpu", "module._target_=tried.UpdatesByHand"]
    with pytest.raises(SystemExit) as stop:
        run_train(*words, f"paths.log_dir={tmp_path}/logs")
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "error: UpdatesByHand: has automatic_optimization=False, and the training_step of "
        "SupervisedModule leaves the update to Lightning: nothing would be trained.\n"
        "Leave that out, or override training_step with one that takes the optimizer's step.\n"
    )
    assert not list(tmp_path.iterdir())


def test_what_a_first_pass_makes_stays() -> None:
    samples = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    data = Arrays({"train": (samples, samples)})
    layer, odd = MakesLayer(), Odd()
    network = nn.Sequential(nn.Linear(3, 3), odd, layer)
    fit_to(SupervisedModule(network, nn.MSELoss()), data)
    assert layer.is_made
    assert [name for name, _ in layer.named_parameters()] == ["layer.weight", "layer.bias"]
    assert odd.seen.tolist() == [0]
    assert odd.norm.num_features == 3


def test_a_loss_is_an_object() -> None:
    loss: Any = nn.MSELoss
    with pytest.raises(UserError, match=r"^loss=MSELoss: is a class; write MSELoss\(\)\.$"):
        SupervisedModule(nn.Linear(1, 1), loss)


class Cut(nn.Sequential):
    """Gives no gradients: in the modes that `cuts` names by whether they are of training."""

    def __init__(self, cuts: tuple[bool, ...]) -> None:
        super().__init__(nn.Linear(1, 1), nn.Dropout())
        self.cuts = cuts

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = super().forward(inputs)
        return outputs.detach() if self.training in self.cuts else outputs


class Items(nn.L1Loss):
    def forward(self, predictions: Tensor, targets: Tensor) -> Any:
        return super().forward(predictions, targets).item()


class Sums(SupervisedModule):
    def compute_loss(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return self.loss(predictions := self(inputs), targets).sum(), predictions


ONE_NUMBER = "and training needs one number."
NONE_LEFT_OUT = 'Leave out reduction="none", or override compute_loss.'
NO_GRADIENTS = "has no gradients: no weight that is trained has made it."
LEAVE_OUT = "Leave out detach(), item(), argmax() and no_grad() in forward and in the loss."


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (
            SupervisedModule(nn.Linear(1, 1), nn.MSELoss(reduction="none")),
            f"MSELoss, gives values (N, 1) for a batch, {ONE_NUMBER}\n{NONE_LEFT_OUT}",
        ),
        (
            SupervisedModule(nn.Linear(1, 1), Items()),
            f"Items, gives a float for a batch, {ONE_NUMBER}\n{NONE_LEFT_OUT}",
        ),
        (
            SupervisedModule(Cut((False, True)), nn.MSELoss()),
            f"MSELoss, {NO_GRADIENTS}\n{LEAVE_OUT}",
        ),
        (SupervisedModule(Cut((False,)), nn.MSELoss()), None),
        (SupervisedModule(Cut((False, True)).requires_grad_(False), nn.MSELoss()), None),
        (Sums(nn.Linear(1, 1), nn.MSELoss(reduction="none")), None),
    ],
    ids=["of each sample", "float", "cut", "cut in validation", "all frozen", "summed"],
)
def test_a_loss_is_one_number_that_weights_have_made(
    module: SupervisedModule, says: str | None
) -> None:
    """The first step said `element 0 of tensors does not require grad`, and the like."""
    values = np.random.default_rng(0).normal(size=(5, 1)).astype(np.float32)
    data = Arrays({"train": (values, values)})
    drawn, is_training = torch.get_rng_state(), module.training
    if says is None:
        fit_to(module, data)
    else:
        with pytest.raises(UserError) as raised:
            fit_to(module, data)
        assert str(raised.value) == f"{type(module).__name__}: its loss, {says}"
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(part.training == is_training for part in module.modules())


class Keeps(nn.Sequential):
    """Keeps what it computes."""

    def forward(self, inputs: Tensor) -> Tensor:
        self.features = self[0](inputs)
        outputs: Tensor = self[1](self.features)
        return outputs


class Pairs(nn.Module):
    """Compares nothing where there is no pair, as a contrastive loss does."""

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        close = targets < -9
        return (predictions[close] ** 2).mean() if close.any() else torch.zeros(())


class ByHand(SupervisedModule):
    """Has gradients of its own."""

    def backward(self, loss: Tensor, *args: Any, **options: Any) -> None:
        for own in self.parameters():
            own.grad = torch.ones_like(own)


@pytest.mark.parametrize(
    "module",
    [
        SupervisedModule(Keeps(nn.Linear(1, 2), nn.Linear(2, 1)), nn.MSELoss()),
        SupervisedModule(nn.utils.spectral_norm(nn.Linear(1, 1)), nn.MSELoss()),
        SupervisedModule(nn.Linear(1, 1), Pairs()),
        ByHand(Cut((False, True)), nn.MSELoss()),
    ],
    ids=["features", "spectral norm", "no pair", "by hand"],
)
def test_what_can_be_trained_is_left_as_it_is(module: SupervisedModule) -> None:
    """As it happened: a try with gradients left results in a network, which nobody could copy."""
    values = np.random.default_rng(0).normal(size=(5, 1)).astype(np.float32)
    fit_to(module, Arrays({"train": (values, values)}))
    copy.deepcopy(module)  # as callbacks do that keep a mean of the weights


class Squares(MeanSquaredError):
    """Gives a number of Python's, which Lightning does not log."""

    def compute(self) -> Any:
        return float(super().compute())


@pytest.mark.parametrize(
    ("metric", "gives"),
    [
        (MinMaxMetric(MeanSquaredError()), "a dict"),
        (ClasswiseWrapper(MeanSquaredError(num_outputs=2)), "a dict"),
        (BootStrapper(MeanSquaredError(), num_bootstraps=3), "a dict"),
        (Squares(), "a float"),
        (MeanSquaredError(num_outputs=2), "2 numbers"),
        (MeanSquaredError(), None),
        (Running(MeanSquaredError(), window=2), None),
    ],
    ids=["least and most", "classes", "samples", "float", "numbers", "number", "running"],
)
def test_a_metric_gives_one_number(metric: Any, gives: str | None) -> None:
    """As it happened: a dict failed at the first validation, but not in jobs of a stack."""
    samples = np.ones((4, 2), np.float32)
    data = Arrays({"train": (samples, samples)})
    data.setup("fit")
    module = SupervisedModule(nn.Linear(2, 2), nn.MSELoss(), {"own": metric})
    if gives is None:
        fit_to(module, data)
        return
    with pytest.raises(UserError) as raised:
        fit_to(module, data)
    says = f"SupervisedModule: its metric own gives {gives}, and a row of metrics takes one number."
    assert str(raised.value).splitlines() == [
        says,
        "Leave it out of `metrics`; a callback can draw it, a module of yours can log it.",
    ]


CONVERT = (
    "The loss and the metrics get the same targets: convert them in load(), or for one of them "
    "in a subclass, in forward of the loss or in update of the metric."
)


def test_a_metric_that_does_not_take_the_targets_is_named_before_training() -> None:
    """As it happened: the first step failed, with an error that named no metric."""
    labels = np.zeros((4, 2), np.float32)
    data = Arrays({"train": (labels, labels)})
    own = {"acc": MultilabelAveragePrecision(num_labels=2)}
    with pytest.raises(UserError) as raised:
        fit_to(SupervisedModule(nn.Linear(2, 2), nn.BCEWithLogitsLoss(), own), data)
    first, second = str(raised.value).splitlines()
    assert first.startswith(
        "SupervisedModule: its metric acc does not take predictions (N, 2) of torch.float32 and "
        "targets (N, 2) of torch.float32: Expected argument `target` to be an int or long tensor"
    )
    assert second == CONVERT


def test_a_metric_of_more_than_a_sample_is_no_mistake() -> None:
    values = np.random.default_rng(0).normal(size=(5, 1)).astype(np.float32)
    fit_to(
        SupervisedModule(nn.Linear(1, 1), nn.MSELoss(), {"r2": R2Score()}),
        Arrays({"train": (values[:1], values[:1]), "val": (values, values)}),
    )


class Squeezes(SupervisedModule):
    """Gives its loss and its metrics other predictions than its network has."""

    def compute_loss(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        predictions = self(inputs)[0].squeeze(1)
        return self.loss(predictions, targets), predictions


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(x), x


class Own(LightningModule):
    """Is validated on the first three columns, and measures what its step makes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.hidden = torch.zeros(1, 1)
        own = {"acc": BinaryAccuracy(), "matrix": BinaryConfusionMatrix()}
        self.train_metrics = MetricCollection(own, prefix="train/")

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.layer(x), self.hidden], 1)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0][:, :3])


def test_what_a_step_of_ones_own_may_change_is_not_tried() -> None:
    wide = np.ones((4, 5), np.float32)
    labels = np.ones(4, np.float32)
    splits = {"train": (wide[:, :3], labels), "val": (wide, labels)}
    fit_to(Own(), Arrays(splits, batch_size=1))
    accuracy = {"acc": BinaryAccuracy()}
    fit_to(Squeezes(Pair(), nn.MSELoss(), accuracy), Arrays({"train": splits["train"]}))


class OneLogit(SupervisedModule):
    """Has one logit for two classes."""

    def __init__(self) -> None:
        network = nn.Sequential(nn.Linear(3, 1), nn.Flatten(start_dim=0))
        super().__init__(network, nn.BCEWithLogitsLoss(), {"acc": BinaryAccuracy()})


class ConvertsInTraining(OneLogit):
    def compute_loss(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = self(inputs)
        return self.loss(logits, targets.float()), logits


class StepConvertsInTraining(OneLogit):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.compute_loss(batch[0], batch[1].float())[0]


class ConvertsLosses(ConvertsInTraining):
    def _loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return super()._loss(predictions, targets.float())


class ConvertsBatches(ConvertsInTraining):
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch[0], batch[1].float()


class ConvertsOnceValidated(ConvertsInTraining):
    """Has another loss when a validation or a test begins."""

    def on_validation_start(self) -> None:
        self.loss = nn.L1Loss()

    on_test_start = on_validation_start


class Validates(ConvertsInTraining):
    def validation_step(self, batch: Any, *args: Any) -> None:
        self.compute_loss(*batch)


CLASSES = np.array([0, 1, 1, 0, 1, 0])
REASON = "result type Float can't be cast to the desired output type Long"


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            OneLogit,
            'Arrays: "train" has targets (N,) of torch.int64, which BCEWithLogitsLoss does not '
            f"take for predictions (N,): {REASON}\n{CONVERT}",
        ),
        (ConvertsInTraining, "its validation_step fails, as compute_loss"),
        (StepConvertsInTraining, "its validation_step fails, as training_step"),
        (Validates, "its test_step fails, as compute_loss"),
        (ConvertsLosses, None),
        (ConvertsBatches, None),
        (ConvertsOnceValidated, None),
    ],
)
def test_what_only_training_converts_is_told_before_training(
    model: type[OneLogit], says: str | None
) -> None:
    """As it happened: a run failed at its first validation, with a traceback."""
    data = Arrays(dict.fromkeys(("train", "val", "test"), (SINGLE, CLASSES)))
    if says is None:
        fit_to(model(), data)
        return
    with pytest.raises(UserError) as raised:
        fit_to(model(), data)
    if model is not OneLogit:
        says = (
            f"{model.__name__}: {says} is of training only: {REASON}\nDo the same in a subclass, "
            "in forward of the loss or in update of the metric, or override "
            f"{says.split()[1]}, too."
        )
    assert str(raised.value) == says
    fit_to(ConvertsInTraining(), Arrays({"train": (SINGLE, CLASSES)}))
    fit_to(ConvertsInTraining(), data, left_out=["val", "test"])


def test_the_one_logit_of_the_documents_is_trained_and_validated(tmp_path: Path) -> None:
    """From weights of zero, SGD and the losses are those of NumPy."""
    (code,) = re.findall(
        r"```python\n(from torchmetrics.*?)\n\nlogits, ",
        (ROOT / "docs/interface.md").read_text(),
        re.DOTALL,
    )
    names = {**vars(engine.supervised), "Unpack": Unpack, "Count": int}
    exec(code, names)
    data = Arrays(dict.fromkeys(("train", "val"), (SINGLE, CLASSES)))
    model = names["OneLogit"](3, optimizer=partial(torch.optim.SGD, lr=0.5), init=init.zero)
    fit_to(model, data)
    plain_trainer(tmp_path, max_epochs=2).fit(model, data)
    weights, bias, losses = np.zeros(3), 0.0, []
    for _ in range(3):
        logits = ROWS @ weights + bias
        losses.append(np.log1p(np.exp(logits)).mean() - logits[CLASSES == 1].sum() / 6)
        error = 1 / (1 + np.exp(-logits)) - CLASSES
        weights, bias = weights - 0.5 * error @ ROWS / 6, bias - 0.5 * error.mean()
    train, val = columns(tmp_path, "train/loss")[0], columns(tmp_path, "val/loss", "val/acc")
    np.testing.assert_allclose(train, losses[:2], rtol=1e-6)
    np.testing.assert_allclose(val[0], losses[1:], rtol=1e-6)
    assert val[1][-1] == pytest.approx(np.mean((logits > 0) == CLASSES))
