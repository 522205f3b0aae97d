"""Where to look: points of the hyperparameters, on a grid or drawn."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

HypersType = TypeVar("HypersType")


def grid(hypers: type[HypersType], **axes: Sequence[float]) -> HypersType:
    """Every combination of the values of the named fields, the last field running fastest; each leaf f32[h].

    Raises ValueError when an axis is empty, and TypeError when the names are not the fields of `hypers`.
    """
    for name, values in axes.items():
        if not len(values):
            raise ValueError(f"the grid has no value of {name}: give at least one")
    columns = np.meshgrid(*(np.asarray(values, np.float32) for values in axes.values()), indexing="ij")
    return hypers(**{name: column.ravel() for name, column in zip(axes, columns, strict=True)})


def decades(low: float, high: float, count: int) -> tuple[float, ...]:
    """0, and then values evenly spaced in the logarithm from low to high, to three digits; `count` with the 0."""
    return (0.0, *(float(f"{value:.3g}") for value in np.geomspace(low, high, count - 1)))


def random_points(hypers: type[HypersType], count: int, seed: int, **ranges: tuple[float, float]) -> HypersType:
    """`count` points drawn independently, each number log-uniform in its range (low, high); each leaf f32[count].

    Raises ValueError unless 0 < low <= high, and TypeError when the names are not the fields of `hypers`.
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
            raise ValueError(f"the range of {name} cannot be {low} to {high}: give 0 < low <= high")
    lows, highs = np.log(list(ranges.values())).T
    return hypers(**dict(zip(ranges, np.exp(lows + shares * (highs - lows)).astype(np.float32).T, strict=True)))
