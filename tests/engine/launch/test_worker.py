"""A job in another process is the one that was composed and checked, in an edited copy, too."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from house.copies import copied, python

SHORT = ["experiment=linear", "callbacks=default", "logger=csv", "accelerator=cpu"]
SWEEP = ["-m", "project.train", "-m", *SHORT, "trainer.max_steps=2", "paths.log_dir=logs"]
RESOLVERS = """
from omegaconf import OmegaConf

OmegaConf.register_new_resolver("NAME", lambda number: 2 * number)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return copied(tmp_path)


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_resolvers_that_the_user_s_files_register(launcher: str, copy: Path) -> None:
    """As it happened: "resolver 'mul' is already registered", of each job in another process."""
    door = copy / "src/project/train.py"
    registers = RESOLVERS.replace("NAME", "mul")
    door.write_text(door.read_text().replace("\n@command", f"{registers}\n\n@command"))
    # It is imported when the configs of the jobs have been composed.
    append(copy / "src/project/modules/linear.py", RESOLVERS.replace("NAME", "late"))
    words = [f"hydra/launcher={launcher}", "optimizer.lr='${mul:0.01}'", "seed=1,2"]
    done = python(copy, *SWEEP, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 jobs: 2 finished" in done.stdout
    summaries = [json.loads(path.read_text()) for path in copy.glob("logs/sweeps/*/*/summary.json")]
    assert sorted(summary["seed"] for summary in summaries) == [1, 2]
    configs = [path.read_text() for path in copy.glob("logs/sweeps/*/*/.hydra/config.yaml")]
    assert all("lr: 0.02\n" in config for config in configs)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_conf_that_is_edited_while_jobs_wait(launcher: str, copy: Path) -> None:
    """As it happened: the later jobs had another rate in another folder, and counted as killed."""
    experiment = copy / "conf/experiment/linear.yaml"
    conf = experiment.read_text()
    edited = conf.replace("lr: 0.01}", "lr: 0.02}")
    assert edited != conf
    door = copy / "src/project/train.py"
    edit = f"Path({str(experiment)!r}).write_text({edited!r})"
    text = door.read_text().replace("    data = run.", f"    {edit}\n    data = run.", 1)
    door.write_text(text.replace("\nfrom engine", "\nfrom pathlib import Path\n\nfrom engine", 1))
    words = [f"hydra/launcher={launcher}", "hydra.launcher.n_jobs=1", "seed=1,2,3"]
    done = python(copy, *SWEEP, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 jobs: 3 finished" in done.stdout
    assert experiment.read_text() == edited
    assert rates(copy) == {1: 0.01, 2: 0.01, 3: 0.01}


DRAWS = RESOLVERS.replace("lambda number: 2 * number", "lambda: str(uuid4())")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib", "vectorized"])
@pytest.mark.parametrize("name", ["ex_${now:%H%M%S%f}", "ex_${draw:}"], ids=["now", "draw"])
def test_a_resolver_that_gives_another_value_each_time(
    name: str, launcher: str, copy: Path
) -> None:
    """As it happened: both jobs trained to the end, and counted as killed."""
    door = copy / "src/project/train.py"
    draws = f"from uuid import uuid4\n{DRAWS.replace('NAME', 'draw')}"
    door.write_text(door.read_text().replace("\n@command", f"\n{draws}\n\n@command"))
    done = python(copy, *SWEEP, f"hydra/launcher={launcher}", f"name='{name}'", "seed=1,2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 jobs: 2 finished" in done.stdout
    assert rates(copy) == {1: 0.01, 2: 0.01}
    if name == "ex_${now:%H%M%S%f}":
        assert len(list(copy.glob("logs/sweeps/*"))) == 1
    begun = list(copy.glob("logs/sweeps/*/multirun.yaml"))
    jobs = list(copy.glob("logs/sweeps/*/*/summary.json"))
    assert {job.parents[1] for job in jobs} == {file.parent for file in begun}


@pytest.mark.slow
def test_a_search_whose_name_has_a_time(copy: Path) -> None:
    """Its trials lie in its own folder, though each is composed by itself."""
    words = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"]
    words += ["hydra/launcher=joblib", "name='ex_${now:%H%M%S%f}'"]
    done = python(copy, *SWEEP, *words, "optimizer.lr=interval(0.01,0.02)")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 trials: 2 finished" in done.stdout
    (folder,) = copy.glob("logs/sweeps/*")
    assert len(list(folder.glob("*/summary.json"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_folder_of_its_own_for_each_job_s_process(launcher: str, copy: Path) -> None:
    """As it happened: with a relative folder, runs lay in logs/sweeps/linear/logs/sweeps/…"""
    words = [f"hydra/launcher={launcher}", "hydra.job.chdir=true", "seed=1,2"]
    done = python(copy, *SWEEP, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 jobs: 2 finished" in done.stdout
    assert rates(copy) == {1: 0.01, 2: 0.01}
    assert [path.parents[1].name for path in copy.glob("logs/**/summary.json")] == ["linear"] * 2


@pytest.mark.slow
def test_a_secret_of_a_job_in_another_process_is_not_shown(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "correct-horse")
    append(copy / "conf/experiment/linear.yaml", "note: {api_key: '${oc.env:A_KEY}'}\n")
    door = copy / "src/project/train.py"
    fails = '    import os\n\n    raise RuntimeError(os.environ["A_KEY"])\n'
    text = door.read_text().replace("    run.test(", f"{fails}    run.test(", 1)
    door.write_text(text.replace("\n@command", '\nNAMES = ("note",)\n\n\n@command'))
    done = python(copy, *SWEEP, "hydra/launcher=joblib", "seed=1,2")
    assert done.returncode == 1
    assert "correct-horse" not in done.stdout + done.stderr
    logs = [path.read_text() for path in copy.glob("logs/sweeps/linear/*/train.log")]
    assert ["RuntimeError: ${oc.env:A_KEY}" in log for log in logs] == [True, True]
    assert not any("correct-horse" in log for log in logs)


def rates(copy: Path) -> dict[int, float]:
    """The learning rate of each job that has ended, by its seed."""
    found = {}
    for path in copy.glob("logs/sweeps/*/*/summary.json"):
        config = OmegaConf.load(path.parent / ".hydra/config.yaml")
        assert json.loads(path.read_text())["status"] == "finished"
        found[int(config.seed)] = float(config.optimizer.lr)
    return found
