"""Searches from the command line: what a trial leaves, and a failed one ends nothing."""

import json
import math
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import TrialState

from commands import ROOT, composed, run_train
from engine.errors import RunFailed
from engine.run import folders, identity
from engine.run import summaries as of_runs
from engine.search import study
from engine.search.search import Search, _marks
from engine.search.trials import Trials, table
from engine.sweep.jobs import State
from searching import (
    COMPLETE,
    FAIL,
    FAILING,
    SPACE,
    command,
    folder,
    logs,
    options,
    summaries,
    told,
    trials,
)
from sweeping import made


def test_a_search_over_folders_ends_with_the_one_that_holds_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: its last lines named the folder of an experiment that no trial had."""
    caplog.set_level("INFO")
    run_train(*command(tmp_path, "name=b,c", "sampler=grid", "n_trials=2"))
    assert {path.parts[-3] for path in tmp_path.glob("sweeps/*/*/summary.json")} == {"b", "c"}
    assert caplog.records[-1].message.splitlines()[-3:-1] == [
        f"  tensorboard --logdir {tmp_path / 'sweeps'}",
        f"  python -m project.report {tmp_path / 'sweeps'}",
    ]


@pytest.mark.slow
def test_each_trial_is_a_job_and_its_objective_the_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run_train(*command(tmp_path, *SPACE, "n_trials=5"))
    done = trials(tmp_path)
    assert [trial.state for trial in done] == [COMPLETE] * 5
    for trial in done:
        (run_dir,) = folder(tmp_path).glob(f"lr={trial.params['optimizer.lr']:.4g}-*-????????")
        summary = json.loads((run_dir / "summary.json").read_text())
        assert trial.user_attrs == {"status": "finished", "error": "", "folder": run_dir.name}
        assert (trial.value, trial.params["trainer.max_steps"]) == (
            summary["objective"],
            summary["steps"],
        )
    best = min(done, key=lambda trial: trial.value or 0.0)
    words = " ".join(f"{key}={best.params[key]}" for key in ("optimizer.lr", "trainer.max_steps"))
    table = re.sub(r"\x1b\[\d*m", "", caplog.records[-2].message).splitlines()
    assert table[-3:] == ["5 trials: 5 finished", "best:", f"  {words}"]
    assert table[2].split()[:3] == [str(best.number), "finished", f"{best.value:.4g}"]
    assert caplog.records[-1].message.splitlines()[-3:] == [
        f"  tensorboard --logdir {folder(tmp_path)}",
        f"  python -m project.report {folder(tmp_path)}",
        f"  optuna-dashboard {folder(tmp_path)}/study.log",
    ]
    values = [float(line.split()[2]) for line in table if re.match(r" +\d+  finished", line)]
    assert len(values) == 5
    assert values == sorted(values)

    run_train(
        "experiment=linear", "accelerator=cpu", *words.split(), f"paths.log_dir={tmp_path}/alone"
    )
    (alone,) = tmp_path.glob("alone/**/summary.json")
    assert json.loads(alone.read_text())["objective"] == best.value
    before = told(tmp_path)
    run_train(*command(tmp_path, *SPACE, "n_trials=7"))  # goes on with the same study
    assert (told(tmp_path)[:5], len(told(tmp_path))) == (before, 7)


def test_what_params_fix_is_among_the_words_to_paste(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: they made another model than that of the best trial."""
    caplog.set_level("INFO")
    params = "{optimizer.lr:'0.01,0.02',trainer.max_steps:2,init:he,seed:3}"
    words = [f"hydra.sweeper.params={params}", "init=randn", "sampler=grid"]
    run_train(*command(tmp_path, *words), draws=False)
    *_, best = re.sub(r"\x1b\[\d*m", "", caplog.records[-2].message).splitlines()
    rate = min(trials(tmp_path), key=lambda trial: trial.value or 0.0).params["optimizer.lr"]
    assert best == f"  trainer.max_steps=2 seed=3 optimizer.lr={rate}"
    typed = ["experiment=linear", "accelerator=cpu", "logger=csv", "init=randn"]
    (run_dir,) = folder(tmp_path).glob(f"*-lr={rate}-*")
    summary = json.loads((run_dir / "summary.json").read_text())
    pasted = composed([*typed, *best.split(), f"paths.log_dir={tmp_path}"])
    assert pasted.hash == summary["config_hash"]


