"""Writes the ranking and the runs as tables: for a page, for a terminal, as CSV."""

import textwrap
from collections.abc import Sequence

import pandas as pd

from engine.report.statistics import findings, numbers
from engine.report.statistics.content import Content

WIDTH = 120  # characters of the terminal's table
MOST = 30  # groups in the terminal
LEFT_OUT = "left out"
NARROW = 5  # characters; no column is cut to fewer
NUMERIC = ("rank", "n", "best", "time")  # columns that are aligned to the right


def ranking(content: Content) -> tuple[list[str], list[list[str]]]:
    """Returns a header, and one row of cells per group, the best first; no column is empty."""
    rows = [_cells(content, group) for _, group in content.groups.iterrows()]
    mean = f"{content.metric} ± {content.level} CI"
    header = ["rank", *content.names.values(), "n", mean, "best", "time", "vs best", LEFT_OUT]
    if len(rows) < 2:
        header, rows = without_column(header, rows, "vs best")
    if not any(row[-1] for row in rows):
        header, rows = without_column(header, rows, LEFT_OUT)
    return header, rows


def without_column(
    header: list[str], rows: list[list[str]], name: str
) -> tuple[list[str], list[list[str]]]:
    """Returns a table less one column."""
    i = header.index(name)
    return header[:i] + header[i + 1 :], [row[:i] + row[i + 1 :] for row in rows]


def _cells(content: Content, group: pd.Series) -> list[str]:
    return [
        "–" if pd.isna(group["rank"]) else f"{group['rank']:.0f}",
        *(str(group[key]) for key in content.keys),
        f"{group['n']:.0f}",
        findings.mean_of(group) if group["n"] else "–",
        numbers.metric(group["best"]),
        numbers.duration(group["seconds"]),
        findings.verdict(group),
        group["left_out"],
    ]


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], cut: Sequence[str]) -> str:
    """Writes a table as lines of aligned columns.

    Args:
        header: the names of the columns.
        rows: their cells.
        cut: the columns whose widest cells are cut if the lines are too long.
    """
    widths = {name: max(len(row[i]) for row in [header, *rows]) for i, name in enumerate(header)}
    while sum(widths.values()) + 2 * (len(widths) - 1) > WIDTH:
        widest = max(cut, key=lambda name: widths[name], default="")
        if not widest or widths[widest] <= NARROW:
            break
        widths[widest] -= 1
    rule = ["─" * width for width in widths.values()]
    lines = [
        "  ".join(
            _fitted(cell, width, name in NUMERIC)
            for (name, width), cell in zip(widths.items(), row, strict=True)
        ).rstrip()
        for row in [header, rule, *rows]
    ]
    return "\n".join(lines)


def _fitted(text: str, width: int, to_the_right: bool) -> str:
    """Cuts or pads a cell to a width."""
    text = text if len(text) <= width else text[: width - 1] + "…"
    return text.rjust(width) if to_the_right else text.ljust(width)


def opening(content: Content) -> str:
    """Writes `40 runs (38 finished, 2 running) in 8 groups; val/acc, higher is better`."""
    statuses = ", ".join(f"{n:,} {status}" for status, n in content.statuses.items())
    better = "higher" if content.mode == "max" else "lower"
    runs = numbers.count(len(content.runs), "run")
    groups = numbers.count(len(content.groups), "group")
    return f"{runs} ({statuses}) in {groups}; {content.metric}, {better} is better"


def terminal(content: Content) -> str:
    """Writes the report as lines of text; leaves out the last keys of a table that is too wide."""
    header, rows = ranking(content)
    keys = list(content.names.values())
    reasons = {LEFT_OUT} & set(header)
    table = aligned(header, rows[:MOST], [*keys, *reasons])
    while keys and max(map(len, table.splitlines())) > WIDTH:
        header, rows = without_column(header, rows, keys.pop())
        table = aligned(header, rows[:MOST], [*keys, *reasons])
    lines = [opening(content), "", table]
    if len(rows) > MOST:
        lines.append(f"… and {len(rows) - MOST:,} more groups in report.md")
    statements = [f"{one.text} {'; '.join(one.items)}" for one in findings.statements(content)]
    for sentence in [*statements, *(f"Note: {note}" for note in findings.notes(content))]:
        wrapped = textwrap.fill(sentence, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
        lines += ["", wrapped]
    return "\n".join(lines)


def of_runs(content: Content) -> pd.DataFrame:
    """Returns one row per run, by folder.

    It has folder, status, the keys that differ, seed, fold, every final metric, seconds and error.
    """
    names = sorted({name for run in content.runs for name in run.metrics})
    metrics = pd.DataFrame(
        [run.metrics for run in content.runs], columns=names, index=content.rows.index
    )
    first = content.rows[["folder", "status", *content.keys, *content.others, "seed", "fold"]]
    last = content.rows[["seconds", "error"]]
    table = pd.concat([first, metrics, last], axis="columns")
    return table.loc[:, ~table.columns.duplicated()].sort_values("folder", kind="stable")


def csv(content: Content) -> str:
    """Writes `of_runs` as text; numbers read back exactly."""
    return str(of_runs(content).to_csv(index=False, lineterminator="\n"))
