"""Writes the files for a paper: the ranking as a LaTeX table, and the figures."""

from collections.abc import Sequence

from engine.report.page import drawing, tables
from engine.report.page.page import Part
from engine.report.statistics.content import Content

LEFT_OUT = ("best", "time", "vs best", "median", tables.LEFT_OUT)  # columns that a paper lacks
# What means something else in LaTeX, or nothing in an older one.
SIGNS = (
    {sign: rf"\{sign}" for sign in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "–": "--", "−": "$-$", "α": r"$\alpha$", "<": "$<$", ">": "$>$"}
    | {"∞": r"$\infty$"}
)


def files(parts: Sequence[Part]) -> dict[str, str | bytes]:
    """Returns the ranking for LaTeX, and each figure as SVG and as PDF, by the names of files."""
    made: dict[str, str | bytes] = {"report.tex": document([part.content for part in parts])}
    for number, part in enumerate(parts, start=1):
        begin = f"part{number}-" if len(parts) > 1 else ""
        for picture in part.pictures:
            for i, panel in enumerate(picture.panels, start=1):
                several = f"-{i}" if len(picture.panels) > 1 else ""
                name = f"figures/{begin}{picture.name}{several}"
                made[f"{name}.svg"] = drawing.svg(panel, picture.name, colours={})
                made[f"{name}.pdf"] = drawing.pdf(panel)
    return made


def document(contents: Sequence[Content]) -> str:
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
