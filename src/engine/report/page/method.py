"""Says in words how a report's numbers were computed."""

import importlib.metadata
import platform

from engine.messages import counted
from engine.report.statistics.content import Content

LIBRARIES = ("pandas", "scipy", "matplotlib")


def sentences(content: Content) -> list[str]:
    """Returns sentences about groups, intervals, tests, versions and the command."""
    keys = ", ".join(content.keys) or "all"
    tests = counted(int(content.groups["p"].notna().sum()), "test")
    used = ", ".join(f"{name} {version}" for name, version in versions().items())
    made_with = [f"{kind} {', '.join(values)}" for kind, values in content.made_with().items()]
    better = "higher" if content.mode == "max" else "lower"
    others = sum(run.tests_others for run in content.runs)
    but = (
        f" (of {counted(others, 'run')}, of the weights that train() had tested)" if others else ""
    )
    sentences = [
        f"Compared: {content.metric}; {better} is better. Metrics of the test, where there are "
        f"some, are of best.ckpt, or of the last weights where there is none{but}. Runs of other "
        "experiments, data or objectives are ranked apart.",
        f"A group is all runs that agree in {keys}, whatever their seed and fold; n counts those "
        "that finished with a number. Time is the median of finished runs, each from building its "
        "Trainer to its end, without processes that were killed and, of a retried job, without "
        "what failed; a job that was trained together with others has the time of all of them.",
    ]
    if not content.is_single:
        sentences += [
            f"Mean ± half the width of its {content.level} confidence interval by Student's t "
            "(scipy.special.stdtrit), over the n runs. Best is the best single run; runs "
            "that repeat one another are one, with their mean.",
            "Tests: two-sided paired t-test (scipy.special.stdtr) of each group and the one "
            f"with the best mean, over common seeds and folds; {tests}, p corrected after Holm "
            f"(1979), α = {content.alpha:g}. The interval of a difference has "
            "the level at which Holm's method tests it, so that it leaves out zero where the "
            "difference is shown, and nowhere else. The best is chosen from the same runs, which "
            "favours it.",
            "In the legend of curves, “equal to” says that two means are the same numbers, and "
            "“same curve as the best” that a group ties: at every common seed the two curves of "
            f"{content.compared.metric} agree to 0.5 % over the first half, and end closer than "
            "0.5 % of their span. Curves that are the same numbers over the first half, and part "
            "later, are no tie. A group that is shown to be worse ties only if its curves begin "
            "as the best's but for the rounding of float32. Fewer than 10 common rows, such as "
            "one validation, are no curve.",
        ]
    return [
        *sentences,
        f"Versions: {used}.",
        *([f"The runs' own: {'; '.join(made_with)}."] if made_with else []),
    ]


def versions() -> dict[str, str]:
    """Returns the versions that the report's numbers come from."""
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"Python": platform.python_version(), **libraries}
