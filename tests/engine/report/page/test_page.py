"""The page: its parts, and that it needs nothing but itself."""

import itertools
import math
import re
import xml.etree.ElementTree
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.pictures import looks
from engine.report.page import curves, drawing, page, trained
from engine.report.page.drawing import Picture
from engine.report.statistics import findings
from engine.report.statistics.content import Content
from synthetic_runs import content_of, write_run

VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """A page's elements; fails where they are not nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.rows += [[]] if tag == "tr" else []
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append(data)
        if {"td", "th"} & set(self.open[-2:]):
            self.rows[-1][-1] += data


def sweep(folder: Path, *, lrs: tuple[float, ...] = (0.1,)) -> Content:
    rng = np.random.default_rng(0)
    for optimizer, init, lr, seed in product(("sgd", "adam"), ("he", "xavier"), lrs, range(3)):
        acc = 0.5 + 0.2 * (optimizer == "adam") + 0.1 * rng.uniform()
        write_run(
            folder / f"{optimizer},{init},{lr},{seed}",
            optimizer=optimizer,
            init=init,
            seed=seed,
            metrics={"val/acc": acc},
            curve={
                i: {"val/acc": acc * (i + 1) / 5, "train/loss": 2.0 - 0.1 * i} for i in range(5)
            },
            changes={"optimizer.lr": lr},
        )
    write_run(
        folder / "failed #1",
        seed=9,
        status="failed",
        error="OSError: <script>alert(1)</script>",
        changes={"optimizer.lr": lrs[0]},
    )
    return content_of(folder)


def figures(content: Content) -> list[Picture]:
    lines = curves.collect(content)
    assert lines.problems == []
    return page.figures(content, lines)


def html(content: Content, pictures: list[Picture]) -> str:
    return page.html([page.Part(content, trained.of(content, "mine.train"), pictures)])


def shown(pictures: list[Picture]) -> dict[str, list[str]]:
    """Returns the SVGs of each picture, by its title."""
    return {
        picture.title: [drawing.svg(panel, f"x{i}") for i, panel in enumerate(picture.panels)]
        for picture in pictures
    }


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    return sweep(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def pictures(content: Content) -> list[Picture]:
    return figures(content)


@pytest.fixture(scope="module")
def text(content: Content, pictures: list[Picture]) -> str:
    return html(content, pictures)


def test_a_number_beside_hebrew_words_stays_as_it_is() -> None:
    """As it happened: a browser showed "−0.212" behind them as "0.212−"."""
    hebrew, arabic = "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u0633\u0644\u0627\u0645"
    told = page.isolated(f"{hebrew}, {arabic}: −0.212 (CI −0.3 to <1), 5 pairs")
    assert told == (f"<bdi>{hebrew}</bdi>, <bdi>{arabic}</bdi>: −0.212 (CI −0.3 to &lt;1), 5 pairs")
    assert page.isolated("é, 漢: −0.212") == "é, 漢: −0.212"


PARTS = [
    "What was trained",
    "Ranking",
    "Learning curves",
    "Every run",
    "What differs by more than noise",
    "Failed, diverged or mixed",
    "Runs",
    "How it was computed",
]


def assert_parts_in_order(text: str, name: str, figure: str) -> None:
    found = Page(text)
    assert found.headings == [name, *PARTS[:4], figure, *PARTS[4:]]
    assert sum(tag == "svg" for tag, _ in found.elements) == 4  # two panels of curves
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_parts_in_order_with_two_keys(content: Content, text: str) -> None:
    assert_parts_in_order(text, content.folder.name, "Heat map")


def test_parts_in_order_with_three_keys(tmp_path: Path) -> None:
    content = sweep(tmp_path, lrs=(0.1, 0.2))
    text = html(content, figures(content))
    assert_parts_in_order(text, tmp_path.name, "Parallel coordinates")


def test_it_asks_for_nothing(text: str) -> None:
    found = Page(text)
    addresses = [
        value
        for _, attributes in found.elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "action", "data", "srcset")
    ]
    own = ("#", "data:", "sgd%2C", "adam%2C", "failed%20%231/")
    assert {address for address in addresses if address and not address.startswith(own)} == set()
    assert [attributes for tag, attributes in found.elements if tag == "script"] == [{}]
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|WebSocket", text)
    assert not re.search(r"url\((?!#)|@import", text)
    names = set(re.findall(r"https?://[^\"' <)]+", text))  # of XML, which nobody opens
    assert names == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_tables(content: Content, text: str) -> None:
    rows = Page(text).rows
    mean = "val/acc, last value: mean ± 95 % CI"
    columns = ["rank", "optimizer", "init", "n", mean, "median", "best", "time"]
    assert rows[0] == [*columns, "vs best", "Holm p", "left out"]
    assert [row[:3] for row in rows[1:5]] == [
        [f"{group['rank']:.0f}", group["optimizer"], group["init"]]
        for _, group in content.groups.iterrows()
    ]
    assert sorted(row[3] for row in rows[1:5]) == ["3", "3", "3", "3 of 4"]
    assert rows[1][8] == "best"
    failures = rows.index(["run", "status", "what happened", "log"])
    error = "OSError: <script>alert(1)</script>"
    assert rows[failures + 1] == ["failed #1", "failed", error, "train.log"]
    columns = ["folder", "status", "optimizer", "init", "seed", "val/acc, last value", "time"]
    assert rows[failures + 2] == columns
    assert len(rows[failures + 3 :]) == 13


def test_everybody_can_read_it(text: str) -> None:
    """Heads have a scope, tables a caption, pictures words, and what scrolls a name and a place."""
    elements = Page(text).elements
    tags = [tag for tag, _ in elements]
    assert tags.count("main") == 1
    assert tags.count("caption") == tags.count("table") == 3
    assert all(attributes.get("scope") for tag, attributes in elements if tag == "th")
    pictures = [attributes for tag, attributes in elements if tag == "svg"]
    assert all(picture["role"] == "img" and picture["aria-label"] for picture in pictures)
    wide = [own for _, own in elements if "wide" in (own.get("class") or "").split()]
    assert len(wide) == 3 + 3  # tables, and pictures, of which one has two panels
    assert all(own["tabindex"] == "0" and own["aria-label"] for own in wide)


def luminance(colour: str) -> float:
    """Returns the relative luminance of WCAG 2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(scheme: int) -> None:
    style = (Path(page.__file__).parent / "page.css").read_text()
    block = style.split("@media screen and (prefers-color-scheme: dark)")[scheme]
    colour = dict(re.findall(r"--([\w-]+): (#\w{6})", block))
    for behind in ("page", "raised", "good"):
        for word in ("ink", "faint", "link", "bad"):
            assert contrast(colour[word], colour[behind]) >= 4.5, (word, behind)
    for series in (looks.LIGHT, looks.DARK)[scheme]:
        assert contrast(series, colour["page"]) >= 3, series  # of a line


