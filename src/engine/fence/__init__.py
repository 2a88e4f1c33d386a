"""Other libraries beyond what they document: one file a library, one function a use.

No other file touches an attribute of another library that is private or not documented. Each
function has a contract test in tests/engine/fence, which says what it relies on: where a new
version of a library breaks that, the test breaks, by name, and this is the only place to mend.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(owner: Any, **attributes: Any) -> Iterator[None]:
    """Gives a module, a class or an object other attributes within this context."""
    before = {name: getattr(owner, name) for name in attributes}
    try:
        for name, value in attributes.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
