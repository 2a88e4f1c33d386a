"""Metrics that somebody follows are followed the right way, or a line says so."""

from pathlib import Path
from typing import Any

import pytest

from commands import run_train
from engine.checks.monitors import wrong_ways
from engine.config.resolved import Config

STOPPING = "lightning.pytorch.callbacks.EarlyStopping"


@pytest.mark.parametrize(
    ("node", "wrong"),
    [
        ({"monitor": "val/loss", "mode": "min"}, None),
        ({"monitor": "val/loss", "mode": "max"}, ("max", "largest", "least", "min")),
        ({"monitor": "val/acc", "mode": "min"}, ("min", "least", "largest", "max")),
        ({"monitor": "val/elbo", "mode": "min"}, None),
        ({"monitor": "val/acc"}, None),
        ({"monitor": "val/acc", "_target_": STOPPING}, ("min", "least", "largest", "max")),
        ({"monitor": "val/loss", "_target_": STOPPING}, None),
        ({"monitor": None, "mode": "max"}, None),
        ({"mode": "max"}, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("key", ["callbacks.own", "scheduler"])
def test_a_mode_that_takes_the_worst_value_for_the_best_is_named(
    node: dict[str, Any], wrong: tuple[str, ...] | None, key: str
) -> None:
    is_callback = key.startswith("callbacks")
    others = {"other": None, "mine": {"_target_": "a.B"}}
    config = Config({"callbacks": {"own": node, **others}} if is_callback else {"scheduler": node})
    said = wrong_ways(config)
    if wrong is None:
        assert said == []
        return
    mode, taken, usual, other = wrong
    (line,) = said
    assert line == (
        f"{key}.mode={mode}: takes the {taken} {node['monitor']} for the best; "
        f"for the {usual}: {key}.mode={other}"
    )


@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
def test_a_run_says_so_once(
    together: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: best.ckpt had the worst epoch, and was tested, without a word."""
    words = ["experiment=curve_fit", "accelerator=cpu", "trainer.max_epochs=1"]
    words += ["datamodule.steps_per_epoch=2", "callbacks.checkpoints.mode=max", "logger.csv=null"]
    sweep = ["-m", "hydra/launcher=vectorized", "seed=1,2"] if together else []
    run_train(*sweep, *words, f"paths.log_dir={tmp_path}", draws=False)
    monitor = next(tmp_path.rglob(".hydra/config.yaml")).read_text().partition("monitor: ")[2]
    says = f"callbacks.checkpoints.mode=max: takes the largest {monitor.split()[0]} for the best"
    assert caplog.text.count(says) == 1
    others = "no logger.csv: summary.json and reports have no metrics of this run"
    assert caplog.text.count(others) == 1
    logs = [log.read_text() for log in tmp_path.rglob("train.log")]
    told = [(text.count(says), text.count(others)) for text in logs]
    assert told == [(1, 1)] * (2 if together else 1)
