"""Measures how a signal passes a deep network, layer by layer, for each initialisation."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn
from torch.nn import functional as F

from engine import derive, looks
from project.analysis.watch import watched


@dataclass(frozen=True)
class Cell:
    """Holds what was measured at one layer of one network, for each seed.

    Args:
        activation_stds: standard deviations of the layer's activations, one for each seed.
        gradient_stds: standard deviations of the loss's gradients by these activations.
        sample: some of the first seed's activations, to draw: (values,).
    """

    activation: str
    scheme: str
    layer: int
    activation_stds: Sequence[float]
    gradient_stds: Sequence[float]
    sample: Tensor

    def row(self) -> dict[str, str | int | float]:
        """Returns a row of the table: means, and s.d. over the seeds (NaN for one seed)."""
        row: dict[str, str | int | float] = {
            "activation": self.activation,
            "scheme": self.scheme,
            "layer": self.layer,
        }
        for name, values in (
            ("activation_std", self.activation_stds),
            ("gradient_std", self.gradient_stds),
        ):
            # PyTorch takes the mean of infinite values and NaN; the statistics module raises.
            stds = torch.tensor(values, dtype=torch.float64)
            row[name] = stds.mean().item()
            row[f"{name}_sd"] = stds.std().item() if len(values) > 1 else math.nan
        return {**row, "seeds": len(self.activation_stds)}


def passed(network: nn.Module, inputs: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Returns (activations, their gradients) of every layer, each (N, width).

    The loss is the squared error, averaged over batch and outputs.
    """
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
    """Passes the data once through a new network, for each activation, scheme and seed.

    Args:
        networks: functions that make a network, by the name of its activation function.
        schemes: functions of (network, seed) that fill the weights, by name.
        inputs: (N, in_features)
        targets: (N, out_features)
        seeds: one network is made for each.
        drawn: how many activations of a layer to keep for the figure.
        progress: called after each pass.
    """
    cells = []
    for activation, make in networks.items():
        for scheme, fill in schemes.items():
            stds: list[list[tuple[float, float]]] = []  # by seed, then by layer
            samples: list[Tensor] = []
            for seed in seeds:
                network = _seeded(make, seed)
                fill(network, seed)
                layers = passed(network.to(inputs.device), inputs, targets)
                stds.append([(output.std().item(), grad.std().item()) for output, grad in layers])
                samples = samples or [_sample(output, drawn) for output, _ in layers]
                progress()
            for layer, (of_seeds, sample) in enumerate(
                zip(zip(*stds, strict=True), samples, strict=True), 1
            ):
                forward, back = zip(*of_seeds, strict=True)
                cells.append(Cell(activation, scheme, layer, forward, back, sample))
    return cells


def _sample(activations: Tensor, drawn: int) -> Tensor:
    """Returns about `drawn` of the activations, evenly spread."""
    return activations.flatten()[:: max(1, activations.numel() // drawn)].cpu()


def _seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Makes a network whose first weights, PyTorch's default, depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "depth study"))
        return make()


def table(cells: Sequence[Cell], activation: str, layers: Sequence[int]) -> str:
    """Returns a text with a line for each scheme: the mean std of some layers' activations."""
    width = max(len(cell.scheme) for cell in cells)
    lines = [" " * width + "".join(f"{f'layer {layer}':>12}" for layer in layers)]
    for scheme in dict.fromkeys(cell.scheme for cell in cells):
        stds = {cell.layer: cell.row()["activation_std"] for cell in _of(cells, activation, scheme)}
        lines.append(f"{scheme:<{width}}" + "".join(f"{stds[layer]:12.3g}" for layer in layers))
    return "\n".join(lines)


def figure(cells: Sequence[Cell], activation: str) -> Figure:
    """Draws the standard deviations of one activation function's layers, a line for each scheme.

    The upper panel has the activations, the lower one the gradients. A logarithmic axis has no
    place for 0: the legend says of which scheme all are 0.
    """
    margins = (0.75, 0.15, 1.1, 0.45)  # inches, as all lengths here
    title = f"{activation}: standard deviation by layer"
    drawn, panels = looks.panels((looks.WIDTH, 5.2), margins, title, grid=(2, 1), gap=0.4)
    for axes, quantity in zip(panels, ("activation", "gradient"), strict=True):
        for number, scheme in enumerate(dict.fromkeys(cell.scheme for cell in cells)):
            of = _of(cells, activation, scheme)
            stds = [cell.row()[f"{quantity}_std"] for cell in of]
            label = scheme if any(stds) else f"{scheme} (all 0)"
            style = looks.line(number % looks.MOST)
            axes.plot([cell.layer for cell in of], stds, label=label, **style)
        axes.set(ylabel=f"of {quantity}s", yscale="log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[1].set(xlabel="layer")
    drawn.legend(*panels[0].get_legend_handles_labels(), loc="lower center", ncols=3, frameon=False)
    return drawn


def distributions(cells: Sequence[Cell]) -> Figure:
    """Draws the distributions of all layers: schemes below each other, activations side by side."""
    activations = list(dict.fromkeys(cell.activation for cell in cells))
    schemes = list(dict.fromkeys(cell.scheme for cell in cells))
    grid = len(schemes), len(activations)
    size = (looks.WIDTH, 1.5 * len(schemes) + 0.7)
    margins = (0.6, 0.15, 0.5, 0.6)
    drawn, panels = looks.panels(size, margins, "activations by layer", grid=grid, gap=0.55)
    for number, axes in enumerate(panels):
        scheme, activation = divmod(number, len(activations))
        colour = looks.LIGHT[scheme % looks.MOST]
        _distributions(axes, _of(cells, activations[activation], schemes[scheme]), colour)
    for axes in panels[-len(activations) :]:
        axes.set(xlabel="layer")
    return drawn


def _of(cells: Sequence[Cell], activation: str, scheme: str) -> list[Cell]:
    """Returns the cells of one network, a cell for each layer."""
    return [cell for cell in cells if (cell.activation, cell.scheme) == (activation, scheme)]


def _distributions(axes: Axes, cells: Sequence[Cell], colour: str) -> None:
    """Draws one scheme's layers, each as a histogram that lies on its side.

    A histogram is as wide as its fullest bin. The zeros of ReLU are left out.
    """
    for cell in cells:
        values = cell.sample[cell.sample.isfinite() & (cell.sample != 0)]
        if len(values):
            low, high = values.min().item(), values.max().item()
            counts = torch.histc(values, bins=40, min=low, max=high)
            heights = low + (torch.arange(40) + 0.5) * (high - low) / 40  # the middles of the bins
            right = cell.layer + 0.9 * counts / counts.max()
            axes.fill_betweenx(heights, cell.layer, right, color=colour, lw=0)
    axes.set(xlim=(0.8, len(cells) + 1.2))
    name = f"{cells[0].activation}, {cells[0].scheme}"
    axes.set_title(name, fontsize=10, loc="right")  # left is the power of ten of an axis
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not any(cell.sample.any() for cell in cells):
        axes.text(0.5, 0.5, "all zero", transform=axes.transAxes, ha="center")
        axes.set_yticks([])
