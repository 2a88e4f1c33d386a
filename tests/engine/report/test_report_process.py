"""`project.report` in a process of its own: what it imports, and its page in a browser."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from commands import run_report
from synthetic_runs import write_run, write_sweep

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "sweep")


COMMAND = """
import atexit, runpy, sys
atexit.register(lambda: print("imported:", *sys.modules, file=sys.stderr))
runpy.run_module("project.report", run_name="__main__", alter_sys=True)
"""


def test_neither_torch_nor_for_a_mistake_pandas_is_imported(sweep: Path) -> None:
    """And a reader who goes early, such as `head`, is no error."""
    words = [sys.executable, "-W", "error", "-c", COMMAND, str(sweep)]
    unread, stdout = os.pipe()
    os.close(unread)
    done = subprocess.run(words, stdout=stdout, stderr=subprocess.PIPE, text=True)
    os.close(stdout)
    (imported,) = done.stderr.splitlines()
    assert done.returncode == 0
    assert "pandas" in imported.split()
    assert {"torch", "lightning", "tensorboard", "matplotlib.pyplot"} & set(
        imported.split()
    ) == set()
    done = subprocess.run([*words, "--group-by", "optimiser"], capture_output=True, text=True)
    error, imported = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert error.startswith("error: --group-by optimiser: no such key. ")
    assert {"pandas", "scipy", "matplotlib", "yaml"} & set(imported.split()) == {"yaml"}


@pytest.mark.slow
def test_many_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for number in range(120):
        curve = {step: {"train/loss": 2.0 - step / 500} for step in range(50)}
        changes = {"optimizer.lr": number // 4 % 10, "trainer.max_epochs": number // 40}
        metrics = {"val/acc": rng.uniform(), "train/loss": 1.0}
        write_run(
            tmp_path / str(number), seed=number % 4, metrics=metrics, curve=curve, changes=changes
        )
    run_report(str(tmp_path))
    assert capsys.readouterr().out.startswith("120 runs (120 finished) in 30 groups; val/acc")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a server of `tmp_path`, and the paths that it is asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            asked.append(self.path)

    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))
    ) as running:
        threading.Thread(target=running.serve_forever).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no browser")
def test_in_a_browser(sweep: Path, tmp_path: Path, server: tuple[str, list[str]]) -> None:
    """The console has no complaint, only the page is requested, and every picture has a size."""
    run_report(str(sweep))
    script = """<script>addEventListener("load", () =>
        document.body.setAttribute("data-found", JSON.stringify({
        requests: performance.getEntriesByType("resource").map(entry => entry.name),
        sizes: [...document.querySelectorAll("svg")].map(svg => svg.clientHeight > 100)
        })))</script>"""
    page = (sweep / "report.html").read_text()
    (tmp_path / "page.html").write_text(
        page.replace("</head>", f"{script}</head>")
    )  # says what is made of it
    address, asked = server
    words = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-sync",
        "--disable-component-update",
        "--disable-background-networking",
        f"--user-data-dir={tmp_path}/profile",
        "--virtual-time-budget=5000",
        "--enable-logging=stderr",
        "--dump-dom",
        f"{address}/page.html",
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    found = done.stdout.partition('data-found="')[2].partition('"')[0].replace("&quot;", '"')
    data = "data:image/png;base64,"  # the heat map's scale; it asks nobody
    requests = [name for name in json.loads(found)["requests"] if not name.startswith(data)]
    assert (requests, json.loads(found)["sizes"], asked) == ([], [True, True, True], ["/page.html"])
    assert "CONSOLE" not in done.stderr
