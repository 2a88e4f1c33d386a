"""Holds payloads of received folders: each would leave a marker."""

import functools
import os
import pydoc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.run import folders

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


# Without these keys at its end, a config is taken for one that was cut.
END = "seed: 0\npaths:\n  log_dir: logs\n"


def received(run_dir: Path, text: str) -> Path:
    """Makes a run's folder, as somebody else would."""
    (run_dir / folders.CONFIG).parent.mkdir(parents=True, exist_ok=True)
    (run_dir / folders.CONFIG).write_text(text if "log_dir:" in text else text + END)
    return run_dir


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
