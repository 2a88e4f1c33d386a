"""Nodes of the config are checked against the signatures that they name."""

import collections
import copy
import dataclasses
import enum
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Protocol, TypedDict, Unpack

import pytest
import torch
from annotated_types import Ge, Interval
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pydantic import BeforeValidator
from torch import nn

from engine import Count, CountOrZero, Fraction, NotNegative, Positive, Seed, UserError
from engine.config import objects
from engine.config.limits import shown
from engine.config.objects import check
from engine.config.ranges import why_not
from engine.errors import blamed_on, describe
from engine.fence import hydra as fence
from engine.schedules import AboveOne


class Options(TypedDict, total=False):
    """What a base class takes."""

    optimizer: Callable[..., Any]
    rate: float


class Needed(TypedDict):
    """What must be given."""

    size: int


class Base:
    """A class with typed options."""

    def __init__(self, size: Count, **options: Unpack[Options]) -> None:
        self.size = size
        self.options = options


class Mine(Base):
    """A class with limits of its own."""

    def __init__(
        self,
        width: Annotated[float, Interval(gt=0, le=4)] = 1.0,
        hidden: Annotated[int, Ge(1)] | list[Annotated[int, Ge(1)]] = 8,
        depth: list[int] | None = None,
        activation: Literal["silu", "elu"] = "elu",
        betas: tuple[float, float] = (0.9, 0.99),
        folder: Path | None = None,
        device: torch.device | str = "cpu",
        flag: bool = False,
        implicit: int = None,  # type: ignore[assignment]  # noqa: RUF013  an old habit
        untyped=3,  # type: ignore[no-untyped-def]
        inner: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.inner = inner
        self.hidden = hidden


class Sizes(TypedDict):
    """A mapping with these keys."""

    width: int


def first_word(value: Any) -> Any:
    """Takes what a config can hold only."""
    return value.split()[0] if isinstance(value, str) else value.get("a", value)


class Update(Protocol):
    """What is called with a tensor."""

    def __call__(self, values: torch.Tensor) -> torch.Tensor: ...


class Composed:
    """A class of objects."""

    def __init__(
        self,
        parts: Mapping[str, nn.Module] | None = None,
        network: nn.Module | None = None,
        settings: dict[str, int] | None = None,
        loss: Callable[[], nn.Module] = nn.ReLU,
        layers: Sequence[nn.Module] = (),
        norm: type[nn.Module] = nn.ReLU,
        update: Update | None = None,
        sizes: Sizes | None = None,
        named: str | Mapping[str, nn.Module] = "",
        own: Annotated[str, BeforeValidator(first_word)] = "",
        count: int = 1,
        strict: Annotated[str, BeforeValidator(lambda value: value.strip())] = "",
    ) -> None:
        self.parts = parts


class Color(enum.Enum):
    """A choice of colours."""

    BLUE = "blue"


class Level(enum.IntEnum):
    """A choice of numbers."""

    LOW = 1


@dataclasses.dataclass
class Size:
    """Settings in a class."""

    width: int = 1
    device: torch.device | None = None


SMALL = Size()


class Kinds:
    """A class of values that no file can hold."""

    def __init__(
        self,
        color: Color | None = None,
        pairs: Sequence[tuple[Color, int]] = (),
        level: Level | None = None,
        names: dict[str, str] | None = None,
        numbered: dict[int, tuple[int, int]] | None = None,
        counts: dict[int, int] | None = None,
        some: set[str] | None = None,
        size: Size | None = None,
        needed: Size = SMALL,
        files: dict[str, tuple[Path, float]] | None = None,
        anything: tuple[Any, ...] = (),
    ) -> None:
        self.given = (color, some, size)


class Needing:
    """A class whose options must be given."""

    def __init__(self, **options: Unpack[Needed]) -> None:
        self.options = options


class Anything:
    """A class that takes whatever it is given."""

    def __init__(self, **options: Any) -> None:
        self.options = options


class Unresolved:
    """A class that has an annotation which only a type checker can read."""

    def __init__(self, size: "NoSuchName", drop: "Count" = 1) -> None:  # type: ignore[name-defined]  # noqa: F821
        self.size = size


class Half(TypedDict, total=False):
    """Options, one of which has an annotation that only a type checker can read."""

    size: "NoSuchName"  # type: ignore[name-defined]  # noqa: F821
    drop: "Count"


class HalfResolved:
    """A class that takes such options."""

    def __init__(self, **options: Unpack[Half]) -> None:
        self.options = options


def function(x: Count, *, scale: NotNegative = 1.0) -> int:
    """Take two numbers."""
    return x


HERE = __name__
MINE = {"_target_": f"{HERE}.Mine", "size": 3}


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pytest imports this file under a name that `import` does not find."""
    kinds = (Base, Mine, Needing, Anything, Unresolved, HalfResolved, Color, Size, Kinds)
    own = {f"{HERE}.{kind.__name__}": kind for kind in kinds}
    own[f"{HERE}.function"] = function  # type: ignore[assignment]
    found = fence.locate
    monkeypatch.setattr(fence, "locate", lambda path: own.get(path) or found(path))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"width": 0.75},
        {"width": 4},
        {"hidden": 3},
        {"hidden": [256, 128]},
        {"depth": [2, 2, 6, 2]},
        {"depth": None},
        {"activation": "silu"},
        {"betas": [0.5, 1]},
        {"folder": "/x"},
        {"device": "cuda:1"},
        {"flag": True},
        {"implicit": None},
        {"implicit": 2},
        {"untyped": "anything"},
        {"rate": 2},
        {"inner": {"a": 1}},
        {"optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1}},
        {"width": {"_target_": "torch.tensor", "data": 1.0}},
        {"_convert_": "all"},
        {"_recursive_": False},
    ],
    ids=str,
)
def test_what_passes(arguments: dict[str, Any]) -> None:
    check({"module": {**MINE, **arguments}})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"width": 0}, "module.width=0: must be greater than 0, by the signature of Mine."),
        (
            {"width": 5},
            "module.width=5: must be less than or equal to 4, by the signature of Mine.",
        ),
        ({"width": "wide"}, "module.width=wide: must be a valid number, by the signature of Mine."),
        ({"width": None}, "module.width=null: must be a valid number, by the signature of Mine."),
        ({"width": True}, "module.width=true: must be a valid number, by the signature of Mine."),
        (
            {"hidden": 0},
            (
                "module.hidden=0: must be greater than or equal to 1 or a list, by the "
                "signature of Mine."
            ),
        ),
        (
            {"hidden": [3, 0]},
            "module.hidden=[3, 0]: must be a valid integer or greater than or equal to 1, "
            "by the signature of Mine.",
        ),
        ({"depth": "deep"}, "module.depth=deep: must be a list, by the signature of Mine."),
        (
            {"activation": "silo"},
            "module.activation=silo: must be 'silu' or 'elu', by the signature of Mine. "
            "Did you mean silu?",
        ),
        ({"betas": [0.5]}, "module.betas=[0.5]: must be longer, by the signature of Mine."),
        ({"flag": 1}, "module.flag=1: must be a valid boolean, by the signature of Mine."),
        ({"flag": "yes"}, "module.flag=yes: must be a valid boolean, by the signature of Mine."),
        ({"size": 2.0}, "module.size=2.0: must be a valid integer, by the signature of Mine."),
        ({"rate": "fast"}, "module.rate=fast: must be a valid number, by the signature of Mine."),
        ({"optimizer": "sgd"}, "module.optimizer=sgd: must be callable, by the signature of Mine."),
        (
            {"optimizer": {"_target_": f"{HERE}.Base", "size": 1}},
            f"module.optimizer={{'_target_': '{HERE}.Base', 'size': 1}}: must be callable, "
            "by the signature of Mine.",
        ),
        (
            {"rate": {"_target_": "torch.nn.ReLU"}},
            "module.rate={'_target_': 'torch.nn.ReLU'}: must be a valid number, "
            "by the signature of Mine.",
        ),
        (
            {"hidden": {"_target_": "builtins.len", "_partial_": True}},
            "module.hidden={'_target_': 'builtins.len', '_partial_': True}: must be",
        ),
        ({1: 2}, "module.1: Mine takes no such argument. It takes width, "),
        (
            {"heads": 3},
            "module.heads: Mine takes no such argument. Did you mean betas? It takes "
            "width, hidden, depth, activation, "
            "betas, folder, device, flag, implicit, untyped, inner, size, optimizer, rate.",
        ),
        ({"rat": 3}, "module.rat: Mine takes no such argument. Did you mean rate? It takes "),
        (
            {"inner": {"_target_": "torch.nn.Linear", "in_features": 3}},
            "module.inner.out_features: missing; Linear needs it.",
        ),
        (
            {"inner": [{"_target_": "torch.nn.Linear", "in_featurs": 3}]},
            "module.inner.0.in_featurs: Linear takes no such argument. Did you mean in_features?",
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_what_is_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as refused:
        check({"module": {**MINE, **arguments}})
    assert str(refused.value).startswith(says)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["Base", "Needing"])
def test_a_missing_argument_is_named_unless_the_call_comes_later_or_somebody_adds_it(
    kind: str,
) -> None:
    node = {"_target_": f"{HERE}.{kind}"}
    with pytest.raises(UserError, match=rf"^module\.size: missing; {kind} needs it\.$"):
        check({"module": node})
    check({"module": {**node, "_partial_": True}})
    check({"logger": {"mine": node}}, given={"logger.*": ["size"]})


def test_what_the_module_calls_says_how_it_is_left_to_the_module() -> None:
    node = {"_target_": "torch.optim.SGD", "lr": 0.1}
    with pytest.raises(UserError) as refused:
        check({"optimizer": node})
    assert str(refused.value) == (
        "optimizer.params: missing; SGD needs it.\n"
        "The module calls optimizer itself: is _partial_: true missing?"
    )
    check({"optimizer": {**node, "_partial_": True}})


@pytest.mark.parametrize(
    ("argument", "node"),
    [
        ("optimizer", {"_target_": f"{HERE}.Base", "_partial_": True}),
        ("optimizer", {"_target_": "torch.nn.ReLU"}),
        ("optimizer", {"_target_": "operator.itemgetter", "_args_": [0]}),
        ("rate", {"_target_": "math.sqrt", "_args_": [0.5]}),
        ("rate", {"_target_": "builtins.float", "_args_": ["0.5"]}),
        ("folder", {"_target_": "pathlib.Path", "_args_": ["x"]}),
    ],
)
def test_an_object_fits_where_its_class_does(argument: str, node: dict[str, Any]) -> None:
    check({"module": {**MINE, argument: node}})


def test_what_a_base_class_needs_its_heir_may_give() -> None:
    """Lightning's TensorBoardLogger hands `save_dir` on as the `root_dir` of its base class."""
    check({"module": {"_target_": f"{HERE}.Mine"}})
    check({"x": {"_target_": "lightning.pytorch.loggers.TensorBoardLogger", "save_dir": "/x"}})


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            {"_partial_": {"max_epochs": 1}},
            "init._partial_={'max_epochs': 1}: must be a valid bool",
        ),
        ({"_partial_": 0}, "init._partial_=0: must be a valid boolean."),
        ({"_args_": 3}, "init._args_=3: must be a list."),
        ({"_convert_": "al"}, "init._convert_=al: must be 'none', 'partial', 'object' or 'all'."),
        ({"_target_": 3}, "init._target_=3: must be a valid string."),
        ({"_target_": "x" * 999, "_recursive_": None}, "init._recursive_=null: must be a valid bo"),
    ],
    ids=["a mapping", "a number", "no list", "another word", "no path", "null"],
)
def test_flags_of_hydra_s_are_checked(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as refused:
        check({"init": {"_target_": "builtins.dict", **flags}})
    assert str(refused.value).startswith(says)


RELU = {"_target_": "torch.nn.ReLU"}
PARTIAL_RELU = {**RELU, "_partial_": True}


@pytest.mark.parametrize(
    ("arguments", "must_be"),
    [
        ({"parts": PARTIAL_RELU}, "a mapping"),
        ({"parts": [1]}, "a mapping"),
        ({"settings": PARTIAL_RELU}, "a mapping"),
        ({"settings": RELU}, "a mapping"),
        ({"sizes": PARTIAL_RELU}, "a mapping"),
        ({"named": PARTIAL_RELU}, "a valid string or a mapping"),
        ({"network": PARTIAL_RELU}, "an instance of Module"),
        ({"own": RELU}, "a valid string"),
        (
            {"strict": RELU},
            "what its validator takes (AttributeError: 'dict' object has no attribute 'strip')",
        ),
        (
            {"strict": 5},
            "what its validator takes (AttributeError: 'int' object has no attribute 'strip')",
        ),
        ({"_recursive_": False, "count": {"_convert_": "all"}}, "a valid integer"),
        ({"_recursive_": False, "count": RELU}, "a valid integer"),
        ({"_recursive_": False, "loss": PARTIAL_RELU}, "callable"),
    ],
    ids=str,
)
def test_objects_that_an_argument_does_not_take(arguments: dict[str, Any], must_be: str) -> None:
    argument = list(arguments)[-1]
    with pytest.raises(UserError) as refused:
        check({"x": {"_target_": f"{HERE}.Composed", **arguments}})
    assert str(refused.value) == (
        f"x.{argument}={shown(arguments[argument])}: must be {must_be}, "
        "by the signature of Composed."
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"parts": {"_target_": "builtins.dict"}},
        {"parts": {"_target_": "torch.nn.ModuleDict"}},
        {"parts": {"relu": RELU}},
        {"parts": {"_convert_": "all", "relu": RELU}},
        {"layers": {"_target_": "torch.nn.ModuleList"}},
        {"settings": {"_target_": "collections.OrderedDict"}},
        {"network": RELU},
        {"loss": PARTIAL_RELU},
        {"norm": PARTIAL_RELU},
        {"update": PARTIAL_RELU},
        {"update": RELU},
        {"_recursive_": False, "settings": PARTIAL_RELU},
        {"_recursive_": False, "parts": PARTIAL_RELU},
        {"_recursive_": False, "sizes": RELU},
        {"_recursive_": False, "parts": {"_target_": "no.such.module"}},
    ],
    ids=str,
)
def test_objects_that_an_argument_takes(arguments: dict[str, Any]) -> None:
    check({"x": {"_target_": f"{HERE}.Composed", **arguments}})


