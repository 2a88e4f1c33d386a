"""Finds what training changes in a module's layers, hooks and weights, and in its optimisers.

A resumed run makes the module and the optimisers anew, from the config. A checkpoint has the
numbers for them, but not what somebody has replaced, added or taken away since.
"""

import weakref
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import SWALR
from torchmetrics import Metric, MetricCollection, MetricTracker

from engine.fence.torch import empty_buffers, hook_names, loads_in_its_own_way, weights_of

METRICS = (Metric, MetricCollection, MetricTracker)  # they make parts of themselves as they count
Shapes = Mapping[str, tuple[int, ...] | None]


class _Layer(NamedTuple):
    """Holds what a layer is; another one of the same class that says the same is as good."""

    itself: Callable[[], object]
    kind: type
    says: str

    def is_like(self, part: nn.Module) -> bool:
        is_alike = self.itself() is part or self.says == _says(part)
        return is_alike and self.kind is _kind(part)


class Structure:
    """Knows the structure of what is trained when training begins, and what has changed since.

    It is made in `on_fit_start`, when a resumed run has loaded its weights.

    Args:
        trainer: of the training that begins.
        module: the one that is trained.
    """

    def __init__(self, trainer: Trainer, module: LightningModule) -> None:
        self._trainer, self._module = trainer, module
        self._shapes = shapes_of(module)
        self._empty = frozenset(empty_buffers(module))
        self._made = optimizers_of(trainer)  # with those, a resumed run loads their states
        self.begin()

    def begin(self) -> None:
        """Looks at what hooks of the start have made: they make it in a resumed run, too."""
        parts = dict(self._module.named_modules())
        weights = weights_of(parts)
        self._layers = {
            name: _Layer(weakref.ref(part), _kind(part), _says(part))
            for name, part in _without_metrics(parts).items()
        }
        self._optimizers = optimizers_of(self._trainer)
        self._groups = [len(own.param_groups) for own in self._trainer.optimizers]
        self._schedules = self._schedules_now()
        self._known = {*parts, *weights, *self._optimizers}
        self._hooks = self._hooks_of(parts, weights)
        self._strangers = self._strangers_to(weights)

    def unfit(self, state: Mapping[str, Any]) -> list[str]:
        """Names what a resumed run cannot load: weights of other layers, and other optimisers.

        Args:
            state: of the module, as a checkpoint has it.
        """
        names = unlike(self._shapes, state, self._module, self._empty)
        now = optimizers_of(self._trainer)
        names += [one for one in now if one not in self._optimizers]
        names += self._optimizers[len(now) :]
        own = set(map(id, weights_of(dict(self._module.named_modules())).values()))
        for name, optimizer, count in zip(
            now, self._trainer.optimizers, self._groups, strict=False
        ):
            new = [one for group in optimizer.param_groups[count:] for one in group["params"]]
            if not own.issuperset(map(id, new)):
                names.append(f"{name} (weights that are not of {type(self._module).__name__})")
        return names

    def optimizers(self) -> list[str]:
        """Names the optimisers with which a run has to begin that loads their states of now.

        A hook of the start may replace optimisers in each run, after their states are loaded.
        """
        now = optimizers_of(self._trainer)
        return self._made if now == self._optimizers else now

    def lost(self, state: Mapping[str, Any]) -> list[str]:
        """Names what a resumed run has as it was when training began, though it has changed.

        Args:
            state: of the module, as a checkpoint has it.
        """
        parts = dict(self._module.named_modules())
        weights, layers = weights_of(parts), _without_metrics(parts)
        begun = self._layers
        others = [
            name
            for name, part in layers.items()
            if name not in begun or not begun[name].is_like(part)
        ]
        others += [name for name in begun if name not in layers]
        # A module that takes the state of such layers has to make them.
        made = unlike(self._shapes, state) if _makes_layers(self._module) else []
        found: list[str] = []
        for name in sorted(others):
            if not _is_below(found, name) and not any(_is_below([name], one) for one in made):
                found.append(name)
        said = [f"{name} (another layer)" for name in found]
        hooks = self._hooks_of(parts, weights)
        said += [
            f"{name} (its hooks)"
            for name in sorted(self._known & (hooks.keys() | self._hooks.keys()))
            if hooks.get(name) != self._hooks.get(name) and not _is_below(others, name)
        ]
        root = type(self._module).__name__
        said = [one if one.startswith("optimiser ") else f"{root}.{one}" for one in said]
        said = [one.replace(". (", " (") for one in said]  # the module itself
        if set(self._schedules_now()) - {*self._schedules}:
            said.append("a learning rate (another schedule)")
        if self._strangers_to(weights) > self._strangers:
            said.append(f"an optimiser (weights that are not of {root})")
        return said

    def _hooks_of(
        self, parts: Mapping[str, nn.Module], weights: Mapping[str, nn.Parameter]
    ) -> dict[str, list[str]]:
        owners: dict[str, Any] = {**parts, **weights}
        owners |= dict(zip(self._optimizers, self._trainer.optimizers, strict=False))
        found = {name: hook_names(owner) for name, owner in owners.items()}
        return {name: hooks for name, hooks in found.items() if hooks}

    def _schedules_now(self) -> list[tuple[str, int]]:
        """Returns the classes of the schedules, each with the number of its optimiser.

        The one that Lightning's mean of the last epochs brings is there in a resumed run, too.
        """
        known = {id(own): number for number, own in enumerate(self._trainer.optimizers)}
        schedules: Any = [one.scheduler for one in self._trainer.lr_scheduler_configs]
        return [
            (type(one).__name__, known.get(id(getattr(one, "optimizer", None)), -1))
            for one in schedules
            if not isinstance(one, SWALR)
        ]

    def _strangers_to(self, weights: Mapping[str, nn.Parameter]) -> int:
        """Returns how many weights optimisers have that are not the module's."""
        own = set(map(id, weights.values()))
        groups = (group for one in self._trainer.optimizers for group in one.param_groups)
        return sum(id(weight) not in own for group in groups for weight in group["params"])


