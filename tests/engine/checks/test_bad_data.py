"""Data that a model cannot be trained on, and data that only looks so."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from commands import run_train
from engine.checks import bad_data
from engine.checks.fit import fit_to
from engine.data.split import Split
from engine.errors import UserError
from engine.supervised import SupervisedModule
from fitting import Arrays

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(6, 1)).astype(np.float32)
LABELS = np.array([0, 1, 2, 1, 0, 2])
NAN, INF = float("nan"), float("inf")


class Net(SupervisedModule):
    def __init__(
        self, outputs: int = 1, loss: nn.Module | None = None, network: nn.Module | None = None
    ) -> None:
        torch.manual_seed(0)
        network = network or nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, outputs))
        super().__init__(network, loss or nn.MSELoss())


class Own(nn.Module):
    """A loss of a user's own."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return self.function(predictions, targets)


class ImputingData(Arrays):
    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        return inputs.nan_to_num(0)


class NamedData(Arrays):
    class_names = ["cat", "dog", "bee"]


class Imputes(nn.Module):
    """A layer that knows what to do with a NaN."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.where(inputs.isnan(), 0.0, inputs)


def with_value(array: np.ndarray, place: tuple[int, ...], value: float) -> np.ndarray:
    changed = array.copy()
    changed[place] = value
    return changed


def masked(predictions: Tensor, targets: Tensor) -> Tensor:
    """The squared error of the targets that are known."""
    known = ~targets.isnan()
    return (predictions[known] - targets[known]).square().mean()


def refusal(model: SupervisedModule, data: Arrays) -> str | None:
    try:
        fit_to(model, data)
    except UserError as mistake:
        return str(mistake)
    assert all(module.training for module in model.modules())
    return None


REMOVE = (
    " (from 0), so that the loss or a gradient would be no number.\n"
    "Remove or replace it in load() or in prepare_inputs()."
)
IMAGES = np.zeros((6, 3, 2, 2), np.float32)
FLAT = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
ONE = with_value(X, (3, 2), NAN)
TWO = with_value(with_value(X, (1, 1), NAN), (4, 3), NAN)
WITHOUT_COLUMNS = Net(loss=Own(lambda p, t: (p[:, 0] - t).square().mean()))
FORGIVING = Net(loss=Own(lambda p, t: (p - t.nan_to_num(posinf=INF)).square().mean()))
HALF_KNOWN = with_value(with_value(Y, (1, 0), NAN), (2, 0), INF)
NO_NUMBERS = {
    "a feature": (Net(), Arrays({"train": (ONE, Y)}), "nan in row 3, column 2 of the inputs"),
    "an infinite feature": (
        Net(),
        Arrays({"train": (with_value(X, (3, 2), INF), Y)}),
        "inf in row 3, column 2 of the inputs",
    ),
    "a target": (
        Net(),
        Arrays({"train": (X, with_value(Y, (1, 0), -INF))}),
        "-inf in row 1, column 0 of the targets",
    ),
    "a target without columns": (
        WITHOUT_COLUMNS,
        Arrays({"train": (X, with_value(Y[:, 0], (1,), NAN))}),
        "nan in row 1 of the targets",
    ),
    "an image": (
        Net(network=FLAT),
        Arrays({"train": (with_value(IMAGES, (2, 1, 0, 1), NAN), Y)}),
        "nan in row 2, place [1, 0, 1] of the inputs",
    ),
    "in validation": (
        Net(),
        Arrays({"train": (X, Y), "val": (ONE, Y)}),
        "nan in row 3, column 2 of the inputs",
    ),
    "beside one that is prepared": (
        Net(),
        ImputingData({"train": (TWO, with_value(Y, (4, 0), NAN))}),
        "nan in row 4, column 3 of the inputs",
    ),
    "beside one that the loss masks": (
        FORGIVING,
        Arrays({"train": (X, HALF_KNOWN)}),
        "inf in row 2, column 0 of the targets",
    ),
}


@pytest.mark.parametrize("case", NO_NUMBERS)
def test_a_number_that_is_none_is_named_by_row_and_column(case: str) -> None:
    model, data, place = NO_NUMBERS[case]
    split = "val" if case == "in validation" else "train"
    assert refusal(model, data) == f'{type(data).__name__}: "{split}" has {place}{REMOVE}'


UNKNOWN = {"train": (X, with_value(Y, (2, 0), NAN))}
KNOWN = {
    "prepared": (Net(), ImputingData({"train": (with_value(X, (3, 2), NAN), Y)})),
    "for the network": (
        Net(network=nn.Sequential(Imputes(), nn.Linear(4, 1))),
        Arrays({"train": (with_value(X, (3, 2), NAN), Y)}),
    ),
    "for the loss": (Net(loss=Own(masked)), Arrays(UNKNOWN)),
}


@pytest.mark.parametrize("case", KNOWN)
def test_a_missing_number_that_the_model_knows_is_no_mistake_but_is_said(case: str) -> None:
    model, data = KNOWN[case]
    assert refusal(model, data) is None
    place = "row 2, column 0 of the targets" if case == "for the loss" else "row 3, column 2 of the"
    (remark,) = data.remarks()
    assert remark.startswith(
        f'"train": 1 of 6 samples have NaN or infinite numbers, such as nan in {place}'
    )


def test_integers_are_not_looked_at() -> None:
    """They may be images that do not fit in memory."""

    class Untouchable(torch.Tensor):
        def isfinite(self) -> Tensor:
            raise AssertionError

        def aminmax(self, **options: Any) -> Any:
            raise AssertionError

    pixels = torch.zeros((5, 3, 2, 2), dtype=torch.uint8).as_subclass(Untouchable)
    assert len(Split(pixels, torch.zeros(5)).odd_rows) == 0
    with pytest.raises(AssertionError):
        _ = Split(torch.zeros(5).as_subclass(Untouchable), torch.zeros(5)).odd_rows


def test_odd_rows_of_eight_bits() -> None:
    """As it happened: torch has no smallest number of them, which was a traceback."""
    inputs = torch.tensor([[1, 2], [NAN, 2], [3, 4]]).to(torch.float8_e4m3fn)
    assert Split(inputs, torch.ones(3)).odd_rows.tolist() == [1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_odd_rows_are_those_with_a_number_that_is_none(dtype: torch.dtype) -> None:
    inputs = torch.tensor([[1, 2], [NAN, 2], [3, 4], [5, -INF]], dtype=dtype)
    targets = torch.tensor([1, 2, INF, 4], dtype=dtype)
    assert Split(inputs, torch.ones(4)).odd_rows.tolist() == [1, 3]
    assert Split(inputs, targets).odd_rows.tolist() == [1, 2, 3]
    assert Split(inputs.T.contiguous().T, targets).odd_rows.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("loss", "label", "refused"),
    [
        (nn.CrossEntropyLoss(), 3, True),
        (nn.CrossEntropyLoss(), -1, True),
        (nn.CrossEntropyLoss(), -100, False),
        (nn.CrossEntropyLoss(ignore_index=-1), -1, False),
        (nn.CrossEntropyLoss(), 2, False),
        (nn.NLLLoss(), 3, True),
        (Own(lambda p, t: F.cross_entropy(p, t, label_smoothing=0.1)), 3, True),
        (Own(lambda p, t: -p.gather(1, t[:, None]).mean()), -1, True),
        # as many thresholds as there are classes but one
        (Own(lambda p, t: (p.sigmoid().sum(1) - t).square().mean()), 3, False),
    ],
)
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_label_that_the_loss_does_not_take(
    split: str, loss: nn.Module, label: int, refused: bool
) -> None:
    splits = {"train": (X, LABELS), "val": (X, LABELS)}
    splits[split] = X, with_value(LABELS, (4,), label)
    says = (
        f'Arrays: "{split}" has the label {label} in row 4 (from 0), and Net has 3 classes: '
        "labels are from 0 to 2."
    )
    assert refusal(Net(3, loss), Arrays(splits)) == (says if refused else None)


def test_a_label_without_a_name() -> None:
    data = NamedData({"train": (X, LABELS), "test": (X, with_value(LABELS, (2,), 3))})
    assert refusal(Net(5, nn.CrossEntropyLoss()), data) == (
        'NamedData: "test" has the label 3 in row 2 (from 0), and class_names has 3 names: '
        "labels are from 0 to 2."
    )


@pytest.mark.parametrize(
    ("loss", "dtype"),
    [
        (nn.CrossEntropyLoss(ignore_index=255), torch.int64),
        (nn.CrossEntropyLoss(ignore_index=255), torch.uint8),
        (Own(nn.CrossEntropyLoss(ignore_index=255)), torch.int64),
    ],
)
def test_a_label_without_a_name_that_the_loss_leaves_out(
    loss: nn.Module, dtype: torch.dtype
) -> None:
    """As it happened: 255, the usual word for "unknown", was refused for want of a name."""
    labels = torch.tensor(LABELS).index_fill_(0, torch.tensor([1, 4]), 255)

    def said(row: int, label: int) -> str | None:
        own = labels.clone().index_fill_(0, torch.tensor([row]), label).to(dtype)
        return refusal(Net(3, loss), NamedData({"train": (X, own)}))

    assert said(1, 255) is None
    assert said(2, 7) == (
        'NamedData: "train" has the label 7 in row 2 (from 0), and class_names has 3 names: '
        "labels are from 0 to 2."
    )


def test_a_label_that_a_metric_leaves_out_and_the_loss_does_not() -> None:
    metrics = {"acc": MulticlassAccuracy(3, ignore_index=255)}
    model = SupervisedModule(nn.Linear(4, 3), nn.CrossEntropyLoss(), metrics=metrics)
    data = NamedData({"train": (X, with_value(LABELS, (4,), 255))})
    assert refusal(model, data) == (
        'NamedData: "train" has the label 255 in row 4 (from 0), and SupervisedModule has 3 '
        "classes: labels are from 0 to 2."
    )


@pytest.mark.parametrize("value", [-1, 1.5])
def test_a_probability_is_from_0_to_1(value: float) -> None:
    fractions = np.linspace(0, 1, 6, dtype=np.float32)[:, None]
    assert refusal(Net(1, nn.BCEWithLogitsLoss()), Arrays({"train": (X, fractions)})) is None
    data = Arrays({"train": (X, with_value(fractions, (3, 0), value))})
    assert refusal(Net(1, nn.BCEWithLogitsLoss()), data) == (
        f'Arrays: "train" has the target {value:g} in row 3, column 0 (from 0): '
        "BCEWithLogitsLoss takes 0 to 1."
    )


@pytest.mark.parametrize("kind", ["bool", "uint16", "uint8"])
def test_probabilities_of_another_split_may_be_of_any_kind(kind: str) -> None:
    """As it happened: where torch has no smallest number of a kind, it was a traceback."""
    fractions = np.linspace(0, 1, 6, dtype=np.float32)[:, None]
    data = Arrays({"train": (X, fractions), "test": (X, np.rint(fractions).astype(kind))})
    model = Net(1, nn.BCEWithLogitsLoss())
    bad_data.check(model.eval(), data, lambda inputs: inputs)


@pytest.mark.parametrize("kind", ["int32", "uint16"])
def test_targets_of_a_kind_that_the_loss_does_not_take(kind: str) -> None:
    data = Arrays({"train": (X, LABELS.astype(kind))})
    assert (refusal(Net(3, nn.CrossEntropyLoss()), data) or "").startswith(
        f'Arrays: "train" has targets (N,) of torch.{kind}, which CrossEntropyLoss does not take '
        "for predictions (N, 3): "
    )


def plain(predictions: Tensor, targets: Tensor) -> Tensor:
    return (predictions - targets).square().mean()


SHAPES = [
    (nn.MSELoss(), 1, Y[:, 0], True),
    (nn.L1Loss(reduction="sum"), 1, Y[:, 0], True),
    (nn.MSELoss(), 1, LABELS, True),
    (nn.MSELoss(), 3, Y, True),
    (Own(plain), 1, Y[:, 0], True),
    (Own(lambda p, t: F.mse_loss(p, t).sqrt()), 1, Y[:, 0], True),
    (nn.MSELoss(), 1, Y, False),
    (Own(lambda p, t: plain(p.squeeze(1), t)), 1, Y[:, 0], False),
    (Own(lambda p, t: plain(p, t.unsqueeze(1)).sqrt()), 1, Y[:, 0], False),
    (Own(lambda p, t: plain(p[:, 0], t)), 1, Y[:, 0], False),
    (Own(lambda p, t: -torch.corrcoef(torch.stack([p[:, 0], t]))[0, 1]), 1, Y[:, 0], False),
    # three quantiles of one target
    (Own(lambda p, t: (t - p).relu().mean()), 3, Y, False),
    (nn.CrossEntropyLoss(), 3, LABELS, False),
]


@pytest.mark.parametrize(("loss", "outputs", "targets", "refused"), SHAPES)
def test_a_loss_that_compares_each_with_all(
    loss: nn.Module, outputs: int, targets: np.ndarray, refused: bool
) -> None:
    said = refusal(Net(outputs, loss), Arrays({"train": (X, targets)}))
    shape = "(N,)" if targets.ndim == 1 else "(N, 1)"
    says = (
        f"Arrays has targets {shape}, and Net has predictions (N, {outputs}): "
        f"{type(loss).__name__} would compare each of them with several.\n"
        "Give the targets the shape of the predictions, or the other way round."
    )
    assert said == (says if refused else None)


@pytest.mark.parametrize(("targets", "refused"), [(Y[:, 0], False), (Y, True)])
def test_a_network_may_leave_out_the_column(targets: np.ndarray, refused: bool) -> None:
    """One sample would have no dimension at all."""

    class Squeezes(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs).squeeze()

    data = Arrays({"train": (X, targets / 10 + 0.5)})
    for loss in (nn.MSELoss(), nn.BCEWithLogitsLoss()):
        assert (refusal(Net(loss=loss, network=Squeezes(4, 1)), data) is not None) == refused


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))


@pytest.mark.parametrize(
    ("samples", "batch_size", "network", "which"),
    [
        (5, 4, normed, "the last batch of a pass"),
        (6, 1, normed, "each batch"),
        (1, 8, normed, "each batch"),
        (6, 4, normed, None),
        (6, 6, normed, None),
        (5, 8, normed, None),
        (5, 4, lambda: nn.Linear(4, 1), None),
        (5, 1, lambda: nn.Linear(4, 1), None),
    ],
)
def test_a_batch_of_one_for_batch_norm(
    samples: int, batch_size: int, network: Callable[[], nn.Module], which: str | None
) -> None:
    model = Net(network=network())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    said = refusal(model, Arrays({"train": (X[:samples], Y[:samples])}, batch_size=batch_size))
    says = (
        f"datamodule.batch_size={batch_size}: of {samples} training samples, {which} has one, and "
        "Net needs more: Expected more than 1 value per channel when training, got input size "
        "torch.Size([1, 8])\nChoose a batch_size above 1 that leaves a remainder other than 1."
    )
    assert said == (says if which else None)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


class OwnStep(Net):
    """A module whose step does not use the targets."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss: Tensor = self.network(batch[0]).square().mean()
        return loss


