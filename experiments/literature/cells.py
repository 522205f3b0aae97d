"""The cells of a claim that is measured at every point: each is named by what the point is."""

from typing import Any

import numpy as np


def cells(form: str, values: np.ndarray, *columns: Any) -> dict[str, np.ndarray]:
    """A cell for each point, from f64[s, k]; its name is the form, filled with the point's value in every column.

    A column has a value for each point, or one for all: `cells("n = {}, lambda = {:.4g}", values, 100, penalties)`.
    """
    points = zip(*np.broadcast_arrays(*columns), strict=True)
    return dict(zip((form.format(*point) for point in points), values.T, strict=True))
