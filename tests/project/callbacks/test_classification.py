"""Accuracy of each class, against scikit-learn; the figures, by what is written in them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.metrics import confusion_matrix, recall_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

from commands import only_run, run_train
from engine import figures
from engine.run.loggers.table import MetricsCSV
from engine.supervised import SupervisedModule
from fitting import Arrays, columns, plain_trainer
from project.callbacks.classification import ClassificationReport, Confusion
from project.datamodules.images import ImageDataModule

RNG = np.random.default_rng(0)
NAMES = ["cat", "dog", "none", "ship"]  # there is no sample of the third
PIXELS = RNG.integers(0, 256, (20, 3, 4, 4), dtype=np.uint8)
TARGETS = RNG.choice([0, 1, 3], 20)


class Images(ImageDataModule, Arrays):
    class_names = NAMES


def images() -> Images:
    splits = {
        "train": (PIXELS, TARGETS),
        "val": (PIXELS, TARGETS),
        "test": (PIXELS[:11], TARGETS[:11]),
    }
    return Images(splits=splits, batch_size=20, eval_batch_size=7)


class Remembers(SupervisedModule):
    """A linear classifier that keeps what it predicts in each validation."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
        super().__init__(
            network,
            nn.CrossEntropyLoss(),
            optimizer=lambda parameters: torch.optim.SGD(parameters, 0.1),
        )
        self.predicted: list[np.ndarray] = []

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self((torch.from_numpy(pixels) / 255 - 0.5) / 0.5).argmax(1).numpy()

    def on_validation_end(self) -> None:
        self.predicted.append(self.predict(PIXELS))


def test_validation_tells_each_class_s_accuracy_afresh(tmp_path: Path) -> None:
    module = Remembers()
    plain_trainer(tmp_path, max_epochs=3, callbacks=[ClassificationReport()]).fit(module, images())
    expected = [recall_score(TARGETS, p, labels=[0, 1, 3], average=None) for p in module.predicted]
    assert len({tuple(row) for row in expected}) > 1
    found = columns(tmp_path, "val/acc/cat", "val/acc/dog", "val/acc/ship")
    np.testing.assert_allclose(np.transpose(found), expected, rtol=1e-6)
    assert "val/acc/none" not in (tmp_path / "metrics.csv").read_text()


@pytest.mark.parametrize("grid_images", [4, 100, 0])
def test_testing_tells_each_class_s_accuracy_and_draws(grid_images: int, tmp_path: Path) -> None:
    module = Remembers()
    loggers = [TensorBoardLogger(tmp_path, name="", version=""), MetricsCSV(tmp_path)]
    trainer = plain_trainer(tmp_path, logger=loggers, callbacks=[ClassificationReport(grid_images)])
    (found,) = trainer.test(module, images(), verbose=False)
    expected = recall_score(
        TARGETS[:11], module.predict(PIXELS[:11]), labels=[0, 1, 3], average=None
    )
    assert [found[f"test/acc/{name}"] for name in ("cat", "dog", "ship")] == pytest.approx(
        expected, rel=1e-6
    )
    assert "test/acc/none" not in found

    drawn = {"test_confusion_matrix.png"} | ({"test_images.png"} if grid_images else set())
    assert {path.name for path in (tmp_path / "figures").iterdir()} == drawn
    assert all(
        path.read_bytes().startswith(b"\x89PNG") for path in (tmp_path / "figures").iterdir()
    )
    tags = EventAccumulator(str(tmp_path)).Reload().Tags()["images"]
    assert set(tags) == {path.removesuffix(".png").replace("_", "/", 1) for path in drawn}


class OnTwo(Images):
    """Is validated on all samples and on some of them, and tested the other way round."""

    def val_dataloader(self) -> Any:
        return [super().val_dataloader(), super().test_dataloader()]

    def test_dataloader(self) -> Any:
        return self.val_dataloader()[::-1]


