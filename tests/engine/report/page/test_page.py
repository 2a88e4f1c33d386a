"""The page: its parts, and that it needs nothing but itself."""

import math
import re
import xml.etree.ElementTree
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.report.page import drawing, page
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
        if self.open and self.open[-1] in ("h1", "h2"):
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


def figures(content: Content) -> list[dict[str, str]]:
    made, problems = page.figures(content)
    assert problems == []
    return made


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    return sweep(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def pictures(content: Content) -> list[dict[str, str]]:
    return figures(content)


@pytest.fixture(scope="module")
def text(content: Content, pictures: list[dict[str, str]]) -> str:
    return page.html(content, pictures)


PARTS = [
    "Ranking",
    "Learning curves",
    "Final metric",
    "What differs by more than noise",
    "Failures",
    "Runs",
    "How it was computed",
]


def assert_parts_in_order(text: str, name: str, figure: str) -> None:
    found = Page(text)
    assert found.headings == [name, *PARTS[:3], figure, *PARTS[3:]]
    assert sum(tag == "svg" for tag, _ in found.elements) == 3
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_parts_in_order_with_two_keys(content: Content, text: str) -> None:
    assert_parts_in_order(text, content.folder.name, "Heat map")


def test_parts_in_order_with_three_keys(tmp_path: Path) -> None:
    content = sweep(tmp_path, lrs=(0.1, 0.2))
    text = page.html(content, figures(content))
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
    assert "script" not in {tag for tag, _ in found.elements}
    assert not re.search(r"url\((?!#)|@import", text)
    names = set(re.findall(r"https?://[^\"' <)]+", text))  # of XML, which nobody opens
    assert names == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_tables(content: Content, text: str) -> None:
    rows = Page(text).rows
    mean = "val/acc ± 95 % CI"
    assert rows[0] == [
        "rank",
        "optimizer",
        "init",
        "n",
        mean,
        "best",
        "time",
        "vs best",
        "left out",
    ]
    assert [row[:4] for row in rows[1:5]] == [
        [f"{group['rank']:.0f}", group["optimizer"], group["init"], "3"]
        for _, group in content.groups.iterrows()
    ]
    assert rows[1][7] == "best"
    failures = rows.index(["run", "status", "error", "log"])
    error = "OSError: <script>alert(1)</script>"
    assert rows[failures + 1] == ["failed #1", "failed", error, "train.log"]
    columns = ["folder", "status", "optimizer", "init", "seed", "val/acc", "time"]
    assert rows[failures + 2] == columns
    assert len(rows[failures + 3 :]) == 13


def test_figures_take_the_page_s_colours(pictures: list[dict[str, str]]) -> None:
    for picture in pictures:
        xml.etree.ElementTree.fromstring(picture["svg"])
        assert not re.search("#[ab]0000", picture["svg"])
        assert "currentColor" in picture["svg"]
    style = drawing.colours() + (Path(page.__file__).parent / "page.css").read_text()
    at_dark = re.compile(r"@media \(prefers-color-scheme: dark\) \{.*?\}\s*\}", re.DOTALL)
    light, dark = at_dark.sub("", style), "".join(at_dark.findall(style))
    for colour in filter(
        None, (re.fullmatch(r"var\((--.+)\)", shown) for shown in drawing.PAGE.values())
    ):
        assert f"{colour[1]}:" in light
        assert f"{colour[1]}:" in dark


def test_heat_map_says_the_means(content: Content, pictures: list[dict[str, str]]) -> None:
    (heat,) = [picture["svg"] for picture in pictures if picture["title"] == "Heat map"]
    for mean in content.groups["mean"]:
        assert f">{mean:.4g}</text>" in heat


def test_figures_show_dollars(tmp_path: Path) -> None:
    for number, (x, y) in enumerate([(1, "$a$"), (2, "$b$"), (1, "$b$")]):
        write_run(tmp_path / str(number), metrics={"val/acc": 0.5}, changes={"a.x": x, "a.y": y})
    pictures, _ = page.figures(content_of(tmp_path))
    assert {picture["title"]: "$b$" in picture["svg"] for picture in pictures} == {
        "Final metric": True,
        "Heat map": True,
    }


def of(metric: str, value: float, **changes: Any) -> dict[str, Any]:
    """Return a run with one metric."""
    keys = {key.replace("__", "."): value for key, value in changes.items()}
    return {"metrics": {metric: value}, "changes": keys}


UNUSUAL = {
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
    "long values": [of("val/acc", 0.5, a__x="long " * 60, a__y=i) for i in range(60)],
}


@pytest.mark.parametrize("runs", UNUSUAL.values(), ids=list(UNUSUAL))
def test_smoke_of_unusual_sweeps(tmp_path: Path, runs: list[dict[str, Any]]) -> None:
    for number, run in enumerate(runs):
        write_run(tmp_path / str(number), **run)
    content = content_of(tmp_path)
    Page(page.html(content, figures(content)))
