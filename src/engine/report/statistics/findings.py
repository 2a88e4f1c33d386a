"""What was found, in plain words: what differs from the best by more than noise, and what to be careful with."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from engine.report.statistics import numbers
from engine.report.statistics.content import Content
from engine.report.statistics.significance import BETTER, CONSTANT, NOISE, NOTHING, SAME, UNTESTED, WORSE

FEW = 5  # seeds: with fewer a paired test sees large differences only


@dataclass(frozen=True)
class Statement:
    """A sentence, and the groups that it is about."""

    text: str
    items: tuple[str, ...] = ()


def statements(content: Content) -> list[Statement]:
    """The differences between the best group and the others; a statement per kind."""
    valued = content.valued
    if len(valued) < 2:
        return []
    best = valued.iloc[0]
    said = [Statement(f"Best: {best['label']}, {content.metric} {mean_of(best)} (n = {best['n']:.0f}).")]
    if ties := [row["label"] for _, row in valued.iloc[1:].iterrows() if row["rank"] == 1]:
        said.append(Statement("The same mean have:", numbers.listed(ties)))
    for kind, opening in (
        (WORSE, f"Worse than the best by more than noise (paired t-test, Holm, α = {content.alpha:g}):"),
        (BETTER, "Better than the best at the seeds that both have, though not over all of their own:"),
        (NOISE, "Within noise of the best; these runs cannot tell them apart, which does not make them equal:"),
        (SAME, "Have the best's value at every common seed:"),
        (CONSTANT, "Differ from the best by the same amount at every common seed, so that there is nothing to test:"),
        (UNTESTED, "Not tested, for a paired test needs two seeds in common with the best:"),
    ):
        if len(rows := valued[valued["verdict"] == kind]):
            items = [_difference(row, content.level) for _, row in rows.iterrows()]
            said.append(Statement(opening, numbers.listed(items)))
    fewest = valued.loc[valued["p_holm"].notna(), "common"].min()
    if fewest < FEW:  # not where there was no test
        said.append(Statement(f"A paired test of {fewest:.0f} seeds finds large differences only."))
    return said


def mean_of(group: pd.Series) -> str:
    return numbers.mean(group["mean"], (group["high"] - group["low"]) / 2)


def verdict(group: pd.Series) -> str:
    """The comparison with the best as a cell of a table."""
    if group["verdict"] in (WORSE, BETTER, NOISE):
        return f"{group['verdict']}, {numbers.p(group['p_holm'])}"
    common = f": {numbers.count(group['common'], 'pair')}" if group["verdict"] == UNTESTED else ""
    return "" if group["verdict"] == NOTHING else f"{group['verdict']}{common}"


def _difference(group: pd.Series, level: str) -> str:
    """`SGD, he: −0.012 (95 % CI −0.020 to −0.004), p = 0.03, 5 pairs`"""
    told = [numbers.count(group["common"], "pair")]
    if group["verdict"] in (WORSE, BETTER, NOISE):
        size = numbers.difference(group["difference"], group["diff_low"], group["diff_high"], level)
        told = [size, numbers.p(group["p_holm"]), *told]
    elif group["verdict"] == CONSTANT:
        told = [f"{group['difference']:+.4g}".replace("-", "−"), *told]
    return f"{group['label']}: {', '.join(told)}"


def notes(content: Content) -> list[str]:
    """What limits the numbers: runs that are left out, too few or unequal seeds, files that could not be read."""
    return [*_left_out(content), *_seeds(content), *_mixtures(content), *_unread(content)]


def _left_out(content: Content) -> Iterator[str]:
    reasons = content.rows.loc[content.rows["left_out"] != "", "left_out"].value_counts(sort=False)
    if len(reasons):
        told = ", ".join(f"{n} {reason}" for reason, n in reasons.items())
        yield f"Means are over finished runs with a number for {content.metric}; left out: {told}."
    empty = content.groups[content.groups["n"] == 0]
    if len(empty):
        yield f"Without any such run, and so without a rank: {_labels(empty)}."


def _seeds(content: Content) -> Iterator[str]:
    counted = content.rows[content.rows["value"].notna()]
    seeds = {tuple(sorted(set(map(str, own)))) for _, own in counted.groupby("group")["seed"]}
    single = content.valued[content.valued["n"] == 1]
    if len(single) and len(single) == len(content.valued):
        yield "Every group has one run only: no intervals, no tests; run more seeds, such as seed=0,1,2,3,4."
    elif len(single):
        yield f"One run only, so no interval: {_labels(single)}."
    if len(seeds) > 1:
        yield "Groups differ in their seeds; each mean is over its own, each test over those in common."
    repeated = counted.duplicated(["group", "seed", "fold", *content.others]).sum()
    if repeated:
        yield f"{numbers.count(int(repeated), 'run')} repeat another's config and seed; tests take the mean of such."


def _mixtures(content: Content) -> Iterator[str]:
    if content.tied:
        yield f"Differ, too, but only along with those shown: {', '.join(content.tied)}."
    if content.others:
        yield (
            f"Within groups differ: {', '.join(content.others)}. Intervals span them, too; tests pair runs that agree "
            "in them and in the seed."
        )
    if content.rows["fold"].nunique() > 1:
        yield "Folds share training data, so that intervals and p over them are too small (Bengio & Grandvalet 2004)."
    made_with = content.made_with()
    if mixed := [kind for kind, values in made_with.items() if len(values) > 1]:
        yield f"The runs differ in {', '.join(mixed)}; see how it was computed."


def _unread(content: Content) -> Iterator[str]:
    for problem in content.problems:
        yield f"Cannot be read, and is left out: {problem.file}: {problem.reason}."


def _labels(groups: pd.DataFrame) -> str:
    return "; ".join(numbers.listed(list(groups["label"])))


def failures(content: Content) -> list[dict[str, str]]:
    """The runs that failed or diverged: folder, status, and the first line of the error if there was one."""
    rows = content.rows[(content.rows["error"] != "") | content.rows["status"].isin(["failed", "diverged"])]
    return [{name: str(row[name]) for name in ("folder", "status", "error")} for _, row in rows.iterrows()]
