"""Sweeps: a folder per job, one bad job does not stop the others, and nothing is run twice."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from commands import only_run, run_train
from engine.config.resolved import Config
from engine.run import folders
from engine.run.identity import Changed
from engine.run.summaries import save
from engine.sweep.jobs import Job, State, own_words, table
from sweeping import FAILING, LINEAR, folder, made, summaries, sweep, written


@pytest.mark.slow
def test_a_grid_has_a_folder_per_job_and_runs_no_job_twice(tmp_path: Path) -> None:
    sweep_dir = sweep(tmp_path, "optimizer=sgd,adam", "init=zero,randn")
    names = {path.name for path in sweep_dir.iterdir()}
    assert {"multirun.yaml", ".locks"} < names
    jobs = sorted(names - {"multirun.yaml", ".locks"})
    assert [re.sub("-[0-9a-f]{8}$", "-HASH", name) for name in jobs] == [
        f"optimizer={optimizer}-init={init}-HASH"
        for optimizer in ("adam", "sgd")
        for init in ("randn", "zero")
    ]
    for name in jobs:
        config = folders.load_config(sweep_dir / name)
        summary = summaries(sweep_dir)[name.rpartition("-")[0]]
        assert (summary["status"], summary["steps"]) == ("finished", 3)
        assert summary["config_hash"] == config.hash
        assert name.endswith(f"-{summary['config_hash'][:8]}")
        assert f"optimizer={config['optimizer._target_'].rpartition('.')[2].lower()}-" in name
        assert f"init={config['init._target_'].rpartition('.')[2]}-" in name
    assert len(list(tmp_path.rglob(".hydra/config.yaml"))) == 4  # none elsewhere

    before = written(sweep_dir)
    sweep(tmp_path, "init=zero,randn,he", "optimizer=sgd")  # in another order, and one job more
    after = written(sweep_dir)
    assert before.items() <= after.items()
    new = {
        Path(path).relative_to(sweep_dir).parts[0].rpartition("-")[0]
        for path in after.keys() - before.keys()
    }
    assert new == {"init=he"}

    run_train(*LINEAR[1:], "init=randn", "optimizer=sgd", f"paths.log_dir={tmp_path / 'alone'}")
    (alone,) = tmp_path.glob("alone/runs/linear/*/metrics.csv")
    (job,) = sweep_dir.glob("optimizer=sgd-init=randn-*/metrics.csv")
    assert job.read_text() == alone.read_text()


@pytest.mark.slow
def test_a_failing_and_a_diverging_job_do_not_stop_the_others(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        sweep(tmp_path, "module=two_layer,linear", "optimizer.lr=1e30,0.01", *FAILING)
    assert stop.value.code == 1
    endings = {
        name: (job["status"], job["error"] is None)
        for name, job in summaries(folder(tmp_path)).items()
    }
    assert endings == {
        "module=two_layer-lr=1e+30": ("failed", False),
        "module=two_layer-lr=0.01": ("failed", False),
        "module=linear-lr=1e+30": ("diverged", False),
        "module=linear-lr=0.01": ("finished", True),
    }

    before = written(folder(tmp_path))
    sweep(
        tmp_path, "module=linear", "optimizer.lr=1e30", *FAILING
    )  # diverged: done, and no failure
    assert written(folder(tmp_path)) == before
    with pytest.raises(SystemExit) as stop:
        sweep(
            tmp_path, "module=two_layer", "optimizer.lr=0.01", *FAILING
        )  # failed: reported once more
    assert stop.value.code == 1
    assert written(folder(tmp_path)) == before
    with pytest.raises(SystemExit) as stop:
        sweep(tmp_path, "module=two_layer", "optimizer.lr=0.01", *FAILING, "sweep.retry=failed")
    assert stop.value.code == 1
    again = {path for path, time in written(folder(tmp_path)).items() if time != before.get(path)}
    changed = {Path(path).name for path in again}  # not the config: a retry is the same run
    assert changed == {"metrics.csv", "summary.json", "train.log"}


@pytest.mark.slow
def test_a_mistake_that_only_the_data_can_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "datamodule=digits",
        "callbacks=default",
        "module=lenet",
        "trainer.limit_val_batches=0",
    ]
    with pytest.raises(SystemExit) as stop:
        sweep(tmp_path, *words, "module.num_classes=7,10")
    assert stop.value.code == 2
    says = (
        "error: module.num_classes=7: DigitsDataModule has 10 classes; set module.num_classes=10."
    )
    assert says in capsys.readouterr().err.splitlines()
    assert {name: job["status"] for name, job in summaries(folder(tmp_path)).items()} == {
        "num_classes=10": "finished"
    }


def test_another_folder_for_a_sweep(tmp_path: Path) -> None:
    sweep(tmp_path / "logs", "seed=1", f"hydra.sweep.dir={tmp_path}/mine")
    assert (tmp_path / "mine" / "multirun.yaml").exists()
    assert {name: job["status"] for name, job in summaries(tmp_path / "mine").items()} == {
        "default": "finished"
    }
    assert not folder(tmp_path / "logs").exists()


def test_dry_run_lists_the_jobs_and_touches_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sweep(tmp_path, "seed=1,2,3")
    (one, two, three) = sorted(folder(tmp_path).glob("seed=*"))
    (two / "summary.json").unlink()  # as after a kill
    save(three, {"status": "failed", "error": "OSError: disk full\nand more", "seconds": 1.25})
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    caplog.clear()
    sweep(tmp_path, "seed=1,2,3,4", "sweep.dry_run=true")
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
    (listed,) = [record.message for record in caplog.records]
    plain = re.sub(r"\x1b\[\d*m", "", listed)
    assert re.sub(r" +\d+(\.\d+)? +\d+\.\d s", " NUMBERS", plain).splitlines() == [
        f"  status       {'job':<15}" + f"{'train/loss, last pass':>23}{'time':>10}",
        f"  finished     {one.name} NUMBERS",
        f"  interrupted  {two.name}",
        f"  failed       {three.name}" + f"{'':>23}{'1.2 s':>10}",
        "    OSError: disk full",
        f"    {three / 'train.log'}",
        "  new          seed=4",
        "4 jobs: 1 finished, 1 interrupted, 1 failed, 1 new",
    ]


def test_a_broken_summary_is_no_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = made(tmp_path, "seed=1")
    (run_dir := folders.job_dir(job.config, tmp_path, job.overrides)).mkdir()
    (run_dir / "summary.json").write_text('{"status": "fin')
    assert job.state().status == "interrupted"
    assert f"{run_dir / 'summary.json'}: left out, as it is broken" in caplog.text
    assert re.sub(r"\x1b\[\d*m", "", table([job])).splitlines()[1:] == [
        f"  interrupted  {run_dir.name}",
        "1 job: 1 interrupted",
    ]
    assert job.state().summary == {}
    assert len(caplog.records) == 1


def test_a_job_answers_though_what_it_was_made_of_is_broken(tmp_path: Path) -> None:
    (job,) = made(tmp_path, "seed=1")
    run_dir = folders.job_dir(job.config, tmp_path, job.overrides)
    (run_dir / ".hydra").mkdir(parents=True)
    save(run_dir, {"status": "finished", "objective": 0.5})
    (run_dir / ".hydra/made_of.json").write_text("{broken")
    assert job.state().status == "broken"
    assert job.run(lambda *_: 1.0) == 0.5


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_is_no_folder_is_broken_and_not_written_to(kind: str, tmp_path: Path) -> None:
    """As it happened: with the archive's disk not mounted, a finished job ran through the link."""
    (job,) = made(tmp_path, "seed=1")
    place, gone = folders.job_dir(job.config, tmp_path, job.overrides), tmp_path / "gone" / "job"
    says = f"is a link to {gone}, where no folder is" if kind == "link" else "is no folder"
    if kind == "link":
        place.symlink_to(gone)
        place.with_name(f"{place.name}.1").symlink_to(gone)  # an earlier one's
    else:
        place.write_text("mine")
    assert (job.state().status, job.state().is_due) == ("broken", False)
    assert job.state().summary["error"] == f"{place}: {says}.\nPut it back."
    with job.claimed() as folder:
        assert folder is None
    job.treated = job.treated | {"retry": "failed"}
    with job.claimed() as folder:
        assert folder == place
        assert not os.path.lexists(place)
    number = 2 if kind == "link" else 1
    assert os.path.lexists(place.with_name(f"{place.name}.{number}"))
    assert not gone.parent.exists()
    folders.save_config(place.with_name(f"zz-{place.name}"), job.config, "project.train")
    place.symlink_to(gone)
    assert made(tmp_path, "seed=1")[0].state().status == "interrupted"  # the copy that is there


