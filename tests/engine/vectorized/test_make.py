"""Compares objects made from a config without Hydra with those that `instantiate` makes."""

from typing import Any

import pytest
import torch
from hydra.utils import instantiate

from engine.checks.bad_data import are_as_right
from engine.config import objects
from engine.errors import UserError
from engine.vectorized import make
from project.datamodules.parabola import ParabolaDataModule
from project.modules.curve_mlp import CurveMLP


def node(hidden: Any = 4, lr: float = 0.1, **more: Any) -> dict[str, Any]:
    optimizer = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": lr, **more}
    return {
        "_target_": "project.modules.curve_mlp.CurveMLP",
        "hidden": hidden,
        "optimizer": optimizer,
    }


def test_an_object_is_as_hydra_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "build", None)  # it is not called
    for hidden, lr in ((4, 0.1), (7, 2)):
        values = node(hidden, lr, momentum=0)
        ours, theirs = make.make(values, "module"), instantiate(values)
        assert type(ours) is type(theirs) is CurveMLP
        shapes = [[parameter.shape for parameter in made.parameters()] for made in (ours, theirs)]
        assert shapes[0] == shapes[1]
        assert (ours.optimizer.func, ours.optimizer.args) == (torch.optim.SGD, ())
        assert ours.optimizer.keywords == {"lr": lr, "momentum": 0} == theirs.optimizer.keywords
        assert type(ours.optimizer.keywords["lr"]) is type(lr)


OPTIMIZER = node()["optimizer"]
CASES = {
    "a word": (node(name="x"), False),
    "true": (node(nesterov=True), False),
    "another flag": ({**node(), "optimizer": {**OPTIMIZER, "_partial_": False}}, False),
    "_convert_": ({**node(), "_convert_": "all"}, True),
    "a list": (node(hidden=[1]), True),
    "a mapping": ({**node(), "optimizer": {"lr": 1}}, True),
}


@pytest.mark.parametrize(("values", "needs_hydra"), CASES.values(), ids=CASES)
def test_hydra_makes_what_has_more_than_numbers_and_words(
    values: dict[str, Any], needs_hydra: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "build", lambda *_: "Hydra")
    monkeypatch.setattr(make, "_call", lambda *_: "a call")
    assert make.make(values, "module") == ("Hydra" if needs_hydra else "a call")


def test_what_fits_as_another_module_does_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, others = (ParabolaDataModule(samples=5, batch_size=5, seed=seed) for seed in (0, 1))
    odd = ParabolaDataModule(samples=5, batch_size=5, seed=1)
    odd.splits["train"].targets[2] = float("nan")
    more = ParabolaDataModule(samples=6, batch_size=5, seed=1)
    config: Any = {"module": node(), "seed": 0, "trainer.precision": "64-true"}
    tried: list[Any] = []
    monkeypatch.setattr(make, "check_classes", lambda config, data: None)

    def fit(model: Any, data: Any, precision: str, files: Any) -> None:
        assert (precision, files) == ("64-true", ["mine"])
        tried.append((model, data))

    monkeypatch.setattr(make, "fit_to", fit)
    first = make.module(config, data, files=["mine"])
    assert tried.pop() == (first, data)
    for right in (data, others):
        own = make.module({**config, "seed": 1}, right, (first, data), ["mine"])
        assert torch.equal(own.example_input_array, right.example())
    assert tried == []
    for wrong in (odd, more):
        own = make.module(config, wrong, (first, data), ["mine"])
        assert tried.pop() == (own, wrong)
    own = make.module({**config, "module": node(hidden=7)}, data, (first, data), ["mine"])
    assert tried.pop() == (own, data)
    entropy = make.module(config, data, files=["mine"])
    entropy.loss = torch.nn.CrossEntropyLoss()
    assert not are_as_right(entropy.loss, others, data)


@pytest.mark.parametrize("build", [objects.build, make.make])
@pytest.mark.parametrize(
    ("written", "word"),
    [
        (r"\${width}", "${width}"),
        (
            r"\${oc.env:WORD_OF_TESTS} and ${oc.env:WORD_OF_TESTS}",
            "${oc.env:WORD_OF_TESTS} and ${a}",
        ),
        ("a\\\\\\${b}\\", "a\\${b}\\"),
    ],
)
def test_a_class_gets_a_word_with_a_dollar_as_it_is(
    build: Any, written: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORD_OF_TESTS", "${a}")
    given = {"width": 4, "a": written, "b": [{"c": [written]}]}
    inner = {"_target_": "builtins.dict", "_partial_": True, "d": written}
    made = build({"_target_": "builtins.dict", **given, "inner": inner}, "module")
    assert made.pop("inner")() == {"d": word}
    assert made == {"width": 4, "a": word, "b": [{"c": [word]}]}


WRONG = [node(hidden=-1), {**node(), "optimizer": {"_target_": "torch.optim.SGD", "lr": -1}}]


@pytest.mark.parametrize("wrong", WRONG, ids=["of the module", "within it"])
def test_errors_are_those_of_hydras_way(wrong: dict[str, Any]) -> None:
    texts = []
    for build in (objects.build, make.make):
        with pytest.raises(UserError) as error:
            build(wrong, "module")
        texts.append(str(error.value))
    assert texts[0] == texts[1]
    assert texts[0].startswith("module")
