"""Makes the depth study before training: every scheme on every activation function."""

import csv
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Le
from lightning.pytorch import Callback, LightningModule, Trainer
from tqdm.auto import tqdm  # type: ignore[import-untyped]

import project.init as init
from engine import Count, Seed, UserError, figures, write_whole
from project.analysis import depth
from project.modules.deep_mlp import activation_named, deep_network

log = logging.getLogger(__name__)


class DepthStudy(Callback):
    """Measures how the training inputs pass deep networks, forward and back.

    Writes figures/depth_study.csv, a figure of the standard deviations for each activation, and one
    of all distributions. TensorBoard gets the figures and a histogram for each layer. Where the
    data have no inputs (N, in_features) and targets (N, out_features), there is no study, and the
    log says so.

    Args:
        schemes: by the name to show: `scheme`, one of `project.init.SCHEMES`, and its options.
        activations: names of `project.modules.deep_mlp.ACTIVATIONS`.
        depth: hidden layers.
        width: neurons of each hidden layer.
        seeds: how many times the weights are drawn, with the seeds `seed`, `seed + 1`, ….
        seed: the first of the seeds.
    """

    def __init__(
        self,
        schemes: Mapping[str, Mapping[str, Any]],
        activations: Sequence[str],
        depth: Annotated[Count, Le(1000)],
        width: Count,
        seeds: Annotated[Count, Le(1000)] = 5,
        seed: Seed = 0,
    ) -> None:
        self.schemes = {name: _scheme(name, options) for name, options in schemes.items()}
        self.activations = list(activations)
        self.depth = depth
        self.width = width
        self.seeds = range(seed, seed + seeds)
        if not self.schemes or not self.activations:
            raise UserError(
                "callbacks.depth_study: needs at least one of schemes and one of activations."
            )
        for name in activations:
            activation_named(name)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        # A resumed run has the study already.
        if trainer.global_step > 0 or not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if not _has_columns(data):
            log.info("%s: no study, as inputs and targets are no columns", type(self).__name__)
            return
        cells = self._measure(data, module)
        self._write(trainer, cells)
        shown = sorted({1, 2, 3, self.depth} & set(range(1, self.depth + 1)))
        for activation in self.activations:
            text = depth.table(cells, activation, shown)
            log.info(
                "std of %s activations, mean of %d seeds\n%s", activation, len(self.seeds), text
            )

    def _measure(self, data: Any, module: LightningModule) -> list[depth.Cell]:
        split = data.splits["train"]
        inputs = data.prepare_inputs(split.inputs.to(module.device))  # (N, in_features)
        targets = split.targets.to(module.device)  # (N, out_features)
        sizes = inputs.shape[1], self.width, self.depth, targets.shape[1]
        networks = {name: partial(deep_network, *sizes, name) for name in self.activations}
        passes = len(networks) * len(self.schemes) * len(self.seeds)
        # disable=None shows the bar in a terminal only.
        with tqdm(
            total=passes, desc="depth study", unit=" passes", leave=False, disable=None
        ) as bar:
            return depth.measure(
                networks, self.schemes, inputs, targets, self.seeds, progress=bar.update
            )

    @staticmethod
    def _write(trainer: Trainer, cells: Sequence[depth.Cell]) -> None:
        for cell in cells:
            tag = f"depth study, {cell.activation}, {cell.scheme}/layer {cell.layer:02}"
            figures.show_histogram(trainer, tag, cell.sample, step=0)
        activations = dict.fromkeys(cell.activation for cell in cells)
        drawn = {name: depth.figure(cells, name) for name in activations}
        for name, figure in {**drawn, "distributions": depth.distributions(cells)}.items():
            figures.show(trainer, f"depth study/{name}", figure, step=0)
            figures.save(trainer, f"depth_study_{name}", figure)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(cells[0].row()), lineterminator="\n")
        writer.writeheader()
        writer.writerows(cell.row() for cell in cells)
        write_whole(Path(trainer.default_root_dir) / "figures" / "depth_study.csv", text.getvalue())


def _has_columns(data: Any) -> bool:
    """Tells whether a data module has inputs and targets of columns, both real numbers."""
    train = getattr(data, "splits", {}).get("train")
    if not train or not train.targets.is_floating_point():
        return False
    return bool(data.example().dim() == train.targets.dim() == 2)


def _scheme(name: str, options: Mapping[str, Any] | None) -> Callable[..., None]:
    """Returns a scheme to study, from its entry in the config."""
    if not options or "scheme" not in options:
        raise UserError(
            f"callbacks.depth_study.schemes.{name}: must name a scheme, like {{scheme: he}}."
        )
    rest = {key: value for key, value in options.items() if key != "scheme"}
    return init.scheme(options["scheme"], **rest)
