"""What a metric was during a part of training."""

import numpy as np

import wd_research as wd


def mean_during(results: wd.Results, name: str, start: float, end: float = 1.0) -> np.ndarray:
    """The mean of a metric from one share of training to another; f64[s, h], NaN where the member has diverged."""
    share = results["step"] / results["step"][-1]
    mean = results[name].sel(step=(share > start) & (share <= end)).mean("step").to_numpy().astype(float)
    return np.where(results["diverged_at"].to_numpy() < 0, mean, np.nan)
