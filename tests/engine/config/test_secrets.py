"""Secrets stay `${oc.env:NAME}`: no file, message, name or error of a run has their values."""

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from commands import composed, only_run, run_evaluate, run_report, run_train, train_in_process
from engine import messages
from engine.config import secrets
from engine.config.help import help_text
from engine.config.resolved import Config
from engine.errors import UserError, describe
from engine.run import folders

KEY, PASSWORD = "sk-3f9a'c1\"7", "p4ss/w0rd"  # with characters that texts quote
HIDDEN = [KEY, "sk-3f9a", PASSWORD, "p4ss", "w0rd"]
RUN = [
    "experiment=curve_fit",
    "callbacks=default",
    "trainer.max_steps=20",
    "trainer.log_every_n_steps=5",
    "accelerator=cpu",
    "module._target_=modules_of_tests.KnowsSecrets",
]
SECRETS = ["+module.api_key=${oc.env:A_KEY}", "+module.url='https://me:${oc.env:A_WORD}@host/x'"]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.setenv("A_WORD", PASSWORD)
    monkeypatch.setenv("A_NUMBER", "7")
    monkeypatch.setattr(messages, "_hidden", set())
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def without_pytests_handlers() -> None:
    """Lets a command send messages to the terminal: where there are handlers, it adds none."""
    logging.getLogger().handlers.clear()