def test_each_of_several_loaders_has_accuracies_of_its_own(tmp_path: Path) -> None:
    """As it happened: they were those of all samples of all loaders together."""
    module = Remembers()
    data = OnTwo(splits=images().given, batch_size=20, eval_batch_size=7)
    trainer = plain_trainer(tmp_path, logger=False, callbacks=[ClassificationReport(4)])
    validated = trainer.validate(module, data, verbose=False)
    tested = trainer.test(module, data, verbose=False)
    for found, split, sizes in ((validated, "val", (20, 11)), (tested, "test", (11, 20))):
        metrics = {name: value for own in found for name, value in own.items()}
        for loader, size in enumerate(sizes):
            truth, predicted = TARGETS[:size], module.predict(PIXELS[:size])
            expected = recall_score(truth, predicted, labels=[0, 1, 3], average=None)
            names = [f"{split}/acc/{name}/dataloader_idx_{loader}" for name in NAMES]
            right = [metrics[name] for name in names if name in metrics]
            assert right == pytest.approx(expected, rel=1e-6)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    both = {f"test_confusion_matrix_dataloader_idx_{loader}.png" for loader in (0, 1)}
    assert names == {*both, "test_images.png"}


def test_another_split_is_named_in_the_figures(tmp_path: Path) -> None:
    data = images()
    data.test_split = "val"
    plain_trainer(tmp_path, logger=False, callbacks=[ClassificationReport(1)]).test(
        Remembers(), data, verbose=False
    )
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"val_confusion_matrix.png", "val_images.png"}


