"""The folder of a run."""

import json
import math
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from engine.errors import UserError
from engine.run import folders, identity, summaries, versions

CONFIG = {
    "name": "lenet",
    "seed": 0,
    "paths": {"data_dir": "/data", "log_dir": "/logs"},
    "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.001},
    "module": {"optimizer": "${optimizer}"},
    "datamodule": {"batch_size": 4, "data_dir": "${paths.data_dir}/cifar10", "cache_dir": "/cache", "num_workers": 0},
    "trainer": {"max_epochs": 5, "accelerator": "auto", "devices": "auto", "strategy": "auto"},
    "logger": {"csv": {"_target_": "engine.run.loggers.MetricsCSV"}},
    "callbacks": {"progress_bar": {"refresh_seconds": 0.2}, "checkpoints": {"every_n_steps": 1000}},
}


def config(**changes: Any) -> DictConfig:
    """`CONFIG` with changes by dotted key."""
    made = OmegaConf.create(CONFIG)
    for key, value in changes.items():
        OmegaConf.update(made, key, value)
    return made


def backwards(node: Any) -> Any:
    """The same mapping, its keys in the opposite order, at every level."""
    return {key: backwards(node[key]) for key in reversed(node)} if isinstance(node, dict) else node


def test_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert identity.config_hash(OmegaConf.create(backwards(CONFIG))) == identity.config_hash(config())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "other"), ("paths.log_dir", "/elsewhere"), ("paths.data_dir", "/elsewhere"), ("logger", {}),
        ("callbacks.progress_bar.refresh_seconds", 9), ("callbacks.progress_bar", None), ("datamodule.cache_dir", "/c"),
        ("datamodule.num_workers", 8), ("trainer.accelerator", "gpu"), ("trainer.devices", 2),
        ("trainer.strategy", "ddp"),
    ],
)  # fmt: skip
def test_hash_does_not_depend_on_what_cannot_change_the_result(key: str, value: object) -> None:
    assert identity.config_hash(config(**{key: value})) == identity.config_hash(config())


def test_hash_tells_all_else_apart() -> None:
    changes = [
        {}, {"seed": 1}, {"optimizer.lr": 0.002}, {"datamodule.batch_size": 8}, {"trainer.max_epochs": 6},
        {"callbacks.checkpoints.every_n_steps": 10}, {"trainer.precision": "bf16"}, {"module.name": "x"},
        {"module.name": {}}, {"datamodule.data_dir": "/elsewhere/cifar10"}, {"named": "x"},
    ]  # fmt: skip
    hashes = {identity.config_hash(config(**change)) for change in changes}
    assert len(hashes) == len(changes)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in hashes)


def test_hash_leaves_the_config_as_it_was() -> None:
    identity.config_hash(made := config())
    assert made == config()
    assert OmegaConf.is_interpolation(made.module, "optimizer")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        pytest.param(["init=he", "optimizer.lr=0.1"], "init=he,lr=0.1", id="as in its docstring"),
        pytest.param(["callbacks/curve=none", "seed=1"], "curve=none,seed=1", id="group in a group"),
        pytest.param([], "default", id="none"),
        pytest.param(["+trainer.max_steps=5", "~callbacks.curve"], "max_steps=5,curve=", id="added and deleted"),
        pytest.param(["datamodule.mean=[0.5, 0.5]"], "mean=_0.5,_0.5_", id="list"),
        pytest.param(["datamodule.url=http://a/b"], "url=http_a_b", id="slashes"),
        pytest.param(["datamodule.data_set=für 猫"], "data_set=für_猫", id="letters of any script"),
        pytest.param(["optimizer.lr=1e-3,1e-4"], "lr=1e-3,1e-4", id="exponent"),
    ],
)
def test_slug(overrides: list[str], expected: str) -> None:
    assert identity.slug(overrides) == expected


@pytest.fixture
def sweep(tmp_path: Path) -> str:
    """A sweep's folder, as Hydra leaves it before the first job."""
    own = ["experiment=lenet", "datamodule.data_dir=${paths.root}/x", "init=zero,he"]
    OmegaConf.save(OmegaConf.create({"hydra": {"overrides": {"task": own}}}), tmp_path / "multirun.yaml")
    return str(tmp_path)


@pytest.mark.parametrize("letter", ["x", "ü", "猫"])
def test_slug_and_hash_fit_a_file_name_however_long(letter: str, sweep: str) -> None:
    folder = folders.job_dir("0123abcd", Path(sweep), [f"module.note={letter * 300}", "seed=1"])
    folder.mkdir()
    assert folder.name.startswith(f"note={letter}")


def test_job_dir_tells_what_the_sweep_varies(sweep: str) -> None:
    overrides = ["experiment=lenet", "datamodule.data_dir=${paths.root}/x", "init=he"]
    assert folders.job_dir("0123abcd", Path(sweep), overrides) == Path(sweep) / "init=he-0123abcd"


