"""Writes the ranking and the runs as tables: for a page, for a terminal, as CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

import pandas as pd

from engine import messages
from engine.report.read import settings
from engine.report.statistics import findings, numbers
from engine.report.statistics.content import Content
from engine.run.summaries import BEST_EPOCH, LAST_PASS, LAST_VALUE, OF_MEAN

MOST = 30  # groups in the terminal
LEFT_OUT = "left out"
LONG = 24  # characters; a page shows a longer cell in several lines
SHORT = 12  # characters; a column is cut to fewer only if no other can be left out
NARROW = 5  # characters; no column is cut to fewer
# Columns that a terminal does without where it lacks room, the first first. What the tests say
# stands below the table, too.
SPARE = ("median", "best", "time", "Holm p")
NUMERIC = ("rank", "n", "median", "best", "time", "Holm p")  # aligned to the right


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: its head.
        texts: its cells.
        values: the numbers behind the texts, to sort by; None for words.
        is_setting: whether it is a key of the config's, which may have the name of another column.
    """

    name: str
    texts: list[str]
    values: list[Any] | None = None
    is_setting: bool = False

    @property
    def is_numeric(self) -> bool:
        """Tells whether the cells are aligned to the right."""
        return self.name in NUMERIC and not self.is_setting

    @property
    def is_long(self) -> bool:
        """Tells whether a page has to break the cells into lines."""
        return max(map(len, self.texts), default=0) > LONG

    @property
    def width(self) -> int:
        """Returns the number of characters of the widest cell."""
        return max(map(len, [self.name, *self.texts]))

    @cached_property
    def least_width(self) -> int:
        """Returns how narrow a terminal may make it: cells that differ do so when they are cut.

        No number is cut, only words.
        """
        kinds = set(self.texts)
        has_words = self.is_setting or self.name == LEFT_OUT
        widths = range(NARROW, self.width) if has_words else ()
        fitting = (n for n in widths if len({_fitted(text, n) for text in kinds}) == len(kinds))
        return next(fitting, self.width)


def ranking(content: Content, names_metric: bool = True) -> list[Column]:
    """Returns the columns of the table of groups, the best first; none of them is empty.

    Args:
        content: of the report.
        names_metric: whether the head of the means has the metric's name.
    """
    groups = content.groups
    mean = f"mean ± {content.level} CI"
    mean = f"{content.metric}: {mean}" if names_metric else mean
    mean = content.metric if content.is_single else mean
    columns = [
        _numbers("rank", groups["rank"], lambda rank: "–" if pd.isna(rank) else f"{rank:.0f}"),
        *(_settings(content.names[key], groups[key]) for key in content.keys),
        Column("n", [_n(group) for _, group in groups.iterrows()], list(groups["n"])),
        Column(
            mean, [findings.mean_of(group) for _, group in groups.iterrows()], list(groups["mean"])
        ),
        _numbers("median", groups["median"], numbers.metric),
        *(
            Column(
                name,
                [numbers.mean(*pair) for pair in groups[[name, f"{name} ±"]].to_numpy(float)],
                list(groups[name]),
            )
            for name in content.tests
        ),
        _numbers("best", groups["best"], numbers.metric),
        _numbers("time", groups["seconds"], numbers.duration),
        Column("vs best", [findings.verdict(group) for _, group in groups.iterrows()]),
        _numbers("Holm p", groups["p_holm"], numbers.p),
        Column(LEFT_OUT, list(groups["left_out"])),
    ]
    empty = {LEFT_OUT} if not any(groups["left_out"]) else set()
    if groups["p_holm"].isna().all():
        empty.add("Holm p")
    if content.is_single:
        empty |= {"n", "median", "best"} | ({"vs best"} if content.is_search else set())
    if len(groups) < 2:
        empty.add("vs best")
    return without(columns, *empty)


def without(columns: Sequence[Column], *names: str) -> list[Column]:
    """Leaves out some columns, but no key of the config's, whatever its name."""
    return [column for column in columns if column.is_setting or column.name not in names]


