"""Says in words what was found: which groups differ from the best, and what limits the numbers."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from engine.config.keys import FOLD, IRRELEVANT, is_below
from engine.messages import counted
from engine.report.statistics import numbers
from engine.report.statistics.content import Content
from engine.report.statistics.groups import count_reasons
from engine.report.statistics.significance import (
    BETTER,
    CONSTANT,
    NOISE,
    NOTHING,
    SAME,
    TIE,
    UNTESTED,
    WORSE,
)
from engine.run.code import file_name

FEW = 5  # seeds; with fewer, a paired test finds large differences only
# Keys of the data that change batches only, and the fold, of which there is another note.
ORDER = ("batch_size", "eval_batch_size", "seed", "steps_per_epoch", "fold")
OPENINGS = {  # the words before the groups of a verdict; of one, with the level of the tests
    TIE: (
        "A tie with the best: at every common seed the learning curves of what is compared agree "
        "to 0.5 % over the first half of training, whatever their last digits are (a p says that a "
        "paired test tells these apart):"
    ),
    WORSE: "Worse than the best by more than noise (paired t-test, Holm, α = {:g}):",
    BETTER: "Better than the best at the seeds that both have, though not over all of their own:",
    NOISE: (
        "Not shown to differ from the best; these runs cannot tell them apart, "
        "which does not make them equal:"
    ),
    SAME: "Have the best's value at every common seed:",
    CONSTANT: (
        "Differ from the best by the same amount at every common seed, "
        "so that there is nothing to test:"
    ),
    UNTESTED: "Not tested, for a paired test needs two seeds in common with the best:",
}


@dataclass(frozen=True)
class Statement:
    """A sentence, and the groups that it is about."""

    text: str
    items: tuple[str, ...] = ()


def statements(content: Content) -> list[Statement]:
    """Returns a statement for each kind of difference between the best group and the others."""
    valued = content.valued
    if len(valued) < 2:
        return []
    found = [Statement(_best(content, valued.iloc[0]))]
    if ties := list(valued.loc[(valued["rank"] == 1) & (valued["verdict"] != TIE), "label"])[1:]:
        found.append(Statement("The same mean have:", numbers.listed(ties)))
    for verdict, opening in OPENINGS.items():
        rows = valued[valued["verdict"] == verdict]
        if len(rows) and not (content.is_search and verdict == UNTESTED):
            items = [_difference(row) for _, row in rows.iterrows()]
            found.append(Statement(opening.format(content.alpha), numbers.listed(items)))
    fewest = valued.loc[valued["p_holm"].notna(), "common"].min()  # NaN where nothing was tested
    if fewest < FEW:
        found.append(
            Statement(f"A paired test of {fewest:.0f} seeds finds large differences only.")
        )
    return found


def _best(content: Content, best: pd.Series) -> str:
    lost = best["runs"] - best["n"]
    verb = "does" if lost == 1 else "do"
    but = f"; {lost:.0f} of its {best['runs']:.0f} runs {verb} not count: {best['left_out']}"
    return (
        f"Best: {best['label']}, {content.metric}: {mean_of(best)} (n = {best['n']:.0f})"
        f"{but if lost else ''}."
    )


def mean_of(group: pd.Series) -> str:
    """Writes a group's mean with its interval."""
    return numbers.mean(group["mean"], (group["high"] - group["low"]) / 2)


def verdict(group: pd.Series) -> str:
    """Writes the comparison with the best as a cell of a table."""
    if group["verdict"] == UNTESTED:
        return f"{UNTESTED}: {counted(group['common'], 'pair')}"
    return "" if group["verdict"] == NOTHING else str(group["verdict"])


def _difference(group: pd.Series) -> str:
    """Writes `SGD, he: −0.012 (CI −0.020 to −0.004), Holm p = 0.03, 5 pairs`."""
    parts = [counted(group["common"], "pair")]
    if group["verdict"] in (WORSE, BETTER, NOISE):
        size = numbers.difference(group["difference"], group["diff_low"], group["diff_high"])
        p = numbers.p(group["p_holm"])
        parts = [size, f"Holm p {p if p.startswith('<') else f'= {p}'}", *parts]
    elif group["verdict"] == CONSTANT:
        parts.insert(0, numbers.signed(f"{group['difference']:+.4g}"))
    return f"{group['label']}: {', '.join(parts)}"


def notes(content: Content) -> list[str]:
    """Returns what limits the numbers.

    That is runs that are left out, too few or unequal seeds, and files that could not be read.
    """
    unread = (f"Left out: {one.file}: {one.reason.rstrip('.')}." for one in content.problems)
    return [*_left_out(content), *_seeds(content), *_mixtures(content), *unread]