def assert_clean(folder: Path, *texts: str) -> None:
    """Asserts that neither the content nor the name of a file has a part of a secret."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) >= 7
    for path in files:
        for secret in HIDDEN:
            assert secret.encode() not in path.read_bytes(), path
            assert secret not in str(path)
    for text in texts:
        for secret in HIDDEN:
            assert secret not in text


@pytest.mark.parametrize(
    ("key", "holds"),
    [
        ("key", True),
        ("logger.wandb.api_key", True),
        ("logger.wandb.apiKey", True),
        ("API-KEY", True),
        ("hf_token", True),
        ("secret", True),
        ("client_secret_2", True),
        ("db.password", True),
        ("max_tokens", False),
        ("tokens", False),
        ("keys", False),
        ("monkey", False),
        ("tokenizer", False),
        ("passwords", False),
        ("key.value", False),
        ("token.name", False),
    ],
)
def test_a_key_holds_a_secret_by_a_whole_word(key: str, holds: bool) -> None:
    assert secrets.is_secret(key) == holds


@pytest.mark.parametrize(
    ("word", "may"),
    [("https://host/a.tar.gz", False), ("https://me:pw@host", True), ("https://pw@host/a", True)],
)
def test_a_url_may_hold_a_secret_if_it_names_a_user(word: str, may: bool) -> None:
    """Each job of a sweep over CIFAR-10 was composed by Hydra, as its data have a URL."""
    assert secrets.may_hold({"a": {"url": word}, "b": [1]}) == may


TYPED = [
    "+logger.wandb.api_key=abc",
    "++module.token='a b'",
    'module.password="x"',
    "+module.secret=a,b",
    "+module.key=abc=def",  # which Hydra's parser would show
    "+module.key=(abc",
    "+logger.x={_target_: a.B, api_key: abc}",
    "+logger.x={_target_:a.B,api_key:abc}",
    "+module.token='${oc.env:NO,null}abc'",
    "+module.key=${oc.env:NO,abc}",
    "+logger.x={_target_:a.B,api_key:${oc.env:NO,null}abc}",
    "datamodule.url=https://me:abc@host/x",
    "+datamodule.url='ftp://me:abc@host'",
    "hydra.sweeper.storage=postgresql://me:abc@host/db",
]


@pytest.mark.parametrize("word", TYPED)
@pytest.mark.parametrize("run", [run_train, run_evaluate], ids=["train", "evaluate"])
def test_a_typed_secret_is_refused_and_not_shown(
    run: Any, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(f"paths.log_dir={tmp_path}", word)
    assert stop.value.code == 2
    says, how = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"error: [\w.]+: holds a secret, which the run would write into its files\.", says
    )
    assert re.fullmatch(
        r"Put it into an environment variable, and write [\w.]+='\$\{oc\.env:\w+\}'", how
    )
    assert "abc" not in says + how
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "word",
    [
        "+module.api_key=${oc.env:A_KEY}",
        '+module.api_key="${oc.env:A_KEY}"',
        "+module.key=${oc.env:A_KEY},${secrets.key}",
        "+logger.x={_target_: a.B, api_key: ${oc.env:A_KEY}}",
        "+module.key=null",
        "+module.key=''",
        "+module.key=3",
        "+module.token=1e-3",
        "+module.key=true",
        "+module.max_tokens=many",
        "+x={key: 3, b: 'c'}",
        "+module.url='https://me:${oc.env:A_WORD}@host/x'",
        "datamodule.url=https://host:8080/x@y",
        "resume=/runs/api_key=_oc.env_A_KEY_-01234567",
        "run=/runs/lr=0.1,token=abc-01234567",
        "~module.key",
        "--help",
    ],
)
def test_what_is_no_typed_secret_is_not_refused(word: str) -> None:
    secrets.check_words([word])


def test_a_secret_that_is_written_as_an_option_is_not_shown() -> None:
    with pytest.raises(UserError, match=r"^logger\.wandb\.api_key: holds a secret") as refused:
        secrets.check_words(["seed=1", "--logger.wandb.api_key", "abc123"])
    assert "abc123" not in str(refused.value)


@pytest.mark.parametrize(
    ("written", "value", "kept"),
    [
        ("${oc.env:A_URL}", "postgresql://me:abc@host/db", "${oc.env:A_URL}"),
        ("${oc.env:A_URL}", "/runs/study.log", "/runs/study.log"),
        ("study.log", "/runs/study.log", "/runs/study.log"),
    ],
)
def test_a_url_stays_as_typed_if_its_password_comes_from_the_environment(
    written: str, value: str, kept: str
) -> None:
    assert secrets.kept(written, value) == kept


def resolved(values: dict[str, Any]) -> Config:
    return Config.resolve(OmegaConf.create(values))


def test_secrets_stay_wherever_references_take_them_and_others_are_resolved() -> None:
    config = resolved(
        {
            "secrets": {"key": "${oc.env:A_KEY}", "name": "x"},
            "seed": "${oc.decode:${oc.env:A_NUMBER}}",
            "word": "${oc.env:A_NUMBER}",
            "url": "https://me:${oc.env:A_WORD}@${secrets.name}",
            "header": "Bearer ${secrets.key}",
            "node": {"_target_": "a.B", "auth": {"token": "${secrets.key}"}, "n": 1},
            "again": {"list": [1, "${node.auth}", {"password": "${oc.env:A_WORD,null}"}]},
            "number_key": 3,
            "no_key": None,
            "an_empty_key": "",
        }
    )
    assert {**config} == {
        "secrets": {"key": "${oc.env:A_KEY}", "name": "x"},
        "seed": 7,
        "word": "7",
        "url": "https://me:${oc.env:A_WORD}@x",
        "header": "Bearer ${oc.env:A_KEY}",
        "node": {"_target_": "a.B", "auth": {"token": "${oc.env:A_KEY}"}, "n": 1},
        "again": {"list": [1, {"token": "${oc.env:A_KEY}"}, {"password": "${oc.env:A_WORD,null}"}]},
        "number_key": 3,
        "no_key": None,
        "an_empty_key": "",
    }


def test_a_value_that_only_has_the_letters_of_a_secret_is_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it happened: two jobs with other values of such a variable had one hash."""
    monkeypatch.setenv("A_KEY", "7")
    monkeypatch.setenv("A_PLACE", "/data/17")
    written = {
        "api_key": "${oc.env:A_KEY}",
        "number": "${oc.env:A_NUMBER}",
        "data": "${oc.env:A_PLACE}/x",
        "url": "https://me:${oc.env:A_WORD}@${oc.env:A_NUMBER}",
        "word": "of ${oc.env:A_WORD}",
        "again": "${oc.env:A_KEY,x}",
    }
    config = resolved(written)
    assert {**config} == {**written, "number": "7", "data": "/data/17/x"}
    monkeypatch.setenv("A_PLACE", "/data/71")
    assert resolved(written).hash != config.hash


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"a": {"api_key": KEY}}, "a.api_key"),
        ({"a": {"api_key": "${b}"}, "b": KEY}, "a.api_key"),
        ({"a": [{"token": "x"}]}, "a.0.token"),
        ({"a": {"key": ["x", "y"]}}, "a.key.0"),
        ({"url": f"https://me:{KEY[:5]}@host"}, "url"),
        ({"url": "https://${oc.env:A_NUMBER}:abc@host"}, "url"),
        ({"key": "${oc.env:NOT_SET,abc}"}, "key"),
        ({"key": "${oc.env:NOT_SET,null}abc"}, "key"),
        ({"key": "${oc.decode:${oc.env:A_WORD}}"}, "key"),
    ],
    ids=str,
)
def test_a_secret_in_a_file_is_refused_by_its_key(values: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError) as refused:
        resolved(values)
    assert str(refused.value).startswith(f"{key}: holds a secret, which the run would write")
    assert KEY not in str(refused.value)


def test_a_reference_with_a_secret_beside_it_is_not_written() -> None:
    secrets.check_written({"token": "${oc.env:NO,null}", "key": "${token}"})
    with pytest.raises(UserError, match=r"^token: holds a secret"):
        secrets.check_written({"token": "${oc.env:NO,null}abc"})


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_KEY")
    with pytest.raises(Exception, match="Environment variable 'A_KEY' not found"):
        resolved({"key": "${oc.env:A_KEY}"})