COLOR = f"\nWrite a Color as {{_target_: {HERE}.Color, _args_: [VALUE]}}."
SET = "\nWrite a set as {_target_: builtins.set, _args_: [[VALUE]]}."
SIZE = f"\nWrite a Size as {{_target_: {HERE}.Size, NAME: VALUE}}."


@pytest.mark.parametrize(
    ("arguments", "must_be", "how"),
    [
        ({"color": "blue"}, "an instance of Color", COLOR),
        ({"color": "blu"}, "an instance of Color", COLOR),
        ({"pairs": [["blue", 1]]}, "an instance of Color", COLOR),
        ({"level": 1}, "an instance of Level", COLOR.replace("Color", "Level")),
        ({"names": {0: "cat"}}, "a valid string for each key", ""),
        ({"names": {"0": 1}}, "a valid string", ""),
        ({"counts": {"0": 1}}, "a valid integer for each key", ""),
        ({"some": ["a"]}, "a valid set", SET),
        ({"some": "a"}, "a valid set", SET),
        ({"size": {"width": 2}}, "an instance of Size", SIZE),
        ({"needed": {"width": "wide"}}, "an instance of Size", SIZE),
    ],
    ids=str,
)
def test_what_json_would_convert_is_refused(
    arguments: dict[str, Any], must_be: str, how: str
) -> None:
    ((argument, value),) = arguments.items()
    with pytest.raises(UserError) as refused:
        check({"x": {"_target_": f"{HERE}.Kinds", **arguments}})
    assert str(refused.value) == (
        f"x.{argument}={shown(value)}: must be {must_be}, by the signature of Kinds.{how}"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"names": {"0": "cat"}},
        {"numbered": {0: [1, 2]}},
        {"files": {"a": ["./x//y", 1]}},
        {"anything": [{0: 1}, float("nan"), "a"]},
    ],
    ids=str,
)
def test_lists_pass_for_tuples_and_words_for_paths_wherever_they_are(
    arguments: dict[str, Any],
) -> None:
    check({"x": {"_target_": f"{HERE}.Kinds", **arguments}})


