"""Report and TensorBoard in a browser: no complaint, no request outside, and all of it is there.

They show a sweep of 12 jobs, a search of 12 trials, and a run with figures.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import pictures
from board import Server
from browser import Browser, Page, deep
from commands import ROOT, run_report, run_train

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TRIALS = 12
SWEEP = [
    "experiment=lenet",
    "datamodule=digits",
    "datamodule.batch_size=16",
    "datamodule.steps_per_epoch=12",
    "trainer.max_epochs=2",
    "optimizer=sgd,adam",
    "init=zero,xavier,he",
    "seed=0,1",
    "hydra/launcher=vectorized",
    "accelerator=cpu",
]
SEARCH = [
    "experiment=curve_fit",
    "datamodule.steps_per_epoch=10",
    "callbacks=default",
    "hydra/sweeper=optuna",
    f"hydra.sweeper.n_trials={TRIALS}",
    f"hydra.sweeper.random_trials={TRIALS}",
    "optimizer.lr=tag(log,interval(0.001,1e4))",  # the largest diverge
    "module.hidden=range(5,50)",
    "accelerator=cpu",
]
RUN = [  # with figures
    "experiment=lenet",
    "datamodule=digits",
    "datamodule.steps_per_epoch=2",
    "trainer.max_epochs=1",
    "accelerator=cpu",
]


@pytest.fixture(scope="module")
def logs(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of a sweep and a run, and of a search; with reports on sweep and search.

    The search is apart, as TensorBoard's page shows no run by itself if there are more than 40.
    """
    logs = tmp_path_factory.mktemp("logs")
    run_train("-m", *SWEEP, f"paths.log_dir={logs}/main", draws=False)
    run_train(*RUN, f"paths.log_dir={logs}/main")
    run_train("-m", *SEARCH, f"paths.log_dir={logs}/other", draws=False)
    for sweep in logs.glob("*/sweeps/*"):
        run_report(str(sweep))
    return logs


Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def report_of(browser: Browser, logs: Path) -> Opener:
    """Returns what opens a report, once for each width and colour."""

    @functools.cache
    def opened(name: str, width: int = 1400, dark: bool = False) -> Page:
        (report,) = logs.glob(f"*/sweeps/{name}/report.html")
        return browser.open(report.as_uri(), width=width, dark=dark)

    return opened


def texts(page: Page, table: str, column: int) -> list[str]:
    """Returns a column's cells in the rows that are shown."""
    found: list[str] = page.evaluate(
        f"[...document.querySelectorAll('{table} tbody tr:not([hidden])')]"
        f".map(row => row.cells[{column}].textContent)"
    )
    return found


@pytest.mark.parametrize("name", ["lenet", "curve_fit"])
@pytest.mark.parametrize(("width", "dark"), [(1400, False), (390, True)], ids=["desk", "phone"])
def test_a_report_has_no_complaint_no_request_and_nothing_is_cut(
    name: str, width: int, dark: bool, report_of: Opener
) -> None:
    page = report_of(name, width, dark)
    assert (page.complaints(), page.requests) == ([], [page.evaluate("location.href")])
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


def test_a_table_sorts_by_numbers_and_back(report_of: Opener) -> None:
    page = report_of("lenet")
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
    assert len(set(ascending)) >= 4
    page.evaluate(click)
    assert page.evaluate(values) == sorted(ascending, reverse=True)
    assert page.evaluate("document.querySelector('[aria-sort]').textContent") == "test/acc"


def test_a_filter_keeps_rows_with_all_of_its_words(report_of: Opener) -> None:
    page = report_of("lenet")
    assert len(texts(page, ".small", 0)) == 12
    page.evaluate(
        "{ const box = [...document.querySelectorAll('input')].at(-1); box.value = 'adam XAVIER';"
        "box.dispatchEvent(new Event('input')); }"
    )
    found = texts(page, ".small", 0)
    assert len(found) == 2
    assert all("optimizer=adam-init=xavier" in folder for folder in found)
    assert page.evaluate("[...document.querySelectorAll('[aria-live]')].at(-1).textContent") == (
        "2 of 12"
    )


