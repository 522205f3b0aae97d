"""Where to look: points of the hyperparameters."""

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
