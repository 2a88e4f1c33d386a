"""How initialisation carries a signal through a deep network: standard deviations layer by layer, and a figure."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn
from torch.nn import functional as F

from engine import derive
from project.analysis.watch import watched


@dataclass(frozen=True)
class Cell:
    """One layer of one network: of its activations and of their gradients, standard deviations, one per seed."""

    activation: str
    scheme: str
    layer: int
    activation_stds: Sequence[float]
    gradient_stds: Sequence[float]
    sample: Tensor  # some of the first seed's activations, to draw

    def row(self) -> dict[str, str | int | float]:
        """As a row of the table: means, and s.d. over seeds (NaN for one seed)."""
        row: dict[str, str | int | float] = {
            "activation": self.activation, "scheme": self.scheme, "layer": self.layer
        }  # fmt: skip
        for name, values in (
            ("activation_std", self.activation_stds),
            ("gradient_std", self.gradient_stds),
        ):
            stds = torch.tensor(values, dtype=torch.float64)  # some may be infinite, or NaN
            row[name] = stds.mean().item()
            row[f"{name}_sd"] = stds.std().item() if len(values) > 1 else math.nan
        return {**row, "seeds": len(self.activation_stds)}


def passed(network: nn.Module, inputs: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(activations, their gradients) of every layer, (N, width), for the mean squared error."""
    with watched(network) as outputs:
        loss = F.mse_loss(network(inputs), targets)
    gradients = torch.autograd.grad(loss, list(outputs.values()))
    return list(zip((output.detach() for output in outputs.values()), gradients, strict=True))


def measure(
    networks: Mapping[str, Callable[[], nn.Module]],
    schemes: Mapping[str, Callable[..., None]],
    inputs: Tensor,
    targets: Tensor,
    seeds: Iterable[int],
    drawn: int = 20_000,
    progress: Callable[[], None] = lambda: None,
) -> list[Cell]:
    """Make each network anew for each scheme and seed, fill it, and pass the data through it once.

    Args:
        networks: what makes them, by the name of their activation function.
        schemes: by name, called with (network, seed).
        drawn: how many activations of a layer to keep for the figure.
        progress: called after each pass.
    """
    cells = []
    for activation, make in networks.items():
        for scheme, fill in schemes.items():
            passes: list[list[tuple[float, float]]] = []
            for seed in seeds:
                network = _seeded(make, seed)
                fill(network, seed)
                layers = passed(network.to(inputs.device), inputs, targets)
                passes.append([(output.std().item(), grad.std().item()) for output, grad in layers])
                if len(passes) == 1:
                    samples = [
                        output.flatten()[:: max(1, output.numel() // drawn)].cpu()
                        for output, _ in layers
                    ]
                progress()
            for number, (stds, sample) in enumerate(
                zip(zip(*passes, strict=True), samples, strict=True), start=1
            ):
                forward, back = zip(*stds, strict=True)
                cells.append(Cell(activation, scheme, number, forward, back, sample))
    return cells


def _seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network whose constructor's weights, PyTorch's default, depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "depth study"))
        return make()


def table(cells: Sequence[Cell], activation: str, layers: Sequence[int]) -> str:
    """The standard deviations of some layers' activations, a line per scheme."""
    width = max(len(cell.scheme) for cell in cells)
    lines = [" " * width + "".join(f"{f'layer {layer}':>12}" for layer in layers)]
    for scheme in dict.fromkeys(cell.scheme for cell in cells):
        of = {
            cell.layer: cell
            for cell in cells
            if (cell.activation, cell.scheme) == (activation, scheme)
        }
        lines.append(
            f"{scheme:<{width}}"
            + "".join(f"{of[layer].row()['activation_std']:12.3g}" for layer in layers)
        )
    return "\n".join(lines)


def figure(cells: Sequence[Cell]) -> Figure:
    """All layers of all schemes side by side: a row per activation function, the distributions, then both stds."""
    activations = list(dict.fromkeys(cell.activation for cell in cells))
    schemes = list(dict.fromkeys(cell.scheme for cell in cells))
    columns = len(schemes) + 2
    made = Figure(figsize=(2.6 * columns, 2.9 * len(activations) + 0.4), layout="constrained")
    for row, activation in zip(
        made.subplots(len(activations), columns, squeeze=False), activations, strict=True
    ):
        for number, scheme in enumerate(schemes):
            of = [cell for cell in cells if (cell.activation, cell.scheme) == (activation, scheme)]
            _distributions(row[number], of, f"C{number}")
            for axes, quantity in ((row[-2], "activation_std"), (row[-1], "gradient_std")):
                values = [cell.row()[quantity] for cell in of]
                axes.plot(
                    [cell.layer for cell in of], values, ".-", color=f"C{number}", label=scheme
                )
        for axes, quantity in ((row[-2], "activations"), (row[-1], "gradients")):
            axes.set(title=f"{activation}: std of {quantity}", yscale="log")
        for axes in row:
            axes.set(xlabel="layer")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    made.legend(
        *row[-2].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(schemes),
        frameon=False,
    )
    return made


def _distributions(axes: Axes, cells: Sequence[Cell], colour: str) -> None:
    """One scheme's layers, each a histogram on its side, as wide as its fullest bin; ReLU's zeros are left out."""
    for cell in cells:
        values = cell.sample[cell.sample.isfinite() & (cell.sample != 0)]
        if len(values):
            low, high = values.min().item(), values.max().item()
            counts = torch.histc(values, bins=40, min=low, max=high)
            heights = low + (torch.arange(40) + 0.5) * (high - low) / 40  # the middles of the bins
            axes.fill_betweenx(
                heights, cell.layer, cell.layer + 0.9 * counts / counts.max(), color=colour, lw=0
            )
    axes.set(xlim=(0.8, len(cells) + 1.2))
    axes.set_title(f"{cells[0].activation}, {cells[0].scheme}", color=colour)
    if not any(cell.sample.any() for cell in cells):
        axes.text(0.5, 0.5, "all zero", transform=axes.transAxes, ha="center")
        axes.set_yticks([])