def test_a_module_with_a_step_of_its_own_may_do_anything_with_targets() -> None:
    data = Arrays({"train": (X, with_value(Y[:, 0], (3,), NAN))})
    assert refusal(OwnStep(), data) is None
    assert data.remarks() == [
        '"train": 1 of 6 samples have NaN or infinite numbers, such as nan in row 3 of the targets '
        "(from 0)"
    ]


WORDS = [
    "experiment=linear",
    "accelerator=cpu",
    "logger=csv",
    "module.in_features=3",
    "datamodule._target_=ways.Broken",
    "trainer.max_steps=3",
]
SAYS = f'error: Broken: "train" has nan in row 3, column 2 of the inputs{REMOVE}\n'


def test_a_run_ends_with_2_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_train(*WORDS, "seed=3", f"paths.log_dir={tmp_path / 'logs'}")
    assert stop.value.code == 2
    assert capsys.readouterr() == ("", SAYS)
    assert list(tmp_path.iterdir()) == []


def test_of_jobs_that_train_together_those_with_bad_data_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*WORDS, f"paths.log_dir={tmp_path}", "hydra/launcher=vectorized"]
    with pytest.raises(SystemExit) as stop:
        run_train("-m", *words, "seed=1,2,3")
    assert stop.value.code == 2
    assert capsys.readouterr().err == SAYS
    done = [json.loads(path.read_text()) for path in tmp_path.rglob("summary.json")]
    assert sorted((run["seed"], run["status"]) for run in done) == [
        (1, "finished"),
        (2, "finished"),
    ]
    logs = [path.read_text() for path in tmp_path.rglob("train.log")]
    assert ["one of 2 jobs that train together" in log for log in logs] == [True, True]
    folders = {path.parent.parent for path in tmp_path.rglob(".hydra/config.yaml")}
    assert len(folders) == 2


def test_targets_of_a_validation_that_lack_columns_are_refused() -> None:
    three = np.tile(Y, (1, 3))
    data = Arrays({"train": (X, three), "val": (X, Y)})
    said = refusal(Net(network=nn.Linear(4, 3)), data)
    assert said is not None
    assert said.startswith('Arrays has "val" targets (N, 1), and Net has predictions (N, 3): MSE')


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("loss", [nn.MSELoss(), Own(F.mse_loss)], ids=["torch's", "own"])
def test_targets_of_each_split_are_looked_at(loss: nn.Module, split: str) -> None:
    """As it happened: val/loss was the mean over all pairs of a prediction and a target."""
    data = Arrays({"train": (X, Y), split: (X, Y[:, 0])})
    said = refusal(Net(loss=loss, network=nn.Linear(4, 1)), data)
    assert said == (
        f'Arrays has "{split}" targets (N,), and Net has predictions (N, 1): '
        f"{type(loss).__name__} would compare each of them with several.\n"
        "Give the targets the shape of the predictions, or the other way round."
    )
    assert refusal(Net(loss=loss, network=nn.Linear(4, 1)), Arrays({"train": (X, Y)})) is None
