"""What the looks at an arm have seen, as labelled arrays with the dims (seed, point, step)."""

from collections.abc import Mapping, Sequence

import numpy as np

from wd_research.training.weights import EDGES
from wd_research.types import Arm, Hypers, Results

DIMS = ("seed", "point", "step", "edge")


def as_dataset(
    arm: Arm, step: int, parts: Mapping[str, Mapping[str, np.ndarray]], running: Mapping[str, np.ndarray],
    diverged_at: np.ndarray,
) -> Results:  # fmt: skip
    """A look as labelled arrays with the dims (seed, point, step).

    `train_accuracy` and so on are of whole parts, `running_loss` and so on means over the segment's batches;
    `weights_norm` and `weights_below`, the share of the weights below each edge, are of all weights; `diverged_at`
    (seed, point) is the first step that was not finite, -1 without.
    """
    evaluated = {f"{part}_{name}": metric for part, metrics in parts.items() for name, metric in metrics.items()}
    means = {f"running_{name}": metric for name, metric in running.items()}
    return labelled(arm.points, arm.axis, step, {**evaluated, **means}, diverged_at)


def labelled(
    points: Hypers, axis: str, step: int, metrics: Mapping[str, np.ndarray], diverged_at: np.ndarray | None = None
) -> Results:
    """What was measured at a step as a dataset, from metrics f64[s, h] and points whose leaves are f32[h].

    The dims are (seed, point, step), the points' numbers are coordinates of `point`. A metric f64[s, h, e] is one at
    every edge of `training.weights.EDGES`, with the dim `edge` behind.
    """
    import xarray as xr

    shape = next(iter(metrics.values())).shape
    diverged_at = np.full(shape, -1) if diverged_at is None else diverged_at
    return xr.Dataset(
        {
            **{name: (DIMS[: metric.ndim + 1], metric[:, :, None]) for name, metric in metrics.items()},
            "diverged_at": (("seed", "point"), diverged_at),
        },
        {
            "seed": np.arange(shape[0]),
            "step": [step],
            **({"edge": EDGES} if any(metric.ndim == 3 for metric in metrics.values()) else {}),
            **{name: ("point", np.asarray(values)) for name, values in points._asdict().items()},
        },
        {"axis": axis},
    )


def joined(parts: Sequence[Results], dim: str) -> Results:
    """Results side by side."""
    import xarray as xr

    return xr.concat(parts, dim, coords="minimal", compat="override", join="override", data_vars="all",
                     combine_attrs="override")  # fmt: skip
