"""How a command ends: the exit code and what it prints."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from hydra.errors import HydraException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch.utils.data import DataLoader, Dataset

from engine import errors, messages, seeds
from engine.errors import (
    RunFailed,
    UserError,
    blamed_on,
    describe,
    exit_codes,
    named,
    nearest,
    wants_traceback,
    words_about,
)

KEYS = ["optimizer", "optimizer.lr", "optimizer.momentum", "trainer.max_epochs", "seed"]
KEYS += ["train/loss", "val/loss/dataloader_idx_0", "val/loss/dataloader_idx_1"]


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        pytest.param("lr", " Did you mean optimizer.lr?", id="last part"),
        pytest.param("optimiser", " Did you mean optimizer?", id="spelling"),
        pytest.param("optimizer.lrr", " Did you mean optimizer.lr?", id="one letter more"),
        pytest.param(
            "trainer.max_epoch", " Did you mean trainer.max_epochs?", id="one letter less"
        ),
        pytest.param("optimizer.mom", " Did you mean optimizer.momentum?", id="shorter"),
        pytest.param("banana", "", id="nothing like it"),
        pytest.param("val/loss", " Did you mean val/loss/dataloader_idx_0?", id="begins alike"),
        pytest.param("trainer.enable_progress_bar", "", id="nothing but the beginning like it"),
    ],
)
def test_nearest(word: str, hint: str) -> None:
    assert nearest(word, iter(KEYS)) == hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("optimizer: Invalid value: -1", ["optimizer.lr=-1", "+optimizer.a.b=x y"]),
        ("optimizer.params: missing", ["optimizer.lr=-1", "+optimizer.a.b=x y"]),
        ("optimizer: lr must be positive", []),
        ("optimizer: takes no b", []),
        ("trainer: no", []),
        ("'x': no", []),
        ("optimizer.c=2: no", []),
    ],
)
def test_words_about_what_a_message_names(text: str, said: list[str]) -> None:
    words = ["-m", "optimizer=sgd", "optimizer.lr=-1", "+optimizer.a.b=x\ny", "seed=1", ".x=1"]
    assert words_about(text, words) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Interpolation key 'x' not found\nfull_key: trainer.compiled", ["compile=${x}"]),
        ("TypeError raised while resolving interpolation: no\nfull_key: b", ["compile=${x}"]),
        ("optimizer: Interpolation key 'x' not found", ["compile=${x}"]),
        ("Interpolation key 'x' not found\nfull_key: compile", []),
        ("optimizer: interpolation must be 'bilinear'", ["optimizer.lr=1"]),
        ("trainer: interpolation must be 'bilinear'", []),
    ],
)
def test_words_about_an_interpolation(text: str, said: list[str]) -> None:
    assert words_about(text, ["compile=${x}", "optimizer.lr=1", "+a=x$"]) == said


@pytest.mark.parametrize("begins", ["Lightning: ", "trainer: Lightning: "])
def test_of_lightning_s_messages_the_words_of_all_that_a_trainer_is_made_of(begins: str) -> None:
    own = ["callbacks.divergence._target_=engine.StepProgressBar", "+trainer.barebones=true"]
    words = ["seed=1", "module.width=2", *own]
    assert words_about(f"{begins}You added multiple progress bars", words) == own


def test_where_no_word_has_an_interpolation_the_words_about_its_node_follow() -> None:
    text = "optimizer: Interpolation key 'x' not found"
    assert words_about(text, ["optimizer.lr=1"]) == ["optimizer.lr=1"]


def test_a_message_that_names_a_node_is_followed_by_the_words_about_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "module.a=1", "module.b=2", "seed=1"])
    with pytest.raises(SystemExit), exit_codes():
        raise UserError("module: wrong")
    says = "error: module: wrong\nThe command says: module.a=1 module.b=2\n"
    assert capsys.readouterr().err == says


@pytest.mark.parametrize(
    ("error", "code", "printed"),
    [
        pytest.param(
            UserError("lr=3: must be less."), 2, "error: lr=3: must be less.\n", id="user error"
        ),
        pytest.param(HydraException("a\n\n b\nc"), 2, "error: a\nb\n", id="hydra"),
        pytest.param(RunFailed("it has said how"), 1, "", id="run failed"),
        pytest.param(KeyboardInterrupt(), 130, "", id="ctrl-c"),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    printed: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as stop, exit_codes():
        raise error
    assert stop.value.code == code
    assert capsys.readouterr() == ("", printed)


@pytest.mark.parametrize("asked", [None, "0", "1"])
def test_hydras_switch_is_as_it_was_afterwards(
    asked: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydra's switch is set inside; the user's own choice stays known, in nested commands, too."""
    if asked is None:
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    else:
        monkeypatch.setenv("HYDRA_FULL_ERROR", asked)
    with exit_codes(), exit_codes():
        assert os.environ["HYDRA_FULL_ERROR"] == "1"
        assert wants_traceback() == (asked == "1")
    assert os.environ.get("HYDRA_FULL_ERROR") == asked