def test_figures_take_the_page_s_colours(content: Content, pictures: list[Picture]) -> None:
    for svg in itertools.chain(*shown(pictures).values()):
        xml.etree.ElementTree.fromstring(svg)
        assert not any(colour in svg for colour in drawing.PAGE)
        assert "currentColor" in svg
    (style,) = re.findall(r"<style>(.*?)</style>", html(content, pictures), re.DOTALL)
    at_dark = re.compile(
        r"@media screen and \(prefers-color-scheme: dark\) \{.*?\}\s*\}", re.DOTALL
    )
    light, dark = at_dark.sub("", style), "".join(at_dark.findall(style))
    for colour in filter(
        None, (re.fullmatch(r"var\((--.+)\)", shown) for shown in drawing.PAGE.values())
    ):
        assert f"{colour[1]}:" in light
        assert f"{colour[1]}:" in dark


def test_heat_map_says_the_means(content: Content, pictures: list[Picture]) -> None:
    (heat,) = shown(pictures)["Heat map"]
    for mean in content.groups["mean"]:
        assert f">{mean:.4g}</text>" in heat


def test_figures_show_dollars(tmp_path: Path) -> None:
    for number, (x, y) in enumerate([(1, "$a$"), (2, "$b$"), (1, "$b$")]):
        write_run(tmp_path / str(number), metrics={"val/acc": 0.5}, changes={"a.x": x, "a.y": y})
    pictures = shown(figures(content_of(tmp_path)))
    assert {title: "$b$" in svgs[0] for title, svgs in pictures.items()} == {
        "Every run": True,
        "Heat map": True,
    }