def failed_in_part(*words: str) -> None:
    """Runs a search of which a trial finishes and another fails."""
    with pytest.raises(SystemExit) as stop:
        run_train(*words)
    assert stop.value.code == 1


@pytest.mark.slow
def test_failing_and_diverging_trials_end_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    words = [
        "module=two_layer,linear",
        "optimizer.lr=1e30,0.01",
        *FAILING,
        "trainer.max_steps=3",
        "sampler=grid",
    ]
    failed_in_part(*command(tmp_path, *words))
    endings = {tuple(params.values()): (state, value) for params, state, value in told(tmp_path)}
    (finished,) = [value for state, value in endings.values() if value and math.isfinite(value)]
    assert endings == {
        ("linear", 0.01): (COMPLETE, finished),
        ("linear", 1e30): (COMPLETE, math.inf),  # diverged: the worst
        ("two_layer", 0.01): (FAIL, None),
        ("two_layer", 1e30): (FAIL, None),
    }
    table = caplog.records[-2].message
    assert "train/loss, last pass  parameters" in table  # whichever trial was told first
    assert "4 trials: " in table
    assert {"1 finished", "1 diverged", "2 failed"} == set(
        table.splitlines()[-3].partition(": ")[2].split(", ")
    )
    assert table.count("RuntimeError: 1000 columns") == 2
    assert table.splitlines()[-2:] == ["best:", "  module=linear optimizer.lr=0.01"]


@pytest.mark.slow
def test_a_search_fails_if_all_its_trials_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_train(
            *command(
                tmp_path, "module=two_layer", "optimizer.lr=0.01,0.1", *FAILING, "sampler=grid"
            )
        )
    assert stop.value.code == 1
    wrong = ["datamodule=digits", "module=lenet", "module.num_classes=7,8", "sampler=grid"]
    with pytest.raises(SystemExit) as stop:
        run_train(*command(tmp_path / "mistake", *wrong))
    assert stop.value.code == 2
    assert re.search(
        r"^error: module.num_classes=[78]: DigitsDataModule has 10 classes",
        capsys.readouterr().err,
        re.M,
    )


@pytest.mark.slow
def test_a_training_loss_is_not_maximised_by_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["callbacks.checkpoints.mode=max", "optimizer.lr=0.01,0.02", "n_trials=1"]
    with pytest.raises(SystemExit) as stop:
        run_train(*command(tmp_path, *words))
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "error: hydra.sweeper.direction=null: there is no val/loss to maximise, "
        "and the objective is train/loss; choose hydra.sweeper.direction=minimize.\n"
    )
    run_train(*command(tmp_path, *words, "hydra.sweeper.direction=minimize"))


@pytest.mark.slow
def test_a_search_that_goes_another_way_than_its_checkpoints_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    validated = ["module._target_=ways.Small", "datamodule._target_=ways.Points"]
    words = [*validated, "datamodule.batch_size=5", "optimizer.lr=0.01,0.02", "n_trials=2"]
    run_train(*command(tmp_path, *words, "hydra.sweeper.direction=maximize"))
    said = "hydra.sweeper.direction=maximize: by callbacks.checkpoints.mode=min, best.ckpt and a "
    assert caplog.text.count(said) == 1


