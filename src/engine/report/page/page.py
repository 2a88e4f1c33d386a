"""The report as a page: one file with its style and figures, that needs no network and runs no script."""

from pathlib import Path

import jinja2
from markupsafe import Markup

from engine.report.page import curves, heatmap, method, parallel, tables
from engine.report.read.collect import Problem
from engine.report.read.settings import short_names
from engine.report.statistics import findings, numbers, points
from engine.report.statistics.content import Content

HERE = Path(__file__).parent
CURVES, POINTS = 10, 40  # groups drawn
OPEN = 25  # rows up to which a table is shown at once
COLUMNS = ("folder", "status", "seed", "fold", "latest", "seconds", "error")


def html(content: Content, pictures: list[dict[str, str]]) -> str:
    """The whole page, with the `figures`."""
    loader = jinja2.FileSystemLoader(HERE)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined,
                                     trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    header, rows = tables.ranking(content)
    return environment.get_template("page.html.jinja").render(
        content=content,
        style=Markup((HERE / "page.css").read_text("utf-8")),
        opening=tables.opening(content),
        header=header,
        ranking=list(zip(rows, content.groups["verdict"], strict=True)),
        numeric=tables.NUMERIC,
        figures=pictures,
        statements=findings.statements(content),
        notes=findings.notes(content),
        failures=findings.failures(content),
        runs=run_rows(content),
        method=method.sentences(content),
        open=OPEN,
    )


def figures(content: Content) -> tuple[list[dict[str, str]], list[Problem]]:
    """Title, picture and caption of each figure that there is something for; and files that could not be read."""
    drawn = content.valued.head(POINTS)
    svg, some, problems = curves.draw(content, CURVES)
    said = f"Line: mean over a group's runs; band: {content.level} confidence interval, with two runs or more. "
    said += f"At most about {curves.POINTS} points, each over the runs that reached it; no diverged or failed runs."
    pictures = [("Learning curves", svg, said + rest(len(content.groups), some))]
    if len(drawn):
        said = f"Small dots: the runs; mark and bar: mean and {content.level} confidence interval."
        pictures.append(("Final metric", points.draw(content, drawn), said + rest(len(content.valued), len(drawn))))
    said = "Mean over a group's runs; brighter is better."
    pictures.append(("Heat map", heatmap.draw(content), said))
    said = "A line per group, from left to right through its values to its mean; brighter is better, thick the best."
    said += rest(len(content.valued), min(len(content.valued), parallel.MOST))
    pictures.append(("Parallel coordinates", parallel.draw(content), said))
    return [{"title": t, "svg": Markup(svg), "caption": c} for t, svg, c in pictures if svg], problems


def rest(total: int, drawn: int) -> str:
    return f" The best {drawn} of {total:,} groups are drawn." if total > drawn else ""


def run_rows(content: Content) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the list of runs, in the order of the ranking; columns that say nothing are left away."""
    order = {group: place for place, group in enumerate(content.groups.index)}
    rows = content.rows.assign(order=content.rows["group"].map(order)).sort_values(["order", "folder"], kind="stable")
    keys = [*content.keys, *content.others]
    names = ["folder", "status", *keys, "seed", *(["fold"] if rows["fold"].notna().any() else []), "latest", "seconds"]
    short = short_names(keys)
    shown = [short.get(name, name).replace("latest", content.metric).replace("seconds", "time") for name in names]
    how = {"latest": numbers.metric, "seconds": numbers.duration}
    return shown, [[how.get(name, str)(row[name]) for name in names] for _, row in rows[names].iterrows()]
