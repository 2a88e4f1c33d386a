"""Prints the README's tables of speed, and draws docs/speed.svg, from benchmarks/results/.

python benchmarks/show.py
"""

import json
import statistics
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

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
    """Draws bars of the ratios to the hand-written loop, on a logarithmic axis."""
    made = Figure(figsize=(9, 3.6), layout="constrained")
    axes = made.subplots()
    width = 0.8 / len(LOOPS)
    for number, (loop, label) in enumerate(LOOPS.items()):
        found = [(place, ratio(cases, case, loop)) for place, case in enumerate(CASES)]
        places = [
            place + (number - (len(LOOPS) - 1) / 2) * width
            for place, value in found
            if value is not None
        ]
        axes.bar(places, [value for _, value in found if value is not None], width, label=label)
    axes.axhline(1, color="black", linewidth=1)
    axes.set_yscale("log")
    axes.set_yticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    axes.minorticks_off()
    axes.set_xticks(
        range(len(CASES)),
        [name.replace(", ", "\n").replace(" ", "\n", 1) for name in CASES.values()],
    )
    axes.set_ylabel("time per step,\nmultiple of a loop by hand")
    axes.legend(
        ncols=len(LOOPS), loc="upper center", bbox_to_anchor=(0.5, 1.14), frameon=False, fontsize=9
    )
    axes.spines[["top", "right"]].set_visible(False)
    return made


def main() -> None:
    measured = load("step_time")
    print(markdown(measured["cases"]))
    print(sweeps_markdown(load("sweep_time")["sweeps"]))
    print({key: value for key, value in measured["machine"].items() if value})
    with rc_context({"svg.hashsalt": "speed"}):  # the same file from the same numbers
        figure(measured["cases"]).savefig(
            HERE.parent / "docs" / "speed.svg", metadata={"Date": None}
        )


if __name__ == "__main__":
    main()