def test_a_folder_that_another_process_sets_aside_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = made(tmp_path, "seed=1")
    place = folders.job_dir(job.config, tmp_path, job.overrides)
    place.mkdir()
    is_own = type(job)._is_own

    def and_set_aside(self: Any, path: Path) -> bool:
        found = is_own(self, path)
        place.rename(tmp_path / "aside")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(type(job), "_is_own", and_set_aside)
        assert (job.state().status, job.state().is_due) == ("new", True)


@pytest.mark.parametrize("renamed", [False, True], ids=["of its name", "renamed"])
def test_a_copy_of_a_folder_is_not_taken_for_the_job(
    renamed: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: the job ran on in a backup that somebody had made of its folder."""
    (job,) = made(tmp_path, "seed=1")
    ended = folders.job_dir(job.config, tmp_path, job.overrides)
    folders.save_config(ended, job.config, "project.train")
    for name in ("aa", "zz"):  # whichever the file system lists first
        shutil.copytree(ended, tmp_path / f"{name}-{ended.name}")
    if renamed:
        ended = ended.rename(tmp_path / f"mine-{ended.name}")
    save(ended, {"status": "finished", "objective": 0.5})
    assert (job.folder, job.state().status, job.state().is_due) == (ended, "finished", False)
    assert made(tmp_path, "seed=1")[0].folder == ended
    assert [line.partition("goes by this one, as ")[2] for line in caplog.messages] == [
        f"aa-{name}, zz-{name} are of the same job" for name in [ended.name.removeprefix("mine-")]
    ]


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (80, ["job", "optimizer=adam-init=he-seed=1", "optimizer=sgd-init=xavier-gain=2-seed=12"]),
        (70, ["optimizer, init, seed, gain", "adam, he, 1, –  {}", "sgd, xavier, 12, 2  {}"]),
        (57, ["optimizer…seed, gain", "adam, he,…  {}", "sgd, xavi…  {}"]),
    ],
    ids=["whole", "values", "cut in the middle"],
)
def test_a_row_says_what_its_job_has_of_its_own(
    columns: int, shown: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["optimizer=adam init=he seed=1", "optimizer=sgd init=xavier +init.gain=2 seed=12"]
    words = [["experiment=lenet", *text.split()] for text in own]
    asked = {"force": False, "retry": None}
    jobs = [
        Job(Config({"n": i, "sweep": asked}, overrides=one), tmp_path, one)
        for i, one in enumerate(words)
    ]
    monkeypatch.setenv("COLUMNS", str(columns))
    head, *rows, _ = re.sub(r"\x1b\[\d*m", "", table(jobs)).splitlines()
    assert max(map(len, [head, *rows])) <= columns
    assert head.removesuffix("objective      time").split(maxsplit=1)[1].rstrip() == shown[0]
    for job, row, name in zip(jobs, rows, shown[1:], strict=True):
        assert row.split(maxsplit=1)[1] == name.format(job.hash)


def test_what_a_sweep_tells_its_jobs_names_none() -> None:
    """As it happened: the log showed the callback that a search adds to each trial."""
    words = [["a=1", "seed=1", "sweep.trial={number:0}"], ["a=1", "seed=1", "sweep.trial=1"]]
    assert own_words(words) == [[], []]
    assert own_words([*words, ["a=1", "seed=2"]]) == [["seed=1"], ["seed=1"], ["seed=2"]]


def test_a_log_that_is_not_there_is_not_named(tmp_path: Path) -> None:
    """As it happened on a full disk, and where a file has the place of a job's folder."""
    (job,) = made(tmp_path, "seed=1")
    state = State("failed", tmp_path, {"error": "no"}, Changed(), False, True, False)
    path = tmp_path / "train.log"
    assert table([job], [state]).splitlines()[2:-1] == ["    no"]
    path.touch()
    assert table([job], [state]).splitlines()[2:-1] == ["    no", f"    {path}"]


def test_the_metric_of_the_test_stands_beside_the_objective(tmp_path: Path) -> None:
    jobs = made(tmp_path, "seed=1", "seed=2")
    of = {"metric": "val/acc", "taken": "best epoch", "mode": "max"}
    summary = {"objective": 0.625, "objective_of": of, "metrics": {"test/acc": 0.5}, "seconds": 1.0}
    ends = [("finished", summary), ("diverged", {})]
    states = [State(status, None, own, Changed(), False, True, False) for status, own in ends]
    assert re.sub(r"\x1b\[\d*m", "", table(jobs, states)).splitlines()[:3] == [
        "  status       job     val/acc, best epoch   test/acc      time",
        "  finished     seed=1                0.625        0.5     1.0 s",
        "  diverged     seed=2",
    ]


@pytest.mark.parametrize(("columns", "title"), [(90, "val/acc, best epoch"), (80, "val/acc")])
def test_where_names_would_be_cut_the_heading_is_shorter(
    columns: int, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monitor = "callbacks.checkpoints.monitor=a_metric_with_a_long_name"
    jobs = made(tmp_path, f"{monitor}/0", f"{monitor}/1")
    of = {"metric": "val/acc", "taken": "best epoch", "mode": "max"}
    summary = {"objective": 0.625, "objective_of": of}
    state = State("new", None, summary, Changed(), False, False, False)
    head, *rows, _ = re.sub(r"\x1b\[\d*m", "", table(jobs, [state, state])).splitlines()
    assert re.split(r"\s{2,}", head.strip()) == ["status", "job", title, "time"]
    said = [re.split(r"\s{2,}", row.strip()) for row in rows]
    assert said == [["new", f"monitor=a_metric_with_a_long_name_{n}", "0.625"] for n in range(2)]


def test_headings_of_long_metrics_are_cut_to_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: 104 columns for the second of several loaders."""
    monkeypatch.setenv("COLUMNS", "80")
    jobs = made(tmp_path, "seed=1", "seed=2")
    of = {"metric": "val_loss/dataloader_idx_1", "taken": "best epoch", "mode": "min"}
    metrics = {"test_loss/dataloader_idx_1": 0.5}
    summary = {"objective": 0.625, "objective_of": of, "metrics": metrics}
    state = State("finished", None, summary, Changed(), False, True, False)
    head, row, *_ = re.sub(r"\x1b\[\d*m", "", table(jobs, [state, state])).splitlines()
    assert re.split(r"\s{2,}", head.strip())[2:] == ["val_loss/da…dx_1", "test_loss/d…dx_1", "time"]
    assert re.split(r"\s{2,}", row.strip())[2:] == ["0.625", "0.5"]
    assert max(map(len, (head, row))) <= 80


def test_the_sweep_s_own_keys_make_no_other_job(tmp_path: Path) -> None:
    (job,) = made(tmp_path, "seed=1")
    other = {**job.config, "sweep": {"retry": "failed", "wait": True}, "name": "other"}
    assert Config(other).hash == job.config.hash
    assert Config({**other, "seed": 2}).hash != job.config.hash


def test_a_job_whose_objects_cannot_be_made_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        sweep(tmp_path, "seed=1,2", "+module.foo=1")
    assert stop.value.code == 2
    says = "module.foo: LinearRegressor takes no such argument. It takes in_features, "
    assert capsys.readouterr().err.startswith(f"error: {says}")
    assert list(tmp_path.rglob("*")) == []


OF_HYDRA = "hydra.sweeper._target_=hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sweep.dry_run=true"], "sweep.dry_run: is for sweeps; add -m."),
        (["sweep.retry=failed"], "sweep.retry: is for sweeps; add -m."),
        (
            ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
            "hydra/launcher=joblib: is for sweeps; add -m.",
        ),
        (
            ["hydra.sweeper.params={seed:1}"],
            "hydra.sweeper.params={seed:1}: is for sweeps; add -m.",
        ),
        (["++hydra.sweep.dir=x"], "++hydra.sweep.dir=x: is for sweeps; add -m."),
        (
            ["-m", OF_HYDRA, "+hydra.sweeper.max_batch_size=1", "seed=1,2", "sweep.dry_run=true"],
            "sweep.dry_run=true: works with hydra/sweeper=grid and hydra/sweeper=optuna only; "
            "another sweeper would run the jobs.",
        ),
        *(
            (
                ["-m", *sweeper, "trainer.max_steps=1,2", f"{key}=true,false"],
                f"{key}=true,false: is for the whole sweep; give it one value.",
            )
            for sweeper in ([], ["hydra/sweeper=optuna"])
            for key in ("sweep.force", "sweep.dry_run")
        ),
    ],
)
def test_what_sweeps_only_can_do(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_train(*words, *LINEAR[1:], f"paths.log_dir={tmp_path}")
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {says}"
    assert list(tmp_path.rglob("metrics.csv")) == []


def test_weights_that_are_not_there_are_refused_before_the_first_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        sweep(tmp_path, f"init_from=null,{tmp_path}/nosuch")
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        f"error: init_from={tmp_path}/nosuch: must be a checkpoint, or a run's folder that has "
        "one.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("swept", ["seed=1,2", "optimizer=sgd,sgd_plain"])
def test_what_single_runs_only_can_refer_to(
    swept: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: "HydraConfig was not set", which no user can set.

    After a command with `--cfg` in the same process, jobs got what is in that one's config.
    """
    word = "name=linear_${hydra:runtime.choices.module}"
    run_train("--cfg", "job")
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run_train(*LINEAR, word, swept, f"paths.log_dir={tmp_path}")
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: name: refers to Hydra's own config by ${hydra:…}, which is there in a single run "
        "only.",
        "For a sweep, write the value itself.",
    ]
    assert list(tmp_path.iterdir()) == []
    run_train(*LINEAR[1:], word, f"paths.log_dir={tmp_path}")
    assert [path.name for path in tmp_path.glob("runs/*")] == ["linear_linear"]


@pytest.mark.slow
def test_a_sweep_over_experiments_names_its_jobs_by_them(tmp_path: Path) -> None:
    run_train(
        "-m",
        "experiment=linear,curve_fit",
        "name=both",
        "accelerator=cpu",
        "logger=csv",
        "callbacks=default",
        "trainer.max_steps=3",
        f"paths.log_dir={tmp_path}",
    )
    names = {path.parent.name[:-9] for path in tmp_path.glob("sweeps/both/*/summary.json")}
    assert names == {"experiment=linear", "experiment=curve_fit"}


def test_an_experiment_s_own_sweep_is_not_lost_among_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    words = ["sweep.dry_run=true", f"paths.log_dir={tmp_path}"]
    with pytest.raises(SystemExit) as stop:
        run_train("-m", "experiment=lenet,lenet_init", *words)
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: experiment=lenet_init: sets hydra.sweeper.params for a sweep of its own, which "
        "would be lost in a sweep over more.",
        "Sweep over it by itself, or leave that out: hydra.sweeper.params=null",
    ]
    assert list(tmp_path.iterdir()) == []
    for asked, jobs in (
        (["experiment=lenet_init"], 30),
        (["experiment=lenet,lenet_init", "hydra.sweeper.params=null"], 2),
    ):
        run_train("-m", *asked, *words)
        assert f"{jobs} jobs: {jobs} new" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ("{seedd:'0,1'}", "seedd: no such key. Did you mean seed?"),
        (
            "{optimizer:'adam,sgd',optimizer.momentum:0.5}",
            "optimizer.momentum: no such key. optimizer has: _target_, _partial_, lr, betas, ",
        ),
        ("{seed:'-1,0'}", "seed=-1: must be a whole number from 0 to 4294967295."),
    ],
)
def test_keys_of_params_are_checked_as_words_are(
    params: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: the words were those of OmegaConf, "Key 'seedd' is not in struct"."""
    with pytest.raises(SystemExit) as stop:
        run_train("-m", f"hydra.sweeper.params={params}", *LINEAR[1:], f"paths.log_dir={tmp_path}")
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: hydra.sweeper.params: {says}")
    assert list(tmp_path.iterdir()) == []


def test_one_run_of_an_experiment_s_own_sweep_says_what_else_there_is(tmp_path: Path) -> None:
    few = ["datamodule=digits", "callbacks=default", "logger=csv", "trainer.max_steps=1"]
    words = ["experiment=lenet_init", "accelerator=cpu", *few, f"paths.log_dir={tmp_path}"]
    run_train(*words)
    run_train("-m", *words, "optimizer=sgd", "init=he", "seed=1")
    alone, job = (
        (only_run(folder) / "train.log").read_text()
        for folder in (tmp_path / "runs", tmp_path / "sweeps")
    )
    says = "one run of a sweep over optimizer, init, seed: add -m for all of it\n"
    assert alone.count(says) == 1
    assert says not in job


def test_a_job_that_another_one_does_is_left_out_with_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: one folder was listed three times, as jobs of their own."""
    caplog.set_level("INFO")
    sweep_dir = sweep(tmp_path, "optimizer.lr=0.01,1e-2,0.02", "trainer.steps_per_call=1,2")
    assert len(summaries(sweep_dir)) == 2
    left_out = [text for text in caplog.messages if text.startswith("left out: ")]
    assert left_out == [
        f"left out: optimizer.lr={rate} trainer.steps_per_call={steps}, which another job does "
        "already"
        for rate, steps in ((0.01, 2), (0.01, 1), (0.01, 2), (0.02, 2))
    ]
    assert "2 jobs: 2 finished" in caplog.text


def test_params_may_be_null(tmp_path: Path) -> None:
    """As it happened: the word None, which a number refused and a callback took."""
    params = "hydra.sweeper.params={seed:'0,1',trainer.gradient_clip_val:null,compile:false}"
    sweep_dir = sweep(tmp_path, params)
    configs = [
        folders.load_config(path.parents[1]) for path in sweep_dir.glob("*/.hydra/config.yaml")
    ]
    assert [config["trainer.gradient_clip_val"] for config in configs] == [None, None]
    assert sorted(config["seed"] for config in configs) == [0, 1]
