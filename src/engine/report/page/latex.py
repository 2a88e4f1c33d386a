"""Writes the ranking as a LaTeX table with the rules of booktabs."""

from collections.abc import Sequence

from engine.report.page import tables
from engine.report.statistics.content import Content

LEFT_OUT = ("best", "time", "vs best", "median", tables.LEFT_OUT)  # columns that a paper lacks
# What means something else in LaTeX, or nothing in an older one.
SIGNS = (
    {sign: rf"\{sign}" for sign in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "–": "--", "−": "$-$", "α": r"$\alpha$", "<": "$<$", ">": "$>$"}
    | {"∞": r"$\infty$"}
)


def document(contents: list[Content]) -> str:
    """Writes a table for each part, under a comment that says what it shows."""
    said = [" ".join(tables.opening(content).split()) for content in contents]  # of one line
    pairs = zip(said, map(table, contents), strict=True)
    return "\n".join(f"% {opening}\n{text}" for opening, text in pairs)


def table(content: Content) -> str:
    """Writes the groups with mean ± CI, the best in bold; it needs the package booktabs."""
    columns = tables.without(tables.ranking(content), *LEFT_OUT)
    heads, rows = tables.as_rows(columns)
    layout = "".join("r" if column.is_numeric else "l" for column in columns)
    best = content.groups["rank"] == 1
    lines = [_line(row, bold=is_best) for row, is_best in zip(rows, best, strict=True)]
    begin = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule", _line(heads), r"\midrule"]
    return "\n".join([*begin, *lines, r"\bottomrule", r"\end{tabular}", ""])


def _line(cells: Sequence[str], bold: bool = False) -> str:
    """Writes a row of a table."""
    words = ["".join(SIGNS.get(letter, letter) for letter in cell) for cell in cells]
    return " & ".join(rf"\textbf{{{word}}}" if bold else word for word in words) + r" \\"
