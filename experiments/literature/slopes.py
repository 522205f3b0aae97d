"""By how much one thing grows with another, or with which power of it, seed by seed."""

import numpy as np


def slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The least-squares slope of y f64[s, k] over x f64[k] or f64[s, k]; f64[s].

    What is not finite is left out; with fewer than three values the slope is not known, NaN.
    """
    there = np.isfinite(x) & np.isfinite(y)
    rows = zip(np.broadcast_to(x, y.shape), y, there, strict=True)
    return np.array([np.polyfit(a[k], b[k], 1)[0] if k.sum() > 2 else np.nan for a, b, k in rows])


def power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The power of x with which y goes, the slope of their logarithms; as `slope`."""
    return slope(np.log(x), np.log(y))
