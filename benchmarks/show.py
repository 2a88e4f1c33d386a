"""Prints the README's tables of speed, and draws docs/speed.svg, from benchmarks/results/.

python benchmarks/show.py
"""

import json
import statistics
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from engine import looks

HERE = Path(__file__).parent
CASES = {
    "lenet-4": "LeNet-5, batch 4",
    "lenet-64": "LeNet-5, batch 64",
    "lenet-512": "LeNet-5, batch 512",
    "two_layer": "two-layer regressor",
    "curve_fit": "curve-fitting MLP",
    "linear": "linear regression",
}
LOOPS = {
    "eager": "this project",
    "compiled": "with compile=true",
    "single": "with one step a call",
    "template": "popular template",
    "tutorial": "PyTorch tutorial",
}
SWEEPS = {
    "curve_fit": "curve-fitting MLPs, 100 steps each",
    "linear": "linear regressions, 20 steps",
    "lenet": "LeNet-5, batch 4, 3,000 steps",
}
WAYS = {
    "together, 2 threads": "with threads=2",
    "basic": "one by one",
    "basic, 2 threads": "one by one, threads=2",
    "joblib": "in 2 processes",
    "basic, figures": "one by one, with figures",
}


def load(name: str) -> dict[str, Any]:
    """Reads the results of a benchmark."""
    result: dict[str, Any] = json.loads((HERE / "results" / f"{name}.json").read_text())
    return result


def ratio(cases: dict[str, Any], case: str, loop: str) -> float | None:
    """Returns a loop's time per step as a multiple of the hand-written loop's, a median.

    None means that the loop was not measured.
    """
    found = cases[case]["ratio_to_hand"].get(loop)
    return found["median"] if found else None


def markdown(cases: dict[str, Any]) -> str:
    """Returns a table with a row for each case: ms of the loop by hand, and multiples of them."""
    lines = [
        f"| a step of | by hand | {' | '.join(LOOPS.values())} |",
        f"|---|{'---:|' * (len(LOOPS) + 1)}",
    ]
    for case, name in CASES.items():
        hand = statistics.median(cases[case]["ms_per_step"]["hand"])
        ratios = [ratio(cases, case, loop) for loop in LOOPS]
        words = ["–" if value is None else f"{value:.2f} ×" for value in ratios]
        lines.append(f"| {name} | {hand:.2f} ms | {' | '.join(words)} |")
    return "\n".join(lines)


def sweeps_markdown(sweeps: dict[str, Any]) -> str:
    """Returns a table of sweeps: seconds together, and multiples of them for other launchers."""
    lines = [
        f"| a sweep of | together | {' | '.join(WAYS.values())} |",
        f"|---|{'---:|' * (len(WAYS) + 1)}",
    ]
    for sweep, name in SWEEPS.items():
        for jobs, seconds in sweeps[sweep]["seconds together"].items():
            ratios = sweeps[sweep]["ratio_to_together"][jobs]
            words = [f"{ratios[way]['median']:.1f} ×" if way in ratios else "–" for way in WAYS]
            lines.append(
                f"| {jobs} {name} | {statistics.median(seconds):.1f} s | {' | '.join(words)} |"
            )
    return "\n".join(lines)


def figure(cases: dict[str, Any]) -> Figure:
    """Draws each ratio to the hand-written loop as a dot with its value, left or right of 1 ×."""
    made = Figure(figsize=(8, 6.4))
    axes = made.subplots(gridspec_kw={"left": 0.19, "right": 0.97, "bottom": 0.08, "top": 0.91})
    height = len(LOOPS) + 1  # of a case, with an empty row
    for number, (loop, label) in enumerate(LOOPS.items()):
        found = [
            (place * height + number, ratio(cases, case, loop)) for place, case in enumerate(CASES)
        ]
        dots = [(value, y) for y, value in found if value is not None]
        style = {"color": looks.LIGHT[number], "marker": looks.MARKERS[number]}
        axes.plot(*zip(*dots, strict=True), linestyle="none", markersize=7, label=label, **style)
        for value, y in dots:
            axes.plot([1, value], [y, y], color=looks.LIGHT[number], linewidth=1.5)
            is_faster = value < 1
            axes.annotate(
                f"{value:.2f} ×",
                (value, y),
                xytext=(-7 if is_faster else 7, 0),
                textcoords="offset points",
                ha="right" if is_faster else "left",
                va="center",
                fontsize=9,
            )
    axes.axvline(1, color=looks.INK, linewidth=1)
    axes.set_xscale("log")
    ticks = [0.25, 0.5, 1, 2, 5, 10]
    axes.set_xticks(ticks, [f"{tick:g} ×" for tick in ticks])
    axes.minorticks_off()
    middles = [place * height + (len(LOOPS) - 1) / 2 for place in range(len(CASES))]
    axes.set_yticks(middles, [name.replace(", ", "\n") for name in CASES.values()])
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0.17, 16), ylim=(height * len(CASES) - 1, -1))
    axes.set_xlabel("time per step, as a multiple of a loop by hand (less is faster)")
    place: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.42, 1)}
    axes.legend(
        ncols=len(LOOPS), handletextpad=0.1, columnspacing=1.2, frameon=False, fontsize=9, **place
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    return made


def draw(folder: Path) -> None:
    """Writes speed.svg into a folder: the same file from the same numbers."""
    with rc_context({"svg.hashsalt": "speed"}):
        figure(load("step_time")["cases"]).savefig(folder / "speed.svg", metadata={"Date": None})


def main() -> None:
    measured = load("step_time")
    print(markdown(measured["cases"]))
    print(sweeps_markdown(load("sweep_time")["sweeps"]))
    print({key: value for key, value in measured["machine"].items() if value})
    draw(HERE.parent / "docs")


if __name__ == "__main__":
    main()
