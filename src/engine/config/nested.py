"""Nested mappings and lists, by the names that lead to their values."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

SIMPLE = (type(None), str, int, float, list)  # known sooner to be no Mapping than a Mapping is


def dotted(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns a nested mapping by dotted keys; lists and empty mappings count as values."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if not isinstance(value, SIMPLE) and isinstance(value, Mapping) and value:
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def words_in(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yields the words of a config that are not empty, each with the names that lead to it."""
    if isinstance(node, dict | list):
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from words_in(value, (*path, name))
    elif isinstance(node, str) and node:
        yield path, node


def at(node: Any, path: Sequence[Any]) -> Any:
    """Returns what the names of a path lead to."""
    return functools.reduce(lambda inner, name: inner[name], path, node)


def copied(node: Any, change: Callable[[Any], Any] = lambda value: value) -> Any:
    """Returns a copy of nested mappings, lists and tuples: copy.deepcopy is slow.

    Args:
        node: any value.
        change: returns what the copy has in the place of a value.
    """
    if isinstance(node, dict):
        pairs = {name: copied(value, change) for name, value in node.items()}
        return pairs if type(node) is dict else type(node)(pairs)
    is_list = isinstance(node, list | tuple)
    return type(node)(copied(value, change) for value in node) if is_list else change(node)
