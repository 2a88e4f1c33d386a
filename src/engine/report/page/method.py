"""How a report's numbers were computed, in words."""

import importlib.metadata
import platform

from engine.report.statistics import numbers
from engine.report.statistics.content import Content

LIBRARIES = ("pandas", "scipy", "statsmodels", "matplotlib")


def sentences(content: Content) -> list[str]:
    """How the numbers came about."""
    said = [
        f"A group is all runs that agree in {', '.join(content.keys) or 'all'}, whatever their seed and fold; n counts "
        f"those that finished with a number for {content.metric}. Time is the median of finished runs.",
        f"Mean ± half the width of its {content.level} confidence interval by Student's t (scipy.stats.t), over the n "
        "runs. Best is the best single run.",
        "Tests: two-sided paired t-test (scipy.stats.ttest_rel) of each group against the one with the best mean, over "
        f"common seeds and folds; {numbers.count(int(content.groups['p'].notna().sum()), 'test')}, p corrected after "
        f"Holm (statsmodels multipletests), α = {content.alpha:g}. Intervals of differences are {content.level}, "
        "not corrected. The best is chosen from the same runs, which favours it.",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions().items()) + ".",
    ]
    if made_with := content.made_with():
        said.append("The runs' own: " + "; ".join(f"{kind} {', '.join(v)}" for kind, v in made_with.items()) + ".")
    return [*said, f"Command: {content.command}"]


def versions() -> dict[str, str]:
    """The versions that the report's numbers come from."""
    return {"Python": platform.python_version()} | {name: importlib.metadata.version(name) for name in LIBRARIES}