def test_a_command_is_copied(report_of: Opener) -> None:
    page = report_of("lenet")
    page.evaluate("document.querySelector('.command button').click()")
    assert page.evaluate("getSelection().toString()") == page.evaluate(
        "document.querySelector('.command code').textContent"
    )


def test_points_say_their_values(report_of: Opener) -> None:
    page = report_of("curve_fit")
    said = page.evaluate("[...document.querySelectorAll('svg title')].map(one => one.textContent)")
    for trial in range(TRIALS):
        own = [text for text in said if text.startswith(f"trial {trial}, ")]
        assert len(own) == 3, trial  # in the best so far, and beside each of two keys
        assert all("lr=" in text for text in own)
    assert any(text.endswith(": diverged") for text in said)


@pytest.fixture(scope="module")
def board(logs: Path) -> Server:
    """Returns a server of the sweep and the run."""
    server = Server(logs / "main", "true")
    server.wait_for(runs=13, jobs=12)
    return server


def test_hparams_have_a_row_for_each_job_and_trial(logs: Path) -> None:
    server = Server(logs, "true")
    server.wait_for(runs=13 + TRIALS, jobs=12 + TRIALS)
    infos, metrics, rows = server.hparams()
    keys = {"optimizer", "init", "seed", "optimizer.lr", "module.hidden"}
    assert {info["name"] for info in infos} == keys
    assert metrics[-2:] == ["★ train/loss, last pass", "★ val/acc, best epoch"]
    given = [frozenset(row["hparams"]) for row in rows]
    assert given.count(frozenset({"optimizer", "init", "seed"})) == 12
    assert given.count(frozenset({"optimizer.lr", "module.hidden"})) == TRIALS


# What each tab shows once it has all that it asks for, and the fewest of these elements. A selector
# does not look from a shadow root into another.
TABS = {
    "timeseries": ("scalar-card canvas, scalar-card svg", 1),
    "scalars": ("vz-line-chart2", 1),
    "images": ("img[src*=individualImage]", 1),
    "custom_scalars": ("vz-line-chart2", 2),  # accuracy and loss
    "hparams": ("vaadin-grid", 1),
    "text": ("tf-text-loader", 1),
}


@pytest.fixture(scope="module")
def tensorboard(browser: Browser, board: Server) -> Page:
    """Returns TensorBoard's page: it has several megabytes of script, and all tabs."""
    return browser.open(board.url)


@pytest.mark.parametrize("tab", TABS)
def test_a_tab_of_tensorboard_renders(tab: str, tensorboard: Page, board: Server) -> None:
    tensorboard.evaluate(f"location.hash = '#{tab}'")
    selector, fewest = TABS[tab]
    tensorboard.wait_for(
        f"{deep(selector)}.filter(one => one.clientHeight > 20).length >= {fewest}"
    )
    outside = [address for address in tensorboard.requests if not address.startswith(board.url)]
    # TensorBoard's own code warns of two copies of Three.js.
    assert (tensorboard.complaints("error", "assert"), outside) == ([], [])


def test_pictures_of_the_docs(browser: Browser, logs: Path, board: Server, tmp_path: Path) -> None:
    pictures.of_report(browser, logs / "main/sweeps/lenet/report.html", tmp_path)
    pictures.of_tensorboard(browser, board.url, tmp_path)
    for name in ("report-light", "report-dark", "tensorboard", "hparams"):
        made, shown = tmp_path / f"{name}.png", ROOT / f"docs/{name}.png"
        with Image.open(made) as picture, Image.open(shown) as kept:
            assert (picture.format, picture.width) == ("PNG", kept.width)
        assert shown.stat().st_size < 200_000
