"""Points: the values of the hyperparameters that are tried, on a grid or drawn."""

from collections import namedtuple
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from wd_research.flags import UserError

HypersType = TypeVar("HypersType")


def grid(hypers: Any = None, /, **axes: Sequence[float]) -> Any:
    """Every combination of the values of the named fields, the last one named running fastest; each leaf f32[h].

    `hypers` is a NamedTuple; a field of it that is not named is off: it is 0, or its default. Without `hypers` the
    named fields are all there are. Raises UserError when an axis is empty or names no field.
    """
    fields: Any = hypers or namedtuple("Hypers", axes)
    for name, values in axes.items():
        if name not in fields._fields:
            raise UserError(f"the grid has no field {name}: it has {', '.join(fields._fields)}")
        if not len(values):
            raise UserError(f"the grid has no value of {name}: give at least one")
    off = {name: (fields._field_defaults.get(name, 0.0),) for name in fields._fields if name not in axes}
    every = off | axes
    columns = np.meshgrid(*(np.asarray(values, np.float32) for values in every.values()), indexing="ij")
    return fields(**{name: column.ravel() for name, column in zip(every, columns, strict=True)})


def decades(low: float, high: float, count: int) -> tuple[float, ...]:
    """0, and then values evenly spaced in the logarithm from low to high, to three digits; `count` with the 0."""
    return (0.0, *(float(f"{value:.3g}") for value in np.geomspace(low, high, count - 1)))


def random_points(hypers: type[HypersType], count: int, seed: int, **ranges: tuple[float, float]) -> HypersType:
    """`count` points drawn independently, each number log-uniform in its range (low, high); each leaf f32[count].

    Raises UserError unless 0 < low <= high, and TypeError when the names are not the fields of `hypers`.
    Source: Bergstra & Bengio (2012), random search.
    """
    return _log_uniform(hypers, np.random.default_rng(seed).random((count, len(ranges))), ranges)


def sobol_points(hypers: type[HypersType], count: int, seed: int, **ranges: tuple[float, float]) -> HypersType:
    """`count` points that fill the ranges evenly: the first ones of a scrambled Sobol sequence; each leaf f32[count].

    The first 2^k points are the best balanced. Raises as `random_points` does.
    Source: Sobol (1967), scrambled as by Owen (1995).
    """
    from scipy.stats import qmc  # here, because it takes half a second that --help need not wait for

    sequence = qmc.Sobol(len(ranges), rng=np.random.default_rng(seed))
    whole = sequence.random_base2(max(count - 1, 0).bit_length())
    return _log_uniform(hypers, whole[:count], ranges)


def _log_uniform(hypers: type[HypersType], shares: np.ndarray, ranges: dict[str, tuple[float, float]]) -> HypersType:
    """From [0, 1) to the ranges, evenly in the logarithm."""
    for name, (low, high) in ranges.items():
        if not 0 < low <= high < np.inf:
            raise UserError(f"the range of {name} cannot be {low} to {high}: give 0 < low <= high")
    lows, highs = np.log(list(ranges.values())).T
    return hypers(**dict(zip(ranges, np.exp(lows + shares * (highs - lows)).astype(np.float32).T, strict=True)))
