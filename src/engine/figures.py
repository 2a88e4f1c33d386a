"""Shows figures in TensorBoard, and saves them to figures/ in the run's folder."""

from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Trainer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from engine.files import make_folder, writing
from engine.pictures.looks import cut
from engine.run.loggers.tensorboard import tensorboards

LONGEST = 42  # letters of a run's name in a picture


def are_wanted(trainer: Trainer) -> bool:
    """Tells whether this process draws figures.

    The first process does, unless jobs train together and their figures are left out, or a run's
    folder cannot be written to.
    """
    return trainer.is_global_zero and getattr(trainer, "draws", True)


def run_name(trainer: Trainer) -> str:
    """Returns the name of a run, as TensorBoard shows it: the last two parts of its folder.

    An evaluation has the name of its run. A long name is cut in the middle.
    """
    folder = Path(trainer.default_root_dir)
    runs = (place for place in (folder, *folder.parents) if (place / ".hydra").is_dir())
    return cut("/".join(next(runs, folder).parts[-2:]), LONGEST)


def show(trainer: Trainer, tag: str, figure: Figure, step: int) -> None:
    """Adds a figure to TensorBoard."""
    for logger in tensorboards(trainer):
        logger.experiment.add_image(tag, _pixels(figure), step, dataformats="HWC")


def show_histogram(trainer: Trainer, tag: str, values: Tensor, step: int) -> None:
    """Adds a histogram to TensorBoard, unless values are not finite or are beyond its last bin."""
    values = values.detach().to_dense()  # gradients of an embedding may be sparse
    if values.numel() and values.abs().max() < 9e19:  # false for NaN, too
        for logger in tensorboards(trainer):
            logger.experiment.add_histogram(tag, values, step)


def save(trainer: Trainer, name: str, figure: Figure) -> None:
    """Writes a figure to `figures/<name>.png` in the run's folder."""
    folder = Path(trainer.default_root_dir) / "figures"
    make_folder(folder)
    path = folder / f"{name}.png"
    with writing(path):
        Image.fromarray(_pixels(figure)).save(path, dpi=(figure.dpi, figure.dpi))


def _pixels(figure: Figure) -> np.ndarray:
    """Returns a figure as (H, W, 3), uint8. One that has not changed is not drawn again."""
    is_drawn = isinstance(figure.canvas, FigureCanvasAgg) and not figure.stale
    canvas: Any = figure.canvas if is_drawn else FigureCanvasAgg(figure)
    if not is_drawn:
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