def test_a_folder_set_aside_keeps_what_it_has(tmp_path: Path) -> None:
    for text in ("one", "two", "three"):
        (tmp_path / "init=he-0123").mkdir()
        (tmp_path / "init=he-0123/summary.json").write_text(text)
        folders.set_aside(tmp_path / "init=he-0123")
    kept = {path.parent.name: path.read_text() for path in tmp_path.glob("*/summary.json")}
    assert kept == {"init=he-0123.1": "one", "init=he-0123.2": "two", "init=he-0123.3": "three"}


def test_run_dirs_of_the_same_second_differ(tmp_path: Path) -> None:
    made = config(**{"paths.log_dir": str(tmp_path)})
    before = datetime.now()
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: folders.new_run_dir(made), range(40)))
    seconds = (datetime.now() - before) / timedelta(seconds=1)
    assert len(set(folders)) == 40 > 2 * (seconds + 1), "too slow to have two in a second"
    for folder in folders:
        assert folder.is_dir()
        assert folder.parent == tmp_path / "runs" / "lenet"
        stamp, _, count = folder.name.partition("_")[2].partition("_")
        datetime.strptime(f"{folder.name[:10]} {stamp}", "%Y-%m-%d %H-%M-%S")
        assert count == "" or int(count) > 1


def test_config_comes_back_resolved_its_overrides_as_typed_and_written_once(tmp_path: Path) -> None:
    overrides = ["seed=0", "datamodule.data_dir=${paths.root}/x"]
    folders.save_config(tmp_path, config(), overrides)
    folders.save_config(tmp_path, config(seed=1), [])
    loaded = folders.load_config(tmp_path)
    assert OmegaConf.to_container(loaded, resolve=False) == OmegaConf.to_container(config(), resolve=True)
    assert folders.load_overrides(tmp_path) == overrides


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^{re.escape(str(tmp_path))}: not a run's folder"):
        folders.load_config(tmp_path)


def test_remove_empty_takes_back_what_is_empty_only(tmp_path: Path) -> None:
    (tmp_path / "runs/lenet/full/x").mkdir(parents=True)
    (tmp_path / "runs/linear/empty").mkdir(parents=True)
    for name in ("lenet/full", "linear/empty", "lenet/missing"):
        folders.remove_empty(tmp_path / "runs" / name)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "runs", "runs/lenet", "runs/lenet/full", "runs/lenet/full/x"
    ]  # fmt: skip


def test_summary_is_strict_json_without_nan(tmp_path: Path) -> None:
    summary = {"status": "diverged", "objective": math.nan, "metrics": {"a": math.inf, "b": 0.1}, "steps": 3}
    summaries.save_summary(tmp_path, summary)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    expected = {"status": "diverged", "objective": None, "metrics": {"a": None, "b": 0.1}, "steps": 3}
    assert json.loads((tmp_path / "summary.json").read_text(), parse_constant=refuse) == expected
    assert summaries.load_summary(tmp_path) == expected


def test_no_summary_is_none(tmp_path: Path) -> None:
    assert summaries.load_summary(tmp_path) is None


@pytest.mark.parametrize("objective", [0.5, 0, None], ids=["number", "zero", "none"])
def test_objective(objective: float | None) -> None:
    found = summaries.objective({"objective": objective})
    assert found == objective if objective is not None else math.isnan(found)
    assert math.isnan(summaries.objective({}))


def test_final_metrics_are_the_last_value_of_each_column_in_whole_lines(tmp_path: Path) -> None:
    assert summaries.final_metrics(tmp_path) == {}
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,lr,train/loss,val/acc\n0,9,0.1,2.5,\n0,9,,,0.25\n1,19,0.1,1e-3,\n1,19,,,nan\n2,29,0.1,0.125,\n"
        "2,39,0.1,0.0"
    )
    found = summaries.final_metrics(tmp_path)
    assert found["train/loss"] == 0.125
    assert math.isnan(found["val/acc"])
    assert list(found) == ["train/loss", "val/acc"]


def test_table_and_verdict_read_well() -> None:
    assert summaries.table({"val/acc": 0.123456789, "loss": 12}) == "  val/acc  0.123457\n  loss     12"
    summary = {"status": "finished", "steps": 62_500, "seconds": 59.96}
    assert summaries.verdict(summary, Path("/logs/x")) == "finished after 62,500 steps, 60.0 s: /logs/x"


def test_git_commit_is_that_of_the_project() -> None:
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folders.ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        assert versions.git_commit() is None
    else:
        assert versions.git_commit() in (head.stdout.strip(), head.stdout.strip() + "+")


def test_as_yaml_is_omegaconfs() -> None:
    """Words that YAML would read as numbers, truth values or null are quoted, too."""
    values = [
        "1e-5",
        "1.5",
        "yes",
        "null",
        "",
        "0x1f",
        "12:30",
        "ü",
        "a: b",
        "two\nlines",
        1e-5,
        None,
        True,
        [1, {}],
        "2026-01-01",
    ]
    config = OmegaConf.create({"a": {f"key{i}": value for i, value in enumerate(values)}, "b": "${a.key0}", 3: {}})
    assert folders.as_yaml(config) == OmegaConf.to_yaml(config, resolve=True)