def test_labels_that_are_cut_differ_within_a_figure(tmp_path: Path) -> None:
    for number in range(6):
        text = f"{'a' * 40}{number % 3}{'b' * 40}"
        changes = {"a.x": text, "a.y": number // 3}
        curve = {step: {"val/acc": 0.1 * number + step} for step in range(3)}
        write_run(tmp_path / f"{number}", metrics={"val/acc": 0.1}, changes=changes, curve=curve)
    found = {own.name: own.panels[0].figure for own in figures(content_of(tmp_path))}
    (legend,) = found["curves"].legends
    texts = {
        "curves": [text.get_text() for text in legend.get_texts()],
        "points": [text.get_text() for text in found["points"].axes[0].texts],
        "heatmap": [text.get_text() for text in found["heatmap"].axes[0].get_xticklabels()],
    }
    assert [len(own) for own in texts.values()] == [6, 6, 3]
    assert all(len(set(own)) == len(own) for own in texts.values())


def test_long_settings_leave_room_for_the_numbers(tmp_path: Path) -> None:
    """As it happened: a page of 1,200 pixels had the rank and the setting, and no number."""
    for number in range(2):
        changes = {"a.x": f"{number}{'x' * 80}", "a.y": number}
        write_run(tmp_path / f"{number}", metrics={"val/acc": number}, changes=changes)
    content = content_of(tmp_path)
    made = figures(content)
    cells = [own for tag, own in Page(html(content, made)).elements if tag == "td"]
    classes = [own.get("class") for own in cells if (own.get("class") or "") != "number"]
    assert classes.count("long") == 4  # two in each table
    (points,) = (own.panels[0].figure.axes[0] for own in made if own.name == "points")
    assert [text.get_text() for text in points.get_yticklabels()] == ["", ""]
    assert [text.get_position() for text in points.texts] == [(0.01, -0.38), (0.01, 0.62)]


def test_letters_that_a_font_lacks_are_the_browser_s(tmp_path: Path) -> None:
    """As it happened: a report had 20 warnings of matplotlib. Warnings are errors here."""
    for number in range(2):
        changes = {"a.x": f"学习率{number}"}
        write_run(tmp_path / f"{number}", metrics={"val/acc": number}, changes=changes)
    (points,) = shown(figures(content_of(tmp_path)))["Every run"]
    assert "x=学习率1</text>" in points


def test_numbers_at_an_axis_are_no_formulas(tmp_path: Path) -> None:
    numbers = [0.001, 0.5, 1000, 1e7, 1e34, 2.5e-9]
    shown_as = ["0.001", "0.5", "1000", "1e7", "1e34", "2.5e−9"]
    assert list(map(drawing.at_axis, numbers)) == shown_as
    for number in range(9):
        write_run(tmp_path / str(number), **of("val/loss", 10.0**number, optimizer__lr=1 + number))
    svgs = [svg for own in shown(figures(content_of(tmp_path))).values() for svg in own]
    assert any(">1e6<" in svg for svg in svgs)


def write_trial(folder: Path, study: str, number: int, acc: float, **changes: Any) -> None:
    trial = {"sweep__trial__study": study, "sweep__trial__number": number, **changes}
    run = {**of("val/acc", acc, **trial), "curve": {0: {"val/acc": acc}, 1: {"val/acc": acc}}}
    write_run(folder / f"{study}{number}", **run)


def test_each_search_in_a_folder_is_drawn_by_itself(tmp_path: Path) -> None:
    """As it happened: two searches and a grid were drawn as one search."""
    for number in range(11):
        write_trial(tmp_path, "one", number, 0.5 + 0.01 * number, a__x=number, a__y=number % 3)
        write_trial(tmp_path, "two", number, 0.9 - 0.01 * number, a__x=number + 1.5)
    found = figures(content_of(tmp_path))
    by_title = {picture.title: picture for picture in found}
    of_searches = ["Best so far", "Each key against the objective", "Importance of the keys"]
    assert list(by_title) == [*of_searches, "Learning curves"]
    one, two = by_title["Best so far"].panels
    assert [line.get_xdata().tolist() for line in one.figure.axes[0].lines] == [[*range(11)]] * 2
    assert one.figure.axes[0].lines[1].get_ydata()[-1] == 0.6
    assert set(two.figure.axes[0].lines[1].get_ydata()) == {0.9}
    titles = [p.figure.axes[0].get_title(loc="left") for p in by_title["Best so far"].panels]
    assert titles == ["one", "two"]
    keys = [p.alt.split(" by ")[1] for p in by_title["Each key against the objective"].panels]
    assert sorted(keys) == ["x.", "x.", "y."]
    (importance,) = by_title["Importance of the keys"].panels  # of the one with two keys
    for number in range(3):
        write_run(tmp_path / f"grid{number}", **of("val/acc", 0.1, a__x=100 + number))
    mixed = content_of(tmp_path)
    again = {picture.title: picture for picture in figures(mixed)}
    assert [panel.alt for panel in again["Best so far"].panels] == [one.alt, two.alt]
    assert again["Importance of the keys"].panels[0].alt == importance.alt
    assert "no trials" in again["Best so far"].caption
    assert "Every run" in again
    assert any("seeds" in note for note in findings.notes(mixed))
    Page(html(mixed, list(again.values())))


def test_every_trial_that_ended_without_a_number_is_a_cross(tmp_path: Path) -> None:
    for number in range(4):
        write_trial(tmp_path, "one", number, math.nan if number == 2 else 0.5, a__x=number)
    statuses = ["pruned", "interrupted", "failed", "diverged"]
    for number, status in enumerate(statuses, start=4):
        trial = {"sweep.trial": {"study": "one", "number": number}, "a.x": number}
        write_run(tmp_path / status, status=status, metrics={"val/acc": 0.1}, changes=trial)
    going_on = {"sweep.trial": {"study": "one", "number": 8}, "a.x": 8}
    write_run(tmp_path / "on", status=None, changes=going_on)
    progress, slices, *_ = figures(content_of(tmp_path))
    for panel in (progress.panels[0], slices.panels[0]):
        crosses = panel.figure.axes[0].lines[-1]
        assert (crosses.get_marker(), sorted(crosses.get_xdata())) == ("x", [2, 4, 5, 6, 7])
    ends = [text.rpartition(": ")[2] for text in progress.panels[0].texts["points0"]]
    assert sorted(ends) == sorted(["not finite", *statuses])


def of(metric: str, value: float, **changes: Any) -> dict[str, Any]:
    """Return a run with one metric."""
    keys = {key.replace("__", "."): value for key, value in changes.items()}
    return {"metrics": {metric: value}, "changes": keys}


UNUSUAL = {
    "a search": [
        {
            **of("val/acc", 0.1 * i, optimizer__lr=10.0**-i, sweep__trial__number=i),
            "status": ["finished", "diverged", "pruned"][i % 3],
        }
        for i in range(9)
    ],
    "all diverged but one": [
        {**of("val/acc", 0.5, a__x=i), "status": "diverged" if i else "finished"} for i in range(4)
    ],
    "one run": [of("val/acc", 0.5)],
    "one that goes on": [{"status": None, "curve": {0: {"val/acc": 0.1}, 1: {"val/acc": 0.2}}}],
    "NaN only": [of("val/acc", math.nan)],
    "one seed": [{**of("val/acc", 0.5), "optimizer": name} for name in ("sgd", "adam")],
    "many decades": [of("val/loss", 10.0**i, optimizer__lr=10.0**-i) for i in range(12)],
    "three keys, a loss": [
        of("val/loss", 10.0**i, a__x=i % 2, a__y=i % 3, a__z=i) for i in range(12)
    ],
    "characters of TeX, Markdown and HTML": [
        of("val/acc", 0.5, a__x=x, a__y="$_1^2 <&>") for x in ("$a$", None)
    ],
    "a metric like a formula that never ends": [
        {**of("val_loss_$x^$", 0.5 + i, a__x=i, a__y=i % 2), "curve": {0: {"val_loss_$x^$": 0.1}}}
        for i in range(4)
    ],
    "long values": [of("val/acc", 0.5, a__x="long " * 60, a__y=i) for i in range(60)],
}


@pytest.mark.parametrize("runs", UNUSUAL.values(), ids=list(UNUSUAL))
def test_smoke_of_unusual_sweeps(tmp_path: Path, runs: list[dict[str, Any]]) -> None:
    for number, run in enumerate(runs):
        write_run(tmp_path / str(number), **run)
    content = content_of(tmp_path)
    Page(html(content, figures(content)))