def _n(group: pd.Series) -> str:
    """Writes how many runs count, of how many if that is not all."""
    return f"{group['n']:.0f}" + (f" of {group['runs']}" if group["n"] < group["runs"] else "")


def _numbers(name: str, values: pd.Series, write: Any) -> Column:
    return Column(name, [write(value) for value in values], list(values))


def _settings(name: str, values: pd.Series) -> Column:
    return Column(name, numbers.settings(list(values)), list(values), True)


def runs(content: Content) -> list[Column]:
    """Returns the columns of the table of runs, in the order of the ranking."""
    order = {group: place for place, group in enumerate(content.groups.index)}
    rows = content.rows.assign(order=content.rows["group"].map(order))
    rows = rows.sort_values(["order", "folder"], kind="stable")
    keys = [*content.keys, *content.others]
    names = settings.short_names(keys)
    fold = ["fold"] if rows["fold"].nunique() > 1 else []
    return [
        Column("folder", list(rows["folder"])),
        Column("status", list(rows["status"])),
        *(_settings(names[key], rows[key]) for key in keys),
        *(_settings(name, rows[name]) for name in ("seed", *fold)),
        Column(content.metric, _latest(content, rows["latest"]), list(rows["latest"])),
        *(_numbers(name, rows[name], numbers.metric) for name in content.tests),
        _numbers("time", rows["seconds"], numbers.duration),
    ]


def _latest(content: Content, values: pd.Series) -> list[str]:
    """Writes what each run is compared by, and names the last value of a run without another."""
    is_another = content.compared.taken in (BEST_EPOCH, LAST_PASS, OF_MEAN)
    is_last = [is_another and not content.runs[number].objective for number in values.index]
    return [
        numbers.metric(value) + (f" ({LAST_VALUE})" if last and not pd.isna(value) else "")
        for value, last in zip(values, is_last, strict=True)
    ]


def as_rows(columns: Sequence[Column]) -> tuple[list[str], list[list[str]]]:
    """Returns the heads and the rows of cells."""
    cells = zip(*(column.texts for column in columns), strict=True)
    return [column.name for column in columns], [list(row) for row in cells]


def fitting(columns: Sequence[Column], spare: Sequence[str], width: int) -> list[Column]:
    """Returns the columns that have room in a width once the longest cells are cut.

    Args:
        columns: of a table.
        spare: the names of those that may be left out, the first first.
        width: in characters.
    """
    kept = list(columns)
    for name in spare:
        if _least_width(kept, SHORT) > width:
            kept = without(kept, name)
    keys = [column for column in columns if column.is_setting]
    while keys and _least_width(kept, NARROW) > width:
        kept.remove(keys.pop())
    return kept


def _least_width(columns: Sequence[Column], longest: int) -> int:
    """Returns the width of a table with the cells cut that can be."""
    cut = [max(min(one.width, longest), one.least_width) for one in columns]
    return sum(cut) + 2 * (len(cut) - 1)


def aligned(columns: Sequence[Column], width: int) -> str:
    """Writes a table as lines of aligned columns; cuts the widest cells if there is no room."""
    widths = [column.width for column in columns]
    while sum(widths) + 2 * (len(widths) - 1) > width:
        can_be_cut = [i for i, column in enumerate(columns) if widths[i] > column.least_width]
        if not can_be_cut:
            break
        widths[max(can_be_cut, key=lambda i: widths[i])] -= 1
    heads, rows = as_rows(columns)
    lines = [
        "  ".join(
            _fitted(cell, size, column.is_numeric)
            for column, cell, size in zip(columns, row, widths, strict=True)
        ).rstrip()
        for row in [heads, ["─" * size for size in widths], *rows]
    ]
    return "\n".join(lines)


