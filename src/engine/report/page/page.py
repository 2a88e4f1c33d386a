"""Writes the report as one HTML file, its style and figures inside: no network, no script."""

from pathlib import Path

import jinja2
from markupsafe import Markup

from engine.pictures import looks
from engine.report.page import curves, drawing, heatmap, method, parallel, points, tables
from engine.report.read.collect import Problem
from engine.report.read.settings import short_names
from engine.report.statistics import findings, numbers
from engine.report.statistics.content import Content

HERE = Path(__file__).parent
MOST_CURVES = looks.MOST  # groups whose learning curves are drawn
MOST_POINTS = 40  # groups whose runs are drawn as points
OPEN = 25  # up to so many rows, a table is shown without a click


def html(content: Content, figures: list[dict[str, str]]) -> str:
    """Writes the whole page.

    Args:
        content: of the report.
        figures: as the function of that name returns them.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    header, rows = tables.ranking(content)
    return environment.get_template("page.html.jinja").render(
        content=content,
        style=Markup(drawing.colours() + (HERE / "page.css").read_text("utf-8")),
        opening=tables.opening(content),
        header=header,
        ranking=list(zip(rows, content.groups["verdict"], strict=True)),
        numeric=tables.NUMERIC,
        figures=figures,
        statements=findings.statements(content),
        notes=findings.notes(content),
        failures=findings.failures(content),
        runs=run_rows(content),
        method=method.sentences(content),
        open=OPEN,
    )


def figures(content: Content) -> tuple[list[dict[str, str]], list[Problem]]:
    """Draws the figures that there is something for.

    Returns title, svg and caption of each; and the files that could not be read.
    """
    level = content.level
    total = len(content.valued)
    valued = content.valued.head(MOST_POINTS)
    svg, drawn, problems = curves.draw(content, MOST_CURVES)
    drawings = {
        "Learning curves": (
            svg,
            f"Line: mean over a group's runs; band: {level} confidence interval, with two runs or "
            f"more. At most about {curves.POINTS} points, each over the runs that reached it; "
            "no diverged or failed runs." + rest(len(content.groups), drawn),
        ),
        "Final metric": (
            points.draw(content, valued) if total else "",
            f"Small dots: the runs; mark and bar: mean and {level} confidence interval."
            + rest(total, len(valued)),
        ),
        "Heat map": (heatmap.draw(content), "Mean over a group's runs; brighter is better."),
        "Parallel coordinates": (
            parallel.draw(content),
            "A line per group, from left to right through its values to its mean; "
            "brighter is better, thick the best." + rest(total, min(total, parallel.MOST)),
        ),
    }
    made = [
        {"title": title, "svg": Markup(svg), "caption": caption}
        for title, (svg, caption) in drawings.items()
        if svg
    ]
    return made, problems


def rest(total: int, drawn: int) -> str:
    """Says how many groups are drawn, if it is not all of them."""
    return f" The best {drawn} of {total:,} groups are drawn." if total > drawn else ""


def run_rows(content: Content) -> tuple[list[str], list[list[str]]]:
    """Returns header and cells of the list of runs, in the order of the ranking."""
    order = {group: place for place, group in enumerate(content.groups.index)}
    rows = content.rows.assign(order=content.rows["group"].map(order))
    rows = rows.sort_values(["order", "folder"], kind="stable")
    keys = [*content.keys, *content.others]
    fold = ["fold"] if rows["fold"].notna().any() else []
    columns = ["folder", "status", *keys, "seed", *fold, "latest", "seconds"]
    names = {**short_names(keys), "latest": content.metric, "seconds": "time"}
    formats = {"latest": numbers.metric, "seconds": numbers.duration}
    cells = [
        [formats.get(column, str)(row[column]) for column in columns]
        for _, row in rows[columns].iterrows()
    ]
    return [names.get(column, column) for column in columns], cells
