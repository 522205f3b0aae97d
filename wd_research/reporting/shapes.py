"""Shapes: what JSON that somebody else may have written must be like, as data, and the sentence where it is not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from wd_research.flags import UserError

DEEPEST = 32  # brackets within brackets


class Kind(NamedTuple):
    """What a value must be, in words and as a test."""

    name: str
    fits: Callable[[Any], bool]


ANY = Kind("a value", lambda value: True)


class Maybe(NamedTuple):
    """The shape of a key that may be missing."""

    shape: Any


class Only(NamedTuple):
    """The shape of a mapping that has no other keys."""

    keys: dict[Any, Any]


def parse(path: Path, text: str, hook: Callable[[dict[str, Any]], Any] | None = None) -> dict[str, Any]:
    """The content of a JSON file, a mapping. Raises UserError, naming the file, when it is none or is damaged."""

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        content = json.loads(text, object_hook=hook, parse_constant=constant)
        shallow(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): take it from where it is whole, or run it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is no mapping of keys: take it from where it is whole, or run it again")
    return content


def shallow(content: Any, depth: int = 0) -> None:
    """Raise ValueError where content is too deep to be walked."""
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} brackets within one another")
    inside = content if isinstance(content, list) else content.values() if isinstance(content, dict) else ()
    for inner in inside:
        shallow(inner, depth + 1)


def fit(path: Path, content: Any, shape: Any, where: tuple[str, ...] = ()) -> None:
    """Raise UserError, naming the file and the key, unless the content is of a shape.

    A shape is a kind, [shape] for a list, {str: shape} for a mapping from any text, or a dict with the keys that a
    mapping must have; it may have others, unless it is `Only` these.
    """
    if isinstance(shape, Kind):
        if not shape.fits(content):
            raise UserError(f"{path}: {told(where)} must be {shape.name}, and is {json.dumps(content)[:40]}")
    elif isinstance(shape, list):
        if not isinstance(content, list):
            raise UserError(f"{path}: {told(where)} must be a list, and is {json.dumps(content)[:40]}")
        for number, inner in enumerate(content):
            fit(path, inner, shape[0], (*where, str(number)))
    elif not isinstance(content, dict):
        raise UserError(f"{path}: {told(where)} must be a mapping, and is {json.dumps(content)[:40]}")
    else:
        fit_mapping(path, content, shape, where)


def fit_mapping(path: Path, content: dict[str, Any], shape: Any, where: tuple[str, ...]) -> None:
    """Raise UserError unless every key of a mapping is there that must be, and what it holds is of its shape."""
    keys: dict[Any, Any] = shape.keys if isinstance(shape, Only) else shape
    if isinstance(shape, Only) and (others := sorted(set(content) - set(keys))):
        raise UserError(f"{path}: {told((*where, others[0]))} is a key that this version does not know")
    if str in keys:
        keys = dict.fromkeys(content, keys[str])
    for key, inner in keys.items():
        if key in content:
            fit(path, content[key], inner.shape if isinstance(inner, Maybe) else inner, (*where, key))
        elif not isinstance(inner, Maybe):
            raise UserError(f"{path.parent} is of another version: its {path.name} has no {told((*where, key))}; "
                            "run it again")  # fmt: skip


def told(where: tuple[str, ...]) -> str:
    """A key and those around it, `'best.arm.gain'`, short and without what a terminal would obey."""
    return repr(".".join(key[:40] for key in where))
