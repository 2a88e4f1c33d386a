"""Writes the ranking as a LaTeX table with the rules of booktabs."""

import re

import pandas as pd

from engine.report.page import tables
from engine.report.statistics.content import Content

LEFT_OUT = ("best", "time", "vs best", "median", tables.LEFT_OUT)  # columns that a paper lacks


def document(contents: list[Content]) -> str:
    """Writes a table for each part, under a comment that says what it shows."""
    return "\n".join(f"% {tables.opening(content)}\n{table(content)}" for content in contents)


def table(content: Content) -> str:
    """Writes the groups with mean ± CI, the best in bold; it needs the package booktabs."""
    columns = [column for column in tables.ranking(content) if column.name not in LEFT_OUT]
    names = [column.name for column in columns]
    frame = pd.DataFrame({column.name: column.texts for column in columns})
    best = content.groups["rank"].to_numpy() == 1
    styler = (
        frame.style.hide(axis="index")
        .format(escape="latex")
        .format_index(escape="latex", axis="columns")
    )
    styler = styler.apply(lambda _: ["textbf:--rwrap;" if one else "" for one in best])
    layout = "".join("r" if name in tables.NUMERIC else "l" for name in names)
    return _signs(str(styler.to_latex(hrules=True, column_format=layout)))


def _signs(text: str) -> str:
    """Writes signs that older LaTeX does not know as commands."""
    for sign, command in {"±": r"$\pm$", "–": "--", "−": "$-$", "α": r"$\alpha$"}.items():
        text = text.replace(sign, command)
    return re.sub(r"< (?=\d)", "$<$ ", text)
