"""Optuna's dashboard shows a search, asked through its HTTP API."""

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from commands import run_train
from engine.run import summaries
from engine.search import study

dashboard = pytest.importorskip("optuna_dashboard")


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def ask() -> Iterator[Callable[[Path, str], Any]]:
    """Asks a dashboard of a study's storage."""
    servers = []

    def asked(storage: Path, path: str) -> Any:
        app = dashboard.wsgi(study.opened(str(storage)))
        servers.append(make_server("127.0.0.1", 0, app, handler_class=Quiet))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{servers[-1].server_port}{path}") as answer:
            return json.load(answer)

    yield asked
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_search_has_names_values_and_curves(
    tmp_path: Path, ask: Callable[[Path, str], Any]
) -> None:
    search = [
        "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=2",
        "optimizer.lr=interval(0.01,0.02)",
    ]
    linear = ["experiment=linear", "accelerator=cpu", "logger=csv", "trainer.max_epochs=2"]
    run_train("-m", *search, *linear, f"paths.log_dir={tmp_path}")
    storage = tmp_path / "sweeps" / "linear" / "study.log"
    (listed,) = ask(storage, "/api/studies")["study_summaries"]
    shown = ask(storage, f"/api/studies/{listed['study_id']}")
    done = [json.loads(path.read_text()) for path in storage.parent.glob("*/summary.json")]
    assert shown["objective_names"] == [summaries.objective_name(done[0]) or "objective"]
    assert sorted(trial["values"][0] for trial in shown["trials"]) == pytest.approx(
        sorted(run["objective"] for run in done)
    )
    for trial in shown["trials"]:  # the training loss after each epoch of 20 steps
        steps = [point["step"] for point in trial["intermediate_values"]]
        assert steps == [20, 40]
        assert trial["intermediate_values"][-1]["value"] == pytest.approx(trial["values"][0])
