"""Notices when what a compiled function takes for granted has changed.

A compiled function has the numbers, words and functions inside that it read when it was compiled,
wherever it read them: in layers, objects, classes, closures and files. PyTorch's compiler knows
them all, and would compare them in each call, which takes longer than a small step. Here it
compares them when it is asked to.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from torch import Tensor

from engine.fence.torch import compile_step

MOST_SIZES = 64  # of batches


class Granted:
    """Tells whether a function would be compiled to the same as before.

    The function is traced with all of the compiler's guards, and never runs. Where a guard does not
    hold, the compiler traces it anew.

    Args:
        function: takes tensors, and lists and dicts of tensors.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.addresses: list[int] = []  # of the tensors that the function was last given or reads
        self._traced = 0
        self._probe = compile_step(function, MOST_SIZES, backend=self._compile)

    def __call__(self, *arguments: Any) -> int:
        """Returns a number, which is another one when anything else is taken for granted.

        Args:
            arguments: as the function takes them; their sizes must be the same in all calls.

        Raises:
            Exception: of many kinds, if the function cannot be traced.
        """
        with suppress(_Met):
            self._probe(*arguments)
        return self._met

    def _compile(self, graph: Any, examples: Sequence[Any]) -> Callable[..., Any]:
        self._traced += 1
        number = self._traced

        def meet(*inputs: Any) -> NoReturn:
            self._met = number
            self.addresses = [own.data_ptr() for own in inputs if isinstance(own, Tensor)]
            raise _Met  # before the compiler sets attributes as the function would

        return meet


class _Met(Exception):
    """Ends a call once it is known which trace it would take."""
