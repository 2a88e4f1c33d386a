"""Accuracy of each class, against scikit-learn; the figures, by what is written in them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.colors import to_rgba
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from engine.run.loggers import MetricsCSV
from engine.supervised import SupervisedModule
from fitting import Arrays, columns, plain_trainer
from project.callbacks.classification import ClassificationReport, confusion_figure, grid_figure
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
    trainer.test(module, images(), verbose=False)
    chosen, predicted = [0, 2, 5, 7, 10], module.predict(PIXELS[:11])
    axes = report._grid(trainer, module).axes
    assert [a.get_title() for a in axes] == [
        f"{NAMES[TARGETS[i]]} / {NAMES[predicted[i]]}" for i in chosen
    ]
    for a, i in zip(axes, chosen, strict=True):
        np.testing.assert_allclose(
            a.images[0].get_array(), PIXELS[i].transpose(1, 2, 0) / 255, atol=1e-5
        )


def test_confusion_figure_counts_as_scikit_learn_does() -> None:
    predicted = RNG.integers(0, 4, 20)
    expected = confusion_matrix(TARGETS, predicted, labels=range(4))
    figure = confusion_figure(torch.from_numpy(expected), NAMES)
    axes = figure.axes[0]
    counts = {text.get_position(): text.get_text() for text in axes.texts}
    assert counts == {
        (column, row): str(expected[row, column]) for row in range(4) for column in range(4)
    }
    assert axes.get_title() == f"accuracy {accuracy_score(TARGETS, predicted):.1%}"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prediction", "truth")
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES
    shares = expected / np.maximum(expected.sum(axis=1, keepdims=True), 1)
    np.testing.assert_allclose(axes.images[0].get_array(), shares, rtol=1e-6)


def test_a_wrong_image_is_red() -> None:
    truths, predictions = [0, 1, 3, 3, 1, 0, 0, 1, 1], [0, 0, 3, 2, 1, 0, 0, 1, 1]
    figure = grid_figure(torch.rand(9, 4, 4, 3), truths, predictions, NAMES)
    assert figure.get_suptitle() == "truth / prediction: 7 of 9 right, wrong ones in red"
    shown, empty = figure.axes[:9], figure.axes[9:]
    assert [a.get_title() for a in shown[:4]] == [
        "cat / cat",
        "dog / cat",
        "ship / ship",
        "ship / none",
    ]
    wrong = [index for index, a in enumerate(shown) if a.title.get_color() == "crimson"]
    framed = [
        index
        for index, a in enumerate(shown)
        if a.spines["left"].get_edgecolor() == to_rgba("crimson")
    ]
    assert wrong == framed == [1, 3]
    assert [a.axison for a in empty] == [False] * 7
