"""Points: the values of the hyperparameters that are tried, on a grid or drawn."""

import keyword
from collections import namedtuple
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from wd_research.flags import UserError

HypersType = TypeVar("HypersType")


def grid(hypers: Any = None, /, **axes: Sequence[float]) -> Any:
    """Every combination of the values of the named fields, the last one named running fastest; each leaf f32[h].

    `hypers` is a NamedTuple; a field of it that is not named is off: it is 0, or its default. Without `hypers` the
    named fields are all there are. Raises UserError when an axis is no row of numbers, is empty, or names no field, or
    there is none.
    """
    if hypers is None:
        _check_names(axes)
    elif not (isinstance(hypers, type) and hasattr(hypers, "_fields")):
        raise UserError(f"a grid of {_shown(hypers)} cannot be: give a class that is a NamedTuple, or none, and values "
                        "by name, learning_rate=(1e-2, 1e-1)")  # fmt: skip
    fields: Any = hypers or namedtuple("Hypers", axes)  # pyright: ignore[reportUntypedNamedTuple]
    for name in axes:
        if name not in fields._fields:
            raise UserError(f"the grid has no field {name}: it has {', '.join(fields._fields)}")
    off = {name: (fields._field_defaults.get(name, 0.0),) for name in fields._fields if name not in axes}
    every = {name: _axis(name, values) for name, values in (off | axes).items()}
    columns = np.meshgrid(*every.values(), indexing="ij")
    return fields(**{name: column.ravel() for name, column in zip(every, columns, strict=True)})


def decades(low: float, high: float, count: int) -> tuple[float, ...]:
    """0, and then values evenly spaced in the logarithm from low to high, to three digits; `count` with the 0.

    Raises UserError unless 0 < low <= high, and `count` is a whole number from 1.
    """
    low, high = _ends("decades", (low, high), "decades(1e-3, 1, 4)")
    _check_whole("the count of decades", count, 1)
    return (0.0, *(float(f"{value:.3g}") for value in np.geomspace(low, high, count - 1)))


def random_points(hypers: type[HypersType], count: int, seed: int, **ranges: tuple[float, float]) -> HypersType:
    """`count` points drawn independently, each number log-uniform in its range (low, high); each leaf f32[count].

    A field of `hypers` that has a default and no range is its default. Raises UserError unless 0 < low <= high, every
    other field has a range, `count` is a whole number from 1, and `seed` one from 0.
    Source: Bergstra & Bengio (2012), random search.
    """
    _check_drawn(hypers, count, seed, ranges)
    return _log_uniform(hypers, np.random.default_rng(seed).random((count, len(ranges))), ranges)


def sobol_points(hypers: type[HypersType], count: int, seed: int, **ranges: tuple[float, float]) -> HypersType:
    """`count` points that fill the ranges evenly: the first ones of a scrambled Sobol sequence; each leaf f32[count].

    The first 2^k points are the best balanced. Raises as `random_points` does.
    Source: Sobol (1967), scrambled as by Owen (1995).
    """
    from scipy.stats import qmc  # here, because it takes half a second that --help need not wait for

    _check_drawn(hypers, count, seed, ranges)
    sequence = qmc.Sobol(len(ranges), rng=np.random.default_rng(seed))
    whole = sequence.random_base2(int(count - 1).bit_length())
    return _log_uniform(hypers, whole[:count], ranges)


def _log_uniform(hypers: type[HypersType], shares: np.ndarray, ranges: dict[str, tuple[float, float]]) -> HypersType:
    """From [0, 1) to the ranges, evenly in the logarithm."""
    lows, highs = np.log([_ends(f"the range of {name}", ends, f"{name}=(1e-3, 1)") for name, ends in ranges.items()]).T
    drawn = dict(zip(ranges, np.exp(lows + shares * (highs - lows)).astype(np.float32).T, strict=True))
    defaults = getattr(hypers, "_field_defaults", {})
    return hypers(**{name: np.full(len(shares), value, np.float32) for name, value in defaults.items()} | drawn)


def _axis(name: str, values: Any) -> np.ndarray:
    """The values of an axis as f32[n]; raises UserError unless they are a row of numbers that float32 can hold."""
    try:
        row = np.asarray(values)
    except ValueError:  # rows of unequal length
        row = np.asarray(None)
    if row.ndim == 1 and not len(row):
        raise UserError(f"the grid has no value of {name}: give at least one")
    if row.ndim == 1 and row.dtype.kind in "biuf":
        with np.errstate(over="ignore", under="ignore"):
            single = row.astype(np.float32)
        if (np.isfinite(single) & ((single != 0) == (row != 0))).all():
            return single
    example = f"({values!r},)" if isinstance(values, int | float) else "(1e-2,) or (1e-2, 1e-1)"
    raise UserError(f"the grid cannot have {_shown(values)} for {name}: give finite numbers that float32 can hold in a "
                    f"tuple, such as {example}")  # fmt: skip


def _ends(what: str, ends: Any, example: str) -> tuple[float, float]:
    """The ends of a range; raises UserError unless 0 < low <= high in float32."""
    try:
        low, high = (np.nan if isinstance(end, str) else float(end) for end in ends)
    except (TypeError, ValueError):
        low, high = np.nan, np.nan
    with np.errstate(over="ignore", under="ignore"):
        fits = np.float32(low) > 0 and low <= high and np.float32(high) < np.inf
    if not fits:
        given = " to ".join(map(_shown, ends)) if isinstance(ends, tuple) and len(ends) == 2 else _shown(ends)
        raise UserError(f"{what} cannot be {given}: give 0 < low <= high that float32 can hold, as {example}")
    return low, high


def _check_names(names: Iterable[str]) -> None:
    """Raise UserError unless there are names, and each can be that of a field of a NamedTuple."""
    if not names:
        raise UserError("the grid has no axis: give values by name, learning_rate=(1e-2, 1e-1)")
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
            raise UserError(f"no hyperparameter can be called {name!r}: give a name of letters, digits and "
                            "underscores that begins with a letter and is no word of Python's own")  # fmt: skip


def _check_drawn(hypers: Any, count: int, seed: int, ranges: Mapping[str, Any]) -> None:
    """Raise UserError unless points can be drawn: numbers of them and of a seed, and a range for every field."""
    _check_whole("the count of points", count, 1)
    _check_whole("the seed of points", seed, 0)
    if not callable(hypers):
        raise UserError(f"{_shown(hypers)} has no fields to draw: give a class that is a NamedTuple")
    fields = getattr(hypers, "_fields", tuple(ranges))
    needed = [name for name in fields if name not in getattr(hypers, "_field_defaults", {})]
    for name in (*(name for name in ranges if name not in fields), *(name for name in needed if name not in ranges)):
        raise UserError(f"the ranges are of {', '.join(ranges) or 'nothing'}, and the hyperparameters are "
                        f"{', '.join(fields)}: {'leave out' if name in ranges else 'give one of'} {name}")  # fmt: skip
    if not ranges:
        raise UserError("there is no range to draw from: give one by name, learning_rate=(1e-3, 1)")


def _check_whole(what: str, number: Any, least: int) -> None:
    """Raise UserError unless a number is a whole one, of Python or NumPy, from the least on."""
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < least:
        raise UserError(f"{what} cannot be {_shown(number)}: give a whole number from {least} on")


def _shown(value: Any) -> str:
    """The beginning of what a value looks like, in one line."""
    said = " ".join(repr(value).split())
    return said if len(said) <= 40 else said[:40] + "..."
