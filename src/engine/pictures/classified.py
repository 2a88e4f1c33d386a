"""Draws what a classifier gets right and wrong: a confusion matrix, and images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from engine.data.datamodule import class_names_of
from engine.pictures import looks

MOST_NAMES = 50  # of classes in a confusion matrix: more would make a picture too large to draw
MOST_NUMBERED = 30  # classes: with more, the numbers would be too small to read
LETTER = 0.08  # inches: the width of a letter of 10 points
COLUMNS = 4  # of images side by side
CHANNELS = (1, 3, 4)  # of images that can be drawn: grey, RGB, RGBA


def names_of(data: Any) -> list[str] | None:
    """Returns the names of a data module's classes, or None; two of a name are `c` and `c (2)`.

    Raises:
        UserError: if they are no list of words.
    """
    words = class_names_of(data)
    if words is None:
        return None
    numbers = [words[: place + 1].count(word) for place, word in enumerate(words)]
    numbered = zip(words, numbers, strict=True)
    return [word if number == 1 else f"{word} ({number})" for word, number in numbered]


def why_not_counted(outputs: Any, classes: int) -> str | None:
    """Returns why a step's outputs are no predictions (N, classes, …) and targets (N, …), if so."""
    if not isinstance(outputs, Mapping) or not {"predictions", "targets"} <= outputs.keys():
        return 'the steps return no dict with "predictions" and "targets"'
    for name in ("predictions", "targets"):
        if not isinstance(outputs[name], Tensor):
            return f'the steps return "{name}" that are a {type(outputs[name]).__name__}, no tensor'
    predictions, targets = outputs["predictions"], outputs["targets"]
    ours, theirs = predictions.shape, targets.shape
    is_of_classes = ours[1:2] == (classes,) and ours[:1] + ours[2:] == theirs
    if is_of_classes and not targets.is_floating_point():
        return None
    return (
        f"predictions {tuple(ours)} and targets {tuple(theirs)} of {targets.dtype} are not of "
        f"{classes} classes"
    )


def prepared(data: Any, split: str, chosen: Tensor, device: Any) -> tuple[Tensor, Tensor]:
    """Returns samples of a split as the network takes them: inputs (N, …) and targets (N,).

    Args:
        data: a data module with `splits`.
        split: its name.
        chosen: numbers of the samples, (N,) int64.
        device: where the inputs shall be.
    """
    inputs, targets = data.splits[split].select(chosen)
    made, _ = data.on_after_batch_transfer((inputs.to(device), targets), 0)
    return made, targets


def why_not_drawn(data: Any) -> str | None:
    """Returns why images of a data module cannot be shown with their classes, if so."""
    if not hasattr(data, "images") or not hasattr(data, "splits"):
        return "has no images()"
    if any(split.targets.dim() != 1 for split in data.splits.values()):
        return "has more than one label for an image"
    name = data.test_split if data.test_split in data.splits else "train"
    pixels = data.images(prepared(data, name, torch.tensor([0]), "cpu")[0])
    if pixels.dim() == 4 and pixels.shape[1] in CHANNELS:
        return None
    shape = ", ".join(["N", *map(str, pixels.shape[1:])])
    return f"has images ({shape}): only (N, C, H, W) of 1, 3 or 4 channels can be drawn"


def confusion(counts: Tensor, names: Sequence[str], split: str, run: str) -> Figure:
    """Draws a confusion matrix, (classes, classes) by (truth, prediction), as coloured squares.

    A right prediction is blue, by its share of the samples of that truth. An error is orange, by
    its share beside the largest share of an error, so that few errors are seen, too.

    Args:
        counts: int64.
        names: of the classes.
        split: what was measured, such as test.
        run: its name.
    """
    has_names = len(names) <= MOST_NAMES
    labels = looks.cut_all(looks.drawable(names), 12) if has_names else []
    longest = max(map(len, labels), default=4)
    is_slim = longest <= 2
    left = 0.4 + LETTER * longest
    bottom = 0.65 if is_slim else left
    side = max(looks.WIDTH - left - 0.15, 0.2 * len(labels))
    title = f"{split}: {counts.trace() / counts.sum():.1%} of {counts.sum():,} right"
    size = (left + side + 0.15, bottom + side + 0.6)
    margins = (left, 0.15, bottom, 0.6)
    figure, (axes,) = looks.panels(size, margins, title, run)
    colours = _colours(counts)
    axes.imshow(colours)
    axes.set(xlabel="prediction", ylabel="truth")
    if has_names:
        places = range(len(names))
        words = {"parse_math": False}
        axes.set_xticks(places, labels, rotation=0 if is_slim else 90, **words)
        axes.set_yticks(places, labels, **words)
    if len(names) <= MOST_NUMBERED:
        points = min(10, 72 * side / len(names) / 0.7 / len(str(counts.max().item())))
        for truth, prediction in counts.nonzero().tolist():
            ink = "white" if colours[truth, prediction, 0] < 100 else "black"
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": points}
            number = str(counts[truth, prediction].item())
            axes.text(prediction, truth, number, color=ink, **style)
    return figure