def test_a_search_that_goes_another_way_than_a_report_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As it happened: losses of training were maximised without a word."""
    named = {"metric": "train/loss", "taken": "last pass", "mode": "min"}
    found: Any = of_runs.objective_of({"objective": 0.5, "objective_of": named})
    job: Any = SimpleNamespace(config={"callbacks.checkpoints.monitor": None})
    for direction, times in (("MINIMIZE", 0), ("MAXIMIZE", 1)):
        search: Any = SimpleNamespace(
            direction=StudyDirection[direction],
            options=SimpleNamespace(direction=direction.lower()),
            _has_warned=False,
        )
        for _ in range(2):
            Search._check_direction(search, job, found)
        said = (
            "hydra.sweeper.direction=maximize: of train/loss, the minimum is the best, and a "
            "report goes by it"
        )
        assert caplog.messages == [said] * times


@pytest.mark.slow
def test_equal_trials_are_one_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run_train(*command(tmp_path, "trainer.max_steps=1,2", "n_trials=6", "sampler=random", "seed=2"))
    values = {params["trainer.max_steps"]: value for params, _, value in told(tmp_path)}
    assert [value for _, _, value in told(tmp_path)] == [
        values[params["trainer.max_steps"]] for params, *_ in told(tmp_path)
    ]
    assert len(told(tmp_path)) == 6
    assert [log.count("run folder") for log in logs(tmp_path)] == [1, 1]


@pytest.mark.slow
def test_a_pruned_job_is_pruned_for_its_study_only(tmp_path: Path) -> None:
    search = [
        "optimizer.lr=0.03,0.02,0.001,0.002,0.0001",
        "sampler=grid",
        "pruner=median",
        "pruner_trials=2",
        "callbacks.checkpoints.every_n_steps=4",
        "seed=1",
    ]
    run_train(*command(tmp_path, *search))
    pruned = [trial for trial in trials(tmp_path) if trial.state == TrialState.PRUNED]
    assert pruned
    assert {trial.user_attrs["status"] for trial in pruned} == {"pruned"}
    steps = {summary["steps"] for summary in summaries(tmp_path) if summary["status"] == "pruned"}
    assert steps == {max(trial.intermediate_values) for trial in pruned}
    assert max(steps) < 20
    before = told(tmp_path)
    run_train(*command(tmp_path, *search))
    assert told(tmp_path) == before  # nothing left to do

    lr = f"optimizer.lr={pruned[0].params['optimizer.lr']}"
    grid = [
        "-m",
        "experiment=linear",
        "accelerator=cpu",
        "logger=csv",
        "callbacks.checkpoints.every_n_steps=4",
        lr,
    ]
    run_train(*grid, f"paths.log_dir={tmp_path}")
    run_dir = folder(tmp_path) / pruned[0].user_attrs["folder"]
    assert (
        folders.load_config(run_dir)["sweep.trial"] is None
    )  # for processes of further devices, which would report
    assert json.loads((run_dir / "summary.json").read_text())["status"] == "finished"
    run_train(*grid, f"paths.log_dir={tmp_path}/alone")
    (alone,) = folder(tmp_path / "alone").glob("*/metrics.csv")
    assert (run_dir / "metrics.csv").read_text() == alone.read_text()


def changed_since(before: set[Path], change: identity.Changed) -> Any:
    """Lets the folders of before be of other data or code, and no new ones of their names."""
    found, inodes = identity.changed, {path.stat().st_ino for path in before}

    def changed(run_dir: Path, config: Any) -> identity.Changed:
        return change if run_dir.stat().st_ino in inodes else found(run_dir, config)

    return mock.patch.object(identity, "changed", changed)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        run_train(*words)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_values_of_other_code_and_of_other_data_are_not_mixed_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: a search went on with values of other data and of other code."""
    caplog.set_level("INFO")
    search = [*SPACE, "trainer.max_steps=2", "seed=3"]
    run_train(*command(tmp_path, *search, "n_trials=2"))
    before = {path.parent for path in folder(tmp_path).glob("*/summary.json")}
    assert len(before) == 2
    with changed_since(before, identity.Changed(data="data")):
        said = refused(capsys, *command(tmp_path, *search, "n_trials=3"))
        forced = refused(capsys, *command(tmp_path, *search, "n_trials=3", "sweep.force=true"))
    assert (
        said
        == forced
        == (
            "error: 2 of 2 ended trials had other data, and a search goes by the values of all.\n"
            "To begin a new search: hydra.sweeper.study_name=NAME\n"
        )
    )
    assert len(trials(tmp_path)) == 2
    with changed_since(before, identity.Changed(code=("mine.py",))):
        caplog.clear()
        run_train(*command(tmp_path, *search, "n_trials=3", "sweep.dry_run=true"))
        assert "3 trials: 2 stale (mine.py), 1 to come" in caplog.text
        caplog.clear()
        run_train(*command(tmp_path, *search, "n_trials=3"))
        assert "2 of 2 ended trials: stale (mine.py). The search goes" in caplog.text
        assert "3 trials: 2 stale (mine.py), 1 finished" in caplog.text
        # A new search runs such a job again, as it needs a value of the code as it is.
        name = "hydra.sweeper.study_name=anew"
        run_train(*command(tmp_path, *search, name, "n_trials=2"))
    assert {path.name for path in before} == {
        path.name.removesuffix(".1") for path in folder(tmp_path).glob("*.1")
    }


