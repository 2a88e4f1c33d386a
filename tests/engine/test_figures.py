"""What a figure becomes: one drawing, the same in TensorBoard and in the run's folder."""

from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from engine import figures


def trainer_in(folder: Path) -> Any:
    logger = TensorBoardLogger(folder, name="", version="")
    return SimpleNamespace(default_root_dir=str(folder), loggers=[logger])


def test_it_is_drawn_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    draw = FigureCanvasAgg.draw
    monkeypatch.setattr(FigureCanvasAgg, "draw", lambda self: (drawn.append(1), draw(self)))
    trainer, figure = trainer_in(tmp_path), Figure(figsize=(2, 1), dpi=100)
    axes = figure.subplots()
    axes.plot([0, 1], [1, 0])
    figures.show(trainer, "a", figure, 0)
    figures.save(trainer, "a", figure)
    assert len(drawn) == 1
    axes.set_title("b")
    figures.show(trainer, "b", figure, 1)
    figures.save(trainer, "b", figure)
    assert len(drawn) == 2
    trainer.loggers[0].finalize("success")
    events = EventAccumulator(str(tmp_path)).Reload()
    for name in "ab":
        (event,) = events.Images(name)
        shown = np.asarray(Image.open(BytesIO(event.encoded_image_string)))
        saved = np.asarray(Image.open(tmp_path / "figures" / f"{name}.png"))
        np.testing.assert_array_equal(shown, saved)
        assert shown.shape == (100, 200, 3)
        assert shown.min() < 100 < shown.max() == 255


def test_what_was_written_in_another_format_is_drawn_anew(tmp_path: Path) -> None:
    trainer, figure = trainer_in(tmp_path), Figure(figsize=(1, 1), facecolor="red")
    figure.savefig(BytesIO(), format="svg")
    figures.save(trainer, "red", figure)
    pixels = np.asarray(Image.open(tmp_path / "figures" / "red.png"))
    assert pixels.reshape(-1, 3).mean(axis=0).tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("logs/runs/lenet/monday", "lenet/monday"),
        ("logs/runs/lenet/monday/evaluation", "lenet/monday"),
        ("a" * 30 + "/" + "b" * 30, "a" * 30 + "/…" + "b" * 10),
    ],
)
def test_the_name_of_a_run(folder: str, name: str, tmp_path: Path) -> None:
    place = tmp_path / folder
    place.mkdir(parents=True)
    run = place.parent if place.name == "evaluation" else place
    (run / ".hydra").mkdir()
    assert figures.run_name(trainer_in(place)) == name
