"""The config of a received folder runs no code: each payload would leave a marker, and does not."""

import contextlib
import functools
import os
import pickle
import pydoc
import re
import shlex
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from commands import CONF, ROOT, composed, environment, only_run, run_evaluate, run_train
from engine import longer
from engine.config import admission, objects, plain_yaml, signature
from engine.errors import UserError
from engine.report.read import collect, commands
from engine.run import folders, versions
from engine.run.checkpoint import file as checkpoint_file
from warm import python

OWN = "mine_of_tests"  # the user's package
COMMAND = "torch.utils.collect_env.run"  # Hydra's own list of dangerous functions lacks it


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.marker,)


def call(path: str, *args: Any, **more: Any) -> dict[str, Any]:
    """Returns a node that calls something."""
    return {"_target_": path, **({"_args_": list(args)} if args else {}), **more}


def touch(marker: str) -> dict[str, Any]:
    """Returns a node that runs a command, which leaves the marker."""
    return call(COMMAND, command=f"touch {marker}")


def path(marker: str) -> dict[str, Any]:
    return call("pathlib.Path", marker)


PAYLOADS: dict[str, Callable[[str], Any]] = {
    # Commands
    "a command": touch,
    "a command and its answer": lambda m: call(
        "torch.utils.collect_env.run_and_read_all",
        run_lambda=call(COMMAND, _partial_=True),
        command=f"touch {m}",
    ),
    "os.system": lambda m: call("os.system", f"touch {m}"),
    "subprocess.run": lambda m: call("subprocess.run", ["touch", m]),
    "subprocess.check_output": lambda m: call("subprocess.check_output", ["touch", m]),
    "subprocess.getoutput": lambda m: call("subprocess.getoutput", f"touch {m}"),
    "os.spawnlp": lambda m: call("os.spawnlp", 0, "touch", "touch", m),
    # Python's code
    "eval": lambda m: call("builtins.eval", f"__import__('os').mkdir({m!r})"),
    "exec": lambda m: call("builtins.exec", f"import os; os.mkdir({m!r})"),
    "timeit": lambda m: call("timeit.timeit", f"os.mkdir({m!r})", "import os", number=1),
    "cProfile": lambda m: call("cProfile.run", f"__import__('os').mkdir({m!r})", f"{m}.stats"),
    "runpy": lambda m: call("runpy.run_path", f"{m}.py"),
    "an import": lambda m: call("importlib.import_module", "evil_of_tests"),
    # Files
    "Path.touch": lambda m: call("pathlib.Path.touch", path(m)),
    "Path.write_text": lambda m: call("pathlib.Path.write_text", path(m), "x"),
    "open": lambda m: call("builtins.open", m, "w"),
    "FileIO": lambda m: call("io.FileIO", m, "w"),
    "gzip": lambda m: call("gzip.open", m, "w"),
    "os.mkdir": lambda m: call("os.mkdir", m),
    "os.makedirs": lambda m: call("os.makedirs", m),
    "os.symlink": lambda m: call("os.symlink", "/", m),
    "shutil.copy": lambda m: call("shutil.copy", f"{m}.py", m),
    "shutil.copytree": lambda m: call("shutil.copytree", f"{m}.folder", m),
    "shutil.move": lambda m: call("shutil.move", f"{m}.folder", m),
    "a log file": lambda m: call("logging.FileHandler", m),
    "an archive": lambda m: call("zipfile.ZipFile", m, "w"),
    "a database": lambda m: call("sqlite3.connect", m),
    "numpy.save": lambda m: call("numpy.savetxt", m, [1]),
    "torch.save": lambda m: call("torch.save", [1], m),
    "OmegaConf.save": lambda m: call("omegaconf.OmegaConf.save", {}, m),
    "an image": lambda m: call(
        "torchvision.utils.save_image", call("torch.zeros", 3, 2, 2), m, "png"
    ),
    "a download": lambda m: call("torch.hub.download_url_to_file", f"file://{m}.py", m),
    # The engine's own weapons, and those of the user's modules
    "engine.write_whole": lambda m: call("engine.write_whole", path(m), "x"),
    "engine.files": lambda m: call("engine.files.write_whole", path(m), "x"),
    "the engine's fence": lambda m: call("engine.fence.hydra.locate", f"{OWN}.leaves_a_marker"),
    "what a module of the user's has imported": lambda m: call(f"{OWN}.os.mkdir", m),
    "a module of the user's that runs": lambda m: call(f"{OWN}.__main__.anything"),
    "a method of the user's class": lambda m: call(f"{OWN}.Net.save", m),
    # Pickles
    "pickle": lambda m: call("pickle.loads", call("pathlib.Path.read_bytes", path(f"{m}.pickle"))),
    "torch.load": lambda m: call("torch.load", f"{m}.pt", weights_only=False),
    "joblib.load": lambda m: call("joblib.load", f"{m}.joblib"),
    "numpy.load": lambda m: call("numpy.load", f"{m}.npy", allow_pickle=True),
    "pandas.read_pickle": lambda m: call("pandas.read_pickle", f"{m}.pickle"),
    "classes of the right kinds that unpickle": lambda m: call(
        "torch.nn.ModuleList",
        call(
            "torch.utils.data.datapipes.iter.RoutedDecoder",
            call("torch.utils.data.datapipes.iter.FileOpener", [f"{m}.pickle"], "rb"),
        ),
    ),
    # Packages that nobody has asked for
    "an undeclared package": lambda m: call("evil_of_tests.Thing"),
    "a module of the run's folder": lambda m: call("inside_of_tests.Thing"),
    "a package without a file": lambda m: call("spaces_of_tests.evil.Thing"),
    # Partials
    "functools.partial": lambda m: call("functools.partial", call("os.mkdir", m)),
    "functools.reduce": lambda m: call(
        "functools.reduce", call("os.makedirs", _partial_=True), [0o755], m
    ),
    # Depths
    "in a list": lambda m: call("builtins.dict", x=[[1, [touch(m)]]]),
    "in a mapping": lambda m: {"a": {"b": {"c": [touch(m)]}}},
    "an argument of a class that is allowed": lambda m: call(
        "torch.nn.Sequential", touch(m), _convert_="all"
    ),
    "two levels down": lambda m: call(
        "torch.nn.Sequential", call("torch.nn.Linear", in_features=touch(m), out_features=1)
    ),
}


