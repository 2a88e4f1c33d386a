"""Only the fence touches what other libraries keep private, or do not document."""

import ast
import functools
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from logging import Handler
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import TQDMProgressBar

import engine

SRC = Path(engine.__file__).parents[1]
FENCE = SRC / "engine" / "fence"
OURS = ("engine", "project", "hydra_plugins")

# Names that no documentation has, of attributes of objects that are not ours.
UNDOCUMENTED = (
    # Lightning: all below `trainer.fit_loop`
    "fit_loop",
    "epoch_loop",
    "batch_progress",
    "total_batch_idx",
    "optim_progress",
    "val_loop",
    "update_lr_schedulers",
    "dump_checkpoint",
    "val_check_batch",
    # TensorBoard's writer
    "file_writer",
    "all_writers",
    "event_writer",
    # Hydra and OmegaConf
    "load_sweep_config",
    "repository",
    "str_representer",
)
UNDOCUMENTED_MODULES = (
    "lightning.fabric.loggers.logger",
    "tensorboard.compat",
    "torch.utils.tensorboard.writer",
    "hydra.core.singleton",
)
SELF = ("self", "cls", "super()")
BY_NAME = ("getattr", "setattr", "hasattr")
# What looks foreign, and is not.
ALLOWED = (
    # of a NamedTuple: Python documents them
    "batch._replace",
    "found._replace",
    "run.objective._replace",
    "os._exit",  # as documented
)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def foreign_uses(source: str) -> list[str]:
    """Find what a file uses of other libraries that is private or not documented.

    What it does to `self` is another matter: see `inherited_uses`.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found += [name for name in imported(node) if not is_public_module(name)]
        elif isinstance(node, ast.Attribute) and ast.unparse(node) not in ALLOWED:
            is_foreign = is_private(node.attr) and ast.unparse(node.value) not in SELF
            if node.attr in UNDOCUMENTED or is_foreign:
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in BY_NAME:
            name = ast.literal_eval(node.args[1]) if isinstance(node.args[1], ast.Constant) else ""
            if name in UNDOCUMENTED or is_private(name):
                found.append(ast.unparse(node))
    return found


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [name.name for name in node.names]
    return [f"{node.module}.{name.name}" for name in node.names]


def is_public_module(name: str) -> bool:
    parts = name.split(".")
    is_undocumented = f"{name}.".startswith(tuple(f"{module}." for module in UNDOCUMENTED_MODULES))
    return parts[0] in OURS or not (is_undocumented or any(map(is_private, parts)))


def own_private_names(kind: type) -> set[str]:
    """Return the private names that a class defines, or uses of `self`, by its source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):  # not written in Python
        return set()
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in SELF:
            names.add(node.attr)
    return set(filter(is_private, names)) - {"_"}


@functools.cache
def foreign_private_names(kind: type) -> set[str]:
    """Return the same of a foreign class, and what it has besides, be it written in C."""
    names = {*vars(kind), *inspect.get_annotations(kind)}
    return own_private_names(kind) | set(filter(is_private, names))


def inherited_uses(kind: type) -> dict[str, set[str]]:
    """Find the private names that a class shares with the foreign classes that it is made of."""
    own, shared = own_private_names(kind), {}
    for base in kind.__mro__[1:]:
        if base.__module__.partition(".")[0] not in OURS:
            shared[base.__qualname__] = own & foreign_private_names(base)
    return {base: names for base, names in shared.items() if names}


def files() -> Iterator[Path]:
    return (path for path in sorted(SRC.rglob("*.py")) if FENCE not in path.parents)


def classes(path: Path) -> list[type]:
    if not any(isinstance(node, ast.ClassDef) for node in ast.parse(path.read_text()).body):
        return []
    name = ".".join(path.relative_to(SRC).with_suffix("").parts)
    module = importlib.import_module(name.removesuffix(".__init__"))
    made = [value for value in vars(module).values() if inspect.isclass(value)]
    return [kind for kind in made if kind.__module__ == module.__name__]


def test_only_the_fence_uses_what_is_private_or_not_documented() -> None:
    found = {str(path.relative_to(SRC)): foreign_uses(path.read_text()) for path in files()}
    assert len(found) > 100
    assert {path: uses for path, uses in found.items() if uses} == {}


def test_no_class_outside_the_fence_uses_what_its_foreign_bases_keep_private() -> None:
    kinds = [kind for path in files() for kind in classes(path)]
    found = {f"{kind.__module__}.{kind.__qualname__}": inherited_uses(kind) for kind in kinds}
    assert len(found) > 80
    assert {kind: uses for kind, uses in found.items() if uses} == {}


def test_the_fence_has_no_file_too_many() -> None:
    """Each of its files is a library's, and has a use; what is public needs none."""
    for path in FENCE.glob("[!_]*.py"):
        own = foreign_uses(path.read_text())
        overrides = [kind for kind in classes(path) if inherited_uses(kind)]
        assert own or overrides, path.name


@pytest.mark.parametrize(
    "source",
    [
        "trainer.fit_loop.batch_idx",
        "self.trainer.fit_loop",
        "tensor._version",
        "self.network._modules.items()",
        "module._trainer = trainer",
        "getattr(job, '_process')",
        "hasattr(writer, 'event_writer')",
        "import omegaconf._utils",
        "from hydra._internal.utils import run_and_report",
        "from torch import _dynamo",
        "from tensorboard.compat.proto.event_pb2 import Event",
        "from torch.utils.tensorboard.writer import FileWriter",
    ],
)
def test_a_use_is_found(source: str) -> None:
    assert len(foreign_uses(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "self._own",
        "self._own.append(1)",
        "type(x).__name__",
        "trainer.callbacks",
        "from __future__ import annotations",
        "from engine.fence.torch import version_of",
        "from engine.rows import _private_but_ours",
        "from torch.utils.tensorboard import SummaryWriter",
    ],
)
def test_what_is_our_own_or_public_is_not_found(source: str) -> None:
    assert foreign_uses(source) == []


class Overrides(TQDMProgressBar):
    def _should_update(self, current: int, total: int) -> bool:
        return True


class Reads(Handler):
    def other_name(self) -> str | None:
        return self._name  # type: ignore[attr-defined,no-any-return]


class Own(Handler):
    def count(self) -> None:
        self._times = 1


def test_what_a_class_inherits_is_found() -> None:
    assert inherited_uses(Overrides) == {"TQDMProgressBar": {"_should_update"}}
    assert inherited_uses(Reads) == {"Handler": {"_name"}}
    assert inherited_uses(Own) == {}