def _fitted(text: str, width: int, to_the_right: bool = False) -> str:
    """Cuts a cell to its beginning and its end, or pads it."""
    end = (width - 1) // 2
    text = text if len(text) <= width else f"{text[: width - 1 - end]}…{text[-end:]}"
    return text.rjust(width) if to_the_right else text.ljust(width)


def opening(content: Content) -> str:
    """Writes `40 runs (38 finished, 2 running) in 8 groups; val/acc: higher is better`."""
    statuses = ", ".join(f"{n:,} {status}" for status, n in content.statuses.items())
    better = "higher" if content.mode == "max" else "lower"
    runs = messages.counted(len(content.runs), "run")
    groups = messages.counted(len(content.groups), "group")
    return f"{runs} ({statuses}) in {groups}; {content.metric}: {better} is better"


def terminal(content: Content) -> str:
    """Writes the report as lines of text, as wide as the terminal is."""
    width = messages.width()
    shown = [
        replace(column, texts=column.texts[:MOST])
        for column in ranking(content, names_metric=False)
    ]
    spare = [*SPARE, *content.tests[::-1], "vs best", LEFT_OUT]
    columns = fitting(shown, spare, width)
    table = aligned(columns, width)
    lines = [
        *([content.title] if content.title else []),
        messages.filled(opening(content), subsequent_indent="  "),
    ]
    lines += ["", table]
    if (more := len(content.groups) - MOST) > 0:
        lines.append(f"… and {messages.counted(more, 'more group')} in report.md")
    if lost := [one.name for one in shown if one.is_setting and one not in columns]:
        said = f"… and {messages.counted(len(lost), 'more key')} in report.md: {', '.join(lost)}"
        lines.append(messages.filled(said, subsequent_indent="  "))
    statements = [f"{one.text} {'; '.join(one.items)}" for one in findings.statements(content)]
    for sentence in [*statements, *(f"Note: {note}" for note in findings.notes(content))]:
        # A setting may be one long word, and none of it is there to paste.
        lines += ["", messages.filled(sentence, subsequent_indent="  ", break_long_words=True)]
    return "\n".join(lines)


def of_runs(content: Content, more: Mapping[str, Sequence[Any]] | None = None) -> pd.DataFrame:
    """Returns one row per run, by folder.

    It has folder, status, all keys that differ, seed, fold, objective and its name, every final
    metric, seconds and error.

    Args:
        content: of the report.
        more: keys by which the runs differ from those of other parts, with a value for each run.
    """
    objectives = [run.objective for run in content.runs]
    named = pd.DataFrame(
        [(one.value, one.name) if one else (None, "") for one in objectives],
        columns=["objective", "objective_name"],
        index=content.rows.index,
    )
    names = sorted({name for run in content.runs for name in run.metrics})
    metrics = pd.DataFrame(
        [run.metrics for run in content.runs], columns=names, index=content.rows.index
    )
    more = more or {}
    keys = dict.fromkeys([*content.keys, *content.tied, *content.others, *more])
    first = content.rows.assign(**more)[["folder", "status", *keys, "seed", "fold"]]
    last = content.rows[["seconds", "error"]]
    others = [*first, *named, *last]
    metrics = metrics.rename(columns={name: f"metrics.{name}" for name in names if name in others})
    table = pd.concat([first, named, metrics, last], axis="columns")
    return table.loc[:, ~table.columns.duplicated()].sort_values("folder", kind="stable")


def csv(contents: Sequence[Content]) -> str:
    """Writes the runs of all parts as text; numbers read back exactly."""
    runs = [run for content in contents for run in content.runs]
    # One part has all its keys; of others, one may lack a key that is the same in all its runs.
    columns = settings.apart(settings.differing(runs)) if len(contents) > 1 else {}
    left = {key: iter(values) for key, values in columns.items()}
    tables = [
        of_runs(content, {key: list(islice(own, len(content.runs))) for key, own in left.items()})
        for content in contents
    ]
    table = pd.concat(tables).sort_values("folder", kind="stable")
    return str(table.to_csv(index=False, lineterminator="\n"))