def test_objects_are_written_as_the_message_says() -> None:
    node = {
        "_target_": f"{HERE}.Kinds",
        "color": {"_target_": f"{HERE}.Color", "_args_": ["blue"]},
        "some": {"_target_": "builtins.set", "_args_": [["a"]]},
        "size": {"_target_": f"{HERE}.Size", "width": 2},
    }
    check({"x": node})
    with pytest.raises(UserError, match=r"^x\.size\.width=wide: must be a valid integer"):
        check({"x": {**node, "size": {"_target_": f"{HERE}.Size", "width": "wide"}}})


def test_a_partial_without_its_target_is_said_to_have_none() -> None:
    node = {"_target_": f"{HERE}.Composed", "loss": {"_partial_": True, "inplace": True}}
    with pytest.raises(UserError) as refused:
        check({"x": node})
    assert str(refused.value) == (
        f"x.loss={shown(node['loss'])}: must be callable, by the signature of Composed. "
        "It has _partial_, and no _target_."
    )


def test_where_a_run_needs_an_object_a_partial_is_refused() -> None:
    node = {"_target_": "torch.nn.ReLU", "_partial_": True}
    check({"x": node}, {"y": nn.Module})
    with pytest.raises(UserError, match=r"^x\._partial_=true: must be false; a run needs a Module"):
        check({"x": node}, {"x": nn.Module})


