"""Writes the report by templates.

It is one HTML file, with style, script and figures inside: no network; and a Markdown document.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape

from engine import messages
from engine.pictures import looks
from engine.report.page import (
    curves,
    drawing,
    heatmap,
    method,
    parallel,
    points,
    search,
    tables,
    trained,
)
from engine.report.page.drawing import Panel, Picture
from engine.report.statistics import findings
from engine.report.statistics.content import Content
from engine.report.statistics.importance import importances, is_scale
from engine.report.statistics.ties import with_ties

HERE = Path(__file__).parent
MOST_POINTS = 40  # groups whose runs are drawn as points
OPEN = 25  # up to so many rows, a table is shown without a click
# Hebrew, Arabic and their neighbours, up to the next sign that ends a value.
RIGHT_TO_LEFT = re.compile(
    r"[{0}](?:[^,;:()=]*[{0}])?".format("\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc")
)
LEVELS = 5  # from so many values on, a number is drawn as a scale


class Part(NamedTuple):
    """A part of a report: what it says, what was trained, and its figures."""

    content: Content
    trained: trained.Trained
    pictures: list[Picture]


def part_of(content: Content, door: str) -> Part:
    """Adds to the content what its curves tell, and all that is shown of it.

    Args:
        content: as it was computed.
        door: the import path of the training command, of runs that do not say theirs.
    """
    lines = curves.collect(content)
    content = dataclasses.replace(
        with_ties(content, lines.frames), problems=[*content.problems, *lines.problems]
    )
    return Part(content, trained.of(content, door), figures(content, lines))


def html(parts: Sequence[Part]) -> str:
    """Writes the whole page; its ids have the numbers of the parts."""
    shown = [
        {
            **_said(part),
            "id": f"part{number}",
            "verdicts": [str(own).replace(" ", "-") for own in part.content.groups["verdict"]],
            "figures": [_shown(f"part{number}", picture) for picture in part.pictures],
            "runs": tables.runs(part.content),
            "count": messages.counted(len(part.content.runs), "run"),
        }
        for number, part in enumerate(parts)
    ]
    return _rendered(
        "page.html.jinja",
        shown,
        colours={"light": looks.LIGHT, "dark": looks.DARK},
        style=Markup((HERE / "page.css").read_text("utf-8")),
        script=Markup((HERE / "page.js").read_text("utf-8")),
        open=OPEN,
    )


def markdown(parts: Sequence[Part]) -> str:
    """Writes the same as GitHub-flavoured Markdown, without figures and single runs."""
    return _rendered("page.md.jinja", list(map(_said, parts)))


def _rendered(template: str, parts: Sequence[dict[str, Any]], **more: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=jinja2.select_autoescape(["html.jinja"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"markdown": escaped, "isolated": isolated}
    first = parts[0]["content"]
    place = messages.short(first.folder)
    return environment.get_template(template).render(first=first, place=place, parts=parts, **more)


def escaped(text: str) -> str:
    """Returns a text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\|`*_<>[]#~&" else c for c in text)


def isolated(text: str) -> Markup:
    """Returns a text for a page in which words read from right to left turn no number beside them.

    Without, a browser shows "−0.212" behind Hebrew words as "0.212−".
    """
    return Markup(RIGHT_TO_LEFT.sub(r"<bdi>\g<0></bdi>", str(escape(text))))


def _said(part: Part) -> dict[str, Any]:
    """Returns what is said of a part, as a page or as Markdown."""
    content = part.content
    return {
        "content": content,
        "trained": part.trained,
        "opening": tables.opening(content),
        "ranking": tables.ranking(content),
        "statements": findings.statements(content),
        "notes": findings.notes(content),
        "failures": findings.failures(content),
        "method": method.sentences(content),
    }


def _shown(part: str, picture: Picture) -> dict[str, Any]:
    svgs = [
        Markup(drawing.svg(panel, f"{part}-{picture.name}{i}"))
        for i, panel in enumerate(picture.panels)
    ]
    widths = [panel.figure.get_figwidth() for panel in picture.panels]
    return {"title": picture.title, "caption": picture.caption, "svgs": svgs, "widths": widths}


def figures(content: Content, lines: curves.Curves) -> list[Picture]:
    """Draws the figures that there is something for."""
    valued = content.valued
    columns = [content.groups[key] for key in content.keys]
    scales = [column for column in columns if is_scale(column) and column.nunique() >= LEVELS]
    pictures = _searches(content)
    is_searched = bool(pictures)
    if is_searched or not content.is_search:
        pictures.append(_curves(content, lines))
    if len(valued) and not (is_searched and content.is_search):
        groups = content.groups.head(MOST_POINTS)
        caption = (
            f"Small dots: the runs; mark and bar: mean and {content.level} confidence interval."
            + rest(len(content.groups), len(groups))
        )
        pictures.append(Picture("points", "Every run", caption, points.draw(content, groups)))
    if heatmap.is_grid(content):
        caption = (
            "Mean over a group's runs; brighter is better. A cell says which of its runs have no "
            "value."
        )
        pictures.append(Picture("heatmap", "Heat map", caption, heatmap.draw(content)))
    elif len(valued) > 1 and not is_searched and scales:
        pictures.append(_slices(search.slices(content, {})))
    if len(content.distinguishing) > 2 and len(valued) > 1:
        pictures.append(_parallel(content))
    return [picture for picture in pictures if picture.panels]


def _curves(content: Content, lines: curves.Curves) -> Picture:
    caption = (
        f"Thick: mean over a group's runs; dotted: their median; band: {content.level} confidence "
        f"interval, with two runs or more; thin: the runs, up to {curves.THIN} of a group. A run "
        "that diverged ends in a cross, and is in no mean. At most about "
        f"{curves.POINTS} points, each over the runs that reached it."
    )
    caption += rest(len(content.groups), curves.drawn(content, lines))
    return Picture("curves", "Learning curves", caption, curves.draw(content, lines))


def _slices(panels: list[Panel], rest: str = "") -> Picture:
    caption = "A dot is a run. Crosses at the edge: runs without a value, such as diverged ones."
    return Picture("slices", "Each key against the objective", caption + rest, panels)


def _searches(content: Content) -> list[Picture]:
    """Draws each search by itself; other runs are in no picture of one."""
    searches = content.searches
    is_alone = content.is_search and len(searches) == 1
    progress: list[Panel] = []
    slices: list[Panel] = []
    bars: list[Panel] = []
    for study, own in searches.items():
        if len(own.valued) > 1:
            title = "" if is_alone else study
            importance = importances(own)
            progress += search.progress(own, title)
            slices += search.slices(own, importance, title)
            bars += search.bars(own, importance, title)
    rest = "" if content.is_search else " Runs that are no trials are left out."
    caption = (
        "Dots: finished trials; crosses at the edge: those that ended without a number, such as "
        "pruned, diverged and failed ones."
    )
    fanova = (
        "Functional ANOVA over a random forest (Optuna; Hutter et al. 2014): the share of the "
        "spread between trials that each key explains, of finished trials."
    )
    pictures = [
        Picture("progress", "Best so far", caption + rest, progress),
        _slices(slices, rest),
        Picture("importance", "Importance of the keys", fanova + rest, bars),
    ]
    return [picture for picture in pictures if picture.panels]


def _parallel(content: Content) -> Picture:
    total = len(content.groups)
    caption = (
        "A line per group, from left to right through its values to its mean; brighter is better, "
        "thick the best, dashed those that diverged."
    )
    caption += rest(total, len(parallel.shown(content)))
    return Picture("parallel", "Parallel coordinates", caption, parallel.draw(content))


def rest(total: int, drawn: int) -> str:
    """Says how many groups are drawn, if it is not all of them."""
    return f" {drawn} of {total:,} groups are drawn, the best first." if total > drawn else ""
