"""Whole commands, with a run that was made here and then changed by somebody."""

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import CONF, ROOT, environment, only_run, run_evaluate, run_train
from engine import longer
from engine.config import plain_yaml, signature
from engine.errors import UserError
from engine.report.page import trained
from engine.report.read import collect
from engine.run import folders, versions
from engine.run.checkpoint import file as checkpoint_file
from payloads import BOMBS, COMMAND, OWN, received, touch
from warm import python

# Whole commands, with a run that was made here and then changed by somebody.
RUN = [
    "experiment=curve_fit",
    "trainer.max_epochs=1",
    "datamodule.steps_per_epoch=5",
    "logger=csv",
    "callbacks=default",
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log_dir = tmp_path_factory.mktemp("sound")
    run_train(*RUN, f"paths.log_dir={log_dir}", draws=False)
    return only_run(log_dir)


@pytest.fixture
def changed(sound: Path, tmp_path: Path, marker: Path) -> Path:
    """A run's folder with a payload in its config, as if it had been killed."""
    run_dir = Path(shutil.copytree(sound, tmp_path / "run", dirs_exist_ok=True))
    (run_dir / "summary.json").unlink()
    file = run_dir / folders.CONFIG
    evil = plain_yaml.dump({"evil": touch(str(marker))}).replace("\n", "\n  ").rstrip(" ")
    file.write_text(file.read_text().replace("callbacks:\n", f"callbacks:\n  {evil}"))
    config = folders.as_written(run_dir)
    assert config["callbacks.evil._target_"] == COMMAND
    last = run_dir / folders.LAST
    saved = checkpoint_file.read(last)  # which names its config
    checkpoint_file.WholeFileIO(config).save_checkpoint(saved, last)
    return run_dir


COMMANDS = {
    "evaluate": ("evaluate", "run={}"),
    "resume": ("train", "resume={}"),
    "longer": ("train", "resume={} trainer.max_epochs=2"),
}


@pytest.mark.parametrize(("command", "words"), COMMANDS.values(), ids=COMMANDS)
def test_each_command_refuses(
    command: str, words: str, changed: Path, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = {"train": run_train, "evaluate": run_evaluate}[command]
    before = sorted(changed.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        run(*words.format(changed).split())
    assert stop.value.code == 2
    says = f"or was edited, and callbacks.evil._target_={COMMAND} is nothing that runs need."
    said = capsys.readouterr().err
    assert said.startswith(f"error: {changed}: its config was not made here, {says}")
    assert sorted(changed.rglob("*")) == before
    assert not marker.exists()


def test_git_is_not_asked_about_a_folder_that_a_received_config_names(
    sound: Path, tmp_path: Path, marker: Path
) -> None:
    """To describe a commit, git runs the commands that the repository names."""
    repository = tmp_path / "repository"
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x"]
    repository.mkdir()
    (repository / "file").touch()
    for words in ("init -q", "add file", "commit -qm x", f"config core.fsmonitor touch\\ {marker}"):
        subprocess.run([*git, *shlex.split(words)], check=True)
    versions.git_commit(repository)
    marker.unlink()  # it does its work
    versions.git_commit.cache_clear()
    run_dir = Path(shutil.copytree(sound, tmp_path / "received"))
    (run_dir / "summary.json").unlink()
    file = run_dir / folders.CONFIG
    file.write_text(re.sub("\n  root: .*", f"\n  root: {repository}", file.read_text()))
    assert folders.load_config(run_dir, "project")["paths.root"] == str(repository)
    run_train(f"resume={run_dir}", draws=False)
    assert (run_dir / "summary.json").exists()
    assert not marker.exists()


def test_trust_is_true_or_nothing(changed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run, word in ((run_train, f"resume={changed}"), (run_evaluate, f"run={changed}")):
        with pytest.raises(SystemExit):
            run(word, "trust=yes")
        assert capsys.readouterr().err == "error: trust=yes: must be true.\n"


def test_a_process_trusts_the_config_that_its_parent_has_read(changed: Path, marker: Path) -> None:
    digest = signature.digest_of((changed / folders.CONFIG).read_text())
    assert str(changed) in sys.path
    assert folders.load_config(changed, OWN, digest)["callbacks.evil._target_"] == COMMAND
    assert str(changed) not in sys.path
    with open(changed / folders.CONFIG, "a") as file:
        file.write("more: 1\n")
    with pytest.raises(UserError, match="its config was not made here"):
        folders.load_config(changed, OWN, digest)


def test_trust_insists_and_says_so(changed: Path, marker: Path, caplog: Any) -> None:
    with contextlib.suppress(Exception, SystemExit):  # what the command returns is no callback
        run_evaluate(f"run={changed}", "split=train", "trust=true", draws=False)
    assert f"trust=true: runs whatever code {changed / folders.CONFIG} names" in caplog.text
    assert marker.exists()


def without_signature(run_dir: Path) -> Path:
    """Makes somebody else's run of this user's."""
    file = run_dir / folders.CONFIG
    file.write_text(file.read_text().rpartition("# signed")[0])
    return run_dir


LINKS = {
    "out of the folder": ("checkpoints/more", "../../profile", True),
    "instead of a file of the run's": ("train.log", "checkpoints/text", True),
    "to another checkpoint": ("checkpoints/copy.ckpt", "last.ckpt", False),
}


@pytest.mark.parametrize(("name", "to", "is_refused"), LINKS.values(), ids=LINKS)
@pytest.mark.parametrize("is_ours", [True, False])
def test_a_folder_with_a_link_out_of_it_is_refused(
    name: str, to: str, is_refused: bool, is_ours: bool, sound: Path, tmp_path: Path
) -> None:
    """What train.log leads to would get the run's texts: a file of the shell's would run them.

    Somebody may put links beside a config that this user has signed. The folders above a run may be
    links, as the user has made them.
    """
    shutil.copytree(sound, tmp_path / "run")
    (tmp_path / "logs").symlink_to(tmp_path)
    run_dir = tmp_path / "logs" / "run"
    if not is_ours:
        without_signature(run_dir)
    (run_dir / name).unlink(missing_ok=True)
    (run_dir / name).symlink_to(to)
    if is_refused:
        with pytest.raises(UserError, match=f"{name} is a link") as refused:
            folders.load_config(run_dir, "project")
        assert str(refused.value).endswith("add trust=true")
    assert folders.load_config(run_dir, "project", "true" if is_refused else "")["name"]


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_longer_run_of_a_received_one_lies_where_conf_says(
    is_ours: bool, sound: Path, tmp_path: Path
) -> None:
    run_dir = Path(shutil.copytree(sound, tmp_path / "run"))
    own = folders.load_config(run_dir if is_ours else without_signature(run_dir), "project")
    config = longer.config_of(run_dir, own, ["trainer.max_epochs=2"], CONF)
    log_dir = own["paths.log_dir"] if is_ours else str(ROOT / "logs")
    assert (config["paths.log_dir"], config.is_ours) == (log_dir, is_ours)


def test_a_report_reads_only(changed: Path, marker: Path, tmp_path: Path) -> None:
    """A payload is a value as any other; a bomb is named; no command has more than a name."""
    bomb = Path(shutil.copytree(changed, tmp_path / "bomb"))
    (bomb / folders.CONFIG).write_text(BOMBS["aliases"][0])
    runs = [collect.read(folder, folder.name) for folder in (changed, bomb)]
    assert isinstance(runs[0], collect.Run)
    assert runs[0].config["callbacks.evil._target_"] == COMMAND
    says = "has an alias, which no run writes"
    assert runs[1] == collect.Problem("bomb/.hydra/config.yaml", says)
    for door in (f"x; touch {marker}", f"$(touch {marker})", f"a.b\ntouch {marker}", ""):
        (changed / folders.DOOR).write_text(door)
        assert trained.of_run(runs[0], "mine.train").startswith("python -m mine.train experiment=")
    assert not marker.exists()


SWEEP = [*RUN, "seed=1,2", "accelerator=cpu"]


def test_a_sweep_runs_its_own_config_whatever_its_folders_have(
    tmp_path: Path, marker: Path
) -> None:
    """A process that joins a job trusts the config that it finds, so there is no other."""
    words = ["-m", *SWEEP, f"paths.log_dir={tmp_path / 'logs'}"]
    run_train(*words, draws=False)
    run_dir = min(path.parent for path in (tmp_path / "logs").rglob("summary.json"))
    (run_dir / "summary.json").unlink()
    text = (run_dir / folders.CONFIG).read_text()
    evil = plain_yaml.dump({"evil": touch(str(marker))}).replace("\n", "\n  ").rstrip(" ")
    received(run_dir, text.replace("callbacks:\n", f"callbacks:\n  {evil}"))
    run_train(*words, draws=False)
    assert (run_dir / "summary.json").exists()
    assert (run_dir / folders.CONFIG).read_text() == text
    assert not marker.exists()


def test_a_trial_has_the_parameters_that_are_searched_and_no_other(
    tmp_path: Path, marker: Path
) -> None:
    """A study in a received folder may have trials that wait for somebody to run them."""
    optuna = pytest.importorskip("optuna")
    from engine.search import study as studies

    words = ["-m", *RUN, "hydra/sweeper=optuna", "optimizer.lr=interval(0.001,0.01)"]
    words.append(f"paths.log_dir={tmp_path / 'logs'}")
    run_train(*words, "hydra.sweeper.n_trials=1", draws=False)
    (storage,) = (tmp_path / "logs").rglob("study.log")
    study = optuna.load_study(study_name=None, storage=studies.opened(str(storage)))
    trial = study.ask()
    for key, value in {"_target_": COMMAND, "command": f"touch {marker}"}.items():
        trial.suggest_categorical(f"+callbacks.evil.{key}", [value])
    run_train(*words, "hydra.sweeper.n_trials=2", draws=False)
    assert [one.state.name for one in study.get_trials()] == ["COMPLETE", "COMPLETE"]
    assert not marker.exists()


def test_a_process_in_the_folder_itself_imports_nothing_of_it(
    changed: Path, marker: Path, tmp_path: Path
) -> None:
    """`python -m` puts the working directory at the front of the import path."""
    file = changed / folders.CONFIG
    file.write_text(file.read_text().replace(COMMAND, "inside_of_tests.Thing"))
    ended = subprocess.run(
        [python(), "-m", "project.evaluate", f"run={changed}"],
        cwd=changed,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert not marker.exists()


def test_init_from_reads_weights_only(changed: Path, marker: Path, tmp_path: Path) -> None:
    words = [*RUN, f"init_from={changed}", f"paths.log_dir={tmp_path / 'logs'}"]
    run_train(*words, draws=False)
    assert only_run(tmp_path / "logs").exists()
    shutil.copy(tmp_path / "marker.pt", changed / folders.BEST)
    shutil.copy(tmp_path / "marker.pt", changed / folders.LAST)
    with pytest.raises(SystemExit):
        run_train(*words, draws=False)
    assert not marker.exists()


def test_a_run_that_was_copied_here_goes_on(sound: Path, tmp_path: Path) -> None:
    """The user's own run, on another machine: the key is another, and nothing has to be said."""
    run_dir = without_signature(Path(shutil.copytree(sound, tmp_path / "run")))
    run_evaluate(f"run={run_dir}", "split=train", draws=False)
    assert (run_dir / "evaluation/train.json").exists()
