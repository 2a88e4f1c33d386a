"""The page: its parts, and that it needs nothing but itself."""

import math
import re
import xml.etree.ElementTree
from html.parser import HTMLParser
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
    for optimizer in ("sgd", "adam"):
        for init in ("he", "xavier"):
            for lr in lrs:
                for seed in range(3):
                    acc = 0.5 + 0.2 * (optimizer == "adam") + 0.1 * rng.uniform()
                    curve = {
                        step: {"val/acc": acc * (step + 1) / 5, "train/loss": 2.0 - 0.1 * step}
                        for step in range(5)
                    }
                    write_run(folder / f"{optimizer},{init},{lr},{seed}", optimizer=optimizer, init=init, seed=seed,
                              metrics={"val/acc": acc}, curve=curve, changes={"optimizer.lr": lr})  # fmt: skip
    write_run(folder / "failed #1", seed=9, status="failed", error="OSError: <script>alert(1)</script>",
              changes={"optimizer.lr": lrs[0]})  # fmt: skip
    return content_of(folder)


def html(content: Content) -> str:
    pictures, problems = page.figures(content)
    assert problems == []
    return page.html(content, pictures)


PARTS = ["Ranking", "Learning curves", "Final metric", "What differs by more than noise", "Failures", "Runs",
         "How it was computed"]  # fmt: skip


@pytest.mark.parametrize(
    ("lrs", "more"), [((0.1,), "Heat map"), ((0.1, 0.2), "Parallel coordinates")]
)
def test_parts_in_order(tmp_path: Path, lrs: tuple[float, ...], more: str) -> None:
    found = Page(html(sweep(tmp_path, lrs=lrs)))
    assert found.headings == [tmp_path.name, *PARTS[:3], more, *PARTS[3:]]
    assert sum(tag == "svg" for tag, _ in found.elements) == 3
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_it_asks_for_nothing(tmp_path: Path) -> None:
    text = html(sweep(tmp_path))
    found = Page(text)
    addresses = [value for _, attributes in found.elements for name, value in attributes.items()
                 if name in ("src", "href", "xlink:href", "action", "data", "srcset")]  # fmt: skip
    own = ("#", "data:", "sgd%2C", "adam%2C", "failed%20%231/")
    assert {address for address in addresses if address and not address.startswith(own)} == set()
    assert "script" not in {tag for tag, _ in found.elements}
    assert not re.search(r"url\((?!#)|@import", text)
    schemas = set(re.findall(r"https?://[^\"' <)]+", text))
    assert schemas == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }  # names, not addresses


def test_tables(tmp_path: Path) -> None:
    content = sweep(tmp_path)
    rows = Page(html(content)).rows
    assert rows[0] == [
        "rank",
        "optimizer",
        "init",
        "n",
        "val/acc ± 95 % CI",
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
    assert rows[failures + 1] == [
        "failed #1",
        "failed",
        "OSError: <script>alert(1)</script>",
        "train.log",
    ]
    assert rows[failures + 2] == [
        "folder",
        "status",
        "optimizer",
        "init",
        "seed",
        "val/acc",
        "time",
    ]
    assert len(rows[failures + 3 :]) == 13


def test_figures_take_the_page_s_colours(tmp_path: Path) -> None:
    pictures, _ = page.figures(sweep(tmp_path))
    for picture in pictures:
        xml.etree.ElementTree.fromstring(picture["svg"])
        assert not re.search("#[ab]0000", picture["svg"])
        assert "currentColor" in picture["svg"]
    style = (Path(page.__file__).parent / "page.css").read_text()
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    for colour in filter(
        None, (re.fullmatch(r"var\((--.+)\)", shown) for shown in drawing.PAGE.values())
    ):
        assert f"{colour[1]}:" in light
        assert f"{colour[1]}:" in dark


def test_heat_map_says_the_means(tmp_path: Path) -> None:
    content = sweep(tmp_path)
    (heat,) = [
        picture["svg"] for picture in page.figures(content)[0] if picture["title"] == "Heat map"
    ]
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


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param([{"metrics": {"val/acc": 0.5}}], id="one run"),
        pytest.param([{"status": None, "curve": {0: {"val/acc": 0.1}, 1: {"val/acc": 0.2}}}], id="one that goes on"),
        pytest.param([{"metrics": {"val/acc": math.nan}}], id="NaN only"),
        pytest.param([{"metrics": {"val/acc": 0.5}, "optimizer": name} for name in ("sgd", "adam")], id="one seed"),
        pytest.param([{"metrics": {"val/loss": 10.0**i}, "changes": {"optimizer.lr": 10.0**-i}} for i in range(12)],
                     id="many decades"),
        pytest.param([{"metrics": {"val/loss": 10.0**i}, "changes": {"a.x": i % 2, "a.y": i % 3, "a.z": i}}
                      for i in range(12)], id="three keys, a loss"),
        pytest.param([{"metrics": {"val/acc": 0.5}, "changes": {"a.x": x, "a.y": "$_1^2 <&>"}} for x in ("$a$", None)],
                     id="characters of TeX, Markdown and HTML"),
        pytest.param([{"metrics": {"val/acc": 0.5}, "changes": {"a.x": "long " * 60, "a.y": i}} for i in range(60)],
                     id="long values"),
    ],
)  # fmt: skip
def test_smoke_of_unusual_sweeps(tmp_path: Path, runs: list[dict[str, Any]]) -> None:
    for number, run in enumerate(runs):
        write_run(tmp_path / str(number), **run)
    Page(html(content_of(tmp_path)))