def test_a_long_value_is_shown_in_part() -> None:
    with pytest.raises(UserError) as refused:
        check({"module": {**MINE, "activation": "x" * 999}})
    assert f"module.activation={'x' * 200}…: must be" in str(refused.value)


def test_a_node_is_named_where_it_stands_first() -> None:
    optimizer = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": "fast"}
    config = {"module": {**MINE, "optimizer": optimizer}, "optimizer": optimizer}
    with pytest.raises(UserError, match=r"^optimizer\.lr=fast: "):
        check(config)


def test_what_is_right_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: set[str] = set()
    calls: list[str] = []
    monkeypatch.setattr(objects, "_check_call", lambda target, node, key, given: calls.append(key))
    for seed in (1, 2):
        check({"a": {**MINE}, "b": {**MINE, "depth": [seed]}}, checked=checked)
    assert calls == ["a", "b", "b"]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (
            "torch.optim.SDG",
            "optimizer._target_=torch.optim.SDG: cannot be imported: torch.optim has no SDG. "
            "Did you mean SGD?",
        ),
        (
            "nowhere.at.all",
            "optimizer._target_=nowhere.at.all: cannot be imported: there is no module nowhere.",
        ),
        ("torch.pi", "optimizer._target_=torch.pi: must be a class or a function."),
    ],
)
def test_a_target_that_is_none(target: str, says: str) -> None:
    with pytest.raises(UserError) as refused:
        check({"optimizer": {"_target_": target}})
    assert str(refused.value).startswith(says)
    assert len(str(refused.value).splitlines()) == 1


