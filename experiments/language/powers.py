"""With which power of something the best decay goes: its best values, their slope, what a rule loses, the picture."""

from collections.abc import Mapping, Sequence

import numpy as np

import wd_research as wd
from experiments.language.repeated_data import share_of
from experiments.language.setting import tuned_loss


def best_of_axis(results: wd.Results) -> np.ndarray:
    """The best value of the axis of every seed, between those of the grid; f64[s].

    It is the vertex of `repeated_data.share_of`. NaN if the mean loss over seeds is least at an end of the grid.
    """
    loss = np.where(results["diverged_at"].to_numpy() < 0, wd.final(results, "validation_loss"), np.inf)
    values, rates = (results[name].to_numpy().astype(float) for name in (results.attrs["axis"], "learning_rate"))
    best = values[np.argmin(np.where(values > 0, loss.mean(axis=0), np.inf))]
    if best in (values[values > 0].min(), values.max()):
        return np.full(len(loss), np.nan)
    return np.array([share_of(row, rates, values / rates) for row in loss])


def slope_of(x: Sequence[float], y: Sequence[np.ndarray]) -> np.ndarray:
    """The slope of log y over log x by least squares, seed by seed; y f64[k][s] -> f64[s]."""
    away = np.log(x) - np.log(x).mean()
    return away @ np.log(np.stack(y)) / (away @ away)


def lost_by_rule(base: wd.Results, results: wd.Results, factor: float) -> wd.Scores:
    """What a factor times the best value of another arm, or what is nearest to it on the grid, loses; nats."""
    point = wd.choose(base, ~wd.has_value(base, 0), "loss").point
    wanted = factor * float(base[base.attrs["axis"]].sel(point=point))
    values = wd.axis_values(results)[1:]  # without 0
    nearest = values[np.argmin(np.abs(np.log(values / wanted)))]
    return tuned_loss(results, wd.has_value(results, nearest)) - tuned_loss(results)


def draw_powers(
    panel: wd.Axes, x: Sequence[float], best: Sequence[np.ndarray], label: str, number: int, rules: Mapping[str, float]
) -> None:
    """Geometric means over seeds of what is best, f64[k][s], over x f64[k]; rules are powers of x."""
    at, estimates = np.array(x, float), np.exp(wd.means(np.log(np.stack(best, axis=1))))
    known = np.flatnonzero(np.isfinite(estimates[:, 0]))
    for (name, power), dashes in zip(rules.items() if len(known) else (), ("--", ":", "-."), strict=False):
        name = "" if name in panel.get_legend_handles_labels()[1] else name
        line = estimates[known[0], 0] * (at / at[known[0]]) ** power
        panel.plot(at, line, dashes, color="#555555", linewidth=0.8, label=name)
    label = label if len(known) else f"{label}: best at an end of the grid"
    wd.draw_measured(panel, at * 1.04**number, estimates, wd.STYLES[number], label)
    panel.set(xscale="log", yscale="log" if len(known) else panel.get_yscale())
    panel.set_xticks(at, [f"{value:,.0f}" for value in at])
    panel.set_xticks([], minor=True)
    panel.legend(fontsize=7)
    panel.grid(alpha=0.3)