def _colours(counts: Tensor) -> np.ndarray:
    """Returns the colour of each square of a confusion matrix: (classes, classes, 3), uint8."""
    shares = (counts / counts.sum(dim=1, keepdim=True).clamp(min=1)).numpy()
    is_right = np.eye(len(shares), dtype=bool)
    shares[~is_right] /= shares[~is_right].max(initial=1e-9)
    blue = colormaps["Blues"](0.4 + 0.5 * shares, bytes=True)[..., :3]
    orange = colormaps["Oranges"](0.2 + 0.4 * shares, bytes=True)[..., :3]
    colours = np.where(is_right[..., None], blue, orange)
    colours[counts.numpy() == 0] = 255
    return colours


def images(
    pixels: Tensor,
    truths: Sequence[int],
    predictions: Sequence[int],
    names: Sequence[str],
    split: str,
    run: str,
) -> Figure:
    """Draws images (N, H, W, C) in [0, 1], each above its prediction.

    An image with a wrong prediction has an orange frame, and its truth in a second line.

    Args:
        pixels: of the images; of 4 channels, the last is the opacity, and what is clear is white.
        truths: the class of each image.
        predictions: the class that was predicted for each image.
        names: of the classes.
        split: what was measured, such as test.
        run: its name.
    """
    if pixels.shape[-1] == 4:
        opacity = pixels[..., 3:]
        pixels = opacity * pixels[..., :3] + (1 - opacity)
    number, height, width = pixels.shape[:3]
    wrong = [truth != guess for truth, guess in zip(truths, predictions, strict=True)]
    title = f"{split}: {number - sum(wrong)} of these {number} images right"
    mosaic, down, across = _mosaic(pixels)
    tall = (looks.WIDTH - 0.2) * mosaic.shape[0] / mosaic.shape[1]  # inches
    size = (looks.WIDTH, tall + 0.6)
    margins = (0.1, 0.1, 0, 0.6)
    figure, (axes,) = looks.panels(size, margins, title, run)
    axes.imshow(mosaic, interpolation="nearest")
    axes.axis("off")
    names = looks.drawable(names)
    guesses = looks.cut_all(names, 11)
    owns = looks.cut_all(names, 9)
    for index in range(number):
        x = index % COLUMNS * across - 0.5
        y = index // COLUMNS * down - 0.5
        caption = guesses[predictions[index]]
        if wrong[index]:
            caption += f"\nis {_name(owns, truths[index])}"
            axes.add_patch(Rectangle((x, y), width, height, fill=False, ec=looks.WRONG, lw=3))
        style: dict[str, Any] = {"ha": "center", "va": "top", "parse_math": False}
        axes.text(x + width / 2, y + height * 1.04, caption, fontsize=9, **style)
    return figure


def _name(names: Sequence[str], label: int) -> str:
    """Returns the name of a class; a label may stand for none, as -1 does."""
    return names[label] if 0 <= label < len(names) else str(label)


def _mosaic(pixels: Tensor) -> tuple[np.ndarray, int, int]:
    """Puts images (N, H, W, 1 or 3) into rows of one, with white margins for captions.

    One picture is drawn much faster than an Axes for each image.

    Returns:
        The picture, (rows · down, COLUMNS · across, 3), and its steps `down` and `across`.
    """
    number, height, width = pixels.shape[:3]
    rows = -(-number // COLUMNS)  # rounded up
    down = height + width // 2 + 1  # pixels
    across = width + width // 8 + 1
    tiles = torch.ones(rows * COLUMNS, down, across, 3)
    tiles[:number, :height, :width] = pixels
    of_rows = tiles.view(rows, COLUMNS, down, across, 3).transpose(1, 2)  # (rows, down, COLUMNS, …)
    return of_rows.reshape(rows * down, -1, 3).numpy(), down, across