@pytest.mark.parametrize(
    "change", [identity.Changed(code=("mine.py",)), identity.Changed(data="data")]
)
def test_a_trial_has_finished_though_code_or_data_have_changed_by_then(
    change: identity.Changed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: it counted as failed for ever, and the search lost its value."""
    named = {"metric": "val/loss", "taken": "best epoch", "mode": "min"}
    ends: list[dict[str, Any]] = [
        {"status": "finished", "objective": 0.5, "objective_of": named},
        {"status": "diverged", "error": "nan at step 3"},
        {"status": "pruned"},
        {"status": "failed", "error": "OSError: no"},
        {},  # its worker was killed
        {"status": "finished", "objective": 0.25, "objective_of": named},  # before; killed since
    ]
    shared = optuna.create_study(study_name="s")
    rates: Any = {"lr": FloatDistribution(0.1, 1)}
    trials = Trials(shared, options(), rates, len(ends), tmp_path / ".locks")
    direction = StudyDirection.MINIMIZE
    search: Any = SimpleNamespace(direction=direction, mistake=None, _check_direction=mock.Mock())
    monkeypatch.setattr(identity, "changed", lambda *_: change)
    states = {}
    for job, end in zip(made(tmp_path, *(f"seed={n}" for n in range(6))), ends, strict=True):
        ((number, lock),) = trials.claim().items()
        run_dir = tmp_path / f"{number}-{job.hash}"
        folders.save_config(run_dir, job.config, "project.train")
        if end:
            of_runs.save(run_dir, {**end, "config_hash": job.config.hash})
        if number > 3:
            job.error = RunFailed("its process was killed")
        Search._tell(search, trials, number, job)
        states[number] = job.state()
        lock.release()
    assert [(trial.state, trial.value) for trial in shared.trials] == [
        (COMPLETE, 0.5),
        (COMPLETE, math.inf),
        (TrialState.PRUNED, None),
        *[(FAIL, None)] * 3,
    ]
    marks = _marks(shared, states)
    assert marks == dict.fromkeys((0, 1), change.mark)
    shown = re.sub(r"\x1b\[\d*m", "", table(shared, 6, marks, tmp_path)).splitlines()
    assert shown[-3:-1] == [
        f"6 trials: 2 {change.mark}, 1 pruned, 3 failed",
        f"best, {change.mark}:",
    ]
    assert shown[1].split()[:3] == ["0", "finished", "0.5"]
    assert shown[2].strip() == change.mark


def test_a_trial_that_has_ended_is_not_run_again_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: `sweep.retry` and `sweep.force` did nothing in a search."""
    caplog.set_level("INFO")
    words = ["module=two_layer,linear", "optimizer.lr=0.01", *FAILING, "trainer.max_steps=3"]
    search = command(tmp_path, *words, "sampler=grid")
    failed_in_part(*search)
    for again, number in (("sweep.retry=failed", 1), ("sweep.force=true", 2)):
        caplog.clear()
        failed_in_part(*search, again)
        assert (
            f"{again}: leaves {number} of 2 ended trials as they are: a study is told "
            "once how a trial ends.\nTo begin a new search: hydra.sweeper.study_name=NAME"
        ) in caplog.text
    (finished,) = [trial for trial in trials(tmp_path) if trial.state == COMPLETE]
    shutil.rmtree(folder(tmp_path) / finished.user_attrs["folder"])
    caplog.clear()
    failed_in_part(*search)
    assert "2 trials: 1 failed, 1 without a folder of this config" in re.sub(
        r"(1 without .*), (1 failed)", r"\2, \1", caplog.text
    )


def test_dry_run_writes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run_train(*command(tmp_path, *SPACE, "n_trials=3", "sweep.dry_run=true"))
    assert [record.message for record in caplog.records] == ["3 trials: 3 to come"]
    assert list(tmp_path.iterdir()) == []


REFUSED = {
    "sampler=tpr optimizer.lr=0.1,0.2": (
        "hydra.sweeper.sampler=tpr: must be one of: tpe, random, grid. Did you mean tpe?"
    ),
    "optimizer.lr=interval(-1,1)": (
        "optimizer: Invalid learning rate: -1.0\nThe command says: optimizer.lr=interval(-1,1)"
    ),
    "optimizer.lr=interval(0.5,0.1)": (
        "optimizer.lr=interval(0.5,0.1): the first bound must not be above the second."
    ),
    "trainer.max_steps=interval(0.5,3)": (
        "trainer.max_steps=0.5: must be a whole number from 1, or -1."
    ),
    "optimizer.lr=0.1": (
        "hydra/sweeper=optuna: give a key to search, as 'optimizer.lr=tag(log,interval(0.01,1))'."
    ),
    "sampler=grid optimizer.lr=interval(0.1,1)": (
        "optimizer.lr=interval(0.1,1): a grid needs values, such as 1,2."
    ),
    "storage=study.db optimizer.lr=0.1,0.2": (
        "hydra.sweeper.storage=study.db: must be a path that ends in .log, or sqlite:///PATH."
    ),
}


@pytest.mark.parametrize(("words", "says"), REFUSED.items(), ids=list(REFUSED))
def test_refused(words: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_train(*command(tmp_path, *words.split()))
    assert stop.value.code == 2
    assert capsys.readouterr() == ("", f"error: {says}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_study_name_is_one_search_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = f"storage=sqlite:///{tmp_path}/x.db"
    run_train(*command(tmp_path, "trainer.max_steps=1,2", "n_trials=1", storage, "study_name=mine"))
    with pytest.raises(SystemExit) as stop:
        run_train(
            *command(tmp_path, "trainer.max_steps=1,3", "n_trials=1", storage, "study_name=mine")
        )
    assert stop.value.code == 2
    says = "error: hydra.sweeper.study_name=mine: is another search's; choose another name.\n"
    assert capsys.readouterr().err == says
    opened = study.opened(f"sqlite:///{tmp_path}/x.db")
    (trial,) = optuna.load_study(study_name="mine", storage=opened).trials
    assert trial.state == COMPLETE


def test_a_search_that_goes_on_with_another_sampler_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: another seed of the sampler gave the old trials, without a word."""
    others = ["seed=7", "sampler=random", "pruner_keeps=5"]
    for words in (["n_trials=1"], ["n_trials=1"], ["n_trials=2", *others]):
        caplog.clear()
        run_train(*command(tmp_path, *SPACE, *words), draws=False)
        told_of = [text for text in caplog.messages if "of this search: drawn with" in text]
        assert bool(told_of) == ("seed=7" in words)
    assert told_of == [
        "1 trial of this search: drawn with hydra.sweeper.sampler=tpe hydra.sweeper.seed=0 "
        "hydra.sweeper.pruner_keeps=4; further ones with what is given now.\n"
        "To begin a new search: hydra.sweeper.study_name=NAME"
    ]


@pytest.mark.parametrize(
    ("words", "before_by", "by"),
    [
        ([], "train/loss, last value", "last pass"),
        (["callbacks=[default,swa]"], "val/loss, last value", "of the mean"),
    ],
    ids=["the last pass", "the mean"],
)
def test_a_search_by_another_value_of_before_does_not_go_on(
    words: list[str],
    before_by: str,
    by: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As it happened: all further trials were trained, and none of them counted."""
    run_train(*command(tmp_path, *SPACE, "n_trials=1"), *words, draws=False)
    storage = study.opened(str(folder(tmp_path) / "study.log"))
    (name,) = optuna.get_all_study_names(storage)
    before = optuna.load_study(study_name=name, storage=storage)
    assert before.metric_names == ["train/loss, last pass"]
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        before.set_metric_names([before_by])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run_train(*command(tmp_path, *SPACE, "n_trials=2"), *words, draws=False)
    assert (stop.value.code, len(trials(tmp_path))) == (2, 1)
    assert capsys.readouterr().err == (
        f"error: {name}: this search goes by {before_by}, and further trials would go "
        f"by {by}.\nTo begin a new search: hydra.sweeper.study_name=NAME\n"
    )


WITHOUT = """
import sys
sys.modules["optuna"] = None
sys.argv[1:] = ["-m", "hydra/sweeper=optuna", "optimizer.lr=0.1,0.2"]
from project.train import train
train()
"""


def test_without_optuna_it_says_how_to_install_it() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, cwd=ROOT)
    says = 'error: hydra/sweeper=optuna: pip install -c constraints.txt -e ".[optuna]" first.\n'
    assert (done.returncode, done.stdout, done.stderr) == (2, "", says)
    assert says.partition("pip ")[2].startswith("install -c constraints.txt -e")


def test_a_grid_after_other_trials_tries_every_combination(tmp_path: Path) -> None:
    """As it happened: a grid left out two values and tried another one three times."""
    words = ["optimizer.lr=0.01,0.02,0.03,0.04", "trainer.max_steps=1"]
    run_train(*command(tmp_path, *words, "sampler=random", "n_trials=2"))
    run_train(*command(tmp_path, *words, "sampler=grid"))
    run_train(*command(tmp_path, *words, "sampler=grid", "seed=1"))
    assert len(summaries(tmp_path)) == 4
    rates = {path.name.partition("-")[0] for path in folder(tmp_path).glob("lr=*")}
    assert rates == {"lr=0.01", "lr=0.02", "lr=0.03", "lr=0.04"}


def test_a_trial_with_another_objective_is_not_compared(tmp_path: Path) -> None:
    """As it happened: a training loss was the best of validation losses."""
    words = ["datamodule=parabola", "experiment=curve_fit", "callbacks=default"]
    own = ["trainer.max_epochs=1", "datamodule.steps_per_epoch=2", "datamodule.folds=5,null"]
    failed_in_part(*command(tmp_path, *words, *own, "sampler=grid"))
    storage = study.opened(str(tmp_path / "sweeps" / "curve_fit" / "study.log"))
    (name,) = optuna.get_all_study_names(storage)
    done = optuna.load_study(study_name=name, storage=storage).trials
    assert sorted(trial.state.name for trial in done) == ["COMPLETE", "FAIL"]
    (failed,) = (trial for trial in done if trial.state == FAIL)
    assert re.fullmatch(
        r"its value is \S+, .*, and this search's are \S+, .*", failed.user_attrs["error"]
    )


@pytest.mark.slow
def test_a_trial_that_goes_the_other_way_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: an accuracy was minimised, where a swept choice brought it."""
    validated = ["module._target_=ways.Small", "datamodule._target_=ways.Points"]
    words = [*validated, "datamodule.batch_size=5", "callbacks.checkpoints.mode=max,min"]
    with pytest.raises(SystemExit) as stop:
        run_train(*command(tmp_path, *words, "n_trials=2"))
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "error: hydra.sweeper.direction=null: this search would minimise val/loss, and the best of "
        "it is the maximum; choose hydra.sweeper.direction=maximize.\n"
    )


@pytest.mark.parametrize(
    ("storage", "shown"),
    [
        ("sqlite:///a b/s.db?mode=rw&cache=x", "sqlite:///a b/s.db?mode=rw&cache=x"),
        ("mysql://me:it's@host/s;t", "mysql://…@host/s;t"),
    ],
)
def test_the_command_of_the_dashboard_can_be_pasted(
    storage: str, shown: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: a shell made two words of a URL, or went on in the background at its `&`."""
    caplog.set_level("INFO")
    made = optuna.create_study()
    made.add_trial(optuna.trial.create_trial(value=0.5))
    base = SimpleNamespace(sweep_dir=tmp_path)
    search: Any = SimpleNamespace(base=base, _jobs={}, name="s", storage=storage, table=lambda: "")
    with mock.patch.object(study, "load", return_value=made):
        Search.conclude(search, "project.train")
    assert shlex.split(caplog.messages[-1].splitlines()[-1]) == ["optuna-dashboard", shown]


def test_at_its_end_a_search_compares_its_trials_with_the_files_as_they_are_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: another process had looked later, and its trials were called stale."""
    caplog.set_level("INFO")
    made = optuna.create_study()
    made.add_trial(optuna.trial.create_trial(value=0.5))
    base = SimpleNamespace(sweep_dir=tmp_path)
    with (
        mock.patch.object(study, "load", return_value=made),
        mock.patch.object(identity, "forget") as forget,
    ):
        shown = lambda: f"forgot: {forget.called}"  # noqa: E731
        search: Any = SimpleNamespace(base=base, _jobs={}, name="s", storage="s.log", table=shown)
        Search.conclude(search, "project.train")
    assert caplog.messages[0] == "\nforgot: True"


@pytest.mark.parametrize("lost", [math.nan, -math.inf, math.inf])
def test_a_value_that_is_no_number_is_the_worst_and_no_failure(
    lost: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: exit code 1, beside a table of finished trials."""
    caplog.set_level("INFO")
    named = {"metric": "val/loss", "taken": "best epoch", "mode": "min"}
    storage = str(tmp_path / "study.log")
    shared = optuna.create_study(study_name="s", storage=study.opened(storage))
    rates: Any = {"lr": FloatDistribution(0.1, 1)}
    made = Trials(shared, options(), rates, 3, tmp_path / ".locks")
    search: Any = SimpleNamespace(
        direction=StudyDirection.MINIMIZE,
        base=SimpleNamespace(sweep_dir=tmp_path / "gone"),
        mistake=None,
        name="s",
        storage=storage,
        _check_direction=lambda job, found: None,
        _jobs={},
        table=lambda: table(shared, 3, {}, tmp_path),
    )
    other = {"metric": "train/loss", "taken": "last pass", "mode": "min"}
    endings: list[dict[str, Any]] = [
        {"status": "finished", "objective": lost, "objective_of": other},  # it names nothing
        {"status": "finished", "objective": 0.5, "objective_of": named},
        {"status": "diverged", "objective": None, "objective_of": None, "error": "nan at step 3"},
    ]
    for ending in endings:
        ((number, lock),) = made.claim().items()
        of_runs.save(tmp_path, ending)
        summary = of_runs.load(tmp_path) or {}
        state = State(ending["status"], tmp_path, summary, identity.Changed(), True, True, False)
        Search._tell(search, made, number, SimpleNamespace(error=None, state=lambda s=state: s))
        lock.release()
    assert [(trial.state, trial.value) for trial in made.all()] == [
        (COMPLETE, math.inf),
        (COMPLETE, 0.5),
        (COMPLETE, math.inf),
    ]
    Search.conclude(search, "project.train")  # raises nothing
    lines = re.sub(r"\x1b\[\d*m", "", caplog.messages[-1]).splitlines()
    assert [line.split()[:2] for line in lines[3:7:2]] == [["0", "finished"], ["2", "diverged"]]
    assert lines[4] == "         its objective is no finite number"
    assert lines[7] == "3 trials: 2 finished, 1 diverged"