def test_the_code_of_an_inner_command_stands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop, exit_codes(), exit_codes():
        raise UserError("once")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: once\n"


def test_sigterm_ends_with_143_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as stop, exit_codes():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stop.value.code == 143


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), exit_codes():
        _ = 1 // 0


@pytest.mark.parametrize("error", [UserError("shown"), HydraException("shown")])
def test_hydra_full_error_shows_the_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: the exit code was 1, which is for runs that fail."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(SystemExit) as stop, exit_codes():
        raise error
    assert stop.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "Traceback (most recent call last):"
    assert said[-1] == f"{type(error).__module__}.{type(error).__name__}: shown"


@pytest.mark.parametrize(
    ("full_error", "lines"),
    [
        pytest.param(
            "0", ["error: seed=-1: must be a whole number from 0 to 4294967295."], id="short"
        ),
        pytest.param(
            "1",
            [
                "Traceback (most recent call last):",
                "engine.errors.UserError: seed=-1: must be a whole number from 0 to 4294967295.",
            ],
            id="HYDRA_FULL_ERROR=1",
        ),
    ],
)
def test_what_a_shell_sees(full_error: str, lines: list[str]) -> None:
    command = [sys.executable, "-m", "project.train", "seed=-1"]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "HYDRA_FULL_ERROR": full_error},
        timeout=60,
    )
    printed = ended.stderr.splitlines()
    assert [printed[0], printed[-1]] == [lines[0], lines[-1]]
    assert len(printed) == 1 or full_error == "1"
    assert ended.returncode == 2
    assert ended.stdout == ""


UNREAD = """
import logging
from engine import messages
from engine.errors import UserError, exit_codes
with exit_codes():
    messages.to_terminal()
    logging.warning("two of them")
    logging.warning("once more")
    print("as Hydra does " * 10_000)
    raise UserError("seed=-1: the end")
"""


@pytest.mark.parametrize(
    ("stream", "seen"), [("stdout", b"error: seed=-1: the end\n"), ("both", b"")]
)
def test_a_reader_that_has_gone_changes_nothing(stream: str, seen: bytes) -> None:
    """Python itself would say that it cannot flush, and end with 120 or 1."""
    unread, pipe = os.pipe()
    os.close(unread)
    stderr = subprocess.PIPE if stream == "stdout" else pipe
    ended = subprocess.run([sys.executable, "-c", UNREAD], stdout=pipe, stderr=stderr, timeout=60)
    os.close(pipe)
    assert (ended.returncode, ended.stderr or b"") == (2, seen)


def test_describe_gives_the_cause_and_its_key() -> None:
    config = OmegaConf.create({"a": {"b": 1}})
    assert isinstance(config, DictConfig)
    OmegaConf.set_struct(config, True)
    with pytest.raises(OmegaConfBaseException) as refused:
        _ = config.a.c
    assert describe(refused.value) == "Key 'c' is not in struct\nfull_key: a.c"

    wrapped = HydraException(
        "Error in call to target 'torch.optim.SGD':\nTypeError('no')\nfull_key: optimizer"
    )
    wrapped.__cause__ = TypeError("unexpected keyword 'lrr'")
    assert describe(wrapped) == "optimizer: unexpected keyword 'lrr'"

    text = "Odd. It should be one of:\n * `Optimizer`\n * [`Optimizer`]\n * (`a`, `b`)\nfound\nmore"
    said = "Odd. It should be one of: `Optimizer`, [`Optimizer`], (`a`, `b`)\nfound"
    assert describe(MisconfigurationException(text)) == describe(UserError(text)) == said

    wrapped = HydraException("something else")
    wrapped.__cause__ = UserError("first\nsecond\nthird")
    assert describe(wrapped) == "first\nsecond"


def raised_here(error: BaseException) -> None:
    raise error


PLACE = "\nRaised in tests/engine/test_errors.py, line {}; HYDRA_FULL_ERROR=1 shows the traceback."


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("too large\nby far"), "module: too large"),
        (KeyError("x"), "module: KeyError: 'x'"),
        (MisconfigurationException("It has to be 1."), "module: Lightning: It has to be 1."),
        (MemoryError(), "module: MemoryError"),
        (RuntimeError("module.optimizer: no"), "module.optimizer: no"),
        (RuntimeError("in loading:\n\tMissing: a\n\tmore"), "module: in loading: Missing: a"),
        (SystemExit(3), "module: the code would end the process: SystemExit: 3"),
    ],
    ids=[
        "first line",
        "the kind of error",
        "of Lightning",
        "no text",
        "has the key",
        "goes on below",
        "an exit",
    ],
)
def test_blamed_on_names_the_key_and_the_place(error: BaseException, says: str) -> None:
    with pytest.raises(UserError) as refused, blamed_on("module"):
        raised_here(error)
    line = raised_here.__code__.co_firstlineno + 1
    assert str(refused.value) == says + PLACE.format(line)
    assert refused.value.__cause__ is error or isinstance(error, SystemExit)


