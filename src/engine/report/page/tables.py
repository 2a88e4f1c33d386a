"""The ranking and the runs as tables: cells of text, lines for a terminal, comma-separated values."""

import textwrap
from collections.abc import Sequence

import pandas as pd

from engine.report.statistics import findings, numbers
from engine.report.statistics.content import Content

WIDTH = 120  # of the terminal's table
MOST = 30  # groups in the terminal
LEFT_OUT = "left out"
NARROW = 5  # what cells are cut to at most
NUMERIC = ("rank", "n", "best", "time")  # to the right


def ranking(content: Content) -> tuple[list[str], list[list[str]]]:
    """Header and one row of cells per group, best first; columns that would be empty are left away."""
    rows = [_cells(content, group) for _, group in content.groups.iterrows()]
    header = ["rank", *content.names.values(), "n", f"{content.metric} ± {content.level} CI", "best", "time",
              "vs best", LEFT_OUT]  # fmt: skip
    if len(rows) < 2:
        header, rows = without_column(header, rows, "vs best")
    if not any(row[-1] for row in rows):
        header, rows = without_column(header, rows, LEFT_OUT)
    return header, rows


def without_column(header: list[str], rows: list[list[str]], name: str) -> tuple[list[str], list[list[str]]]:
    i = header.index(name)
    return header[:i] + header[i + 1 :], [row[:i] + row[i + 1 :] for row in rows]


def _cells(content: Content, group: pd.Series) -> list[str]:
    rank = "–" if pd.isna(group["rank"]) else f"{group['rank']:.0f}"
    time, best = numbers.duration(group["seconds"]), numbers.metric(group["best"])
    mean = findings.mean_of(group) if group["n"] else "–"
    keys = [str(group[key]) for key in content.keys]
    return [rank, *keys, f"{group['n']:.0f}", mean, best, time, findings.verdict(group), group["left_out"]]


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], cut: Sequence[str]) -> str:
    """Lines of equal columns; where they are too wide, the widest cells of the columns in `cut` are."""
    widths = {name: max(len(row[i]) for row in [header, *rows]) for i, name in enumerate(header)}
    while sum(widths.values()) + 2 * (len(widths) - 1) > WIDTH:
        widest = max(cut, key=lambda name: widths[name], default="")
        if not widest or widths[widest] <= NARROW:
            break
        widths[widest] -= 1
    lines = [
        "  ".join(
            _cut(cell, width).rjust(width) if name in NUMERIC else _cut(cell, width).ljust(width)
            for (name, width), cell in zip(widths.items(), row, strict=True)
        ).rstrip()
        for row in [header, ["─" * width for width in widths.values()], *rows]
    ]
    return "\n".join(lines)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def opening(content: Content) -> str:
    """`40 runs (38 finished, 2 running) in 8 groups; val/acc, higher is better`"""
    statuses = ", ".join(f"{n:,} {status}" for status, n in content.statuses.items())
    better = "higher" if content.mode == "max" else "lower"
    total, made = numbers.count(len(content.runs), "run"), numbers.count(len(content.groups), "group")
    return f"{total} ({statuses}) in {made}; {content.metric}, {better} is better"


def terminal(content: Content) -> str:
    """The report as lines of text; of a table that is too wide, the last keys are left away."""
    header, rows = ranking(content)
    keys = list(content.names.values())
    table = aligned(header, rows[:MOST], [*keys, *({LEFT_OUT} & set(header))])
    while keys and max(map(len, table.splitlines())) > WIDTH:
        header, rows = without_column(header, rows, keys.pop())
        table = aligned(header, rows[:MOST], [*keys, *({LEFT_OUT} & set(header))])
    lines = [opening(content), "", table]
    if len(rows) > MOST:
        lines.append(f"… and {len(rows) - MOST:,} more groups in report.md")
    said = [" ".join([one.text, "; ".join(one.items)]).rstrip() for one in findings.statements(content)]
    for sentence in said + [f"Note: {note}" for note in findings.notes(content)]:
        lines += ["", textwrap.fill(sentence, WIDTH, subsequent_indent="  ", break_on_hyphens=False)]
    return "\n".join(lines)


def of_runs(content: Content) -> pd.DataFrame:
    """One row per run: folder, status, the keys that differ, seed, fold, every final metric, seconds and error."""
    names = sorted({name for run in content.runs for name in run.metrics})
    metrics = pd.DataFrame([run.metrics for run in content.runs], columns=names, index=content.rows.index)
    first = ["folder", "status", *content.keys, *content.others, "seed", "fold"]
    made = pd.concat([content.rows[first], metrics, content.rows[["seconds", "error"]]], axis="columns")
    return made.loc[:, ~made.columns.duplicated()].sort_values("folder", kind="stable")


def csv(content: Content) -> str:
    """`of_runs` as text; numbers read back exactly."""
    return str(of_runs(content).to_csv(index=False, lineterminator="\n"))