NO = "cannot be imported: "


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("\nimport timm_xyz", "Net", f"{NO}ModuleNotFoundError: No module named 'timm_xyz'"),
        (
            "\nfrom PACKAGE.nothere import x",
            "Net",
            f"{NO}ModuleNotFoundError: No module named 'PACKAGE.nothere'",
        ),
        (
            "\nfrom PACKAGE.sibbling import x",
            "Net",
            f"{NO}ModuleNotFoundError: No module named 'PACKAGE.sibbling'. Did you mean sibling?",
        ),
        ("\nx = 1 / 0", "Net", f"{NO}ZeroDivisionError: division by zero"),
        (
            "\nfrom engine import Cuont",
            "Net",
            f"{NO}ImportError: cannot import name 'Cuont' from 'engine'. Did you mean Count?",
        ),
        ("class Bad: ...", "Bda", f"{NO}PACKAGE.own has no Bda. Did you mean Bad?"),
        ("", "Bda", f"{NO}PACKAGE.own has no Bda."),
    ],
)
def test_an_import_that_fails_is_told_with_its_place_or_the_right_name(
    text: str, name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: a missing package was told as "Are you sure that 'own' is importable"."""
    package = f"of_a_stranger_{tmp_path.name}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "sibling.py").touch()
    (own := tmp_path / package / "own.py").write_text(text.replace("PACKAGE", package))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError) as refused:
        check({"module": {"_target_": f"{package}.own.{name}"}})
    place = f"\nRaised in {own}, line 2; HYDRA_FULL_ERROR=1 shows the traceback."
    expected = f"module._target_=PACKAGE.own.{name}: {says}{place if name == 'Net' else ''}"
    assert describe(refused.value) == expected.replace("PACKAGE", package)
    with pytest.raises(UserError, match=r"has no ownn\. Did you mean own\?$"):
        check({"module": {"_target_": f"{package}.ownn.{name}"}})


def test_a_script_that_ends_the_process_is_no_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: the command ended without a word, with code 0."""
    (tmp_path / "a_script.py").write_text("class Model: ...\n\nraise SystemExit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError) as refused:
        check({"module": {"_target_": "a_script.Model"}})
    assert str(refused.value) == (
        "module._target_=a_script.Model: cannot be imported: the code would end the process: "
        f"SystemExit: 0\nRaised in {tmp_path}/a_script.py, line 3; HYDRA_FULL_ERROR=1 shows the "
        "traceback."
    )


def test_the_kind_of_a_node() -> None:
    check({"module": {"_target_": "torch.nn.ReLU"}}, {"module": nn.Module})
    with pytest.raises(
        UserError, match=r"^callbacks\.x\._target_=torch\.nn\.ReLU: must be a Optimizer\.$"
    ):
        check(
            {"callbacks": {"x": {"_target_": "torch.nn.ReLU"}}},
            {"callbacks.*": torch.optim.Optimizer},
        )


@pytest.mark.parametrize("name", ["Unresolved", "HalfResolved"])
def test_where_one_annotation_has_no_meaning_the_others_count(name: str) -> None:
    node = {"_target_": f"{HERE}.{name}", "size": object}
    check({"x": {**node, "drop": 2}})
    with pytest.raises(UserError) as refused:
        check({"x": {**node, "drop": -4}})
    assert str(refused.value) == (
        f"x.drop=-4: must be greater than or equal to 1, by the signature of {name}."
    )
    with pytest.raises(UserError, match=rf"^x\.sise: {name} takes no such argument\. Did you mean"):
        check({"x": {**node, "sise": 1}})


def test_where_there_are_no_names_anything_goes() -> None:
    check({"x": {"_target_": f"{HERE}.Anything", "whatever": 1}})


def test_functions_have_signatures_too() -> None:
    check({"init": {"_target_": f"{HERE}.function", "_partial_": True, "scale": 2}})
    with pytest.raises(UserError, match=r"^init\.scale=-1: must be greater than or equal to 0, by"):
        check({"init": {"_target_": f"{HERE}.function", "_partial_": True, "scale": -1}})


def test_arguments_of_something_in_c_are_not_known() -> None:
    check({"x": {"_target_": "builtins.dict", "whatever": 1}})


@pytest.mark.parametrize(
    ("hint", "right", "wrong"),
    [
        (Count, [1, 10**30], [0, -1, 1.0, True, "1", None]),
        (CountOrZero, [0, 1], [-1, 0.0]),
        (Positive, [1e-9, 1], [0, -1.0, float("inf"), float("nan"), "1"]),
        (NotNegative, [0, 0.5], [-1e-9, float("inf"), float("nan")]),
        (Fraction, [0, 0.999], [1, 1.0, -0.1, float("nan")]),
        (Seed, [0, 2**32 - 1], [-1, 2**32, 1.0]),
        (Sequence[float], [[1, 2.5], []], [["a"], 3]),
        (Callable[..., Any], [], ["word", 3]),
        (float, [1.5, float("inf"), float("nan"), 0], ["1.5"]),
        (float | None, [None, float("nan")], ["1.5"]),
        (Positive | None, [None, 1], [float("nan"), 0]),
        (Any, [float("nan")], []),
        (AboveOne, [1.5, 1e9], [1, float("inf"), float("nan")]),
    ],
    ids=[
        "Count",
        "CountOrZero",
        "Positive",
        "NotNegative",
        "Fraction",
        "Seed",
        "Sequence",
        "Callable",
        "float",
        "float or null",
        "Positive or null",
        "anything",
        "of one_cycle",
    ],
)
def test_ranges(hint: Any, right: list[Any], wrong: list[Any]) -> None:
    assert [value for value in right if why_not(value, hint)] == []
    assert [value for value in wrong if not why_not(value, hint)] == []


def test_a_check_never_converts() -> None:
    values = {"module": {**MINE, "betas": [1, 2], "folder": "/x", "hidden": [1]}}
    before = repr(values)
    check(values)
    assert repr(values) == before


def test_built_objects_get_plain_lists_and_their_inner_objects() -> None:
    node = {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.ReLU"}]}
    made = objects.build(node, "x")
    assert isinstance(made[0], nn.ReLU)
    optimizer = objects.build(
        {"_target_": "torch.optim.Adam", "_partial_": True, "betas": [0.5, 0.9]}, "x"
    )
    assert isinstance(optimizer, partial)
    assert type(optimizer.keywords["betas"]) is list


def by_hydra(node: dict[str, Any], key: str, **more: Any) -> Any:
    """Builds a node as Hydra does all by itself."""
    kept = OmegaConf.create({key: node}, flags={"allow_objects": True})
    with blamed_on(key):
        return instantiate(kept[key], _convert_="all", **more)


def ended(build: Callable[..., Any], *given: Any, **more: Any) -> str:
    """Returns what is built, or the message of an error."""
    try:
        return repr(build(*given, **more))
    except UserError as error:
        return str(error)


DICT = {"_target_": "builtins.dict"}
BUILT: dict[str, tuple[dict[str, Any], bool]] = {
    "numbers and words": ({**DICT, "a": 1, "b": 1e-3, "c": "x", "d": None, "e": True}, False),
    "lists and mappings": ({**DICT, "a": [1, [2, {"b": []}]], "c": {"d": {}}}, False),
    "objects within": ({**DICT, "a": {**DICT, "b": 1}, "c": [{**DICT, "d": {"e": DICT}}]}, False),
    "a mapping with _partial_": ({**DICT, "a": {"_partial_": True, "b": 1}}, False),
    "no target": ({**DICT, "a": {"_target_": "no.such"}}, False),
    "no target around an error": ({"_target_": "no.such", "a": {"_target_": "no.other"}}, False),
    "an error": ({"_target_": "builtins.int", "x": 1}, False),
    "an error within": ({**DICT, "a": {"b": {"_target_": "builtins.int", "x": 1}}}, False),
    "what Hydra refuses": ({"_target_": "os.system", "command": "true"}, False),
    "what it refuses within": ({**DICT, "a": [{"b": {"_target_": "builtins.eval"}}]}, False),
    "a variable": ({**DICT, "a": ["${oc.env:HOME}"]}, False),  # which is read before
    "a word that is missing": ({**DICT, "a": "???"}, True),
    "_args_": ({"_target_": "builtins.list", "_args_": [[1]]}, True),
    "_convert_": ({**DICT, "a": {**DICT, "b": [1], "_convert_": "none"}}, True),
    "_recursive_": ({**DICT, "_recursive_": False, "a": {"_target_": "no.such"}}, True),
}


@pytest.mark.parametrize(("node", "needs_hydra"), BUILT.values(), ids=BUILT)
def test_built_objects_are_those_of_hydra(
    node: dict[str, Any], needs_hydra: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = repr(node)
    calls = []
    called = fence.called
    monkeypatch.setattr(fence, "called", lambda *given: calls.append(given) or called(*given))
    assert ended(objects.build, node, "a.key") == ended(by_hydra, node, "a.key")
    assert len(calls) == (not needs_hydra)
    assert repr(node) == before


def test_an_error_in_a_list_is_named_by_its_place() -> None:
    node = {**DICT, "a": [0, {"_target_": "builtins.int", "x": 1}]}
    with pytest.raises(TypeError) as raised:  # each Python has words of its own
        int(x=1)  # type: ignore[call-overload]
    assert ended(objects.build, node, "a.key").startswith(f"a.key.a[1]: {raised.value}")


@pytest.mark.parametrize("is_partial", [False, True])
def test_further_arguments_come_last_and_stay_what_they_are(is_partial: bool) -> None:
    own = nn.ReLU()
    node = {**DICT, "a": {"_target_": "no.such"}, "b": [1], "_partial_": is_partial}
    ours, theirs = (build(node, "x", a=own, c=[own]) for build in (objects.build, by_hydra))
    if is_partial:
        assert (ours.func, ours.args) == (theirs.func, theirs.args) == (dict, ())
        ours, theirs = ours.keywords, theirs.keywords
    assert ours == theirs == {"a": own, "b": [1], "c": [own]}


@pytest.mark.parametrize(
    "use",
    [
        lambda made: made(),
        lambda made: copy.deepcopy(made)(),
        lambda made: copy.copy({"a": made})["a"](),
        lambda made: made.func(*made.args, **made.keywords),
    ],
    ids=["a call", "a call of a copy", "a call of what a copy has", "a call of its function"],
)
def test_noted_partials_know_whether_they_are_used(use: Any) -> None:
    node = {"_target_": "x", "a": {"_target_": "builtins.dict", "_partial_": True, "b": 1}, "c": 2}
    (made,) = objects.partials_of(node, "module").values()
    assert isinstance(made, functools.partial)
    assert made.tried(c=3) == {"b": 1, "c": 3}
    assert not made.called
    assert use(made) == {"b": 1}
    assert made.called


def takes_paths(one: os.PathLike[str], other: PurePath, either: str | os.PathLike[str]) -> None:
    """Has annotations of paths of all kinds."""


def takes_kinds(many: collections.deque[int], order: collections.OrderedDict[str, int]) -> None:
    """Has annotations of kinds that a file has not."""


def takes_ages(age: Literal["18", "34"] = "18", size: int = 1) -> None:
    """Takes one of two words that read as numbers, and a number."""


def test_a_word_does_for_a_path_of_any_kind() -> None:
    target = {"_target_": f"{HERE}.takes_paths", "_partial_": True}
    check({"x": {**target, "one": "./x", "other": "y", "either": "z"}})


@pytest.mark.parametrize(
    ("name", "node", "says"),
    [
        ("takes_kinds", {"many": [1]}, "{_target_: collections.deque, _args_: [[VALUE]]}."),
        ("takes_kinds", {"order": {"a": 1}}, "{_target_: collections.OrderedDict, NAME: VALUE}."),
        ("takes_ages", {"size": "3"}, "leave its quotes out"),
        ("takes_ages", {"age": "50"}, None),
    ],
    ids=str,
)
def test_a_refusal_says_how_to_write_what_is_right(
    name: str, node: dict[str, Any], says: str | None
) -> None:
    with pytest.raises(UserError) as refused:
        check({"x": {"_target_": f"{HERE}.{name}", "_partial_": True, **node}})
    text = str(refused.value)
    assert says in text if says else "\n" not in text
