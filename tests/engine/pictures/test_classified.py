"""The pictures of a classifier: what is written in them, and in which colours."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix

from engine.pictures import classified, looks
from fitting import Arrays

RNG = np.random.default_rng(0)
NAMES = ["cat", "dog", "none", "ship"]  # there is no sample of the third
TARGETS = RNG.choice([0, 1, 3], 20)


def test_classes_of_one_name_are_told_apart() -> None:
    """As it happened: both had one accuracy, which was the mean of theirs."""
    names = ["crane", "ship", "crane", "crane"]
    told = ["crane", "ship", "crane (2)", "crane (3)"]
    assert classified.names_of(SimpleNamespace(class_names=names)) == told
    assert classified.names_of(SimpleNamespace(class_names=None)) is None
    assert classified.names_of(None) is None


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (np.array(["crane", "ship", "crane"]), ["crane", "ship", "crane (2)"]),
        (np.unique([3, 7]), ["3", "7"]),
        (torch.arange(2), ["0", "1"]),
        ([], []),
    ],
)
def test_names_of_classes_in_an_array(names: Any, told: list[str]) -> None:
    """As it happened: "The truth value of an array is ambiguous", and the module was blamed."""
    assert classified.names_of(SimpleNamespace(class_names=names)) == told


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        ((5, 1, 6, 6), None),
        ((5, 3, 6, 6), None),
        ((5, 4, 6, 6), None),
        ((5, 2, 6, 6), "(N, 2, 6, 6)"),
        ((5, 36), "(N, 36)"),
    ],
)
def test_images_that_cannot_be_drawn_are_told_before_training(
    pixels: tuple[int, ...], told: str | None
) -> None:
    """As it happened: images of two channels were a traceback after all training."""
    data: Any = Arrays({"train": (torch.rand(pixels), torch.arange(5))})
    data.images = lambda inputs: inputs
    said = f"has images {told}: only (N, C, H, W) of 1, 3 or 4 channels can be drawn"
    assert classified.why_not_drawn(data) == (told and said)


def test_what_is_clear_in_an_image_is_white() -> None:
    image = Image.fromarray(RNG.integers(0, 256, (8, 8, 4), dtype=np.uint8), "RGBA")
    white = Image.new("RGBA", image.size, "white")
    expected = np.asarray(Image.alpha_composite(white, image).convert("RGB"))
    pixels = torch.from_numpy(np.asarray(image) / 255)[None].float()
    figure = classified.images(pixels, [0], [0], ["cat"], "test", "")
    shown = np.asarray(figure.axes[0].images[0].get_array())[:8, :8]
    np.testing.assert_allclose(shown, expected / 255, atol=1.01 / 255)


def test_a_confusion_matrix_counts_as_scikit_learn_does() -> None:
    predicted = RNG.integers(0, 4, 20)
    expected = confusion_matrix(TARGETS, predicted, labels=range(4))
    figure = classified.confusion(torch.from_numpy(expected), NAMES, "test", "lenet/monday")
    (axes,) = figure.axes
    counts = {text.get_position(): text.get_text() for text in axes.texts}
    assert (expected == 0).sum() > 3
    assert counts == {
        (column, row): str(expected[row, column])
        for row in range(4)
        for column in range(4)
        if expected[row, column]  # a zero says nothing
    }
    share = accuracy_score(TARGETS, predicted)
    said = [text.get_text() for text in figure.texts]
    assert said == [f"test: {share:.1%} of 20 right", "lenet/monday"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prediction", "truth")
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES
    assert figure.get_size_inches()[0] == pytest.approx(looks.WIDTH)


def test_few_errors_are_as_visible_as_many() -> None:
    def colours(errors: int) -> np.ndarray:
        counts = torch.tensor([[1000 - errors, errors], [0, 1000]])
        figure = classified.confusion(counts, ["a", "b"], "test", "")
        return np.asarray(figure.axes[0].images[0].get_array()).astype(int)

    few, many = colours(1), colours(400)
    assert few[0, 1].tolist() == many[0, 1].tolist()
    assert few[1, 0].tolist() == [255, 255, 255]
    red, _, blue = few[0, 1]
    assert red - blue > 100  # an error is orange
    red, _, blue = few[0, 0]
    assert blue - red > 100  # a right prediction is blue


@pytest.mark.parametrize("classes", [2, 10, 30, 50, 2000])
def test_a_matrix_of_any_size_can_be_drawn_and_read(classes: int) -> None:
    counts = torch.eye(classes, dtype=torch.int64) * 1234
    figure = classified.confusion(counts, [f"class {i}" for i in range(classes)], "test", "")
    # matplotlib draws no picture of 65,536 pixels or more.
    assert max(figure.get_size_inches()) * looks.DPI < 2000
    (axes,) = figure.axes
    assert len(axes.texts) == (classes if classes <= 30 else 0)
    inches_a_class = axes.get_position().width * figure.get_size_inches()[0] / classes
    for text in axes.texts:
        # A digit of DejaVu Sans is 0.64 of its size wide.
        assert 5 <= text.get_fontsize() < 72 * inches_a_class / (4 * 0.64)
    if classes <= 50:
        assert inches_a_class >= 0.2 - 1e-9  # for a name of 10 points
        assert axes.get_yticklabels()[0].get_text() == "class 0"
    else:
        assert len(axes.get_yticks()) < 30


def test_a_wrong_image_has_a_frame_and_its_truth() -> None:
    truths, predictions = [0, 1, 3, 3, 1, 0], [0, 0, 3, 2, 1, 0]
    shown = torch.rand(6, 8, 8, 3)
    figure = classified.images(shown, truths, predictions, NAMES, "val", "lenet/monday")
    (axes,) = figure.axes
    said = [text.get_text() for text in figure.texts]
    assert said == ["val: 4 of these 6 images right", "lenet/monday"]
    captions = [text.get_text() for text in axes.texts]
    assert captions == ["cat", "cat\nis dog", "ship", "none\nis ship", "dog", "cat"]
    assert [frame.get_edgecolor() for frame in axes.patches] == [to_rgba(looks.WRONG)] * 2
    mosaic = axes.images[0].get_array()
    for frame, index in zip(axes.patches, (1, 3), strict=True):
        x, y = (round(corner + 0.5) for corner in frame.get_xy())
        np.testing.assert_array_equal(mosaic[y : y + 8, x : x + 8], shown[index])


def test_names_that_are_cut_differ() -> None:
    names = [f"Acer platanoides {word} of the hills" for word in ("one", "two", "six")]
    figure = classified.confusion(torch.eye(3, dtype=torch.int64), names, "test", "a")
    for labels in (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels()):
        assert len({label.get_text() for label in labels}) == 3
    figure = classified.images(torch.rand(3, 8, 8, 3), [1, 2, 0], [0, 1, 2], names, "val", "a")
    lines = [text.get_text().split("\n") for text in figure.axes[0].texts]
    assert len({first for first, _ in lines}) == len({second for _, second in lines}) == 3


def test_a_truth_without_a_class_is_its_number() -> None:
    truths, predictions = [-1, -100, 0], [0, 1, 0]
    figure = classified.images(torch.rand(3, 8, 8, 3), truths, predictions, NAMES, "val", "a")
    captions = [text.get_text() for text in figure.axes[0].texts]
    assert captions == ["cat\nis -1", "dog\nis -100", "cat"]