def built(node: Any) -> Any:
    """Builds a node as Hydra would, without any of its checks."""
    if isinstance(node, list):
        return [built(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    values = {name: built(value) for name, value in node.items() if name != "_convert_"}
    target, partial = values.pop("_target_", None), values.pop("_partial_", False)
    if target is None:
        return values
    called: Any = pydoc.locate(target)
    if called is None:
        __import__(target.rpartition(".")[0])  # an import that does its work may fail afterwards
    made = functools.partial(called, *values.pop("_args_", ()), **values)
    return made if partial else made()


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A path beside which there is all that a payload needs."""
    marker = tmp_path / "marker"
    leaves = f"import os\nos.path.exists({str(marker)!r}) or os.mkdir({str(marker)!r})\n"
    for name in ("marker.py", "libraries/evil_of_tests.py", "run/inside_of_tests.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(leaves)
    own = "import os\nclass Net:\n    save = os.mkdir\n"
    for name, text in {
        f"libraries/{OWN}/__init__.py": own,
        f"libraries/{OWN}/__main__.py": leaves,
        f"libraries/{OWN}/leaves_a_marker.py": leaves,
        "run/spaces_of_tests/evil.py": leaves,
        "marker.folder/x": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    evil = Evil(marker)
    (tmp_path / "marker.pickle").write_bytes(pickle.dumps(evil))
    torch.save(evil, tmp_path / "marker.pt")
    joblib.dump(evil, tmp_path / "marker.joblib")
    np.save(tmp_path / "marker.npy", np.array([evil], dtype=object), allow_pickle=True)
    monkeypatch.setattr(
        sys, "path", [*sys.path, str(tmp_path / "libraries"), str(tmp_path / "run")]
    )
    yield marker
    for name in {"evil_of_tests", "inside_of_tests", "spaces_of_tests", OWN} & set(sys.modules):
        del sys.modules[name]
    objects.located.cache_clear()


# Without these keys at its end, a config is taken for one that was cut.
END = "seed: 0\npaths:\n  log_dir: logs\n"


def received(run_dir: Path, text: str) -> Path:
    """Makes a run's folder, as somebody else would."""
    (run_dir / folders.CONFIG).parent.mkdir(parents=True, exist_ok=True)
    (run_dir / folders.CONFIG).write_text(text if "log_dir:" in text else text + END)
    return run_dir


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_a_payload_is_refused(payload: Callable[[str], Any], marker: Path, tmp_path: Path) -> None:
    node = payload(str(marker))
    run_dir = received(tmp_path / "run", folders.as_yaml({"callbacks": {"evil": node}}))
    with pytest.raises(UserError) as refused:
        objects.build(folders.load_config(run_dir, OWN)["callbacks.evil"], "evil")
    says, how = str(refused.value).splitlines()
    assert says.startswith(
        f"{run_dir}: its config was not made here, or was edited, and callbacks.evil"
    )
    assert how == "If you trust whoever did so, add trust=true: it may then run any code."
    assert not marker.exists()


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_the_same_payload_does_its_work_where_nobody_refuses_it(
    payload: Callable[[str], Any], marker: Path
) -> None:
    kept = None
    with warnings.catch_warnings(), contextlib.suppress(Exception):  # once it has done its work
        warnings.simplefilter("ignore")
        kept = built(payload(str(marker)))  # an open file, say
    assert marker.exists() or marker.is_symlink()
    getattr(kept, "close", lambda: None)()


def test_there_are_as_many_payloads_as_were_seen() -> None:
    assert len(PAYLOADS) >= 39


@pytest.mark.parametrize("words", ["${writes:MARKER}", r"\${writes:MARKER}", "a ${oc.env:HOME} b"])
@pytest.mark.parametrize("key", ["name", "_target_"])
def test_nothing_is_looked_up_for_a_received_config(
    words: str, key: str, marker: Path, tmp_path: Path
) -> None:
    OmegaConf.register_new_resolver("writes", os.mkdir, replace=True)  # a user may have any
    text = folders.as_yaml({"module": {key: words.replace("MARKER", str(marker))}})
    run_dir = received(tmp_path / "run", text)
    with pytest.raises(UserError, match=f"module.{key}="):
        folders.load_config(run_dir, OWN)
    assert not marker.exists()
    OmegaConf.clear_resolver("writes")


@pytest.mark.parametrize(
    "target", [None, 3, ["os.mkdir"], {"a": 1}, "", "os", "os..mkdir", "os.mkdir ", "???"]
)
def test_a_target_that_is_no_path_is_refused(target: Any, tmp_path: Path) -> None:
    run_dir = received(tmp_path, folders.as_yaml({"module": {"_target_": target}}))
    with pytest.raises(UserError, match=r"module\._target_=.* is not the path of a class"):
        folders.load_config(run_dir, OWN)


BOMBS = {
    "a tag that calls": ("a: !!python/object/apply:os.mkdir ['MARKER']", "has a tag"),
    "a tag of OmegaConf's": ("a: !!python/object/apply:pathlib.Path ['MARKER']", "has a tag"),
    "aliases": (
        "a0: &a0 x\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(30)),
        "has an alias",
    ),
    "brackets": ("a: " + "[" * 60 + "]" * 60, "more than 50 levels"),
    "dashes": ("- " * 100_000, "more than 50 levels"),
    "braces without end": ("{a: " * 900_00, "is no YAML|more than"),
    "a long file": ("a: 1\n#" + "x" * 1_000_000, "more than 1,000,000 bytes"),
    "bytes": ("\ud800", "is no text"),
    "no YAML": ("a: [1", "is no YAML"),
    "a key twice": ("a: 1\na: 2\n" + END, "duplicate key|not a list"),
}


@pytest.mark.parametrize(("text", "says"), BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("file", [folders.CONFIG, folders.OVERRIDES], ids=str)
def test_a_bomb_is_refused_before_it_is_parsed(
    text: str, says: str, file: Path, marker: Path, tmp_path: Path
) -> None:
    run_dir = received(tmp_path / "run", "name: x\n")
    whole = text.replace("MARKER", str(marker)).encode("utf-8", "surrogatepass")
    (run_dir / file).write_bytes(whole)
    with pytest.raises(UserError, match=says):
        folders.load_config(run_dir, OWN)
    assert not marker.exists()


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(ValueError, match="more than 1,000,000 bytes"):
        plain_yaml.text_of(Path("/dev/zero"))


@pytest.mark.parametrize("text", ["a: 1\n---\nb: 2\n", "? [a]\n: 1\n", "a: =\n", "<<: 3\n"])
def test_what_yaml_cannot_make_values_of_is_no_yaml(text: str) -> None:
    with pytest.raises(ValueError, match="is no YAML"):
        plain_yaml.load(text)


def test_an_archive_that_grows_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.zeros(1000)}}, tmp_path / "sound.ckpt")
    with (
        zipfile.ZipFile(tmp_path / "sound.ckpt") as sound,
        zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for member in sound.infolist():
            bomb.writestr(member.filename, sound.read(member))
    model = torch.nn.Linear(1, 1)
    assert checkpoint_file.read(tmp_path / "sound.ckpt")["state_dict"]["w"].shape == (1000,)
    says = r"bomb\.ckpt: cannot be read: it is packed"
    with pytest.raises(UserError, match=says):
        checkpoint_file.load_weights(model, tmp_path / "bomb.ckpt")
    with pytest.raises(UserError, match=says):
        checkpoint_file.WholeFileIO().load_checkpoint(tmp_path / "bomb.ckpt", weights_only=True)


EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
MORE = {
    "augment, schedule": ["augment=flip_crop", "scheduler=one_cycle", "optimizer=adamw"],
    "plateau": ["scheduler=plateau", "init=xavier", "logger=csv"],
    "callbacks": ["callbacks=[classification,early_stopping,ema,histograms,device_stats]"],
    "profiler": ["debug=profiler"],
}


@pytest.mark.parametrize(
    "words", [[f"experiment={name}"] for name in EXPERIMENTS] + list(MORE.values()), ids=str
)
def test_a_received_run_of_this_template_needs_no_trust(words: list[str], tmp_path: Path) -> None:
    config = composed(words)
    run_dir = received(tmp_path, folders.as_yaml(config.values_by_node))
    assert folders.load_config(run_dir, "project").hash == config.hash


ALLOWED = [
    "torch.nn.Linear",
    "torch.nn.functional.relu",
    "torch.nn.init.zeros_",
    "torch.optim.lr_scheduler.ReduceLROnPlateau",
    "torch.utils.data.TensorDataset",
    "torch.utils.data.RandomSampler",
    "torchvision.models.resnet18",
    "torchvision.datasets.FakeData",
    "torchvision.transforms.Compose",
    "torchvision.transforms.v2.RandomRotation",
    "torchmetrics.classification.MulticlassAccuracy",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks.LambdaCallback",
    "lightning.pytorch.loggers.CSVLogger",
    "lightning.pytorch.profilers.SimpleProfiler",
    "lightning.pytorch.strategies.DDPStrategy",
    "engine.augment.Each",
    "engine.schedules.cosine",
    "project.init.he",
]
NOT_ALLOWED = [
    "torch.load",
    "torch.jit.load",
    "torch.hub.load",
    "torch.nn.Module.load_state_dict",
    "torch.nn.modules.module.torch.load",
    "torchvision.datasets.LSUN",  # reads a pickle
    "torchvision.datasets.utils.download_url",
    "torchmetrics.multimodal.clip_score.CLIPScore",  # runs the code of a model in any folder
    "torchmetrics.text.bert.BERTScore",
    "torch.fx.GraphModule",
    "torch.jit.ScriptModule",
    "torch.distributed.nn.RemoteModule",
    "torch.utils.data.DataLoader",
    "torch.utils.data.datapipes.iter.FileOpener",
    "lightning.pytorch.LightningModule.load_from_checkpoint",
    "engine.command",
    "engine.evaluate",
    "engine.seeds.generator",
    "project.modules.lenet.LeNet5.load_from_checkpoint",
    "project.train.train",
    "project.train.command",
    "numpy.load",
    "sklearn.datasets.load_files",
    "hydra.utils.instantiate",
    "optuna.create_study",
]


@pytest.mark.parametrize("target", ALLOWED)
def test_what_runs_need_is_admitted(target: str, tmp_path: Path) -> None:
    admission.admit({"x": [{"_target_": target, "_partial_": True}]}, "project", tmp_path)


@pytest.mark.parametrize("target", NOT_ALLOWED)
def test_what_no_run_needs_is_refused(target: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.0\._target_="):
        admission.admit({"x": [{"_target_": target}]}, "project", tmp_path)


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
    evil = folders.as_yaml({"evil": touch(str(marker))}).replace("\n", "\n  ").rstrip(" ")
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


def test_an_archive_behind_another_checkpoint_is_none(marker: Path, tmp_path: Path) -> None:
    """torch.load would read the first, and Lightning's FSDP unpickle the second."""
    old = tmp_path / "old.ckpt"
    torch.save({"w": torch.zeros(2)}, old, _use_new_zipfile_serialization=False)
    assert checkpoint_file.read(old)["w"].shape == (2,)
    old.write_bytes(old.read_bytes() + (tmp_path / "marker.pt").read_bytes())
    assert torch.load(old, weights_only=True)["w"].shape == (2,)
    with pytest.raises(UserError, match="it is an archive behind something else"):
        checkpoint_file.read(old)
    assert not marker.exists()


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
        assert commands.of_run(runs[0], "mine.train").startswith("python -m mine.train experiment=")
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
    evil = folders.as_yaml({"evil": touch(str(marker))}).replace("\n", "\n  ").rstrip(" ")
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


def test_sources_load_no_pickles() -> None:
    """But for what a process has pickled itself, in memory; CIFAR-10's files have known md5s."""
    calls = {}
    for file in (ROOT / "src").rglob("*.py"):
        found = [
            line.strip()
            for line in file.read_text().splitlines()
            if re.search(r"pickle\.loads?\(|allow_pickle", line)
            or ("torch.load(" in line and "weights_only=True" not in line)
        ]
        if found:
            calls[file.name] = found
    assert calls == {"compose.py": ["config: DictConfig = pickle.loads(self._bases[choices])"]}
