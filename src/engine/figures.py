"""Where callbacks put what is to be looked at: TensorBoard, and figures/ in the run's folder."""

from pathlib import Path

from lightning.pytorch import Trainer
from matplotlib.figure import Figure
from torch import Tensor

from engine.run.loggers import tensorboards


def are_wanted(trainer: Trainer) -> bool:
    """Whether this process is to draw: the first does, unless a vectorised sweep leaves the figures out."""
    return trainer.is_global_zero and getattr(trainer, "draws", True)


def show(trainer: Trainer, tag: str, figure: Figure, step: int) -> None:
    """Add a figure to TensorBoard."""
    for logger in tensorboards(trainer):
        logger.experiment.add_figure(tag, figure, step)


def show_histogram(trainer: Trainer, tag: str, values: Tensor, step: int) -> None:
    """Add a histogram to TensorBoard; none of values that are not finite, or beyond its last bin."""
    if values.abs().max() < 9e19:  # NaN is not
        for logger in tensorboards(trainer):
            logger.experiment.add_histogram(tag, values, step)


def save(trainer: Trainer, name: str, figure: Figure) -> None:
    """Write a figure to `figures/<name>.png`."""
    folder = Path(trainer.default_root_dir) / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=120)
