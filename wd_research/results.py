"""Results: what was measured of every member, as labelled arrays; what training hands to statistics and figures.

The results of an arm are an `xarray.Dataset` with the dims (seed, point, step). `train_`, `validation_` and `test_`
before `loss`, and before `accuracy` where there are classes, are means over a split of the data, recorded at every
evaluation; hyperparameters are coordinates of `point`. The attribute `axis` names the hyperparameter in question, which
at 0 is switched off. Accuracies are shares; `loss_unit` is the unit of the loss ("nats", or "" without one), and
`test_examples` and so on say on how many targets of a split. `diverged_at` (seed, point) is the first step that was not
finite, -1 where there was none, and -2 of a member that a race did not train, whose metrics are NaN.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wd_research.types import Hypers, Results

DIMS = ("seed", "point", "step", "edge")
UNTRAINED = -2  # `diverged_at` of a member that a race did not train
BETTER = {"accuracy": 1, "loss": -1}  # the sign that makes a metric a score
MAGNITUDES = np.float32(10) ** np.arange(-4, 1.01, 0.25, dtype=np.float32)
EDGES = np.concatenate([-MAGNITUDES[::-1], MAGNITUDES])  # f32[42]: of the bins of weights; one bin lies about 0


def labelled(
    points: Hypers, axis: str, step: int, metrics: Mapping[str, np.ndarray], diverged_at: np.ndarray | None = None
) -> Results:
    """Label what was measured at one step, metrics f64[s, h] at points whose leaves are f32[h]; a dataset.

    A metric f64[s, h, e] has one value for every edge of `EDGES`, and the dim `edge` behind the others. Seeds and
    points are numbered from 0.
    """
    import xarray as xr  # here, because --help need not wait for it

    shape = next(iter(metrics.values())).shape
    diverged_at = np.full(shape, -1) if diverged_at is None else diverged_at
    return xr.Dataset(
        {
            **{name: (DIMS[: metric.ndim + 1], metric[:, :, None]) for name, metric in metrics.items()},
            "diverged_at": (("seed", "point"), diverged_at),
        },
        {
            "seed": np.arange(shape[0]),
            "point": np.arange(shape[1]),
            "step": [step],
            **({"edge": EDGES} if any(metric.ndim == 3 for metric in metrics.values()) else {}),
            **{name: ("point", np.asarray(values)) for name, values in points._asdict().items()},
        },
        {"axis": axis},
    )


def joined(parts: Sequence[Results], dim: str) -> Results:
    """Put results side by side along a dim; what has no such dim is taken from the first."""
    import xarray as xr

    return xr.concat(parts, dim, coords="minimal", compat="override", join="override", data_vars="all",
                     combine_attrs="override")  # fmt: skip


def judged_by(results: Results) -> str:
    """By what members are judged: "accuracy", or "loss" where no accuracy is measured."""
    return "accuracy" if "validation_accuracy" in results else "loss"


def hypers(results: Results) -> list[str]:
    """The names of the hyperparameters."""
    coordinates = results.coords.items()
    return [str(name) for name, coordinate in coordinates if coordinate.dims == ("point",) and name != "point"]


def metrics(results: Results) -> list[str]:
    """The names of what is one number per member and evaluation."""
    return [str(name) for name, values in results.data_vars.items() if values.dims == ("seed", "point", "step")]


def trained(results: Results) -> np.ndarray:
    """Which members were trained: all, unless points were dropped in a race; bool[s, h]."""
    return results["diverged_at"].to_numpy() != UNTRAINED


def final(results: Results, name: str) -> np.ndarray:
    """A metric at the end of training; f64[s, h], for a diverged member by its last finite weights.

    Members that a race did not train are masked, so that means are over those that it did.
    """
    values = results[name].isel(step=-1).to_numpy().astype(float)
    return values if trained(results).all() else np.ma.array(values, mask=~trained(results))


def surviving(results: Results, name: str) -> np.ndarray:
    """A metric at the end of training; f64[s, h], NaN where the member has diverged, masked as in `final`."""
    values, finite = final(results, name), results.diverged_at.to_numpy() < 0
    return np.ma.where(finite, values, np.nan) if np.ma.isMaskedArray(values) else np.where(finite, values, np.nan)


def mean_of_seeds(results: Results, name: str) -> np.ndarray:
    """The mean of a metric at the end of training, of each point over the seeds it was trained on; f64[h].

    It is NaN where a member has diverged.
    """
    return np.ma.filled(surviving(results, name).mean(axis=0), np.nan)


def axis_values(results: Results) -> np.ndarray:
    """The values of the hyperparameter in question, ascending; f64[v]."""
    return np.unique(results[results.attrs["axis"]].to_numpy().astype(float))


def has_value(results: Results, value: float) -> np.ndarray:
    """Which points have this value of the hyperparameter in question; bool[h]."""
    return results[results.attrs["axis"]].to_numpy().astype(float) == value


def stopped_early(results: Results, by: str | None = None) -> Results:
    """The results as if every member had stopped at the evaluation where its own validation data were best.

    They have one step, the last; `stopped_at` (seed, point, step) says when each member stopped.

    Source: Prechelt (1998), with unlimited patience.
    """
    by = by or judged_by(results)
    scores = (BETTER[by] * results[f"validation_{by}"]).fillna(-np.inf)
    stopped = results.drop_vars("diverged_at").isel(step=scores.argmax("step")).reset_coords("step")
    stopped = stopped.rename(step="stopped_at").expand_dims(step=results["step"].to_numpy()[-1:], axis=-1)
    return stopped.assign(diverged_at=results["diverged_at"])


def diverged(results: Results) -> list[dict[str, Any]]:
    """The points at which members diverged: what they were, how many of their seeds, and the first step of all."""
    at, names = results["diverged_at"].to_numpy(), hypers(results)
    return [
        {
            "point": describe_point({name: results[name][point] for name in names}),
            "seeds": int((at[:, point] >= 0).sum()),
            "first_step": int(at[:, point][at[:, point] >= 0].min()),
        }
        for point in np.flatnonzero((at >= 0).any(axis=0))
    ]


def describe_point(point: Mapping[str, Any]) -> str:
    """`learning rate 0.003, decay 1`."""
    return ", ".join(f"{humanize(name)} {float(value):.3g}" for name, value in point.items())


def humanize(name: str) -> str:
    """`learning_rate` -> `learning rate`."""
    return name.replace("_", " ")
