"""The report in a browser: no complaint, no request; tables sort and filter; nothing is cut."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from browser import NEEDED, Browser, Page, chromium
from commands import run_report
from engine.run.summaries import BEST_EPOCH, Objective
from synthetic_runs import write_run, write_sweep

pytestmark = [*NEEDED, pytest.mark.slow]


def write_search(folder: Path) -> Path:
    """Writes the trials of a search: two keys, of which the learning rate matters."""
    rng = np.random.default_rng(0)
    for number in range(20):
        rate, hidden = 10 ** rng.uniform(-4, 0), int(rng.integers(5, 50))
        acc = 0.9 - 0.05 * (math.log10(rate) + 2) ** 2
        trial = {"study": "x", "number": number}
        write_run(
            folder / f"trial{number}",
            status="diverged" if rate > 0.5 else "finished",
            metrics={"val/acc": acc},
            objective=Objective("val/acc", BEST_EPOCH, "max", acc) if rate <= 0.5 else None,
            changes={"optimizer.lr": rate, "module.hidden": hidden, "sweep.trial": trial},
        )
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = write_sweep(tmp_path_factory.mktemp("made") / "sweep")
    run_report(str(folder))
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = write_search(tmp_path_factory.mktemp("made") / "search")
    run_report(str(folder))
    return (folder / "report.html").as_uri()


def texts(page: Page, table: str, column: int) -> list[str]:
    """Returns a column's cells in the rows that are shown."""
    found: list[str] = page.evaluate(
        f"[...document.querySelectorAll('{table} tbody tr:not([hidden])')]"
        f".map(row => row.cells[{column}].textContent)"
    )
    return found


@pytest.mark.parametrize("kind", ["sweep", "search"])
@pytest.mark.parametrize(("width", "dark"), [(1400, False), (390, True)], ids=["desk", "phone"])
def test_no_complaint_no_request_and_nothing_is_cut(
    kind: str, width: int, dark: bool, browser: Browser, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue(kind)
    page = browser.open(address, width=width, dark=dark)
    assert (page.complaints, page.requests) == ([], [address])
    heights = page.evaluate("[...document.querySelectorAll('svg')].map(svg => svg.clientHeight)")
    assert len(heights) >= 3
    assert min(heights) > 60
    # Only what can be scrolled by keyboard is wider than the window.
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
    areas = page.evaluate(
        "[...document.querySelectorAll('.wide')].every(area => area.tabIndex == 0 && "
        "area.getAttribute('aria-label'))"
    )
    assert areas


def test_a_table_sorts_by_numbers_and_back(sweep: str, browser: Browser) -> None:
    page = browser.open(sweep)
    names = page.evaluate(
        "[...document.querySelectorAll('.ranking thead th')].map(head => head.textContent)"
    )
    column = names.index("test/acc")
    click = f"document.querySelectorAll('.ranking thead button')[{column}].click()"
    values = (
        "[...document.querySelectorAll('.ranking tbody tr')]"
        f".map(row => Number(row.cells[{column}].dataset.value))"
    )
    page.evaluate(click)
    ascending = page.evaluate(values)
    assert ascending == sorted(ascending)
    assert len(set(ascending)) == 4
    page.evaluate(click)
    assert page.evaluate(values) == ascending[::-1]
    assert page.evaluate("document.querySelector('[aria-sort]').textContent") == "test/acc"


def test_a_filter_keeps_rows_with_all_of_its_words(sweep: str, browser: Browser) -> None:
    page = browser.open(sweep)
    assert len(texts(page, ".small", 0)) == 12
    page.evaluate(
        "{ const box = [...document.querySelectorAll('input')].at(-1); box.value = 'adam XAVIER';"
        "box.dispatchEvent(new Event('input')); }"
    )
    assert texts(page, ".small", 0) == [f"adamxavier{seed}" for seed in range(3)]
    assert page.evaluate("[...document.querySelectorAll('[aria-live]')].at(-1).textContent") == (
        "3 of 12"
    )


def test_a_command_is_copied(sweep: str, browser: Browser) -> None:
    page = browser.open(sweep)
    page.evaluate("document.querySelector('.command button').click()")
    assert page.evaluate("getSelection().toString()") == page.evaluate(
        "document.querySelector('.command code').textContent"
    )


def test_points_say_their_values(search: str, browser: Browser) -> None:
    page = browser.open(search)
    said = page.evaluate("[...document.querySelectorAll('svg title')].map(one => one.textContent)")
    assert any(text.startswith("trial 0, ") and "lr=" in text for text in said)
    assert any(text.endswith(": diverged") for text in said)