def optimizers_of(trainer: Trainer) -> list[str]:
    """Names a Trainer's optimisers by their numbers and classes."""
    return [f"optimiser {n} ({type(own).__name__})" for n, own in enumerate(trainer.optimizers)]


def shapes_of(module: nn.Module) -> Shapes:
    """Returns the shapes of what a module's state has, by name.

    None stands for what takes any shape: buffers, see `make_room`, and weights of lazy layers.
    """
    found: dict[str, tuple[int, ...] | None] = dict.fromkeys(module.state_dict())
    for name, own in module.named_parameters(remove_duplicate=False):
        if name in found and not is_lazy(own):
            found[name] = tuple(own.shape)
    return found


def unlike(
    shapes: Shapes,
    state: Mapping[str, Any],
    module: nn.Module | None = None,
    empty: Collection[str] = (),
) -> list[str]:
    """Names what keeps a state from being loaded: other names, or other shapes of weights.

    Args:
        shapes: what `shapes_of` returned for the module that is to take the state.
        state: the one that is to be loaded.
        module: leaves out what it takes in a way of its own.
        empty: names of buffers that are None, and are made as they are loaded.
    """
    is_strict = getattr(module, "strict_loading", True)
    other = [
        name
        for name, value in state.items()
        if shapes.get(name) is not None and tuple(getattr(value, "shape", ())) != shapes[name]
    ]
    if is_strict:
        other += [name for name in state if name not in shapes and name not in empty]
        other += [name for name in shapes if name not in state]
    if module is None or not other:
        return other
    if _makes_layers(module):
        return []
    own = [name for name, part in module.named_modules() if name and _loads_itself(part)]
    return [name for name in other if not _is_below(own, name)]


def _makes_layers(module: nn.Module) -> bool:
    """Tells whether code of a user's may make layers as a checkpoint is loaded."""
    own = type(module).load_state_dict is not nn.Module.load_state_dict
    if own or loads_in_its_own_way(module):
        return True
    return isinstance(module, LightningModule) and is_overridden("on_load_checkpoint", module)


def _loads_itself(part: nn.Module) -> bool:
    is_torchs = type(part).__module__.partition(".")[0] == "torch"
    return isinstance(part, METRICS) or (not is_torchs and loads_in_its_own_way(part))


def _without_metrics(parts: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Returns layers without the module itself and the parts of metrics."""
    counting: list[str] = []
    found = {}
    for name, part in parts.items():
        if not name or (counting and _is_below(counting, name)):
            continue
        if isinstance(part, METRICS):
            counting.append(name)
        found[name] = part
    return found


def _kind(part: nn.Module) -> Any:
    """Returns a layer's class; of a lazy layer, the one that it has after its first step."""
    kind: Any = type(part)
    return kind.cls_to_become or kind if isinstance(part, LazyModuleMixin) else kind


def _says(part: nn.Module) -> str:
    with suppress(Exception):  # a class that does what it likes
        return part.extra_repr()
    return ""


def _is_below(names: Collection[str], name: str) -> bool:
    """Tells whether a name is one of some, or of a part of what these name."""
    return any(name == one or name.startswith(f"{one}.") for one in names)