def test_the_value_of_a_secret_does_not_change_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["experiment=curve_fit", "+module.api_key=${oc.env:A_KEY}"]
    hashes = {composed(words).hash}
    monkeypatch.setenv("A_KEY", "another")
    hashes.add(composed(words).hash)
    assert len(hashes) == 1
    hashes.add(composed([words[0], "+module.api_key=${oc.env:A_WORD}"]).hash)
    hashes.add(composed([words[0]]).hash)
    hashes.add(composed([words[0], "seed='${oc.decode:${oc.env:A_NUMBER}}'"]).hash)
    assert len(hashes) == 4


def test_a_secret_in_a_url_s_query_and_a_user_with_a_dollar_stay_as_typed() -> None:
    written = {
        "token": "${oc.env:A_KEY}",
        "url": "https://me:${oc.env:A_WORD}@host/?t=${oc.env:A_KEY}",
        "database": "postgres://us$er:${oc.env:A_WORD}@host",
        "user": "https://${oc.env:A_KEY}:${oc.env:A_WORD}@host",
    }
    assert {**resolved(written)} == written


def test_a_variable_beside_the_password_of_a_url_is_no_secret_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it happened: folders were named by a variable, not its value, if a URL has it, too."""
    url = "https://USER:${oc.env:A_WORD}@host/${oc.env:A_PLACE}"
    values = {
        "logger": {"url": url.replace("USER", "${oc.env:A_PLACE}")},
        "datamodule": {"url": url.replace("USER", "me"), "dir": "/scratch/${oc.env:A_PLACE}"},
    }
    hashes = set()
    for place in ("one", "two"):
        monkeypatch.setenv("A_PLACE", place)
        config = resolved(values)
        assert config["logger.url"] == values["logger"]["url"]
        assert config["datamodule.url"] == values["datamodule"]["url"]
        assert config["datamodule.dir"] == f"/scratch/{place}"
        hashes.add(config.hash)
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://me:${oc.env:A_WORD}@host/v1/train.csv",) * 2,
        ([{"token": "${oc.env:A_KEY}", "table": "v1"}],) * 2,
        ([1, {"token": "${oc.env:A_KEY}"}], [2, {"token": "${oc.env:A_KEY}"}]),
    ],
)
def test_what_stands_beside_a_secret_changes_the_hash(one: Any, other: Any) -> None:
    """As it happened: a job with other data was given the results of the first."""
    other = json.loads(json.dumps(other).replace("v1", "v2"))
    made, otherwise = (resolved({"datamodule": {"data": own}}) for own in (one, other))
    assert made.hash != otherwise.hash
    for secret in HIDDEN:
        assert secret not in made.relevant


def test_a_run_leaves_its_secrets_nowhere_and_resumes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_pytests_handlers()
    log_dir = tmp_path / "logs"
    words = [*SECRETS, "seed='${oc.decode:${oc.env:A_NUMBER}}'"]
    run_train(*RUN, *words, f"paths.log_dir={log_dir}", draws=False)
    run_dir = only_run(log_dir)
    config = folders.load_config(run_dir)
    assert config["seed"] == 7
    assert config["module.api_key"] == "${oc.env:A_KEY}"
    shown = "in on_train_start, api_key is '${oc.env:A_KEY}', url is https://…@host/x"
    assert shown in (run_dir / "train.log").read_text()
    saved = torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)["hyper_parameters"]
    assert saved == {"api_key": "${oc.env:A_KEY}", "url": "https://…@host/x"}
    (run_dir / "summary.json").unlink()
    monkeypatch.setenv("A_KEY", "sk-3f9a, and new")
    run_train(f"resume={run_dir}", draws=False)
    run_evaluate(f"run={run_dir}", "split=train", draws=False)
    run_report(str(log_dir))
    printed = capsys.readouterr()
    assert_clean(tmp_path, printed.out, printed.err)
    assert shown in printed.out
    monkeypatch.delenv("A_KEY")
    (run_dir / "summary.json").unlink()
    with pytest.raises(SystemExit) as stop:
        run_train(f"resume={run_dir}")
    assert stop.value.code == 2
    assert "${oc.env:A_KEY}: there is no such environment variable; " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fails", "code"), [("__init__", 2), ("on_train_start", 2), ("on_train_end", 1)]
)
def test_an_error_that_tells_the_secrets_is_shown_without_them(
    fails: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without_pytests_handlers()
    words = [*RUN, *SECRETS, f"+module.fails={fails}", f"paths.log_dir={tmp_path}"]
    with pytest.raises(SystemExit) as stop:
        run_train(*words, draws=False)
    assert stop.value.code == code
    printed = capsys.readouterr()
    said = printed.err
    for summary in tmp_path.rglob("summary.json"):
        said = json.loads(summary.read_text())["error"]
    assert "api_key is " in said
    for secret in HIDDEN:
        assert secret not in printed.out + printed.err
    if code == 1:
        assert "Traceback" in next(tmp_path.rglob("train.log")).read_text()
        assert_clean(tmp_path)


def test_an_unforeseen_error_of_a_process_is_shown_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    words = [*RUN, *SECRETS, "+module.fails=__init__", f"paths.log_dir={tmp_path}"]
    assert train_in_process(words) == 2
    said = capfd.readouterr().err
    assert "Traceback" in said
    assert "RuntimeError" in said
    for secret in HIDDEN:
        assert secret not in said


@pytest.mark.parametrize("launcher", ["basic", "vectorized"])
def test_a_sweep_leaves_its_secrets_nowhere(
    launcher: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without_pytests_handlers()
    words = [*RUN, *SECRETS, "seed=1,2", f"hydra/launcher={launcher}", f"paths.log_dir={tmp_path}"]
    run_train("-m", *words, draws=False)
    printed = capsys.readouterr()
    assert "2 finished" in printed.out
    if launcher == "basic":
        (sweep,) = tmp_path.rglob("multirun.yaml")
        run_report(str(sweep.parent))
        report = (sweep.parent / "report.md").read_text()
        assert "module.api_key=${oc.env:A_KEY}" in report  # in the sweep's command
    assert_clean(tmp_path, printed.out, printed.err)


def test_a_search_leaves_its_secrets_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither those of its jobs nor the password of its storage, which each job opens."""
    pytest.importorskip("optuna")
    from engine.search import study

    opened = study.opened
    asked = []

    def instead_of_a_server(storage: str) -> Any:
        asked.append(storage)
        return opened(str(tmp_path / "study.log"))

    monkeypatch.setattr(study, "opened", instead_of_a_server)
    without_pytests_handlers()
    words = [*RUN, *SECRETS, "optimizer.lr=interval(0.001,0.01)", "hydra/sweeper=optuna"]
    words.append("hydra.sweeper.storage='postgresql://me:${oc.env:A_WORD}@host/db'")
    run_train("-m", *words, "hydra.sweeper.n_trials=2", f"paths.log_dir={tmp_path}", draws=False)
    printed = capsys.readouterr()
    assert set(asked) == {f"postgresql://me:{PASSWORD}@host/db"}
    assert len(asked) >= 4  # the search's own, and one for each trial
    assert "optuna-dashboard" in printed.out
    assert_clean(tmp_path, printed.out, printed.err)