def test_code_that_is_in_no_file_and_a_call_of_the_run_are_no_places() -> None:
    """As it happened: "Raised in '<string>', line 3", and the shipped `run.fit(…)` for a config."""
    called = SimpleNamespace(filename=f"{Path(errors.__file__).parent}/run/run.py", lineno=1)
    shipped = SimpleNamespace(filename="/home/me/train.py", lineno=29)
    with mock.patch("traceback.extract_tb", return_value=[shipped, called]):
        assert errors.said(KeyError("x")) == "KeyError: 'x'"
    with pytest.raises(UserError) as refused, blamed_on("module"):
        exec("raise ValueError('no')")
    line = sys._getframe().f_lineno - 1
    assert str(refused.value) == "module: no" + PLACE.format(line)


def test_the_place_of_what_the_engine_raises_is_where_the_user_s_code_called_it() -> None:
    """As it happened: `generator("seed", 3)` in a model's `__init__` had no place at all."""
    with pytest.raises(UserError) as refused, blamed_on("module"):
        wrong_seed()
    line = wrong_seed.__code__.co_firstlineno + 1
    text = "module: unsupported operand type(s) for &: 'str' and 'int'"
    assert str(refused.value) == text + PLACE.format(line)


def wrong_seed() -> None:
    seeds.generator("seed", 3)  # type: ignore[arg-type]


class Odd(Exception):
    """Is made of two arguments, so torch cannot make it of a text."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one, two)


RAISED = {
    "OSError: picture 60 is broken": OSError("picture 60 is broken"),
    "KeyError: 'x'": KeyError("x"),
    "ValueError: bad\nValueError: it says": ValueError("bad\nValueError: it says"),
    "ValueError: too large\nby far": ValueError("too large\nby far"),
    "AssertionError": AssertionError(),
    f"{__name__}.Odd: ('a', 'b')": Odd("a", "b"),
}


class Raises(Dataset[int]):
    """Has no sample."""

    def __len__(self) -> int:
        return len(RAISED)

    def __getitem__(self, index: int) -> int:
        raise list(RAISED.values())[index] from LookupError("OSError: of before")


@pytest.fixture(scope="module")
def by_worker() -> dict[str, Exception]:
    """What a worker has raised, by what is to be said. PyTorch waits 5 s for it once it has."""
    batches = iter(DataLoader(Raises(), batch_size=None, num_workers=1))
    raised = {}
    for says, error in RAISED.items():
        with pytest.raises((type(error), RuntimeError)) as caught:
            next(batches)
        raised[says] = caught.value
    return raised


@pytest.mark.parametrize("says", RAISED)
def test_what_a_worker_has_raised_is_said_first(says: str, by_worker: dict[str, Exception]) -> None:
    """As it happened: tables had "OSError: Caught OSError in DataLoader worker process 1."."""
    assert named(by_worker[says]) == says
    with pytest.raises(UserError) as refused, blamed_on("before the first step", is_node=False):
        raise by_worker[says]
    assert str(refused.value).startswith(f"before the first step: {says.partition(chr(10))[0]}\n")


def test_an_exception_is_named_by_its_type_and_text() -> None:
    assert named(OSError("no")) == "OSError: no"
    assert named(MemoryError()) == "MemoryError"


def test_blamed_on_names_no_place_in_a_library_and_leaves_other_endings_alone() -> None:
    derive, short = blamed_on("seed")(seeds.derive), blamed_on("seed")(messages.short)
    with pytest.raises(UserError) as refused:
        derive(object(), "x")  # type: ignore[arg-type]
    assert re.fullmatch("seed: [^\n]+", str(refused.value))
    with pytest.raises(UserError) as refused:
        short("no path")  # type: ignore[arg-type]
    assert str(refused.value).endswith("relative_to'\nHYDRA_FULL_ERROR=1 shows the traceback.")
    with pytest.raises(UserError) as refused:
        blamed_on("before the first step", is_node=False)(seeds.derive)(object(), "x")  # type: ignore[arg-type]
    assert str(refused.value).endswith("'int'\nHYDRA_FULL_ERROR=1 shows the traceback.")
    for error in (UserError("as it is"), RunFailed("it has said how")):
        with pytest.raises(type(error), match=str(error)), blamed_on("module"):
            raise error
    with pytest.raises(KeyboardInterrupt), blamed_on("module"):
        raise KeyboardInterrupt