def _left_out(content: Content) -> Iterator[str]:
    if content.is_guessed and "finished" in content.statuses:
        yield (
            f"No run has an objective, so {content.compared.metric} is compared, for its name: "
            "choose by --metric, or for further runs by callbacks.checkpoints.monitor."
        )
    reasons = content.rows.loc[content.rows["left_out"] != "", "left_out"]
    if len(reasons):
        yield (
            f"Means are over finished runs with a number for {content.metric}; "
            f"left out: {count_reasons(reasons)}."
        )
    rows = content.rows[content.rows["value"].notna()]
    for name in content.tests:
        if without := int((~(rows[name].abs() < math.inf)).sum()):
            yield f"{name}: {counted(without, 'run')} without a number; means leave it out."
    if len(empty := content.groups[content.groups["n"] == 0]):
        yield f"Without any such run, and so without a rank: {_labels(empty)}."


def _seeds(content: Content) -> Iterator[str]:
    rows = content.rows[content.rows["value"].notna()]
    seeds, folds = (
        {tuple(sorted(set(map(str, own)))) for _, own in rows.groupby("group")[name]}
        for name in ("seed", "fold")
    )
    single = content.valued[content.valued["n"] == 1]
    if content.is_search:
        return
    if len(single) and len(single) == len(content.valued):
        yield (
            "Every group has one run only: no intervals, no tests; "
            "run more seeds, such as seed=0,1,2,3,4."
        )
    elif len(single):
        yield f"One run only, so no interval: {_labels(single)}."
    if differ := [name for name, sets in (("seeds", seeds), ("folds", folds)) if len(sets) > 1]:
        yield (
            f"Groups differ in their {' and '.join(differ)}; each mean is over its own, "
            "each test over those in common."
        )
    if repeated := int(rows.duplicated(["group", "seed", "fold", *content.others]).sum()):
        yield (
            f"{counted(repeated, 'run')} repeat{'s' * (repeated == 1)} another's config and "
            "seed; such runs count once, by their mean."
        )


def _mixtures(content: Content) -> Iterator[str]:
    if content.tied:
        yield f"Differ, too, but only along with those shown: {', '.join(content.tied)}."
    if content.others and not content.is_single:
        yield (
            f"Within groups differ: {', '.join(content.others)}. Intervals span them, too; "
            "tests pair runs that agree in them and in the seed."
        )
    if content.rows["fold"].nunique() > 1:
        yield (
            "Folds share training data, so that intervals and p over them are too small "
            "(Bengio & Grandvalet 2004)."
        )
    keys = [key for key in (*content.keys, *content.tied, *content.others) if _is_of_data(key)]
    if keys:
        yield f"Runs may be validated on other samples, as they differ in {', '.join(keys)}."
    if _has_changed_data(content):
        yield (
            "The data changed from run to run: with one config of the data, runs had other samples."
        )
    if changed := _changed_code(content):
        yield f"The code changed from run to run: {', '.join(changed)}."
    if mixed := [kind for kind, values in content.made_with().items() if len(values) > 1]:
        yield f"The runs differ in {', '.join(mixed)}; see how it was computed."


def _has_changed_data(content: Content) -> bool:
    """Tells whether runs had other data than their configs say.

    Data may be drawn from the run's seed; they are not where runs with other seeds had the same.
    """
    found: dict[str, set[tuple[str, object]]] = {}  # by the data's config: digests with seeds
    for run in content.runs:
        if run.data:
            values = {key: value for key, value in run.config.items() if _decides_data(key)}
            if values.get("datamodule.seed") == run.seed:  # it follows the run's
                del values["datamodule.seed"]
            own = json.dumps(values, sort_keys=True)
            found.setdefault(own, set()).add((run.data, run.seed))
    return any(map(_are_of_several, found.values()))


def _are_of_several(pairs: set[tuple[str, object]]) -> bool:
    """Tells whether pairs of a digest and a seed are of more data than one for each seed."""
    digests = {digest for digest, _ in pairs}
    seeds = {seed for _, seed in pairs}
    return len(digests) > 1 and not len(digests) == len(seeds) == len(pairs)


def _decides_data(key: str) -> bool:
    return key in (FOLD, "datamodule.seed") or (_is_of_data(key) and not is_below(key, IRRELEVANT))


def _changed_code(content: Content) -> list[str]:
    """Returns the files of which the runs had several versions."""
    pairs = dict.fromkeys(pair for run in content.runs for pair in run.code.items())
    versions = Counter(name for name, _ in pairs)
    return [file_name(name) for name, number in versions.items() if number > 1]


def _is_of_data(key: str) -> bool:
    node, _, name = key.partition(".")
    return node == "datamodule" and name not in ORDER


def _labels(groups: pd.DataFrame) -> str:
    return "; ".join(numbers.listed(list(groups["label"])))


def failures(content: Content) -> list[dict[str, str]]:
    """Returns folder, status and error of each run that failed, diverged or is mixed.

    A mixed run went on after its data or its code had changed. Of an error, it is the first line.
    """
    has_failed = content.rows["status"].isin(["failed", "diverged"])
    rows = content.rows.loc[
        has_failed | (content.rows["error"] != ""), ["folder", "status", "error"]
    ].copy()
    rows.loc[rows["status"] == "finished", "status"] = "finished (mixed)"
    return [{name: str(text) for name, text in row.items()} for _, row in rows.iterrows()]