def test_an_error_of_a_trial_without_a_folder_is_told_the_study_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    without_pytests_handlers()

    def fails(*_: object) -> None:
        raise RuntimeError(f"no such key: {KEY}")

    monkeypatch.setattr("engine.run.build.datamodule", fails)
    words = [*RUN, *SECRETS, "optimizer.lr=interval(0.001,0.01)", "hydra/sweeper=optuna"]
    with pytest.raises(SystemExit):
        run_train("-m", *words, "hydra.sweeper.n_trials=1", f"paths.log_dir={tmp_path}")
    (study,) = tmp_path.rglob("study.log")
    assert "no such key: ${oc.env:A_KEY}" in study.read_text()
    printed = capsys.readouterr()
    assert "no such key: ${oc.env:A_KEY}" in printed.out
    for secret in HIDDEN:
        assert secret not in study.read_text() + printed.out + printed.err


def test_the_help_shows_no_secret_of_conf(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("logger:\n  api_key: abc\n")
    with pytest.raises(UserError, match=r"logger\.api_key: holds a secret"):
        help_text(["--help"], tmp_path, "mine.train")


@pytest.mark.parametrize("text", ["{}", "{!r}", "[{!r}]"])
def test_a_secret_of_several_lines_is_left_out_whole(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a private key has; a message shows the first two lines only."""
    monkeypatch.setenv("A_KEY", "-----BEGIN\nMIIE\t'v\"\nQIBA\n")
    messages.hide(["A_KEY"])
    value = os.environ["A_KEY"]
    for said in (text.format(value), json.dumps(text.format(value))):
        assert "BEGIN" not in messages.redacted(said)
        assert "${oc.env:A_KEY}" in describe(UserError(said))


def test_short_values_are_not_looked_for_in_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "abc")
    messages.hide(["A_KEY", "A_WORD"])
    assert messages.redacted(f"abc {PASSWORD} p4ss%2Fw0rd") == (
        "abc ${oc.env:A_WORD} ${oc.env:A_WORD}"
    )
