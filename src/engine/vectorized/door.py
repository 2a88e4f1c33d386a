"""Whether the user's `train(run)` is the one that the template ships.

Jobs that train together go the shipped way, step for step. An edited `train()` may do anything
else, so its jobs run one by one.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

SHIPPED = """
data = run.datamodule()
module = run.module(data)
trainer = run.trainer()
run.fit(trainer, module, data)
run.test(trainer, module, data)
return run.objective(trainer)
"""


def is_edited(train: Callable[..., Any]) -> bool:
    """Tell whether a function does anything else than the shipped one; comments do not count."""
    try:
        (function,) = ast.parse(textwrap.dedent(inspect.getsource(train))).body
    except (OSError, TypeError, SyntaxError):
        return True
    if not isinstance(function, ast.FunctionDef) or len(function.decorator_list) != 1:
        return True
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return [ast.dump(line) for line in body] != [ast.dump(line) for line in ast.parse(SHIPPED).body]