def test_the_grid_spreads_over_the_split_and_shows_the_images_as_they_are(tmp_path: Path) -> None:
    module, report = Remembers(), ClassificationReport(grid_images=5)
    trainer = plain_trainer(tmp_path, logger=False, callbacks=[report])
    data = images()
    trainer.test(module, data, verbose=False)
    chosen, predicted = [0, 2, 5, 7, 10], module.predict(PIXELS[:11])
    (axes,) = report._grid(module, data, "test", "a run").axes
    assert [text.get_text() for text in axes.texts] == [
        NAMES[predicted[i]]
        if predicted[i] == TARGETS[i]
        else f"{NAMES[predicted[i]]}\nis {NAMES[TARGETS[i]]}"
        for i in chosen
    ]
    mosaic = axes.images[0].get_array()
    for place, i in enumerate(chosen):
        y, x = 7 * (place // 4), 5 * (place % 4)  # images of 4 × 4 and their margins
        shown = mosaic[y : y + 4, x : x + 4]
        np.testing.assert_allclose(shown, PIXELS[i].transpose(1, 2, 0) / 255, atol=1e-5)


def test_the_figures_say_split_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[str, Any] = {}
    keep = lambda trainer, tag, figure, step: shown.update({tag: figure})  # noqa: E731
    monkeypatch.setattr(figures, "show", keep)
    folder = tmp_path / "pets" / "monday"
    trainer = plain_trainer(folder, logger=False, callbacks=[ClassificationReport(4)])
    trainer.test(Remembers(), images(), verbose=False)
    assert list(shown) == ["test/confusion_matrix", "test/images"]
    for figure in shown.values():
        title, run = (text.get_text() for text in figure.texts)
        assert title.startswith("test: ")
        assert run == "pets/monday"


def said(records: Sequence[Any]) -> list[str]:
    return [r.getMessage() for r in records if r.name == "project.callbacks.classification"]


WORDS = ["experiment=linear", "callbacks=classification", "accelerator=cpu", "logger=csv"]
IRIS = ["module._target_=ways.Flowers", "datamodule._target_=ways.Iris", "optimizer.lr=0.1"]
ORDINARY = [
    "module._target_=ways.Small",
    "datamodule._target_=ways.Ordinary",
    "callbacks.checkpoints={monitor: val/loss, mode: min}",
]


@pytest.mark.parametrize(
    ("words", "line", "figures"),
    [
        (
            IRIS,
            "ClassificationReport: no test images are drawn, as Iris has no images()",
            ["test_confusion_matrix.png"],
        ),
        (
            ORDINARY,
            "ClassificationReport: no accuracies of classes and no figures, as Ordinary has no "
            "class_names",
            [],
        ),
    ],
    ids=["features", "a plain data module without classes"],
)
def test_what_does_not_apply_is_left_out_and_said_before_training(
    words: list[str],
    line: str,
    figures: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    sizes = ["datamodule.batch_size=30", "datamodule.steps_per_epoch=null", "trainer.max_epochs=2"]
    run_train(*WORDS, *words, *sizes, f"paths.log_dir={tmp_path}")
    run_dir = only_run(tmp_path)
    assert json.loads((run_dir / "summary.json").read_text())["status"] == "finished"
    assert sorted(path.name for path in run_dir.glob("figures/*")) == figures
    header = (run_dir / "metrics.csv").read_text().splitlines()[0]
    names = ["setosa", "versicolor", "virginica"] if figures else []
    for split in ("val", "test"):
        assert all(f"{split}/acc/{name}" in header for name in names)
    log = (run_dir / "train.log").read_text()
    assert log.count(line) == 1
    assert log.index(line) < log.index("epoch 1")
    assert said(caplog.records) == [line]


class Returns(Remembers):
    """A classifier whose steps return something of their own."""

    def __init__(self, outputs: Any) -> None:
        super().__init__()
        self.outputs = outputs

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        returned = super().validation_step(batch, batch_idx)
        return self.outputs(returned["predictions"], returned["targets"])

    test_step = validation_step


NO_CLASSES = {
    "nothing": (lambda p, t: None, 'the steps return no dict with "predictions" and "targets"'),
    "a loss": (
        lambda p, t: F.cross_entropy(p, t),
        'the steps return no dict with "predictions" and "targets"',
    ),
    "one logit": (
        lambda p, t: {"predictions": p[:, :1], "targets": t},
        "predictions (7, 1) and targets (7,) of torch.int64 are not of 4 classes",
    ),
    "boxes": (
        lambda p, t: {"predictions": list(p), "targets": t},
        'the steps return "predictions" that are a list, no tensor',
    ),
    "larger maps": (
        lambda p, t: {"predictions": p[..., None], "targets": t[:, None].repeat(1, 2)},
        "predictions (7, 4, 1) and targets (7, 2) of torch.int64 are not of 4 classes",
    ),
    "shares of classes": (
        lambda p, t: {"predictions": p, "targets": p.softmax(1)},
        "predictions (7, 4) and targets (7, 4) of torch.float32 are not of 4 classes",
    ),
}


@pytest.mark.parametrize("case", NO_CLASSES)
def test_steps_that_return_no_predictions_of_classes(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    outputs, reason = NO_CLASSES[case]
    trainer = plain_trainer(tmp_path, max_epochs=2, callbacks=[ClassificationReport()])
    module = Returns(outputs)
    trainer.fit(module, images())
    trainer.test(module, images(), verbose=False)
    assert said(caplog.records) == [
        f"ClassificationReport: no accuracies of classes and no figures, as {reason}"
    ]
    assert "acc/" not in (tmp_path / "metrics.csv").read_text()
    assert not (tmp_path / "figures").exists()


def test_labels_that_are_unknown_do_not_count(tmp_path: Path) -> None:
    module, targets = Remembers(), TARGETS.copy()
    targets[::3] = -100  # cross-entropy leaves them out
    data = Images(splits=dict.fromkeys(("train", "test"), (PIXELS, targets)), batch_size=20)
    trainer = plain_trainer(tmp_path, logger=False, callbacks=[ClassificationReport(0)])
    (found,) = trainer.test(module, data, verbose=False)
    known = targets >= 0
    expected = recall_score(
        targets[known], module.predict(PIXELS)[known], labels=[0, 1, 3], average=None
    )
    assert [found[f"test/acc/{name}"] for name in ("cat", "dog", "ship")] == pytest.approx(
        expected, rel=1e-6
    )


class Segments(SupervisedModule):
    """Gives each pixel a class.

    Args:
        ignored: the label that the loss leaves out.
    """

    def __init__(self, ignored: int = -100) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(3, 4, 1), nn.CrossEntropyLoss(ignore_index=ignored))


@pytest.mark.parametrize("ignored", [255, 2])
def test_the_label_that_a_loss_leaves_out_does_not_count(ignored: int, tmp_path: Path) -> None:
    """As it happened: 255 ended the run, and a class that is left out counted."""
    labels = RNG.integers(0, 4, (20, 4, 4))
    labels[::3] = ignored
    data = Images(splits=dict.fromkeys(("train", "test"), (PIXELS, labels)), batch_size=20)
    module = Segments(ignored)
    trainer = plain_trainer(tmp_path, logger=False, callbacks=[ClassificationReport()])
    (found,) = trainer.test(module, data, verbose=False)
    predicted = module(data.prepare_inputs(torch.from_numpy(PIXELS))).argmax(1).numpy()
    known = labels != ignored
    classes = [number for number in range(4) if number != ignored]
    expected = recall_score(labels[known], predicted[known], labels=classes, average=None)
    told = [found[f"test/acc/{NAMES[number]}"] for number in classes]
    assert told == pytest.approx(expected, rel=1e-6)
    assert len([name for name in found if name.startswith("test/acc/")]) == len(classes)


def test_of_images_with_a_label_for_each_pixel_there_is_no_grid(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    labels = RNG.integers(0, 4, (20, 4, 4))
    data = Images(splits=dict.fromkeys(("train", "test"), (PIXELS, labels)), batch_size=20)
    module = Segments()
    trainer = plain_trainer(tmp_path, logger=False, callbacks=[ClassificationReport()])
    (found,) = trainer.test(module, data, verbose=False)
    predicted = module(data.prepare_inputs(torch.from_numpy(PIXELS))).argmax(1)
    expected = recall_score(labels.ravel(), predicted.ravel(), labels=range(4), average=None)
    assert [found[f"test/acc/{name}"] for name in NAMES] == pytest.approx(expected, rel=1e-6)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["test_confusion_matrix.png"]
    assert said(caplog.records) == [
        "ClassificationReport: no test images are drawn, as Images has more than one label for an "
        "image"
    ]


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [
        (2, torch.bool),
        (30, torch.uint8),
        (200, torch.uint8),
        (100, torch.int8),
        (300, torch.int16),
        (300, torch.uint16),
    ],
)
def test_counts_of_labels_in_few_bits(classes: int, dtype: torch.dtype) -> None:
    """As it happened: a perfect classifier of 30 classes was right in 36 of 120, with uint8."""
    targets = torch.arange(classes).repeat(2)
    predicted = torch.from_numpy(RNG.permutation(targets))
    predicted[:classes] = targets[:classes]
    theirs, ours = MulticlassConfusionMatrix(classes), Confusion(classes)
    theirs.update(predicted, targets)
    ours.update(predicted, targets.to(dtype))
    assert ours.compute().trace() >= classes
    torch.testing.assert_close(ours.compute(), theirs.compute())


class Without255(nn.Module):
    """Leaves a label out, which only its code says."""

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(predictions, targets, ignore_index=255)


def test_labels_above_the_last_class_are_left_out_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: 255, which the loss of a plain module leaves out, ended the run."""
    caplog.set_level("INFO")
    targets = TARGETS.copy()
    targets[::3] = 255
    module = Remembers()
    module.loss = Without255()
    data = Images(splits=dict.fromkeys(("train", "val", "test"), (PIXELS, targets)), batch_size=20)
    trainer = plain_trainer(tmp_path, logger=False, callbacks=[ClassificationReport(0)])
    for _ in range(2):
        trainer.validate(module, data, verbose=False)
    (found,) = trainer.test(module, data, verbose=False)
    known = targets < 4
    expected = recall_score(
        targets[known], module.predict(PIXELS)[known], labels=[0, 1, 3], average=None
    )
    told = [found[f"test/acc/{name}"] for name in ("cat", "dog", "ship")]
    assert told == pytest.approx(expected, rel=1e-6)
    assert said(caplog.records) == [
        f"ClassificationReport: 7 labels of {split} are left out: they are above the last class, 3"
        for split in ("val", "test")
    ]


def test_the_grid_predicts_in_the_precision_of_the_test(tmp_path: Path) -> None:
    """As it happened: in bf16-mixed, captions said another class than the confusion matrix."""
    options = {"precision": "bf16-mixed", "logger": False, "callbacks": [ClassificationReport(11)]}
    trainer, module, data = plain_trainer(tmp_path, **options), Remembers(), images()
    seen: list[torch.dtype] = []
    module.network.register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    trainer.test(module, data, verbose=False)
    assert seen == [torch.bfloat16] * 3  # two batches of the test, and the grid


def test_counts_are_those_of_scikit_learn() -> None:
    """In parts, with unknown targets, and with as many classes as there is memory for."""
    confusion = Confusion(2000)
    targets = RNG.integers(-1, 2000, 3000)
    predicted = RNG.integers(0, 2000, 3000)
    for part in (slice(0, 1000), slice(1000, None)):
        confusion.update(torch.from_numpy(predicted[part]), torch.from_numpy(targets[part]))
    known = targets >= 0
    expected = confusion_matrix(targets[known], predicted[known], labels=range(2000))
    assert known.sum() < 3000
    np.testing.assert_array_equal(confusion.compute(), expected)
