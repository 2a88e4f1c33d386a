"""Shows figures in TensorBoard, and saves them to figures/ in the run's folder."""

from pathlib import Path

from lightning.pytorch import Trainer
from matplotlib.figure import Figure
from torch import Tensor

from engine.files import make_folder, writing
from engine.run.loggers import tensorboards


def are_wanted(trainer: Trainer) -> bool:
    """Tells whether this process draws figures.

    The first process does, unless jobs train together and their figures are left out.
    """
    return trainer.is_global_zero and getattr(trainer, "draws", True)


def show(trainer: Trainer, tag: str, figure: Figure, step: int) -> None:
    """Adds a figure to TensorBoard."""
    for logger in tensorboards(trainer):
        logger.experiment.add_figure(tag, figure, step)


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
        figure.savefig(path, dpi=120)
